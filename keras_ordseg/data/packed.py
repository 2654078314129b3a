"""Packed storage, the writing: image and ratings of each case in one record."""

import os
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from keras_ordseg.data._bits import plane_dtype
from keras_ordseg.data._survey import rows_of, survey

_SHARD_BYTES = 2**28
INFO = "dataset_info.json"
_SPLIT = "cases"  # TFDS reserves "all"


def pack(
    cases,
    directory: str | Path,
    shards: int | None = None,
    image_dtype: str = "auto",
    compress: bool = False,
    file_format: str = "tfrecord",
    size=None,
    fit: str = "crop",
    overwrite: bool = False,
    progress: bool = False,
) -> Path:
    """Write cases as a packed dataset: one record a case, decoded without opening K+1 image files.

    The ratings become bits: one number a pixel for the marks of up to 16 raters, and, only in cases where a
    rating is -1, a second for who did not rate that pixel. The image keeps its own width, so 8-bit images take a
    byte a value. Reading gives back the same float32 and int8 values, bit for bit, unless `image_dtype` says
    `"float16"`.

    The cases are read twice: once to find every problem, before anything is written, and once to write. They are
    read one at a time, so a set may be larger than memory. The files appear in `directory` only when all is
    written; in a bucket, `dataset_info.json`, without which it is no dataset, comes last. It is a TensorFlow
    Datasets directory: `tfds.builder_from_directory` reads it too.

    Args:
        cases: a dict of arrays with `"image"` and `"ratings"`, as `load` returns it; what `cases` returns; or a
            `tf.data.Dataset` or list of dicts, one a case. `"id"` and `"group"` are kept, other entries are not.
            Cases may differ in size.
        directory: where to put it. It must not exist, unless `overwrite`. `"gs://…"` and other paths that
            TensorFlow Datasets writes to: it is written to a temporary folder here, and then copied.
        shards: number of files, at most the number of cases. Default: 8, or more where a file would
            exceed 256 MiB.
        image_dtype: `"uint8"`, `"uint16"`, `"float16"` or `"float32"`. `"auto"` is the first of `"uint8"`,
            `"uint16"` and `"float32"` that loses nothing.
        compress: zlib: a half to a tenth of the size, slower to read.
        file_format: `"tfrecord"`, or `"array_record"` for random access through
            `tfds.builder_from_directory(directory).as_data_source("cases")`, without TensorFlow.
        size, fit: see `load`; for what `cases` returns.
        overwrite: whether to replace an earlier packed dataset there.
        progress: whether to count on the standard error stream.

    Returns:
        The directory.

    Raises:
        DataError: values that cannot be trained on, cases that do not go together, or an image that
            `image_dtype` would change; lists every problem.
        FileExistsError: `directory` exists.
        ValueError: another argument out of its range.

    >>> import tempfile
    >>> from keras_ordseg import data, datasets
    >>> directory = tempfile.mkdtemp() + "/packed"
    >>> _ = data.pack(datasets.ambiguous_shapes(4, size=16, num_raters=3), directory, shards=2)
    >>> for case in data.from_packed(directory).take(1):
    ...     print(case["image"].shape, case["ratings"].shape, case["id"].numpy())
    (16, 16, 1) (16, 16, 3) b'0000'
    """
    import tensorflow_datasets as tfds

    from keras_ordseg.data.features import Ratings, UnitImage

    remote = "://" in os.fspath(directory)
    directory = tfds.core.Path(directory) if remote else Path(directory).absolute()
    _check_target(directory, overwrite)
    if file_format not in ("tfrecord", "array_record"):
        raise ValueError(f"file_format must be 'tfrecord' or 'array_record', came {file_format!r}")
    if shards is not None and shards < 1:
        raise ValueError(f"shards must be 1 or more, came {shards}")
    read = rows_of(cases, size, fit)
    found = survey(_counted(read(), "checking", progress), image_dtype)
    encoding = "zlib" if compress else "bytes"
    features = tfds.features.FeaturesDict(
        {
            "image": UnitImage(shape=found.image_shape, stored=found.image_dtype, encoding=encoding),
            "ratings": Ratings(shape=found.ratings_shape, encoding=encoding),
            "id": tfds.features.Text(),
            "group": tfds.features.Text(),
        }
    )
    width = plane_dtype(found.num_raters)().itemsize * (1 if found.complete else 2)
    total = found.values * np.dtype(found.image_dtype).itemsize + found.pixels * width
    shards = shards or max(8, -(-total // _SHARD_BYTES))
    with (_copied if remote else _replaced)(directory, overwrite) as folder:
        identity = tfds.core.dataset_info.DatasetIdentity(
            name="packed", version="1.0.0", data_dir=str(folder), module_name=__name__
        )
        info = tfds.core.DatasetInfo(
            builder=identity,
            description="Images and several experts' masks, packed by keras_ordseg.",
            features=features,
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(
                num_raters=found.num_raters, complete=found.complete, anonymous=found.anonymous
            ),
        )
        per_shard = -(-found.count // min(shards, found.count))
        writer = tfds.core.SequentialWriter(info, per_shard, file_format=file_format)
        writer.initialize_splits([_SPLIT])
        rows = _counted(read(), "packing", progress, found.count)
        writer.add_examples({_SPLIT: ({name: row[name] for name in features} for row in rows)})
        writer.close_all()
    return directory


def _counted(rows, what, progress, total=None):
    for done, row in enumerate(rows, 1):
        yield row
        if progress:
            of = f"/{total}" if total else ""
            print(f"\r{what} {done}{of}", end="", file=sys.stderr, flush=True)
    if progress:
        print(file=sys.stderr)


def _check_target(directory, overwrite):
    if not directory.exists():
        return
    if not overwrite:
        raise FileExistsError(f"{directory} exists; give overwrite=True to replace it")
    if not (directory / INFO).is_file():
        raise FileExistsError(f"{directory} is no packed dataset, so it is not replaced; delete it yourself")


@contextmanager
def _replaced(directory, overwrite):
    """A folder beside `directory` that takes its place when all went well, and is gone otherwise."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{directory.name}-", dir=directory.parent) as folder:
        new, old = Path(folder, "new"), Path(folder, "old")
        new.mkdir()
        yield new
        _check_target(directory, overwrite)  # it may have appeared meanwhile
        if directory.exists():
            directory.rename(old)
        try:
            new.rename(directory)
        except OSError:
            if old.exists():
                old.rename(directory)
            raise


@contextmanager
def _copied(directory, overwrite):
    """A folder here that is copied to a bucket, where nothing can be renamed at once, when all went well."""
    import tensorflow_datasets as tfds

    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)
        _check_target(directory, overwrite)
        if directory.exists():
            (directory / INFO).unlink()  # from here on it is no dataset
            directory.rmtree()
        directory.mkdir(parents=True, exist_ok=True)
        for file in sorted(Path(folder).iterdir(), key=lambda file: (file.name == INFO, file.name)):
            tfds.core.Path(file).copy(directory / file.name)
