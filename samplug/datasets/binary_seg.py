"""Images and binary masks in folders or lists as a dataset."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from samplug.datasets.base import CheckedDataset
from samplug.datasets.mask_values import MaskSpec, MaskValues, decide
from samplug.datasets.pairing import Pair, Pairs, list_files, match, read_list, unread_subfolders
from samplug.datasets.scan import PairFacts, by_suspicion, describe, scan
from samplug.registry import DATASETS
from samplug.utils.errors import ConfigError, DataError


@DATASETS.register_module()
class BinarySegDataset(CheckedDataset):
    """Binary segmentation: camouflaged or salient objects, shadows, polyps, or anything else with one foreground.

    Images and masks are paired by name, never by order. Before the run, files without a partner and broken files are listed together;
    a line says what was found: number, sizes, share of foreground, masks that look wrong.

    Args:
        data_root: Folder that holds both.
        image_dir: Folder of images under ``data_root``.
        mask_dir: Folder of masks under ``data_root``; may be the same, with suffixes that tell them apart.
        img_suffix: Ending of image file names that is no part of the name (``'.jpg'``); None: any image suffix.
        seg_map_suffix: The same of masks (``'_mask.png'``).
        recursive: Look into subfolders; they are part of the name.
        include: Shell pattern of the names that belong to the set.
        extra_masks: Masks without an image are those of another split, not an error.
        ann_file: Text file that lists the pairs, see :func:`samplug.datasets.pairing.read_list`.
        mask_values: What the values of a mask mean, see :class:`samplug.datasets.mask_values.MaskValues`. ``'auto'``: 0/1 or 0/255, decided
            once from a sample of the masks; a mask of the other kind stops the run when it is read.
        size_mismatch: ``'stop'``, or ``'resize_mask'``: a mask of another size than its image is resized to it (nearest pixel).
        check: ``'sample'``: 64 pairs are read before the run, the others when their turn comes. ``'all'``: every pair is.
        on_error: ``'stop'``, or ``'skip'``: files that cannot be used are left out, counted and listed in ``skipped``; reads every pair
            before the run.
        name: Name of the set in logs and metrics; default: that of ``data_root``'s folder.
        published: Facts of the published set, ``dict(images=..., split='test')``; another number of images is reported, and validating on a
            published test set is said at the start.
        part: None: all pairs. ``'train'``, ``'val'`` or ``'test'``: a split by the hash of the name, the same on every machine, and
            stable when files are added.
        val_fraction: Expected share of the ``'val'`` part.
        test_fraction: Expected share of the ``'test'`` part.
        **kwargs: ``pipeline`` and the rest of MMEngine's ``BaseDataset``.

    Raises:
        ConfigError: An option of another value than those above.
        DataError: Folders that are missing or empty, subfolders of pairs without ``recursive``, files without a partner, two files of one
            name, broken files, masks of mixed kinds.
    """

    METAINFO = dict(classes=("background", "foreground"), palette=[[0, 0, 0], [255, 255, 255]])
    ITEMS = "pairs"

    def __init__(
        self,
        data_root: str,
        image_dir: str = "images",
        mask_dir: str = "masks",
        img_suffix: str | None = None,
        seg_map_suffix: str | None = None,
        recursive: bool = False,
        include: str = "*",
        extra_masks: bool = False,
        mask_values: str | Mapping[str, Any] = "auto",
        size_mismatch: Literal["stop", "resize_mask"] = "stop",
        check: Literal["sample", "all"] = "sample",
        on_error: Literal["stop", "skip"] = "stop",
        name: str | None = None,
        published: Mapping[str, Any] | None = None,
        part: Literal["train", "val", "test"] | None = None,
        val_fraction: float = 0.2,
        test_fraction: float = 0.0,
        **kwargs: Any,
    ) -> None:
        self._require("size_mismatch", size_mismatch, ("stop", "resize_mask"))
        root = Path(data_root).expanduser()
        self.image_dir, self.mask_dir = root / image_dir, root / mask_dir
        if self.image_dir == self.mask_dir and img_suffix == seg_map_suffix and not kwargs.get("ann_file"):
            raise ConfigError(
                f"BinarySegDataset: images and masks are both in {self.image_dir}: set img_suffix and seg_map_suffix to tell them apart"
            )
        if kwargs.get("ann_file") and (recursive or extra_masks or include != "*"):
            raise ConfigError(
                "BinarySegDataset: ann_file lists the pairs: leave out recursive, include and extra_masks"
            )
        self.img_suffix, self.seg_map_suffix = img_suffix, seg_map_suffix
        self.recursive, self.include, self.extra_masks = recursive, include, extra_masks
        self.mask_values: MaskSpec | Literal["auto"]
        self.mask_values = "auto" if mask_values == "auto" else MaskValues.parse(mask_values).spec
        self.size_mismatch = size_mismatch
        super().__init__(
            root,
            (self.image_dir, self.mask_dir),
            check=check,
            on_error=on_error,
            name=name,
            published=published,
            part=part,
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            **kwargs,
        )

    def describe(self) -> str:
        return f"masks {self._spec}, {describe(self.facts)}"

    def summary(self) -> str:
        return f"{len(self)} sound {self.ITEMS}"

    def remarks(self) -> list[str]:
        return [
            f"look at {len(names)} masks, {suspicion}: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
            for suspicion, names in by_suspicion(self.facts).items()
        ]

    def _examine(self, items: Sequence[Pair], sample: int | None) -> Mapping[str, PairFacts]:
        self._spec = decide([pair.mask for pair in _sample(items)]) if self.mask_values == "auto" else self.mask_values
        return scan(items, self._spec, self.size_mismatch, sample)

    def _entry(self, item: Pair) -> dict[str, Any]:
        return dict(
            img_path=str(item.image),
            seg_map_path=str(item.mask),
            mask_values=self._spec,
            size_mismatch=self.size_mismatch,
            dataset_name=self.name,
            seg_fields=[],
        )

    def _find(self) -> tuple[list[Pair], dict[str, str]]:
        found = self._pairs()
        return found.pairs, found.problems

    def _pairs(self) -> Pairs:
        if self.ann_file:
            root = Path(self.data_root)
            return read_list(
                Path(self.ann_file), root, self.image_dir, self.mask_dir, self.img_suffix, self.seg_map_suffix
            )
        images, problems = list_files(self.image_dir, self.img_suffix, self.recursive)
        masks, mask_problems = list_files(self.mask_dir, self.seg_map_suffix, self.recursive)
        if self.image_dir == self.mask_dir and self.img_suffix is None:
            # Without a suffix of their own, images are what is left beside the masks.
            taken = set(masks.values())
            images = {name: path for name, path in images.items() if path not in taken}
        self._require_some(images, self.image_dir, "image_dir", "img_suffix")
        self._require_some(masks, self.mask_dir, "mask_dir", "seg_map_suffix")
        result = match(images, masks, self.include, self.extra_masks)
        if not result.pairs and not result.problems:
            raise DataError(
                f"data: none of the {len(images)} images in {self.image_dir} matches include={self.include!r}: change include"
            )
        result.problems |= problems | mask_problems
        if not self.recursive and self.image_dir != self.mask_dir:
            result.problems |= unread_subfolders(self.image_dir, self.mask_dir)
        # Which of two files of a name is meant, nobody knows: neither is used.
        result.pairs = [
            pair for pair in result.pairs if result.problems.keys().isdisjoint((str(pair.image), str(pair.mask)))
        ]
        return result

    def _require_some(self, files: Mapping[str, Path], folder: Path, *settings: str) -> None:
        if files:
            return
        suffix = getattr(self, settings[1])
        ways = [*(settings if suffix else settings[:1])]
        if not self.recursive and any(path.is_dir() for path in folder.iterdir()):
            ways.append("recursive=True to look into its subfolders")
        raise DataError(
            f"data: {folder} holds no images{f' that end in {suffix}' if suffix else ''}: add them, or set {' or '.join(ways)}"
        )


def _sample(pairs: Sequence[Pair], number: int = 32) -> Sequence[Pair]:
    return pairs[:: max(1, len(pairs) // number)]
