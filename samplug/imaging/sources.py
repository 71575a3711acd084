"""Find the images of paths, folders, arrays and iterables of them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from samplug.imaging.listing import list_files, walk
from samplug.imaging.rasters import Bands, Georeference, Raster, array_raster, georeference, open_raster
from samplug.utils.errors import DataError
from samplug.utils.text import indented


@dataclass(frozen=True)
class Source:
    """An image that is opened when it is needed.

    Attributes:
        name: Path of the image without its suffix, relative to the folder that was given; number of an array.
        image: A file, or an array.
    """

    name: str
    image: Path | NDArray[Any]

    @property
    def path(self) -> Path | None:
        """The file; None for an array."""
        return self.image if isinstance(self.image, Path) else None

    def open(self, bands: Bands | None = None) -> Raster:
        """Open the image.

        Raises:
            DataError: It cannot be read.
        """
        if isinstance(self.image, Path):
            return open_raster(self.image, bands)
        return array_raster(self.image, f"array {self.name}", bands)

    def georeference(self) -> Georeference | None:
        """Return the georeference of the file, if it has one."""
        return georeference(self.image) if isinstance(self.image, Path) else None


def find_sources(inputs: Any, recursive: bool = False) -> Iterator[Source]:
    """Yield the images of an input one by one.

    Args:
        inputs: A file, folder, array or :class:`Source`, or an iterable (generator) of these.
        recursive: Look into subfolders of folders.

    Raises:
        DataError: A folder has no images, or two images of one name.
    """
    single = isinstance(inputs, str | Path | Source) or not isinstance(inputs, Iterable) or hasattr(inputs, "dtype")
    for number, item in enumerate([inputs] if single else inputs):
        if isinstance(item, Source):
            yield item
        elif not isinstance(item, str | Path):
            yield Source(f"{number:06d}", item)
        elif Path(item).expanduser().is_dir():
            yield from _in_folder(Path(item).expanduser(), recursive)
        else:
            yield Source(Path(item).stem, Path(item).expanduser())


def _in_folder(folder: Path, recursive: bool) -> list[Source]:
    files, problems = list_files(folder, None, recursive)
    if problems:
        raise DataError(
            f"data: {len(problems)} problems in {folder}:\n"
            + indented(f"{path} {problem}" for path, problem in problems.items())
        )
    if not files:
        below = any(entry.is_dir() for entry in walk(folder)) and not recursive
        raise DataError(
            f"data: {folder} holds no images: name another folder"
            + (", or pass --recursive (recursive=True) to look into its subfolders" if below else "")
        )
    return [Source(name, path) for name, path in files.items()]
