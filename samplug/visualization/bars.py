"""Draw scores as bars."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from samplug.utils.files import replace_file
from samplug.utils.text import printable

_WIDTH, _HEIGHT, _MARGIN = 7.0, 0.32, 1.0  # inches: of the figure, of a bar, around the bars
_DPI = 110


def draw_bars(groups: Mapping[str, Mapping[str, float]], path: Path, x_label: str) -> None:
    """Write an image with a horizontal bar and its value for each score.

    Args:
        groups: Group -> label -> value; each group has a colour and an entry in the legend. Groups may be empty.
        path: Image file to write, whole or not at all; its folder is created.
        x_label: Label of the axis.

    Raises:
        WriteError: The file cannot be written.
    """
    groups = {group: bars for group, bars in groups.items() if bars}
    number = sum(map(len, groups.values()))
    figure = Figure(figsize=(_WIDTH, number * _HEIGHT + _MARGIN), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    labels: list[str] = []
    for index, (group, bars) in enumerate(groups.items()):
        places = range(len(labels), len(labels) + len(bars))
        drawn = axes.barh(places, list(bars.values()), color=f"C{index}", label=printable(group))
        axes.bar_label(drawn, fmt="%.1f", padding=3, fontsize=8)
        labels += map(printable, bars)
    axes.set_yticks(range(number), labels, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel(x_label, fontsize=9)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(alpha=0.3, axis="x")
    axes.set_axisbelow(True)
    if len(groups) > 1:
        figure.legend(loc="outside upper center", ncols=len(groups), fontsize=9)
    replace_file(path, lambda partial: figure.savefig(partial, dpi=_DPI, format=path.suffix[1:]))
