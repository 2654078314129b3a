"""NumPy's own files: one array (.npy) or several by name (.npz). Pickled objects are never read."""

import functools
import zipfile

import numpy as np

from keras_ordseg.data._errors import DataError, checked_numbers, checked_volume, the_dataset

_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_TRIES = 100


def _undisturbed(read):
    """Reads again where another thread disturbed Python.

    A NumPy header is a Python literal. Up to Python 3.11.7 and 3.12.1, threads that parse literals at a time can
    throw each other off, which raises `SystemError` in the one that did nothing wrong (python/cpython#106905).
    """

    @functools.wraps(read)
    def reading(*args, **kwargs):
        for _ in range(_TRIES - 1):
            try:
                return read(*args, **kwargs)
            except SystemError:
                pass
        return read(*args, **kwargs)

    return reading


def lazy(file):
    """Whether a part can be read without the rest."""
    return file.suffix.lower() == ".npy"


def datasets(file):
    """The names of the arrays of an .npz file."""
    if lazy(file):
        return []
    with _archive(file) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def shape(file, dataset=""):
    return _header(file, dataset)[0]


@_undisturbed
def read(file, dataset="", index=()):
    """The values at `index`, as they are stored."""
    size = _header(file, dataset)[0]
    try:
        if lazy(file):
            return np.array(np.load(file, mmap_mode="r", allow_pickle=False)[index])
        checked_volume(size)
        with np.load(file, allow_pickle=False) as archive:
            return archive[the_dataset(archive.files, dataset)][index]
    except (DataError, SystemError):
        raise
    except Exception as error:  # NumPy, zipfile and zlib each raise their own for broken files
        raise DataError(f"cannot be read ({error}); the file is damaged or cut short") from None


@_undisturbed
def _header(file, dataset):
    """Shape and dtype, from the header alone."""
    if lazy(file):
        if dataset:
            raise DataError("is one array without names; leave out ::" + dataset)
        with file.open("rb") as stream:
            return _read_header(stream)
    with _archive(file) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        with archive.open(the_dataset(names, dataset) + ".npy") as stream:
            return _read_header(stream)


def _read_header(stream):
    try:
        version = np.lib.format.read_magic(stream)
        size, _, dtype = _READERS[version](stream)
    except SystemError:
        raise
    except Exception:  # as above
        raise DataError("is not a NumPy file, or is damaged") from None
    if dtype.hasobject:
        raise DataError(
            "holds Python objects (a pickle), which may run code when read; save plain numbers instead"
        )
    checked_numbers(dtype)
    return tuple(size), dtype


def _archive(file):
    try:
        return zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError):
        raise DataError("is not an .npz file, or is damaged or cut short") from None
