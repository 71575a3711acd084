"""Clicks and boxes on an image: equal to the original, whatever the shapes, and errors that say what is wrong."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from samplug.apis import Predictor
from samplug.checkpoints import load_weights
from samplug.models import Prompts
from samplug.models.input_geometry import InputGeometry
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError, DataError
from tests.builders import TINY_ARCH, TINY_HIERA


def tiny(**kwargs):
    torch.manual_seed(0)
    model = MODELS.build(
        dict(type="PromptableSAM", backbone=dict(type="SAMViT", arch=TINY_ARCH, img_size=64), **kwargs)
    )
    model.backbone.init_weights()
    return model


@pytest.fixture(scope="module")
def predictor():
    found = Predictor(tiny())
    found.set_image(np.random.default_rng(0).integers(0, 256, (40, 80, 3), dtype=np.uint8))
    return found


@pytest.fixture(scope="module")
def original(parity, tmp_path_factory):
    """The reference tensors, and a Predictor with their weights and image."""
    reference = parity("sam_tiny.pt")
    config = reference["config"]
    names = dict(
        embed_dims="embed_dim", depth="depth", num_heads="num_heads", window_size="window_size", patch_size="patch_size"
    )
    arch = {ours: config[theirs] for ours, theirs in names.items()}
    arch |= dict(global_attn_indexes=config["global_attn_indexes"], mlp_ratio=config["mlp_ratio"])
    model = MODELS.build(
        dict(type="PromptableSAM", backbone=dict(type="SAMViT", arch=arch, img_size=config["image_size"]))
    )
    file = tmp_path_factory.mktemp("sam") / "sam.pth"
    torch.save({key: value.clone() for key, value in reference["state_dict"].items()}, file)
    report = load_weights(model, str(file))
    assert set(report.loaded) == set(model.state_dict())
    assert len(report.loaded) == len(reference["state_dict"])
    found = Predictor(model)
    found.set_image(reference["image"].numpy())
    return reference, found


def test_image_as_the_original(original):
    reference, predictor = original
    frame = InputGeometry(reference["config"]["image_size"], tuple(reference["original_size"]), "letterbox")
    assert list(frame.filled) == reference["input_size"]
    fitted = frame.fit(reference["image"].numpy())
    torch.testing.assert_close(fitted, reference["resized"].permute(2, 0, 1).float(), rtol=0, atol=0)
    torch.testing.assert_close(predictor.model.normalise(fitted), reference["preprocessed"], rtol=0, atol=1e-6)
    torch.testing.assert_close(predictor.features[0], reference["image_embedding"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [((480, 640), (768, 1024)), ((427, 640), (683, 1024)), ((1200, 1800), (683, 1024)),
                                  ((100, 3000), (34, 1024)), ((1023, 1025), (1022, 1024)), ((1, 5000), (1, 1024))])  # fmt: skip
def test_letterbox_sizes(size):
    original, filled = size
    assert InputGeometry(1024, original, "letterbox").filled == filled


@pytest.mark.parametrize(
    "name", ["none", "point", "points_pos_neg", "box", "boxes3", "point_and_box", "point_and_mask", "mask", "all"]
)
def test_prompts_as_the_original(original, name):
    """From pixels of the image to masks of its size; places of the fixture are in the frame, so they are taken back first."""
    reference, predictor = original
    prompt, scale = reference["prompts"][name], reference["original_size"][0] / reference["input_size"][0]
    points, labels, boxes, mask = (prompt[key] for key in ("points", "labels", "boxes", "mask"))
    several = boxes is not None and len(boxes) > 1
    if boxes is not None:
        boxes = (boxes if several else boxes[0]) * scale
    for mode in ("single", "multi"):
        found = predictor.predict(
            None if points is None else points[0] * scale,
            None if labels is None else labels[0],
            boxes,
            None if mask is None else mask[0],
            multimask_output=mode == "multi",
            return_logits=True,
        )
        expected = reference["cases"][name][mode]
        low_res, scores = (
            (expected["low_res"], expected["iou"]) if several else (expected["low_res"][0], expected["iou"][0])
        )
        np.testing.assert_allclose(found.low_res, low_res, rtol=1e-4, atol=2e-4)
        np.testing.assert_allclose(found.scores, scores, rtol=1e-4, atol=2e-5)
        if mode == "single" and "postprocessed_single" in reference["cases"][name]:
            first = found.masks[0] if several else found.masks
            np.testing.assert_allclose(first, reference["cases"][name]["postprocessed_single"][0], rtol=1e-4, atol=2e-4)


def test_shapes(predictor):
    point = dict(point_coords=[[10, 5]], point_labels=[1])
    masks, scores, low_res = predictor.predict(**point)
    assert (masks.shape, scores.shape, low_res.shape) == ((3, 40, 80), (3,), (3, 16, 16))
    assert masks.dtype == bool
    again = predictor.predict(**point, mask_input=low_res[:1], multimask_output=False)
    assert again.masks.shape == (1, 40, 80)
    many = predictor.predict(box=[[0, 0, 10, 10], [5, 5, 80, 40], [1, 2, 3, 4]])
    assert many.masks.shape == (3, 3, 40, 80)
    clicks = predictor.predict([[[1, 2], [3, 4]], [[5, 6], [7, 8]]], [[1, 0], [1, 1]], multimask_output=False)
    assert clicks.masks.shape == (2, 1, 40, 80)


def test_objects_do_not_see_each_other(predictor):
    boxes = np.array([[0, 0, 30, 30], [20, 10, 70, 39]])
    together = predictor.predict(box=boxes, return_logits=True)
    for index, box in enumerate(boxes):
        alone = predictor.predict(box=box, return_logits=True)
        np.testing.assert_allclose(together.masks[index], alone.masks, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("first", [True, False])
def test_clicks_in_one_precision_after_another(predictor, first):
    """What is kept of an image is of one precision."""
    image = np.random.default_rng(0).integers(0, 256, (40, 80, 3), dtype=np.uint8)
    expected = predictor.predict([[10, 5]], [1])
    other = Predictor(predictor.model)
    other.set_image(image)
    for half in (first, not first):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            found = other.predict([[10, 5]], [1])
        np.testing.assert_allclose(found.low_res, expected.low_res, rtol=0, atol=0.05 if half else 1e-5)


def test_masks_of_several_objects(predictor):
    """Prompts of masks alone say how many objects there are, too."""
    masks = np.random.default_rng(2).normal(size=(3, 1, 16, 16))
    together = predictor.predict(mask_input=masks, return_logits=True)
    assert together.masks.shape == (3, 3, 40, 80)
    for index, mask in enumerate(masks):
        alone = predictor.predict(mask_input=mask, return_logits=True)
        np.testing.assert_allclose(together.masks[index], alone.masks, rtol=1e-4, atol=1e-4)


def test_images_of_a_batch():
    """Objects are given their own image's features."""
    model = tiny().eval()
    images = torch.randn(2, 3, 64, 64)
    box = torch.tensor([[3.0, 4.0, 40.0, 50.0]])
    with torch.no_grad():
        features = model.encode(images)
        index = torch.tensor([1, 0, 1])
        found = model.decode(features, Prompts(boxes=box.expand(3, 4), image_index=index))
        for place, image in enumerate(index):
            alone = model.decode(model.encode(images[image : image + 1]), Prompts(boxes=box))
            torch.testing.assert_close(found.logits[place : place + 1], alone.logits, rtol=1e-4, atol=1e-4)
        with pytest.raises(ConfigError, match="3 objects in 2 images: set image_index"):
            model.decode(features, Prompts(boxes=box.expand(3, 4)))


