"""Bins of a probability, of equal width or of equal mass, and the calibration error they give."""

import functools
from fractions import Fraction

import numpy as np
from keras import ops

from keras_ordseg.ops.checks import check_choice, check_count
from keras_ordseg.ops.sums import wide
from keras_ordseg.ops.values import check_probabilities

NORMS = ("l1", "l2", "max")


@functools.lru_cache(maxsize=32)
def bin_edges(num_bins: int) -> np.ndarray:
    """Edges of equal-width bins: for each b the smallest float32 at or above `b / num_bins`.

    A float32 probability p then falls into bin `floor(p * num_bins)` as exact arithmetic has it.

    Args:
        num_bins: Number of bins, at least 1.

    Returns:
        float32 array `(num_bins + 1,)`, from 0 to 1.

    >>> bin_edges(4).tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    num_bins = check_count(num_bins, "num_bins")
    edges = []
    for b in range(num_bins + 1):
        edge = np.float32(b / num_bins)
        if Fraction(float(edge)) < Fraction(b, num_bins):
            edge = np.nextafter(edge, np.float32(2), dtype=np.float32)
        edges.append(edge)
    return np.array(edges, dtype=np.float32)


def bin_index(probability, num_bins: int):
    """The bin of each probability: bins are `[lo, hi)`, the last one closed at 1.

    Args:
        probability: Probabilities in [0, 1], any shape; read as float32.
        num_bins: Number of bins.

    Returns:
        int32 of the same shape in `0..num_bins-1`.

    Raises:
        ValueError: For a number of bins below 1, or values outside [0, 1] where they can be read.

    >>> [int(b) for b in bin_index([0.0, 0.24, 0.25, 1.0], 4)]
    [0, 0, 1, 3]
    """
    num_bins = check_count(num_bins, "num_bins")
    check_probabilities(probability, "probability", levels=False)
    p = ops.cast(probability, "float32")
    exact = wide(p)
    if ops.dtype(exact) == "float64":  # holds p times the number of bins without rounding
        return ops.clip(ops.cast(exact * num_bins, "int32"), 0, num_bins - 1)
    edges = ops.convert_to_tensor(bin_edges(num_bins))
    guess = ops.clip(ops.cast(p * num_bins, "int32"), 0, num_bins - 1)
    guess = guess - ops.cast(p < ops.take(edges, guess), "int32")
    guess = guess + ops.cast(p >= ops.take(edges, guess + 1), "int32")
    return ops.clip(guess, 0, num_bins - 1)


# Cells: 128 to an octave, from 2**-32 up to 1/2, mirrored above 1/2, where float32 has no more than 24 octaves
_SHIFT = 23 - 7  # a float32's bits without this many of the last are its octave and 128th of it
_LEAST, _HALF, _LAST = (int(np.float32(x).view("int32")) >> _SHIFT for x in (2.0**-32, 0.5, 2.0**-24))
_BELOW = _HALF - _LEAST + 1
NUM_CELLS = _BELOW + _HALF - _LAST + 2


def cell_index(probability):
    """The cell of each probability: 6915 cells, at most 1/128 wide relative to `min(p, 1 - p)`, in the order of p.

    They are fine near 0 and near 1, where segmentation models put most pixels. Below `2**-32` all is one cell, and
    exactly 1 is one.

    Args:
        probability: Probabilities in [0, 1], any shape; read as float32.

    Returns:
        int32 of the same shape in `0..6914`.

    >>> [int(c) for c in cell_index([0.0, 0.5, 1.0])]
    [0, 3969, 6914]
    """
    check_probabilities(probability, "probability", levels=False)
    p = ops.cast(probability, "float32")
    low = ops.right_shift(ops.view(p, "int32"), _SHIFT) - (_LEAST - 1)
    rest = ops.view(1.0 - p, "int32")  # exact for p >= 1/2
    high = ops.maximum(ops.right_shift(rest + (2**_SHIFT - 1), _SHIFT), _LAST - 1)  # rounded up: cells are [lo, hi)
    return ops.where(p < 0.5, ops.maximum(low, 0), _BELOW + _HALF - high)


@functools.lru_cache(maxsize=1)
def cell_edges() -> np.ndarray:
    """Edges of the cells of `cell_index`, float64 `(6916,)` from 0 to 1.

    >>> cell_edges()[[0, 3969, -1]].tolist()
    [0.0, 0.5, 1.0]
    """
    values = (np.arange(_LAST - 1, _HALF + 1, dtype="int32") << _SHIFT).view("float32").astype("float64")
    low = (np.arange(_LEAST, _HALF, dtype="int32") << _SHIFT).view("float32").astype("float64")
    return np.concatenate([[0.0], low, 1 - values[::-1], [1.0]])


def equal_mass_bins(weight, num_bins: int):
    """The bin of each cell when bins hold equal weight: a cell goes where the middle of its weight lies.

    Args:
        weight: Weight of each cell, in the cells' order, `(..., cells)`.
        num_bins: Number of bins.

    Returns:
        int32 `(..., cells)` in `0..num_bins-1`, never falling along the last axis.

    >>> [int(b) for b in equal_mass_bins(np.array([1.0, 1.0, 5.0, 1.0]), 2)]
    [0, 0, 1, 1]
    """
    weight = ops.convert_to_tensor(weight)
    reached = ops.cumsum(weight, axis=-1)
    middle = ops.divide_no_nan(reached - 0.5 * weight, ops.max(reached, axis=-1, keepdims=True))
    return ops.clip(ops.cast(ops.floor(middle * num_bins), "int32"), 0, num_bins - 1)


def expected_calibration_error(weight, confidence, vote, norm="l1"):
    """Calibration error from each bin's sums; 0 when there is no weight.

    With the gap `g_b = (sum_b w p - sum_b w v/n) / W_b` and the share `W_b / W` of each bin:
    `"l1"` is `sum_b |g_b| W_b / W`, `"l2"` is `sqrt(sum_b g_b^2 W_b / W)`, `"max"` is `max_b |g_b|`.

    Args:
        weight: `W_b = sum w` of each bin, `(..., bins)`, with w = n times the sample weight.
        confidence: `sum w p`, same shape.
        vote: `sum w v/n`, same shape.
        norm: `"l1"` (default), `"l2"` or `"max"`.

    Returns:
        The error, of shape `(...)`.

    Raises:
        ValueError: For an unknown norm.

    Reference: Naeini et al., *Obtaining well calibrated probabilities using Bayesian binning*, AAAI 2015; l2: Kumar
    et al., *Verified uncertainty calibration*, NeurIPS 2019.

    >>> weight, confidence, vote = np.array([2.0, 2.0]), np.array([0.2, 1.8]), np.array([0.0, 1.0])
    >>> [round(float(expected_calibration_error(weight, confidence, vote, norm)), 4) for norm in ("l1", "l2", "max")]
    [0.25, 0.2915, 0.4]
    """
    check_choice(norm, "norm", NORMS)
    gap = ops.abs(ops.subtract(confidence, vote))
    if norm == "l1":
        return ops.divide_no_nan(ops.sum(gap, axis=-1), ops.sum(weight, axis=-1))
    mean = ops.divide_no_nan(gap, weight)
    if norm == "max":
        return ops.max(mean, axis=-1)
    return ops.sqrt(ops.divide_no_nan(ops.sum(gap * mean, axis=-1), ops.sum(weight, axis=-1)))
