"""Calibration error without bins: the votes' mean at a probability by a Beta kernel."""

import numpy as np
from keras import ops

from keras_ordseg._checks import ArgumentError
from keras_ordseg.ops.checks import check_choice
from keras_ordseg.ops.sums import wide
from keras_ordseg.ops.values import check_probabilities

NORMS = ("l1", "l2")
BANDWIDTHS = tuple(float(h) for h in np.geomspace(1e-3, 0.1, 9))
_ROWS = 1024  # of the matrix of kernels at a time


def kernel_calibration_error(probability, vote, weight, bandwidth=0.01, norm="l1"):
    """Calibration error of pixels from a leave-one-out kernel estimate of the mean vote at each one's probability.

    `m_j = sum_{i != j} w_i k(p_j; p_i) s_i / sum_{i != j} w_i k(p_j; p_i)` with the density of
    `Beta(p_i/h + 1, (1 - p_i)/h + 1)` at p_j as the kernel; the error is `(sum_j w_j |m_j - p_j|^a / sum_j w_j)^(1/a)`,
    a = 1 for `"l1"`, 2 for `"l2"`. The kernel is about `sqrt(h p (1 - p))` wide. The votes of a pixel are one soft label,
    so that the raters of one pixel are never each other's neighbours. Pixels of weight 0 do not count; a single pixel
    has no neighbours, and the error is then 0.

    Args:
        probability: p `(n,)`, in [0, 1]. The kernel sees p no nearer to 0 and 1 than 1e-12 (6e-8 without float64).
        vote: The share `s = v/n` of raters that mark, `(n,)`.
        weight: `w`, the raters that rated times the sample weight, `(n,)`.
        bandwidth: h, default 0.01; or `"likelihood"`: of nine from 0.001 to 0.1 the one with the highest leave-one-out
            likelihood of the probabilities.
        norm: `"l1"` (default) or `"l2"`.

    Returns:
        The error, a scalar.

    Raises:
        ValueError: For an unknown norm, a bandwidth out of range, or values outside [0, 1] where they can be read.

    Reference: Popordanoska, Sayer and Blaschko, *A consistent and differentiable Lp canonical calibration error
    estimator*, NeurIPS 2022.

    >>> p = np.array([0.5, 0.5, 0.5])      # each one's neighbours mark with 0.75, 0.5 and 0.25
    >>> round(float(kernel_calibration_error(p, np.array([0.0, 0.5, 1.0]), np.ones(3))), 4)
    0.1667
    """
    check_bandwidth(bandwidth)
    check_choice(norm, "norm", NORMS)
    check_probabilities(probability, "probability", levels=False)
    check_probabilities(vote, "vote", levels=False)
    probability, vote, weight = (wide(ops.convert_to_tensor(x)) for x in (probability, vote, weight))
    if bandwidth == "likelihood":
        best, estimate = None, None
        for h in BANDWIDTHS:
            candidate, likelihood = _leave_one_out(probability, vote, weight, h)
            better = True if best is None else likelihood > best
            estimate = candidate if best is None else ops.where(better, candidate, estimate)
            best = likelihood if best is None else ops.maximum(likelihood, best)
    else:
        estimate, _ = _leave_one_out(probability, vote, weight, bandwidth)
    gap = ops.abs(estimate - probability)
    mean = ops.divide_no_nan(ops.sum(weight * (gap if norm == "l1" else gap * gap)), ops.sum(weight))
    return mean if norm == "l1" else ops.sqrt(mean)


def check_bandwidth(bandwidth):
    """Returns `bandwidth` when it is a number in [0.0001, 1] or `"likelihood"`; a ValueError otherwise."""
    number = isinstance(bandwidth, (int, float, np.number)) and not isinstance(bandwidth, bool)
    if not (number and 1e-4 <= bandwidth <= 1) and not (isinstance(bandwidth, str) and bandwidth == "likelihood"):
        raise ArgumentError("bandwidth", "a number in [0.0001, 1] or 'likelihood'", repr(bandwidth))
    return float(bandwidth) if number else bandwidth


def _leave_one_out(probability, vote, weight, bandwidth):
    """Each pixel's estimate from the others (its own probability where there are none), and the log-likelihood."""
    least = 1e-12 if ops.dtype(probability) == "float64" else 2.0**-24
    p, q = (ops.clip(x, least, 1.0) for x in (probability, 1.0 - probability))
    log_p = ops.where(p > 0.5, ops.log1p(-ops.minimum(q, 0.5)), ops.log(p))
    log_q = ops.where(p > 0.5, ops.log(q), ops.log1p(-ops.minimum(p, 0.5)))
    scale = 1.0 / bandwidth
    # log Beta density = offset_i - KL(p_i || p_j) / h: no term is much larger than what it says
    offset = _stirling(ops.full_like(p, scale)) - _stirling(p * scale) - _stirling(q * scale)
    offset = offset + np.log1p(scale)
    count = probability.shape[0]
    estimates, likelihood = [], 0.0
    for start in range(0, count, _ROWS):
        row = slice(start, min(start + _ROWS, count))
        divergence = p * (log_p - log_p[row, None]) + q * (log_q - log_q[row, None])
        own = ops.expand_dims(ops.arange(row.start, row.stop), -1) == ops.arange(count)
        other = ops.where(own, ops.zeros_like(divergence), weight)  # the weight of each neighbour
        log_kernel = ops.where(other > 0, offset - scale * divergence, -np.inf)
        largest = ops.max(log_kernel, axis=-1, keepdims=True)
        largest = ops.where(ops.isfinite(largest), largest, 0.0)
        kernel = other * ops.exp(log_kernel - largest)
        density = ops.sum(kernel, axis=-1)
        mean = ops.divide_no_nan(ops.sum(kernel * vote, axis=-1), density)
        estimates.append(ops.where(density > 0, mean, probability[row]))
        log_density = ops.log(ops.where(density > 0, density, 1.0)) + largest[:, 0]
        likelihood = likelihood + ops.sum(weight[row] * log_density)
    return ops.concatenate(estimates), likelihood


def _stirling(x):
    """`log Gamma(x + 1) - x log x + x` for x >= 0, to 1e-11 in float64."""
    large = ops.maximum(x, 8.0)
    direct = 0.5 * ops.log(2 * np.pi * large) + _series(large)
    small = ops.minimum(x, 8.0)
    moved = small + 8.0
    steps = sum(ops.log(small + float(k)) for k in range(1, 9))
    shifted = moved * ops.log(moved) - moved + 0.5 * ops.log(2 * np.pi * moved) + _series(moved) - steps
    shifted = shifted - small * ops.log(ops.maximum(small, 1e-30)) + small
    return ops.where(x < 8.0, shifted, direct)


def _series(x):
    square = x * x
    return (1 / 12 - (1 / 360 - (1 / 1260 - 1 / 1680 / square) / square) / square) / x
