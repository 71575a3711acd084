"""Mask generation with SAM and SAM 2, against a plain loop over the predictor."""

import cv2
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from samplug.apis.predictor import Predictor
from samplug.generation import MaskGenerator, generator, point_answers
from samplug.generation.binary import run_lengths
from samplug.generation.grids import Crop, point_grid
from samplug.models import Prompts
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError
from tests.builders import TINY_ARCH, TINY_HIERA

SAM = dict(backbone=dict(type="SAMViT", arch=TINY_ARCH, img_size=64))
SAM2 = dict(
    backbone=dict(type="SAM2Hiera", arch=TINY_HIERA, img_size=64),
    decode_head=dict(type="SAM2MaskDecoder", prompts=True),
    geometry="squash",
)
# Random weights answer with speckle over the whole image: the highest logits are the most local.
OPEN = dict(
    points_per_side=6, pred_iou_thresh=0.0, mask_threshold=2.0, stability_score_thresh=0.02, box_nms_thresh=0.95
)


def build(cfg, **kwargs):
    torch.manual_seed(0)
    model = MODELS.build(dict(type="PromptableSAM", **cfg, **kwargs))
    model.backbone.init_weights()
    with torch.no_grad():  # logits of a useful size
        for mlp in model.decode_head.mask_layers.output_hypernetworks_mlps:
            mlp.layers[-1].weight.mul_(20)
    return model.eval()


@pytest.fixture(scope="module", params=[SAM, SAM2], ids=["sam", "sam2"])
def model(request):
    return build(request.param)


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 255, (40, 56, 3), dtype=np.uint8)


@pytest.mark.parametrize(("multimask", "dynamic"), [(True, False), (False, False), (False, True)])
def test_answers_above_a_predicted_iou_are_those_of_decode(model, image, multimask, dynamic):
    points = point_grid(5) * torch.tensor([56.0, 40.0])
    with torch.inference_mode():
        embedding = model.embed(image)
        (every,) = point_answers(model, embedding, points, 64, multimask, dynamic)
        best = every.iou.amax(dim=1).sort().values[5:-5]
        level = float(best[:-1][best.diff().argmax()] + best.diff().max() / 2)  # not close to any answer
        parts = list(point_answers(model, embedding, points, 7, multimask, dynamic, level))
    scores, low_res = [], []
    for point in points:
        prompts = _single_click(model, embedding, point)
        answer = model.decode(embedding.features, prompts, multimask, dynamic=dynamic)
        low_res.append(answer.logits[0])
        scores.append(answer.iou[0])
    scores, low_res = torch.stack(scores), torch.stack(low_res)
    torch.testing.assert_close(every.iou, scores, atol=1e-5, rtol=0)
    torch.testing.assert_close(every.logits, low_res, atol=1e-4, rtol=0)
    kept = (every.iou > level).any(dim=1)
    assert 0 < kept.sum() < len(points)
    answered = torch.cat([part.points for part in parts])
    rows = torch.cat([(points.float() == point).all(dim=1).nonzero()[0] for point in answered])
    # A mask that is chosen by its stability is computed for each point of which one mask is good enough.
    assert set(kept.nonzero()[:, 0].tolist()) <= set(rows.tolist())
    assert dynamic or len(rows) == kept.sum()
    torch.testing.assert_close(torch.cat([part.logits for part in parts]), low_res[rows], atol=1e-4, rtol=0)


def _single_click(model, embedding, point):
    place = embedding.geometry.to_input(point[None].float())
    return Prompts(points=place[None], labels=torch.ones(1, 1, dtype=torch.long))


def _plain(model, image, settings):
    """The published algorithm, one point after the other, all masks at the image's size on the host."""
    predictor = Predictor(model)
    predictor.set_image(image)
    found = []
    for point in (point_grid(settings["points_per_side"]) * torch.tensor([56.0, 40.0])).numpy():
        logits, scores, _ = predictor.predict(point[None], [1], multimask_output=True, return_logits=True)
        for mask, score in zip(logits, scores, strict=True):
            level = settings["mask_threshold"]
            outer = (mask > level - 1).sum()
            if outer and (mask > level + 1).sum() / outer >= settings["stability_score_thresh"]:
                rows, columns = np.nonzero(mask > level)
                box = [columns.min(), rows.min(), columns.max(), rows.max()] if len(rows) else [0, 0, 0, 0]
                found.append((float(score), box, mask > level))
    found.sort(key=lambda item: -item[0])
    kept = []
    for score, box, mask in found:
        if all(_iou(box, other) <= settings["box_nms_thresh"] for _, other, _ in kept):
            kept.append((score, box, mask))
    return kept


