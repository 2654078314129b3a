"""Agreement maps hold the numbers that came in: images, maps, one contour for each rater that marks."""

import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure

from keras_ordseg import plots


def legend_texts(legend):
    return [text.get_text() for text in legend.get_texts()]


def panel(num_raters=4, side=12):
    """Squares that shift from rater to rater; the second last marks nothing, the last is absent."""
    ratings = np.zeros((side, side, num_raters), "int8")
    for r in range(num_raters - 2):
        ratings[2 + r : 6 + r, 3:8, r] = 1
    ratings[..., -1] = -1
    image = np.linspace(0, 1, side * side).reshape(side, side)
    return image, ratings


class TestAgreementMap:
    def test_contours_votes_and_prediction(self):
        image, ratings = panel()
        ratings[0, 0] = -1
        prediction = np.linspace(0, 1, image.size).reshape(image.shape)
        figure = plots.agreement_map(image, ratings, prediction)
        first, votes, predicted = figure.axes
        np.testing.assert_array_equal(first.images[0].get_array(), image)
        assert len(first.collections) == 2  # raters 1 and 2: the third marks nothing, the fourth is absent
        assert first.get_xlabel() == "rater 3: no mark; 4: absent"
        for r, contour in enumerate(first.collections):
            # the line of a square of pixels 2 + r … 5 + r, 3 … 7 runs half a pixel outside it
            box = contour.get_paths()[0].get_extents()
            np.testing.assert_allclose([box.y0, box.y1, box.x0, box.x1], [1.5 + r, 5.5 + r, 2.5, 7.5])
        legend = first.get_legend()
        assert legend_texts(legend) == ["1", "2", "3", "4"]
        drawn = [to_rgba(contour.get_edgecolor()[0]) for contour in first.collections]
        assert drawn == [to_rgba(handle.get_color()) for handle in legend.legend_handles[:2]]
        expected = np.sum(ratings == 1, axis=-1) / 3
        expected[0, 0] = np.nan
        shown = np.ma.filled(votes.images[0].get_array(), np.nan)
        np.testing.assert_allclose(shown, expected, rtol=0, atol=1e-15)
        np.testing.assert_array_equal(predicted.images[0].get_array(), prediction)
        assert votes.images[0].get_clim() == predicted.images[0].get_clim() == (0, 1)
        assert votes.images[0].get_cmap() == predicted.images[0].get_cmap()
        (bar,) = predicted.child_axes
        assert bar.get_ylabel() == "share of raters that mark"
        figure.draw_without_rendering()

    def test_mask_at_the_border_and_everywhere(self):
        ratings = np.ones((5, 6, 1), "int8")
        figure = plots.agreement_map(np.zeros((5, 6, 3)), ratings, np.ones((5, 6, 1)))
        box = figure.axes[0].collections[0].get_paths()[0].get_extents()
        np.testing.assert_allclose([box.y0, box.y1, box.x0, box.x1], [-0.5, 4.5, -0.5, 5.5])

    @pytest.mark.parametrize("by_label", [False, True])
    def test_several_rows_and_predictions(self, by_label):
        image, ratings = panel()
        images, all_ratings = [image, image[..., None]], [ratings, ratings[..., :3]]
        maps = {"binary": [image, 1 - image], "ordinal": [image**2, image**3]}
        prediction = maps if by_label else [{k: v[i] for k, v in maps.items()} for i in range(2)]
        figure = plots.agreement_map(images, all_ratings, prediction, row_titles=["a", "b"], title="test")
        assert len(figure.axes) == 8
        assert [ax.get_title() for ax in figure.axes[:4]] == [
            "image and raters",
            "raters' mean vote",
            "binary",
            "ordinal",
        ]
        assert [figure.axes[i].get_ylabel() for i in (0, 4)] == ["a", "b"]
        np.testing.assert_array_equal(figure.axes[6].images[0].get_array(), 1 - image)
        np.testing.assert_array_equal(figure.axes[7].images[0].get_array(), image**3)
        assert figure.get_suptitle() == "test"

    def test_margin_crops_to_a_square_around_the_marks(self):
        image, ratings = panel(side=20)
        figure = plots.agreement_map(image, ratings, image, margin=2)
        # marks cover rows 2 … 6 and columns 3 … 7: five each, nine with the margin, from row 0 and column 1
        for ax in figure.axes[::2]:
            np.testing.assert_array_equal(ax.images[0].get_array(), image[0:9, 1:10])
        none = plots.agreement_map(image, np.zeros_like(ratings), image, margin=2)
        assert none.axes[0].images[0].get_array().shape == (20, 20)
        with pytest.raises(ValueError, match="`margin`"):
            plots.agreement_map(image, ratings, image, margin=-1)

    @pytest.mark.parametrize("num_raters", [1, 7, 12])
    def test_every_rater_has_a_colour_of_its_own(self, num_raters):
        ratings = np.zeros((6, 6, num_raters), "int8")
        ratings[2:4, 2:4] = 1
        figure = plots.agreement_map(np.zeros((6, 6)), ratings, np.zeros((6, 6)))
        lines = figure.axes[0].collections
        assert len({to_hex(c.get_edgecolor()[0]) for c in lines}) == len(lines) == num_raters

    @pytest.mark.parametrize("pack", ["lidc_crops"])
    def test_real_slice(self, real_data, pack):
        from PIL import Image

        def read(name):
            with Image.open(real_data(pack) / name) as picture:
                return np.asarray(picture.convert("L"))

        ratings = np.stack([read(f"0002_rater{r}.png") > 0 for r in (1, 2, 3, 4)], axis=-1).astype("int8")
        figure = plots.agreement_map(read("0002_image.png") / 255, ratings, ratings.mean(axis=-1))
        assert len(figure.axes[0].collections) == 2  # index.csv: raters 1 and 4 mark 0002
        assert figure.axes[0].get_xlabel() == "rater 2, 3: no mark"
        assert len(figure._repr_png_()) > 1000

    def test_wrong_input(self):
        image, ratings = panel()
        cases = [
            ((image * 255, ratings, image), r"\[0, 1\].*Divide"),
            ((np.full_like(image, np.nan), ratings, image), "NaN"),
            ((np.zeros((2, 12, 12, 3)), ratings, image), "`image` must have shape"),
            ((image, ratings[:5], image), "`ratings` must have shape"),
            ((image, ratings * 2, image), "binarise"),
            ((image, ratings, {"m": image[:4]}), "`prediction` 'm' must have the image's shape"),
            ((image, ratings, image - 3), "not logits"),
            (([image], [ratings, ratings], [image]), "lists of one length"),
            (([image] * 2, [ratings] * 2, [{"a": image}, {"b": image}]), "same labels"),
        ]
        for arguments, words in cases:
            with pytest.raises(ValueError, match=words):
                plots.agreement_map(*arguments)
        with pytest.raises(ValueError, match="`row_titles`"):
            plots.agreement_map(image, ratings, image, row_titles=["a", "b"])
        with pytest.raises(ValueError, match="`axes` must hold 1 × 3"):
            plots.agreement_map(image, ratings, image, axes=Figure().subplots(1, 2))


@pytest.mark.parametrize("shape", [(12, 12), (24, 12), (12, 24)])
def test_texts_do_not_overlap(shape):
    ratings = np.zeros((*shape, 7), "int8")
    ratings[3:6, 3:6] = 1
    ratings[..., 6] = -1
    figure = plots.agreement_map(np.zeros(shape), ratings, np.zeros(shape), title="A title")
    figure.draw_without_rendering()
    first = figure.axes[0]
    title, heading, remark = figure._suptitle, first.title, first.xaxis.label
    boxes = [artist.get_window_extent() for artist in (title, heading, first, remark, first.get_legend())]
    for above, below in zip(boxes, boxes[1:], strict=False):
        assert above.y0 >= below.y1 - 1
    assert boxes[-1].y0 >= 0
