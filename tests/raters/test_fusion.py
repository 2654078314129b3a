"""The rules that fuse raters."""

import numpy as np
import pytest

from keras_ordseg import raters

# four pixels of one image with four raters: complete, a tie, one answer, none
RATINGS = np.array([[[1, 1, 1, 0], [1, 0, 1, 0], [-1, -1, 1, -1], [-1, -1, -1, -1]]], np.int8)


@pytest.mark.parametrize(
    "method, dtype, expected",
    [
        ("majority", "int8", [1, 1, 1, -1]),
        ("union", "int8", [1, 1, 1, -1]),
        ("intersection", "int8", [0, 0, 1, -1]),
        (1, "int8", [1, 1, 1, -1]),
        (3, "int8", [1, 0, 1, -1]),
        (4, "int8", [0, 0, 1, -1]),
        ("soft", "float32", [0.75, 0.5, 1, np.nan]),
    ],
)
def test_rules(method, dtype, expected):
    result = raters.fuse(RATINGS, method)
    assert result.dtype == dtype
    assert result.shape == (1, 4, 1)
    np.testing.assert_array_equal(result[0, :, 0], expected)


def test_quorum_follows_the_answers(rng):
    """At least q of K is ceil(q n / K) of n; 1 is the union, K the intersection."""
    ratings = rng.integers(-1, 2, (2, 50, 5)).astype(np.int8)
    votes, counts = (ratings == 1).sum(-1), (ratings >= 0).sum(-1)
    for q in range(1, 6):
        expected = np.where(counts == 0, -1, votes >= np.ceil(q * counts / 5))
        np.testing.assert_array_equal(raters.fuse(ratings, q)[..., 0], expected)
    for q, name in ((1, "union"), (5, "intersection")):
        np.testing.assert_array_equal(raters.fuse(ratings, np.int64(q)), raters.fuse(ratings, name))


@pytest.mark.parametrize("shape", [(2, 7), (2, 7, 5), (2, 3, 7, 5)])
def test_every_number_of_axes(rng, shape):
    ratings = rng.integers(-1, 2, (*shape, 5)).astype(np.int8)
    votes, counts = (ratings == 1).sum(-1), (ratings >= 0).sum(-1)
    majority = np.where(counts == 0, -1, votes >= np.ceil(counts / 2))
    np.testing.assert_array_equal(raters.fuse(ratings, "majority")[..., 0], majority)
    np.testing.assert_array_equal(raters.fuse(np.abs(ratings), "votes"), np.abs(ratings).sum(-1))


def test_random_draws_a_present_rater_of_the_image(rng):
    """1000 images alike, of raters that mark nothing, all, half, and one who is absent."""
    image = np.stack([np.zeros(6), np.ones(6), np.arange(6) % 2, -np.ones(6)], -1).astype(np.int8)
    result = raters.fuse(np.tile(image, (1000, 1, 1)), "random", seed=4)
    assert result.shape == (1000, 6, 1)
    kinds, counts = np.unique(result[..., 0], axis=0, return_counts=True)
    assert kinds.tolist() == sorted(image.T[:3].tolist())
    # three raters at 1/3: five standard deviations of a binomial are 5 sqrt(1000 · 2/9) = 75
    assert (abs(counts - 1000 / 3) < 75).all()
    np.testing.assert_array_equal(result, raters.fuse(np.tile(image, (1000, 1, 1)), "random", seed=4))
    assert (result != raters.fuse(np.tile(image, (1000, 1, 1)), "random", seed=5)).any()


@pytest.mark.parametrize(
    "ratings, method, kwargs, message",
    [
        (
            RATINGS,
            "mean",
            {},
            "method must be one of 'votes', 'majority', 'soft', 'random', .* integer quorum, came 'mean'",
        ),
        (RATINGS, "votes", {}, "needs a complete panel; 2 pixels have an absent rater"),
        (RATINGS, "soft", {"seed": 1}, "seed belongs to method='random'"),
        (RATINGS, 0, {}, "method=0 is a quorum.*: expected 1 to K=4 raters"),
        (RATINGS, 5, {}, "method=5 is a quorum.*: expected 1 to K=4 raters"),
        (RATINGS, True, {}, "method must be one of .* came True"),
        (RATINGS + 2, "soft", {}, "ratings must be 1, 0 or -1 .*, came values from 1 to 3"),
        (RATINGS * 1.0, "soft", {}, "ratings must be integers .* came float64"),
        (RATINGS[0, 0], "soft", {}, r"ratings must be \(\*shape, K\) .* came shape \(4,\)"),
        (np.full((2, 3, 2), -1, np.int8), "random", {}, "image 0 of ratings was rated by nobody"),
    ],
)
def test_errors(ratings, method, kwargs, message):
    with pytest.raises(ValueError, match=message):
        raters.fuse(ratings, method, **kwargs)


def test_options_of_another_method():
    with pytest.raises(TypeError, match="method='soft' does not take prior; it has no options"):
        raters.fuse(RATINGS, "soft", prior=0.5)
    with pytest.raises(TypeError, match="'dawid_skene' does not take prior; its options are tolerance, max_it"):
        raters.fuse(RATINGS, "dawid_skene", prior=0.5)
