"""The folder of results."""

import tempfile


def writable(folder, argument):
    """Makes the folder where it is missing, and makes sure that files can be written there.

    Args:
        folder: `pathlib.Path`.
        argument: The name that the error uses.

    Raises:
        OSError: Of the kind that the system raised, with the argument and what to do.

    >>> from pathlib import Path
    >>> writable(Path(tempfile.gettempdir()), "output")
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise type(error)(
            f"{argument}: expected a folder that can be made and written to. '{folder}' cannot ({error.strerror}); take "
            "another place, or change its permissions."
        ) from None
