"""Links of the ordinal head: how the channels of a 1×1 convolution become level logits.

A link says how many channels the convolution has, how many biases, where the biases start for given level frequencies,
and how channels and biases make level logits.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from keras import ops

from keras_ordseg.ops.links import beta_binomial_levels, ordered_levels

_MIN_GAP = 1e-6  # between two thresholds: keeps the logarithm of the level between them finite


class Link(NamedTuple):
    """One way from channels to level logits."""

    channels: Callable  # K -> channels of the convolution
    biases: Callable  # level frequencies (K+1,) -> where the biases start
    levels: Callable  # (convolution without bias, biases, K) -> level logits


def _softmax_levels(x, bias, num_raters):
    return x + bias


def _threshold_biases(levels):
    """First threshold logit, then the inverse softplus of the gaps: `P(k >= t)` is that of the frequencies."""
    at_least = np.cumsum(levels[::-1])[::-1][1:]
    below = np.cumsum(levels)[:-1]
    thetas = np.log(at_least) - np.log(below)
    gaps = np.maximum(thetas[:-1] - thetas[1:] - _MIN_GAP, 1e-12)
    return np.concatenate([thetas[:1], gaps + np.log(-np.expm1(-gaps))])


def _gaps(x):
    return ops.softplus(x) + _MIN_GAP


def _cumulative_levels(x, bias, num_raters):
    return ordered_levels(x[..., 0] + bias[0], _gaps(bias[1:]))


def _nested_levels(x, bias, num_raters):
    x = x + bias
    return ordered_levels(x[..., 0], _gaps(x[..., 1:]))


def _beta_binomial_biases(levels):
    """Logits of the mean vote and of the correlation of two raters, both those of the frequencies (moments)."""
    num_raters = len(levels) - 1
    k = np.arange(num_raters + 1)
    mean = levels @ k / num_raters
    if num_raters == 1:
        return np.array([np.log(mean) - np.log1p(-mean), 0.0])
    variance = levels @ (k - num_raters * mean) ** 2
    correlation = (variance / (num_raters * mean * (1 - mean)) - 1) / (num_raters - 1)
    correlation = np.clip(correlation, 1e-4, 1 - 1e-4)
    return np.array([np.log(p) - np.log1p(-p) for p in (mean, correlation)])


def _beta_binomial(x, bias, num_raters):
    x = x + bias
    return beta_binomial_levels(x[..., 0], x[..., 1], num_raters)


LINKS = {
    "softmax": Link(lambda k: k + 1, np.log, _softmax_levels),
    "cumulative": Link(lambda k: 1, _threshold_biases, _cumulative_levels),
    "nested": Link(lambda k: k, _threshold_biases, _nested_levels),
    "beta_binomial": Link(lambda k: 2, _beta_binomial_biases, _beta_binomial),
}
