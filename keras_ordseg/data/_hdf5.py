"""Datasets of an HDF5 file, by their names."""

import numpy as np

from keras_ordseg.data._errors import DataError, checked_numbers, checked_volume, the_dataset


def lazy(file):
    """Whether a part can be read without the rest."""
    return True


def datasets(file):
    """The names of all datasets of numbers, with their groups."""
    with _opened(file) as content:
        return _names(content)


def shape(file, dataset=""):
    with _opened(file) as content:
        return _dataset(content, dataset).shape


def read(file, dataset="", index=()):
    """The values at `index`, as they are stored."""
    with _opened(file) as content:
        found = _dataset(content, dataset)
        if index in ((), (...,)):
            checked_volume(found.shape)
        try:
            return np.asarray(found[index])
        except (OSError, ValueError) as error:
            raise DataError(f"dataset {found.name} cannot be read ({error}); the file is damaged") from None


def _dataset(content, dataset):
    found = content[the_dataset(_names(content), dataset)]
    if found.external or found.is_virtual:  # or a data set could read any file of this machine
        raise DataError(f"dataset {found.name} keeps its values in other files; copy them into this one")
    checked_numbers(found.dtype)
    return found


def _names(content):
    names = []
    content.visititems(lambda name, item: names.append(name) if hasattr(item, "dtype") else None)
    return names


def _opened(file):
    try:
        import h5py
    except ImportError:
        raise ImportError('HDF5 files need h5py: pip install "keras_ordseg[medical]"') from None
    try:
        return h5py.File(file, "r")
    except OSError as error:
        raise DataError(f"cannot be read as HDF5 ({error}); the file is damaged or cut short") from None
