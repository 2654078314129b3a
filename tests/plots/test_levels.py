"""Level distributions and training curves hold the numbers that came in."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from keras_ordseg import plots


def legend_texts(legend):
    return [text.get_text() for text in legend.get_texts()]


class TestLevelDistribution:
    LEVELS = np.array([[0.1, 0.2, 0.3, 0.25, 0.15], [0.7, 0.1, 0.1, 0.06, 0.04]])

    def test_bars_and_readouts(self):
        figure = plots.level_distribution(self.LEVELS, votes=[3, 0], pixels=[(4, 5), (6, 7)])
        for ax, levels, title in zip(
            figure.axes, self.LEVELS, ("1: pixel (4, 5)", "2: pixel (6, 7)"), strict=True
        ):
            np.testing.assert_array_equal([bar.get_height() for bar in ax.patches], levels)
            assert ax.get_xlabel() == "raters that mark, of 4"
            expected, majority = levels @ np.arange(5) / 4, levels[2:].sum()  # ceil(4 / 2) = 2
            assert ax.get_title() == (
                f"{title}\nexpected agreement {expected:.2f}\nmajority probability {majority:.2f} (dark)"
            )
            np.testing.assert_allclose(ax.lines[0].get_xdata(), 4 * expected)
            colors = [to_hex(bar.get_facecolor()) for bar in ax.patches]
            assert colors[0] == colors[1] != colors[2] == colors[3] == colors[4]
        triangles = [ax.lines[-1] for ax in figure.axes]
        assert [artist.get_marker() for artist in triangles] == ["v", "v"]
        assert [artist.get_xdata()[0] for artist in triangles] == [3, 0]
        assert [[t.get_text() for t in ax.texts] for ax in figure.axes] == [
            ["E[k]", "3 of 4"],
            ["E[k]", "0 of 4"],
        ]
        figure.draw_without_rendering()

    def test_incomplete_panel_brackets_the_levels_it_allows(self):
        figure = plots.level_distribution(self.LEVELS[0], votes=1, counts=2)
        bracket, triangle = figure.axes[0].lines[1:]
        # one of two raters marks, two more are missing: 1, 2 or 3 of the four mark
        np.testing.assert_allclose(bracket.get_xdata(), [0.6, 3.4])
        assert triangle.get_xdata()[0] == 2
        assert figure.axes[0].texts[1].get_text() == "1 of 2"
        nobody = plots.level_distribution(self.LEVELS[0], votes=0, counts=0)
        assert len(nobody.axes[0].lines) == 1

    def test_image_shows_where(self):
        image = np.linspace(0, 1, 80).reshape(8, 10)
        figure = plots.level_distribution(self.LEVELS, image=image, pixels=[(4, 9), (6, 7)])
        assert len(figure.axes) == 3
        np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), image)
        assert [tuple(mark.get_xydata()[0]) for mark in figure.axes[0].lines] == [(9, 4), (7, 6)]
        figure.draw_without_rendering()

    def test_many_pixels_and_own_axes(self):
        figure = plots.level_distribution(np.tile(self.LEVELS, (3, 1)))
        assert len([ax for ax in figure.axes if ax.patches]) == 6
        mine = Figure()
        axes = mine.subplots(2, 1)
        assert plots.level_distribution(self.LEVELS, axes=axes, title="mine") is mine
        assert axes[0].get_title().startswith("mine\nexpected")

    def test_wrong_input(self):
        levels = self.LEVELS[0]
        for keywords, words in [
            ({"probabilities": levels * 2}, "sum to 1"),
            ({"probabilities": [1.0]}, "shape"),
            ({"probabilities": levels, "votes": 5}, "`votes` must lie"),
            ({"probabilities": levels, "votes": 0.5}, "whole numbers"),
            ({"probabilities": levels, "votes": [1, 2]}, "one number for each"),
            ({"probabilities": levels, "counts": 3}, "pass `votes`"),
            ({"probabilities": levels, "image": np.zeros((3, 3))}, "needs `pixels`"),
            ({"probabilities": levels, "image": np.zeros((3, 3)), "pixels": (3, 0)}, "inside the image"),
            ({"probabilities": levels, "pixels": (1, 2, 3)}, "`pixels` must have shape"),
        ]:
            with pytest.raises(ValueError, match=words):
                plots.level_distribution(**keywords)


class TestTrainingCurves:
    def test_lines(self):
        histories = {
            "a": {"loss": [3.0, 0.2, 0.1], "val_loss": [2.0, np.nan, 0.3], "brier_score": [1, 2, 3]},
            "b": {"loss": [1.0, 0.9]},
        }
        figure = plots.training_curves(histories, quantities=("loss", "brier_score"), title="t")
        left, right = figure.axes
        np.testing.assert_array_equal(left.lines[0].get_ydata(), histories["a"]["loss"])
        np.testing.assert_array_equal(left.lines[1].get_ydata(), histories["a"]["val_loss"])
        np.testing.assert_array_equal(left.lines[2].get_xydata(), [[1, 1.0], [2, 0.9]])
        assert [artist.get_linestyle() for artist in left.lines] == [":", "-", ":"]
        assert (left.get_yscale(), right.get_yscale()) == ("log", "linear")
        assert right.get_ylabel() == "brier score"
        assert legend_texts(right.get_legend()) == ["a", "b", "validation", "training"]
        figure.draw_without_rendering()

    def test_wrong_input(self):
        with pytest.raises(ValueError, match="No history has 'dice'.*'loss'"):
            plots.training_curves({"a": {"loss": [1.0]}}, quantities="dice")
        with pytest.raises(ValueError, match="list of numbers"):
            plots.training_curves({"a": {"loss": 1.0}})
        with pytest.raises(ValueError, match="must be a dict"):
            plots.training_curves({})
