"""Dataset of random crops of BSDS500 with human segmentations."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from samplug.datasets.camera import camera
from samplug.datasets.generated import RegionDataset, Scene
from samplug.imaging.files import read_image
from samplug.imaging.listing import list_files
from samplug.registry import DATASETS
from samplug.utils.errors import ConfigError, DataError
from samplug.utils.regular_files import read_bytes
from samplug.utils.text import listed, one_line

_SIDES = (96, 320)  # of the crops, in pixels of the photograph
_SECOND = 0.08  # least share of a crop for its second largest segment
_LARGEST_THREE = 0.9  # least share of a crop for its three largest segments
_TRIES = 30
_MOST_LABELS = 256


@dataclass(frozen=True)
class SegmentedImage:
    """Photograph and what several people see in it.

    Attributes:
        image: (H, W, 3) uint8 BGR.
        segmentations: (H, W) uint16 label maps, one of each person.
    """

    image: NDArray[np.uint8]
    segmentations: list[NDArray[np.uint16]]


@DATASETS.register_module()
class BSDSCropDataset(RegionDataset):
    """Random square crops of BSDS500's photographs, with the segments of one of the people who segmented them.

    A crop is a function of (seed, index). Its second largest segment has more than 8 % of the pixels and its three
    largest have more than 90 % together, except where 30 tries find none. Labels ascend from the largest segment to the
    smallest. :func:`~samplug.datasets.camera.camera` changes the colours and adds noise.

    Samples are those of :class:`TextureSceneDataset`, so both can be mixed by a ``ConcatDataset``. A crop may have
    segments of a few pixels; ``mmdet.FilterAnnotations`` with ``min_gt_mask_area`` leaves their instances out. All
    files are read at the start and kept in memory, about 2 MB an image.

    Args:
        data_root: Folder with ``images/SPLIT/NAME.jpg`` and ``groundTruth/SPLIT/NAME.mat``, such as ``BSDS500/data``.
        splits: Folders to use, of ``'train'``, ``'val'`` and ``'test'``.
        length: Number of crops.
        size: Side of the square images in pixels, to which crops of 96 to 320 pixels are resized.
        seed: Random seed of the sequence of crops.
        **kwargs: ``cache`` and the other arguments of :class:`GeneratedDataset`.

    Raises:
        ConfigError: ``length`` is below 1, or ``splits`` is empty or a text.
        DataError: A folder is missing or empty, an image has no segmentation, or a file is broken.
    """

    STEM = "crop"

    def __init__(
        self,
        data_root: str,
        splits: Sequence[str] = ("train",),
        length: int = 1000,
        size: int = 128,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        if isinstance(splits, str) or not splits:
            raise ConfigError(f"BSDSCropDataset: splits={splits!r} is not a list of folders such as ('train', 'val')")
        self.splits = tuple(splits)
        self.images: list[SegmentedImage] = []
        super().__init__(length, size, seed, data_root=data_root, **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        root = Path(self.data_root).expanduser()
        pairs = [pair for split in self.splits for pair in _find_pairs(root, split)]
        self.images = [_read_pair(*pair) for pair in pairs]
        return super().load_data_list()

    def generate(self, index: int) -> Scene:
        rng = np.random.default_rng((self.seed, index))
        for _ in range(_TRIES):
            image, segments = _crop(rng, self.images[rng.integers(len(self.images))])
            if _is_telling(segments):
                break
        shape = (self.size, self.size)
        interpolation = cv2.INTER_AREA if len(image) > self.size else cv2.INTER_LINEAR
        resized = cv2.resize(image, shape, interpolation=interpolation).astype(np.float32)
        labels = _relabel(cv2.resize(segments, shape, interpolation=cv2.INTER_NEAREST))  # type: ignore[arg-type]
        return camera(rng, resized), labels


def _find_pairs(root: Path, split: str) -> list[tuple[Path, Path]]:
    """Return the photographs and segmentations of a split, by name."""
    folder = root / "groundTruth" / split
    images, _ = list_files(root / "images" / split)
    if not images:
        raise DataError(f"data: {root / 'images' / split} holds no images: copy images/{split} of BSDS500 there")
    pairs = [(images[name], folder / f"{name}.mat") for name in sorted(images)]
    missing = [image.stem for image, segmentation in pairs if not segmentation.is_file()]
    if missing:
        raise DataError(
            f"data: {len(missing)} images of {root / 'images' / split} have no segmentation in {folder}: "
            f"{listed(missing, 5)}; copy NAME.mat of BSDS500 for each NAME.jpg"
        )
    return pairs


def _read_pair(image_path: Path, segmentation_path: Path) -> SegmentedImage:
    image, segmentations = read_image(image_path), read_segmentations(segmentation_path)
    for segmentation in segmentations:
        if segmentation.shape != image.shape[:2]:
            (height, width), (rows, columns) = image.shape[:2], segmentation.shape
            raise DataError(
                f"data: {segmentation_path} has a segmentation of {columns}x{rows} pixels, its image {image_path} has "
                f"{width}x{height}: copy both from one copy of BSDS500"
            )
    return SegmentedImage(image, segmentations)


def read_segmentations(path: str | Path) -> list[NDArray[np.uint16]]:
    """Read the segmentations of a file of BSDS500, one of each person, (H, W) uint16 each.

    Raises:
        DataError: The file cannot be read, or is no MATLAB file (up to version 7) with ``groundTruth{:}.Segmentation``.
    """
    from scipy.io import loadmat  # slower to import than the other datasets

    try:
        cells = loadmat(BytesIO(read_bytes(path)), variable_names=["groundTruth"])["groundTruth"]
        maps = [np.asarray(cell["Segmentation"][0, 0]) for cell in cells.ravel()]
        if not maps or any(labels.ndim != 2 or labels.dtype.kind not in "iu" for labels in maps):
            raise ValueError("Segmentation is not a matrix of whole numbers")
    except Exception as error:  # a broken file can raise nearly anything in SciPy
        reason = f"{type(error).__name__}: {one_line(str(error))}"
        raise DataError(
            f"data: {path} is not a segmentation of BSDS500, a MATLAB file with groundTruth{{:}}.Segmentation "
            f"({reason}): copy it again"
        ) from error
    return [labels.astype(np.uint16) for labels in maps]


def _crop(rng: Generator, source: SegmentedImage) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    segmentation = source.segmentations[rng.integers(len(source.segmentations))]
    height, width = segmentation.shape
    low, high = (min(side, height, width) for side in _SIDES)
    side = int(rng.integers(low, high + 1))
    y, x = (int(rng.integers(length - side + 1)) for length in (height, width))
    return source.image[y : y + side, x : x + side], segmentation[y : y + side, x : x + side]


def _is_telling(segments: NDArray[np.uint16]) -> bool:
    """Return True for a crop of several large segments and little else."""
    shares = np.sort(np.bincount(segments.ravel()))[::-1] / segments.size
    return len(shares) > 1 and shares[1] > _SECOND and shares[:3].sum() > _LARGEST_THREE


def _relabel(segments: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Number segments from the largest to the smallest; beyond 256 segments, the smallest share the last label."""
    _, values, counts = np.unique(segments, return_inverse=True, return_counts=True)
    ranks = np.argsort(np.argsort(-counts, kind="stable"))
    return np.minimum(ranks, _MOST_LABELS - 1).astype(np.uint8)[values].reshape(segments.shape)
