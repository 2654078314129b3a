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


@pytest.mark.parametrize("method", ["majority", "union", "intersection", 1, 3, 4])
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


class TestEstimated:
    """STAPLE and Dawid–Skene: fitted once for each image, and evaluated where the ratings end up."""

    @pytest.mark.parametrize(
        "method, options",
        [
            ("staple", {}),
            ("staple", {"restrict": "disputed", "prior": 0.3}),
            ("staple", {"max_iterations": 400, "tolerance": 1e-5}),
            ("dawid_skene", {}),
        ],
    )
    def test_equals_raters_fuse(self, arrays, method, options):
        arrays["ratings"][0], arrays["ratings"][2] = 0, 1
        arrays["ratings"][3, ..., 1:] = arrays["ratings"][3, ..., :1]
        expected = raters.fuse(arrays["ratings"], method, **options)
        assert np.ptp(expected[4]) > 0.5
        image, target = fused(arrays, method, **options)
        assert (target.shape, target.dtype) == ((7, 6, 6, 1), np.float32)
        np.testing.assert_allclose(target, expected, atol=1e-6)
        batches = list(data.batches(arrays, 3, method, shuffle=False, **options).as_numpy_iterator())
        np.testing.assert_allclose(np.concatenate([y for _, y in batches]), expected, atol=1e-6)

    def test_weights_where_nobody_rated(self, arrays):
        arrays["ratings"][3, :2] = -1
        _, target, weight = fused(arrays, "staple")
        expected = raters.fuse(arrays["ratings"], "staple")
        np.testing.assert_array_equal(weight, ~np.isnan(expected[..., 0]))
        np.testing.assert_allclose(target, np.nan_to_num(expected), atol=1e-6)
        assert len(fused(arrays, "staple", check=False)) == 3

    def test_cases_in_any_order_and_equal_cases(self, arrays):
        """A case is found by its ratings, also after a shuffle that differs each time."""
        arrays["ratings"][6] = arrays["ratings"][4]
        expected = raters.fuse(arrays["ratings"], "staple")
        dataset = data.fuse(data.from_arrays(arrays).shuffle(7, seed=1), "staple")
        orders = []
        for _ in range(3):
            order = []
            for image, target in dataset.as_numpy_iterator():
                index = int((arrays["image"] == image).all((1, 2, 3)).argmax())
                np.testing.assert_allclose(target, expected[index], atol=1e-6)
                order.append(index)
            orders.append(tuple(order))
        assert len(set(orders)) > 1

    def test_the_target_follows_augmentation(self, arrays):
        """Flips, turns and rotation: the target of the turned ratings is the turned target of the ratings."""
        augment = data.Augmentation(rotate=30)
        fitted = raters.fuse(arrays["ratings"], "staple")
        options = {"augment": augment, "seed": 3, "shuffle": False}
        turned = next(data.batches(arrays, 7, "ratings", **options).as_numpy_iterator())[1]
        _, target, weight = next(data.batches(arrays, 7, "staple", **options).as_numpy_iterator())
        assert 0 < weight.mean() < 1
        for before, after, values, result in zip(arrays["ratings"], turned, fitted, target, strict=True):
            known = {tuple(row): value for row, value in zip(before.reshape(-1, 4), values.ravel(), strict=True)}
            known[(-1,) * 4] = 0
            expected = [known[tuple(row)] for row in after.reshape(-1, 4)]
            np.testing.assert_allclose(result.ravel(), expected, atol=1e-6)

    def test_volumes_of_several_sizes(self, rng):
        import tensorflow as tf

        cases = [rng.integers(-1, 2, (size, 4, 5, 3)).astype(np.int8) for size in (3, 6)]
        for case in cases:
            case[..., 0] = np.abs(case[..., 0])
        spec = {
            "image": tf.TensorSpec((None, 4, 5, 1), tf.float32),
            "ratings": tf.TensorSpec((None, 4, 5, 3), tf.int8),
        }
        dataset = tf.data.Dataset.from_generator(
            lambda: ({"image": np.zeros((*c.shape[:-1], 1), np.float32), "ratings": c} for c in cases),
            output_signature=spec,
        )
        targets = [target for _, target in data.fuse(dataset, "staple").as_numpy_iterator()]
        for case, target in zip(cases, targets, strict=True):
            np.testing.assert_allclose(target[..., 0], raters.staple(case).probability, atol=1e-6)

    def test_ratings_that_changed_since(self, arrays):
        import tensorflow as tf

        draws = np.random.default_rng(0)

        def change(case):
            other = tf.numpy_function(draws.permutation, [case["ratings"]], tf.int8)
            return case | {"ratings": tf.ensure_shape(other, case["ratings"].shape)}

        changing = data.from_arrays(arrays).map(change)
        dataset = data.fuse(changing, "staple")
        with pytest.raises(tf.errors.InvalidArgumentError, match="fuse before what changes them"):
            list(dataset)

    def test_one_warning_for_all_images(self, arrays):
        arrays["ratings"][:3, ..., 2:] = -1
        with pytest.warns(UserWarning, match="staple: 3 of 7 images have two raters who differ"):
            data.fuse(data.from_arrays(arrays), "staple")
        with pytest.warns(UserWarning, match="staple: 3 of 7 images have two raters who differ"):
            data.batches(arrays, 2, "staple")

    def test_progress(self, arrays, capsys):
        data.fuse(data.from_arrays(arrays), "staple", progress=True)
        assert capsys.readouterr().err.endswith("\rreading case 7\n")
        data.batches(arrays, 2, "staple", progress=True)
        assert capsys.readouterr().err == "\rstaple: 7/7\n"

    def test_options(self, arrays):
        for call in (lambda **o: data.batches(arrays, 2, **o), lambda **o: data.fuse(data.from_arrays(arrays), **o)):
            with pytest.raises(TypeError, match="method='soft' does not take prior; it has no options"):
                call(method="soft", prior=0.5)
            with pytest.raises(ValueError, match="restrict must be None or 'disputed' here"):
                call(method="staple", restrict="box")
            with pytest.raises(ValueError, match="method=5 is a quorum.* expected 1 to K=4 raters"):
                call(method=5)

    def test_a_model_trains_on_it(self, arrays):
        import keras

        model = keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Conv2D(1, 3, padding="same")])
        model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
        train = data.batches(arrays, 4, "staple", epochs=2, augment=data.Augmentation(rotate=10))
        history = model.fit(train, steps_per_epoch=2, epochs=2, shuffle=False, verbose=0)
        assert np.isfinite(history.history["loss"]).all()


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
        with pytest.raises(ValueError, match="method must be one of .* came 'mean'"):
            data.fuse(dataset, "mean")
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
