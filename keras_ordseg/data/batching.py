"""Batches for training whose every epoch can be repeated exactly."""

from collections.abc import Mapping

import numpy as np

from keras_ordseg._checks import ArgumentError, checked_integer
from keras_ordseg.data._errors import DataError
from keras_ordseg.data._targets import check_method, fit_weights, target_of, warn_of
from keras_ordseg.data.arrays import check_arrays
from keras_ordseg.data.augmentation import Augmentation
from keras_ordseg.raters._rules import ESTIMATED, draw_raters, present_raters

_ORDER, _RATER = 0, 1


def steps_per_epoch(source, batch_size: int) -> int:
    """How many batches an epoch of `batches` (of arrays) or `PyDataset` (of arrays or cases) has; the last may be smaller.

    >>> import numpy as np
    >>> from keras_ordseg import data
    >>> data.steps_per_epoch({"image": np.zeros((10, 8, 8, 1))}, batch_size=4)
    3
    """
    batch_size = checked_integer("batch_size", batch_size, 1)
    return -(-len(source["image"] if isinstance(source, Mapping) else source) // batch_size)


def batches(
    arrays: Mapping[str, np.ndarray],
    batch_size: int,
    method: str | int = "ratings",
    shuffle: bool = True,
    augment=None,
    seed: int = 0,
    epochs: int = 1,
    first_epoch: int = 0,
    progress: bool = False,
    **options,
):
    """The batches of epochs `first_epoch`, …, `epochs - 1`, one after the other.

    The order, the augmentation and the drawn raters of epoch `e` are functions of `(seed, e)` alone.
    So a run that stopped after epoch `e` continues with `first_epoch=e + 1` on exactly the batches that it
    would have seen:

    ```python
    train = data.batches(arrays, 8, augment=data.Augmentation(), epochs=20, first_epoch=start)
    steps = data.steps_per_epoch(arrays, 8)
    model.fit(train, steps_per_epoch=steps, epochs=20, initial_epoch=start, shuffle=False)
    ```

    (`shuffle=False` because Keras warns that it cannot shuffle a `tf.data.Dataset`; this one is shuffled.)

    Args:
        arrays: `"image"` and `"ratings"`, as `load` returns them; checked by `check_arrays`.
        batch_size: images per batch; the last batch of an epoch may be smaller.
        method: the target, see `fuse`. Soft targets have sample weights when a pixel may have no answer. `"staple"` and
            `"dawid_skene"` are fitted to each image once, before the first batch; the target follows augmentation.
        shuffle: whether every epoch has its own order; False keeps the order of the arrays.
        augment: `Augmentation`, or any function `(image, ratings, seed) -> (image, ratings)` of TensorFlow
            tensors that draws from `seed`, int32 `(2,)`, alone.
        seed: 0 or above, of any size.
        epochs: number of the last epoch, plus 1.
        first_epoch: number of the first epoch.
        progress: whether that fit counts on the standard error stream.
        options: of `method`, see `fuse`.

    Returns:
        A `tf.data.Dataset` of `(images, targets)` of known length.

    Raises:
        DataError: see `check_arrays`; absent raters with `method="votes"`.
        ValueError: another method; epochs below 1; `"votes"` with an augmentation that turns in pixels from
            outside, which nobody rated.
        TypeError: an option that the method does not have.

    >>> from keras_ordseg import data, datasets
    >>> arrays = datasets.ambiguous_shapes(5, size=16, num_raters=3)
    >>> [targets.shape for _, targets in data.batches(arrays, batch_size=2)]
    [TensorShape([2, 16, 16, 3]), TensorShape([2, 16, 16, 3]), TensorShape([1, 16, 16, 3])]
    """
    import tensorflow as tf

    steps = steps_per_epoch({"image": arrays.get("image", ())}, batch_size)
    seed, first_epoch, epochs = checked_epochs(seed, first_epoch, epochs)
    check_arrays(arrays)
    check_method(method, arrays["ratings"].shape[-1], options)
    image, ratings = np.asarray(arrays["image"], np.float32), np.asarray(arrays["ratings"], np.int8)
    voids = getattr(augment, "makes_voids", augment is not None)
    check_panel(method, arrays, ratings, augment)
    weighted = voids or bool((ratings.max(axis=-1) < 0).any())
    fitted = np.zeros((len(image), 0))
    if method in ESTIMATED:
        fitted, fits = fit_weights(ratings, method, progress=progress, **options)
        warn_of(fits, method)
    order, raters = plan(present_raters(ratings), method, shuffle, seed, range(first_epoch, epochs))
    with tf.device("CPU"):  # where tf.data runs
        images, masks, weights = tf.constant(image), tf.constant(ratings), tf.constant(fitted)

    def example(epoch, index, rater):
        picture, marks = tf.gather(images, index), tf.gather(masks, index)
        if method == "random":
            marks = tf.gather(marks, rater[None], axis=-1)
        if augment is not None:
            key = tf.random.fold_in(tf.stack([tf.constant(seed_of_32_bits(seed), tf.int32), epoch]), index)
            picture, marks = augment(picture, marks, key)
        return target_of(
            picture, marks, method, weighted, tf.gather(weights, index), options.get("restrict")
        )

    def epoch_batches(epoch, indices, drawn):
        rows = tf.data.Dataset.from_tensor_slices((indices, drawn))
        rows = rows.map(
            lambda index, rater: example(epoch, index, rater), num_parallel_calls=tf.data.AUTOTUNE
        )
        return rows.batch(batch_size)

    numbers = np.arange(first_epoch, epochs, dtype=np.int32)
    dataset = tf.data.Dataset.from_tensor_slices((numbers, order, raters)).flat_map(epoch_batches)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(steps * len(numbers)))
    return dataset.prefetch(tf.data.AUTOTUNE)