def test_channel_order_and_reset(predictor):
    image = np.random.default_rng(1).integers(0, 256, (30, 20, 3), dtype=np.uint8)
    other = Predictor(predictor.model)
    assert not other.is_image_set
    with pytest.raises(DataError, match="call set_image first"):
        other.predict(box=[0, 0, 1, 1])
    other.set_image(image)
    features = other.features[0].clone()
    other.set_image(image[..., ::-1], image_format="BGR")
    torch.testing.assert_close(other.features[0], features, rtol=0, atol=0)
    other.reset_image()
    assert not other.is_image_set


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (900, 3), (64, 64)])
def test_any_image_size(predictor, shape):
    other = Predictor(predictor.model)
    other.set_image(np.full((*shape, 3), 90, np.uint8))
    assert other.predict([[0, 0]], [1]).masks.shape == (3, *shape)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (dict(point_coords=[[10, 5]]), "need point_labels"),
        (dict(point_coords=[[10, 5]], point_labels=[1, 0]), "need point_labels"),
        (dict(point_coords=[[10, 5]], point_labels=[2]), "point_labels must be 1 or 0, found [2.0]"),
        (dict(point_coords=[10, 5], point_labels=[1]), "point_coords has the shape (2,)"),
        (dict(point_coords=[[10, 41]], point_labels=[1]), "(10, 41) is outside the image of 80x40"),
        (dict(point_coords=[[-1, 4]], point_labels=[1]), "(-1, 4) is outside"),
        (dict(point_coords=[[np.nan, 4]], point_labels=[1]), "not finite"),
        (dict(mask_input=np.zeros((1, 8, 8))), "expected (1, 16, 16)"),
        (dict(mask_input=np.zeros((3, 16, 16))), "low_res[i][None]"),
        (dict(box=[0, 0, 10]), "box has the shape (3,)"),
        (dict(box=[20, 0, 10, 10]), "has x1 < x0 or y1 < y0"),
        (dict(box=np.zeros((0, 4))), "box has the shape (0, 4)"),
    ],
)
def test_wrong_prompts(predictor, prompt, message):
    with pytest.raises(DataError) as caught:
        predictor.predict(**prompt)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)],
)
def test_wrong_images(predictor, image):
    with pytest.raises(DataError, match="images must be \\(H, W, 3\\) uint8"):
        Predictor(predictor.model).set_image(image)