def _iou(first, second):
    sides = [min(first[i + 2], second[i + 2]) - max(first[i], second[i]) for i in (0, 1)]
    common = max(sides[0], 0) * max(sides[1], 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return common / (sum(areas) - common) if sum(areas) > common else 0


@pytest.mark.parametrize("memory", [1024, 0])
def test_generated_masks_equal_a_plain_loop(model, image, memory):
    expected = _plain(model, image, OPEN)
    generated = MaskGenerator(**OPEN, max_memory_mb=memory).generate(model, image)
    assert 3 < len(expected) == len(generated)
    np.testing.assert_allclose(generated.scores, [score for score, *_ in expected], atol=1e-5)
    for mask, (_, box, plain), own_box in zip(generated.decoded(), expected, generated.boxes.tolist(), strict=True):
        assert (mask != plain).sum() <= 1  # a logit on the zero line
        assert own_box == box
    assert generated.areas.tolist() == [int(mask.sum()) for mask in generated.decoded()]


def test_small_regions_are_removed(model, image):
    settings = {**OPEN, "min_mask_region_area": 30}
    generated = MaskGenerator(**settings).generate(model, image)
    assert len(generated)
    for mask in generated.decoded():
        for values in (mask, ~mask):
            number, _, areas, _ = cv2.connectedComponentsWithStats(values.astype(np.uint8), connectivity=8)
            assert number <= 2 or (areas[1:, cv2.CC_STAT_AREA] >= 30).all()
    runs = run_lengths(torch.from_numpy(generated.decoded()))
    assert len({tuple(run) for run in runs}) == len(runs)


def test_image_of_one_pixel(model):
    generated = MaskGenerator(**OPEN).generate(model, np.zeros((1, 1, 3), np.uint8))
    assert generated.decoded().shape[1:] == (1, 1)


def test_no_mask_is_good_enough(model, image):
    generated = MaskGenerator(points_per_side=3, pred_iou_thresh=1e6).generate(model, image)
    assert len(generated) == 0
    assert generated.records() == []
    assert generated.decoded().shape == (0, 40, 56)
    assert generated.instances().bboxes.shape == (0, 4)


def test_settings_of_no_generator():
    with pytest.raises(ConfigError, match="did you mean points_per_side"):
        MaskGenerator(points_per_sid=3)
    with pytest.raises(ConfigError, match="points_per_side=0 must be"):
        MaskGenerator(points_per_side=0)
    with pytest.raises(ConfigError, match="sam, sam2, texturesam"):
        MaskGenerator("sam3")


def test_training_mode(image):
    with pytest.raises(ConfigError, match="training mode"):
        MaskGenerator().generate(build(SAM).train(), image)


class _Waits(TorchDispatchMode):
    """Counts the operations for whose result a program waits for a GPU."""

    number = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function._schema.name
        by_bool = "index" in name and any(
            index is not None and index.dtype in (torch.bool, torch.uint8)
            for index in (args[1] if len(args) > 1 and isinstance(args[1], list) else [])
        )
        self.number += by_bool or name in (
            "aten::nonzero",
            "aten::_local_scalar_dense",
            "aten::equal",
            "aten::is_nonzero",
        )
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("settings", [OPEN, {**OPEN, "pred_iou_thresh": 0.01}, {**OPEN, "stability_score_thresh": 0.0}])
def test_few_waits_for_a_gpu(model, image, settings, monkeypatch):
    """A batch of points costs four at most: for points and masks above the predicted IoU, and twice for stable ones."""
    waits = []
    monkeypatch.setattr(generator._Store, "masks", lambda store, chosen: [])  # once an image
    with torch.inference_mode():
        embedding = model.embed(image)
        for size in (36, 3):  # one batch of points, or twelve
            own = MaskGenerator(**{**settings, "points_per_batch": size, "dynamic_multimask": False})
            own._search(model, embedding, Crop((0, 0, 56, 40), 0), (40, 56))  # what is computed once for all images
            with _Waits() as counted:
                own._search(model, embedding, Crop((0, 0, 56, 40), 0), (40, 56))
            waits.append(counted.number)
    assert 0 < (waits[1] - waits[0]) / 11 <= 4, waits
