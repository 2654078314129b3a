"""Calibration against accuracy, every method a point."""

from collections.abc import Mapping

import numpy as np

from keras_ordseg.plots._style import GREY, MARKERS, PALETTE, SMALL, TEXT, axes_grid, plain, tidy

_FEW = 5  # methods of which none is far from "the others"


def calibration_tradeoff(points, *, x_label="ECE %", y_label="Dice", title=None, axes=None):
    r"""Draws each method at its calibration error (x) and its accuracy (y), with intervals: better is up and to the left.

    A method far from all the others would squeeze these into a corner: it is a hollow mark on the edge, and the legend says
    where it belongs.

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
    windows = [_window([entry[axis][0] for entry in found.values()]) for axis in (0, 1)]
    for i, (label, ((x, *x_limits), (y, *y_limits))) in enumerate(found.items()):
        color, name = PALETTE[i % len(PALETTE)], f"{i + 1}  {plain(label)}"
        at = [float(np.clip(value, *window)) for value, window in zip((x, y), windows, strict=True)]
        inside = at == [x, y]
        ax.plot(x_limits if inside else [at[0]], [at[1]] * (1 + inside), color=color, linewidth=0.8, alpha=0.5)
        ax.plot([at[0]] * (1 + inside), y_limits if inside else [at[1]], color=color, linewidth=0.8, alpha=0.5)
        ax.plot(
            *at,
            color=color,
            fillstyle="full" if inside else "none",
            marker=MARKERS[(i + i // len(PALETTE)) % len(MARKERS)],
            markersize=6,
            markeredgecolor="white" if inside else color,
            linestyle="none",
            clip_on=inside,
            label=name if inside else f"{name}: at {x:.3g}, {y:.3g}",
        )
        ax.annotate(str(i + 1), at, (4, 4), textcoords="offset points", fontsize=SMALL - 1, color=GREY)
    tidy(ax)
    for limits, window in zip((ax.set_xlim, ax.set_ylim), windows, strict=True):
        limits(*(None if np.isinf(edge) else edge for edge in window))
    ax.set_xlabel(f"{plain(x_label)}\n(better: left)", fontsize=TEXT)
    ax.set_ylabel(f"{plain(y_label)}\n(better: up)", fontsize=TEXT)
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=SMALL - 0.5, frameon=False, handletextpad=0.2)
    return figure


def _window(values):
    """Between what means are drawn: everything, unless some lie apart by eight times the spread of the middle half."""
    if len(values) < _FEW:
        return -np.inf, np.inf
    low, high = np.quantile(values, [0.25, 0.75])
    near = [v for v in values if low - 8 * (high - low) <= v <= high + 8 * (high - low)]
    span = max(near) - min(near)
    bottom, top = min(near) - 0.3 * span, max(near) + 0.3 * span
    return bottom if min(values) < min(near) else -np.inf, top if max(values) > max(near) else np.inf


def _triple(label, entry, name):
    mean, low, high = (np.nan if value is None else float(value) for value in entry[name])
    if not np.isfinite(mean):
        raise ValueError(f"`points[{label!r}][{name!r}]` must begin with a number, it is {entry[name]!r}.")
    return mean, low if np.isfinite(low) else mean, high if np.isfinite(high) else mean
