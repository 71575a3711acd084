"""Ways to damage a file: bytes of any format, and values at places that a format gives a meaning."""

import contextlib
import io
import json
import pickletools
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

Mutator = Callable[[Random, bytes], bytes]

# Ends of the ranges of whole numbers, and what multiplies to a multiple of 2**32 or 2**64.
_EXTREME = [0, 1, 2, 7, 8, *(2**power + step for power in (7, 8, 15, 16, 31, 32, 63, 64) for step in (-1, 0, 1))]
_WORDS = [
    b"0", b"-1", b"1e999", b"-1e999", b"NaN", b"Infinity", b"9" * 400, b"1e-400", b"0x10", b"1_0", b"null", b"true", b'""', b"[]",
    b"{}", b"\0", b"\xff", b"\xed\xa0\x80", b'"\\ud800"', b"[" * 2000, b"&a [*a]", b"*a", b"<<: ", b"!!python/name:os.system ",
    b"../", b"C:\\", b"\n", b"\r", b"\x85", b"#", b"~", b"2001-01-01", b"1:2:3", b"? ",
]  # fmt: skip
_VALUES: list[Any] = [
    None, True, False, -1, 0, 0.5, 1e308, 10**400, -(2**63), float("nan"), float("inf"), "", "x" * 3000, "a\0b", "\ud800", "é",
    "../../a.jpg", "C:\\a.jpg", "/dev/zero", "1", [], {}, [None], {"a": 1}, [[]], [1] * 3000, ["a"], [[1, 2], [3, 4], [5, 6]],
]  # fmt: skip


def _place(rng: Random, data: bytes) -> int:
    """Choose a place, half of the time near an end, where formats have their tables."""
    if rng.random() < 0.5:
        near = rng.randrange(min(len(data), 200) + 1)
        return near if rng.random() < 0.6 else len(data) - near
    return rng.randrange(len(data) + 1)


def flip(rng: Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = min(_place(rng, data), len(data) - 1)
        changed[at] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(rng: Random, data: bytes) -> bytes:
    return data[: _place(rng, data)]


def drop(rng: Random, data: bytes) -> bytes:
    at = _place(rng, data)
    return data[:at] + data[at + rng.choice((1, 2, 4, 16, 500)) :]


def insert(rng: Random, data: bytes) -> bytes:
    at, length = _place(rng, data), rng.choice((1, 2, 4, 16, 500))
    return data[:at] + (rng.randbytes(length) if rng.random() < 0.5 else bytes(length)) + data[at:]


def repeat(rng: Random, data: bytes) -> bytes:
    at = _place(rng, data)
    part = data[at : at + rng.choice((1, 4, 16, 100, 1000))]
    return data[:at] + part * rng.choice((2, 2, 3, 50)) + data[at + len(part) :]


def move(rng: Random, data: bytes) -> bytes:
    one, other, length = _place(rng, data), _place(rng, data), rng.choice((1, 4, 16, 100))
    return data[:one] + data[other : other + length] + data[one + length :]


def number(rng: Random, data: bytes) -> bytes:
    """Replace some bytes by an extreme whole number."""
    size, value = rng.choice((1, 2, 4, 8)), rng.choice(_EXTREME)
    order: Any = rng.choice(("little", "big"))
    at = _place(rng, data)
    return data[:at] + (value % 256**size).to_bytes(size, order) + data[at + size :]


BYTES: list[Mutator] = [flip, flip, cut, drop, insert, repeat, move, number, number]


def word(rng: Random, data: bytes) -> bytes:
    """Replace a number or a word of a text by an odd one."""
    found = list(re.finditer(rb"-?\d[\d.]*|\w+|\S", data))
    if not found:
        return rng.choice(_WORDS)
    place = rng.choice(found)
    keep = rng.random() < 0.3
    return data[: place.start()] + rng.choice(_WORDS) + data[place.start() if keep else place.end() :]


TEXT: list[Mutator] = [word, word, word, flip, cut, drop, insert, repeat, move]


def value(rng: Random, content: Any) -> Any:
    """Return JSON content in which the value at a random place is another one, is gone or comes twice."""
    if not isinstance(content, dict | list) or not content or rng.random() < 0.15:
        return rng.choice([*_VALUES, nested(rng), content])
    changed = content.copy()
    key = rng.choice(list(content)) if isinstance(content, dict) else rng.randrange(len(content))
    kind = rng.random()
    if kind < 0.06:
        del changed[key]
    elif kind < 0.12:
        other = rng.choice(list(content)) if isinstance(content, dict) else rng.randrange(len(content))
        changed[key] = content[other]
    elif kind < 0.16 and isinstance(changed, list):
        changed *= rng.choice((2, 3, 100))
    elif kind < 0.19 and isinstance(changed, dict):
        changed[rng.choice(["", "a", "\ud800", "x" * 3000])] = changed.pop(key)
    elif kind < 0.24 and isinstance(content[key], int | float):
        changed[key] = rng.choice(_EXTREME) * rng.choice((1, -1, 0.5, 1e-9))
    else:
        changed[key] = value(rng, content[key])
    return changed


def nested(rng: Random) -> Any:
    found: Any = 0
    for _ in range(rng.choice((3, 50, 900))):
        found = [found] if rng.random() < 0.5 else {"a": found}
    return found


def json_value(rng: Random, data: bytes) -> bytes:
    try:
        return json.dumps(value(rng, json.loads(data))).encode()
    except (ValueError, RecursionError):  # an earlier change broke it
        return word(rng, data)


JSON: list[Mutator] = [json_value] * 6 + TEXT


def safetensors_header(rng: Random, data: bytes) -> bytes:
    """Change a value of the header, and state its new length."""
    try:
        end = 8 + int.from_bytes(data[:8], "little")
        header = json_value(rng, data[8:end])
    except (ValueError, OverflowError):
        return flip(rng, data)
    return len(header).to_bytes(8, "little") + header + data[end:]


SAFETENSORS: list[Mutator] = [*[safetensors_header] * 6, *BYTES]


def opcodes(rng: Random, data: bytes) -> bytes:
    """Drop, repeat, exchange or replace the operations of a pickle, which stay whole."""
    starts = []
    with contextlib.suppress(Exception):  # cut by an earlier change: the ones before it
        for _, _, at in pickletools.genops(data):
            starts.append(at)
    if len(starts) < 3:
        return flip(rng, data)
    parts = [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)], strict=True)]
    for _ in range(rng.choice((1, 1, 2, 5))):
        one, other = rng.randrange(len(parts)), rng.randrange(len(parts))
        match rng.randrange(6):
            case 0:
                parts[one] = b""
            case 1:
                parts[one] = (parts[one] * rng.choice((2, 2, 200)))[:10_000]
            case 2:
                parts[one], parts[other] = parts[other], parts[one]
            case 3:
                parts[one] = parts[other]
            case 4:
                parts[one] = _operation(rng)
            case 5:
                parts[one] += _operation(rng)
    return b"".join(parts)


