"""TorchScript archives, as OpenAI publishes CLIP in: their tensors are read, their code is not."""

import io
import os
import pickle
import warnings
import zipfile

import pytest
import torch
from torch import nn

from samplug.checkpoints import UnsafeCheckpointError, WeightsError, load_weights, read_checkpoint
from tests.builders import tiny_clip
from tests.checkpoints.test_loading import assert_equal
from tests.models.test_clip_vit import OpenCLIPVisual

pytestmark = pytest.mark.filterwarnings("ignore")


class Model(nn.Module):
    """OpenAI's layout, with names of the text part beside the image encoder, and attributes of other kinds."""

    def __init__(self):
        super().__init__()
        self.visual = OpenCLIPVisual()
        self.transformer = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        self.positional_embedding = nn.Parameter(torch.zeros(4, 3))
        self.register_buffer("input_resolution", torch.tensor(64))
        self.context_length = 77

    def forward(self, images, text):
        return self.visual(images), self.transformer(text + self.positional_embedding)


class Lists(nn.Module):
    """Attributes for whose types scripted archives call functions."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.arange(3.0))
        self.sizes, self.rates, self.flags = [1, 2], [0.5], [True]
        self.names = {"a": 1}
        self.inner = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (
            self.inner(x) * self.sizes[0] * self.rates[0] * float(self.flags[0]) * self.names["a"] + self.weight.sum()
        )


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """An archive in half precision, as OpenAI's are, and the model that it was made from."""
    torch.manual_seed(0)
    model, path = Model().half(), tmp_path_factory.mktemp("clip") / "ViT.pt"
    inputs = torch.zeros(1, 3, 64, 64).half(), torch.zeros(4, 3).half()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(model, inputs, check_trace=False), path)
    return path, model


def rewritten(source, target, change):
    """A copy of an archive, records of which ``change`` replaces by their name within the archive."""
    with zipfile.ZipFile(source) as whole, zipfile.ZipFile(target, "w") as copy:
        for record in whole.infolist():
            content = change(record.filename.partition("/")[2], whole.read(record))
            copy.writestr(record.filename, content, compress_type=record.compress_type)
    return str(target)


def test_tensors_of_an_archive(archive):
    path, model = archive
    state = read_checkpoint(path)
    assert set(state) == set(model.state_dict())
    for name, value in model.state_dict().items():
        assert torch.equal(state[name], value)
        assert state[name].dtype == value.dtype


def test_openai_file(archive):
    path, model = archive
    encoder = tiny_clip(project=True)
    assert load_weights(encoder, str(path)).fits
    expected = tiny_clip(project=True)
    torch.save(model.visual.float().state_dict(), path.with_name("plain.pt"))
    load_weights(expected, str(path.with_name("plain.pt")))
    assert_equal(encoder, expected)


def test_scripted_attributes(tmp_path):
    torch.jit.script(Lists()).save(str(tmp_path / "lists.pt"))
    state = read_checkpoint(tmp_path / "lists.pt")
    assert set(state) == {"weight", "inner.weight", "inner.bias"}
    assert torch.equal(state["weight"], torch.arange(3.0))


def test_code_is_not_needed_and_not_read(archive, tmp_path):
    """Neither the source in the archive nor its constants: they may hold anything."""
    path, _ = archive
    broken = rewritten(
        path, tmp_path / "odd.pt", lambda name, data: b"?" if name.startswith(("code", "const")) else data
    )
    assert set(read_checkpoint(broken)) == set(read_checkpoint(path))


class _Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (self.path,))


def test_pickled_code_does_not_run(archive, tmp_path):
    path, _ = archive
    evil = pickle.dumps(_Touch(str(tmp_path / "ran")), protocol=2)
    evil = rewritten(path, tmp_path / "evil.pt", lambda name, data: evil if name == "data.pkl" else data)
    with pytest.raises(UnsafeCheckpointError, match=r"evil\.pt asks to load the Python object posix\.mkdir"):
        read_checkpoint(evil)
    assert not (tmp_path / "ran").exists()


def scripted(path, *operations):
    """An archive whose module is written operation by operation; ``M`` is a module without attributes."""
    module = b"c__torch__\nM\n)\x81"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "a/data.pkl", b"\x80\x02" + b"".join(module if part == "M" else part for part in operations) + b"."
        )
        archive.writestr("a/constants.pkl", b"")
        archive.writestr("a/version", b"3\n")
        archive.writestr("a/byteorder", b"little")
    return path


def test_crafted_modules(tmp_path):
    """Circles end, odd states are errors, stand-ins take no arguments."""
    circle = scripted(tmp_path / "circle.pt", "M", b"q\x00}X\x01\x00\x00\x00ah\x00sb")
    assert read_checkpoint(circle) == {}
    nested = scripted(tmp_path / "deep.pt", *(["M", b"}X\x01\x00\x00\x00a"] * 5000), "M", b"sb" * 5000)
    for path in (
        nested,
        scripted(tmp_path / "state.pt", "M", b"K\x01b"),
        scripted(tmp_path / "slots.pt", "M", b"}X\x09\x00\x00\x00__class__c__torch__\nN\ns}\x86b"),
        scripted(tmp_path / "call.pt", b"c__torch__\nM\nK\x01\x85R"),
    ):
        with pytest.raises(WeightsError, match=str(path)):
            read_checkpoint(path)


def test_damage_is_detected(archive, tmp_path):
    path, _ = archive
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as whole:
        record = next(record for record in whole.infolist() if record.filename.endswith("/data/5"))
    data[record.header_offset + 400] ^= 1
    (tmp_path / "flipped.pt").write_bytes(data)
    (tmp_path / "cut.pt").write_bytes(data[: len(data) // 2])
    for name in ("flipped.pt", "cut.pt"):
        with pytest.raises(WeightsError, match=rf"{name} .*damaged"):
            read_checkpoint(tmp_path / name)


def test_an_archive_that_unfolds_is_refused(tmp_path):
    stream = io.BytesIO()
    torch.save(dict(a=torch.zeros(10_000_000)), stream)
    with zipfile.ZipFile(stream) as whole, zipfile.ZipFile(tmp_path / "bomb.pt", "w", 8) as bomb:
        for record in whole.infolist():
            bomb.writestr(record, whole.read(record), compress_type=8)
        bomb.writestr(f"{whole.namelist()[0].partition('/')[0]}/constants.pkl", b"")
    with pytest.raises(WeightsError, match=r"bomb\.pt .* would decompress to 38 MiB"):
        read_checkpoint(tmp_path / "bomb.pt")
