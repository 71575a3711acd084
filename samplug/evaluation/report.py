"""Write the scores of a set as files and tables."""

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from samplug.evaluation.protocols import ImageResult, Protocol, Scores
from samplug.utils.errors import ConfigError
from samplug.utils.files import write_bytes, write_text


@dataclass(frozen=True)
class Report:
    """Scores of one method on one set.

    Attributes:
        protocol: Name of the protocol.
        summary: Metric -> value of the set.
        images: Image -> metric -> value.
        skipped: Image -> reason why it does not count.
        details: Further entries of the JSON file.
    """

    protocol: str
    summary: Scores
    images: Mapping[str, Scores]
    skipped: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, protocol: Protocol[Any, Any], results: Mapping[str, ImageResult], skipped: Mapping[str, str] | None = None
    ) -> "Report":
        """Sum up the results of images, which are given by name."""
        ordered = dict(sorted(results.items()))
        counted = {name: result for name, result in ordered.items() if result.skipped is None}
        left_out = {name: result.skipped for name, result in ordered.items() if result.skipped is not None}
        return cls(
            protocol.name,
            protocol.summarise(list(counted.values())),
            {name: result.scores for name, result in counted.items()},
            {**left_out, **(skipped or {})},
            protocol.details(list(counted.values())),
        )

    def write_json(self, path: str | Path) -> None:
        """Write ``{"protocol", "summary", "images", "skipped"}`` and the protocol's own entries."""
        content = asdict(self)
        write_text(path, json.dumps(content | content.pop("details"), indent=1, allow_nan=False))

    def write_csv(self, path: str | Path) -> None:
        """Write a line for each image and a last one, ``(all)``, with the summary."""
        columns = list(self.summary)
        lines = [["image", *columns]]
        for name, scores in [*self.images.items(), ("(all)", self.summary)]:
            lines.append([name, *(repr(scores[column]) if column in scores else "" for column in columns)])
        write_csv(path, lines)


def check_writable(path: str | Path) -> None:
    """Check before a long run that its file can be written; make its folder.

    Raises:
        ConfigError: The path is a folder, or its folder cannot be made or written to.
    """
    target = Path(path)
    if target.is_dir():
        raise ConfigError(f"evaluate: {target} is a folder: name a file")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"evaluate: the folder of {target} cannot be made: {error.strerror}") from error
    if not os.access(target.parent, os.W_OK):
        raise ConfigError(f"evaluate: {target.parent} cannot be written to")


def write_csv(path: str | Path, lines: Sequence[Sequence[str]]) -> None:
    """Write a csv file, whole or not at all.

    Raises:
        DataError: It cannot be written.
    """
    text = io.StringIO(newline="")
    csv.writer(text).writerows(lines)
    write_bytes(path, text.getvalue().encode("utf-8", "backslashreplace"))


def table(rows: Mapping[str, Scores], columns: Sequence[str], title: str = "", decimals: int = 4) -> str:
    """Format rows of scores as an aligned Markdown table.

    Columns without any score are left out; missing scores are dashes. Counts (``int``) have no decimals.
    """

    def cell(value: float) -> str:
        return str(value) if isinstance(value, int) else f"{value:.{decimals}f}"

    present = [column for column in columns if any(column in scores for scores in rows.values())]
    cells = [[title, *present]]
    for name, scores in rows.items():
        cells.append([name, *(cell(scores[c]) if c in scores else "-" for c in present)])
    return aligned(cells)


def aligned(rows: Sequence[Sequence[str]], texts: int = 1) -> str:
    """Format cells as an aligned Markdown table; the first row is the head.

    The first ``texts`` columns are aligned left, the others right.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.ljust(width) if place < texts else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return f"| {' | '.join(padded)} |"

    rule = "|".join("-" * (width + 2) if k < texts else "-" * (width + 1) + ":" for k, width in enumerate(widths))
    return "\n".join([line(rows[0]), f"|{rule}|", *map(line, rows[1:])])
