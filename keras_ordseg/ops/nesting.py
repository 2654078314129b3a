"""Levels of a structure that lies inside another one."""

from keras import ops

from keras_ordseg.ops.levels import as_float


def nested_levels(outer, own):
    """Level logits of the smaller of two independent levels, `P(min >= t) = P(outer >= t) P(own >= t)`.

    `P(min = k) = P(outer = k) P(own >= k) + P(outer > k) P(own = k)`, in log space throughout.

    Args:
        outer: Level logits `(..., K+1)` of the outer structure.
        own: Level logits `(..., K+1)` of the inner structure's own level.

    Returns:
        Normalised level logits `(..., K+1)`: the logarithms of probabilities that sum to 1.

    >>> import numpy as np
    >>> z = nested_levels(np.log([0.2, 0.3, 0.5]), np.log([0.5, 0.25, 0.25]))
    >>> [round(float(p), 4) for p in ops.exp(z)]                 # 1 - 0.8 * 0.5, 0.8 * 0.5 - 0.5 * 0.25, 0.5 * 0.25
    [0.6, 0.275, 0.125]
    """
    outer, own = (ops.log_softmax(as_float(z), axis=-1) for z in (outer, own))
    levels = outer.shape[-1]
    first, second = ([z[..., k] for k in range(levels)] for z in (outer, own))
    found, above, above_own = [first[-1] + second[-1]], first[-1], second[-1]
    for k in reversed(range(levels - 1)):
        at_least = ops.logaddexp(second[k], above_own)
        found.append(ops.logaddexp(first[k] + at_least, above + second[k]))
        above, above_own = ops.logaddexp(first[k], above), at_least
    return ops.stack(found[::-1], axis=-1)
