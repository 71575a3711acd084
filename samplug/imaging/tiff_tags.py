"""Read the tags of TIFF files and EXIF data, and reduce a TIFF file to the tags that decoding needs.

Decoders copy the values of every tag, and follow links to further directories. In a crafted file, thousands of tags
share one area, and 200 kB become gigabytes. Therefore tags are checked here first, and decoders get a file whose
directory contains each tag of :data:`_DECODING` at most once, and no further page.
"""

import re
import struct
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from samplug.imaging.limits import UndecodableError, check_size, most_bytes

WIDTH, HEIGHT, ORIENTATION, BITS, PHOTOMETRIC, SAMPLES, PLANAR, SAMPLE_FORMAT = 256, 257, 274, 258, 262, 277, 284, 339
_TILE_WIDTH, _TILE_HEIGHT, _XMP = 322, 323, 700
_OFFSETS_AND_COUNTS = ((273, 279), (324, 325))  # strips, tiles
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2
# Tags for size, layout, compression and colours, and tags of JPEG and fax compression.
_DECODING = frozenset(
    {*range(254, 260), PHOTOMETRIC, 266, 273, SAMPLES, 278, 279, PLANAR, 292, 293, 317, 320, *range(322, 326), 332, 338}
    | {SAMPLE_FORMAT, 347, *range(512, 522), 529, 530, 531, 532}
)
# Tag type -> bytes per value; types 3, 4 and 16 are unsigned integers.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_NUMBERS = {3: "u2", 4: "u4", 16: "u8"}
_MOST_TAGS = 65535
_MOST_PARTS = 2**20  # strips or tiles, for each of which decoders allocate a record
_MOST_PAGES = 1000
_TRUNCATED = "is a truncated TIFF file: download or copy it again"


@dataclass(frozen=True)
class _Entry:
    at: int  # position of the entry in the file
    kind: int
    count: int
    position: int  # position of the first value
    size: int  # size of all values in bytes


