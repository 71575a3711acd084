"""Prompts of any numeric type, coordinates outside the image, and batches of images."""

import numpy as np
import pytest
import torch

from samplug.apis import Predictor
from samplug.models import Prompts
from samplug.models.input_geometry import InputGeometry
from samplug.models.prompts import perturb_boxes
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError, DataError
from tests.builders import TINY_ARCH, TINY_HIERA

KINDS = dict(
    SAMMaskDecoder=dict(type="SAMViT", arch=TINY_ARCH), SAM2MaskDecoder=dict(type="SAM2Hiera", arch=TINY_HIERA)
)
SIZES = [(50, 64), (64, 20), (9, 130)]


def build(kind):
    torch.manual_seed(0)
    geometry = "squash" if kind == "SAM2MaskDecoder" else "letterbox"
    model = MODELS.build(
        dict(type="PromptableSAM", backbone={**KINDS[kind], "img_size": 64}, decode_head=dict(type=kind, prompts=True),
             geometry=geometry)
    )  # fmt: skip
    model.backbone.init_weights()
    return model


@pytest.fixture(scope="module")
def predictors():
    return {kind: Predictor(build(kind)) for kind in KINDS}


@pytest.fixture(scope="module")
def predictor(predictors):
    return predictors["SAMMaskDecoder"]


@pytest.fixture(scope="module")
def pictures():
    draw = np.random.default_rng(0)
    return [draw.integers(0, 256, (*size, 3), dtype=np.uint8) for size in SIZES]


def same(found, expected, **tolerance):
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, **{"rtol": 0, "atol": 0, **tolerance})


POINTS = [[30, 20], [4, 9]]
AS_TYPES = {
    "list": lambda value: value,
    "tuple of arrays": lambda value: tuple(map(np.array, value)),
    "int64": lambda value: np.array(value),
    "uint8": lambda value: np.array(value, np.uint8),
    "float64": lambda value: np.array(value, np.float64),
    "object": lambda value: np.array(value, object),
    "reversed view": lambda value: np.array(value, np.float32)[..., ::-1].copy()[..., ::-1],
    "int tensor": lambda value: torch.tensor(value),
    "tensor with gradient": lambda value: torch.tensor(value, dtype=torch.float64).requires_grad_(),
}


@pytest.mark.parametrize("kind", AS_TYPES)
def test_places_of_any_type(predictor, pictures, kind):
    predictor.set_image(pictures[0])
    as_type = AS_TYPES[kind]
    prompts = dict(point_coords=POINTS, point_labels=[1, 0], box=[2, 3, 60, 41])
    expected = predictor.predict(
        **{name: np.array(value, np.float32) for name, value in prompts.items()}, return_logits=True
    )
    same(predictor.predict(**{name: as_type(value) for name, value in prompts.items()}, return_logits=True), expected)


def test_labels_of_bool(predictor, pictures):
    predictor.set_image(pictures[0])
    expected = predictor.predict(POINTS, [1, 0], return_logits=True)
    for labels in ([True, False], np.array([True, False]), torch.tensor([True, False])):
        same(predictor.predict(POINTS, labels, return_logits=True), expected)


@pytest.mark.parametrize("kind", AS_TYPES)
@pytest.mark.parametrize("mode", ["letterbox", "squash"])
def test_to_input_of_any_type(kind, mode):
    """Integers are scaled like floats; a scale below 1 used to become 0."""
    found = InputGeometry(64, (100, 200), mode).to_input(AS_TYPES[kind](POINTS))
    scale = torch.tensor([64 / 200, 64 / 100 if mode == "squash" else 32 / 100])
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.tensor(POINTS) * scale)


def test_to_input_refuses_other_shapes():
    with pytest.raises(ValueError, match=r"points must be \(..., 2\), found \(4,\): pass boxes as corners"):
        InputGeometry(64, (100, 200), "squash").to_input([1, 2, 3, 4])


