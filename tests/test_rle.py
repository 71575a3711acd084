"""Run lengths are pycocotools' own."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from samplug.imaging.encodings import runs_from_string
from samplug.utils.rle import from_labels


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (13, 17), (40, 33)])
@pytest.mark.parametrize("values", [1, 2, 300])
def test_label_maps(shape, values):
    labels = np.random.default_rng(values).integers(0, values + 1, shape)
    found = from_labels(labels)
    assert list(found) == sorted(set(labels.ravel().tolist()) - {0})
    for value, rle in found.items():
        expected = coco_mask.encode(np.asfortranarray(labels == value, np.uint8))
        assert rle == dict(size=list(shape), counts=expected["counts"].decode())


@pytest.mark.parametrize("kind", [bool, np.uint8, np.uint16])
def test_label_maps_of_any_kind_and_without_objects(kind):
    assert from_labels(np.zeros((3, 4), kind)) == {}
    assert coco_mask.decode(from_labels(np.ones((3, 4), kind))[1]).tolist() == np.ones((3, 4)).tolist()


def test_long_runs():
    labels = np.zeros((3000, 4000), np.uint8)
    labels[1000:, 3000:] = 7
    runs = runs_from_string(from_labels(labels)[7]["counts"])
    assert runs == [3000 * 3000 + 1000, *[2000, 1000] * 999, 2000]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0!", "character '!'"),
        ("0\u00e9", "character '\u00e9'"),
        ("0P", "ends within a number"),
        (f"{'P' * 12}0", "13 characters"),
    ],
)
def test_broken_codes(text, message):
    with pytest.raises(ValueError, match=message):
        runs_from_string(text)
