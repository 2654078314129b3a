"""Maps: what every rater drew, how many of them mark, and what the model predicts."""

import textwrap
from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.lines import Line2D

from keras_ordseg.plots._style import (
    GREY,
    SMALL,
    TEXT,
    add_title,
    as_image,
    axes_grid,
    new_figure,
    plain,
    rater_colors,
    show_image,
)

_CELL = 2.0  # inches an image is wide


def agreement_map(
    image, ratings, prediction, *, title=None, row_titles=None, margin=None, cmap="viridis", axes=None, counts=False
):
    """Draws the image with every rater's contour, the share of raters that mark, and the predicted agreement.

    A row shows one image: the image with one thin contour for each rater; the mean vote of the raters that
    rated, grey where nobody did; and one map for each prediction. All maps run from 0 to 1 and share the
    colour bar.

    Args:
        image: `(H, W)`, `(H, W, 1)` or `(H, W, 3)` in [0, 1]; a list of images gives several rows.
        ratings: `(H, W, K)` of 1 (marked), 0 (not marked) and −1 (absent or void); a list for several rows,
            whose numbers of raters may differ. A rater that is −1 everywhere gets no contour.
        prediction: `(H, W)` or `(H, W, 1)` in [0, 1], or a dict `{label: map}` for several columns; a list of
            either, or a dict `{label: list of maps}`, for several rows. NaN is drawn grey.
        title: Title of the figure. Default none.
        row_titles: One text for each row, left of it. Default none.
        margin: Crop every row to a square around all marks with so many pixels of margin. The default shows
            the whole image; a row without any mark is always shown whole.
        cmap: Name of a matplotlib colormap for the maps. Default `"viridis"`, perceptually uniform.
        axes: Matplotlib Axes, rows × (2 + number of predictions). By default those of a new figure.
        counts: Whether the ratings come from counts of votes, as `data.cases(votes=…)` reads them: slot `r` is then no
            rater but where at least `r` raters mark, and titles and legend say so. Default `False`.

    Returns:
        The `matplotlib.figure.Figure`.

    Raises:
        ValueError: If shapes disagree between image, ratings and prediction, or values lie outside their
            range.

    >>> import numpy as np
    >>> image = np.linspace(0, 1, 64).reshape(8, 8)
    >>> ratings = np.zeros((8, 8, 3), "int8")
    >>> ratings[2:5, 2:5, 0] = ratings[3:6, 2:5, 1] = 1
    >>> ratings[..., 2] = -1  # the third rater has not seen this image
    >>> figure = agreement_map(image, ratings, {"ordinal": np.full((8, 8), 0.1)})
    >>> [ax.get_title() for ax in figure.axes[:3]]
    ['image and raters', "raters' mean vote", 'ordinal']
    """
    rows = _rows(image, ratings, prediction)
    labels = list(rows[0][2])
    if margin is not None:
        if margin < 0:
            raise ValueError(f"`margin` must be a number of pixels, at least 0, or None; {margin} came.")
        rows = [_crop(*row, int(margin)) for row in rows]
    if row_titles is not None and len(row_titles) != len(rows):
        raise ValueError(
            f"`row_titles` must have one text for each of the {len(rows)} rows, it has {len(row_titles)}."
        )
    first = "image and counts" if counts else "image and raters"
    labels = [textwrap.fill(str(label), 28) for label in [first, "raters' mean vote", *labels]]
    remarks = [_counted(row[1]) if counts else _remark(row[1]) for row in rows]
    num_raters, columns = max(row[1].shape[-1] for row in rows), 4 if counts else 5
    if axes is None:
        figure, grid = _canvas(rows, labels, remarks, -(-num_raters // columns), title, row_titles is not None)
    else:
        figure, grid = axes_grid(axes, (len(rows), len(labels)), 0, 0, title)

    colormap = matplotlib.colormaps.get_cmap(cmap).with_extremes(bad="0.75")
    colors = rater_colors(num_raters)
    for i, (picture, marks, maps) in enumerate(rows):
        show_image(grid[i, 0], picture)
        _contours(grid[i, 0], marks, colors)
        grid[i, 0].set_xlabel(remarks[i], fontsize=SMALL - 1, color=GREY, labelpad=2)
        for ax, values in zip(grid[i, 1:], [_mean_vote(marks), *maps.values()], strict=True):
            ax.set_xticks([])
            ax.set_yticks([])
            drawn = ax.imshow(values, cmap=colormap, vmin=0, vmax=1, interpolation="nearest")
        if row_titles is not None:
            grid[i, 0].set_ylabel(plain(row_titles[i]), fontsize=TEXT)
    for ax, text in zip(grid[0], labels, strict=True):
        add_title(ax, plain(text))
    bar = figure.colorbar(drawn, cax=grid[0, -1].inset_axes([1.06, 0, 0.06, 1]))
    bar.set_label("share of raters that mark", fontsize=TEXT)
    bar.ax.tick_params(labelsize=SMALL)
    grid[-1, 0].legend(
        handles=[
            Line2D([], [], color=color, linewidth=2, label=f"{'≥ ' * counts}{r + 1}") for r, color in enumerate(colors)
        ],
        title="at least so many raters mark" if counts else "rater",
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        borderaxespad=2.0 if remarks[-1] else 0.5,  # in letters: below the remark
        ncols=min(num_raters, columns),
        fontsize=SMALL,
        title_fontsize=SMALL,
        frameon=False,
        handlelength=1.0,
        columnspacing=1.0,
        borderpad=0.1,
    )
    return figure


def _rows(image, ratings, prediction):
    """Brings one image or lists of them to a list of checked `(image, ratings, {label: map})`."""
    if isinstance(image, list | tuple):
        count = len(image)
        if isinstance(prediction, Mapping):
            prediction = [{label: maps[i] for label, maps in prediction.items()} for i in range(count)]
        if not count or len(ratings) != count or len(prediction) != count:
            raise ValueError(
                "`image`, `ratings` and `prediction` must be lists of one length, at least 1; "
                f"theirs are {count}, {len(ratings)} and {len(prediction)}."
            )
    else:
        image, ratings, prediction = [image], [ratings], [prediction]
    rows = [_row(*row) for row in zip(image, ratings, prediction, strict=True)]
    if any(list(row[2]) != list(rows[0][2]) for row in rows):
        raise ValueError("`prediction` must have the same labels in every row.")
    return rows


def _row(image, ratings, prediction):
    image = as_image(image)
    ratings = np.asarray(ratings)
    if ratings.ndim != 3 or ratings.shape[:2] != image.shape[:2] or not ratings.shape[-1]:
        raise ValueError(
            f"`ratings` must have shape (H, W, K) with the image's {image.shape[:2]}, it has {ratings.shape}."
        )
    if not np.isin(ratings, (-1, 0, 1)).all():
        raise ValueError("`ratings` must hold 1, 0 and −1 only; binarise the masks first.")
    maps = prediction if isinstance(prediction, Mapping) else {"predicted agreement": prediction}
    checked = {}
    for label, values in maps.items():
        values = np.asarray(values, dtype="float64")
        if values.shape == (*image.shape[:2], 1):
            values = values[..., 0]
        if values.shape != image.shape[:2]:
            shape = f"the image's shape {image.shape[:2]}"
            raise ValueError(f"`prediction` {label!r} must have {shape}, it has {values.shape}.")
        if np.any(values < -1e-6) or np.any(values > 1 + 1e-6):
            raise ValueError(f"`prediction` {label!r} must hold probabilities in [0, 1], not logits.")
        checked[label] = values
    return image, ratings, checked


def _crop(image, ratings, maps, margin):
    """Cuts a square with all marks and `margin` pixels around them out of a row."""
    found = np.argwhere(np.any(ratings == 1, axis=-1))
    if not len(found):
        return image, ratings, maps
    low, high = found.min(axis=0), found.max(axis=0) + 1
    side = int((high - low).max()) + 2 * margin
    cut = []
    for axis in range(2):
        length = min(side, image.shape[axis])
        start = int(np.clip((low[axis] + high[axis] - length) // 2, 0, image.shape[axis] - length))
        cut.append(slice(start, start + length))
    cut = tuple(cut)
    return image[cut], ratings[cut], {label: values[cut] for label, values in maps.items()}


def _mean_vote(ratings):
    """Share of the raters present that mark, NaN where nobody rated."""
    counts = np.sum(ratings >= 0, axis=-1)
    return np.where(counts > 0, np.sum(ratings == 1, axis=-1) / np.maximum(counts, 1), np.nan)


def _contours(ax, ratings, colors):
    """One closed line for each rater that marked something; names under the image those that did not."""
    height, width, num_raters = ratings.shape
    rows, columns = np.arange(-1, height + 1), np.arange(-1, width + 1)
    for r in range(num_raters):
        mask = ratings[..., r] == 1
        if not mask.any():
            continue
        # Raters often draw the same line: each is a little thinner than the one below it, so all stay
        # visible.
        line = 0.8 + 0.4 * (num_raters - 1 - r) / max(num_raters - 1, 1) * min(num_raters - 1, 4) ** 0.5
        ax.contour(
            columns, rows, np.pad(mask, 1).astype(float), levels=[0.5], colors=[colors[r]], linewidths=line
        )
    ax.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))


def _remark(ratings):
    """Names the raters without a contour."""
    silent = [r for r in range(ratings.shape[-1]) if not np.any(ratings[..., r] == 1)]
    absent = [str(r + 1) for r in silent if np.all(ratings[..., r] < 0)]
    empty = [str(r + 1) for r in silent if np.any(ratings[..., r] >= 0)]
    remarks = [f"{', '.join(who)}: {what}" for who, what in ((empty, "no mark"), (absent, "absent")) if who]
    return f"rater {'; '.join(remarks)}" if remarks else ""


def _counted(ratings):
    """Says what the largest count is where fewer than all mark any pixel."""
    most, raters = int(np.sum(ratings == 1, axis=-1).max()), ratings.shape[-1]
    return "no mark" if not most else "" if most == raters else f"at most {most} of {raters} raters mark a pixel"


def _canvas(rows, labels, remarks, legend_rows, title, row_titles):
    """A figure measured in inches around images of equal width; returns `(figure, axes)`."""
    heights = [_CELL * image.shape[0] / image.shape[1] for image, _, _ in rows]
    left, right = 0.08 + 0.24 * row_titles, 0.8
    top = 0.14 + 0.17 * max(label.count("\n") + 1 for label in labels) + 0.28 * (title is not None)
    bottom = 0.34 + 0.17 * legend_rows + 0.16 * bool(remarks[-1])
    gap = 0.12 + 0.16 * any(remarks[:-1])
    width = left + len(labels) * _CELL + (len(labels) - 1) * 0.12 + right
    height = top + sum(heights) + (len(rows) - 1) * gap + bottom
    figure = new_figure(width, height, layout=None)
    grid = figure.subplots(
        len(rows),
        len(labels),
        squeeze=False,
        gridspec_kw={
            "height_ratios": heights,
            "left": left / width,
            "right": 1 - right / width,
            "top": 1 - top / height,
            "bottom": bottom / height,
            "wspace": 0.12 / _CELL,
            "hspace": gap * len(rows) / sum(heights),
        },
    )
    if title is not None:
        figure.suptitle(plain(title), fontsize=TEXT + 2, y=1 - 0.06 / height, va="top")
    return figure, grid
