"""Feature maps of images on disk."""

import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from mmengine.logging import print_log
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from samplug.utils.errors import ConfigError, check_choice
from samplug.utils.files import replacing

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
_CHECKSUM = "crc32"
_GB = 10**9


class FeatureStore:
    """Feature maps of images in a folder, a safetensors file for each image.

    The folder belongs to one encoder: its name is derived from the weights, sizes and ``dtype``. Entries are named by a
    key of the image's pixels and their normalisation (:func:`pixel_key`), so that nothing stale is ever read. Several
    processes and runs may read and write at once, and may be killed at any moment: a file is written whole, flushed to
    the disk and renamed. Damaged files are recognised by a checksum, reported, and count as missing. Stores can be
    pickled and used in data workers.

    In bfloat16 the maps of an image at 1024 px take 2.1 MB for SAM (256 x 64 x 64), and 44 MB for SAM 2, whose pyramid
    also has maps of 256 channels at strides 4 and 8 (256 x 256 x 256 and 256 x 128 x 128). SAM 2's decoder reduces
    these to 32 and 64 channels by its own 1x1 convolutions; they are trained with the decoder, so their output cannot
    be kept.

    Args:
        folder: Folder of the entries; it is made when the first one is written.
        dtype: ``'bfloat16'``, ``'float16'`` or ``'float32'`` in the files.
        limit_gb: Largest number of gigabytes that this process may write.

    Raises:
        ConfigError: ``dtype`` is unknown.
    """

    def __init__(self, folder: str | Path, dtype: str = "bfloat16", limit_gb: float = 200.0) -> None:
        check_choice("features", "dtype", dtype, tuple(DTYPES))
        self.folder = Path(folder)
        self.dtype = DTYPES[dtype]
        self.limit_gb = limit_gb
        self._written = 0
        self._writable = True

    def path(self, key: str) -> Path:
        """Return the file of an entry."""
        return self.folder / key[:2] / f"{key}.safetensors"

    def read(self, key: str) -> tuple[Tensor, ...] | None:
        """Read an entry: maps (C, h, w) of ``dtype`` on the CPU, or None if it is missing or damaged."""
        path = self.path(key)
        try:
            with safe_open(path, framework="pt") as file:
                maps = tuple(file.get_tensor(name) for name in sorted(file.keys(), key=int))
                expected = (file.metadata() or {}).get(_CHECKSUM)
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, ValueError) as error:  # ValueError: the name of a map is no number
            print_log(f"features: {path} cannot be read ({error}): its maps are computed again", "current", 30)
            return None
        # Files that are older than the checksums have none.
        if expected is not None and expected != _checksum(maps):
            print_log(f"features: {path} is damaged (its checksum differs): its maps are computed again", "current", 30)
            return None
        return maps

    def write(self, key: str, maps: Sequence[Tensor]) -> None:
        """Write an entry; if the disk refuses it, warn and write no more in this process.

        Args:
            key: Key of the image.
            maps: Each (C, h, w) of ``dtype``.

        Raises:
            ConfigError: More than ``limit_gb`` were written.
        """
        if not self._writable:
            return
        maps = [value.cpu().contiguous() for value in maps]
        path = self.path(key)
        try:
            with replacing(path) as partial:
                entries = {str(level): value for level, value in enumerate(maps)}
                save_file(entries, partial, metadata={_CHECKSUM: _checksum(maps)})
        except (OSError, SafetensorError) as error:
            self._writable = False
            print_log(f"features: {path} cannot be written ({error}): no more are kept in this run", "current", 30)
            return
        self._written += sum(value.nbytes for value in maps)
        if self._written > self.limit_gb * _GB:
            raise ConfigError(
                f"features: {self._written / _GB:.1f} GB were written to {self.folder} in this run: leave random "
                "augmentations other than flips out of the pipeline (each image has an entry of its own), or raise "
                f"limit_gb={self.limit_gb:g}"
            )


def _checksum(maps: Iterable[Tensor]) -> str:
    value = 0
    for entry in maps:
        value = zlib.crc32(entry.reshape(-1).view(torch.uint8).numpy().data, value)
    return f"{value:08x}"
