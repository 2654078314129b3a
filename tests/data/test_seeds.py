"""Seeds of any size, and whole numbers where numbers are whole."""

import numpy as np
import pytest

from keras_ordseg import data
from keras_ordseg.data._targets import target_of

LARGE = [2**31, np.uint64(2**63 + 1)]
BAD = [-1, None, 1.5, True, "0"]


@pytest.fixture
def few(arrays):
    return data.take(arrays, [0, 2, 3])


def images(dataset):
    return np.concatenate([np.asarray(image) for image, *_ in dataset])


@pytest.mark.parametrize("seed", LARGE, ids=repr)
def test_large_seeds(few, seed):
    """Twice the same, in the same order in both kinds of batches, and other than with a seed of the same low bits."""
    augment = data.Augmentation(brightness=0.2)
    one, two = (images(data.batches(few, 2, "random", seed=seed, augment=augment)) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    other = images(data.batches(few, 2, "random", seed=int(seed) ^ (1 << 40), augment=augment))
    assert not np.array_equal(one, other)
    plain = images(data.batches(few, 2, "random", seed=seed))
    np.testing.assert_array_equal(plain, images(data.PyDataset(few, 2, "random", seed=seed, ahead=0)))


def test_large_seeds_of_fuse(few):
    dataset = data.from_arrays(few)
    draws = [[np.asarray(target) for _, target in data.fuse(dataset, "random", seed=2**31 + 7)] for _ in range(2)]
    np.testing.assert_array_equal(*draws)


@pytest.mark.parametrize("seed", BAD, ids=repr)
def test_no_seeds(few, seed):
    dataset = data.from_arrays(few)
    for use in (
        lambda: data.batches(few, 2, seed=seed),
        lambda: data.PyDataset(few, 2, seed=seed),
        lambda: data.fuse(dataset, "random", seed=seed),
        lambda: data.split(few["group"], (0.5, 0.5), seed=seed),
    ):
        with pytest.raises(ValueError, match="seed: expected a whole number, 0 or more; got"):
            use()


class TestSeedOfAugmentation:
    image, ratings = np.random.default_rng(0).random((6, 6, 1), np.float32), np.ones((6, 6, 2), np.int8)

    def augmented(self, seed):
        return np.asarray(data.Augmentation(noise=0.5)(self.image, self.ratings, seed)[0])

    @pytest.mark.parametrize("seed", [(2**31, 1), (-1, 2**40), np.array([2**63 + 1, 0], np.uint64)], ids=repr)
    def test_large(self, seed):
        np.testing.assert_array_equal(self.augmented(seed), self.augmented(seed))

    def test_lower_bits_count(self):
        np.testing.assert_array_equal(self.augmented((2**32 + 3, 1)), self.augmented((3, 1)))
        assert not np.array_equal(self.augmented((2**31, 1)), self.augmented((0, 1)))

    @pytest.mark.parametrize("seed", [5, (1,), (1, 2, 3), (0.5, 1.0), "ab", None, (2**70, 1), ((1, 2),)], ids=repr)
    def test_no_seeds(self, seed):
        with pytest.raises(ValueError, match="seed: expected two integers"):
            self.augmented(seed)


@pytest.mark.parametrize(
    "name, value", [("batch_size", 2.5), ("batch_size", True), ("epochs", 1.0), ("first_epoch", -1), ("first_epoch", None)]
)
def test_whole_numbers(few, name, value):
    for make in (data.batches, data.PyDataset):
        with pytest.raises(ValueError, match=f"{name}: expected a whole number"):
            make(few, **{"batch_size": 2} | {name: value})
    with pytest.raises(ValueError, match="ahead: expected a whole number"):
        data.PyDataset(few, 2, ahead=0.5)


@pytest.mark.parametrize("method", ["soft", "majority", 2])
def test_votes_are_ratings_of_one(method):
    """A label 2, as of `fuse(…, check=False)`, is an answer that is no mark, in TensorFlow as in NumPy."""
    ratings = np.array([[[1, 0, 2], [2, 2, 2], [1, 1, -1], [-1, 2, 0]]], np.int8)
    expected = {"soft": [1 / 3, 0, 1, 0], "majority": [0, 0, 1, 0], 2: [0, 0, 1, 0]}[method]
    target = target_of(np.zeros((1, 4, 1), np.float32), ratings, method, False)[1]
    np.testing.assert_allclose(np.asarray(target)[0, :, 0], expected, rtol=1e-6)
    if method == "soft":
        votes, counts = (ratings == 1).sum(-1), (ratings >= 0).sum(-1)
        np.testing.assert_allclose(np.asarray(target)[..., 0], votes / counts, rtol=1e-6)


def test_arrays_of_no_rows(few):
    with pytest.raises(data.DataError, match=r"arrays\['spacing'\] must have one row for each of 3 images, has none"):
        data.check_arrays(few | {"spacing": np.float32(1)})
