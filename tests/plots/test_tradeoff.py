import numpy as np
import pytest

from keras_ordseg import plots


def test_every_method_is_a_point_with_its_interval():
    points = {
        "a": {"x": (1.0, 0.5, 2.0), "y": (0.7, 0.6, 0.8)},
        "b $": {"x": (2.0, None, None), "y": (0.5, None, None)},
    }
    figure = plots.calibration_tradeoff(points, x_label="ECE", y_label="Dice")
    ax = figure.axes[0]
    (x_bar, y_bar, point, *_) = ax.lines
    assert list(x_bar.get_xdata()) == [0.5, 2.0]
    assert list(y_bar.get_ydata()) == [0.6, 0.8]
    assert (point.get_xdata()[0], point.get_ydata()[0]) == (1.0, 0.7)
    assert list(ax.lines[3].get_xdata()) == [2.0, 2.0]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["1  a", r"2  b \$"]
    many = {str(i): {"x": (i, i, i), "y": (i, i, i)} for i in range(25)}
    styles = {(line.get_color(), line.get_marker()) for line in plots.calibration_tradeoff(many).axes[0].lines[2::3]}
    assert len(styles) == 25


def test_a_method_far_away_is_on_the_edge():
    points = {str(i): {"x": (1 + i / 10, 0.9, 2), "y": (0.8 + i / 100, 0.7, 0.9)} for i in range(6)}
    points["lost"] = {"x": (31.0, 30.0, 32.0), "y": (0.12, 0.1, 0.14)}
    ax = plots.calibration_tradeoff(points).axes[0]
    marks = ax.lines[2::3]
    assert [float(mark.get_xdata()[0]) for mark in marks[:6]] == pytest.approx([1 + i / 10 for i in range(6)])
    lost = marks[6]
    assert float(lost.get_xdata()[0]) == pytest.approx(ax.get_xlim()[1]) == pytest.approx(1.5 + 0.3 * 0.5)
    assert float(lost.get_ydata()[0]) == pytest.approx(ax.get_ylim()[0]) == pytest.approx(0.8 - 0.3 * 0.05)
    assert lost.get_fillstyle() == "none"
    assert ax.get_legend().get_texts()[6].get_text() == "7  lost: at 31, 0.12"
    assert marks[0].get_fillstyle() == "full"


@pytest.mark.parametrize("points", [{}, [], {"a": {"x": (None, 1, 2), "y": (1, 1, 1)}}])
def test_points_that_cannot_be_drawn(points):
    with pytest.raises(ValueError, match="`points"):
        plots.calibration_tradeoff(points)


def test_level_histogram():
    figure = plots.level_histogram({"a": [0.5, 0.3, 0.2], "b": [0.6, 0.3, 0.1]}, [0.7, 0.2, 0.1])
    bars = [patch.get_height() for patch in figure.axes[0].patches]
    np.testing.assert_allclose(bars, [0.7, 0.2, 0.1, 0.5, 0.3, 0.2, 0.6, 0.3, 0.1])
    with pytest.raises(ValueError, match="'a' must hold 3 finite shares"):
        plots.level_histogram({"a": [0.5, 0.5]}, [0.7, 0.2, 0.1])
    with pytest.raises(ValueError, match="finite shares of at least 0"):
        plots.level_histogram({"a": [0.5, -0.3, 0.2]}, [0.7, 0.2, 0.1])
