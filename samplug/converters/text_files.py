"""Read and write annotation files as text; every failure is a DataError that names the file."""

import codecs
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from samplug.utils.errors import DataError, UserError
from samplug.utils.files import write_text
from samplug.utils.regular_files import read_bytes
from samplug.utils.text import shorten

# Far above the label files and data.yaml files of real datasets.
_LABEL_BYTES = 64 * 2**20
_YAML_BYTES = 2**20
_YAML_NODES = 100_000
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Convert Python errors from invalid content (nesting, types, huge numbers) into an error that names the file.

    Raises:
        DataError: The block raised one of these errors.
    """
    try:
        yield
    except UserError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else shorten(error)
        raise DataError(f"data: {path} has content that cannot be used: {reason}") from error


def read_text(path: Path, most: int = _LABEL_BYTES) -> str:
    """Read UTF-8 text with or without a byte order mark, or UTF-16 text with one.

    Raises:
        DataError: ``path`` is not a regular file, is larger than ``most`` bytes, or has another encoding.
    """
    try:
        content = read_bytes(path, most)
    except OSError as error:
        raise DataError(f"data: {path} cannot be read: {error.strerror}") from error
    try:
        return content.decode("utf-16" if content.startswith(_UTF_16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"data: {path} is not UTF-8 text (byte {error.object[error.start]:#04x} at {error.start}): save it as "
            "UTF-8, for example with `iconv -f GBK -t UTF-8`"
        ) from error


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a mapping from a YAML file.

    Raises:
        DataError: The file cannot be read, is not a mapping, or becomes too large when its aliases are expanded.
    """
    text = read_text(path, _YAML_BYTES)
    with naming(path):
        try:
            loader = yaml.SafeLoader(text)
            node = loader.get_single_node()
            if node is not None and _expanded(node, {}) > _YAML_NODES:
                raise DataError(
                    f"data: {path} has aliases that refer to themselves or grow too large: write it without aliases"
                )
            content = None if node is None else loader.construct_document(node)
        except yaml.YAMLError as error:
            raise DataError(f"data: {path} cannot be read as yaml: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(content, dict):
        raise DataError(f"data: {path} is not a data.yaml: it contains {shorten(content)}")
    return content


def _expanded(node: yaml.Node, sizes: dict[int, float]) -> float:
    """Return the number of nodes below a node with all aliases expanded; infinite if a node contains itself."""
    if id(node) not in sizes:
        sizes[id(node)] = float("inf")
        children = node.value if isinstance(node, yaml.CollectionNode) else []
        parts = [part for child in children for part in (child if isinstance(child, tuple) else (child,))]
        sizes[id(node)] = 1 + sum(_expanded(part, sizes) for part in parts)
    return sizes[id(node)]


def write_json(path: Path, content: Any, indent: int | None = None) -> None:
    """Write a JSON file, whole or not at all.

    File names that are not UTF-8 are written as JSON escapes by :func:`write_text`, so they can be read back.
    """
    write_text(path, json.dumps(content, indent=indent, ensure_ascii=False) + "\n")
