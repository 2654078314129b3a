"""Continuous ranked probability score of one number, exactly: no grid, no bounds of integration."""

import math

import keras
from keras import ops

from keras_ordseg.ops.levels import as_float


def crps_normal(observation, mean, std):
    """Continuous ranked probability score of a normal distribution at an observation.

    The integral over the whole line of `(Phi((y - mean) / std) - 1[y >= x])^2`, in closed form:
    `std (w erf(w / sqrt 2) + 2 phi(w) - 1 / sqrt pi)` with `w = (x - mean) / std`. A standard deviation of 0 is a
    point forecast, whose score is the absolute error.

    Args:
        observation: Numbers x of any shape.
        mean: Means, same shape.
        std: Standard deviations, 0 or more, same shape.

    Returns:
        Scores of that shape, in the unit of `observation`; 0 at best.

    Reference: Gneiting and Raftery, *Strictly proper scoring rules, prediction, and estimation*, JASA 102, 2007.

    >>> round(float(crps_normal(0.0, 0.0, 1.0)), 4), float(crps_normal(5.0, 3.0, 0.0))
    (0.2337, 2.0)
    """
    observation, mean, std = _floats(observation, mean, std)
    point = ops.equal(std, 0)
    w = (observation - mean) / ops.where(point, ops.ones_like(std), std)
    density = ops.exp(-0.5 * ops.square(w)) / math.sqrt(2 * math.pi)
    score = std * (w * ops.erf(w / math.sqrt(2)) + 2 * density - 1 / math.sqrt(math.pi))
    return ops.where(point, ops.abs(observation - mean), score)


def crps_ensemble(observation, members, weights):
    """Continuous ranked probability score of the empirical distribution of some members at an observation.

    The integral over the whole line of `(F(y) - 1[y >= x])^2`, which is `E|V - x| - E|V - V'| / 2` over members drawn
    with their weights, a pair of the same member included.

    Args:
        observation: Numbers x `(...)`.
        members: Numbers V `(..., M)`.
        weights: Weights of the members, 0 or more, `(..., M)`; they need not add up to 1.

    Returns:
        Scores `(...)`, in the unit of `observation`; 0 at best, and 0 where no member weighs anything.

    Reference: Gneiting and Raftery, *Strictly proper scoring rules, prediction, and estimation*, JASA 102, 2007.

    >>> float(crps_ensemble([2.0], [[1.0, 3.0]], [[1.0, 1.0]])[0])           # 1 - (2 / 2) / 2
    0.5
    """
    observation, members, weights = _floats(observation, members, weights)
    share = ops.divide_no_nan(weights, ops.sum(weights, axis=-1, keepdims=True))
    error = ops.sum(share * ops.abs(members - ops.expand_dims(observation, -1)), axis=-1)
    gaps = ops.abs(ops.expand_dims(members, -1) - ops.expand_dims(members, -2))
    spread = ops.sum(share * ops.sum(gaps * ops.expand_dims(share, -2), axis=-1), axis=-1)
    return error - 0.5 * spread


def _floats(*values):
    values = [as_float(x) for x in values]
    dtype = keras.backend.result_type(*(x.dtype for x in values))
    return [ops.cast(x, dtype) for x in values]
