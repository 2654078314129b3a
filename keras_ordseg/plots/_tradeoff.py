"""Calibration against accuracy, every method a point."""

from collections.abc import Mapping

import numpy as np

from keras_ordseg.plots._style import GREY, MARKERS, PALETTE, SMALL, TEXT, axes_grid, plain, tidy


def calibration_tradeoff(points, *, x_label="ECE %", y_label="Dice", title=None, axes=None):
    r"""Draws each method at its calibration error (x) and its accuracy (y), with intervals: better is up and to the left.

    Args:
        points: `{label: {"x": (mean, low, high), "y": (mean, low, high)}}`, any number of methods; limits may be None.
        x_label: Name and unit of the calibration error. Default `"ECE %"`.
        y_label: Of the accuracy. Default `"Dice"`.
        title: Title of the figure. Default none.
        axes: One matplotlib Axes. By default that of a new figure.

    Returns:
        The `matplotlib.figure.Figure`.

    Raises:
        ValueError: If there are no points, or a mean is not a number.

    >>> figure = calibration_tradeoff({"hybrid": {"x": (0.4, 0.3, 0.6), "y": (0.7, 0.68, 0.72)}})
    >>> figure.axes[0].get_xlabel()
    'ECE %\n(better: left)'
    """
    if not isinstance(points, Mapping) or not points:
        raise ValueError("`points` must be a dict {label: {\"x\": (mean, low, high), \"y\": …}} with at least one method.")
    found = {label: [_triple(label, entry, name) for name in "xy"] for label, entry in points.items()}
    figure, grid = axes_grid(axes, (1, 1), 7.2, max(3.6, 0.2 * len(found) + 1.2), title)
    ax = grid[0, 0]
    for i, (label, ((x, *x_limits), (y, *y_limits))) in enumerate(found.items()):
        color = PALETTE[i % len(PALETTE)]
        ax.plot(x_limits, [y, y], color=color, linewidth=0.8, alpha=0.5)
        ax.plot([x, x], y_limits, color=color, linewidth=0.8, alpha=0.5)
        ax.plot(
            x,
            y,
            color=color,
            marker=MARKERS[(i + i // len(PALETTE)) % len(MARKERS)],
            markersize=6,
            markeredgecolor="white",
            linestyle="none",
            label=f"{i + 1}  {plain(label)}",
        )
        ax.annotate(str(i + 1), (x, y), (4, 4), textcoords="offset points", fontsize=SMALL - 1, color=GREY)
    tidy(ax)
    ax.set_xlabel(f"{plain(x_label)}\n(better: left)", fontsize=TEXT)
    ax.set_ylabel(f"{plain(y_label)}\n(better: up)", fontsize=TEXT)
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=SMALL - 0.5, frameon=False, handletextpad=0.2)
    return figure


def _triple(label, entry, name):
    mean, low, high = (np.nan if value is None else float(value) for value in entry[name])
    if not np.isfinite(mean):
        raise ValueError(f"`points[{label!r}][{name!r}]` must begin with a number, it is {entry[name]!r}.")
    return mean, low if np.isfinite(low) else mean, high if np.isfinite(high) else mean
