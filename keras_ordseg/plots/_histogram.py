"""How often each level occurs, and how often models say it does."""

from collections.abc import Mapping

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from keras_ordseg.plots._style import SMALL, TEXT, axes_grid, method_colors, plain, tidy


def level_histogram(predicted, observed, *, title=None, colors=None, axes=None):
    """Draws the mean predicted probability of each level 0..K beside the share of pixels where so many raters mark.

    Args:
        predicted: `{label: (K+1,) mean level probabilities}` for at most 7 methods.
        observed: `(K+1,)` shares of the pixels with 0..K votes.
        title: Title of the figure. Default none.
        colors: Dict `{label: colour}` for some of the methods. By default as in `reliability_diagram`.
        axes: One matplotlib Axes. By default that of a new figure.

    Returns:
        The `matplotlib.figure.Figure`.

    Raises:
        ValueError: If the lengths differ or a share is negative or not finite.

    >>> figure = level_histogram({"hybrid": [0.6, 0.3, 0.1]}, [0.5, 0.3, 0.2])
    >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    ['raters', 'hybrid']
    """
    observed = np.asarray(observed, "float64")
    if not isinstance(predicted, Mapping):
        raise ValueError("`predicted` must be a dict {label: mean level probabilities}.")
    rows = {label: np.asarray(values, "float64") for label, values in predicted.items()}
    for label, values in {"observed": observed, **rows}.items():
        if values.shape != observed.shape or values.ndim != 1 or not (values >= 0).all() or not np.isfinite(values).all():
            raise ValueError(f"{label!r} must hold {observed.size} finite shares of at least 0, it holds {values!r}.")
    colors = method_colors(list(rows), colors)
    figure, grid = axes_grid(axes, (1, 1), 6.4, 3.0, title)
    ax, levels = grid[0, 0], np.arange(observed.size)
    width = 0.8 / (len(rows) + 1)
    for i, (label, values) in enumerate({"raters": observed, **rows}.items()):
        color = colors.get(label, "0.55") if i else "0.55"
        ax.bar(levels - 0.4 + (i + 0.5) * width, values, width, color=color, label=plain(label))
    tidy(ax)
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_xticks(levels)
    ax.set_xlabel("raters that mark", fontsize=TEXT)
    ax.set_ylabel("share of pixels", fontsize=TEXT)
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=SMALL, frameon=False)
    return figure
