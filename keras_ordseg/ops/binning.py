"""Equal-width bins of a probability, and the calibration error they give."""

import functools
from fractions import Fraction

import numpy as np
from keras import ops


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

    >>> [int(b) for b in bin_index([0.0, 0.24, 0.25, 1.0], 4)]
    [0, 0, 1, 3]
    """
    p = ops.cast(probability, "float32")
    edges = ops.convert_to_tensor(bin_edges(num_bins))
    guess = ops.clip(ops.cast(p * num_bins, "int32"), 0, num_bins - 1)
    guess = guess - ops.cast(p < ops.take(edges, guess), "int32")
    guess = guess + ops.cast(p >= ops.take(edges, guess + 1), "int32")
    return ops.clip(guess, 0, num_bins - 1)


def expected_calibration_error(weight, confidence, vote):
    """`sum_b |sum w p - sum w v/n| / sum w` from each bin's sums; 0 when there is no weight.

    Args:
        weight: `sum w` of each bin, `(..., bins)`, with w = n times the sample weight.
        confidence: `sum w p`, same shape.
        vote: `sum w v/n`, same shape.

    Returns:
        The error, of shape `(...)`.

    Reference: Naeini et al., *Obtaining well calibrated probabilities using Bayesian binning*, AAAI 2015.

    >>> round(float(expected_calibration_error(np.array([2.0, 2.0]), np.array([0.2, 1.8]), np.array([0.0, 1.0]))), 4)
    0.25
    """
    gap = ops.sum(ops.abs(ops.subtract(confidence, vote)), axis=-1)
    return ops.divide_no_nan(gap, ops.sum(weight, axis=-1))
