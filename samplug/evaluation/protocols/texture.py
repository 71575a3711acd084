"""Protocol of masks of everything in an image against a partition into regions (texture segmentation)."""

import re
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from samplug.evaluation.baselines import REGION_BASELINES
from samplug.evaluation.functional import regions, texturesam
from samplug.evaluation.functional.regions import Overlaps, Rle
from samplug.evaluation.protocols.base import (
    BASELINE_PREFIX,
    FileProtocol,
    Files,
    GroundTruths,
    ImageResult,
    Predictions,
    Scores,
    list_samples,
    register_protocol,
)
from samplug.imaging.files import read_image, read_mask
from samplug.imaging.listing import check_folder, list_files
from samplug.utils.errors import ConfigError, DataError, check_choice
from samplug.utils.files import read_json
from samplug.utils.rle import encode_rle

_MASK_NAME = re.compile(r"mask_(\d+)_(.+)", re.DOTALL)
_UNIFIED = "unified_"  # prefix of ADE20K's instance maps that predictions lack

RegionLabels = NDArray[Any]
"""(H, W) labels, uint8 or uint16; each value is a region."""


@register_protocol
@dataclass(frozen=True)
class Texture(FileProtocol[Sequence[Rle], RegionLabels]):
    """Masks of everything in an image against a map of regions.

    Masks become a partition: smaller ones lie over larger ones, and what no mask covers is one more region.

    * ``mIoU``: each region of the ground truth gets at most one region of the partition and the reverse, so that the
      sum of IoUs is largest; regions without a partner count 0. Mean over the regions of an image, then over images.
    * ``ARI``: adjusted Rand index of the partition and the ground truth, over all pixels.
    * ``mIoU_agg``: each mask falls to the region that it shares most pixels with; IoU of each region with the union of
      its masks, 0 without one; means as for ``mIoU``.
    * ``images`` and ``regions``: numbers of images with a mask, and of regions that a mask falls to, of all
      ``images_all`` and ``regions_all``.

    An image without masks counts 0. Predictions are files ``mask_I_NAME.png`` (any value but 0 is the mask) or
    ``NAME.json`` with ``annotations`` of COCO RLE, as ``tools/generate_masks.py`` writes both, or ``baseline:NAME``
    (:data:`samplug.evaluation.baselines.REGION_BASELINES`).

    Args:
        dataset: Meaning of the labels: ``'rwtd'`` and ``'stmd'``: each value is a region, 0 too. ``'ade20k'``: 0 is no
            instance, and no region of the means.
        mode: ``'texturesam'``: the scores of TextureSAM's scripts, see :mod:`samplug.evaluation.functional.texturesam`:
            ``mIoU`` and ``ARI`` as ``eval_no_agg_masks*.py`` prints them, ``mIoU_agg`` the mean of the file that
            ``eval_agg_masks*.py`` writes. Images without masks, or without a touched region, are left out as there.
        row_empty: See :func:`samplug.evaluation.functional.texturesam.row_iou`; for ``mode='texturesam'``.
        published: Print the scores of TextureSAM's repository, which have two decimals, below one's own; for
            ``mode='texturesam'``. The repository does not say which images of a set they cover.
        images: Folder of the images, for baselines. ``baseline:texture-kmeans`` is told the number of regions.
    """

    name = "texture"
    columns = ("mIoU", "ARI", "mIoU_agg", "images", "images_all", "regions", "regions_all")

    dataset: Literal["rwtd", "stmd", "ade20k"] = "rwtd"
    mode: Literal["strict", "texturesam"] = "strict"
    row_empty: texturesam.RowEmpty = "zero"
    published: bool = False
    images: str | Path | None = None

    def __post_init__(self) -> None:
        check_choice(self.name, "dataset", self.dataset, ("rwtd", "stmd", "ade20k"))
        check_choice(self.name, "mode", self.mode, ("strict", "texturesam"))
        check_choice(self.name, "row_empty", self.row_empty, ("zero", "drop"))
        if self.published and self.mode != "texturesam":
            raise ConfigError(
                "texture: published scores are those of mode='texturesam', which the strict ones do not compare with: "
                "set the mode, or leave published out"
            )

    def score(self, pred: Sequence[Rle], ground_truth: RegionLabels) -> ImageResult:
        """Score one image.

        Args:
            pred: Masks of the image's size as COCO RLE.
            ground_truth: (H, W) labels.

        Raises:
            ValueError: Sizes differ, or there are labels that ``mode='texturesam'`` cannot take.
        """
        overlaps = Overlaps.of(pred, ground_truth)
        counted = self._counted(overlaps)
        owners = {int(row.argmax()) for row in overlaps.common if row.any()}
        extra = {
            "masks": len(pred),
            "regions": sum(bool(counted[region]) for region in owners),
            "regions_all": int(counted.sum()),
        }
        if self.mode == "texturesam":
            return self._published(pred, overlaps, extra)
        if not counted.any():
            return ImageResult({}, extra, skipped="the ground truth has no region")
        if not pred:
            return ImageResult(dict.fromkeys(("mIoU", "ARI", "mIoU_agg"), 0.0), extra)
        table = regions.contingency(regions.partition(pred, overlaps), overlaps.labels)
        merged = regions.merged_ious(pred, overlaps)
        scores = {
            "mIoU": float(regions.assigned_ious(table)[counted].mean()),
            "ARI": regions.adjusted_rand_index(table),
            "mIoU_agg": float(merged[counted].mean()),
        }
        return ImageResult(scores, extra)

    def _counted(self, overlaps: Overlaps) -> NDArray[np.bool_]:
        """Return which regions are part of the means, (V,)."""
        return overlaps.values != 0 if self.dataset == "ade20k" else np.ones(len(overlaps.values), np.bool_)

    def _published(self, pred: Sequence[Rle], overlaps: Overlaps, extra: dict[str, Any]) -> ImageResult:
        if (largest := overlaps.values.max(initial=0)) > 255:
            raise ValueError(f"label {largest}: mode='texturesam' knows 0..255, as the scripts do")
        pairs = texturesam.touching_pairs(overlaps)
        if self.dataset == "ade20k":
            pairs = [([iou for ious, _ in pairs for iou in ious], [ari for _, rand in pairs for ari in rand])]
        means = [(float(np.mean(ious)), float(np.mean(rand))) for ious, rand in pairs if ious]
        if self.dataset == "ade20k" and not means:
            means = [(0.0, 0.0)]  # this script alone counts images without masks
        scores: Scores = {}
        if means:
            scores = {name: float(np.mean([mean[k] for mean in means])) for k, name in enumerate(("mIoU", "ARI"))}
        if pred:
            if self.dataset == "ade20k":
                aggregated = texturesam.aggregated_instances(pred, overlaps, self.row_empty)
            else:
                aggregated = texturesam.aggregated(pred, overlaps, self.row_empty, self.dataset == "rwtd")
            if aggregated is not None:
                scores["mIoU_agg"] = aggregated
        return ImageResult(scores, {**extra, "pairs": means})

    def summarise(self, results: Sequence[ImageResult]) -> Scores:
        means = super().summarise(results)
        if self.mode == "texturesam":  # the scripts take the mean over pairs of image and region
            pairs = [pair for result in results for pair in result.extra["pairs"]]
            for k, name in enumerate(("mIoU", "ARI")):
                means[name] = float(np.mean([pair[k] for pair in pairs])) if pairs else 0.0
        return {
            **{name: means[name] for name in ("mIoU", "ARI", "mIoU_agg") if name in means},
            "images": sum(result.extra["masks"] > 0 for result in results),
            "images_all": len(results),
            "regions": sum(result.extra["regions"] for result in results),
            "regions_all": sum(result.extra["regions_all"] for result in results),
        }

    def published_rows(self) -> dict[str, Scores]:
        if not self.published:
            return {}
        names = ("mIoU", "ARI", "mIoU_agg")
        rows = texturesam.PUBLISHED[self.dataset]
        return {f"published: {model}": dict(zip(names, row, strict=True)) for model, row in rows.items()}

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--dataset", choices=["rwtd", "stmd", "ade20k"], default="rwtd",
            help="meaning of the labels (default: rwtd, each value is a region; ade20k: 0 is no instance)",
        )  # fmt: skip
        parser.add_argument(
            "--mode", choices=["strict", "texturesam"], default="strict",
            help="texturesam: the scores of TextureSAM's own scripts",
        )  # fmt: skip
        parser.add_argument(
            "--images", metavar="DIR",
            help="images, for baselines; --pred and --compare take "
            + ", ".join(f"{BASELINE_PREFIX}{name}" for name in REGION_BASELINES),
        )  # fmt: skip
        parser.add_argument(
            "--row-empty", choices=["zero", "drop"], default="zero",
            help="rows without labels in texturesam's mIoU_agg: torchmetrics 1.6.1 counts them 0, 1.9.0 drops them",
        )  # fmt: skip

        parser.add_argument(
            "--published", action="store_true",
            help="print the published scores of the data set below, with --mode texturesam",
        )  # fmt: skip

    def conditions(self) -> str:
        rows = f", empty rows {self.row_empty}" if self.mode == "texturesam" else ""
        return f"{self.dataset} labels, {self.mode}{rows}"

    def find_ground_truths(
        self, folder: str | Path, suffix: str | None = None, recursive: bool = False
    ) -> GroundTruths[RegionLabels]:
        found = super().find_ground_truths(folder, suffix, recursive)
        files = {_without_prefix(name): paths for name, paths in found.files.items()}
        return GroundTruths(found.folder, files, found.read, recursive)

    def find_predictions(
        self,
        source: str,
        ground_truths: GroundTruths[RegionLabels],
        suffix: str | None = None,
        name: str | None = None,
    ) -> Predictions[Sequence[Rle], RegionLabels]:
        """List the masks of a folder by image; an image without a file has no masks, and counts as that.

        Raises:
            DataError: The folder cannot be read, or has no masks of any image of the ground truth.
        """
        if source.startswith(BASELINE_PREFIX):
            return self._find_baseline(source, ground_truths, name)
        folder = Path(source).expanduser()
        files = _prediction_files(folder, suffix, ground_truths.recursive)
        known = ground_truths.files.keys()
        if not files.keys() & known:
            raise DataError(
                f"evaluate: no mask in {folder} belongs to a ground truth in {ground_truths.folder}: for example "
                f"{min(files)!r} and {min(known)!r}; masks are mask_0_NAME.png, or NAME.json"
            )
        missing = sorted(known - files.keys())
        note = f"{len(missing)} images of {len(known)} have no masks, {missing[0]!r} for example" if missing else ""
        files = {**files, **dict.fromkeys(missing, ())}
        exact = self.mode == "texturesam" and self.dataset != "ade20k"
        example = next((paths[0] for _, paths in sorted(files.items()) if paths), None)
        if exact and example and example.suffix != ".json" and 0 < (largest := read_mask(example).max()) < 255:
            note += f"{'; ' if note else ''}{example.name} has the values 0 and {largest}, and only 255 counts, as in "
            note += "the scripts: such masks are empty"
        read = partial(_read_masks, exact=exact)
        return Predictions(source, name or folder.resolve().name, files, read, note)

    def _find_baseline(
        self, source: str, ground_truths: GroundTruths[RegionLabels], name: str | None
    ) -> Predictions[Sequence[Rle], RegionLabels]:
        baseline = source.removeprefix(BASELINE_PREFIX)
        check_choice("evaluate", "baseline", baseline, list(REGION_BASELINES))
        if not self.images:
            raise ConfigError(f"evaluate: the baseline {baseline} looks at the images: name their folder with --images")
        images = list_samples(Path(self.images).expanduser(), None, ground_truths.recursive)
        files = {key: value for key, value in images.items() if key in ground_truths.files}
        note = "it is told the number of regions of each image"
        return Predictions(source, name or baseline, files, partial(_group_pixels, baseline=baseline), note)

    def read_ground_truth(self, files: Files) -> RegionLabels:
        (path,) = files
        labels = read_mask(path)
        if labels.ndim != 2:
            raise DataError(f"data: {path} is a picture with colours: labels are a grey image, one value a region")
        if self.mode == "strict" and self.dataset != "ade20k" and (labels == labels.flat[0]).all():
            raise DataError(
                f"data: {path} has one value, {labels.flat[0]}: there is nothing to tell apart; correct or remove it"
            )
        return labels

    def read_prediction(self, files: Files, ground_truth: RegionLabels) -> Sequence[Rle]:
        return _read_masks(files, ground_truth)


