"""Curves of runs."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

_COLUMNS = 3
_PANEL = (4.6, 3.0)  # inches
_DPI = 110
_MARKED = 40  # of fewer points each is marked


def draw_curves(
    runs: Mapping[str, Mapping[str, tuple[Sequence[int], Sequence[float]]]],
    path: Path,
    smooth: Mapping[str, int] | None = None,
    title: str = "",
    x_label: str = "iteration",
) -> None:
    """Write a picture with a panel for each key and a colour for each run.

    Args:
        runs: Run -> key -> (steps, values); the same keys for every run, in the order of the panels; curves may be empty.
        path: Of the picture; its folder is made.
        smooth: Key -> number of values that are averaged, itself and those before; the values themselves are drawn pale.
        title: Above the panels.
        x_label: Below them.
    """
    keys = list(next(iter(runs.values())))
    columns = min(_COLUMNS, len(keys))
    rows = math.ceil(len(keys) / columns)
    # Without pyplot: no window system is asked for, and no state of the caller's changes.
    figure = Figure(figsize=(columns * _PANEL[0], rows * _PANEL[1] + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    for panel, key in enumerate(keys):
        axes = figure.add_subplot(rows, columns, panel + 1, sharex=figure.axes[0] if panel else None)
        for index, (name, curves) in enumerate(runs.items()):
            steps, values = curves[key]
            window = (smooth or {}).get(key, 1)
            marker = "o" if len(steps) < _MARKED and window == 1 else ""
            if window > 1:
                axes.plot(steps, values, color=f"C{index}", alpha=0.25, linewidth=1)
            axes.plot(steps, moving_mean(values, window), color=f"C{index}", marker=marker, markersize=3, label=name)
        axes.set_title(key, fontsize=10)
        axes.set_xlabel(x_label, fontsize=9)
        axes.tick_params(labelsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.grid(alpha=0.3)
    if title:
        figure.suptitle(title)
    # The first panel's lines stand for all: each run has one, even if it is empty.
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=min(len(names), 4), fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=_DPI)


def moving_mean(values: Sequence[float], window: int) -> NDArray[np.float64]:
    """Means (N,) float64 of each value and up to ``window - 1`` before it; values that are not finite are left out of the means.

    Where nothing finite is in the window the mean is NaN.
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