def test_init_cfg_and_the_hub_layout(tmp_path):
    """One file gives the whole model; transformers' own model with the same weights answers the same."""
    from transformers import SamConfig, SamModel

    vision = dict(
        hidden_size=48, num_hidden_layers=3, num_attention_heads=3, global_attn_indexes=[1], window_size=3, mlp_dim=192,
        image_size=64, patch_size=16,
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = SamModel(
        SamConfig(
            vision_config=vision,
            mask_decoder_config=dict(layer_norm_eps=1e-5),
            prompt_encoder_config=dict(image_size=64, patch_size=16),
        )
    ).eval()
    theirs.save_pretrained(tmp_path / "hub")
    model = tiny(init_cfg=dict(type="Pretrained", checkpoint=str(tmp_path / "hub/model.safetensors")))
    model.init_weights()
    image = np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    predictor = Predictor(model)
    predictor.set_image(image)
    found = predictor.predict([[20, 30], [5, 5]], [1, 0], return_logits=True)
    pixels = model.normalise(torch.from_numpy(image).permute(2, 0, 1).float())
    with torch.no_grad():
        answer = theirs(
            pixel_values=pixels,
            input_points=torch.tensor([[[[20.0, 30.0], [5.0, 5.0]]]]),
            input_labels=torch.tensor([[[1, 0]]]),
        )
    np.testing.assert_allclose(found.scores, answer.iou_scores[0, 0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.low_res, answer.pred_masks[0, 0], rtol=1e-4, atol=1e-3)


@pytest.fixture(scope="module")
def sam2(parity, tmp_path_factory):
    """The reference tensors of SAM 2, and a Predictor with their weights and image."""
    reference = parity("sam2_tiny.pt")
    config = reference["config"]
    names = dict(embed_dims="e", num_heads="heads", stages="stages", global_attn_blocks="glob",
                 window_pos_embed_bkg_spatial_size="bkg", window_spec="win")  # fmt: skip
    arch = {ours: config[theirs] for ours, theirs in names.items()}
    model = MODELS.build(
        dict(
            type="PromptableSAM",
            backbone=dict(type="SAM2Hiera", arch=arch, img_size=config["S"]),
            decode_head=dict(type="SAM2MaskDecoder", prompts=True),
            geometry="squash",
        )
    )
    file = tmp_path_factory.mktemp("sam2") / "sam2.pt"
    torch.save({"model": {key: value.clone() for key, value in reference["model"].items()}}, file)
    assert load_weights(model, str(file)).fits
    found = Predictor(model)
    found.set_image(reference["image"].numpy())
    return reference, found


SAM2_CASES = ["none", "point", "points_pos_neg", "box", "boxes3", "point_and_box", "point_and_mask", "mask", "all"]


@pytest.mark.parametrize("name", SAM2_CASES)
@pytest.mark.parametrize("mode", ["single_dynamic", "multi"])
def test_sam2_as_the_original(sam2, name, mode):
    """From the image and prompts in its pixels to logits, as SAM 2's image predictor."""
    reference, predictor = sam2
    assert set(reference["cases"]) <= set(SAM2_CASES)
    if name not in reference["cases"]:
        pytest.skip("the reference has no such case")
    prompt, expected = reference["prompts"][name], reference["cases"][name][mode]
    points, labels, boxes, mask = (prompt[key] for key in ("points", "labels", "boxes", "mask"))
    several = boxes is not None and boxes.ndim == 2 and len(boxes) > 1
    if boxes is not None and not several:
        boxes = boxes.reshape(4)
    found = predictor.predict(points, labels, boxes, mask, multimask_output=mode == "multi", return_logits=True)
    low_res, scores = expected["low_res"].clamp(-32, 32), expected["iou"]  # the reference has them before this step
    np.testing.assert_allclose(found.low_res, low_res if several else low_res.squeeze(0), rtol=1e-4, atol=2e-4)
    np.testing.assert_allclose(found.scores, scores if several else scores.squeeze(0), rtol=1e-4, atol=2e-5)
    assert found.masks.shape[-2:] == tuple(reference["image"].shape[:2])


def of_kind(kind):
    backbone = (
        dict(type="SAMViT", arch=TINY_ARCH) if kind == "SAMMaskDecoder" else dict(type="SAM2Hiera", arch=TINY_HIERA)
    )
    torch.manual_seed(0)
    model = MODELS.build(
        dict(type="PromptableSAM", backbone={**backbone, "img_size": 64}, decode_head=dict(type=kind, prompts=True))
    )
    model.backbone.init_weights()
    return model


KINDS = ["SAMMaskDecoder", "SAM2MaskDecoder"]


def pictures(count=2):
    return np.random.default_rng(0).integers(0, 256, (count, 50, 64, 3), dtype=np.uint8)


def clicks(number):
    """Prompts of all kinds, each of its own."""
    draw = np.random.default_rng(number)
    point = dict(point_coords=[draw.integers(0, 50, 2)], point_labels=[1])
    mask = dict(point, mask_input=draw.normal(size=(1, 16, 16)) * 5, multimask_output=False)
    return (point, dict(box=[1, 2, *draw.integers(10, 50, 2)]), mask)[number % 3]


def equal(found, expected):
    return all(np.array_equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_threads_share_a_model(kind):
    """Each of two predictors, and any number of threads with one predictor, gets the masks of its own image and prompt."""
    model, calls = of_kind(kind), [clicks(number) for number in range(30)]
    predictors = [Predictor(model) for _ in range(2)]
    for predictor, picture in zip(predictors, pictures(), strict=True):
        predictor.set_image(picture)
    embeddings = [predictors[0].embed(picture) for picture in pictures()]
    expected = [[predictor.predict(**call) for call in calls] for predictor in predictors]
    assert not any(equal(one, other) for one, other in zip(*expected, strict=True))

    def with_own_image(index):
        return [predictors[index].predict(**call) for call in calls]

    def with_embeddings(index):
        return [predictors[0].predict(**call, embedding=embeddings[index % 2]) for call in calls]

    with ThreadPoolExecutor(4) as pool:
        for ask, threads in ((with_own_image, 2), (with_embeddings, 4)):
            for index, found in enumerate(pool.map(ask, range(threads))):
                assert [equal(*pair) for pair in zip(found, expected[index % 2], strict=True)] == [True] * len(calls)


@pytest.mark.parametrize("kind", KINDS)
def test_embeddings_are_values(kind):
    """They may alternate, be copied, pickled and moved, and are not of the present image."""
    asked = Predictor(of_kind(kind))
    first, second = (asked.embed(picture) for picture in pictures())
    with pytest.raises(DataError, match="call set_image first"):
        asked.predict(**clicks(0))
    asked.set_image(pictures()[1])
    expected = [asked.predict(**clicks(0), embedding=embedding) for embedding in (first, second)]
    assert equal(asked.predict(**clicks(0)), expected[1])
    assert not equal(*expected)
    for again in (first, copy.deepcopy(first), pickle.loads(pickle.dumps(first)), first.to("cpu")):
        assert equal(asked.predict(**clicks(0), embedding=second), expected[1])
        assert equal(asked.predict(**clicks(0), embedding=again), expected[0])
    with pytest.raises(AttributeError):
        first.features = second.features
    assert not any(
        tensor.is_inference() or tensor.requires_grad for tensor in (*first.features, first.memory.positions)
    )


def test_changed_weights_are_noticed():
    """Masks of old features and new weights would be of neither: training, loading, and writing to a part."""
    model = of_kind("SAMMaskDecoder")
    predictor, state = Predictor(model), copy.deepcopy(model.state_dict())
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def train():
        model.decode_head((torch.randn(1, 256, 4, 4),)).sum().backward()
        optimiser.step()

    for change in (train, lambda: model.load_state_dict(state)):
        predictor.set_image(pictures()[0])
        embedding = predictor.embed(pictures()[0])
        predictor.predict(**clicks(0))
        change()
        for old in (dict(), dict(embedding=embedding)):
            with pytest.raises(DataError, match="weights have changed since it encoded the image: call set_image"):
                predictor.predict(**clicks(0), **old)
        predictor.set_image(pictures()[0])
        fresh = Predictor(copy.deepcopy(model))
        fresh.set_image(pictures()[0])
        assert equal(predictor.predict(**clicks(0)), fresh.predict(**clicks(0)))


def test_memory_is_of_one_image():
    model = of_kind("SAMMaskDecoder").eval()
    memory = model.embed(pictures()[0]).memory
    with torch.no_grad():
        features = model.encode(torch.randn(2, 3, 64, 64))
        with pytest.raises(ConfigError, match="memory belongs to one image, features to 2"):
            model.decode(features, Prompts(boxes=torch.ones(2, 4)), memory=memory)


def test_the_decoders_threshold_is_the_default():
    model = tiny(decode_head=dict(type="SAMMaskDecoder", prompts=True, threshold=0.3))
    low, given = Predictor(model), Predictor(model, mask_threshold=1.5)
    for predictor, logit in ((low, np.log(3 / 7)), (given, 1.5)):
        predictor.set_image(pictures()[0])
        logits = predictor.predict(**clicks(0), return_logits=True).masks
        assert (predictor.predict(**clicks(0)).masks == (logits > logit)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_memory_changes_no_mask(kind):
    """Clicks in any order, several objects, mask prompts between them, another image: equal to a decoder without memory."""
    model = of_kind(kind)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 50, 64, 3), dtype=np.uint8)
    mask = np.random.default_rng(1).normal(size=(1, 16, 16)).astype(np.float32) * 5
    calls = [
        dict(point_coords=[[5, 5]], point_labels=[1]),
        dict(box=[3, 4, 30, 40]),
        dict(point_coords=[[5, 5]], point_labels=[1], mask_input=mask, multimask_output=False),
        dict(box=[[3, 4, 30, 40], [1, 1, 9, 9], [20, 20, 60, 45]]),
        dict(point_coords=[[40, 30], [5, 5]], point_labels=[0, 1]),
    ]
    predictor, decode = Predictor(model), model.decode
    for picture in pictures:
        predictor.set_image(picture)
        for call in [*calls, *calls]:
            model.decode = decode
            found = predictor.predict(**call, return_logits=True)
            model.decode = lambda *args, memory: decode(*args)
            expected = predictor.predict(**call, return_logits=True)
            for ours, theirs in zip(found, expected, strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("size", "patch"), [((50, 64), 16), ((64, 7), 16), ((300, 200), 8), ((20, 37), 16), ((1, 64), 16)]
)
def test_masks_are_restored_as_by_the_original(size, patch):
    """To the input's size, without the padding, to the image's: interpolating less gives the same."""
    frame = InputGeometry(64, size, "letterbox")
    low = torch.randn(2, 3, 4 * 64 // patch, 4 * 64 // patch, generator=torch.Generator().manual_seed(0))
    height, width = frame.filled
    whole = torch.nn.functional.interpolate(low, (64, 64), mode="bilinear")[..., :height, :width]
    expected = torch.nn.functional.interpolate(whole, size, mode="bilinear")
    torch.testing.assert_close(frame.restore(low), expected, rtol=1e-5, atol=1e-5)
