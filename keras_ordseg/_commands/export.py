"""`keras-ordseg export`: a trained model as the next version for TensorFlow Serving."""

from functools import partial

from keras_ordseg._commands import flags, numbers, refuse


def add(commands):
    """Adds the command to the parser."""
    export = commands.add_parser(
        "export",
        help="write a trained model for TensorFlow Serving",
        description="Writes a trained model as FOLDER/<next version>/: a SavedModel that needs neither Keras nor this "
        "package, its warm-up requests and its model card.",
    )
    add = export.add_argument
    add("model", metavar="MODEL.keras", help="a saved model; what it holds of code is not run (safe mode)")
    add("--output", required=True, metavar="FOLDER", help="the folder of the served model")
    add("--calibrator", metavar="FILE.keras", help="a calibrator saved as a model; none for what calibration.attach gave")
    add("--spacing", type=numbers(float), metavar="A,B", help="mm between pixels on each axis; default: areas in pixels")
    add("--review-threshold", type=float, metavar="SHARE", help="disputed share that flags an image, default 0.5")
    add("--card", metavar="FILE.json", help="your fields of the model card: data, licence, metrics …")
    add("--max-pixels", type=int, metavar="N", help="of the files of one request, default 67108864")
    add("--multiple", type=int, metavar="N", help="of the sides of images; default: the stride of the model")
    add("--dtype", choices=("float32",), help="rebuild a model of half precision in float32")
    export.set_defaults(command=partial(_run, flags(export, directory="output")))


def _run(spelling, arguments) -> int:
    from keras_ordseg import serving
    from keras_ordseg.serving._load import load_keras

    names = ("spacing", "review_threshold", "max_pixels", "multiple", "dtype")
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    try:
        if arguments.card is not None:
            given["card"] = _card(arguments.card)
        calibrator = None if arguments.calibrator is None else load_keras(arguments.calibrator, "calibrator")
        model = load_keras(arguments.model, "model")
        version = serving.export(model, arguments.output, calibrator, **given)
    except (ValueError, TypeError, OSError, RuntimeError, ImportError) as error:
        return refuse(error, spelling)
    print(f"Export: {version} (TensorFlow Serving)")
    return 0


def _card(file):
    """The fields of a JSON file."""
    import json
    from pathlib import Path

    from keras_ordseg._checks import ArgumentError

    try:
        return json.loads(Path(file).read_text(encoding="utf-8"))
    except FileNotFoundError:
        got = f"{file}, which is not there"
    except OSError as error:
        got = f"{file}, which cannot be read ({error.strerror})"
    except ValueError as error:
        got = f"{file}, which is not JSON ({error})"
    raise ArgumentError("card", "a JSON file with your fields", got, "leave it out if there are none")
