"""`keras-ordseg benchmark`: train, evaluate, compare, report, export."""

import argparse
from functools import partial

from keras_ordseg._commands import flags, methods, numbers, refuse, typed, window


def add(commands):
    """Adds the command to the parser."""
    from keras_ordseg.benchmark.settings import Settings, describe_methods
    from keras_ordseg.models.decoders import DECODERS

    default = Settings()
    bench = commands.add_parser(
        "benchmark",
        help="train, evaluate, compare, report, export",
        description="Trains each method on the same data and network, evaluates them on images of other patients, and "
        "writes a report, the models and an export for TensorFlow Serving into a run folder.",
        epilog="methods:\n" + describe_methods(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    def add(*flags, **options):
        if options.get("default") is not None:
            options["help"] += f", default {options['default']}"
        bench.add_argument(*flags, **{**options, "default": argparse.SUPPRESS})  # what is not given is not in the result

    bench.add_argument("--output", required=True, metavar="FOLDER", help="the run folder")
    bench.add_argument("--overwrite", action="store_true", help="delete an earlier run there")
    bench.add_argument(
        "--resume",
        action="store_true",
        help="continue an earlier run there; --methods and --seeds may list more than it had",
    )
    bench.add_argument(
        "--processes", type=int, default=1, metavar="N", help="trainings at a time, default %(default)s"
    )
    bench.add_argument(
        "--config", metavar="FILE", help="a YAML file of settings by name, with a grid of methods and several data sets"
    )
    add(
        "--data",
        metavar="FOLDER",
        help="images and masks, a CSV file of them, or tfds:NAME for a prepared public data set; default: the embedded "
        "AmbiguousShapes",
    )
    add("--data-dir", metavar="FOLDER", help="where prepared data sets are, see keras-ordseg prepare")
    add("--image", default=default.image, metavar="PATTERN", help="image files")
    add("--ratings", default=default.ratings, metavar="PATTERN", help="mask files")
    add("--label", type=numbers(int), metavar="A,B", help="values of the masks that are a mark")
    add("--void", type=numbers(int), metavar="A,B", help="values of the masks that mean: did not rate")
    add("--window", type=window, metavar="LO,HI", help="values of the images that become 0 and 1, or 1%%,99%%")
    add("--outside", action="store_true", help="the files of a CSV may lie outside its folder")
    add("--size", type=int, metavar="PIXELS", help="cut (or --fit resize) the images to this side")
    add("--fit", choices=("crop", "resize"), default=default.fit, help="how images come to --size")
    add("--images", type=int, metavar="N", help="use at most N images (embedded data: generate N, default 320)")
    add("--raters", type=int, default=default.raters, metavar="K", help="of the embedded data")
    add("--methods", type=methods, metavar="A,B", help="default majority_bce,hybrid; see below")
    add("--seeds", type=numbers(int), metavar="0,1", help="a training for each, default 0")
    add("--epochs", type=int, default=default.epochs, help="of each training")
    add("--batch-size", type=int, default=default.batch_size, help="images a step")
    add("--learning-rate", type=float, default=default.learning_rate, help="where the cosine starts")
    add("--decoder", choices=tuple(DECODERS), default=default.decoder, help="of the network")
    add("--filters", type=numbers(int), metavar="A,B", help="of the backbone's scales, default 8,16,32,64")
    add("--dropout", type=float, default=default.dropout, help="before the head")
    add("--no-augment", dest="augment", action="store_false", help="no flips, turns, brightness and contrast")
    add("--fractions", type=numbers(float), metavar="A,B,C", help="train, validation, test, default 0.6,0.15,0.25")
    add("--train-images", type=int, metavar="N", help="train on at most N images")
    add("--train-raters", type=int, metavar="N", help="train on the answers of N raters of each image")
    add("--test-data", metavar="FOLDER", help="test on all images of another folder")
    add("--folds", type=int, metavar="N", help="cross-validation: test every image once, in N trainings of each method")
    add("--split-seed", type=int, default=default.split_seed, help="of the split")
    add("--band", type=int, default=default.band, metavar="PIXELS", help="near a mark")
    add("--resamples", type=int, default=default.resamples, help="of the bootstrap")
    add("--citation", help="of the data set, for the report")
    bench.set_defaults(command=partial(_run, flags(bench, name="data")))


def _run(spelling, arguments) -> int:
    from dataclasses import fields
    from pathlib import Path

    from keras_ordseg import benchmark
    from keras_ordseg._checks import ArgumentError, Setting
    from keras_ordseg.benchmark._report import text_table
    from keras_ordseg.benchmark._sensitivity import write_sensitivity
    from keras_ordseg.benchmark._workers import check_processes

    output = Path(arguments.output)
    given = {f.name: getattr(arguments, f.name) for f in fields(benchmark.Settings) if hasattr(arguments, f.name)}
    try:
        check_processes(arguments.processes)
        if arguments.config is None:
            runs = {output: benchmark.Settings(**given)}
        elif given:
            named = ", ".join(spelling(Setting(name)) for name in given)
            raise ArgumentError("config", "no flag of a setting beside it", named, "leave it out", "write it into the file")
        else:
            spelling = partial(_in_yaml, spelling)
            runs = benchmark.read_grid(arguments.config)
            runs = {output / name if len(runs) > 1 else output: settings for name, settings in runs.items()}
        started = benchmark.start(runs, arguments.overwrite, arguments.resume)
    except (ValueError, OSError, ImportError) as error:  # before training, these are the user's to mend
        return refuse(error, spelling)
    for folder, settings, prepared in started:
        try:
            results = benchmark.finish(settings, prepared, folder, processes=arguments.processes)
        except benchmark.TrainingError as error:
            return refuse(error, spelling, code=1)
        print(text_table(results))
        print(f"\nReport:   {folder / 'report.html'}")
        print(f"Pictures: {folder / 'figures'}")
        of = f"TensorFlow Serving; {results['export']['label']}"
        print(f"Export:   {folder / results['export']['path']} ({of})")
    sensitivity = write_sensitivity(output, runs) if len(runs) > 1 else None
    if sensitivity is not None:
        print(f"\nRuns that differ in a number: {sensitivity}")
    return 0


def _in_yaml(spelling, setting):
    """A setting of the file by its name there, other arguments as flags."""
    from keras_ordseg.benchmark import Settings

    if setting.name not in Settings.__dataclass_fields__:
        return spelling(setting)
    value = setting.value if setting.flag_value is None else setting.flag_value
    return f"{setting.name}: {typed(value)}" if value else setting.name