class Directory:
    """First directory of a TIFF file or of EXIF data; if a tag occurs twice, the last occurrence counts.

    Args:
        content: Bytes of the file or of the EXIF data.
        whole: False accepts truncated content, and takes the tags before its end.

    Raises:
        UndecodableError: The content ends within the directory, or the directory has too many tags.
    """

    def __init__(self, content: bytes, whole: bool = True) -> None:
        self._content = content
        self._order = "<" if content[:2] == b"II" else ">"
        self._big = 43 in content[2:4]
        self._number, self._count, self._entry = ("Q", "Q", 20) if self._big else ("H", "I", 12)
        self.entries: dict[int, _Entry] = {}
        try:
            (self._offset,) = self._unpack(self._count, 8 if self._big else 4)
            self._read()
        except (struct.error, OverflowError) as error:
            if whole:
                raise UndecodableError(_TRUNCATED) from error

    def _read(self) -> None:
        (number,) = self._unpack(self._number, self._offset)
        if number > _MOST_TAGS:
            raise UndecodableError(f"is a damaged TIFF file with {number:,} tags: download or copy it again")
        self._first = self._offset + struct.calcsize(self._number)
        self._end = self._first + number * self._entry
        room = struct.calcsize("=" + self._count)
        for at in range(self._first, self._end, self._entry):
            tag, kind, count = self._unpack("HH" + self._count, at)
            if not (size := count * _SIZES.get(kind, 0)):
                continue
            position = at + 4 + room
            if size > room:
                (position,) = self._unpack(self._count, position)
            self.entries[tag] = _Entry(at, kind, count, position, size)

    def value(self, tag: int, missing: int = 1) -> int:
        """Return the largest value of an integer tag; ``missing`` (TIFF's default for most tags) without the tag."""
        values = self.values(tag)
        return int(values.max()) if values.size else missing

    def values(self, tag: int) -> np.ndarray:
        """Return the values of an integer tag, (N,); empty for other types and missing tags."""
        entry = self.entries.get(tag)
        if entry is None or entry.kind not in _NUMBERS:
            return np.zeros(0, np.uint64)
        if entry.position + entry.size > len(self._content):
            raise UndecodableError(_TRUNCATED)
        layout = np.dtype(self._order + _NUMBERS[entry.kind])
        return np.frombuffer(self._content, layout, entry.count, entry.position)

    def orientation(self) -> int | None:
        """Return the orientation, 1..8, from its tag or from XMP; None without it."""
        values = self.values(ORIENTATION)
        if values.size:
            return int(values[0])
        xmp = self.entries.get(_XMP)
        return xmp_orientation(self._content[xmp.position : xmp.position + xmp.size]) if xmp else None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) as stored."""
        return self.value(WIDTH, 0), self.value(HEIGHT, 0)

    @cached_property
    def pages(self) -> int:
        """Number of pages, counted up to a thousand."""
        seen = {self._offset}
        offset = self._next(self._offset)
        while offset and offset not in seen and len(seen) < _MOST_PAGES:
            seen.add(offset)
            offset = self._next(offset)
        return len(seen)

    def check(self) -> None:
        """Check that the image can be read, without decoding it.

        Raises:
            UndecodableError: The file is truncated or damaged, the image or a tile is too large, or values are not
                unsigned 8 or 16 bits.
        """
        check_size(*self.size)
        kept = [entry for tag, entry in self.entries.items() if tag in _DECODING]
        if any(entry.position + entry.size > len(self._content) for entry in kept):
            raise UndecodableError(_TRUNCATED)
        if sum(entry.size for entry in kept) > len(self._content) + 2**16:
            raise UndecodableError("is a damaged TIFF file whose tags overlap: download or copy it again")
        for offsets, counts in map(self._parts, _OFFSETS_AND_COUNTS):
            if offsets.size > _MOST_PARTS:
                raise UndecodableError(
                    f"is a TIFF file in {offsets.size:,} parts, the limit is {_MOST_PARTS:,}: save it in larger strips "
                    "or tiles"
                )
            if offsets.size and (offsets + counts).max() > len(self._content):
                raise UndecodableError(_TRUNCATED)
        if _TILE_WIDTH in self.entries:
            check_size(self.value(_TILE_WIDTH), self.value(_TILE_HEIGHT))
        self._check_values()

    def _parts(self, tags: tuple[int, int]) -> list[np.ndarray]:
        """Return offsets and sizes of the strips or tiles, (N,) float64, which cannot overflow."""
        found = [self.values(tag) for tag in tags]
        return [values[: min(map(len, found))].astype(np.float64) for values in found]

    def _check_values(self) -> None:
        bits, values, samples = self.value(BITS), self.value(SAMPLE_FORMAT), self.value(SAMPLES)
        if values in (2, 3) or bits not in (1, 2, 4, 8, 16):
            name = {2: "signed", 3: "float"}.get(values, "unsigned")
            raise UndecodableError(f"holds {bits}-bit {name} values: convert it to unsigned 8 or 16 bits")
        if bits == 16 and samples > 1 and self.value(PLANAR) == 2:
            raise UndecodableError(
                "holds 16-bit colours in separate planes: convert it to interleaved colours or to 8 bits"
            )
        width, height = self.size
        if width * height * samples * bits > 8 * most_bytes():
            raise UndecodableError(f"is too large ({width}x{height}, {samples} channels): save the channels as files")

    def cleaned(self) -> bytes:
        """Return the file with only the tags that decoding needs, without orientation and further pages.

        RGB pixels that a program tagged as grey (BlackIsZero) are tagged as RGB: Pillow refuses such files, and OpenCV
        reads only one channel.
        """
        kept = sorted((tag, entry) for tag, entry in self.entries.items() if tag in _DECODING)
        changed = bytearray(self._content)
        directory = b"".join(self._content[entry.at : entry.at + self._entry] for _, entry in kept)
        changed[self._first : self._first + len(directory)] = directory
        struct.pack_into(self._order + self._number, changed, self._offset, len(kept))
        self._end_pages(changed, self._first + len(directory))
        colours = self.entries.get(PHOTOMETRIC)
        if colours and self.values(PHOTOMETRIC).tolist() == [BLACK_IS_ZERO] and self.value(SAMPLES) >= 3:
            at = self._first + [tag for tag, _ in kept].index(PHOTOMETRIC) * self._entry
            layout = {3: "H", 4: "I", 16: "Q"}[colours.kind]
            struct.pack_into(self._order + layout, changed, at + colours.position - colours.at, RGB)
        return bytes(changed)

    def _end_pages(self, changed: bytearray, at: int) -> None:
        """Write the end of the page list; a directory at the end of a file may have no space for it."""
        room = struct.calcsize("=" + self._count)
        changed.extend(bytes(max(0, at + room - len(changed))))
        changed[at : at + room] = bytes(room)

    def _next(self, offset: int) -> int:
        """Return the position of the directory that follows the directory at ``offset``; 0 if there is none."""
        try:
            (number,) = self._unpack(self._number, offset)
            at = offset + struct.calcsize(self._number) + number * self._entry
            return int(self._unpack(self._count, at)[0])
        except (struct.error, OverflowError):
            return 0

    def _unpack(self, layout: str, at: int) -> tuple[int, ...]:
        return struct.unpack_from(self._order + layout, self._content, at)


def exif_orientation(data: bytes) -> int | None:
    """Return the orientation in EXIF data with or without prefix; None if it is missing or damaged."""
    while data.startswith(b"Exif\0\0"):
        data = data[6:]
    if not data.startswith((b"II", b"MM")):
        return None
    try:
        return Directory(data, whole=False).orientation()
    except UndecodableError:
        return None


def xmp_orientation(data: bytes) -> int | None:
    """Return the orientation in an XMP packet; None if it is missing."""
    found = re.search(rb'tiff:Orientation(?:="|>)([0-9])', data)
    return int(found[1]) if found else None