def _operation(rng: Random) -> bytes:
    size = rng.choice(_EXTREME)
    return rng.choice([
        b"N", b"\x88", b")", b"]", b"}", b"0", b"2", b"(", b"t", b"l", b"d", b"R", b"b", b"\x81", b"s", b"a", b"u", b"e", b"\x86",
        b"\x8f", b"\x90", b"Q", b".", b"K" + rng.randbytes(1), b"J" + struct.pack("<i", (size + 2**31) % 2**32 - 2**31),
        b"\x8a\x08" + (size % 2**64).to_bytes(8, "little"), b"\x8b" + struct.pack("<I", size % 2**32), b"h" + rng.randbytes(1),
        b"q" + rng.randbytes(1), b"r" + struct.pack("<I", size % 2**32), b"j" + struct.pack("<I", size % 2**32),
        b"G" + struct.pack(">d", rng.choice((0.0, float("nan"), 1e308))), b"X\1\0\0\0a", b"B" + struct.pack("<I", size % 2**32) + b"ab",
        b"cnumpy\ndtype\n", b"cnumpy\nndarray\n", b"cbuiltins\ngetattr\n", b"cbuiltins\nset\n", b"ctorch\nFloatStorage\n",
        b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch._utils\n_rebuild_parameter\n", b"ctorch\nSize\n", b"ctorch\ndevice\n",
        b"ctorch._utils\n_rebuild_sparse_tensor\n", b"ctorch._tensor\n_rebuild_from_type_v2\n", b"ccollections\nOrderedDict\n",
        b"ccollections\nCounter\n", b"cmmengine.logging.history_buffer\nHistoryBuffer\n", b"cos\nsystem\n", b"c_codecs\nencode\n",
        b"ctorch.serialization\n_get_layout\n", b"ctorch._utils\n_rebuild_meta_tensor_no_storage\n",
    ])  # fmt: skip


