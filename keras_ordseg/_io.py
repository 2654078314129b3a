"""A file or a folder appears whole, or what was there stays."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def in_place(target: str | Path) -> Iterator[Path]:
    """Gives a path to write a file or a folder to, which takes the place of `target` at the end.

    It lies beside the target, on the same disk. After an error, in the block or while the names change, whatever was at
    `target` is there as before. Where even the way back fails, the error says under which name the earlier one is.

    Args:
        target: The file or folder. Its parent folder is made where it is missing.

    Yields:
        A path at which nothing is yet; write a file or make a folder there.

    Raises:
        OSError: If the names cannot be changed.

    >>> folder = Path(tempfile.mkdtemp())
    >>> with in_place(folder / "page.html") as path:
    ...     _ = path.write_text("hello")
    >>> [file.name for file in folder.iterdir()]
    ['page.html']
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
    new, earlier = scratch / target.name, scratch / "earlier"
    keep = False
    try:
        yield new
        if target.is_symlink() or not target.is_dir():
            os.replace(new, target)
            return
        os.replace(target, earlier)  # a folder cannot be renamed over another that holds anything
        try:
            os.replace(new, target)
        except BaseException:
            keep = True
            _put_back(earlier, target)
            keep = False
            raise
    finally:
        if not keep:
            shutil.rmtree(scratch, ignore_errors=True)


def _put_back(earlier, target):
    try:
        os.replace(earlier, target)
    except OSError as error:
        text = f"{target} could not be replaced, and what was there is now at {earlier} ({error.strerror})"
        raise OSError(text) from error
