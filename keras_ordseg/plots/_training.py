"""Curves of the quantities a training run logs."""

from collections.abc import Mapping

import numpy as np
from matplotlib.lines import Line2D

from keras_ordseg.plots._style import GREY, SMALL, TEXT, axes_grid, method_colors, plain, tidy


def training_curves(histories, *, quantities=("loss",), title=None, colors=None, axes=None):
    """Draws what `fit` logged against the epoch: solid lines for validation, dotted ones for training.

    Losses of different kinds have different units; compare shapes and where they level off, not heights.

    Args:
        histories: `{label: history}` for at most 7 methods; a history is what `History.history` holds, a dict
            such as `{"loss": [...], "val_loss": [...]}` with one number for each epoch.
        quantities: Names to draw, one panel each, without the prefix `val_`. Default `("loss",)`.
        title: Title of the figure. Default none.
        colors: Dict `{label: colour}` for some of the methods. By default as in `reliability_diagram`.
        axes: Matplotlib Axes, one for each quantity. By default those of a new figure.

    Returns:
        The `matplotlib.figure.Figure`.

    Raises:
        ValueError: If no history has one of the quantities, or more than 7 methods come.

    >>> figure = training_curves({"hybrid": {"loss": [0.9, 0.5, 0.4], "val_loss": [0.8, 0.6, 0.5]}})
    >>> [list(map(float, line.get_ydata())) for line in figure.axes[0].lines]
    [[0.9, 0.5, 0.4], [0.8, 0.6, 0.5]]
    """
    if not isinstance(histories, Mapping) or not histories:
        raise ValueError("`histories` must be a dict {label: History.history} with at least one method.")
    quantities = [quantities] if isinstance(quantities, str) else list(quantities)
    colors = method_colors(list(histories), colors)
    figure, grid = axes_grid(axes, (1, len(quantities)), 3.4 * len(quantities) + 1.7, 2.7, title)
    grid = grid.ravel()
    for ax, quantity in zip(grid, quantities, strict=True):
        _panel(ax, histories, quantity, colors)
    handles = [
        Line2D([], [], color=color, linewidth=1.6, label=plain(label)) for label, color in colors.items()
    ]
    kinds = (("validation", "-"), ("training", ":"))
    handles += [Line2D([], [], color=GREY, linestyle=style, label=kind) for kind, style in kinds]
    grid[-1].legend(
        handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=SMALL, frameon=False
    )
    return figure


def _panel(ax, histories, quantity, colors):
    drawn = []
    for label, history in histories.items():
        for name, style, width in ((quantity, ":", 1.1), (f"val_{quantity}", "-", 1.6)):
            values = np.asarray(history.get(name, []), dtype="float64")
            if values.ndim != 1:
                raise ValueError(
                    f"`histories[{label!r}][{name!r}]` must be a list of numbers, one for each epoch."
                )
            if values.size:
                marker = "." if values.size < 4 else None
                epochs = np.arange(1, values.size + 1)
                ax.plot(epochs, values, color=colors[label], linestyle=style, linewidth=width, marker=marker)
                drawn.append(values)
    if not drawn:
        known = sorted({name for history in histories.values() for name in history})
        raise ValueError(f"No history has {quantity!r} or 'val_{quantity}'; they have {known}.")
    tidy(ax)
    finite = np.concatenate(drawn)
    finite = finite[np.isfinite(finite)]
    if finite.size and finite.min() > 0 and finite.max() > 10 * finite.min():
        ax.set_yscale("log")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_xlabel("epoch", fontsize=TEXT)
    ax.set_ylabel(plain(quantity.replace("_", " ")), fontsize=TEXT)
