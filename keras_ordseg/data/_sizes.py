"""Bring an image or a mask to a given size."""

from collections.abc import Sequence
from numbers import Integral

import numpy as np
from PIL import Image

_FITS = ("crop", "resize")


def checked_size(size, fit):
    """`size` as `(height, width)`, or None."""
    if fit not in _FITS:
        raise ValueError(f"fit must be one of {', '.join(map(repr, _FITS))}, came {fit!r}")
    if size is None:
        return None
    pair = tuple(size) if isinstance(size, Sequence) else (size, size)
    if len(pair) != 2 or not all(isinstance(side, Integral) and side > 0 for side in pair):
        raise ValueError(f"size must be a number of pixels or (height, width), came {size!r}")
    return int(pair[0]), int(pair[1])


def fit_image(image, size, fit):
    """A float32 image `(H, W, C)`: padded with 0, or scaled bilinearly (averaging where it shrinks)."""
    if fit == "crop":
        return _crop_or_pad(image, size, 0)
    planes = [_resize(plane, size, Image.Resampling.BILINEAR) for plane in np.moveaxis(image, -1, 0)]
    return np.clip(np.stack(planes, axis=-1), 0, 1)


def fit_mask(mask, size, fit):
    """An int8 mask `(H, W)`: padded with -1, or scaled to the nearest pixel."""
    if fit == "crop":
        return _crop_or_pad(mask, size, -1)
    return _resize(mask.astype(np.uint8), size, Image.Resampling.NEAREST).astype(np.int8)


def _crop_or_pad(array, size, fill):
    result = np.full((*size, *array.shape[2:]), fill, array.dtype)
    source, target = [], []
    for have, want in zip(array.shape, size, strict=False):
        common = min(have, want)
        source.append(slice((have - common) // 2, (have - common) // 2 + common))
        target.append(slice((want - common) // 2, (want - common) // 2 + common))
    result[tuple(target)] = array[tuple(source)]
    return result


def _resize(plane, size, how):
    return np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize(size[::-1], how))
