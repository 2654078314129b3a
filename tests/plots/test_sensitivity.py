import numpy as np
import pytest

from keras_ordseg import plots


def test_a_line_for_each_method_and_a_panel_for_each_score():
    panels = {
        "ECE %": {"a $": [(3, 0.5, 0.4, 0.7), (1, 2.0, 1.0, 3.0)], "b": [(1, 1.0, None, None), (3, 0.9, 0.8, 1.0)]},
        "Dice": {"a $": [(1, 0.6, 0.5, 0.7)], "b": [(3, 0.7, 0.6, 0.8)]},
    }
    figure = plots.sensitivity_curves(panels, x_label="raters")
    first, second = figure.axes
    assert [line.get_label() for line in first.lines] == [r"a \$", "b"]
    np.testing.assert_array_equal(first.lines[0].get_xydata(), [[1, 2.0], [3, 0.5]])
    band = first.collections[0].get_paths()[0].vertices
    assert {tuple(v) for v in band} >= {(1.0, 1.0), (1.0, 3.0), (3.0, 0.4), (3.0, 0.7)}
    assert {tuple(v) for v in first.collections[1].get_paths()[0].vertices} >= {(1.0, 1.0), (3.0, 0.8), (3.0, 1.0)}
    assert (first.get_ylabel(), second.get_ylabel(), second.get_xlabel()) == ("ECE %", "Dice", "raters")
    assert [text.get_text() for text in first.get_xticklabels()] == ["1", "3"]
    assert first.get_xscale() == "linear"


@pytest.mark.parametrize("numbers, scale", [((1, 2, 30), "log"), ((0, 0.2, 12.8), "symlog"), ((0, 1, 2), "linear")])
def test_wide_ranges_are_logarithmic(numbers, scale):
    ax = plots.sensitivity_curves({"ECE": {"a": [(x, 1.0, 1.0, 1.0) for x in numbers]}}, x_label="x").axes[0]
    assert ax.get_xscale() == scale
    assert [text.get_text() for text in ax.get_xticklabels()] == [f"{x:g}" for x in numbers]


@pytest.mark.parametrize("panels", [{}, [], {"ECE": {}}, {"ECE": {"a": []}}, {"ECE": {"a": [(1, 2.0, 3.0)]}}])
def test_panels_that_cannot_be_drawn(panels):
    with pytest.raises(ValueError, match="`panels` must be a dict"):
        plots.sensitivity_curves(panels, x_label="x")
