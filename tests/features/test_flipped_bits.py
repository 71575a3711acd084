"""No flipped bit in a file of cached features changes what is read: the entry is whole, missing, or the file is refused."""

import random
from functools import partial

import numpy as np
import pytest
import torch

from samplug.features import FeatureStore, VectorStore
from samplug.utils.errors import DataError


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setattr("samplug.features.store.print_log", lambda *args: None)
    monkeypatch.setattr("samplug.features.vectors.print_log", lambda *args: None)


def damaged(path):
    """Flip one bit of the file in each of its bytes in turn; yield the position."""
    whole, bits = path.read_bytes(), random.Random(0)
    for place in range(len(whole)):
        content = bytearray(whole)
        content[place] ^= 1 << bits.randrange(8)
        path.write_bytes(content)
        yield place


@pytest.mark.parametrize("maps", [1, 2])
def test_maps(tmp_path, maps):
    store = FeatureStore(tmp_path)
    written = [torch.randn(2, 2, 2).bfloat16() for _ in range(maps)]
    store.write("abcd", written)
    for place in damaged(store.path("abcd")):
        read = store.read("abcd")
        assert read is None or all(map(torch.equal, read, written)), place
    content = bytearray(store.path("abcd").read_bytes())
    for wrong in b"p ":  # a name that is no number
        content[content.index(b'"0"') + 1] = wrong
        store.path("abcd").write_bytes(content)
        assert store.read("abcd") is None
        content[content.index(bytes([34, wrong, 34])) + 1] = ord("0")


def test_vectors(tmp_path):
    keys, vectors = ["ab" * 32, "cd" * 32], np.arange(4, dtype=np.float32).reshape(2, 2)
    make = partial(VectorStore, tmp_path / "v.bin", 2, "source")
    with make() as store:
        store.append(keys, vectors)
    for place in damaged(tmp_path / "v.bin"):
        try:
            store = make()
        except DataError:
            continue
        for key, vector in zip(keys, vectors, strict=True):
            read = store.read(key)
            assert read is None or np.array_equal(read, vector), place
