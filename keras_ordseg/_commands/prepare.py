"""`keras-ordseg prepare`: write a public data set as a TensorFlow dataset."""

from functools import partial

from keras_ordseg._commands import flags, refuse


def add(commands):
    """Adds the command to the parser."""
    prepare = commands.add_parser(
        "prepare",
        help="write a public data set as a TensorFlow dataset",
        description="Downloads or reads the raw files of a data set, checks them, and writes them as a TensorFlow "
        "dataset. Without NAME: what there is.",
    )
    add = prepare.add_argument
    add("name", nargs="?", metavar="NAME", help="long_ciu, or with a configuration long_ciu/ggo")
    add("--data-dir", metavar="FOLDER", help="of prepared datasets; default: ~/tensorflow_datasets")
    add("--manual-dir", metavar="FOLDER", help="of raw files that you fetched yourself")
    add("--format", choices=("tfrecord", "array_record"), help="of the records, default tfrecord")
    add("--overwrite", action="store_true", help="prepare it anew")
    prepare.set_defaults(command=partial(_run, flags(prepare)))


def _run(spelling, arguments) -> int:
    from keras_ordseg.datasets import _prepare as datasets

    if arguments.name is None:
        print(datasets.listing())
        return 0
    try:
        builder = datasets.prepare(
            arguments.name, arguments.data_dir, arguments.manual_dir, arguments.format, arguments.overwrite
        )
    except (ValueError, OSError, ImportError) as error:
        return refuse(error, spelling)
    print(datasets.summary(builder))
    return 0
