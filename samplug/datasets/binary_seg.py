"""Dataset of images and binary masks, in folders or listed in a file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from samplug.datasets.base import CheckedDataset
from samplug.datasets.mask_values import MaskSpec, MaskValues, decide_mask_values
from samplug.datasets.pairing import Pair, Pairs, match_files, read_list, unread_subfolders
from samplug.datasets.scan import PairFacts, by_suspicion, describe_pairs, scan_pairs
from samplug.imaging.listing import list_files, walk
from samplug.registry import DATASETS
from samplug.utils.errors import ConfigError, DataError
from samplug.utils.text import printable


@DATASETS.register_module()
class BinarySegDataset(CheckedDataset):
    """Dataset for binary segmentation: camouflaged objects, salient objects, shadows, polyps or any other foreground.

    Images and masks are paired by name, never by order. Before the run, all files without a partner and all broken
    files are reported in one error. One log line gives the number of images, their sizes, the share of foreground and
    suspicious masks.

    Args:
        data_root: Folder that contains images and masks.
        image_dir: Folder of images under ``data_root``.
        mask_dir: Folder of masks under ``data_root``; may equal ``image_dir`` if suffixes tell them apart.
        img_suffix: Ending of image file names that is not part of the name (``'.jpg'``); None accepts any image suffix.
        seg_map_suffix: The same for masks (``'_mask.png'``).
        recursive: Search subfolders; their names become part of the name of a sample.
        include: Shell pattern; only names that match belong to the dataset.
        extra_masks: Accept masks without an image (they belong to another split).
        ann_file: Text file that lists the pairs, see :func:`samplug.datasets.pairing.read_list`.
        mask_values: Meaning of the mask values, see :class:`samplug.datasets.mask_values.MaskValues`. ``'auto'``
            decides once, from a sample of the masks, between 0/1 and 0/255; a mask of the other kind raises an error
            when it is read.
        size_mismatch: ``'stop'`` raises an error if mask and image differ in size; ``'resize_mask'`` resizes the mask
            to the image by nearest neighbour.
        check, on_error, name, published, part, val_fraction, test_fraction: See
            :class:`~samplug.datasets.base.CheckedDataset`.
        **kwargs: ``pipeline`` and the other arguments of MMEngine's ``BaseDataset``.

    Raises:
        ConfigError: An option has a value that is not listed above.
        DataError: Folders are missing or empty, subfolders contain pairs but ``recursive`` is not set, a file has no
            partner, two files share a name, a file is broken, or masks are of mixed kinds.
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
                f"BinarySegDataset: images and masks are both in {self.image_dir}: set img_suffix and seg_map_suffix "
                "to tell them apart"
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
        return f"masks {self._spec}, {describe_pairs(self.facts)}"

    def remarks(self) -> list[str]:
        return [
            f"look at {len(names)} masks, {suspicion}: {', '.join(map(printable, names[:5]))}"
            f"{', ...' if len(names) > 5 else ''}"
            for suspicion, names in by_suspicion(self.facts).items()
        ]

    def _examine(self, items: Sequence[Pair], sample: int | None) -> Mapping[str, PairFacts]:
        self._spec = self.mask_values
        if self._spec == "auto":
            self._spec = decide_mask_values([pair.mask for pair in _sample(items)])
        return scan_pairs(items, self._spec, self.size_mismatch, sample)

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
            # Images have no suffix of their own: they are the files that are no masks.
            taken = set(masks.values())
            images = {name: path for name, path in images.items() if path not in taken}
        self._require_some(images, self.image_dir, "image_dir", "img_suffix")
        self._require_some(masks, self.mask_dir, "mask_dir", "seg_map_suffix")
        result = match_files(images, masks, self.include, self.extra_masks)
        if not result.pairs and not result.problems:
            raise DataError(
                f"data: none of the {len(images)} images in {self.image_dir} matches include={self.include!r}: change "
                "include"
            )
        result.problems |= problems | mask_problems
        if not self.recursive and self.image_dir != self.mask_dir:
            result.problems |= unread_subfolders(self.image_dir, self.mask_dir)
        # If two files share a name, the pair is ambiguous: use neither.
        result.pairs = [
            pair for pair in result.pairs if result.problems.keys().isdisjoint((str(pair.image), str(pair.mask)))
        ]
        return result

    def _require_some(self, files: Mapping[str, Path], folder: Path, *settings: str) -> None:
        if files:
            return
        suffix = getattr(self, settings[1])
        ways = [*(settings if suffix else settings[:1])]
        if not self.recursive and any(entry.is_dir() for entry in walk(folder)):
            ways.append("recursive=True to look into its subfolders")
        raise DataError(
            f"data: {folder} contains no images{f' that end in {suffix}' if suffix else ''}: add them, or set "
            f"{' or '.join(ways)}"
        )


def _sample(pairs: Sequence[Pair], number: int = 32) -> Sequence[Pair]:
    return pairs[:: max(1, len(pairs) // number)]
