"""Splits by group."""

import numpy as np
import pytest

from keras_ordseg import data


@pytest.mark.parametrize("seed", range(5))
def test_no_group_is_torn_and_every_image_is_used(rng, seed):
    groups = rng.integers(0, 40, 300)
    parts = data.split(groups, (0.6, 0.2, 0.2), seed=seed)
    assert sorted(np.concatenate(parts)) == list(range(300))
    sides = [set(groups[part]) for part in parts]
    assert sum(len(side) for side in sides) == len(set(groups))
    np.testing.assert_allclose([len(part) / 300 for part in parts], (0.6, 0.2, 0.2), atol=0.02)
    for part in parts:
        assert (np.diff(part) > 0).all()


def test_one_large_group_does_not_starve_the_rest():
    """A group of 50 fits into the largest part alone; the single images fill the others."""
    groups = ["big"] * 50 + [f"p{i}" for i in range(50)]
    train, test = data.split(groups, (0.7, 0.3))
    assert len(train) == 70
    assert set(range(50)) <= set(train.tolist())


def test_seed_and_order_of_images(rng):
    groups = rng.permutation(np.repeat(np.arange(30), rng.integers(1, 6, 30)))
    first, again, other = (data.split(groups, seed=seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert set(groups[first]) != set(groups[other])
    shuffled = rng.permutation(groups)
    assert set(shuffled[data.split(shuffled, seed=1)[0]]) == set(groups[first])


def test_same_on_every_machine():
    """NumPy's PCG64 with seed 3 orders ten groups as 9 6 0 2 1 4 7 5 3 8.

    The parts lack 6, 2, 2 images; the first of those that lack most takes the next group. So 9 6 0 2 1 go to
    the first, which then lacks 1; 4 and 7 to the second and third; and 5, 3, 8 in turn.
    """
    parts = data.split([f"p{i}" for i in range(10)], (0.6, 0.2, 0.2), seed=3)
    assert [part.tolist() for part in parts] == [[0, 1, 2, 5, 6, 9], [3, 4], [7, 8]]


def test_a_rest_may_be_left_out():
    train, test = data.split(np.arange(100), (0.3, 0.2))
    assert (len(train), len(test)) == (30, 20)
    assert not set(train) & set(test)


def test_every_part_gets_a_group():
    """Three groups of very different size in three parts: each part has one."""
    groups = ["a"] * 98 + ["b", "c"]
    assert [len(part) for part in data.split(groups, (0.98, 0.01, 0.01))] == [98, 1, 1]
    assert all(len(part) for part in data.split(["a", "b", "c"], (0.98, 0.01, 0.01)))
    assert all(len(part) for part in data.split(["a", "b"], (0.1, 0.1)))


@pytest.mark.parametrize(
    "groups, fractions, message",
    [
        (["a", "a", "b"], (0.7, 0.15, 0.15), "groups: expected at least 3 groups for 3 parts; got 2 .a, b."),
        (["a", "b"], (0.5, -0.5), "fractions: expected positive numbers"),
        (["a", "b"], (0.7, 0.7), "at most 1 in sum; got .0.7, 0.7."),
        (["a", "b"], (0.0, 1.0), "fractions: expected positive numbers"),
        (["a", "b"], (), "fractions: expected positive numbers"),
        (["a", "b"], (np.nan, 0.5), "fractions: expected positive numbers"),
        ([["a", "b"]], (0.5, 0.5), "groups: expected one name for each image"),
    ],
)
def test_errors(groups, fractions, message):
    with pytest.raises(ValueError, match=message):
        data.split(groups, fractions)
