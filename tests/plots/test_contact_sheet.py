"""Contact sheets: every image with its raters' outlines, in order, whatever its size."""

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from keras_ordseg import plots


def cells(sizes=((12, 12), (8, 16), (16, 8)), num_raters=3):
    """Images of several sizes; rater r marks a square that starts at r, the last rater is absent."""
    images, ratings = [], []
    for number, size in enumerate(sizes):
        marks = np.zeros((*size, num_raters), "int8")
        for r in range(num_raters - 1):
            marks[1 + r : 4 + r, 2:6, r] = 1
        marks[..., -1] = -1
        images.append(np.full(size, 0.02 * (number + 1)))
        ratings.append(marks)
    return images, ratings


def test_images_and_outlines():
    images, ratings = cells()
    figure = plots.contact_sheet(
        images, ratings, captions=["a", "b\n2", "cost $5"], raters=["x", "y", "z"], columns=2, title="set"
    )
    assert len(figure.axes) == 3
    assert [ax.get_xlabel() for ax in figure.axes] == ["a", "b\n2", r"cost \$5"]
    assert figure.get_suptitle() == "set"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["x", "y", "z"]
    colors = [to_rgba(handle.get_color()) for handle in legend.legend_handles]
    for ax, image in zip(figure.axes, images, strict=True):
        np.testing.assert_array_equal(ax.images[0].get_array(), image)
        assert len(ax.collections) == 2  # the third rater is absent
        for r, contour in enumerate(ax.collections):
            # the line of pixels 1 + r … 3 + r, 2 … 5 runs half a pixel outside them
            box = contour.get_paths()[0].get_extents()
            np.testing.assert_allclose([box.y0, box.y1, box.x0, box.x1], [0.5 + r, 3.5 + r, 1.5, 5.5])
            assert to_rgba(contour.get_edgecolor()[0]) == colors[r]
    # two in the first row, the third below the first
    boxes = [ax.get_position(original=True) for ax in figure.axes]
    assert boxes[0].y0 == boxes[1].y0 > boxes[2].y1
    assert boxes[0].x0 == boxes[2].x0 < boxes[1].x0
    figure.draw_without_rendering()


def test_crop_and_stretch():
    images, ratings = cells(sizes=((20, 20),))
    images[0] = np.linspace(0.2, 0.3, 400).reshape(20, 20)
    figure = plots.contact_sheet(images, ratings, margin=1, stretch=True)
    # marks in rows 1 … 4 and columns 2 … 5: a square of four, of six with the margin
    low, high = np.percentile(images[0], (0.5, 99.5))
    expected = np.clip((images[0] - low) / (high - low), 0, 1)[0:6, 1:7]
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), expected, rtol=1e-12)
    flat = plots.contact_sheet([np.full((4, 4), 0.5)], [np.zeros((4, 4, 1), "int8")], stretch=True)
    np.testing.assert_array_equal(flat.axes[0].images[0].get_array(), 0.5)


@pytest.mark.parametrize("count, columns", [(1, 6), (7, 3), (24, 6)])
def test_texts_do_not_overlap(count, columns):
    images, ratings = cells(sizes=((10, 14),) * count)
    captions = [f"case {i}\ndisputed 50 %" for i in range(count)]
    figure = plots.contact_sheet(images, ratings, captions=captions, columns=columns, title="A title")
    figure.draw_without_rendering()
    column = figure.axes[::columns]
    boxes = [figure._suptitle.get_window_extent()]
    for ax in column:
        boxes += [ax.get_window_extent(), ax.xaxis.label.get_window_extent()]
    boxes.append(figure.legends[0].get_window_extent())
    for above, below in zip(boxes, boxes[1:], strict=False):
        assert above.y0 >= below.y1 - 1
    assert boxes[-1].y0 >= 0


def test_wrong_input():
    images, ratings = cells()
    cases = [
        (([], []), {}, "lists of one length, at least 1; theirs are 0 and 0"),
        ((images, ratings[:2]), {}, "theirs are 3 and 2"),
        ((images, [*ratings[:2], ratings[2][..., :2]]), {}, "one K for all"),
        ((images, ratings[::-1]), {}, r"`ratings` must have shape \(H, W, K\)"),
        ((images, [marks * 2 for marks in ratings]), {}, "binarise"),
        (([image * 255 for image in images], ratings), {}, "Divide"),
        ((images, ratings), {"captions": ["a"]}, "`captions` must have 3 texts, it has 1"),
        ((images, ratings), {"raters": ["a"]}, "`raters` must have 3 texts, it has 1"),
        ((images, ratings), {"columns": 0}, "`columns` must be 1 or more"),
        ((images, ratings), {"margin": -1}, "`margin` 0 or more"),
    ]
    for arguments, options, words in cases:
        with pytest.raises(ValueError, match=words):
            plots.contact_sheet(*arguments, **options)
