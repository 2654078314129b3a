"""Windows over an image: where they lie, how they are weighted, read and added up. NumPy only."""

from collections.abc import Sequence

import numpy as np


def per_axis(argument, value, rank, kind, fits, meaning):
    """One value for each spatial axis, checked."""
    values = tuple(value) if isinstance(value, Sequence | np.ndarray) else (value,) * rank
    good = len(values) == rank and all(isinstance(v, kind) and not isinstance(v, bool) and fits(v) for v in values)
    if isinstance(value, str) or not good:
        raise ValueError(
            f"{argument}: expected {meaning}, one number or one for each of the {rank} axes. Received: {value!r}."
        )
    return values


def grid(side, size, overlap, importance):
    """`(start, weights)` of the windows along one axis; the weights over a pixel sum to 1."""
    step = max(1, int(size * (1 - overlap) + 1e-9))
    starts = sorted({max(min(start, side - size), 0) for start in range(0, max(side - size, 0) + step, step)})
    weights = np.ones(size)
    if importance == "gaussian":
        weights = np.exp(-0.5 * ((np.arange(size) - (size - 1) / 2) / (size / 8)) ** 2)
    total = np.zeros(max(side, size))
    for start in starts:
        total[start : start + size] += weights
    return [(start, (weights / total[start : start + size]).astype(np.float32)) for start in starts]


def read_window(image, starts, size, channels, flat):
    """The window's pixels `(*size, channels)`, the image continued by its edge where it ends."""
    pixels = np.asarray(image[tuple(slice(a, a + w) for a, w in zip(starts, size, strict=True))], np.float32)
    pixels = pixels[..., None] if flat else pixels
    return np.pad(pixels, [(0, w - n) for w, n in zip((*size, channels), pixels.shape, strict=True)], mode="edge")


def add_window(result, probabilities, pieces, sides):
    """Adds a window to the result, weighted; what lies behind the image's end is left out."""
    inside = tuple(slice(0, min(side, p)) for side, p in zip(sides, probabilities.shape, strict=False))
    weighted = probabilities[inside]
    for axis, (_, weights) in enumerate(pieces):
        along = [-1 if a == axis else 1 for a in range(len(pieces) + 1)]
        weighted = weighted * weights[inside[axis]].reshape(along)
    result[tuple(slice(a, a + n) for (a, _), n in zip(pieces, weighted.shape, strict=False))] += weighted
