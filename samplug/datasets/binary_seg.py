"""Dataset of images and binary masks, in folders or listed in a file."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from samplug.datasets.mask_values import MaskSpec, MaskValues, decide_mask_values
from samplug.datasets.paired import PairedDataset
from samplug.datasets.pairing import Pair
from samplug.datasets.scan import PairFacts, by_suspicion, describe_pairs, scan_pairs
from samplug.registry import DATASETS
from samplug.utils.text import printable


@DATASETS.register_module()
class BinarySegDataset(PairedDataset):
    """Dataset for binary segmentation: camouflaged objects, salient objects, shadows, polyps or any other foreground.

    Images and masks are paired by name, never by order. Before the run, all files without a partner and all broken
    files are reported in one error. One log line gives the number of images, their sizes, the share of foreground and
    suspicious masks.

    Args:
        data_root: Folder that contains images and masks.
        image_dir, mask_dir, img_suffix, seg_map_suffix, recursive, include, extra_masks, ann_file: See
            :class:`~samplug.datasets.PairedDataset`.
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
        self.mask_values: MaskSpec | Literal["auto"]
        self.mask_values = "auto" if mask_values == "auto" else MaskValues.parse(mask_values).spec
        self.size_mismatch = size_mismatch
        super().__init__(
            data_root,
            image_dir,
            mask_dir,
            img_suffix=img_suffix,
            seg_map_suffix=seg_map_suffix,
            recursive=recursive,
            include=include,
            extra_masks=extra_masks,
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


def _sample(pairs: Sequence[Pair], number: int = 32) -> Sequence[Pair]:
    return pairs[:: max(1, len(pairs) // number)]
