"""Many small images with every rater's outline, to see at a glance what a data set holds."""

import numpy as np
from matplotlib.lines import Line2D

from keras_ordseg.plots._agreement import _contours, _crop
from keras_ordseg.plots._style import GREY, SMALL, TEXT, as_image, new_figure, plain, rater_colors, show_image

_CELL = 1.9  # inches


def contact_sheet(
    images, ratings, *, captions=None, raters=None, columns=6, margin=None, stretch=False, title=None, counts=False
):
    """Draws images in rows, each with one thin outline for each rater.

    Args:
        images: A list of `(H, W)`, `(H, W, 1)` or `(H, W, 3)` in [0, 1], of any sizes.
        ratings: A list of `(H, W, K)` of 1 (marked), 0 (not marked) and −1 (absent or void), all with the same K.
        captions: One text under each image, lines apart by `\\n`. Default none.
        raters: The names of the K raters for the legend. Default 1, 2, …
        columns: Images in a row.
        margin: Crop every image to a square around all marks with so many pixels of margin. The default shows
            the whole image, as an image without any mark is shown always.
        stretch: Whether grey runs from the 0.5 to the 99.5 percentile of each image, for images that are dark.
        title: Title of the figure. Default none.
        counts: Whether the ratings come from counts of votes, as `data.cases(votes=…)` reads them: slot `r` is then no
            rater but where at least `r` raters mark, and the legend says so. Default `False`.

    Returns:
        The `matplotlib.figure.Figure`.

    Raises:
        ValueError: If lists differ in length, or shapes or values do not fit.

    >>> import numpy as np
    >>> ratings = np.zeros((8, 8, 2), "int8")
    >>> ratings[2:5, 2:5, 0] = ratings[3:6, 2:5, 1] = 1
    >>> figure = contact_sheet([np.zeros((8, 8))] * 3, [ratings] * 3, captions=["a", "b", "c"], columns=2)
    >>> [ax.get_xlabel() for ax in figure.axes]
    ['a', 'b', 'c']
    """
    images, ratings = [as_image(image) for image in images], [np.asarray(marks) for marks in ratings]
    if not images or len(images) != len(ratings):
        raise ValueError(
            f"`images` and `ratings` must be lists of one length, at least 1; theirs are {len(images)} and "
            f"{len(ratings)}."
        )
    num_raters = ratings[0].shape[-1] if ratings[0].ndim else 0
    for image, marks in zip(images, ratings, strict=True):
        if marks.shape != (*image.shape[:2], num_raters) or not num_raters:
            raise ValueError(
                f"`ratings` must have shape (H, W, K) with the image's {image.shape[:2]} and one K for all, "
                f"it has {marks.shape}."
            )
        if not np.isin(marks, (-1, 0, 1)).all():
            raise ValueError("`ratings` must hold 1, 0 and −1 only; binarise the masks first.")
    for name, texts, count in (("captions", captions, len(images)), ("raters", raters, num_raters)):
        if texts is not None and len(texts) != count:
            raise ValueError(f"`{name}` must have {count} texts, it has {len(texts)}.")
    if columns < 1 or (margin is not None and margin < 0):
        raise ValueError(f"`columns` must be 1 or more and `margin` 0 or more, {columns} and {margin} came.")
    captions = [""] * len(images) if captions is None else [plain(text) for text in captions]
    figure, grid = _canvas(len(images), min(columns, len(images)), captions, num_raters, title)
    colors = rater_colors(num_raters)
    for ax, image, marks, caption in zip(grid, images, ratings, captions, strict=False):
        if stretch:
            image = _stretched(image)
        if margin is not None:
            image, marks, _ = _crop(image, marks, {}, int(margin))
        show_image(ax, image)
        _contours(ax, marks, colors)
        ax.set_anchor("S")
        ax.set_xlabel(caption, fontsize=SMALL - 1, color=GREY, labelpad=2)
        ax.spines[:].set_visible(False)
    names = range(1, num_raters + 1) if raters is None else raters
    if counts and raters is None:
        names = [f"at least {name}" for name in names]
    figure.legend(
        handles=[
            Line2D([], [], color=color, linewidth=2, label=plain(name))
            for name, color in zip(names, colors, strict=True)
        ],
        title="raters that mark" if counts else "rater",
        loc="lower center",
        ncols=min(num_raters, 3 * min(columns, len(images))),
        fontsize=SMALL,
        title_fontsize=SMALL,
        frameon=False,
        handlelength=1.0,
        columnspacing=1.2,
    )
    return figure


def _stretched(image):
    low, high = np.percentile(image, (0.5, 99.5))
    return np.clip((image - low) / (high - low), 0, 1) if high > low else image


def _canvas(count, columns, captions, num_raters, title):
    """A figure measured in inches around square cells; returns it and the axes of the images."""
    rows = -(-count // columns)
    gap = 0.06 + 0.15 * max(caption.count("\n") + bool(caption) for caption in captions)
    top = 0.08 + 0.28 * (title is not None)
    bottom = gap + 0.3 + 0.18 * -(-num_raters // (3 * columns))
    width = columns * _CELL + (columns + 1) * 0.08
    height = top + rows * _CELL + (rows - 1) * gap + bottom
    figure = new_figure(width, height, layout=None)
    grid = figure.subplots(
        rows,
        columns,
        squeeze=False,
        gridspec_kw={
            "left": 0.08 / width,
            "right": 1 - 0.08 / width,
            "top": 1 - top / height,
            "bottom": bottom / height,
            "wspace": 0.08 / _CELL,
            "hspace": gap / _CELL,
        },
    ).ravel()
    for ax in grid[count:]:
        ax.remove()
    if title is not None:
        figure.suptitle(plain(title), fontsize=TEXT + 2, y=1 - 0.06 / height, va="top")
    return figure, grid[:count]
