"""Bring an image or a mask to a given size."""

from collections.abc import Sequence
from numbers import Integral

import numpy as np
from PIL import Image

_FITS = ("crop", "resize")


def check_size(size, fit):
    """Refuse what is no size, before any file is read."""
    if fit not in _FITS:
        raise ValueError(f"fit must be one of {', '.join(map(repr, _FITS))}, came {fit!r}")
    sides = tuple(size) if isinstance(size, Sequence) else (size,)
    if size is not None and not all(isinstance(side, Integral) and side > 0 for side in sides):
        raise ValueError(
            f"size must be a number of pixels, or one for each axis as (height, width), came {size!r}"
        )


def size_for(size, rank):
    """`size` as one number for each of `rank` axes."""
    sides = tuple(map(int, size)) if isinstance(size, Sequence) else (int(size),) * rank
    if len(sides) != rank:
        raise ValueError(f"size must be one number, or {rank} for images of {rank} axes, came {size!r}")
    return sides


def fit_image(image, size, fit):
    """A float32 image `(*spatial, C)`: padded with 0, or scaled linearly (averaging where it shrinks)."""
    if fit == "crop":
        return _crop_or_pad(image, size, 0)
    planes = [_resize(plane, size, Image.Resampling.BILINEAR) for plane in np.moveaxis(image, -1, 0)]
    return np.clip(np.stack(planes, axis=-1), 0, 1)


def fit_ratings(ratings, size, fit):
    """int8 ratings `(*spatial, K)`: padded with -1, or scaled to the nearest pixel."""
    if fit == "crop":
        return _crop_or_pad(ratings, size, -1)
    planes = [_resize(plane, size, Image.Resampling.NEAREST) for plane in np.moveaxis(ratings + 1, -1, 0)]
    return np.stack(planes, axis=-1).astype(np.int8) - np.int8(1)


def new_grid(have, want, fit):
    """Scale and offset of each axis: index `i` of the result lies at `scale * i + offset` of the source."""
    have, want = np.array(have, float), np.array(want, float)
    if fit == "resize":
        return have / want, have / want / 2 - 0.5
    common = np.minimum(have, want)
    return np.ones_like(have), (have - common) // 2 - (want - common) // 2


def _crop_or_pad(array, size, fill):
    result = np.full((*size, *array.shape[len(size) :]), fill, array.dtype)
    source, target = [], []
    for have, want in zip(array.shape, size, strict=False):
        common = min(have, want)
        source.append(slice((have - common) // 2, (have - common) // 2 + common))
        target.append(slice((want - common) // 2, (want - common) // 2 + common))
    result[tuple(target)] = array[tuple(source)]
    return result


def _resize(array, size, how):
    """Resize one or more axes: pairs of them as pictures, from the last to the first."""
    array = array if array.dtype == np.float32 else array.astype(np.uint8)
    if array.ndim == 2:
        picture = Image.fromarray(np.ascontiguousarray(array))
        return np.asarray(picture.resize(size[::-1], how))
    if array.ndim == 1:
        return _resize(array[None], (1, *size), how)[0]
    array = np.stack([_resize(part, size[1:], how) for part in array])
    flat = array.reshape(len(array), -1)
    return _resize(flat, (size[0], flat.shape[1]), how).reshape(size[0], *array.shape[1:])
