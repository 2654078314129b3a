"""The folder of results."""

import tempfile

from keras_ordseg._checks import PathError


def writable(folder, argument):
    """Makes the folder where it is missing, and makes sure that files can be written there.

    Args:
        folder: `pathlib.Path`.
        argument: The name that the error uses.

    Raises:
        PathError: With what the system says.

    >>> from pathlib import Path
    >>> writable(Path(tempfile.gettempdir()), "output")
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        got = f"'{folder}', which cannot ({error.strerror})"
        remedies = ("take another place", "change its permissions")
        raise PathError(argument, "a folder that can be made and written to", got, *remedies) from None
