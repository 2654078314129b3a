"""`keras-ordseg export`: a trained model as the next version for TensorFlow Serving."""

import re
import sys

from keras_ordseg._commands import numbers


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
    export.set_defaults(command=_run)


def _run(arguments) -> int:
    from keras_ordseg import serving
    from keras_ordseg.serving._load import load_keras

    names = ("spacing", "review_threshold", "max_pixels", "multiple", "dtype")
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    try:
        if arguments.card is not None:
            given["card"] = _card(arguments.card)
        calibrator = None if arguments.calibrator is None else load_keras(arguments.calibrator, "--calibrator")
        model = load_keras(arguments.model, "MODEL.keras")
        version = serving.export(model, arguments.output, calibrator, **given)
    except (ValueError, TypeError, OSError, RuntimeError, ImportError) as error:
        print(f"keras-ordseg: {re.sub('^directory:', '--output:', str(error))}", file=sys.stderr)
        return 2
    print(f"Export: {version} (TensorFlow Serving)")
    return 0


def _card(file):
    """The fields of a JSON file."""
    import json
    from pathlib import Path

    try:
        return json.loads(Path(file).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"--card: there is no file {file}; give a JSON file with your fields, or leave it out.") from None
    except OSError as error:
        raise ValueError(f"--card: {file} cannot be read ({error.strerror}); give a JSON file with your fields.") from None
    except ValueError as error:
        raise ValueError(f"--card: {file} is not JSON ({error}).") from None