def test_prompts_of_whole_numbers_and_bool():
    """The padding point keeps its label -1 with any dtype of the labels."""
    model = build("SAMMaskDecoder").eval()
    with torch.no_grad():
        features = model.encode(torch.randn(1, 3, 64, 64))
        points, labels, boxes = torch.tensor([POINTS]), torch.tensor([[1, 0]]), torch.tensor([[2, 3, 60, 41]])
        for box in (None, boxes):
            expected = model.decode(features, Prompts(points.float(), labels, None if box is None else box.float()))
            for kind in (torch.bool, torch.uint8, torch.float32):
                found = model.decode(features, Prompts(points, labels.to(kind), box))
                torch.testing.assert_close(found.logits, expected.logits, rtol=0, atol=0)
        with pytest.raises(ValueError, match=r"masks must be logits, found torch\.bool"):
            model.decode(features, Prompts(masks=torch.ones(1, 1, 16, 16, dtype=torch.bool)))


def test_other_numbers_that_are_whole():
    """Pixels of uint8 and boxes of int64 are scaled by fractions."""
    model, pixels = build("SAMMaskDecoder"), torch.arange(48, dtype=torch.uint8).reshape(3, 4, 4)
    torch.testing.assert_close(model.normalise(pixels), model.normalise(pixels.float()))
    boxes, numbers = torch.tensor([[3, 4, 40, 50]]), torch.rand(1, 4)
    kwargs = dict(size=(64, 64), random=numbers, fraction=None, limit=2.5)
    torch.testing.assert_close(perturb_boxes(boxes, **kwargs), perturb_boxes(boxes.float(), **kwargs))


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (dict(point_coords=[["a", 1]], point_labels=[1]), "point_coords cannot be read as an array of numbers"),
        (dict(point_coords=[[1, 2], [3]], point_labels=[1, 1]), "point_coords cannot be read"),
        (dict(point_coords=[[1, 2j]], point_labels=[1]), "point_coords cannot be read"),
        (dict(point_coords=[[10**400, 1]], point_labels=[1]), "point_coords cannot be read"),
        (dict(point_coords=[[1e300, 1]], point_labels=[1]), "point_coords has values that are not finite"),
        (dict(point_coords=[[None, 1]], point_labels=[1]), "not finite"),
        (dict(box={"x": 1}), "box cannot be read"),
        (dict(mask_input=np.ones((1, 16, 16), bool)), "mask_input is a bool mask, but logits are expected"),
        (dict(mask_input=torch.ones(1, 16, 16, dtype=torch.bool)), "mask_input is a bool mask"),
    ],
)
def test_no_numbers(predictor, pictures, prompt, message):
    predictor.set_image(pictures[0])
    with pytest.raises(DataError, match=message):
        predictor.predict(**prompt)


def test_places_outside(predictor, pictures):
    """Points outside raise an error, or move to the border with ``clamp``; points inside do not change."""
    height, width = SIZES[0]
    clamped = Predictor(predictor.model, outside="clamp")
    for asked in (predictor, clamped):
        asked.set_image(pictures[0])
    near = [[width + 1e-3, 10], [5, -1e-3]]
    with pytest.raises(DataError, match=r"\(64.001, 10\) is outside the image of 64x50.*outside='clamp'"):
        predictor.predict(near, [1, 0])
    same(clamped.predict(near, [1, 0]), predictor.predict([[width, 10], [5, 0]], [1, 0]))
    same(clamped.predict(box=[-3, 2, 70, 900]), predictor.predict(box=[0, 2, width, height]))
    same(clamped.predict(POINTS, [1, 0]), predictor.predict(POINTS, [1, 0]))
    with pytest.raises(DataError, match="not finite"):
        clamped.predict([[np.nan, 4]], [1])
    with pytest.raises(DataError, match="has x1 < x0 or y1 < y0"):
        clamped.predict(box=[900, 0, 70, 9])
    with pytest.raises(ConfigError, match="outside='clip'"):
        Predictor(predictor.model, outside="clip")


