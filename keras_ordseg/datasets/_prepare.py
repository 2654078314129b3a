"""From raw files to a prepared dataset, for Python and for `keras-ordseg prepare`."""

from contextlib import contextmanager
from pathlib import Path

from keras_ordseg._checks import ArgumentError

NAMES = ("cocahis", "refuge_disc", "refuge_cup", "long_ciu", "lidc_idri", "ambiguous_shapes")


def prepare(
    name: str,
    data_dir: str | Path | None = None,
    manual_dir: str | Path | None = None,
    file_format: str | None = None,
    overwrite: bool = False,
):
    """Download or read the raw files of a dataset of `keras_ordseg.datasets`, check them, and write it.

    A dataset that is prepared already is left as it is. The files appear only when all is written.

    Args:
        name: `"long_ciu"`, or with a configuration `"long_ciu/ggo"`.
        data_dir: where prepared datasets are kept. Default: that of TensorFlow Datasets, `~/tensorflow_datasets`.
        manual_dir: the folder of raw files that you fetched yourself. Default: `<data_dir>/downloads/manual`.
        file_format: `"tfrecord"` (default), or `"array_record"` for random access without TensorFlow.
        overwrite: whether to prepare it anew.

    Returns:
        The `tfds.core.DatasetBuilder`: `.info`, `.as_dataset(split="train")`, `.data_path`.

    Raises:
        DataError: raw files that are missing, damaged or laid out in another way; lists all of them.
        ArgumentError: another name, or an unknown configuration.

    >>> from keras_ordseg import datasets
    >>> train = datasets.prepare("ambiguous_shapes/2d").as_dataset(split="train")  # doctest: +SKIP
    >>> datasets.prepare("long_ciu/lung")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    keras_ordseg._checks.ArgumentError: name: expected long_ciu with one of its configurations ...; got 'long_ciu/lung'
    """
    import tensorflow_datasets as tfds

    from keras_ordseg import datasets
    from keras_ordseg.data import DataError

    name, _, config = name.partition("/")
    if name not in NAMES:
        raise ArgumentError("name", f"one of {', '.join(NAMES)}, perhaps with a configuration", repr(name))
    cls = next(cls for cls in map(datasets.__getattr__, datasets.__all__[1:]) if getattr(cls, "name", "") == name)
    configs = list(cls.builder_configs)
    if config and config not in configs:
        expected = f"{name} with one of its configurations {', '.join(configs)}" if configs else f"{name} alone"
        raise ArgumentError("name", expected, repr(f"{name}/{config}"))
    if manual_dir is not None and not Path(manual_dir).is_dir():
        raise DataError(f"{manual_dir}: there is no such folder.\n{cls.MANUAL_DOWNLOAD_INSTRUCTIONS or ''}".strip())
    options = {"config": config or None, "data_dir": None if data_dir is None else str(data_dir)}
    download = tfds.download.DownloadConfig(manual_dir=None if manual_dir is None else str(manual_dir))
    with _set_aside(cls(**options).data_path, overwrite):
        builder = cls(**options)
        try:
            builder.download_and_prepare(download_config=download, file_format=file_format)
        except OSError as error:  # no network, no space
            raise DataError(
                f"{name} could not be prepared ({error}).\n{cls.MANUAL_DOWNLOAD_INSTRUCTIONS or ''}".strip()
            ) from error
    return builder


@contextmanager
def _set_aside(folder, wanted):
    """What was in `folder` comes back when something fails, and is deleted otherwise."""
    if not (wanted and folder.exists()):
        yield
        return
    old = folder.rename(folder.with_name(f".{folder.name}.old"))
    try:
        yield
    except BaseException:
        old.rename(folder)
        raise
    old.rmtree()


def listing() -> str:
    """The datasets and their configurations, as text."""
    from keras_ordseg import datasets

    lines = []
    for cls in map(datasets.__getattr__, datasets.__all__[1:]):
        if getattr(cls, "name", "") in NAMES:
            lines += [f"{cls.name:17} {cls.DESCRIPTION}"]
            lines += [f"{'':17} configurations: {', '.join(cls.builder_configs)}"] if cls.builder_configs else []
            lines += [f"{'':17} licence: {cls.LICENSE}"]
    return "\n".join(lines)


def summary(builder) -> str:
    """What a prepared dataset holds, where it is, whom to cite and how to go on, as text."""
    info = builder.info
    ratings = info.features["ratings"]
    splits = ", ".join(
        f"{name} {info.splits[name].num_examples}" for name in ("train", "validation", "test") if name in info.splits
    )
    name = info.full_name.rpartition("/")[0]
    lines = [
        f"{info.full_name}: {splits} cases, {ratings.num_raters} raters, {info.dataset_size}",
        f"Where:    {builder.data_path}",
        f"Licence:  {builder.LICENSE}",
    ]
    if builder.CITATION:
        lines += ["Citation:", *(f"  {line}" for line in builder.CITATION.splitlines())]
    return "\n".join(
        [
            *lines,
            "Next:",
            "  import keras_ordseg",
            f'  train = keras_ordseg.data.from_packed("{builder.data_path}", split="train", shuffle_seed=0)',
            "or:",
            "  import tensorflow_datasets as tfds, keras_ordseg.datasets",
            f'  train = tfds.load("{name}", split="train", data_dir="{builder.data_path.parents[name.count("/") + 1]}")',
        ]
    )
