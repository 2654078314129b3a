"""Bar charts of the level probabilities at single pixels."""

import numpy as np
from matplotlib.patheffects import withStroke

from keras_ordseg.ops import majority_quorum
from keras_ordseg.plots._style import (
    GREY,
    PALETTE,
    SMALL,
    TEXT,
    add_title,
    as_image,
    axes_grid,
    show_image,
    tidy,
)

_BELOW, _ABOVE, _OBSERVED = "#A9C9DE", PALETTE[0], PALETTE[1]
_HALO = [withStroke(linewidth=2.5, foreground="white")]


def level_distribution(
    probabilities, votes=None, *, counts=None, image=None, pixels=None, title=None, axes=None
):
    """Draws how probable it is that 0, 1, … K raters mark a pixel.

    Bars from the majority quorum `ceil(K/2)` on are dark: their sum is the majority probability. A dashed
    line stands at the expected number of raters `E[k]`; a triangle at the observed vote. Both read-outs,
    `E[k]/K` and `P(k ≥ ceil(K/2))`, are written above the bars.

    Args:
        probabilities: `(K + 1,)` level probabilities of one pixel, or `(P, K + 1)` of P pixels (one panel
            each).
        votes: Raters that marked, int or `(P,)`. Default none is drawn.
        counts: Raters that rated, int or `(P,)`. The default is all K. With `n < K` of them every level that
            the vote allows, `v` to `v + K − n`, is bracketed.
        image: `(H, W)`, `(H, W, 1)` or `(H, W, 3)` in [0, 1], drawn as the first panel with the pixels
            numbered. Needs `pixels`. Default none.
        pixels: `(row, column)` of the pixel or `(P, 2)` of the pixels, for the titles and for `image`.
        title: Title of the figure. Default none.
        axes: Matplotlib Axes, one for each panel. By default those of a new figure.

    Returns:
        The `matplotlib.figure.Figure`.

    Raises:
        ValueError: If a shape does not fit, the probabilities do not sum to 1, or a vote exceeds its count.

    >>> figure = level_distribution([0.1, 0.2, 0.3, 0.4], votes=2)
    >>> [round(float(bar.get_height()), 6) for bar in figure.axes[0].patches]
    [0.1, 0.2, 0.3, 0.4]
    >>> figure.axes[0].get_title()
    'expected agreement 0.67\\nmajority probability 0.70 (dark)'
    """
    levels, votes, counts, pixels = _checked(probabilities, votes, counts, pixels)
    num_pixels, num_raters = levels.shape[0], levels.shape[1] - 1
    if image is not None and pixels is None:
        raise ValueError("`image` needs `pixels`, the (row, column) of every pixel drawn.")
    panels = num_pixels + (image is not None)
    columns = panels if axes is not None else min(panels, 4)
    rows = -(-panels // columns)
    figure, grid = axes_grid(
        axes, (rows, columns), max(2.4 * columns, 2.9) + 0.3, 2.35 * rows + 0.35 * (title is not None), title
    )
    grid = grid.ravel()
    for ax in grid[panels:]:
        ax.set_axis_off()
    if image is not None:
        _where(grid[0], as_image(image), pixels)
        grid = grid[1:]
    top = 1.38 * levels.max()
    for i, ax in enumerate(grid[:num_pixels]):
        _bars(ax, levels[i], None if votes is None else (votes[i], counts[i]), top)
        heading = _heading(levels[i])
        if pixels is not None:
            number = f"{i + 1}: " if num_pixels > 1 else ""
            heading = f"{number}pixel ({pixels[i][0]}, {pixels[i][1]})\n{heading}"
        add_title(ax, heading)
        if i % columns == 0 or (i == 0 and image is not None):
            ax.set_ylabel("probability", fontsize=TEXT)
        ax.set_xlabel(f"raters that mark, of {num_raters}", fontsize=TEXT)
    return figure


def _checked(probabilities, votes, counts, pixels):
    """Arrays of `(P, K + 1)`, `(P,)` or None, `(P,)` and `(P, 2)` or None."""
    levels = np.atleast_2d(np.asarray(probabilities, dtype="float64"))
    if levels.ndim != 2 or not levels.shape[0] or levels.shape[1] < 2:
        raise ValueError(
            f"`probabilities` must have shape (K + 1,) or (P, K + 1), it has {np.shape(probabilities)}."
        )
    if not np.all(levels >= 0) or not np.allclose(levels.sum(axis=1), 1, atol=1e-3):
        raise ValueError(
            "`probabilities` must be at least 0 and sum to 1 for every pixel; "
            "pass `ops.level_probabilities(logits)`."
        )
    num_pixels, num_raters = levels.shape[0], levels.shape[1] - 1
    if votes is None and counts is not None:
        raise ValueError("`counts` says how many raters stand behind `votes`; pass `votes` too.")
    if votes is not None:
        votes = _integers(votes, "votes")
        counts = np.full(num_pixels, num_raters) if counts is None else _integers(counts, "counts")
        if votes.shape != (num_pixels,) or counts.shape != (num_pixels,):
            raise ValueError(
                f"`votes` and `counts` must have one number for each of the {num_pixels} pixels, "
                f"their shapes are {votes.shape} and {counts.shape}."
            )
        if np.any(votes < 0) or np.any(votes > counts) or np.any(counts > num_raters):
            raise ValueError(
                f"`votes` must lie in 0 … counts and `counts` in 0 … {num_raters}; "
                f"votes {votes.tolist()} and counts {counts.tolist()} came."
            )
    if pixels is not None:
        pixels = np.atleast_2d(_integers(pixels, "pixels"))
        if pixels.shape != (num_pixels, 2):
            raise ValueError(
                f"`pixels` must have shape ({num_pixels}, 2), (row, column) each; it has {pixels.shape}."
            )
    return levels, votes, counts, pixels


def _integers(values, name):
    values = np.atleast_1d(np.asarray(values))
    if not np.all(values == np.floor(values)):
        raise ValueError(f"`{name}` must hold whole numbers, {values.tolist()} came.")
    return values.astype(int)


def _heading(levels):
    num_raters = levels.size - 1
    expected = float(levels @ np.arange(num_raters + 1)) / num_raters
    majority = float(levels[majority_quorum(num_raters) :].sum())
    return f"expected agreement {expected:.2f}\nmajority probability {majority:.2f} (dark)"


def _bars(ax, levels, observed, top):
    num_raters = levels.size - 1
    quorum = majority_quorum(num_raters)
    ticks = np.arange(num_raters + 1)
    ax.bar(ticks, levels, color=[_ABOVE if k >= quorum else _BELOW for k in ticks], width=0.8)
    expected = float(levels @ ticks)
    ax.axvline(expected, color=GREY, linestyle=(0, (4, 3)), linewidth=1)
    ax.annotate(
        "E[k]", (expected, top), xytext=(3, -8), textcoords="offset points", fontsize=SMALL, color=GREY
    )
    if observed is not None and observed[1] > 0:
        vote, count = int(observed[0]), int(observed[1])
        last = vote + num_raters - count
        height = float(levels[vote : last + 1].max()) + 0.04 * top
        if last > vote:
            ax.plot([vote - 0.4, last + 0.4], [height, height], color=_OBSERVED, linewidth=1.5)
        ax.plot([(vote + last) / 2], [height], marker="v", color=_OBSERVED, markersize=7, linestyle="none")
        ax.annotate(
            f"{vote} of {count}",
            ((vote + last) / 2, height),
            xytext=(0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=SMALL,
            color=_OBSERVED,
            path_effects=_HALO,
        )
    tidy(ax)
    ax.grid(visible=False, axis="x")
    ax.set(xlim=(-0.6, num_raters + 0.6), ylim=(0, top))
    if top > 1:
        ax.set_yticks(np.arange(6) / 5)
    ax.set_xticks(ticks if num_raters <= 10 else ticks[:: -(-num_raters // 10)])


def _where(ax, image, pixels):
    """The image with a numbered mark at every pixel."""
    if np.any(pixels < 0) or np.any(pixels >= image.shape[:2]):
        raise ValueError(f"`pixels` must lie inside the image's {image.shape[:2]}, {pixels.tolist()} came.")
    show_image(ax, image)
    for i, (row, column) in enumerate(pixels):
        ax.plot([column], [row], marker="o", markersize=8, markerfacecolor="none", markeredgecolor=_OBSERVED)
        ax.annotate(
            str(i + 1) if len(pixels) > 1 else "",
            (column, row),
            xytext=(6, 5),
            textcoords="offset points",
            fontsize=TEXT,
            fontweight="bold",
            color=_OBSERVED,
            path_effects=_HALO,
        )
