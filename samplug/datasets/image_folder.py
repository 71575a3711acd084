"""Dataset of images in a folder for each class."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from samplug.datasets.base import CheckedDataset
from samplug.datasets.class_lists import LabelledImage, as_classes, read_classes, read_labelled
from samplug.datasets.few_shot import draw_shots
from samplug.datasets.scan import describe_sizes
from samplug.datasets.scan_cache import examine_files
from samplug.imaging.files import read_image
from samplug.imaging.listing import check_folder, list_files, walk
from samplug.registry import DATASETS
from samplug.utils.errors import ConfigError, DataError
from samplug.utils.text import listed, listed_lines, printable

_PARTS = frozenset({"train", "val", "valid", "validation", "test"})


@dataclass(frozen=True)
class ImageFacts:
    """Facts about one image.

    Attributes:
        width: Width in pixels, after EXIF rotation.
        height: Height in pixels, after EXIF rotation.
        error: Reason why the image cannot be used; None if it can.
    """

    width: int = 0
    height: int = 0
    error: str | None = None


@DATASETS.register_module()
class ImageFolderDataset(CheckedDataset):
    """Images ``FOLDER/CLASS/NAME.JPEG``, as ImageNet has them, with the index of their class as label.

    Classes are the folders in the order of their names, as in torchvision and mmpretrain, unless ``classes`` or
    ``classes_from`` is set. A validation set takes the classes of its training set (``classes_from='train'``), so that
    labels agree even if a folder is missing. ``part`` splits each class by the hashes of its names, so all parts have
    all classes.

    Samples have ``img_path``, ``img_id`` (CLASS/NAME.JPEG), ``gt_label`` (int), ``dataset_name``, and ``bank=True`` if
    set. The metainfo has ``task`` ('classification'), ``classes``, and ``class_names`` if a class list gives them.

    Args:
        data_root: Folder of the dataset.
        image_dir: Folder of class folders under ``data_root``: ``'train'``. Folders in a class folder are searched.
        classes: List of the class folders in the order of their labels, or a text file under ``data_root`` with a class
            a line, see :func:`samplug.datasets.class_lists.read_classes`.
        classes_from: Folder under ``data_root`` whose subfolders are the classes.
        ann_file: Text file under ``data_root`` that lists the images, see
            :func:`samplug.datasets.class_lists.read_labelled`.
        extra_classes: Leave out folders that are none of the ``classes``.
        missing_classes: Accept classes without images.
        shots: Use only so many images of each class, drawn by :func:`samplug.datasets.few_shot.draw_shots`.
        seed: Seed of ``shots``.
        bank: The samples are the bank in which :class:`samplug.evaluation.metrics.KNNMetric` looks for neighbours; they
            are not scored. The default ``name`` then ends in " bank".
        check, on_error, name, published, part, val_fraction, test_fraction: See
            :class:`~samplug.datasets.base.CheckedDataset`.
        **kwargs: ``pipeline`` and the other arguments of MMEngine's ``BaseDataset``.

    Raises:
        ConfigError: Options contradict each other.
        DataError: Folders are missing or empty, there is one class only, a class has no images or is unknown, or a file
            is broken.
    """

    METAINFO = dict(task="classification")

    def __init__(
        self,
        data_root: str,
        image_dir: str = "",
        classes: Sequence[str] | str | None = None,
        classes_from: str | None = None,
        ann_file: str = "",
        extra_classes: bool = False,
        missing_classes: bool = False,
        shots: int | None = None,
        seed: int = 0,
        bank: bool = False,
        **kwargs: Any,
    ) -> None:
        owner = type(self).__name__
        if kwargs.get("data_prefix"):
            raise ConfigError(f"{owner}: data_prefix={kwargs['data_prefix']!r} is not used: set image_dir")
        if shots is not None and (not isinstance(shots, int) or shots < 1):
            raise ConfigError(f"{owner}: shots={shots!r} must be None or at least 1")
        metainfo = dict(kwargs.pop("metainfo", None) or {})
        classes = metainfo.pop("classes", None) if classes is None else classes
        if classes is not None and classes_from is not None:
            raise ConfigError(f"{owner}: classes and classes_from are both set: remove one")
        root = Path(data_root).expanduser()
        self.image_dir = root / image_dir
        self.classes_from = None if classes_from is None else root / classes_from
        self.class_file = root / classes if isinstance(classes, str) else None
        self.listed_classes = None if classes is None or isinstance(classes, str) else as_classes(classes, owner)
        self.extra_classes, self.missing_classes = extra_classes, missing_classes
        self.shots, self.seed, self.bank = shots, seed, bank
        self.classes: dict[str, int] = {}
        self.counts: Counter[str] = Counter()
        if bank and not kwargs.get("name"):
            kwargs["name"] = f"{printable(root.resolve().name)} bank"  # not that of the set that is scored
        super().__init__(root, (self.image_dir,), ann_file=ann_file, metainfo=metainfo, **kwargs)

    def find_classes(self) -> tuple[str, ...]:
        """List the classes in the order of their labels, without reading an image.

        Raises:
            DataError: See the class.
        """
        if not self.classes:
            self._find()
        return tuple(self.classes)

    def get_gt_labels(self) -> list[int]:
        """Return the label of each sample in order."""
        return [self.get_data_info(index)["gt_label"] for index in range(len(self))]

    def get_cat_ids(self, idx: int) -> list[int]:
        """Return the label of a sample in a list, for MMEngine's ``ClassBalancedDataset``."""
        return [self.get_data_info(idx)["gt_label"]]

    def describe(self) -> str:
        numbers = sorted(self.counts.values())
        each = f"{numbers[0]}" if numbers[0] == numbers[-1] else f"{numbers[0]} to {numbers[-1]}"
        text = f"{len(self.classes)} classes, {each} images each"
        if missing := len(self.classes) - len(numbers):
            text += f", {missing} classes without images"
        valid = [fact for fact in self.facts.values() if not fact.error]
        return f"{text}, {describe_sizes(valid)}" if valid else text

    def _find(self) -> tuple[list[LabelledImage], dict[str, str]]:
        check_folder(self.image_dir)
        folders = _subfolders(self.image_dir)
        names = self._known_classes(folders)
        if self.ann_file:
            images, problems = read_labelled(Path(self.ann_file), self.image_dir, names)
        else:
            self._check_level(folders)
            names = names or dict.fromkeys(folders, "")
            images, problems = self._in_folders(names)
        if problems and self.on_error == "stop" and (names or self.ann_file):
            self._stop(problems)  # classes that lack images may be among them
        order = names or dict.fromkeys(sorted({image.label for image in images}), "")
        if len(order) < 2:
            found = f"one class, {printable(next(iter(order)))}" if order else "no folders of classes"
            raise DataError(
                f"data: {self.ann_file or self.image_dir} has {found}: at least two are needed, a folder of images "
                "for each"
            )
        self.classes = {name: label for label, name in enumerate(order)}
        self._metainfo["classes"] = tuple(order)
        if any(name not in ("", folder) for folder, name in order.items()):
            self._metainfo["class_names"] = tuple(name or folder for folder, name in order.items())
        self._check_classes(folders, {image.label for image in images})
        return sorted(images, key=lambda image: (self.classes[image.label], image.name)), problems

    def _known_classes(self, folders: Sequence[str]) -> dict[str, str] | None:
        """Return folder -> readable name of the classes that the config sets; None: it sets none."""
        if self.class_file is not None:
            return read_classes(self.class_file, folders)
        if self.classes_from is not None:
            return dict.fromkeys(_subfolders(self.classes_from), "")
        return self.listed_classes

    def _in_folders(self, names: Mapping[str, str]) -> tuple[list[LabelledImage], dict[str, str]]:
        """List the images in the folders of the classes, and problems."""
        files, problems = list_files(self.image_dir, recursive=True, keep_suffix=True)
        images = []
        for name, path in files.items():
            label, inside, _ = name.partition("/")
            if label in names and inside:
                images.append(LabelledImage(name, path, label))
            elif not inside:
                problems[str(path)] = "is in no folder of a class: move it into one, or away"
        return images, problems

    def _check_level(self, folders: Sequence[str]) -> None:
        """Stop if the folders are parts of a dataset instead of classes."""
        if folders and {folder.lower() for folder in folders} <= _PARTS and any(map(self._has_folders, folders)):
            raise DataError(
                f"data: {self.image_dir} contains the folders {listed(folders, 5)}, which are parts and no classes: "
                f"set image_dir={folders[0]!r}"
            )

    def _has_folders(self, folder: str) -> bool:
        return any(entry.is_dir() for entry in walk(self.image_dir / folder))

    def _check_classes(self, folders: Sequence[str], present: set[str]) -> None:
        """Stop if a class has no images, or a folder is no class: ``on_error`` is for files."""
        self._present = present
        wanted = self.classes_from or self.class_file or "classes"
        unknown = [] if self.extra_classes or self.ann_file else [name for name in folders if name not in self.classes]
        empty = [] if self.missing_classes else [name for name in self.classes if name not in present]
        if len(unknown) == len(empty) == len(self.classes):
            raise DataError(
                f"data: {wanted} names none of the folders in {self.image_dir} ({listed(map(printable, unknown), 3)}): "
                "write the folders, or a file with FOLDER and NAME in each line"
            )
        remedy = "add it there, remove the folder, or set extra_classes=True to leave it out"
        problems = dict.fromkeys(unknown, f"is no class in {wanted}: {remedy}") | dict.fromkeys(
            empty, "has no images: add some, remove the class, or set missing_classes=True"
        )
        if problems:
            raise DataError(
                f"data: {self.ann_file or self.image_dir} has unusable class folders ({len(problems)}):\n"
                f"{listed_lines(problems)}"
            )

    def _part_of(self, items: Sequence[LabelledImage]) -> list[LabelledImage]:
        if self.split.part is None:
            return list(items)
        of_class: dict[str, list[LabelledImage]] = {}
        for item in items:
            of_class.setdefault(item.label, []).append(item)
        chosen = {label: self.split.select(images, self._group) for label, images in of_class.items()}
        if lacking := [printable(label) for label, images in chosen.items() if not images]:
            raise DataError(
                f"data: part={self.part!r} of {self.image_dir} has no image of {listed(lacking, 5)}: add images, or "
                "use a separate folder for each part"
            )
        return [image for images in chosen.values() for image in images]

    def _chosen(self, items: list[LabelledImage]) -> list[LabelledImage]:
        lost = sorted(self._present - {item.label for item in items})
        if lost and not self.missing_classes:
            raise DataError(
                f"data: no image of {listed(map(printable, lost), 5)} in {self.image_dir} can be read: mend them, or "
                "set missing_classes=True"
            )
        if self.shots is not None:
            labels = torch.tensor([self.classes[item.label] for item in items])
            self._require_shots(Counter(item.label for item in items), self.shots)
            items = [items[place] for place in draw_shots(labels, self.shots, self.seed).tolist()]
        self.counts = Counter(item.label for item in items)
        return items

    def _require_shots(self, counts: Mapping[str, int], shots: int) -> None:
        if few := [f"{printable(label)} ({number})" for label, number in counts.items() if number < shots]:
            raise DataError(
                f"data: {self.image_dir} has fewer than shots={shots} images of {listed(few, 5)}: lower shots or add "
                "images"
            )

    def _examine(self, items: Sequence[LabelledImage], sample: int | None) -> Mapping[str, ImageFacts]:
        return examine_files(items, _facts_of, ImageFacts, [], sample)

    def _entry(self, item: LabelledImage) -> dict[str, Any]:
        entry = dict(
            img_path=str(item.image), img_id=item.name, gt_label=self.classes[item.label], dataset_name=self.name
        )
        return entry | dict(bank=True) if self.bank else entry


def _facts_of(item: LabelledImage) -> ImageFacts:
    try:
        height, width = read_image(item.image).shape[:2]
    except DataError as error:
        return ImageFacts(error=str(error).removeprefix("data: "))
    return ImageFacts(width, height)


def _subfolders(folder: Path) -> list[str]:
    """List the subfolders in the order of their names, without hidden ones."""
    return sorted(entry.name for entry in walk(folder) if entry.is_dir())