def _without_prefix(name: str) -> str:
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.removeprefix(_UNIFIED)}"


def _prediction_files(folder: Path, suffix: str | None, recursive: bool) -> dict[str, Files]:
    """Return the files of each image: one json, or pictures in the order of their numbers."""
    check_folder(folder)
    found, _ = list_files(folder, ".json", recursive)
    if found:
        return {name: (path,) for name, path in found.items()}
    numbered: dict[str, list[tuple[int, Path]]] = {}
    for name, (path,) in list_samples(folder, suffix, recursive).items():
        parent, slash, last = name.rpartition("/")
        if match := _MASK_NAME.fullmatch(last):
            numbered.setdefault(f"{parent}{slash}{match[2]}", []).append((int(match[1]), path))
    if not numbered:
        below = [name for name in ("masks_output", "json") if (folder / name).is_dir()]
        raise DataError(
            f"evaluate: {folder} has no files mask_I_NAME.png or NAME.json"
            + (f", but {folder / below[0]} may: name that folder" if below else ": name another folder")
        )
    return {name: tuple(path for _, path in sorted(paths)) for name, paths in numbered.items()}


def _read_masks(files: Files, ground_truth: RegionLabels, exact: bool = False) -> list[Rle]:
    """Read the masks of one image.

    Args:
        files: One json, or pictures.
        ground_truth: (H, W), the size that the masks must have.
        exact: Only 255 is the mask, as in TextureSAM's scripts for RWTD and STMD.

    Raises:
        DataError: A file is broken, has another size, or more than one value beside 0.
    """
    if len(files) == 1 and files[0].suffix == ".json":
        return _read_annotations(files[0])
    masks: list[Rle] = []
    for path in files:
        values = read_mask(path)
        if values.shape != ground_truth.shape:
            (height, width), (rows, columns) = ground_truth.shape, values.shape[:2]
            raise DataError(f"data: {path} is {columns}x{rows} (width x height), the ground truth {width}x{height}")
        mask = values == 255 if exact else values != 0
        if not exact and (values[mask] != (largest := values.max())).any():
            raise DataError(
                f"data: {path} has the values {values[mask].min()} and {largest}: a mask is 0 and one other value"
            )
        masks.append(encode_rle(mask))
    return masks


def _group_pixels(files: Files, ground_truth: RegionLabels, baseline: str) -> list[Rle]:
    (path,) = files
    groups = REGION_BASELINES[baseline](read_image(path), len(np.unique(ground_truth)))
    return [encode_rle(groups == group) for group in np.unique(groups)]


def _read_annotations(path: Path) -> list[Rle]:
    try:
        found = [item["segmentation"] for item in read_json(path)["annotations"]]
        return [{"size": list(mask["size"]), "counts": mask["counts"]} for mask in found]
    except (KeyError, TypeError) as error:
        raise DataError(f"data: {path} has no list of annotations with segmentation as COCO RLE") from error