@pytest.mark.parametrize("kind", KINDS)
def test_limit_of_low_res(kind, pictures):
    """SAM 2's predictor limits the returned logits after computing the masks; SAM's does not."""
    model = build(kind)
    with torch.no_grad():
        for layer in model.decode_head.mask_layers.output_hypernetworks_mlps:
            list(layer.parameters())[-2].mul_(1e4)
    predictor = Predictor(model)
    predictor.set_image(pictures[0])
    found = predictor.predict([[5, 5]], [1], return_logits=True)
    assert np.abs(found.masks).max() > 64
    if kind == "SAM2MaskDecoder":
        assert np.abs(found.low_res).max() == 32
        again = predictor.predict(mask_input=found.low_res[:1], return_logits=True)
        assert np.isfinite(again.masks).all()
    else:
        assert np.abs(found.low_res).max() > 64


@pytest.mark.parametrize("kind", KINDS)
def test_batch_equals_single_images(predictors, pictures, kind):
    """A batch of images with different sizes and prompts gives the masks, scores and logits of single images."""
    predictor = predictors[kind]
    draw = np.random.default_rng(1)
    points, labels = [[[30, 20]], None, [[3, 4], [5, 6]]], [[1], None, [1, 0]]
    boxes = [None, [[1, 2, 19, 60], [0, 0, 5, 5]], None]
    masks = [None, None, draw.normal(size=(1, 16, 16))]
    predictor.set_image_batch(pictures)
    found = predictor.predict_batch(points, labels, boxes, masks, return_logits=True)
    kept = predictor.predict_batch(
        points, labels, boxes, masks, return_logits=True, embeddings=predictor.embed_batch(pictures)
    )
    for name, values in found._asdict().items():
        for ours, theirs in zip(values, getattr(kept, name), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    for index, picture in enumerate(pictures):
        predictor.set_image(picture)
        alone = predictor.predict(points[index], labels[index], boxes[index], masks[index], return_logits=True)
        same([values[index] for values in found], alone, atol=1e-5, rtol=1e-5)
    decisions = predictor.predict_batch(points, labels, embeddings=predictor.embed_batch(pictures))
    assert [mask.dtype for mask in decisions.masks] == [bool] * 3


def test_channel_order_of_a_batch(predictor, pictures):
    rgb = predictor.embed_batch(pictures)
    bgr = predictor.embed_batch([picture[..., ::-1] for picture in pictures], image_format="BGR")
    for one, other in zip(rgb, bgr, strict=True):
        torch.testing.assert_close(one.features, other.features, rtol=0, atol=0)


def test_an_embedding_of_a_batch_keeps_no_other(predictor, pictures):
    for embedding in predictor.embed_batch(pictures):
        for feature in embedding.features:
            assert feature.untyped_storage().nbytes() == feature.nbytes


def test_wrong_batches(predictor, pictures):
    predictor.reset_image()
    with pytest.raises(DataError, match="call set_image_batch first"):
        predictor.predict_batch()
    predictor.set_image_batch(pictures)
    with pytest.raises(DataError, match="a batch is set: call predict_batch"):
        predictor.predict(POINTS, [1, 0])
    with pytest.raises(DataError, match="point_coords_batch has 1 entries for 3 images"):
        predictor.predict_batch([POINTS], [[1, 0]])
    with pytest.raises(DataError, match=r"outside the image of 20x64 .*image 1 of the batch"):
        predictor.predict_batch([POINTS] * 3, [[1, 0]] * 3)
    predictor.set_image(pictures[0])
    with pytest.raises(DataError, match="call set_image_batch first"):
        predictor.predict_batch([POINTS], [[1, 0]])
    with pytest.raises(DataError, match="the batch has no image"):
        predictor.set_image_batch([])
    with pytest.raises(DataError, match="images must be"):
        predictor.set_image_batch([pictures[0], pictures[1][..., 0]])
