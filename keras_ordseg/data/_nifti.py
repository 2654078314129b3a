"""NIfTI volumes: values in the order of the file, with their affine and the spacing of their voxels."""

from dataclasses import replace

import numpy as np

from keras_ordseg.data._errors import DataError, checked_numbers, checked_volume
from keras_ordseg.data._grids import checked_grid

_DEFLATE = 1032  # no deflate stream unpacks to more than this many times its size


def lazy(file):
    """Whether a part can be read without the rest."""
    return file.suffix.lower() == ".nii"


def datasets(file):
    return []


def shape(file, dataset=""):
    """`(X, Y, Z)` or `(X, Y, Z, channels)`; a third axis of 1 is left out, as a single slice has it."""
    full = _opened(file, dataset).shape
    return tuple(side for axis, side in enumerate(full) if axis not in _dropped(full))


def read(file, dataset="", index=()):
    """The values at `index` with the file's scale and intercept, in the file's order of axes."""
    image = _opened(file, dataset)
    if not lazy(file):
        checked_volume(image.shape)
    try:
        if lazy(file) and index not in ((), (...,)):
            return np.asarray(image.dataobj[_full_index(index, image.shape)])
        values = np.asanyarray(image.dataobj)
    except Exception as error:  # gzip, zlib and nibabel each raise their own for broken files
        raise DataError(f"cannot be read ({error}); the file is damaged or cut short") from None
    return values.squeeze(_dropped(image.shape))[index]


def geometry(file):
    """The `Grid` of the first three axes.

    Raises:
        DataError: an affine that no voxels can lie on.
    """
    image = _opened(file, "")
    zooms = [float(zoom) for zoom in image.header.get_zooms()[:3]]
    grid = checked_grid(image.affine, np.array(zooms + [1.0] * (3 - len(zooms))), image.shape)
    return replace(grid, other=_other(image, grid))


def _other(image, grid):
    """The affine of the qform where it is coded beside the sform and disagrees, or None."""
    if not hasattr(image, "get_qform"):
        return None
    try:
        qform, code = image.get_qform(coded=True)
        ours = code and image.get_sform(coded=True)[1]
    except Exception:  # nibabel on quaternions that are none
        return None
    return qform if ours and not grid.apart(qform) <= grid.limit else None


def _dropped(full):
    """The axes of 1 that are left out: the third, and the fourth (time) before channels."""
    return tuple(axis for axis in (2, 3) if (axis == 2 or len(full) == 5) and len(full) > axis and full[axis] == 1)


def _full_index(index, full):
    """`index` of the array without some axes of 1, for the array with them."""
    dropped = _dropped(full)
    at = index.index(...)
    missing = len(full) - len(dropped) - (len(index) - 1)
    index = iter(index[:at] + (slice(None),) * missing + index[at + 1 :])
    return tuple(0 if axis in dropped else next(index) for axis in range(len(full)))


def _opened(file, dataset):
    try:
        import nibabel
    except ImportError:
        raise ImportError('NIfTI files need nibabel: pip install "keras_ordseg[medical]"') from None
    if dataset:
        raise DataError("is one volume without names; leave out ::" + dataset)
    try:
        image = nibabel.load(file)
        dtype = image.get_data_dtype()
        size = np.prod(image.shape, dtype=float) * dtype.itemsize
    except Exception as error:
        raise DataError(f"cannot be read as NIfTI ({error}); the file is damaged or cut short") from None
    if len(image.shape) < 2:
        raise DataError(f"has shape {image.shape} where two axes or more are expected")
    checked_numbers(dtype)
    if size > file.stat().st_size * (1 if lazy(file) else _DEFLATE):
        raise DataError(
            f"its header speaks of {'x'.join(map(str, image.shape))} voxels, more than the file can hold; "
            "it is damaged or cut short"
        )
    return image
