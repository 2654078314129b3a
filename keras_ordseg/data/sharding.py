"""Batches of one size, and the equal part of each that one of several processes trains on."""

from keras_ordseg._checks import ArgumentError, checked_integer


def shard_batches(dataset, batch_size: int, num_shards: int = 1, index: int = 0):
    """Fill up the last batch of each epoch, and take one part of `num_shards` of every batch.

    The last batch is filled up with cases that nobody rated: a copy of its first image with ratings of -1, or of weight 0.
    Losses and metrics of this package give them no weight, so that results are those of the smaller batch. (Batch
    normalisation sees the image; Keras' own losses see the weight, and its own metrics neither.)

    Several devices need it: `keras.distribution.DataParallel` refuses a batch that its devices do not divide, and workers
    that do not all take the same number of steps wait for each other for ever. On one device it saves XLA from compiling
    a second program for the last batch.

    With the parts of all `index` from 0 to `num_shards - 1`, every case comes once in each epoch. All of them read the
    whole dataset, which must come in the same order everywhere, as `batches` and `from_packed` give it.

    Args:
        dataset: `(images, ratings)`, or `(images, target, weights)`, or dicts with `"ratings"`, in batches: what `batches`,
            `from_packed(batch_size=…)` or `fuse(…).batch(…)` gives.
        batch_size: of these batches, over all parts.
        num_shards: number of parts, which must divide `batch_size`.
        index: of the part, below `num_shards`.

    Returns:
        A dataset of as many batches, all of `batch_size / num_shards` cases.

    Raises:
        TypeError: something else than a dataset.
        ValueError: a size that does not divide, or a target that cannot say that nobody rated: votes, or a soft target
            without weights.

    >>> from keras_ordseg import data, datasets
    >>> arrays = datasets.ambiguous_shapes(5, size=16, num_raters=3)
    >>> parts = data.shard_batches(data.batches(arrays, batch_size=4), batch_size=4, num_shards=2, index=1)
    >>> [int((ratings.numpy() >= 0).any((1, 2, 3)).sum()) for _, ratings in parts]    # of 2 cases each
    [2, 0]
    """
    import tensorflow as tf

    if not isinstance(dataset, tf.data.Dataset):
        raise TypeError(f"dataset must be a tf.data.Dataset of batches, as data.batches gives it; came {dataset!r}")
    batch_size, num_shards = checked_integer("batch_size", batch_size, 1), checked_integer("num_shards", num_shards, 1)
    if batch_size % num_shards:
        raise ArgumentError("batch_size", f"a multiple of num_shards={num_shards}", repr(batch_size))
    if checked_integer("index", index) >= num_shards:
        raise ArgumentError("index", f"0 to num_shards - 1 = {num_shards - 1}", repr(index))
    place = _place_of_void(tf, dataset.element_spec)

    def part(*batch):
        batch = batch[0] if len(batch) == 1 else batch
        named = batch if isinstance(batch, dict) else dict(enumerate(batch))
        missing = batch_size - tf.shape(named[place])[0]
        first = {name: values[:1] for name, values in named.items()}
        first[place] = tf.zeros_like(first[place]) + (0 if place == 2 else -1)
        full = {
            name: tf.concat([values, tf.repeat(first[name], missing, axis=0)], axis=0)[index::num_shards]
            for name, values in named.items()
        }
        size = batch_size // num_shards
        full = {name: tf.ensure_shape(values, (size, *values.shape[1:])) for name, values in full.items()}
        return full if isinstance(batch, dict) else tuple(full.values())

    return dataset.map(part, num_parallel_calls=tf.data.AUTOTUNE)


def _place_of_void(tf, spec):
    """Where an element says that nobody rated: the name or number of the ratings or the weights."""
    named = spec if isinstance(spec, dict) else dict(enumerate(spec)) if isinstance(spec, tuple) else {}
    if any(values.shape.rank == 0 for values in named.values()):
        raise ValueError(f"dataset must be in batches; came {spec}")
    if len(named) == 3 and 2 in named:
        return 2
    place = "ratings" if "ratings" in named else 1
    if place in named and named[place].dtype == tf.int8:
        return place
    raise ValueError(
        "dataset must give (images, ratings) with ratings in int8, (images, target, weights), or dicts with 'ratings', "
        f"so that filled-up cases can be void; came {spec}"
    )
