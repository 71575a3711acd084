"""Dataset in the layout of SA-1B: a JSON file beside each image."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from samplug.datasets.instance_seg import AnnotatedFile, InstanceSegDataset, Size, size_error
from samplug.datasets.pairing import match_files
from samplug.imaging.listing import list_files
from samplug.imaging.shapes import segmentation_shape
from samplug.registry import DATASETS
from samplug.utils.errors import DataError
from samplug.utils.files import read_json
from samplug.utils.rle import RLE
from samplug.utils.text import listed, shorten

_SUFFIX = ".json"


@DATASETS.register_module()
class SA1BDataset(InstanceSegDataset):
    """SA-1B, or a dataset in its layout: beside each image a JSON file ``{"image": {...}, "annotations": [...]}``.

    Only ``segmentation`` of an annotation is read: COCO's run lengths (``size`` and ``counts``, compressed or a list),
    or polygons. Area and box are computed from the mask, not read. ``height`` and ``width`` of ``image`` may be
    missing; if they are there, they must be the size of the image.

    Args:
        data_root: Folder that contains images and JSON files.
        image_dir: Folder of images under ``data_root``.
        ann_dir: Folder of JSON files under ``data_root``; may equal ``image_dir``.
        recursive: Search subfolders; their names become part of the name of a sample.
        include: Shell pattern; only names that match belong to the dataset.
        extra_annotations: Accept JSON files without an image (they belong to another split).
        **kwargs: ``max_objects``, ``min_area``, ``max_area`` and the other arguments of :class:`InstanceSegDataset`.

    Raises:
        ConfigError: An option has a value that is not listed above.
        DataError: Folders are missing or empty, an image has no JSON file or the reverse, two images share a name, a
            file is broken, or run lengths have another size than the image.
    """

    def __init__(
        self,
        data_root: str,
        image_dir: str = "",
        ann_dir: str = "",
        recursive: bool = False,
        include: str = "*",
        extra_annotations: bool = False,
        **kwargs: Any,
    ) -> None:
        root = Path(data_root).expanduser()
        self.image_dir, self.ann_dir = root / image_dir, root / ann_dir
        self.recursive, self.include, self.extra_annotations = recursive, include, extra_annotations
        super().__init__(root, (self.image_dir, self.ann_dir), **kwargs)

    def _find(self) -> tuple[list[AnnotatedFile], dict[str, str]]:
        images, problems = list_files(self.image_dir, None, self.recursive)
        annotations, others = list_files(self.ann_dir, _SUFFIX, self.recursive)
        found = match_files(
            images, annotations, self.include, self.extra_annotations, "annotation", "extra_annotations"
        )
        if not found.pairs and not found.problems:
            subfolders = "" if self.recursive else "; recursive=True searches its subfolders"
            raise DataError(
                f"data: none of the {len(images)} images in {self.image_dir} matches "
                f"include={self.include!r}{subfolders}"
                if images
                else f"data: {self.image_dir} contains no images: set image_dir, or add them{subfolders}"
            )
        problems = found.problems | problems | others
        files = [AnnotatedFile(pair.name, pair.image, (pair.mask,)) for pair in found.pairs]
        # If two images share a name, the annotation is ambiguous: use neither.
        return [file for file in files if problems.keys().isdisjoint(map(str, file.files))], problems

    def read_masks(self, annotations: Sequence[Path], size: Size, image: Path) -> list[RLE]:
        (path,) = annotations
        content = read_json(path)
        entries = content.get("annotations") if isinstance(content, dict) else None
        if not isinstance(entries, list):
            found = f"the keys {listed(map(shorten, content), 5)}" if isinstance(content, dict) else shorten(content)
            raise DataError(
                f"data: {path} has no list of annotations, it contains {found}: SA-1B's JSON files have one; "
                "move it away if it is not one of them"
            )
        stated = content.get("image")
        if isinstance(stated, dict) and {"height", "width"} <= stated.keys():
            found_size = (stated["height"], stated["width"])
            if found_size != size:
                raise size_error(found_size, size, path, image)
        return [_mask(entry, size, f"{path}: annotations[{index}]") for index, entry in enumerate(entries)]


def _mask(entry: Any, size: Size, where: str) -> RLE:
    if not isinstance(entry, dict) or "segmentation" not in entry:
        raise DataError(f"data: {where} has no segmentation, it is {shorten(entry)}: correct or remove it")
    segmentation = entry["segmentation"]
    if segmentation == []:  # an empty mask
        segmentation = {"size": list(size), "counts": [size[0] * size[1]]}
    shape = segmentation_shape(segmentation)
    if problem := shape.problem(size):
        raise DataError(f"data: {where} {problem}: correct or remove it")
    return shape.rle(size)
