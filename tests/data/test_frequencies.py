"""Where a head starts."""

from math import comb

import numpy as np
import pytest

from keras_ordseg import data


def complete(rng, num_raters=3, images=4):
    return rng.integers(0, 2, (images, 6, 5, num_raters)).astype(np.int8) & (
        rng.random((images, 6, 5, 1)) < 0.3
    )


def counted(votes, num_raters):
    """Each level once more than it occurs."""
    counts = np.array([(votes == k).sum() + 1.0 for k in range(num_raters + 1)])
    return counts / counts.sum()


def test_complete_panels_are_counted(rng):
    ratings = complete(rng)
    expected = counted(ratings.sum(-1), 3)
    for source in (ratings, {"ratings": ratings}):
        result = data.level_frequencies(source)
        assert result.dtype == np.float64
        np.testing.assert_allclose(result, expected, rtol=1e-14)
    assert expected[0] > 0.5


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("method", [None, "ratings", "votes"])
def test_datasets_of_ratings_and_of_votes(rng, method, batched):
    ratings = complete(rng)
    dataset = data.from_arrays({"image": np.zeros((4, 6, 5, 1), np.float32), "ratings": ratings})
    dataset = dataset if method is None else data.fuse(dataset, method)
    dataset = dataset.batch(3) if batched else dataset
    num_raters = 3 if method == "votes" else None
    result = data.level_frequencies(dataset, num_raters)
    np.testing.assert_allclose(result, counted(ratings.sum(-1), 3), rtol=1e-14)
    share = (ratings.sum() + 1) / (ratings.size + 2)
    assert data.mean_vote(dataset, num_raters) == pytest.approx(share, rel=1e-14)


def test_volumes(rng):
    ratings = complete(rng).reshape(1, 4, 6, 5, 3)
    np.testing.assert_allclose(data.level_frequencies(ratings), counted(ratings.sum(-1), 3))


def test_absent_raters_by_expectation_maximisation():
    """Two raters, 100 pixels complete as (0: 60, 1: 20, 2: 20) and 50 with one answer, 20 of them marks.

    At the fixed point the levels f solve f_k = (complete_k + 30 a_k + 20 b_k + 1) / 153, where
    a ∝ (f_0, f_1/2, 0) are the levels behind a lone "no" and b ∝ (0, f_1/2, f_2) those behind a lone "yes".
    """
    rows = [(0, 0)] * 60 + [(1, 0)] * 10 + [(0, 1)] * 10 + [(1, 1)] * 20 + [(0, -1)] * 20 + [(-1, 0)] * 10
    rows += [(1, -1)] * 5 + [(-1, 1)] * 15 + [(-1, -1)] * 7
    f = data.level_frequencies(np.array(rows, np.int8).reshape(1, -1, 2))
    a = np.array([f[0], f[1] / 2, 0]) / (f[0] + f[1] / 2)
    b = np.array([0, f[1] / 2, f[2]]) / (f[2] + f[1] / 2)
    np.testing.assert_allclose(f, (np.array([60, 20, 20]) + 30 * a + 20 * b + 1) / 153, rtol=1e-10)
    assert data.mean_vote(np.array(rows, np.int8).reshape(1, -1, 2)) == pytest.approx(
        (60 + 20 + 1) / (250 + 2)
    )


def test_absent_raters_do_not_bias(rng):
    """Hiding two of five raters of every second image, whatever they said, changes the levels little."""
    truth = np.array([0.5, 0.2, 0.05, 0.05, 0.05, 0.15])
    levels = rng.choice(6, size=(2, 20000), p=truth)
    ratings = (rng.random((2, 20000, 5)).argsort(-1) < levels[..., None]).astype(np.int8)
    ratings[1, :, 3:] = -1
    # the sampling error of 20000 complete and 20000 thinned pixels; the thinned ones alone miss by 0.05
    np.testing.assert_allclose(data.level_frequencies(ratings), truth, atol=0.01)
    seen = (ratings[1, :, :3] == 1).sum(-1)
    thinned = [sum(truth[k] * comb(k, v) * comb(5 - k, 3 - v) / 10 for k in range(6)) for v in range(4)]
    np.testing.assert_allclose(np.bincount(seen) / 20000, thinned, atol=0.015)


def test_no_level_is_zero():
    result = data.level_frequencies(np.zeros((1, 10, 4), np.int8))
    np.testing.assert_allclose(result, np.array([11, 1, 1, 1, 1]) / 15)
    assert 0 < data.mean_vote(np.zeros((1, 10, 4), np.int8)) < 0.05


def test_one_answer_for_five_raters():
    """Random-rater targets fix the mean of the levels alone, and that it keeps."""
    ratings = np.zeros((1, 10000, 1), np.int8)
    ratings[0, :2500] = 1
    result = data.level_frequencies(ratings, num_raters=5)
    assert result.shape == (6,)
    assert result.sum() == pytest.approx(1)
    assert result @ np.arange(6) / 5 == pytest.approx(0.25, abs=1e-3)


class TestErrors:
    def test_votes_need_the_number_of_raters(self, rng):
        dataset = data.from_arrays({"image": np.zeros((4, 6, 5, 1), np.float32), "ratings": complete(rng)})
        votes = data.fuse(dataset, "votes")
        with pytest.raises(ValueError, match="give num_raters"):
            data.level_frequencies(votes)
        with pytest.raises(
            data.DataError, match="votes must be integers from 0 to num_raters=2, came int32 from 0 to 3"
        ):
            data.level_frequencies(votes, num_raters=2)

    @pytest.mark.parametrize(
        "ratings, message",
        [
            (np.full((1, 4, 2), 2, np.int8), "must be 1, 0 or -1"),
            (np.zeros((1, 4, 2)), "integers .* came float64"),
            (np.full((1, 4, 2), -1, np.int8), "no pixel of the dataset was rated"),
        ],
    )
    def test_values(self, ratings, message):
        for use in (data.level_frequencies, data.mean_vote):
            with pytest.raises(data.DataError, match=message):
                use(ratings)

    def test_kind(self, rng):
        with pytest.raises(ValueError, match="num_raters=2, but the ratings have 3 raters"):
            data.level_frequencies(complete(rng), num_raters=2)
        with pytest.raises(ValueError, match=r"dataset must be .* came list"):
            data.level_frequencies([1, 2])
        dataset = data.from_arrays({"image": np.zeros((4, 6, 5, 1), np.float32), "ratings": complete(rng)})
        with pytest.raises(ValueError, match="never ends"):
            data.level_frequencies(dataset.repeat())
        with pytest.raises(ValueError, match="elements of the dataset"):
            data.level_frequencies(dataset.map(lambda case: case["ratings"]))
        with pytest.raises(ValueError, match="neither ratings nor votes"):
            data.level_frequencies(dataset.map(lambda case: (case["image"], case["ratings"][0, 0])))
