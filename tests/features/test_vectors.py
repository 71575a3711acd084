"""Pooled vectors in one file."""

import subprocess
import sys

import numpy as np
import pytest

from samplug.features import VectorStore
from samplug.utils.errors import ConfigError, DataError

KEYS = [f"{index:064x}" for index in range(5)]
VECTORS = np.arange(15, dtype=np.float32).reshape(5, 3)


def store(tmp_path, **kwargs):
    return VectorStore(tmp_path / "vectors.bin", **{"dim": 3, "source": "weights", **kwargs})


@pytest.fixture
def filled(tmp_path):
    with store(tmp_path) as vectors:
        vectors.append(KEYS[:2], VECTORS[:2])
        vectors.append(KEYS[2:4], VECTORS[2:4])
        assert vectors.read(KEYS[3]).tolist() == [9, 10, 11]  # before it is closed, too
    return tmp_path / "vectors.bin"


def test_what_is_appended_is_read(filled, tmp_path):
    vectors = store(tmp_path)
    assert len(vectors) == 4
    assert [key in vectors for key in KEYS] == [True] * 4 + [False]
    for key, expected in zip(KEYS[:4], VECTORS, strict=False):
        assert np.array_equal(vectors.read(key), expected)
    assert vectors.read(KEYS[4]) is None
    with vectors:
        vectors.append(KEYS[:1], VECTORS[4:])
    assert np.array_equal(store(tmp_path).read(KEYS[0]), VECTORS[4])
    assert len(store(tmp_path)) == 4


@pytest.mark.parametrize("cut", [1, 30, 47])
def test_a_cut_record_is_dropped(filled, tmp_path, cut):
    """As a kill leaves it; the next writer goes on in its place."""
    filled.write_bytes(filled.read_bytes()[:-cut])
    vectors = store(tmp_path)
    assert len(vectors) == 3
    assert KEYS[3] not in vectors
    with vectors:
        vectors.append(KEYS[3:], VECTORS[3:])
    again = store(tmp_path)
    assert all(np.array_equal(again.read(key), expected) for key, expected in zip(KEYS, VECTORS, strict=True))
    assert filled.stat().st_size == 256 + 5 * (32 + 12 + 4)


def test_rows_are_read_at_once(filled, tmp_path):
    """In any order, repeated, and a damaged record is none."""
    vectors = store(tmp_path)
    rows = vectors.rows([KEYS[2], KEYS[4], KEYS[0]])
    assert rows.tolist() == [2, -1, 0]
    assert np.array_equal(vectors.values(rows[[2, 0, 2]]), VECTORS[[0, 2, 0]])
    assert vectors.values(rows[:0]).shape == (0, 3)
    with pytest.raises(DataError, match=r"vectors.bin has 4 records and no row 4"):
        vectors.values(np.array([0, 4]))
    content = bytearray(filled.read_bytes())
    content[256 + 48 + 40] ^= 1  # within the second record's values
    filled.write_bytes(content)
    assert store(tmp_path).rows(KEYS).tolist() == [0, -1, 2, 3, -1]


def test_a_value_beyond_float16_is_an_error(tmp_path):
    with store(tmp_path, dtype="float16") as vectors:
        with pytest.raises(DataError, match=r"a value of 7e.04 is beyond the range of float16: use dtype='float32'"):
            vectors.append(KEYS[:2], [[1, 2, 3], [1, -70000, 3]])
        vectors.append(KEYS[:1], [[1, 60000, np.inf]])
    assert len(store(tmp_path, dtype="float16")) == 1


def test_a_damaged_record_is_missing(filled, tmp_path):
    content = bytearray(filled.read_bytes())
    content[256 + 48 + 40] ^= 1  # within the second record's values
    filled.write_bytes(content)
    vectors = store(tmp_path)
    assert vectors.read(KEYS[1]) is None
    assert KEYS[1] not in vectors
    assert np.array_equal(vectors.read(KEYS[2]), VECTORS[2])


def test_one_writer_at_a_time(filled, tmp_path):
    """Another process is refused, until the first one closes; readers are not."""
    code = (
        "import sys; from samplug.features import VectorStore\n"
        "with VectorStore(sys.argv[1], 3, 'weights') as vectors:\n"
        "    assert len(vectors) >= 4\n"
        "    vectors.append([f'{9:064x}'], [[1, 2, 3]])\n"
    )

    def other():
        return subprocess.run([sys.executable, "-c", code, str(filled)], capture_output=True, text=True)

    with store(tmp_path) as vectors:
        vectors.append(KEYS[4:], VECTORS[4:])
        assert "another process appends to" in other().stderr
    assert other().returncode == 0
    assert len(store(tmp_path)) == 6


def test_mistakes(filled, tmp_path):
    for other in (dict(dim=4), dict(source="other weights"), dict(dtype="float16")):
        with pytest.raises(DataError, match=r"vectors\.bin begins with"):
            store(tmp_path, **other)
    with pytest.raises(ConfigError, match="dtype='int8'"):
        store(tmp_path, dtype="int8")
    with pytest.raises(ConfigError, match="too long for the file"):
        store(tmp_path, source="x" * 300)
