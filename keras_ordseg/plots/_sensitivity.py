"""A score against a number that was varied."""

from collections.abc import Mapping

import numpy as np

from keras_ordseg.plots._style import MARKERS, SMALL, TEXT, axes_grid, method_colors, plain, tidy


def sensitivity_curves(panels, *, x_label, title=None, axes=None):
    r"""Draws scores of methods, with their intervals, against a number that was varied.

    Args:
        panels: `{score: {method: [(x, mean, low, high), …]}}`, at most 7 methods; limits may be None, and the points come in
            any order.
        x_label: What was varied.
        title: Title of the figure. Default none.
        axes: Matplotlib Axes, one for each score. By default those of a new figure.

    Returns:
        The `matplotlib.figure.Figure`.

    Raises:
        ValueError: If there are no scores, methods or points, or more than 7 methods.

    >>> panels = {"ECE %": {"hybrid": [(1, 3.0, 2.5, 3.6), (5, 0.6, 0.4, 0.9)]}}
    >>> sensitivity_curves(panels, x_label="raters in training").axes[0].get_ylabel()
    'ECE %'
    """
    curves = [c for found in panels.values() for c in found.values() or [()]] if isinstance(panels, Mapping) else []
    if not curves or not all(len(points) and all(len(point) == 4 for point in points) for points in curves):
        raise ValueError("`panels` must be a dict {score: {method: [(x, mean, low, high), …]}} with points for each method.")
    labels = list(dict.fromkeys(label for found in panels.values() for label in found))
    colors, marks = method_colors(labels), dict(zip(labels, MARKERS, strict=False))
    figure, grid = axes_grid(axes, (1, len(panels)), 3.0 * len(panels) + 1.7, 2.8, title)
    for ax, (score, methods) in zip(grid.ravel(), panels.items(), strict=True):
        places = np.unique([point[0] for points in methods.values() for point in points]).astype("float64")
        for label, points in methods.items():
            x, mean, low, high = np.array(sorted(points), dtype="float64").T
            low, high = (np.where(np.isfinite(limit), limit, mean) for limit in (low, high))
            ax.fill_between(x, low, high, color=colors[label], alpha=0.13, linewidth=0)
            ax.plot(x, mean, color=colors[label], marker=marks[label], markersize=4, linewidth=1.4, label=plain(label))
        tidy(ax)
        _place(ax, places)
        ax.set_xlabel(plain(x_label), fontsize=TEXT)
        ax.set_ylabel(plain(score), fontsize=TEXT)
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=SMALL, frameon=False)
    return figure


def _place(ax, places):
    """A tick at each value; the axis is logarithmic above 0 where they span more than a factor of eight."""
    positive = places[places > 0]
    if positive.size and positive.max() > 8 * positive.min():
        scale = {"value": "log"} if places[0] > 0 else {"value": "symlog", "linthresh": positive.min()}
        ax.set_xscale(**scale)
    ax.set_xticks(places, [f"{value:g}" for value in places])
    ax.set_xticks([], minor=True)
