import numpy as np
import pytest
from keras import ops

from keras_ordseg.ops import majority_quorum, votes
from keras_ordseg.ops.ratings import panel

SHAPES = [(2, 5), (2, 4, 3), (1, 3, 4, 2)]


@pytest.mark.parametrize("shape", SHAPES)
def test_votes_count_what_each_rater_said(shape, rng):
    ratings = rng.integers(-1, 2, (*shape, 4)).astype("int8")
    v, n = votes(ratings)
    np.testing.assert_array_equal(v, (ratings == 1).sum(-1))
    np.testing.assert_array_equal(n, (ratings >= 0).sum(-1))
    v2, n2 = votes(ratings[..., [2, 0, 3, 1]])  # who said it does not matter
    np.testing.assert_array_equal(v, v2)
    np.testing.assert_array_equal(n, n2)


@pytest.mark.parametrize("num_raters,quorum", [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (7, 4)])
def test_majority_counts_ties_as_foreground(num_raters, quorum):
    assert majority_quorum(num_raters) == quorum


@pytest.mark.parametrize("shape", SHAPES)
def test_panel_reads_ratings_and_votes_alike(shape, rng):
    ratings = rng.integers(0, 2, (*shape, 4)).astype("int8")
    pred = np.zeros((*shape, 5), "float32")
    a, b = panel(ratings, pred), panel(ratings.sum(-1), pred)
    for x, y in zip(a[:3], b[:3], strict=True):
        np.testing.assert_array_equal(x, y)
    assert bool(a.complete)
    assert b.complete is True
    assert a.num_raters == b.num_raters == 4


def test_panel_weights():
    ratings = np.array([[[1, 0], [-1, -1], [1, -1]], [[0, 0], [0, 1], [1, 1]]], "int8")
    pred = np.zeros((2, 3, 3), "float32")
    np.testing.assert_array_equal(panel(ratings, pred).weights, [[1, 0, 1], [1, 1, 1]])
    np.testing.assert_array_equal(panel(ratings, pred, np.array([2.0, 3.0])).weights, [[2, 0, 2], [3, 3, 3]])
    full = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(panel(ratings, pred, full).weights, [[0, 0, 2], [3, 4, 5]])
    np.testing.assert_array_equal(panel(ratings, pred, full[..., None]).weights, [[0, 0, 2], [3, 4, 5]])
    assert not bool(panel(ratings, pred).complete)


def test_weights_of_images_are_not_taken_for_columns():
    """With as many images as columns, Keras' own broadcasting would weigh the columns."""
    weights = panel(np.zeros((3, 3), int), np.zeros((3, 3, 2), "float32"), np.array([1.0, 0.0, 0.0])).weights
    np.testing.assert_array_equal(weights, [[1, 1, 1], [0, 0, 0], [0, 0, 0]])


P = np.zeros((2, 3, 4), "float32")  # K = 3


@pytest.mark.parametrize(
    "y_true,y_pred,kwargs,message",
    [
        (np.zeros((2,), int), P, {}, "y_true: expected ratings of rank 3.*Received shape \\(2,\\)"),
        (np.zeros((2, 3, 3, 1), int), P, {}, "y_true: expected ratings of rank 3"),
        (np.zeros((2, 4), int), P, {}, "y_true: expected the batch and spatial axes of y_pred, \\(2, 3\\)"),
        (np.full((2, 3), 4), P, {}, "y_true: expected votes, whole numbers in 0..3.*\\[4\\]"),
        (np.full((2, 3), -1), P, {}, "y_true: expected votes.*\\[-1\\]"),
        (np.full((2, 3), 0.5), P, {}, "y_true: expected votes, whole numbers"),
        (np.full((2, 3), np.nan), P, {}, "y_true: expected votes"),
        (np.full((2, 3, 3), 255), P, {}, "y_true: expected ratings 1.*\\[255\\].*Divide 8-bit masks"),
        (np.ones((2, 3, 5), int), P, {}, "y_true: expected at most K=3 answers.*has 5"),
        (np.zeros((2, 3), int), P[..., :1], {}, "num_raters: needed, because y_true is votes"),
        (np.zeros((2, 3), int), P, {"num_raters": 5}, "num_raters: expected 3, because y_pred has 4 levels"),
        (
            np.zeros((2, 3), int),
            P,
            {"sample_weight": np.ones(3)},
            "sample_weight: expected shape \\(batch,\\)",
        ),
        (np.zeros((2, 3), int), P, {"sample_weight": np.ones((2, 2))}, "sample_weight: expected shape"),
    ],
)
def test_what_cannot_be_is_an_error_that_names_it(y_true, y_pred, kwargs, message):
    with pytest.raises(ValueError, match=message):
        panel(y_true, y_pred, **kwargs)


def test_impossible_values_in_tensors_that_cannot_be_read_poison_the_weight(monkeypatch):
    """What a compiled graph sees: the value cannot be read, so the pixel's weight turns NaN."""
    monkeypatch.setattr("keras_ordseg.ops.targets.concrete", lambda x: None)
    pred = ops.convert_to_tensor(P)
    bad_votes = np.array([[0, 1, 4], [-1, 2, 3]], "int32")
    np.testing.assert_array_equal(np.isnan(panel(bad_votes, pred).weights), [[0, 0, 1], [1, 0, 0]])
    ratings = np.zeros((2, 3, 4), "int8")
    ratings[0, 0] = 1  # four answers everywhere are one too many
    ratings[1, :, 3] = -1
    ratings[1, 2, 0] = 7
    np.testing.assert_array_equal(np.isnan(panel(ratings, pred).weights), [[1, 1, 1], [0, 0, 1]])
    weights = panel(bad_votes, pred, sample_weight=np.zeros((2,))).weights
    assert np.isnan(weights).sum() == 2  # even where the pixel would weigh nothing
