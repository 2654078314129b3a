"""Batches without TensorFlow: the same as `batches`, from arrays and from files."""

import os
import subprocess
import sys
import threading

import keras
import numpy as np
import pytest

from keras_ordseg import data

METHODS = ["ratings", "majority", "union", "intersection", 3, "soft", "random", "staple", "dawid_skene"]


def assert_same(found, expected):
    found, expected = list(found), list(expected)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert x.dtype == y.dtype
            (np.testing.assert_allclose if x.dtype.kind == "f" else np.testing.assert_array_equal)(x, y)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_batches_as_tf_data(arrays, method):
    """Order, drawn raters, targets and weights; from any epoch on."""
    arrays["ratings"][3, 2, 2] = -1  # a pixel that nobody rated
    options = {"method": method, "seed": 5, "epochs": 4, "first_epoch": 1}
    found = data.PyDataset(arrays, 3, **options)
    assert len(found) == 9
    assert_same(found, data.batches(arrays, 3, **options).as_numpy_iterator())


def test_votes_options_and_order(arrays):
    arrays["ratings"] = np.abs(arrays["ratings"])
    for options in (
        {"method": "votes", "shuffle": False},
        {"method": "staple", "restrict": "disputed"},
        {"method": "staple", "prior": 0.3, "seed": 2},
    ):
        found, expected = data.PyDataset(arrays, 4, **options), data.batches(arrays, 4, **options)
        assert_same(found, expected.as_numpy_iterator())


@pytest.fixture
def cases(tmp_path, arrays):
    """The arrays as files; rater 2 has no file where it is absent."""
    for key, image, ratings in zip(arrays["id"], arrays["image"], arrays["ratings"], strict=True):
        np.save(tmp_path / f"{key}_image.npy", image)
        for r, mask in enumerate(np.moveaxis(ratings, -1, 0)):
            if mask.max() >= 0:
                np.save(tmp_path / f"{key}_rater{r}.npy", mask)
    return data.cases(tmp_path, "*_image.npy", "*_rater{r}.npy")


@pytest.mark.parametrize("method", ["ratings", "random", "soft", "staple"])
def test_from_files(arrays, cases, method):
    options = {"method": method, "epochs": 2, "seed": 3}
    assert_same(data.PyDataset(cases, 3, **options), data.PyDataset(arrays, 3, **options))
    sized = data.PyDataset(cases, 3, **options, size=4)
    assert_same(sized, data.PyDataset(data.load(cases, size=4), 3, **options))
    assert data.steps_per_epoch(cases, 3) == sized.steps == 3


def test_slices_are_read_when_they_are_needed(tmp_path, rng, monkeypatch):
    image, mask = rng.random((6, 5, 8)), rng.integers(0, 2, (6, 5, 8)).astype(np.int8)
    np.save(tmp_path / "a_image.npy", image)
    np.save(tmp_path / "a_rater1.npy", mask)
    slices = data.cases(tmp_path, "*_image.npy", "*_rater{r}.npy").slices()
    batches = data.PyDataset(slices, 2, shuffle=False, ahead=0)
    read = []
    load = np.load
    monkeypatch.setattr(np, "load", lambda *args, **kwargs: read.append(args[0].name) or load(*args, **kwargs))
    images, ratings = batches[3]
    assert read == ["a_image.npy", "a_rater1.npy"] * 2
    np.testing.assert_array_equal(images[..., 0], np.moveaxis(image[..., 6:], -1, 0).astype(np.float32))
    np.testing.assert_array_equal(ratings[..., 0], np.moveaxis(mask[..., 6:], -1, 0))


def test_batches_ahead_are_made_by_threads_once(arrays):
    made = []

    def augment(image, ratings, seed):
        made.append(threading.current_thread().name)
        return image, ratings

    plain = list(data.PyDataset(arrays, 3, epochs=3, ahead=0))
    batches = data.PyDataset(arrays, 3, epochs=3, ahead=3, augment=augment)
    assert_same(batches, plain)
    assert len(made) == 21
    assert all(name.startswith("batches") for name in made)
    assert_same([batches[i] for i in (7, 0, 8, 7)], [plain[i] for i in (7, 0, 8, 7)])


def test_augmentation(arrays):
    """A function of seed, epoch and image; a target follows its image; weights where pixels may turn in."""

    def shift(image, ratings, seed):
        steps = int(np.random.default_rng(seed).integers(6))
        moved = np.roll(ratings, steps, 0)
        moved[:steps] = -1
        return np.roll(image, steps, 0), moved

    options = {"method": "soft", "epochs": 3, "augment": shift, "seed": 1}
    whole = list(data.PyDataset(arrays, 7, **options))
    assert_same(list(data.PyDataset(arrays, 7, **options, first_epoch=2)), whole[2:])
    assert not np.array_equal(np.sort(whole[0][2].sum((1, 2))), np.sort(whole[1][2].sum((1, 2))))
    for images, targets, weights in whole:
        assert 0 < weights.mean() < 1
        np.testing.assert_array_equal(targets[weights == 0], 0)
        for image, target, weight in zip(images, targets, weights, strict=True):
            rows = int((weight[:, 0] == 0).sum())
            place = (arrays["image"] == np.roll(image, -rows, 0)).all((1, 2, 3)).argmax()
            votes, counts = ((arrays["ratings"][place] == v).sum(-1) for v in (1, 0))
            share = votes / (votes + counts)
            np.testing.assert_allclose(target[rows:, :, 0], share[: 6 - rows], rtol=1e-6)