def checked_epochs(seed, first_epoch, epochs):
    """The three as ints.

    Raises:
        ArgumentError: One is negative or no whole number, or there is no epoch.
    """
    seed, first_epoch = checked_integer("seed", seed), checked_integer("first_epoch", first_epoch)
    if checked_integer("epochs", epochs) <= first_epoch:
        raise ArgumentError("epochs", f"a number above first_epoch={first_epoch}", repr(epochs))
    return seed, first_epoch, int(epochs)


def seed_of_32_bits(seed):
    """A seed as TensorFlow's random numbers take it: itself below 2**31, else a number made from all of its bits."""
    return seed if seed < 2**31 else int(np.random.SeedSequence(seed).generate_state(1)[0] >> 1)


def check_panel(method, arrays, ratings, augment):
    """Refuse votes of incomplete panels, and single raters of panels that were only counted."""
    if method == "random" and np.any(arrays.get("anonymous", False)):
        raise DataError(
            "method='random' draws one rater, and of these cases only votes are known; use method='votes' or 'soft'"
        )
    if method != "votes":
        return
    if isinstance(augment, Augmentation) and augment.makes_voids:
        raise ValueError(
            "method='votes' needs every rater's answer for every pixel, and rotate, scale, translate and elastic turn "
            "in pixels that nobody rated; use method='ratings'"
        )
    absent = np.flatnonzero(ratings.reshape(len(ratings), -1).min(axis=-1) < 0)
    if absent.size:
        names = [str(arrays["id"][i]) if "id" in arrays else str(i) for i in absent]
        problems = [f"case {name}: a rater is absent, and method='votes' needs all" for name in names]
        raise DataError.listing(problems, "the arrays (method='ratings' takes absent raters)")


def plan(present, method, shuffle, seed, epochs):
    """The order of the images and the rater drawn for each place, int32 `(epochs, N)`; `present` is bool `(N, K)`."""
    count = len(present)
    order = np.tile(np.arange(count, dtype=np.int32), (len(epochs), 1))
    raters = np.zeros_like(order)
    for row, epoch in enumerate(epochs):
        if shuffle:
            order[row] = np.random.default_rng([seed, epoch, _ORDER]).permutation(count)
        if method == "random":
            raters[row] = draw_raters(present, np.random.default_rng([seed, epoch, _RATER]))[order[row]]
    return order, raters
