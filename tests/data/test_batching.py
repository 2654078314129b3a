"""Epochs that can be repeated exactly, and train without a warning."""

import keras
import numpy as np
import pytest

from keras_ordseg import data, raters

ALL = data.Augmentation(rotate=30, scale=0.2, brightness=0.1, contrast=0.1, noise=0.05)


def epochs_of(arrays, batch_size=3, method="ratings", **kwargs):
    """The epochs as lists of batches."""
    found = list(data.batches(arrays, batch_size, method, **kwargs).as_numpy_iterator())
    steps = data.steps_per_epoch(arrays, batch_size)
    return [found[i : i + steps] for i in range(0, len(found), steps)]


@pytest.mark.parametrize("augment", [None, ALL], ids=["plain", "augmented"])
@pytest.mark.parametrize("method", ["ratings", "random", "majority", "soft"])
def test_an_epoch_is_a_function_of_seed_and_number(arrays, method, augment):
    """Epoch 3 of a fresh pipeline that starts there is bit-equal to epoch 3 of one that ran from 0."""
    options = {"method": method, "augment": augment, "seed": 11}
    whole = epochs_of(arrays, epochs=5, **options)
    assert len(whole) == 5
    resumed = epochs_of(arrays, epochs=5, first_epoch=3, **options)
    assert len(resumed) == 2
    for a, b in zip(whole[3:], resumed, strict=True):
        for batch_a, batch_b in zip(a, b, strict=True):
            for x, y in zip(batch_a, batch_b, strict=True):
                np.testing.assert_array_equal(x, y)
    other = epochs_of(arrays, epochs=4, first_epoch=3, **options | {"seed": 12})
    assert not np.array_equal(whole[3][0][0], other[0][0][0])
    assert not np.array_equal(whole[3][0][0], whole[2][0][0])


def test_every_image_once_an_epoch_and_the_last_batch_smaller(arrays):
    dataset = data.batches(arrays, 3, epochs=4)
    assert int(dataset.cardinality()) == 12
    orders = []
    for epoch in epochs_of(arrays, epochs=4):
        assert [len(batch[0]) for batch in epoch] == [3, 3, 1]
        images, ratings = (np.concatenate(parts) for parts in zip(*epoch, strict=True))
        order = [int((arrays["image"] == image).all((1, 2, 3)).argmax()) for image in images]
        np.testing.assert_array_equal(ratings, arrays["ratings"][order])
        assert sorted(order) == list(range(7))
        orders.append(tuple(order))
    assert len(set(orders)) == 4


def test_without_shuffling(arrays):
    for epoch in epochs_of(arrays, epochs=2, shuffle=False):
        np.testing.assert_array_equal(np.concatenate([images for images, _ in epoch]), arrays["image"])


@pytest.mark.parametrize("method", ["votes", "majority", "union", "intersection", "soft"])
def test_targets_are_those_of_raters_fuse(arrays, method):
    arrays["ratings"] = np.abs(arrays["ratings"])
    (epoch,) = epochs_of(arrays, shuffle=False, method=method)
    np.testing.assert_array_equal(
        np.concatenate([y for _, y in epoch]), raters.fuse(arrays["ratings"], method)
    )


def test_random_rater_is_present_and_new_each_epoch(arrays):
    arrays["ratings"][..., 2] = -1
    drawn = []
    for epoch in epochs_of(arrays, epochs=20, shuffle=False, method="random"):
        targets = np.concatenate([targets for _, targets in epoch])
        same = (targets == arrays["ratings"]).all((1, 2))
        np.testing.assert_array_equal(same.sum(-1), 1)
        drawn.append(same.argmax(-1))
    assert set(np.ravel(drawn)) == {0, 1, 3}
    assert (np.std(drawn, axis=0) > 0).all()


def test_a_draw_belongs_to_the_image_not_to_its_place(arrays):
    """Shuffled or not, an image has the same rater in an epoch; absent raters differ by image."""
    arrays["ratings"][0, ..., :3] = -1
    arrays["ratings"][1, ..., 1:] = -1
    plain, shuffled = (epochs_of(arrays, 7, "random", epochs=6, shuffle=shuffle) for shuffle in (False, True))
    for ((images, targets),), ((moved, moved_targets),) in zip(plain, shuffled, strict=True):
        assert (targets >= 0).all()
        order = [int((images == image).all((1, 2, 3)).argmax()) for image in moved]
        assert order != list(range(7))
        np.testing.assert_array_equal(moved_targets, targets[order])


