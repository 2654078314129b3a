"""What is like an array counts as one, and seeds and dtypes of any size are taken."""

import numpy as np
import pytest

from keras_ordseg import metrics, raters


@pytest.fixture
def ratings(rng):
    return (rng.random((6, 7, 3)) < 0.4).astype("int8")


@pytest.mark.dear
def test_restrict_may_be_nested_lists(ratings):
    inside = np.zeros((6, 7), bool)
    inside[1:5, 2:6] = True
    expected = raters.staple(ratings, restrict=inside)
    for given in (inside.tolist(), tuple(map(tuple, inside.tolist())), memoryview(inside)):
        found = raters.staple(ratings, restrict=given)
        np.testing.assert_array_equal(found.probability, expected.probability)
        np.testing.assert_array_equal(found.sensitivity, expected.sensitivity)
    fused = raters.fuse(ratings[None], "staple", restrict=[inside.tolist()])
    np.testing.assert_array_equal(fused[0, ..., 0], expected.probability)
    for wrong in (inside[:5].tolist(), np.ones((6, 7)).tolist()):
        with pytest.raises(ValueError, match="restrict must be None, 'disputed', 'box' or a boolean array"):
            raters.staple(ratings, restrict=wrong)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint64", ">i2", "int64"])
def test_dtypes(dtype, ratings):
    given = ratings.astype(dtype)
    np.testing.assert_array_equal(raters.staple(given).probability, raters.staple(ratings).probability)
    for method in ("votes", "majority", "soft", "union", "intersection", 2):
        np.testing.assert_array_equal(raters.fuse(given[None], method), raters.fuse(ratings[None], method))
    assert raters.agreement(given[None])["fleiss_kappa"] == raters.agreement(ratings[None])["fleiss_kappa"]
    assert raters.agreement(ratings[None].tolist())["disputed"] == raters.agreement(ratings[None])["disputed"]


@pytest.mark.parametrize("seed", [2**31, 2**32 - 1, 2**63, np.int64(2**40)])
def test_large_seeds(seed, ratings):
    drawn = raters.fuse(ratings[None], "random", seed=seed)
    np.testing.assert_array_equal(drawn, raters.fuse(ratings[None], "random", seed=seed))
    metric = metrics.KernelECE(seed=seed, num_samples=8)
    metric.update_state(ratings[None], np.zeros((1, 6, 7, 1), "float32"))
    assert np.isfinite(float(metric.result()))


@pytest.mark.parametrize("seed", [-1, 1.5, "1", True])
def test_seeds_that_are_none(seed, ratings):
    with pytest.raises(ValueError, match="seed: expected None or an int of at least 0; got"):
        raters.fuse(ratings[None], "random", seed=seed)


def test_limits_that_are_none(ratings):
    for argument, wrong in (("tolerance", "small"), ("max_iterations", 10.5), ("max_iterations", "10")):
        with pytest.raises(ValueError, match=f"{argument} must be"):
            raters.staple(ratings, **{argument: wrong})
    with pytest.raises(ValueError, match="num_classes must be 2 or more, came 2.5"):
        raters.dawid_skene(ratings, 2.5)
