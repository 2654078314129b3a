"""The contour of every quorum on the image, and the band between the first and the last rater."""

import math
import textwrap

import matplotlib
import numpy as np
from matplotlib import patheffects
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from keras_ordseg.plots._style import GREY, SMALL, as_image, axes_grid, show_image

_BAND = "#E69F00"


def confidence_ribbon(
    image, levels, *, spacing=None, title=None, margin=None, cmap="viridis", legend=True, ax=None
):
    """Draws the image with the contour of every quorum and the confidence ribbon between the first and the last.

    The contour of quorum t is where `P(k >= t)` crosses 1/2: inside it, at least t of the K raters are expected to mark.
    The contours lie inside one another, and the ribbon is what the first holds and the last one does not: narrow where
    the raters agree on the border, wide where they do not. Below the image stand the expected area of a rater drawn at
    random, `sum E[k]/K`, between what all raters mark, `sum P(k = K)`, and what any of them marks, `sum P(k >= 1)`, and
    the disputed share, the mean of `P(0 < k < K)` over the first contour: the numbers that `serving.export` serves.

    Args:
        image: `(H, W)`, `(H, W, 1)` or `(H, W, 3)` in [0, 1].
        levels: Level probabilities `(H, W, K+1)`, as `ops.level_probabilities` and the signature `serving_default` give.
        spacing: `(row, column)` distance between pixels in mm, for areas in mm². Default `None`: in pixels.
        title: Title of the figure. Default none.
        margin: Show only the ribbon and the area inside it, with so many pixels around. Default `None`: the whole image.
        cmap: Name of a matplotlib colormap for the contours, first to last. Default `"viridis"`.
        legend: Whether the contours are named. Default `True`.
        ax: A matplotlib Axes. By default that of a new figure.

    Returns:
        The `matplotlib.figure.Figure`.

    Raises:
        ValueError: If shapes disagree, or values lie outside their range.

    >>> import numpy as np
    >>> inside = np.clip(1.5 - np.hypot(*np.mgrid[-4:4, -4:4]) / 3, 0, 1)[..., None]
    >>> levels = np.concatenate([1 - inside, inside * (1 - inside), inside**2], axis=-1)        # K = 2
    >>> figure = confidence_ribbon(np.zeros((8, 8)), levels)
    >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    ['any rater', 'all 2', 'ribbon']
    """
    image = as_image(image)
    at_least = _at_least(levels, image.shape[:2])
    pixel = _pixel_size(spacing)
    if title is not None:
        title = textwrap.fill(str(title), 40)
    figure, grid = axes_grid(ax, (1, 1), 3.6, 0.9 + 2.7 * image.shape[0] / image.shape[1], title)
    ax = grid[0, 0]
    show_image(ax, image)
    colors = matplotlib.colormaps[cmap](np.linspace(1.0, 0.35, len(at_least)))
    height, width = image.shape[:2]
    rows, columns = np.arange(-1, height + 1), np.arange(-1, width + 1)
    # 0 beyond the border closes the lines there
    padded = [np.pad(probability, 1) for probability in at_least]
    band = np.minimum(padded[0] - 0.5, 0.5 - padded[-1])
    if (band > 0).any():
        ax.contourf(columns, rows, band, levels=[0, 1], colors=[to_rgba(_BAND, 0.35)])
    for probability, color in zip(padded, colors, strict=True):
        if (probability > 0.5).any():
            lines = ax.contour(columns, rows, probability, levels=[0.5], colors=[color], linewidths=1.1)
            lines.set_path_effects([patheffects.withStroke(linewidth=2.0, foreground=(0, 0, 0, 0.55))])
    ax.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    if margin is not None:
        _zoom(ax, at_least[0] > 0.5, margin)
    ax.set_xlabel(_remark(at_least, pixel, spacing), fontsize=SMALL, color=GREY, labelpad=3)
    if legend:
        _legend(ax, colors, [(probability > 0.5).any() for probability in at_least])
    return figure


def _at_least(levels, shape):
    """`P(k >= t)` for t = 1..K, `(K, H, W)`; ValueError."""
    levels = np.asarray(levels, dtype="float64")
    if levels.ndim != 3 or levels.shape[:2] != shape or levels.shape[-1] < 2:
        raise ValueError(f"`levels` must have shape (H, W, K+1) with the image's {shape}, it has {levels.shape}.")
    if not (levels >= -1e-6).all() or not np.allclose(levels.sum(axis=-1), 1, atol=1e-3):
        raise ValueError(
            "`levels` must hold probabilities that sum to 1 over the last axis, not logits; "
            "`ops.level_probabilities` makes them."
        )
    return np.clip(np.cumsum(levels[..., ::-1], axis=-1)[..., -2::-1], 0, 1).transpose(2, 0, 1)


def _pixel_size(spacing):
    if spacing is None:
        return 1.0
    values = np.asarray(spacing, dtype="float64")
    if values.shape != (2,) or not (np.isfinite(values) & (values > 0)).all():
        raise ValueError(f"`spacing` must be two distances in mm above 0, (row, column); {spacing!r} came.")
    return math.prod(values)


def _zoom(ax, inside, margin):
    """Limits the view to a box around `inside`."""
    if margin < 0:
        raise ValueError(f"`margin` must be a number of pixels, at least 0, or None; {margin} came.")
    found = np.argwhere(inside)
    if len(found):
        (top, left), (bottom, right) = found.min(axis=0) - margin, found.max(axis=0) + margin
        height, width = inside.shape
        ax.set(
            xlim=(max(left, 0) - 0.5, min(right, width - 1) + 0.5),
            ylim=(min(bottom, height - 1) + 0.5, max(top, 0) - 0.5),
        )


def _remark(at_least, pixel, spacing):
    """The areas and the disputed share in words."""
    areas = pixel * at_least.sum(axis=(1, 2))
    inside = at_least[0] > 0.5
    unit = "pixels" if spacing is None else "mm²"
    text = f"area {areas.mean():.4g} ({areas[-1]:.4g} to {areas[0]:.4g}) {unit}"
    if not inside.any():
        return f"{text}\nno pixel that a rater is expected to mark"
    return f"{text}\ndisputed {100 * (at_least[0] - at_least[-1])[inside].mean():.0f} %"


def _legend(ax, colors, there):
    count = len(colors)
    names = [f"at least {t}" for t in range(1, count + 1)]
    names[0], names[-1] = "any rater", f"all {count}" if count > 1 else "the rater"
    names = [name if found else f"{name}: none" for name, found in zip(names, there, strict=True)]
    handles = [Line2D([], [], color=color, linewidth=2, label=name) for color, name in zip(colors, names, strict=True)]
    handles.append(Patch(facecolor=to_rgba(_BAND, 0.5), label="ribbon"))
    ax.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(1.02, 1),
        borderaxespad=0,
        fontsize=SMALL,
        frameon=False,
        handlelength=1.2,
    )