def test_tensorflow_augmentation_goes_in_as_it_is(arrays):
    batches = data.PyDataset(arrays, 3, augment=data.Augmentation(rotate=20), epochs=2)
    assert all(type(part) is np.ndarray for batch in batches for part in batch)
    again = data.PyDataset(arrays, 3, augment=data.Augmentation(rotate=20), epochs=2)
    assert_same(again, batches)


def small_model():
    keras.utils.set_random_seed(7)
    model = keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Conv2D(1, 3, padding="same")])
    model.compile(keras.optimizers.SGD(0.5), loss=keras.losses.BinaryCrossentropy(from_logits=True))
    return model


def test_fit_sees_each_batch_once_in_order_and_resumes(arrays):
    def fit(model, start, stop):
        train = data.PyDataset(arrays, 3, "soft", epochs=stop, first_epoch=start)
        options = {"epochs": stop, "initial_epoch": start, "shuffle": False, "verbose": 0}
        return model.fit(train, steps_per_epoch=train.steps, **options).history["loss"]

    whole = small_model()
    losses = fit(whole, 0, 4)
    stopped = small_model()
    fit(stopped, 0, 2)
    np.testing.assert_allclose(fit(stopped, 2, 4), losses[2:], rtol=1e-6)
    by_hand = small_model()
    for batch in data.batches(arrays, 3, "soft", epochs=4).as_numpy_iterator():
        by_hand.train_on_batch(*batch)
    for a, b in zip(whole.get_weights(), by_hand.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_jax_trains_from_files_without_tensorflow(cases):
    code = f"""
import sys, keras
from keras_ordseg import data, losses
cases = data.cases({str(cases.path)!r}, "*_image.npy", "*_rater{{r}}.npy")
train = data.PyDataset(cases, 3, epochs=2)
model = keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Conv2D(5, 3, padding="same")])
model.compile("sgd", losses.OrdinalSegmentationLoss())
history = model.fit(train, steps_per_epoch=train.steps, epochs=2, shuffle=False, verbose=0)
assert len(history.history["loss"]) == 2
assert "tensorflow" not in sys.modules
"""
    subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=True, env=os.environ | {"KERAS_BACKEND": "jax"}
    )


class TestErrors:
    def test_absent_raters_under_votes(self, arrays, cases):
        for source in (arrays, cases):
            with pytest.raises(data.DataError, match="(?s)2 problems.*case case1: a rater is absent.*case case5"):
                data.PyDataset(source, 2, "votes")
        arrays["ratings"] = np.abs(arrays["ratings"])
        with pytest.raises(ValueError, match="translate and elastic turn in pixels that nobody rated"):
            data.PyDataset(arrays, 2, "votes", augment=data.Augmentation(rotate=5))

    def test_bad_files(self, cases):
        np.save(cases.path / "case3_image.npy", np.full((6, 6), np.nan))
        np.save(cases.path / "case4_rater0.npy", np.full((6, 6), 0.5) * np.eye(6) + np.eye(6)[::-1])
        with pytest.raises(data.DataError, match="(?s)2 problems.*case3_image.npy.*case4_rater0.npy: not a binary"):
            data.PyDataset(cases, 2)

    def test_a_case_that_nobody_rated(self, cases):
        for r in range(4):
            np.save(cases.path / f"case2_rater{r}.npy", np.full((6, 6), -1))
        with pytest.raises(data.DataError, match="case case2: no rater rated any pixel"):
            data.PyDataset(cases, 2)

    @pytest.mark.parametrize(
        "kwargs, message",
        [
            ({"method": "mean"}, "method must be one of .* came 'mean'"),
            ({"method": 5}, "expected 1 to K=4 raters"),
            ({"batch_size": 0}, "batch_size: expected a whole number, 1 or more; got 0"),
            ({"epochs": 2, "first_epoch": 2}, "above first_epoch=2; got 2"),
            ({"seed": -1}, "seed: expected a whole number, 0 or more; got -1"),
            ({"fit": "stretch"}, "fit must be one of"),
        ],
    )
    def test_arguments(self, cases, kwargs, message):
        with pytest.raises(ValueError, match=message):
            data.PyDataset(cases, **{"batch_size": 2} | kwargs)

    def test_beyond_the_end(self, arrays):
        batches = data.PyDataset(arrays, 3)
        for index in (3, -1):
            with pytest.raises(IndexError, match=f"batch {index} of 3"):
                batches[index]
