"""Base class of datasets of an image and a mask or label map of the same name each."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from samplug.datasets.base import CheckedDataset
from samplug.datasets.pairing import Pair, Pairs, match_files, read_list, unread_subfolders
from samplug.imaging.listing import check_folder, list_files, walk
from samplug.utils.errors import ConfigError, DataError


class PairedDataset(CheckedDataset):
    """Base class of datasets of pairs: an image, and a mask or label map.

    Files are paired by name, never by order. A subclass checks pairs (``_examine``), makes their entries (``_entry``)
    and describes them.

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
        **kwargs: See :class:`~samplug.datasets.base.CheckedDataset`.

    Raises:
        ConfigError: Options contradict each other.
        DataError: Folders are missing or empty, subfolders contain pairs but ``recursive`` is not set, a file has no
            partner, or two files share a name.
    """

    ITEMS = "pairs"
    PARTNER: ClassVar[str] = "mask"
    """Word for the file that belongs to an image, in messages."""

    def __init__(
        self,
        data_root: str,
        image_dir: str,
        mask_dir: str,
        img_suffix: str | None = None,
        seg_map_suffix: str | None = None,
        recursive: bool = False,
        include: str = "*",
        extra_masks: bool = False,
        **kwargs: Any,
    ) -> None:
        owner = type(self).__name__
        root = Path(data_root).expanduser()
        self.image_dir, self.mask_dir = root / image_dir, root / mask_dir
        if self.image_dir == self.mask_dir and img_suffix == seg_map_suffix and not kwargs.get("ann_file"):
            raise ConfigError(
                f"{owner}: images and {self.PARTNER}s are both in {self.image_dir}: set img_suffix and seg_map_suffix "
                "to tell them apart"
            )
        if kwargs.get("ann_file") and (recursive or extra_masks or include != "*"):
            raise ConfigError(f"{owner}: ann_file lists the pairs: leave out recursive, include and extra_masks")
        self.img_suffix, self.seg_map_suffix = img_suffix, seg_map_suffix
        self.recursive, self.include, self.extra_masks = recursive, include, extra_masks
        super().__init__(root, (self.image_dir, self.mask_dir), **kwargs)

    def _find(self) -> tuple[list[Pair], dict[str, str]]:
        found = self._pairs()
        return found.pairs, found.problems

    def _pairs(self) -> Pairs:
        if self.ann_file:
            root = Path(self.data_root)
            check_folder(root)  # before its list is missed
            return read_list(
                Path(self.ann_file), root, self.image_dir, self.mask_dir, self.img_suffix, self.seg_map_suffix
            )
        images, problems = list_files(self.image_dir, self.img_suffix, self.recursive)
        masks, mask_problems = self._list_masks()
        if self.image_dir == self.mask_dir and self.img_suffix is None:
            # Images have no suffix of their own: they are the files that are no masks.
            taken = set(masks.values())
            images = {name: path for name, path in images.items() if path not in taken}
        self._require_some(images, self.image_dir, "image_dir", "img_suffix")
        self._require_some(masks, self.mask_dir, "mask_dir", "seg_map_suffix")
        result = match_files(images, masks, self.include, self.extra_masks, self.PARTNER)
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

    def _list_masks(self) -> tuple[dict[str, Path], dict[str, str]]:
        """List masks: name of the image -> file, and problems."""
        return list_files(self.mask_dir, self.seg_map_suffix, self.recursive)

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