def members(rng: Random, data: bytes) -> bytes:
    """Change, exchange, drop or repeat the members of a zip file, whose checksums stay right."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = [(part.filename, archive.read(part)) for part in archive.infolist()]
    except Exception:
        return flip(rng, data)
    at, other = rng.randrange(len(parts)), rng.randrange(len(parts))
    pickled = next((number for number, (name, _) in enumerate(parts) if name.endswith(".pkl")), at)
    match rng.randrange(10):
        case 0:
            del parts[at]
        case 1:
            (one, first), (two, second) = parts[at], parts[other]
            parts[at], parts[other] = (one, second), (two, first)
        case 2:
            parts.append(parts[at])
        case 3:
            parts[at] = (parts[at][0] + rng.choice(("x", "/", "\0", "/../a", "é")), parts[at][1])
        case 4 | 5:
            parts[at] = (parts[at][0], rng.choice(BYTES)(rng, parts[at][1] or b"0"))
        case _:
            parts[pickled] = (parts[pickled][0], opcodes(rng, parts[pickled][1]))
    stream = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if rng.random() < 0.05 else zipfile.ZIP_STORED
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in parts:
            archive.writestr(name, content)
    return stream.getvalue()


ZIP: list[Mutator] = [*[members] * 8, *BYTES]
LEGACY: list[Mutator] = [*[opcodes] * 8, *BYTES]


def png_chunks(rng: Random, data: bytes) -> bytes:
    """Change, exchange, drop or repeat the chunks of a PNG file, whose checksums stay right."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4])
        chunks.append((data[at + 4 : at + 8], data[at + 8 : end - 4]))
        at = end
    if not chunks:
        return flip(rng, data)
    one, other = rng.randrange(len(chunks)), rng.randrange(len(chunks))
    name, content = chunks[one]
    match rng.randrange(7):
        case 0:
            del chunks[one]
        case 1:
            chunks[one], chunks[other] = chunks[other], chunks[one]
        case 2:
            chunks.insert(other, chunks[one])
        case 3:
            new = rng.choice(
                (b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"iCCP", b"zTXt", b"acTL", b"fdAT", b"gAMA", b"sBIT", b"CgBI")
            )
            chunks.insert(one, (new, rng.randbytes(rng.choice((0, 1, 13, 26, 300)))))
        case 4 if name == b"IDAT":
            try:
                rows = rng.choice(BYTES)(rng, zlib.decompress(content))
                chunks[one] = (name, zlib.compress(rows))
            except zlib.error:
                chunks[one] = (name, zlib.compress(content))
        case _:
            chunks[one] = (name, rng.choice(BYTES)(rng, content or b"0"))
    parts = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks]
    return data[:8] + b"".join(parts)


PNG: list[Mutator] = [*[png_chunks] * 8, *BYTES]


def tiff_tags(rng: Random, data: bytes) -> bytes:
    """Change an entry of the first directory of a TIFF file: tag, type, count or value."""
    order: Any = "little" if data[:2] == b"II" else "big"
    start = int.from_bytes(data[4:8], order)
    number = int.from_bytes(data[start : start + 2], order)
    if not 0 < number < 100 or start + 2 + 12 * number > len(data):
        return flip(rng, data)
    at = start + 2 + 12 * rng.randrange(number)
    place, size = rng.choice(((0, 2), (2, 2), (4, 4), (8, 4), (8, 4)))
    new = rng.choice([*_EXTREME, *range(250, 350), rng.randrange(len(data)), len(data)]) % 256**size
    return data[: at + place] + new.to_bytes(size, order) + data[at + place + size :]


TIFF: list[Mutator] = [*[tiff_tags] * 8, *BYTES]


def jpeg_segments(rng: Random, data: bytes) -> bytes:
    """Change a segment of a JPEG file, and state its new length."""
    at, found = 2, []
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] not in (0xD9, 0xFF):
        length = int.from_bytes(data[at + 2 : at + 4])
        found.append((at, at + 2 + length))
        at += 2 + max(length, 2)
        if found[-1][0] and data[found[-1][0] + 1] == 0xDA:
            break
    if not found:
        return flip(rng, data)
    start, end = rng.choice(found)
    content = rng.choice(BYTES)(rng, data[start + 4 : end] or b"0")[:65000]
    marker = bytes([rng.choice((data[start + 1], data[start + 1], *range(0xC0, 0xE4), 0xFE))])
    segment = b"\xff" + marker + struct.pack(">H", len(content) + 2) + content
    keep = rng.random() < 0.2
    return data[:start] + segment + data[start if keep else end :]


JPEG: list[Mutator] = [*[jpeg_segments] * 6, *BYTES]


def mutate(rng: Random, data: bytes, mutators: list[Mutator]) -> bytes:
    """Apply one to three mutations."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if data:
            data = rng.choice(mutators)(rng, data)
    return data


def content(rng: Random, found: Any, tensors: type) -> Any:
    """Return the content of a checkpoint with another value at a random place; unchanged parts are shared."""
    if not isinstance(found, dict | list | tuple) or not found or rng.random() < 0.1:
        return _odd(rng, found, tensors)
    if isinstance(found, dict):
        changed, key = dict(found), rng.choice(list(found))
    else:
        changed, key = list(found), rng.randrange(len(found))  # type: ignore[assignment]
    kind = rng.random()
    if kind < 0.06:
        del changed[key]
    elif kind < 0.12:
        changed[key] = found[rng.choice(list(found)) if isinstance(found, dict) else rng.randrange(len(found))]
    else:
        changed[key] = content(rng, found[key], tensors)
    return tuple(changed) if isinstance(found, tuple) else changed


def _odd(rng: Random, found: Any, tensors: type) -> Any:
    if isinstance(found, tensors) and rng.random() < 0.8:
        tensor: Any = found
        return rng.choice((
            tensor.flatten()[:1], tensor.unsqueeze(0), tensor.double(), tensor.to("meta"), tensor.flatten()[:0], tensor.bool(),
            tensor.float() * float("nan"), -tensor.float() - 1, tensor.cfloat(), tensor.half(), tensor.tolist(),
        ))  # fmt: skip
    if isinstance(found, int | float) and rng.random() < 0.6:
        return rng.choice(
            (found + 1, found - 1, -found, found / 3, found * 10**9, int(found), float(found), rng.choice(_EXTREME))
        )
    return rng.choice([*_VALUES, nested(rng)])
