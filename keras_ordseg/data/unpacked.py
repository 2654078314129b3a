"""Packed storage, the reading: from records to cases in a TensorFlow graph."""

import os
from pathlib import Path

import numpy as np

from keras_ordseg.data._errors import DataError
from keras_ordseg.data.packed import INFO

_BUFFER_BYTES = 2**28


def from_packed(
    directory: str | Path,
    split: str | None = None,
    target: str = "ratings",
    shuffle_seed: int | None = None,
    epochs: int = 1,
    first_epoch: int = 0,
    buffer: int | None = None,
    batch_size: int | None = None,
):
    """Read a packed dataset, or one prepared by a builder of `keras_ordseg.datasets`, as a `tf.data.Dataset`.

    With `shuffle_seed` each epoch has its own order, a function of `(shuffle_seed, epoch)` alone: the files are
    permuted, read side by side, and their records shuffled in a buffer. So a run that stopped after epoch `e` goes
    on with `first_epoch=e + 1` (within an epoch: `.skip(n)` of the batches seen, or a `tf.train.Checkpoint` of
    the iterator). Without it the cases come as they are stored.

    All of it is a TensorFlow graph, so `tf.data.experimental.service.distribute` takes it.

    Args:
        directory: of `pack`, or `<data_dir>/<name>/<config>/<version>` of TensorFlow Datasets; `"gs://…"` and other paths
            that TensorFlow Datasets reads.
        split: `"train"`, …; may be left out where there is only one.
        target: `"ratings"` int8 `(*spatial, K)`, or `"votes"` int32 `(*spatial)` of complete panels, which skips
            the unpacking.
        shuffle_seed: 0 or above; None keeps the order.
        epochs: number of the last epoch, plus 1.
        first_epoch: number of the first epoch.
        buffer: cases in the shuffle buffer. Default: all, or as many as make 256 MiB of records.
        batch_size: decode so many cases together, which is faster than to decode each and `.batch` them. The last
            batch of an epoch may be smaller. The default, no batches, is what `fuse` and `level_frequencies` want.

    Returns:
        A dataset of known length, of dicts with `"image"` float32, `"ratings"` (or `"votes"`), `"id"`
        and `"group"`; of votes only also `"anonymous"`, True, as `load` has it.

    Raises:
        DataError: no such dataset; `"votes"` where raters are absent.
        ValueError: another split or target, epochs or `batch_size` below 1, a negative seed.

    >>> import tempfile
    >>> from keras_ordseg import data, datasets
    >>> arrays = datasets.ambiguous_shapes(5, size=16, num_raters=3)
    >>> directory = data.pack(arrays, tempfile.mkdtemp() + "/packed")
    >>> batches = data.from_packed(directory, target="votes", shuffle_seed=0, epochs=2, batch_size=3)
    >>> [batch["votes"].shape[0] for batch in batches]
    [3, 2, 3, 2]
    """
    import tensorflow as tf

    if target not in ("ratings", "votes"):
        raise ValueError(f"target must be 'ratings' or 'votes', came {target!r}")
    if not 0 <= first_epoch < epochs or (shuffle_seed is not None and shuffle_seed < 0):
        raise ValueError(
            f"epochs must be above first_epoch, and first_epoch and shuffle_seed 0 or more; came "
            f"epochs={epochs}, first_epoch={first_epoch}, shuffle_seed={shuffle_seed}"
        )
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more, came {batch_size}")
    info, part = _opened(directory, split)
    if target == "votes" and not info.metadata.get("complete", True):
        raise DataError(f"{directory}: raters are absent, and target='votes' needs all; read the ratings")
    files = np.array([os.fspath(file) for file in part.filepaths])
    if buffer is None:
        buffer = max(1, min(part.num_examples, _BUFFER_BYTES * part.num_examples // max(part.num_bytes, 1)))

    one, many = _decoders(info, target)

    def cases(names, seed):
        if shuffle_seed is None:
            records = tf.data.TFRecordDataset(names)
        else:
            records = tf.data.TFRecordDataset(names, num_parallel_reads=min(len(files), 16))
            # of this function's graph alone: the seed of the whole process would change the order, and 0 break it
            tf.compat.v1.set_random_seed(1)
            records = records.shuffle(buffer, seed=seed, reshuffle_each_iteration=False)
        if batch_size is None:
            return records
        if many is None:
            records = records.map(one, num_parallel_calls=tf.data.AUTOTUNE)
        return records.batch(batch_size)

    order, seeds = [], []
    for epoch in range(first_epoch, epochs):
        draws = np.random.default_rng([shuffle_seed or 0, epoch])
        order.append(files if shuffle_seed is None else draws.permutation(files))
        seeds.append(draws.integers(2**63))
    dataset = tf.data.Dataset.from_tensor_slices((order, seeds)).flat_map(cases)
    if batch_size is None or many is not None:
        decode = one if batch_size is None else many
        dataset = dataset.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
    length = -(-part.num_examples // (batch_size or 1)) * len(order)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(length))
    options = tf.data.Options()  # shuffle() holds a generator that it does not use, which a checkpoint would refuse
    options.experimental_external_state_policy = tf.data.experimental.ExternalStatePolicy.IGNORE
    return dataset.with_options(options)


def _decoders(info, target):
    """From one record to a dict, and from a batch of records, where that can be done together, or None."""
    import tensorflow as tf

    from keras_ordseg.data.features import DecodeVotes

    features, votes = info.features, target == "votes"
    anonymous, complete = info.metadata.get("anonymous", False), info.metadata.get("complete", False)

    def one(record):
        case = features.deserialize_example(record, decoders={"ratings": DecodeVotes()} if votes else None)
        case[target] = case.pop("ratings")
        return case | {"anonymous": tf.constant(True)} if anonymous else case

    def many(records):
        stored = tf.io.parse_example(records, dict.fromkeys(features, tf.io.FixedLenFeature([], tf.string)))
        batch = {name: stored[name] for name in ("id", "group")}
        batch["image"] = features["image"].decode_cases(stored["image"])
        batch[target] = features["ratings"].decode_cases(stored["ratings"], votes, complete)
        return batch | {"anonymous": tf.ones_like(batch["id"], tf.bool)} if anonymous else batch

    packed = set(features) == {"image", "ratings", "id", "group"}  # a builder may have more
    return one, many if packed and all(features[name].can_decode_batch for name in ("image", "ratings")) else None


def _opened(directory, split):
    """The `DatasetInfo` and the split, once it is certain that they hold multi-rater cases as TFRecord."""
    import tensorflow_datasets as tfds

    directory = tfds.core.Path(directory)
    if not (directory / INFO).is_file():
        local = [] if "://" in str(directory) else Path(directory).glob(f"**/{INFO}")  # a bucket may be large
        inside = sorted(file.parent for file in local)[:5]
        hint = f"; there are {', '.join(map(str, inside))}" if inside else "; data.pack writes one"
        raise DataError(f"{directory}: no packed dataset ({INFO}) is here{hint}")
    info = tfds.builder_from_directory(directory).info
    if missing := {"image", "ratings"} - set(info.features):
        raise DataError(f"{directory}: its cases have no {' and no '.join(sorted(missing))}")
    if info.file_format.value != "tfrecord":
        raise DataError(
            f"{directory}: is {info.file_format.value}, which tf.data does not read; use "
            "tfds.builder_from_directory(directory).as_data_source(), or pack with file_format='tfrecord'"
        )
    names = list(info.splits)
    if split is None and len(names) == 1:
        split = names[0]
    if split not in names:
        raise ValueError(f"split must be one of {', '.join(map(repr, names))}, came {split!r}")
    part = info.splits[split]
    if lost := [str(file) for file in part.filepaths if not tfds.core.Path(file).is_file()]:
        raise DataError.listing((f"{file} is missing" for file in lost), str(directory))
    return info, part
