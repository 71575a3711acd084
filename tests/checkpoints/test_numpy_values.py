"""NumPy values in checkpoints: plain numbers come back, nothing else does; and damaged files are noticed."""

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from samplug.checkpoints import WeightsError, read_checkpoint
from samplug.checkpoints.errors import UnsafeCheckpointError

PLAIN = [
    np.arange(6, dtype=np.int64).reshape(2, 3),
    np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    np.array([True, False]),
    np.arange(3, dtype=">u2"),
    np.array(5.0, np.float16),
]


def test_plain_values_come_back(tmp_path):
    history = HistoryBuffer()
    for value in (1.0, 3.0):
        history.update(value)
    scalars = [np.float64(2.5), np.int32(-3), np.bool_(True)]
    torch.save({"state_dict": {}, "arrays": PLAIN, "scalars": scalars, "history": history}, tmp_path / "a.pth")
    for _ in range(2):  # what was read is saved as it was written
        found = read_checkpoint(tmp_path / "a.pth")
        for array, expected in zip(found["arrays"], PLAIN, strict=True):
            assert (array.dtype, array.shape) == (
                expected.dtype.newbyteorder("="),
                expected.shape,
            )  # as unpickled elsewhere
            assert (array == expected).all()
        assert [(type(value), value) for value in found["scalars"]] == [(type(value), value) for value in scalars]
        found["history"].update(5.0)
        assert found["history"].mean(3) == 3.0
        found["history"]._log_history = found["history"]._log_history[:2]
        found["history"]._count_history = found["history"]._count_history[:2]
        torch.save(found, tmp_path / "a.pth")


class Call:
    """Asks for a call when it is read."""

    def __init__(self, function, *arguments, state=None):
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.parts


RECONSTRUCT = np._core.multiarray._reconstruct
EMPTY = (np.ndarray, (0,), b"b")
F8 = np.dtype("f8")
HOSTILE = {
    "object at an address": Call(np.ndarray, (1,), Call(np.dtype, [("a", "O")]), b"A" * 8),
    "object": Call(np.ndarray, (1,), Call(np.dtype, "O"), b"A" * 8),
    "offset": Call(np.ndarray, (4,), F8, b"A" * 64, -4096),
    "large": Call(np.ndarray, (2**32,), Call(np.dtype, "u1")),
    "record": Call(np.dtype, "f8,O"),
    "sub-array": Call(np.dtype, ("f8", (1 << 20,))),
    "record by state": Call(np.dtype, "f8", state=(3, "<", None, ("a",), {"a": (F8, 0)}, 8, 8, 0)),
    "too few bytes": Call(RECONSTRUCT, *EMPTY, state=(1, (1 << 20,), F8, False, b"A" * 8)),
    "negative": Call(RECONSTRUCT, *EMPTY, state=(1, (-1,), F8, False, b"A" * 8)),
    "list of objects": Call(RECONSTRUCT, *EMPTY, state=(1, (1,), F8, False, [torch.zeros(1)])),
    "no array": Call(RECONSTRUCT, np.dtype, (0,), b"b"),
    "filled at once": Call(RECONSTRUCT, np.ndarray, (1 << 40,), b"b"),
    "scalar of few bytes": Call(np._core.multiarray.scalar, F8, b"A"),
    "scalar object": Call(np._core.multiarray.scalar, Call(np.dtype, "O"), b"A" * 8),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_everything_else_is_refused(tmp_path, kind):
    torch.save({"state_dict": {}, "message_hub": {"runtime_info": HOSTILE[kind]}}, tmp_path / "evil.pth")
    with pytest.raises(UnsafeCheckpointError, match=r"evil\.pth asks to load the Python object numpy\."):
        read_checkpoint(tmp_path / "evil.pth")


def test_a_flipped_bit_is_noticed(tmp_path):
    values = torch.arange(1000.0)
    torch.save({"state_dict": {"a": values}}, tmp_path / "a.pth")
    content = bytearray((tmp_path / "a.pth").read_bytes())
    place = content.index(values.numpy().tobytes()) + 123
    content[place] ^= 4
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=r"a\.pth is damaged: the checksum of .*data/0 in it differs"):
        read_checkpoint(tmp_path / "a.pth")
