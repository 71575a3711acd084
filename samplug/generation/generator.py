"""Masks of everything in an image, from a grid of clicks (Kirillov et al., 2023; Ravi et al., 2024)."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from samplug.generation.answers import PointAnswers, point_answers
from samplug.generation.binary import inclusive_boxes, near_crop_edge, run_lengths, stability, suppress
from samplug.generation.generated import GeneratedMasks
from samplug.generation.grids import Crop, image_crops, point_grid
from samplug.generation.settings import GeneratorSettings
from samplug.generation.small_regions import without_small_regions
from samplug.generation.stability_bound import stability_bound
from samplug.imaging.files import read_image
from samplug.models.image_embedding import ImageEmbedding, checked_image
from samplug.models.promptable import PromptableSAM
from samplug.models.prompts import Prompts
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError
from samplug.utils.rle import RLE, decode_rle, encode_rle, from_runs, rle_area

_BYTES_PER_PIXEL = 8  # a float, its decisions, and room for one intermediate result
_CPU_PIXELS = 2**21  # a CPU's allocator reuses results up to about this size, which takes a third of the time
_MOST_LOGIT = 32.0  # SAM 2 limits logits that become a prompt


class _Scores(NamedTuple):
    """Candidates of one crop or of several: K rows each; boxes and points in pixels of the image."""

    boxes: Tensor
    iou: Tensor
    stability: Tensor
    points: Tensor
    crops: Tensor

    def select(self, rows: Tensor) -> "_Scores":
        return _Scores(*(values[rows] for values in self))


@MODELS.register_module()
class MaskGenerator:
    """Find masks of everything in an image: ask for masks at each point of a grid, keep good ones, drop duplicates.

    Data flow for each crop, P points in a batch, M masks of each, K that are left::

        crop -> model.embed -> ImageEmbedding;  grid -> point_answers -> logits (P, M, 4g, 4g), iou (P, M)
        iou -> masks with iou <= pred_iou_thresh go, before they are enlarged or, with all of a point, even upscaled
        logits (K, 4g, 4g) -> stability_bound; masks that cannot be stable go
        logits -> enlarged in parts -> stability, boxes; unstable ones and those cut by the crop go
        boxes, iou -> suppress -> the few that stay are enlarged again -> run lengths -> host

    Args:
        preset: Published settings, a key of ``PRESETS``: ``'sam'``, ``'sam2'``, ``'texturesam'``; or settings.
        **settings: Changes to them, see :class:`GeneratorSettings`.

    Raises:
        ConfigError: An unknown preset or setting, or a value out of range.
    """

    def __init__(self, preset: str | GeneratorSettings = "sam2", **settings: Any) -> None:
        self.settings = GeneratorSettings.of(preset, **settings)

    @classmethod
    def of(cls, model: Any, preset: str | None = None, **settings: Any) -> "MaskGenerator":
        """Return a generator with the defaults of a model.

        Args:
            model: A :class:`samplug.models.PromptableSAM`.
            preset: A key of ``PRESETS``. None: the model's ``mask_generator``; if it has none, ``'sam'`` or
                ``'sam2'``, as its decoder is.
            **settings: Changes to them.

        Raises:
            ConfigError: The model predicts no masks for clicks; or see the class.
        """
        if not isinstance(model, PromptableSAM):
            raise ConfigError(
                f"MaskGenerator: {type(model).__name__} predicts no masks for clicks: take a config of PromptableSAM"
            )
        if preset is None and model.mask_generator is not None:
            return cls(model.mask_generator.settings, **settings)
        return cls(preset or model.decode_head.generator_preset, **settings)

    @torch.inference_mode()
    def generate(self, model: Any, image: NDArray[np.uint8]) -> GeneratedMasks:
        """Generate the masks of an image.

        Args:
            model: A :class:`samplug.models.PromptableSAM` in evaluation mode.
            image: (H, W, 3) uint8 RGB.

        Raises:
            ConfigError: The model is in training mode.
            DataError: Another shape or type of the image.
        """
        image = checked_image(image)
        return self._merge(model, image, None, (image.shape[0], image.shape[1]))

    @torch.inference_mode()
    def annotate(self, model: Any, embedding: ImageEmbedding, sample: Any) -> None:
        """Generate the masks of an image of a test run, and set the sample's ``pred_instances``.

        Args:
            model: See :meth:`generate`.
            embedding: The encoded image.
            sample: Its data sample; crops are cut from the file ``img_path``.

        Raises:
            ConfigError: The model is in training mode.
            DataError: The file cannot be read.
        """
        image = read_image(sample.img_path)[..., ::-1] if self.settings.crop_n_layers else None
        sample.pred_instances = self._merge(model, image, embedding, embedding.geometry.original).instances()

    def _merge(
        self, model: Any, image: NDArray[np.uint8] | None, whole: ImageEmbedding | None, size: tuple[int, int]
    ) -> GeneratedMasks:
        """Find the masks of all crops, and drop duplicates among crops."""
        own = self.settings
        if model.training:
            raise ConfigError("MaskGenerator: the model is in training mode: call model.eval() first")
        crops = image_crops(size, own.crop_n_layers, own.crop_overlap_ratio)
        scores: list[_Scores] = []
        masks: list[RLE] = []
        for crop in crops:
            x0, y0, x1, y1 = crop.box
            if whole is not None and crop.layer == 0:
                embedding = whole
            else:
                assert image is not None
                embedding = model.embed(image[y0:y1, x0:x1])
            found, own_masks = self._search(model, embedding, crop, size)
            scores.append(found)
            masks += own_masks
        merged = _Scores(*(torch.cat(values) for values in zip(*scores, strict=True)))
        if len(crops) > 1:
            areas = (merged.crops[:, 2] - merged.crops[:, 0]) * (merged.crops[:, 3] - merged.crops[:, 1])
            stays = suppress(merged.boxes, 1 / areas.float(), own.crop_nms_thresh)
            merged, masks = merged.select(stays), [masks[index] for index in stays.tolist()]
        if own.min_mask_region_area:
            merged, masks = self._without_small_regions(merged, masks)
        boxes, iou, stable, points, places = (values.cpu() for values in merged)
        areas = torch.tensor([rle_area(mask) for mask in masks], dtype=torch.int64)
        return GeneratedMasks(size, masks, areas, boxes, iou, stable, points, places)

    def _search(
        self, model: Any, embedding: ImageEmbedding, crop: Crop, size: tuple[int, int]
    ) -> tuple[_Scores, list[RLE]]:
        """Find the masks of one crop, without duplicates."""
        own = self.settings
        height, width = embedding.geometry.original
        side = max(1, int(own.points_per_side / own.crop_n_points_downscale_factor**crop.layer))
        points = point_grid(side) * torch.tensor([width, height], dtype=torch.float64)
        store = _Store(embedding, crop, size, own)
        scores = [
            self._judge(answers, embedding, crop, size, store) for answers in self._answers(model, embedding, points)
        ]
        found = _Scores(*(torch.cat(values) for values in zip(*scores, strict=True)))
        stays = suppress(found.boxes, found.iou, own.box_nms_thresh)
        return found.select(stays), store.masks(stays)

    def _answers(self, model: Any, embedding: ImageEmbedding, points: Tensor) -> Iterator[PointAnswers]:
        """Yield K masks with the point of each, (K, 2), (K, 4g, 4g), (K,), filtered by predicted IoU."""
        own = self.settings
        dynamic = model.dynamic_multimask if own.dynamic_multimask is None else own.dynamic_multimask
        lowest = own.pred_iou_thresh if own.pred_iou_thresh > 0 and not own.use_m2m else -torch.inf
        for answers in point_answers(
            model, embedding, points, own.points_per_batch, own.multimask_output, dynamic, lowest
        ):
            clicks = answers.points.repeat_interleave(answers.iou.shape[1], 0)
            logits, iou = answers.logits.flatten(0, 1), answers.iou.flatten()
            if own.use_m2m:
                logits, iou = self._refined(model, embedding, clicks, logits, dynamic)
            if own.pred_iou_thresh > 0:
                kept = (iou > own.pred_iou_thresh).nonzero()[:, 0]  # selecting by a bool would wait for a GPU each time
                clicks, logits, iou = clicks[kept], logits[kept], iou[kept]
            yield PointAnswers(clicks, logits, iou)

    def _refined(
        self, model: Any, embedding: ImageEmbedding, clicks: Tensor, logits: Tensor, dynamic: bool
    ) -> tuple[Tensor, Tensor]:
        """Decode masks (K, 4g, 4g) once more, with themselves as prompts."""
        refined = []
        batches = zip(
            clicks.split(self.settings.points_per_batch), logits.split(self.settings.points_per_batch), strict=True
        )
        for points, masks in batches:
            prompts = Prompts(
                points=embedding.geometry.to_input(points)[:, None],
                labels=torch.ones(len(points), 1, dtype=torch.long, device=points.device),
                masks=masks[:, None].clamp(-_MOST_LOGIT, _MOST_LOGIT),
            )
            refined.append(model.decode(embedding.features, prompts, False, dynamic=dynamic, memory=embedding.memory))
        masks = torch.cat([part.logits[:, 0].float() for part in refined])
        return masks, torch.cat([part.iou[:, 0].float() for part in refined])

    def _judge(
        self, answers: PointAnswers, embedding: ImageEmbedding, crop: Crop, size: tuple[int, int], store: "_Store"
    ) -> _Scores:
        """Drop masks that are not stable or cut off by the crop; put the others into the store."""
        own = self.settings
        if own.stability_score_thresh > 0:
            bound = stability_bound(answers.logits, embedding.geometry, own.mask_threshold, own.stability_score_offset)
            possible = (bound >= own.stability_score_thresh).nonzero()[:, 0]
            answers = PointAnswers(*(values[possible] for values in answers))
        boxes, scores, kept, start = [], [], [], 0
        for part in store.parts(answers.logits):
            enlarged = store.enlarged(part)
            stable = stability(enlarged, own.mask_threshold, own.stability_score_offset)
            if own.stability_score_thresh > 0:
                good = (stable >= own.stability_score_thresh).nonzero()[:, 0]
                if len(good) < len(part):
                    enlarged = enlarged[good]
            else:
                good = torch.arange(len(part), device=part.device)
            box = inclusive_boxes(enlarged > own.mask_threshold)
            if crop.layer:
                whole = (~near_crop_edge(box, crop.box, size)).nonzero()[:, 0]
                good, box = good[whole], box[whole]
            kept.append(start + good)
            scores.append(stable[good])
            boxes.append(box)
            start += len(part)
        if not kept:
            none = answers.iou.new_zeros(0)
            boxes, scores, kept = [none.new_zeros(0, 4, dtype=torch.int64)], [none], [none.long()]
        good = torch.cat(kept)
        store.add(answers.logits[good])
        x0, y0, *_ = crop.box
        shift = boxes[0].new_tensor([x0, y0, x0, y0])
        return _Scores(
            torch.cat(boxes) + shift,
            answers.iou[good],
            torch.cat(scores),
            answers.points[good] + shift[:2],
            shift.new_tensor(crop.box).expand(len(good), 4),
        )

    def _without_small_regions(self, scores: _Scores, masks: list[RLE]) -> tuple[_Scores, list[RLE]]:
        """Remove small regions, then duplicates that this has made; masks that had none win (segment-anything)."""
        own = self.settings
        boxes, unchanged = scores.boxes.clone(), []
        masks = list(masks)
        for index, rle in enumerate(masks):
            mask, filled = without_small_regions(decode_rle(rle), own.min_mask_region_area, "holes")
            mask, removed = without_small_regions(mask, own.min_mask_region_area, "islands")
            unchanged.append(not (filled or removed))
            if filled or removed:
                masks[index] = encode_rle(mask)
                boxes[index] = inclusive_boxes(torch.from_numpy(mask)[None])[0].to(boxes.device)
        stays = suppress(boxes, boxes.new_tensor(unchanged).float(), max(own.box_nms_thresh, own.crop_nms_thresh))
        return scores._replace(boxes=boxes).select(stays), [masks[index] for index in stays.tolist()]


class _Store:
    """Masks of one crop that wait for the suppression of duplicates: logits, or run lengths once logits fill memory."""

    def __init__(
        self, embedding: ImageEmbedding, crop: Crop, size: tuple[int, int], settings: GeneratorSettings
    ) -> None:
        self.geometry, self.crop, self.size, self.settings = embedding.geometry, crop, size, settings
        self.limit = settings.max_memory_mb * 2**20
        self.batches: list[Tensor | list[RLE]] = []
        self.bytes = 0

    def parts(self, logits: Tensor) -> tuple[Tensor, ...]:
        """Split masks (K, 4g, 4g) into parts that fit into memory at the image's size."""
        pixels = max(self.size[0] * self.size[1], self.geometry.size**2)
        most = self.limit // _BYTES_PER_PIXEL if logits.is_cuda else min(self.limit // _BYTES_PER_PIXEL, _CPU_PIXELS)
        return logits.split(max(1, int(most // pixels))) if len(logits) else ()

    def enlarged(self, logits: Tensor) -> Tensor:
        """Resize masks (K, 4g, 4g) to the crop's size."""
        return self.geometry.restore(logits[:, None])[:, 0]

    def add(self, logits: Tensor) -> None:
        """Keep masks (K, 4g, 4g)."""
        self.batches.append(logits)
        self.bytes += logits.numel() * logits.element_size()
        if self.bytes > self.limit:
            self.batches = [self._encoded(batch) if isinstance(batch, Tensor) else batch for batch in self.batches]
            self.bytes = 0

    def masks(self, chosen: Tensor) -> list[RLE]:
        """Return the masks of indices (kept,), in their order."""
        masks: dict[int, RLE] = {}
        wanted = torch.sort(chosen).values.cpu()
        start = 0
        for batch in self.batches:
            rows = wanted[(wanted >= start) & (wanted < start + len(batch))] - start
            if isinstance(batch, Tensor):
                own = self._encoded(batch[rows.to(batch.device)])
            else:
                own = [batch[row] for row in rows.tolist()]
            masks.update(zip((rows + start).tolist(), own, strict=True))
            start += len(batch)
        return [masks[index] for index in chosen.tolist()]

    def _encoded(self, logits: Tensor) -> list[RLE]:
        """Encode masks (K, 4g, 4g) at the image's size."""
        x0, y0, x1, y1 = self.crop.box
        height, width = self.size
        masks = []
        for part in self.parts(logits):
            binary = self.enlarged(part) > self.settings.mask_threshold
            if (x0, y0, x1, y1) != (0, 0, width, height):
                binary = F.pad(binary, (x0, width - x1, y0, height - y1))
            masks += [from_runs(runs, self.size) for runs in run_lengths(binary)]
        return masks