def test_each_epoch_and_image_has_its_own_augmentation(arrays):
    arrays["image"][:] = arrays["image"][0]
    first, second = epochs_of(arrays, 7, epochs=2, shuffle=False, augment=data.Augmentation(noise=0.2))
    images = np.concatenate([first[0][0], second[0][0]])
    assert len({image.tobytes() for image in images}) == 14


def test_weights_of_soft_targets(arrays):
    assert len(epochs_of(arrays, method="soft")[0][0]) == 2
    (epoch,) = epochs_of(arrays, method="soft", augment=ALL)
    _, target, weight = epoch[0]
    assert weight.shape == (3, 6, 6)
    assert 0 < weight.mean() < 1
    np.testing.assert_array_equal(target[weight == 0], 0)


def test_own_augmentation(arrays):
    import tensorflow as tf

    def shift(image, ratings, seed):
        return tf.roll(image, 1, 0), tf.roll(ratings, 1, 0)

    (epoch,) = epochs_of(arrays, shuffle=False, augment=shift, method="majority")
    expected = raters.fuse(np.roll(arrays["ratings"], 1, 1), "majority")
    np.testing.assert_array_equal(np.concatenate([y for _, y in epoch]), expected)


def test_volumes(rng):
    arrays = {
        "image": rng.random((3, 4, 6, 6, 1), dtype=np.float32),
        "ratings": rng.integers(-1, 2, (3, 4, 6, 6, 2)).astype(np.int8),
    }
    (epoch,) = epochs_of(arrays, batch_size=2, augment=ALL)
    assert [batch[1].shape for batch in epoch] == [(2, 4, 6, 6, 2), (1, 4, 6, 6, 2)]


def small_model():
    keras.utils.set_random_seed(7)
    model = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            keras.layers.Conv2D(4, 3, padding="same", activation="relu"),
            keras.layers.Conv2D(1, 1),
        ]
    )
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.5, momentum=0.9), loss=loss)
    return model


def test_fit_stopped_and_continued_equals_fit_at_once(arrays):
    """Through plain `fit`; any warning, as of a dataset that runs out, fails the test."""

    def fit(model, start, stop):
        train = data.batches(
            arrays, 3, "soft", augment=data.Augmentation(noise=0.1), epochs=stop, first_epoch=start
        )
        steps = data.steps_per_epoch(arrays, 3)
        options = {"epochs": stop, "initial_epoch": start, "shuffle": False, "verbose": 0}
        return model.fit(train, steps_per_epoch=steps, **options).history["loss"]

    whole = small_model()
    losses = fit(whole, 0, 5)
    assert len(losses) == 5
    stopped = small_model()
    fit(stopped, 0, 2)
    assert fit(stopped, 2, 5) == losses[2:]
    for a, b in zip(whole.get_weights(), stopped.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


class TestErrors:
    def test_votes(self, arrays):
        with pytest.raises(data.DataError, match="(?s)2 problems.*case case1: a rater is absent.*case case5"):
            data.batches(arrays, 2, "votes")
        arrays["ratings"] = np.abs(arrays["ratings"])
        with pytest.raises(ValueError, match="translate and elastic turn in pixels that nobody rated"):
            data.batches(arrays, 2, "votes", augment=data.Augmentation(rotate=5))
        assert len(epochs_of(arrays, method="votes", augment=data.Augmentation())) == 1

    def test_votes_with_an_augmentation_that_voids(self, arrays):
        import tensorflow as tf

        arrays["ratings"] = np.abs(arrays["ratings"])
        dataset = data.batches(
            arrays, 2, "votes", augment=lambda image, ratings, seed: (image, ratings * 0 - 1)
        )
        with pytest.raises(tf.errors.InvalidArgumentError, match="votes need the answers of all raters"):
            list(dataset)

    @pytest.mark.parametrize(
        "kwargs, message",
        [
            ({"method": "mean"}, "method must be one of .* came 'mean'"),
            ({"batch_size": 0}, "batch_size: expected a whole number, 1 or more; got 0"),
            ({"epochs": 0}, "epochs: expected a number above first_epoch=0; got 0"),
            ({"epochs": 3, "first_epoch": 3}, "above first_epoch=3; got 3"),
            ({"seed": -1}, "seed: expected a whole number, 0 or more; got -1"),
        ],
    )
    def test_arguments(self, arrays, kwargs, message):
        with pytest.raises(ValueError, match=message):
            data.batches(arrays, **{"batch_size": 2} | kwargs)

    def test_missing_arrays(self):
        with pytest.raises(data.DataError, match="missing: image, ratings"):
            data.batches({}, 2)
