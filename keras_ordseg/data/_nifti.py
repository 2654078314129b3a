"""NIfTI volumes: values in the order of the file, with their affine and the spacing of their voxels."""

import numpy as np

from keras_ordseg.data._errors import DataError, checked_numbers, checked_volume

_DEFLATE = 1032  # no deflate stream unpacks to more than this many times its size


def lazy(file):
    """Whether a part can be read without the rest."""
    return file.suffix.lower() == ".nii"


def datasets(file):
    return []


def shape(file, dataset=""):
    """`(X, Y, Z)` or `(X, Y, Z, channels)`; a third axis of 1 is left out, as a single slice has it."""
    full = _opened(file, dataset).shape
    return full[:2] + full[3:] if _flat(full) else full


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
    return (values[:, :, 0] if _flat(image.shape) else values)[index]


def geometry(file):
    """The affine `(4, 4)` from voxel to world, and the spacing of the first three axes."""
    image = _opened(file, "")
    zooms = [float(zoom) for zoom in image.header.get_zooms()[:3]]
    return np.asarray(image.affine, np.float64), np.array(zooms + [1.0] * (3 - len(zooms)))


def compare(image, mask):
    """Why a mask does not lie on its image, or None; both as `geometry` gives them."""
    (one, spacing), (other, mask_spacing) = image, mask
    tolerance = 1e-3 * spacing.min()
    if np.allclose(one, other, rtol=0, atol=tolerance):
        return None
    import nibabel

    codes = ["".join(nibabel.aff2axcodes(affine)) for affine in (other, one)]
    if codes[0] != codes[1]:
        what = f"its axes point {codes[0]}, those of its image {codes[1]}"
    elif not np.allclose(spacing, mask_spacing, rtol=0, atol=tolerance):
        what = f"its voxels are {_sides(mask_spacing)}, those of its image {_sides(spacing)}"
    else:
        what = f"it lies elsewhere: origin {_triple(other[:3, 3])}, that of its image {_triple(one[:3, 3])}"
    return f"another affine than its image: {what}; resample the mask to the image, or mend its header"


def _triple(numbers):
    return "(" + ", ".join(f"{number:g}" for number in numbers) + ")"


def _sides(numbers):
    return "x".join(f"{number:.4g}" for number in numbers)


def _flat(full):
    return len(full) > 2 and full[2] == 1


def _full_index(index, full):
    """`index` of the array without its third axis of 1, for the array with it."""
    if not _flat(full):
        return index
    taken = len(index) - 1  # but for the ellipsis
    at = index.index(...)
    index = index[:at] + (slice(None),) * (len(full) - 1 - taken) + index[at + 1 :]
    return index[:2] + (0,) + index[2:]


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
