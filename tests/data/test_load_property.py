"""Whatever folder comes: `load` gives what it means, or an error that names the file."""

import tempfile
import unicodedata
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keras_ordseg import data
from tests.data.generated_folders import made


def composed(text):
    return unicodedata.normalize("NFC", str(text))


def check(folder):
    """One folder."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        try:
            cases = data.cases(folder.source, **folder.patterns, **folder.options)
            if folder.select is not None:
                cases = cases[: folder.select]
            arrays = data.load(cases)
        except ValueError as error:  # data.DataError is one; anything else is a bare error of some library
            told = composed(error)
            assert folder.culprits, f"a folder without a fault was refused: {told}"
            assert any(composed(word) in told for word in folder.culprits), f"{told!r} names none of {folder.culprits}"
            return
    said = [composed(warning.message) for warning in seen]
    said += [composed(source) for source in cases.unmatched]
    told = any(composed(word) in text for text in said for word in folder.culprits)
    assert told or not folder.refused, "wrong, and nothing was said"
    got = {composed(key): row for row, key in enumerate(arrays["id"])}
    for row, key in enumerate(folder.ids):
        if composed(key) not in got:
            assert folder.select is not None or told, f"case {key} was dropped without a word"
            continue
        at = got[composed(key)]
        assert composed(arrays["group"][at]) == composed(folder.groups[row])
        assert np.abs(arrays["image"][at] - folder.images[row]).max() < 1e-6
        if not told:
            np.testing.assert_array_equal(arrays["ratings"][at], folder.ratings[row])


@pytest.mark.parametrize("examples", [100, pytest.param(2000, marks=pytest.mark.slow)])
def test_what_comes_back_is_what_the_folder_means(examples):
    @settings(
        max_examples=examples, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
    )
    @given(st.data())
    def run(drawn):
        with tempfile.TemporaryDirectory() as root:
            check(drawn.draw(made(root)))

    run()
