"""Pooled feature vectors on disk, all in one file."""

import fcntl
import json
import os
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from mmengine.logging import print_log
from numpy.typing import ArrayLike, NDArray

from samplug.utils.errors import ConfigError, DataError, check_choice
from samplug.utils.files import replacing

_HEADER_BYTES = 256
_KEY_BYTES = 32
_CRC_BYTES = 4


class VectorStore:
    """Vectors of one length by key, in one file of fixed-size records: for probes, k-NN and memory banks.

    A record holds a key, the values and a checksum, 4 * dim + 36 bytes in float32: 3.1 GB for a million vectors of 768
    values. Values are memory-mapped; keys are also kept in memory, about 150 bytes each. One process at a time appends;
    others see the records that were there when they opened the file. A last record that was cut by a kill is dropped, a
    damaged one is reported and counts as missing.

    Args:
        path: The file; the first :meth:`append` creates it.
        dim: Length of the vectors.
        source: Origin of the vectors besides the key, e.g. a digest of weights and transform.
        dtype: ``'float32'`` or ``'float16'`` in the file.

    Raises:
        ConfigError: ``dtype`` is unknown, or ``source`` too long.
        DataError: The file is no such store, or one with another ``dim``, ``source`` or ``dtype``.
    """

    def __init__(self, path: str | Path, dim: int, source: str, dtype: str = "float32") -> None:
        check_choice("features", "dtype", dtype, ("float32", "float16"))
        self.path = Path(path)
        self.dim = dim
        self._record = np.dtype(
            [("key", f"V{_KEY_BYTES}"), ("values", f"<{np.dtype(dtype).str[1:]}", dim), ("crc", "<u4")]
        )
        header = json.dumps(dict(samplug_vectors=1, dim=dim, dtype=dtype, source=source), ensure_ascii=False)
        self._header = header.encode().ljust(_HEADER_BYTES)
        if len(self._header) > _HEADER_BYTES:
            raise ConfigError(f"features: source={source!r} is too long for the file's header: use a digest")
        self._writer: BinaryIO | None = None
        self._records: NDArray[Any] = np.empty(0, self._record)
        self._rows: dict[bytes, int] = {}
        if self.path.exists():
            self._map()

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def record_bytes(self) -> int:
        """Size of a record in the file."""
        return self._record.itemsize

    def __contains__(self, key: str) -> bool:
        return bytes.fromhex(key) in self._rows

    def read(self, key: str) -> NDArray[Any] | None:
        """Return the vector (dim,) of a key of 64 hexadecimal digits, or None if it is missing or damaged."""
        row = self._rows.get(bytes.fromhex(key))
        if row is None:
            return None
        record = self._records[row]
        if not self._intact(row):
            print_log(f"features: record {row} of {self.path} is damaged (its checksum differs)", "current", 30)
            del self._rows[bytes.fromhex(key)]
            return None
        return np.array(record["values"])

    def rows(self, keys: Sequence[str]) -> NDArray[np.int64]:
        """Return the rows (N,) of N keys for :meth:`values`, -1 where a record is missing or damaged.

        Checksums are compared here, so that :meth:`values` need not.
        """
        rows = np.array([self._rows.get(bytes.fromhex(key), -1) for key in keys], np.int64)
        damaged = [place for place, row in enumerate(rows) if row >= 0 and not self._intact(row)]
        if damaged:
            print_log(
                f"features: {len(damaged)} records of {self.path} are damaged (their checksums differ)", "current", 30
            )
            rows[damaged] = -1
        return rows

    def values(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return the vectors (N, dim) of rows in any order, in the file's precision.

        Raises:
            DataError: A row lies behind the end of the file.
        """
        if len(rows) and rows.max() >= len(self._records):
            raise DataError(f"features: {self.path} has {len(self._records)} records and no row {rows.max()}")
        return np.asarray(self._records["values"])[rows]

    def append(self, keys: Sequence[str], vectors: ArrayLike) -> None:
        """Append records; a key that is there already gets the new vector.

        Args:
            keys: N keys of 64 hexadecimal digits.
            vectors: (N, dim).

        Raises:
            DataError: Another process is appending, a value is beyond the range of float16, or the file cannot be
                written.
        """
        records = np.zeros(len(keys), self._record)
        with np.errstate(over="ignore"):
            records["values"] = vectors
        if np.isinf(records["values"]).sum() > np.isinf(vectors).sum():
            raise DataError(
                f"features: a value of {np.abs(vectors).max():.3g} is beyond the range of float16: use dtype='float32'"
            )
        for record, key in zip(records, keys, strict=True):
            record["key"] = np.void(bytes.fromhex(key))
            record["crc"] = _checksum(record)
        try:
            writer = self._writer or self._open_to_write()
            writer.write(records.tobytes())
            writer.flush()
        except OSError as error:
            self._drop_writer()  # the next call cuts the part of a record that was written
            raise DataError(f"features: {self.path} cannot be written: {error.strerror or error}") from error
        self._map()

    def close(self) -> None:
        """Flush appended records to the disk and let other processes append."""
        if self._writer is not None:
            os.fsync(self._writer.fileno())
            self._writer.close()
            self._writer = None

    def _intact(self, row: int) -> bool:
        return bool(self._records[row]["crc"] == _checksum(self._records[row]))

    def _drop_writer(self) -> None:
        if self._writer is not None:
            with suppress(OSError):  # closing flushes, and fails for the same reason
                self._writer.close()
            self._writer = None

    def __enter__(self) -> "VectorStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open_to_write(self) -> BinaryIO:
        if not self.path.exists():
            with replacing(self.path) as partial:
                partial.write_bytes(self._header)
        writer = open(self.path, "r+b")  # noqa: SIM115  # held until close()
        try:
            fcntl.flock(writer, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            writer.close()
            raise DataError(f"features: another process appends to {self.path}: let one process write") from error
        self._map()  # with records that another process has appended since
        writer.truncate(_HEADER_BYTES + len(self._records) * self._record.itemsize)
        writer.seek(0, os.SEEK_END)
        self._writer = writer
        return writer

    def _map(self) -> None:
        """Map the whole records of the file, and find the rows of those that are new."""
        with open(self.path, "rb") as file:
            header, size = file.read(_HEADER_BYTES), os.fstat(file.fileno()).st_size
        if header != self._header:
            found = header.decode(errors="replace").strip()
            raise DataError(
                f"features: {self.path} begins with {found[:200]!r}, not with {self._header.decode().strip()!r}: "
                "delete it, or name another file"
            )
        known, count = len(self._records), (size - _HEADER_BYTES) // self._record.itemsize
        if count > known:
            self._records = np.memmap(self.path, self._record, "r", _HEADER_BYTES, (count,))
            keys = self._records["key"][known:]
            self._rows |= {key.tobytes(): row for row, key in enumerate(keys, start=known)}


def _checksum(record: Any) -> int:
    return zlib.crc32(record.tobytes()[:-_CRC_BYTES])  # of key and values
