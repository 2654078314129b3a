"""Reliability diagrams hold the numbers that came in: artists' data and labels, no pixels."""

import json
import pathlib
import re

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from keras_ordseg import plots
from keras_ordseg.plots._style import PALETTE


def reliability(ece=0.0123, bins=4, seed=0):
    """Bins of which the third is empty, as `MultiRaterECE.reliability()` gives them."""
    rng = np.random.default_rng(seed)
    edges = np.arange(bins + 1) / bins
    counts = np.array([9000.0, 300.0, 0.0, 12.0])
    confidence = (edges[:-1] + edges[1:]) / 2
    vote = np.clip(confidence + rng.normal(0, 0.1, bins), 0, 1)
    confidence[2] = vote[2] = np.nan
    return {"edges": edges, "counts": counts, "confidence": confidence, "vote": vote, "ece": ece}


def line(ax, label):
    (found,) = [artist for artist in ax.lines if artist.get_label() == label]
    return found


def legend_texts(legend):
    return [text.get_text() for text in legend.get_texts()]


class TestReliabilityDiagram:
    def test_one_method(self):
        data = reliability()
        figure = plots.reliability_diagram(data, title="lidc $1")
        top, bottom = figure.axes
        points = line(top, "ECE 1.23 %")
        np.testing.assert_array_equal(points.get_xdata(), data["confidence"])
        np.testing.assert_array_equal(points.get_ydata(), data["vote"])
        np.testing.assert_array_equal(line(top, "perfect calibration").get_xydata(), [[0, 0], [1, 1]])
        full = [0, 1, 3]
        bars = top.patches
        assert len(bars) == 3
        np.testing.assert_allclose([bar.get_y() for bar in bars], data["confidence"][full])
        np.testing.assert_allclose(
            [bar.get_height() for bar in bars], (data["vote"] - data["confidence"])[full]
        )
        np.testing.assert_allclose([bar.get_x() for bar in bars], data["edges"][full])
        steps = bottom.patches[0].get_data()
        np.testing.assert_array_equal(steps.values, data["counts"])
        np.testing.assert_array_equal(steps.edges, data["edges"])
        assert bottom.get_yscale() == "log"
        low, high = bottom.get_ylim()
        assert low <= 12 < 9000 <= high
        assert bottom.get_xlabel() == "predicted probability"
        assert top.get_ylabel() == "share of raters that mark"
        assert figure.get_suptitle() == r"lidc \$1"
        figure.draw_without_rendering()

    def test_six_methods_are_told_apart(self):
        methods = {f"method {i}": reliability(ece=i / 100, seed=i) for i in range(6)}
        figure = plots.reliability_diagram(methods)
        top, bottom = figure.axes
        lines = [line(top, f"method {i}: ECE {i}.00 %") for i in range(6)]
        for i, artist in enumerate(lines):
            np.testing.assert_array_equal(artist.get_ydata(), methods[f"method {i}"]["vote"])
        assert len({to_hex(artist.get_color()) for artist in lines}) == 6
        assert len({artist.get_marker() for artist in lines}) == 6
        assert (len(bottom.patches), len(top.patches)) == (6, 0)
        assert len(legend_texts(figure.legends[0])) == 7

    def test_colors_follow_the_labels_across_figures(self):
        labels = ["a", "b"]
        colors = {"b": "#123456"}
        first = plots.reliability_diagram({label: reliability() for label in labels}, colors=colors)
        second = plots.training_curves({label: {"val_loss": [1.0, 2.0]} for label in labels}, colors=colors)
        drawn = [line(first.axes[0], f"{label}: ECE 1.23 %").get_color() for label in labels]
        assert drawn == [artist.get_color() for artist in second.axes[0].lines] == [PALETTE[0], "#123456"]

    def test_numbers_read_back_from_json(self):
        text = json.dumps({k: np.asarray(v).tolist() for k, v in reliability().items()}).replace(
            "NaN", "null"
        )
        points = line(plots.reliability_diagram(json.loads(text)).axes[0], "ECE 1.23 %")
        np.testing.assert_array_equal(points.get_ydata(), reliability()["vote"])

    def test_empty_bins_are_not_drawn(self):
        data = reliability()
        zeros = {key: np.nan_to_num(data[key]) for key in ("confidence", "vote")}
        points = line(plots.reliability_diagram({**data, **zeros}).axes[0], "ECE 1.23 %")
        np.testing.assert_array_equal(np.isnan(points.get_xydata()).all(axis=1), data["counts"] == 0)

    def test_nothing_counted(self):
        nan = [np.nan, np.nan]
        data = {"edges": [0, 0.5, 1], "counts": [0, 0], "confidence": nan, "vote": nan, "ece": np.nan}
        figure = plots.reliability_diagram(data)
        assert "ECE n/a" in legend_texts(figure.axes[0].get_legend())
        figure.draw_without_rendering()

    def test_own_axes(self):
        figure = Figure()
        axes = figure.subplots(1, 3)
        assert plots.reliability_diagram(reliability(), axes=axes[0], title="mine") is figure
        assert (axes[0].get_title(), axes[0].get_xlabel()) == ("mine", "predicted probability")
        assert plots.reliability_diagram(reliability(), axes=axes[1:]) is figure
        assert len(figure.axes) == 3
        inner = Figure().subfigures(1, 2)[0]
        assert plots.reliability_diagram(reliability(), axes=inner.subplots()) is inner.figure

    @pytest.mark.parametrize(
        "change, words",
        [
            ({"vote": [0.1]}, "shapes"),
            ({"edges": [0, 0.5, 0.25, 0.75, 1]}, "rising"),
        ],
    )
    def test_wrong_numbers(self, change, words):
        with pytest.raises(ValueError, match=words):
            plots.reliability_diagram({**reliability(), **change})

    def test_wrong_arguments(self):
        with pytest.raises(ValueError, match="lacks.*'ece'"):
            plots.reliability_diagram({"m": {k: v for k, v in reliability().items() if k != "ece"}})
        with pytest.raises(ValueError, match="at most 7 methods"):
            plots.reliability_diagram({str(i): reliability() for i in range(8)})
        with pytest.raises(ValueError, match="must be a dict"):
            plots.reliability_diagram({})
        with pytest.raises(ValueError, match="none of the labels"):
            plots.reliability_diagram({"a": reliability()}, colors={"b": "red"})
        with pytest.raises(ValueError, match="`axes` must hold 2 × 1"):
            plots.reliability_diagram(reliability(), axes=Figure().subplots(1, 3))


def test_nothing_leaks(tmp_path):
    """No pyplot figure, no change of rcParams; the figure writes itself and shows itself in a notebook."""
    from matplotlib import pyplot

    open_before = pyplot.get_fignums()
    before = dict(matplotlib.rcParams)
    figure = plots.reliability_diagram(reliability())
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes()[:4] == figure._repr_png_()[:4] == b"\x89PNG"
    assert dict(matplotlib.rcParams) == before
    assert pyplot.get_fignums() == open_before
    for module in pathlib.Path(plots.__file__).parent.glob("*.py"):
        assert not re.search(r"import.*pyplot", module.read_text(encoding="utf-8")), module.name
