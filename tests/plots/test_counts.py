"""Counts of votes are drawn as counts: a slot is no rater, but where at least so many mark."""

import numpy as np
import pytest
from PIL import Image

from keras_ordseg import data, inspection, plots


@pytest.fixture
def ratings():
    votes = np.zeros((9, 9), int)
    votes[2:7, 2:7], votes[3:6, 3:6], votes[4, 4] = 1, 2, 3
    return (votes[..., None] > np.arange(4)).astype("int8")  # nobody counts 4


def words(figure):
    legends = figure.legends or [legend for ax in figure.axes if (legend := ax.get_legend())]
    return legends[0].get_title().get_text(), [text.get_text() for text in legends[0].get_texts()]


def test_agreement_map(ratings):
    figure = plots.agreement_map(np.zeros((9, 9)), ratings, np.zeros((9, 9)), counts=True)
    assert words(figure) == ("at least so many raters mark", ["≥ 1", "≥ 2", "≥ 3", "≥ 4"])
    assert figure.axes[0].get_title() == "image and counts"
    assert figure.axes[0].get_xlabel() == "at most 3 of 4 raters mark a pixel"
    assert not any("rater 4" in text for text in (figure.axes[0].get_xlabel(), figure.axes[0].get_title()))
    empty = plots.agreement_map(np.zeros((9, 9)), 0 * ratings, np.zeros((9, 9)), counts=True)
    assert empty.axes[0].get_xlabel() == "no mark"
    named = plots.agreement_map(np.zeros((9, 9)), ratings, np.zeros((9, 9)))
    assert words(named) == ("rater", ["1", "2", "3", "4"])
    assert named.axes[0].get_xlabel() == "rater 4: no mark"


def test_contact_sheet(ratings):
    figure = plots.contact_sheet([np.zeros((9, 9))], [ratings], counts=True)
    assert words(figure) == ("raters that mark", ["at least 1", "at least 2", "at least 3", "at least 4"])
    assert words(plots.contact_sheet([np.zeros((9, 9))], [ratings])) == ("rater", ["1", "2", "3", "4"])


def test_the_sheet_of_an_inspection(tmp_path, rng, monkeypatch):
    for name in "ab":
        Image.fromarray(rng.integers(0, 255, (9, 9), np.uint8)).save(tmp_path / f"{name}_image.png")
        Image.fromarray(rng.integers(0, 5, (9, 9), np.uint8)).save(tmp_path / f"{name}_votes.png")
    cases = data.cases(tmp_path, votes="*_votes.png", num_raters=4)
    figure = inspection._report._contact_sheet(inspection.inspect(cases), cases, 24, None)
    assert words(figure)[0] == "raters that mark"
