"""The mask generator against SAM 2's own, with given answers of the network."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from samplug.generation import MaskGenerator
from samplug.generation.binary import inclusive_boxes, near_crop_edge, run_lengths, stability, suppress
from samplug.generation.grids import image_crops, point_grid
from samplug.generation.small_regions import without_small_regions
from samplug.models.decoders import Masks
from samplug.models.image_embedding import ImageEmbedding
from samplug.models.input_geometry import InputGeometry

CASES = ["default", "texturesam", "crops", "crops_texturesam", "m2m", "min_area_cpu"]


@pytest.fixture(scope="module")
def fixture(parity):
    return parity("sam2_amg.pt")


class Answering:
    """A promptable model whose answers to the points of each crop are given."""

    training, dynamic_multimask = False, False
    img_size = 64
    backbone = SimpleNamespace(patch_size=16)

    def __init__(self, crops):
        self.crops, self.number = crops, -1
        self.decode_head = self

    def embed(self, image):
        self.number += 1
        self.asked = self.refined = 0
        geometry = InputGeometry(self.img_size, image.shape[:2], "squash")
        return ImageEmbedding((torch.zeros(1, 1, 4, 4),), geometry, None)

    def embed_prompts(self, size, grid, points, labels):
        return points, None

    def decode_above(self, features, sparse, min_iou, multimask, dynamic, memory):
        answers = self.crops[self.number]
        rows = slice(self.asked, self.asked + sparse.shape[1])
        self.asked = rows.stop
        iou = answers["iou"][rows]
        kept = (iou > min_iou).any(dim=1).nonzero()[:, 0]
        return Masks(answers["low_res"][rows][kept][None], iou[kept][None], None), kept

    def decode(self, features, prompts, multimask, dynamic, memory):
        answers = self.crops[self.number]
        rows = slice(self.refined, self.refined + len(prompts))
        assert torch.equal(prompts.masks[:, 0], answers["low_res"].flatten(0, 1)[rows].clamp(-32, 32))
        self.refined = rows.stop
        return Masks(answers["m2m_low_res"].flatten(0, 1)[rows, None], answers["m2m_iou"].flatten()[rows, None], None)


@pytest.mark.parametrize("memory", [1024, 0])
@pytest.mark.parametrize("name", CASES)
def test_records(fixture, name, memory):
    case = fixture["cases"][name]
    # SAM 2's own code skips small regions without its compiled extension.
    options = {key: value for key, value in case["options"].items() if key != "min_mask_region_area"}
    model = Answering(case["crops"])
    image = np.zeros((*case["image_hw"], 3), np.uint8)
    generated = MaskGenerator("sam2", max_memory_mb=memory, points_per_batch=7, **options).generate(model, image)

    expected = case["expected"]["records"]
    records = generated.records()
    assert len(records) == len(expected["area"])
    runs = run_lengths(torch.from_numpy(generated.decoded()))
    assert [list(counts) for counts in expected["rle_counts"]] == runs
    assert [record["area"] for record in records] == list(expected["area"])
    for key, ours in (("bbox_xywh", "bbox"), ("crop_box_xywh", "crop_box")):
        assert [record[ours] for record in records] == [list(map(int, box)) for box in expected[key]]
    for key in ("predicted_iou", "stability_score", "point_coords"):
        ours = torch.tensor([record[key] for record in records]).reshape(-1)
        assert torch.allclose(ours, torch.as_tensor(expected[key]).float().reshape(-1), atol=1e-6, rtol=0)


def test_published_helpers(fixture):
    given, expected = fixture["helpers"]["inputs"], fixture["helpers"]["expected"]
    assert torch.equal(point_grid(4).float(), expected["point_grid_4"])
    for query in expected["crop_boxes"]:
        crops = image_crops(tuple(query["size_hw"]), query["layers"], query["overlap_ratio"])
        assert [list(crop.box) for crop in crops] == [list(box) for box in query["boxes"]]
        assert [crop.layer for crop in crops] == list(query["layer"])
    assert torch.equal(inclusive_boxes(given["masks"]), expected["boxes"])
    assert run_lengths(given["masks"]) == [list(counts) for counts in expected["rle_counts"]]
    for query in expected["near_edge"]:
        _, _, width, height = query["image"]
        assert torch.equal(near_crop_edge(given["edge_boxes"], tuple(query["crop"]), (height, width)), query["near"])
    for query in expected["stability"]:
        ours = stability(given["logits"], query["threshold"], query["offset"])
        torch.testing.assert_close(ours, query["score"], atol=1e-6, rtol=0, equal_nan=True)
    for query in expected["small_regions"]:
        mask = given["masks"][query["index"]].numpy()
        mask, filled = without_small_regions(mask, query["min_area"], "holes")
        mask, removed = without_small_regions(mask, query["min_area"], "islands")
        assert (filled, removed) == (query["holes_changed"], query["islands_changed"])
        assert np.array_equal(mask, query["result"].numpy())


def _plain_nms(boxes, scores, threshold):
    """Greedy suppression, one box after the other."""
    kept = []
    for index in sorted(range(len(boxes)), key=lambda index: -scores[index]):
        x0, y0, x1, y1 = boxes[index]
        for other in kept:
            a0, b0, a1, b1 = boxes[other]
            common = max(min(x1, a1) - max(x0, a0), 0) * max(min(y1, b1) - max(y0, b0), 0)
            if common / ((x1 - x0) * (y1 - y0) + (a1 - a0) * (b1 - b0) - common) > threshold:
                break
        else:
            kept.append(index)
    return kept


@pytest.mark.parametrize("number", [0, 1, 50, 2500])  # more than one block
def test_suppression_is_greedy(number):
    generator = torch.Generator().manual_seed(number)
    corners = torch.randint(0, 60, (number, 2), generator=generator)
    boxes = torch.cat([corners, corners + torch.randint(1, 40, (number, 2), generator=generator)], dim=1)
    scores = torch.randint(0, 20, (number,), generator=generator).float()  # many ties
    assert suppress(boxes, scores, 0.5).tolist() == _plain_nms(boxes.tolist(), scores.tolist(), 0.5)
