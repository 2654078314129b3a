"""Targets over `tf.data`: the same numbers as `raters.fuse`."""

import numpy as np
import pytest

from keras_ordseg import data, raters


def fused(arrays, method, **kwargs):
    dataset = data.fuse(data.from_arrays(arrays), method, **kwargs)
    assert int(dataset.cardinality()) == len(arrays["image"])
    return next(dataset.batch(99).as_numpy_iterator())


@pytest.fixture
def complete(arrays):
    return arrays | {"ratings": np.abs(arrays["ratings"])}


@pytest.mark.parametrize("method", ["majority", "union", "intersection"])
def test_hard_targets(arrays, method):
    arrays["ratings"][0, 2, 3] = -1
    image, target = fused(arrays, method)
    assert target.dtype == np.int8
    np.testing.assert_array_equal(image, arrays["image"])
    np.testing.assert_array_equal(target, raters.fuse(arrays["ratings"], method))
    assert (target[0, 2, 3] == -1).all()


def test_ratings_and_votes(arrays, complete):
    np.testing.assert_array_equal(fused(arrays, "ratings")[1], arrays["ratings"])
    votes = fused(complete, "votes")[1]
    assert votes.dtype == np.int32
    np.testing.assert_array_equal(votes, complete["ratings"].sum(-1))


def test_soft_has_weights_only_where_they_matter(arrays):
    image, target = fused(arrays, "soft")
    np.testing.assert_array_equal(target, raters.fuse(arrays["ratings"], "soft"))
    assert target.shape == (7, 6, 6, 1)
    arrays["ratings"][3, :2] = -1
    image, target, weight = fused(arrays, "soft")
    expected = np.ones((7, 6, 6), np.float32)
    expected[3, :2] = 0
    np.testing.assert_array_equal(weight, expected)
    np.testing.assert_array_equal(target, np.nan_to_num(raters.fuse(arrays["ratings"], "soft")))
    assert len(fused(arrays, "soft", check=False)) == 3


def test_random_draws_anew_each_epoch(arrays):
    """Every target is one present rater's mask; the draw follows (seed, epoch, index)."""
    arrays["ratings"][..., 2] = -1

    def drawn(dataset):
        rows = []
        for index, (_, target) in enumerate(dataset.as_numpy_iterator()):
            same = (arrays["ratings"][index] == target).all((0, 1))
            assert same.sum() == 1
            rows.append(int(same.argmax()))
        return rows

    dataset = data.fuse(data.from_arrays(arrays), "random", seed=5)
    epochs = [drawn(dataset) for _ in range(15)]
    assert set(np.ravel(epochs)) == {0, 1, 3}
    assert len({tuple(epoch) for epoch in epochs}) > 12
    # 105 draws of 3 raters: 35 each, five standard deviations are 5 sqrt(105 · 2/9) = 24
    assert (abs(np.bincount(np.ravel(epochs), minlength=4)[[0, 1, 3]] - 35) < 24).all()
    assert drawn(data.fuse(data.from_arrays(arrays), "random", seed=5, first_epoch=7)) == epochs[7]
    assert drawn(data.fuse(data.from_arrays(arrays), "random", seed=6)) != epochs[0]
    assert int(dataset.cardinality()) == 7
    assert dataset.element_spec[1].shape.as_list() == [6, 6, 1]


def test_volumes(rng):
    ratings = rng.integers(0, 2, (2, 3, 4, 5, 3)).astype(np.int8)
    arrays = {"image": np.zeros((2, 3, 4, 5, 1), np.float32), "ratings": ratings}
    np.testing.assert_array_equal(fused(arrays, "majority")[1], raters.fuse(ratings, "majority"))
    assert fused(arrays, "random")[1].shape == (2, 3, 4, 5, 1)


class TestErrors:
    def test_votes_of_an_incomplete_panel(self, arrays):
        import tensorflow as tf

        dataset = data.from_arrays(arrays)
        message = "(?s)2 problems in the dataset.*case case1: a rater is absent.*case case5"
        with pytest.raises(data.DataError, match=message):
            data.fuse(dataset, "votes")
        unchecked = data.fuse(dataset, "votes", check=False)
        with pytest.raises(tf.errors.InvalidArgumentError, match="votes need the answers of all raters"):
            list(unchecked)

    def test_values(self, arrays):
        def spoil(case):
            return case | {"image": case["image"] / 0}

        with pytest.raises(
            data.DataError, match="(?s)7 problems in the dataset.*case case0: the image has 36 values"
        ):
            data.fuse(data.from_arrays(arrays).map(spoil))

    def test_dataset(self, arrays):
        dataset = data.from_arrays(arrays)
        with pytest.raises(ValueError, match="method must be one of .* came 'staple'"):
            data.fuse(dataset, "staple")
        with pytest.raises(ValueError, match="must be unbatched.*Fuse first"):
            data.fuse(dataset.batch(2))
        with pytest.raises(ValueError, match="never ends"):
            data.fuse(dataset.repeat())
        with pytest.raises(ValueError, match="dicts with 'image' and 'ratings'"):
            data.fuse(dataset.map(lambda case: (case["image"], case["ratings"])))
        with pytest.raises(ValueError, match="dicts with 'image' and 'ratings'"):
            data.fuse(arrays)
        with pytest.raises(data.DataError, match="the dataset is empty"):
            data.fuse(dataset.take(0))
