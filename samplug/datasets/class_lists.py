"""Lists of classes, and lists of images with their classes."""

import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from samplug.datasets.pairing import read_lines
from samplug.utils.errors import ConfigError, DataError, did_you_mean
from samplug.utils.text import listed


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """An image and the name of its class; ``name`` is its path in the folder of images."""

    name: str
    image: Path
    label: str

    @property
    def files(self) -> tuple[Path, ...]:
        """Path of the image."""
        return (self.image,)


def read_classes(path: Path, folders: Collection[str]) -> dict[str, str]:
    """Read a class list: folder -> readable name, in the order of the lines.

    A line is a folder, or a folder and a readable name after a tab or blanks, as in ImageNet's
    ``LOC_synset_mapping.txt``.

    Args:
        path: Text file.
        folders: Folders that exist; names with blanks are recognised by them.

    Raises:
        DataError: The file cannot be read, is empty, or names a class twice.
    """
    found: dict[str, str] = {}
    for line in read_lines(path, "class", "classes"):
        folder, tab, name = line.partition("\t")
        if not tab and line not in folders:
            folder, *rest = line.split(maxsplit=1)
            name = rest[0] if rest else ""
        folder = folder.strip()
        if folder in found:
            raise DataError(f"data: the list {path} names the class {folder} twice: remove one line")
        found[folder] = name.strip() or folder
    return found


def as_classes(names: Sequence[str], owner: str) -> dict[str, str]:
    """Return the classes of a list in a config.

    Raises:
        ConfigError: An entry is no text, or occurs twice.
    """
    if wrong := [name for name in names if not isinstance(name, str)]:
        raise ConfigError(f"{owner}: classes has {wrong[0]!r}: write the names of folders, as text")
    if twice := [name for name, number in Counter(names).items() if number > 1]:
        raise ConfigError(f"{owner}: classes names {listed(twice, 5)} twice: remove one")
    return {name: name for name in names}


def read_labelled(
    path: Path, folder: Path, classes: Mapping[str, str] | None
) -> tuple[list[LabelledImage], dict[str, str]]:
    """Read a list of images, one a line: ``PATH LABEL``, or ``PATH`` for images in a folder of their class.

    LABEL is a class, or the index of a class; mmpretrain's annotation files have this form. A tab or blanks separate
    the two; labels with blanks need a tab.

    Args:
        path: Text file.
        folder: Folder that the paths are relative to.
        classes: Known classes in order; None: the labels in the file are the classes.

    Returns:
        The images in order, and problems: entry -> problem and remedy.

    Raises:
        DataError: The file cannot be read or is empty, or its labels are numbers and ``classes`` is None.
    """
    images: dict[str, LabelledImage] = {}
    problems: dict[str, str] = {}
    order = list(classes or ())
    for number, line in enumerate(read_lines(path, "image"), start=1):
        where = f"{path}, entry {number}"
        name, label, exists = _fields(line, folder)
        if label.isdecimal() and classes is None:
            raise DataError(
                f"data: {where}: the label {label} is a number: set classes to the list of classes that it counts in"
            )
        if classes is not None and label not in classes and label.isdecimal() and int(label[:10]) < len(order):
            label = order[int(label[:10])]
        if not exists:
            problems[where] = f"there is no file {folder / name}: correct the list or add the file"
        elif not label:
            problems[where] = f"{line!r} has no label, and the image is in no folder of a class: write PATH LABEL"
        elif classes is not None and label not in classes:
            near = did_you_mean(label, order)
            problems[where] = (
                f"the label {label!r} is none of the {len(order)} classes{near}: correct it or set classes"
            )
        elif name in images:
            problems[where] = f"{name} is listed twice: remove one line"
        else:
            images[name] = LabelledImage(name, folder / name, label)
    return list(images.values()), problems


def _fields(line: str, folder: Path) -> tuple[str, str, bool]:
    """Split a line into path and label; also return whether the path is a file. A path may contain blanks."""
    path, *label = line.rsplit("\t" if "\t" in line else None, 1)
    path = path.strip().lstrip("/")
    if label and os.path.isfile(folder / path):
        return path, label[0].strip(), True
    name = line.lstrip("/")
    if os.path.isfile(folder / name):
        return name, name.partition("/")[0] if "/" in name else "", True
    return path, label[0].strip() if label else "", False
