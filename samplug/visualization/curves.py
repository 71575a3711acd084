"""Plot curves of training runs."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from samplug.utils.files import replace_file
from samplug.utils.text import printable

_COLUMNS = 3
_PANEL = (4.6, 3.0)  # inches
_DPI = 110
_MARKED = 40  # curves with fewer points get markers


def draw_curves(
    runs: Mapping[str, Mapping[str, tuple[Sequence[int], Sequence[float]]]],
    path: Path,
    smooth: Mapping[str, int] | None = None,
    title: str = "",
    x_label: str = "iteration",
) -> None:
    """Write an image with a panel for each key and a colour for each run.

    Args:
        runs: Run -> key -> (steps, values). All runs have the same keys, in the order of the panels; curves may be
            empty.
        path: Image file to write, whole or not at all; its folder is created.
        smooth: Key -> window of the moving average, see :func:`moving_mean`; the unsmoothed values are drawn pale.
        title: Title above the panels.
        x_label: Label of the horizontal axes.

    Raises:
        WriteError: The file cannot be written.
    """
    keys = list(next(iter(runs.values())))
    columns = min(_COLUMNS, len(keys))
    rows = math.ceil(len(keys) / columns)
    # Do not use pyplot: it may need a window system, and it would change the caller's state.
    figure = Figure(figsize=(columns * _PANEL[0], rows * _PANEL[1] + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    for panel, key in enumerate(keys):
        axes = figure.add_subplot(rows, columns, panel + 1, sharex=figure.axes[0] if panel else None)
        for index, (name, curves) in enumerate(runs.items()):
            label = printable(name)
            steps, values = curves[key]
            window = (smooth or {}).get(key, 1)
            marker = "o" if len(steps) < _MARKED and window == 1 else ""
            if window > 1:
                axes.plot(steps, values, color=f"C{index}", alpha=0.25, linewidth=1)
            axes.plot(steps, moving_mean(values, window), color=f"C{index}", marker=marker, markersize=3, label=label)
        axes.set_title(key, fontsize=10)
        axes.set_xlabel(x_label, fontsize=9)
        axes.tick_params(labelsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.grid(alpha=0.3)
    # Take the legend from the first panel, where each run has a line, even if it is empty.
    handles, names = figure.axes[0].get_legend_handles_labels()
    # The layout would place a figure title below the legend.
    columns = min(len(names), 4)
    figure.legend(
        handles, names, loc="outside upper center", ncols=columns, fontsize=9, title=title or None, title_fontsize=11
    )
    replace_file(path, lambda partial: figure.savefig(partial, dpi=_DPI, format=path.suffix[1:]))


def moving_mean(values: Sequence[float], window: int) -> NDArray[np.float64]:
    """Average each value with up to ``window - 1`` values before it: (N,) float64.

    Values that are not finite are left out; the mean of a window without finite values is NaN.
    """
    array = np.asarray(values, np.float64)
    finite = np.isfinite(array)
    sums = np.concatenate([[0.0], np.cumsum(np.where(finite, array, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    ends = np.arange(1, len(array) + 1)
    starts = np.maximum(ends - window, 0)
    number = counts[ends] - counts[starts]
    with np.errstate(invalid="ignore"):
        means: NDArray[np.float64] = (sums[ends] - sums[starts]) / number
    return means
