"""`keras-ordseg export`: a trained model as the next version for TensorFlow Serving."""

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
    add("--calibrator", metavar="FILE.keras", help="a fitted calibrator, saved as a model from logits to logits")
    add("--spacing", type=numbers(float), metavar="A,B", help="mm between pixels on each axis; default: areas in pixels")
    add("--review-threshold", type=float, metavar="SHARE", help="disputed share that flags an image, default 0.5")
    add("--card", metavar="FILE.json", help="your fields of the model card: data, licence, metrics …")
    add("--max-pixels", type=int, metavar="N", help="of the files of one request, default 67108864")
    add("--multiple", type=int, metavar="N", help="of the sides of images; default: the stride of the model")
    add("--dtype", choices=("float32",), help="rebuild a model of half precision in float32")
    export.set_defaults(command=_run)


def _run(arguments) -> int:
    import json
    from pathlib import Path

    from keras_ordseg import serving

    names = ("spacing", "review_threshold", "max_pixels", "multiple", "dtype")
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    try:
        if arguments.card is not None:
            try:
                given["card"] = json.loads(Path(arguments.card).read_text(encoding="utf-8"))
            except ValueError as error:
                raise ValueError(f"--card: {arguments.card} is not JSON ({error}).") from None
        calibrator = None if arguments.calibrator is None else _loaded(arguments.calibrator)
        version = serving.export(_loaded(arguments.model), arguments.output, calibrator, **given)
    except (ValueError, TypeError, OSError, RuntimeError, ImportError) as error:
        print(f"keras-ordseg: {error}", file=sys.stderr)
        return 2
    print(f"Export: {version} (TensorFlow Serving)")
    return 0


def _loaded(file):
    from pathlib import Path

    import keras

    if not Path(file).is_file() or Path(file).suffix != ".keras":
        raise ValueError(f"{file}: expected a .keras file, as model.save('model.keras') writes it.")
    return keras.saving.load_model(file, compile=False)
