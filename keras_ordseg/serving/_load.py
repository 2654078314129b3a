"""A `.keras` file to the model in it."""

import re
import zipfile
from pathlib import Path

import keras


def load_keras(file, argument):
    """The model of a `.keras` file, in safe mode; what it holds of code is not run.

    Args:
        file: Path of the file.
        argument: The name that errors use.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no `.keras` file, or Keras cannot load it, with what Keras says.

    >>> load_keras("calibrator.json", "--calibrator")
    Traceback (most recent call last):
    FileNotFoundError: --calibrator: there is no file calibrator.json; give a .keras file, as model.save writes it.
    """
    file = Path(file).expanduser()
    if not file.exists():
        raise FileNotFoundError(f"{argument}: there is no file {file}; give a .keras file, as model.save writes it.")
    if not file.is_file() or file.suffix != ".keras":
        raise ValueError(f"{argument}: expected a .keras file, as model.save('model.keras') writes it. Received: {file}.")
    if not zipfile.is_zipfile(file):
        raise ValueError(f"{argument}: {file} is no .keras file, or is cut short; save the model again with model.save.")
    try:
        return keras.saving.load_model(file, compile=False)
    except Exception as error:  # Keras raises many kinds
        raise ValueError(f"{argument}: {file} cannot be loaded. Keras says: {plain(error)}") from error


def plain(error):
    """What Keras says, on one line, without colours and the list of arguments behind.

    >>> plain(ValueError("Exception in X.call().\\n\\n\\x1b[1mno channels\\x1b[0m\\n\\nArguments received by X.call(): ..."))
    'Exception in X.call(). no channels'
    """
    text = str(error).split("Arguments received by")[0]
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).split())
