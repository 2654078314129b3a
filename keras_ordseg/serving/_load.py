"""A `.keras` file to the model in it."""

import re
import zipfile
from pathlib import Path

import keras

from keras_ordseg._checks import ArgumentError, PathError

_EXPECTED = "a .keras file, as model.save writes it"


def load_keras(file, argument):
    """The model of a `.keras` file, in safe mode; what it holds of code is not run.

    Args:
        file: Path of the file.
        argument: The name that errors use.

    Raises:
        PathError: If there is no such file.
        ArgumentError: If it is no `.keras` file, or Keras cannot load it, with what Keras says.

    >>> load_keras("a.keras", "model")
    Traceback (most recent call last):
    keras_ordseg._checks.PathError: model: expected a .keras file, as model.save writes it; got a.keras, which is not there
    """
    file = Path(file).expanduser()
    if not file.exists():
        raise PathError(argument, _EXPECTED, f"{file}, which is not there")
    if not file.is_file() or file.suffix != ".keras":
        raise ArgumentError(argument, _EXPECTED, f"{file}")
    if not zipfile.is_zipfile(file):
        raise ArgumentError(argument, _EXPECTED, f"{file}, which is none or is cut short", "save the model again")
    try:
        return keras.saving.load_model(file, compile=False)
    except Exception as error:  # Keras raises many kinds
        got = f"{file}, which cannot be loaded. Keras says: {plain(error).rstrip('.')}"
        raise ArgumentError(argument, _EXPECTED, got) from error


def plain(error):
    """What Keras says, on one line, without colours and the list of arguments behind.

    >>> plain(ValueError("Exception in X.call().\\n\\n\\x1b[1mno channels\\x1b[0m\\n\\nArguments received by X.call(): ..."))
    'Exception in X.call(). no channels'
    """
    text = str(error).split("Arguments received by")[0]
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).split())
