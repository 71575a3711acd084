"""Predictions of files, folders and arrays."""

import copy

import cv2
import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from samplug.apis import Inferencer, Predictor, init_model
from samplug.checkpoints import WeightsError
from samplug.commands.common import TRAIN_SECTIONS, build_runner
from samplug.config import load_config
from samplug.datasets import DataError
from samplug.datasets.synthetic import camouflage_scene
from samplug.imaging.files import read_mask
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError
from tests.builders import TINY_HIERA
from tests.conftest import ROOT
from tests.shrink import SIZE, shrink

SIZES = [(48, 48), (40, 70), (33, 20)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images of different sizes, and masks that only the test reads."""
    root = tmp_path_factory.mktemp("data")
    for part in ("images", "masks"):
        (root / part).mkdir()
    for index, (height, width) in enumerate(SIZES):
        image, mask = camouflage_scene(0, index, 80)
        cv2.imwrite(str(root / "images" / f"photo {index}.png"), image[:height, :width])
        cv2.imwrite(str(root / "masks" / f"photo {index}.png"), mask[:height, :width] * np.uint8(255))
    return root


@pytest.fixture(scope="module")
def cfg(folder, tmp_path_factory):
    config = shrink(load_config(ROOT / "configs/quickstart_folder.py"), tmp_path_factory.mktemp("work"), folder)
    config.test_dataloader.dataset.update(part=None, indices=None)
    for section in TRAIN_SECTIONS:
        config.pop(section, None)
    return config


def checkpoint_of(config, path):
    from mmengine.registry import init_default_scope

    init_default_scope("samplug")
    torch.manual_seed(3)
    model = MODELS.build(config.model)
    for parameter in model.parameters():  # predictions that vary from pixel to pixel
        parameter.data += 0.03 * torch.randn_like(parameter)
    torch.save(dict(state_dict=model.state_dict(), meta=dict()), path)
    return path


@pytest.fixture(scope="module")
def checkpoint(cfg, tmp_path_factory):
    return checkpoint_of(cfg, tmp_path_factory.mktemp("weights") / "model.pth")


@pytest.fixture(scope="module")
def model(cfg, checkpoint):
    return init_model(cfg, checkpoint, "cpu")


@pytest.fixture(scope="module")
def inferencer(model):
    return Inferencer(model)


@pytest.fixture(scope="module")
def several(cfg, tmp_path_factory):
    """Of three classes."""
    config = copy.deepcopy(cfg)
    config.model.update(num_classes=3, loss="cross_entropy")
    return init_model(config, checkpoint_of(config, tmp_path_factory.mktemp("weights") / "several.pth"), "cpu")


@pytest.fixture
def pixelwise(monkeypatch):
    """Makes an Inferencer whose network looks at single pixels: the logit is the brightness, times the class."""

    def make(model, **kwargs):
        factors = torch.arange(1, model.num_classes + 1)[:, None, None]
        monkeypatch.setattr(model, "encode_decode", lambda inputs, samples=None: inputs.mean(1, keepdim=True) * factors)
        return Inferencer(model, tile=SIZE, **kwargs)

    return make


def scene(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def image_of(folder, index=0):
    return folder / "images" / f"photo {index}.png"


def test_equals_the_test_bit_for_bit(cfg, checkpoint, folder, inferencer, tmp_path):
    config = copy.deepcopy(cfg)
    config.test_dataloader.batch_size = 1
    config.load_from, config.default_hooks.visualization = (
        str(checkpoint),
        dict(type="OverlayHook", mask_dir=str(tmp_path)),
    )
    runner = build_runner(config)
    outputs = {}
    step = runner.model.test_step
    runner.model.test_step = lambda data: [outputs.setdefault(s.img_path, s) for s in step(data)]
    runner.test()
    predictions = inferencer(folder / "images")
    assert [prediction.name for prediction in predictions] == ["photo 0", "photo 1", "photo 2"]
    for prediction, size in zip(predictions, SIZES, strict=True):
        expected = outputs[str(prediction.path)]
        assert torch.equal(prediction.sample.seg_logits.data, expected.seg_logits.data)
        assert torch.equal(prediction.sample.pred_sem_seg.data, expected.pred_sem_seg.data)
        np.testing.assert_array_equal(prediction.probability, read_mask(tmp_path / f"{prediction.name}.png"))
        assert prediction.mask.shape == size
        assert prediction.mask.dtype == bool
        assert np.ptp(prediction.logits) > 0.01


def test_batches_change_rounding_at_most(model, folder, inferencer):
    several = Inferencer(model, batch_size=2)(folder / "images")
    for one, other in zip(inferencer(folder / "images"), several, strict=True):
        np.testing.assert_allclose(one.logits, other.logits, rtol=0, atol=1e-6 * max(1, np.abs(one.logits).max()))


def test_inputs_of_all_kinds_are_the_same_images(inferencer, folder):
    path = image_of(folder)
    pixels = cv2.imread(str(path))
    expected = inferencer(path)[0]
    wide = pixels.astype(np.uint16) * 257
    for given in (str(path), pixels, [pixels], (item for item in [path]), wide, np.dstack([pixels, pixels[..., 0]])):
        (prediction,) = inferencer(given)
        np.testing.assert_array_equal(prediction.logits, expected.logits)
    grey = pixels[..., 0]
    for given in (grey, grey[..., None]):
        np.testing.assert_array_equal(inferencer(given)[0].logits, inferencer(np.dstack([grey] * 3))[0].logits)
    assert [prediction.name for prediction in inferencer([path, pixels])] == ["photo 0", "000001"]


def test_a_generator_is_read_batch_by_batch(inferencer, folder):
    read = []

    def frames():
        for index in range(3):
            read.append(index)
            yield cv2.imread(str(image_of(folder, index)))

    stream = inferencer.stream(frames())
    next(stream)
    assert read == [0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((4, 4), np.float32), "float32 array"),
        (np.zeros((4, 4, 2), np.uint8), "2 channels"),
        (np.zeros((0, 4), np.uint8), r"shape \(0, 4\)"),
        (7, "is a int: give a path"),
        ("nowhere.png", "nowhere.png does not exist"),
    ],
)
def test_what_is_no_image_is_named(inferencer, given, message):
    with pytest.raises(DataError, match=message):
        inferencer(given)


def test_channels_are_chosen(model, inferencer):
    pixels = np.dstack([scene(30, 30), scene(30, 30)[..., ::-1]])
    chosen = Inferencer(model, bands=(5, 2, 4))(pixels)[0]
    np.testing.assert_array_equal(chosen.logits, inferencer(np.ascontiguousarray(pixels[..., [3, 1, 4]]))[0].logits)
    with pytest.raises(DataError, match="6 bands, not all of 7, 1, 2"):
        Inferencer(model, bands=(7, 1, 2))(pixels)


def test_a_broken_image_does_not_lose_the_others(inferencer, folder, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(image_of(folder).read_bytes()[:300])
    inputs = [image_of(folder), broken, image_of(folder, 1)]
    assert [prediction.name for prediction in inferencer(inputs, on_error="skip")] == ["photo 0", "photo 1"]
    assert list(inferencer.failures) == [str(broken)]
    seen = []
    with pytest.raises(DataError, match=r"1 images .*\n  .*broken.png is a truncated PNG"):
        seen.extend(prediction.name for prediction in inferencer.stream(inputs))
    assert seen == ["photo 0", "photo 1"]


def test_an_image_that_no_frame_holds_does_not_lose_the_others(cfg, checkpoint, folder):
    config = copy.deepcopy(cfg)
    steps = config.test_dataloader.dataset.pipeline
    next(step for step in steps if step["type"].endswith("Resize"))["keep_ratio"] = True
    inferencer = Inferencer(config, checkpoint, "cpu")
    thread = np.zeros((1, 3000, 3), np.uint8)
    found = inferencer([folder / "images/photo 0.png", thread, folder / "images/photo 1.png"], on_error="skip")
    assert [prediction.name for prediction in found] == ["photo 0", "photo 1"]
    assert list(inferencer.failures) == ["000001"]
    assert "000001: the test pipeline fails on 3000x1 pixels" in inferencer.failures["000001"]


def test_a_model_from_training_is_put_into_evaluation(cfg, checkpoint, folder, inferencer):
    model = init_model(cfg, checkpoint, "cpu").train()
    for _ in range(2):  # statistics of batches would also have been updated
        (found,) = Inferencer(model)(folder / "images/photo 1.png")
        (expected,) = inferencer(folder / "images/photo 1.png")
        np.testing.assert_array_equal(found.logits, expected.logits)


def test_folders(inferencer, folder, tmp_path):
    with pytest.raises(DataError, match=r"holds no images.*recursive"):
        inferencer(folder)
    names = [prediction.name for prediction in inferencer(folder, recursive=True)]
    assert names == [f"{part}/photo {index}" for part in ("images", "masks") for index in range(3)]
    for suffix in (".png", ".bmp"):
        cv2.imwrite(str(tmp_path / f"same{suffix}"), scene(8, 8))
    with pytest.raises(DataError, match="same name"):
        inferencer(tmp_path)


def test_run_lengths_and_threshold(model, folder, inferencer):
    prediction = inferencer(image_of(folder, 1))[0]
    level = float(np.median(1 / (1 + np.exp(-prediction.logits))))
    halved = Inferencer(model, threshold=level)(image_of(folder, 1))[0]
    assert 0.4 < halved.mask.mean() < 0.6
    np.testing.assert_array_equal(coco_mask.decode(halved.rle()) > 0, halved.mask)
    np.testing.assert_array_equal(halved.logits, prediction.logits)
    assert halved.overlay().shape == (*SIZES[1], 3)


def test_several_classes(several, folder, tmp_path):
    inferencer = Inferencer(several)
    prediction = inferencer(image_of(folder, 1))[0]
    assert prediction.logits.shape == (3, *SIZES[1])
    mask, probability, _ = (cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in prediction.save(tmp_path))
    np.testing.assert_array_equal(mask, prediction.logits.argmax(0))
    np.testing.assert_array_equal(mask, prediction.mask)
    assert probability.min() >= 85  # the likeliest of three
    np.testing.assert_array_equal(coco_mask.decode(prediction.rle(2)) > 0, mask == 2)
    with pytest.raises(ConfigError, match="one class"):
        Inferencer(several, threshold=0.3)(image_of(folder))


@pytest.mark.parametrize("shape", [(32, 32), (20, 31), (33, 32), (100, 32), (77, 130)])
@pytest.mark.parametrize("overlap", [0, 0.25, 0.6])
def test_tiles_leave_no_seams(model, pixelwise, shape, overlap):
    image = scene(*shape)
    whole = pixelwise(model, overlap=overlap)
    whole.pipeline.transforms[1:2] = []  # no resize
    (prediction,) = whole(image)
    mean, std = (np.array(value) for value in (whole.model.backbone.mean, whole.model.backbone.std))
    expected = ((image[..., ::-1] - mean) / std).mean(-1)
    np.testing.assert_allclose(prediction.logits[0], expected, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(prediction.mask, prediction.logits[0] > 0)


def test_tiles_of_several_classes_and_images_share_batches(several, pixelwise):
    images = [scene(40, 70), scene(20, 20), scene(64, 64)]
    alone = pixelwise(several)
    together = pixelwise(several, batch_size=4)
    for one, other in zip(alone(images), together(images), strict=True):
        np.testing.assert_allclose(one.logits, other.logits, atol=1e-5)
        np.testing.assert_array_equal(other.mask, other.logits.argmax(0))


def test_an_image_that_fits_is_predicted_whole(model, inferencer):
    image = scene(SIZE, SIZE - 5)
    tiled = Inferencer(model, tile="auto")
    np.testing.assert_array_equal(tiled(image)[0].logits, inferencer(image)[0].logits)


def test_a_real_model_in_tiles_differs_from_squashed(model):
    image = scene(3 * SIZE, 2 * SIZE)
    plain, tiled = (Inferencer(model, tile=tile)(image)[0] for tile in (None, "auto"))
    assert tiled.logits.shape == plain.logits.shape == (1, *image.shape[:2])
    assert np.abs(tiled.logits - plain.logits).max() > 1e-3
    np.testing.assert_array_equal(tiled.mask, 1 / (1 + np.exp(-tiled.logits[0])) > 0.5)


def test_the_weights_rule_is_that_of_the_test(cfg):
    with pytest.raises(WeightsError, match="init_cfg supplies no weights"):
        init_model(cfg, device="cpu")
    model = init_model(cfg, "untrained", "cpu")
    assert not model.training
    with pytest.raises(ConfigError, match="has its checkpoint"):
        Inferencer(model, "other.pth")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(batch_size=0), "batch_size=0"),
        (dict(overlap=1), "overlap=1"),
        (dict(tile=0), "tile=0"),
        (dict(tile="all"), "tile='all'"),
        (dict(threshold=1.5), "threshold=1.5"),
    ],
)
def test_options_out_of_range(model, options, message):
    with pytest.raises(ConfigError, match=message):
        Inferencer(model, **options)


def test_real_photos(inferencer, test_data):
    folder = test_data / "data/camo/CAMO-V.1.0-CVIU2019/Images/Test"
    paths = sorted(folder.iterdir())[:2]
    for path, prediction in zip(paths, inferencer(paths), strict=True):
        assert prediction.mask.shape == cv2.imread(str(path)).shape[:2]


def test_masks_of_everything(tmp_path):
    """The masks of a promptable model, from a file or an array; it has no map of the image."""
    cfg = load_config("masks_sam2.1-hiera-s_rwtd-1024", dict(img_size=64))
    cfg.model.backbone.update(arch=TINY_HIERA, init_cfg=None)
    cfg.model.decode_head.pop("init_cfg")
    inferencer = Inferencer(cfg, "untrained", "cpu")
    image = camouflage_scene(0, 0, 64)[0][:40]
    cv2.imwrite(str(tmp_path / "a.png"), image)
    settings = dict(points_per_side=3, pred_iou_thresh=0.0, stability_score_thresh=0.0)
    expected = Predictor(inferencer.model).generate(image, "BGR", **settings)
    assert len(expected)
    for source in (tmp_path / "a.png", str(tmp_path / "a.png"), image):
        found = inferencer.generate(source, **settings)
        assert found.masks == expected.masks
        assert torch.equal(found.scores, expected.scores)
    assert len(inferencer.generate(image, "sam2", points_per_side=2, pred_iou_thresh=1e6)) == 0
    with pytest.raises(ConfigError, match=r"no map of the image: .*generate\(image\)"):
        inferencer(image)


def test_masks_of_everything_need_a_promptable_model(inferencer):
    with pytest.raises(ConfigError, match="predicts no masks for clicks"):
        inferencer.generate(np.zeros((9, 9, 3), np.uint8))
