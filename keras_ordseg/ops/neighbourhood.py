"""Means over the 3 x 3 (x 3) neighbourhood of a pixel, of those neighbours that somebody rated."""

import math

from keras import ops

from keras_ordseg.ops.levels import as_float


def neighbourhood_mean(values, weights, reach=1.0):
    """Weighted mean over each pixel and its neighbours at a distance of one along every axis.

    The kernel is a product over the axes of `(reach, 1, reach)`; 1 makes it the plain mean. What lies outside the image or
    has no weight is left out of the mean.

    Args:
        values: `(batch, *spatial)`.
        weights: At least 0, same shape.
        reach: Weight of a neighbour along one axis. Default 1.

    Returns:
        Means, same shape; 0 where neither a pixel nor a neighbour has weight.

    >>> v = ops.convert_to_tensor([[0.0, 1.0, 1.0, 0.0]])
    >>> [round(float(x), 4) for x in neighbourhood_mean(v, ops.ones_like(v))[0]]
    [0.5, 0.6667, 0.6667, 0.5]
    """
    values, weights = as_float(values), as_float(weights)
    return ops.divide_no_nan(_spread(values * weights, reach), _spread(weights, reach))


def spatially_smoothed(values, weights, sigma=1.0):
    """Each pixel's value averaged half and half with the Gaussian mean of its direct neighbours.

    With all neighbours present: `v/2 + sum_i g_i v_i / (2 sum_i g_i)`, `g_i = exp(-d_i^2 / (2 sigma^2))` over the
    neighbours i of the 3 x 3 (x 3) window.

    Args:
        values: `(batch, *spatial)`.
        weights: At least 0, same shape; what has none is left out of the means.
        sigma: Of the Gaussian, in pixels. Default 1.

    Returns:
        Values, same shape.

    Reference: Islam and Glocker, *Spatially varying label smoothing*, IPMI 2021.

    >>> v = ops.convert_to_tensor([[0.0, 1.0, 0.0]])
    >>> [round(float(x), 4) for x in spatially_smoothed(v, ops.ones_like(v))[0]]
    [0.3333, 0.5, 0.3333]
    """
    values, weights = as_float(values), as_float(weights)
    reach = math.exp(-1 / (2 * sigma**2))
    around = (1 + 2 * reach) ** len(values.shape[1:]) - 1

    def spread(x):
        return x + (_spread(x, reach) - x) / around

    return ops.divide_no_nan(spread(values * weights), spread(weights))


def _spread(x, reach):
    rank = len(x.shape)
    for axis in range(1, rank):
        padded = ops.pad(x, [(1, 1) if a == axis else (0, 0) for a in range(rank)])
        before, after = ([slice(None)] * rank for _ in range(2))
        before[axis], after[axis] = slice(None, -2), slice(2, None)
        x = x + reach * (padded[tuple(before)] + padded[tuple(after)])
    return x
