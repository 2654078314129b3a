"""From level probabilities to one level."""

from keras import ops

from keras_ordseg.ops.checks import check_choice
from keras_ordseg.ops.levels import as_float, constant
from keras_ordseg.ops.values import check_probabilities

_DECISIONS = ("mode", "median", "mean")


def check_decision(decision):
    """Returns `decision` when it is one of `"mode"`, `"median"`, `"mean"`; a ValueError otherwise."""
    return check_choice(decision, "decision", _DECISIONS)


def decide_level(probabilities, decision="mode"):
    """One level for each pixel, from the level probabilities.

    `"mode"` is the most probable level, the lowest of equals: what the field of ordinal regression scores. `"median"`
    is `sum_t 1[P(k >= t) > 1/2]`, the number of nested masks that hold the pixel, and the level with the smallest
    expected absolute error. `"mean"` is `E[k]` rounded, halves up: the level with the smallest expected squared error.

    Args:
        probabilities: Level probabilities `(..., K+1)`.
        decision: `"mode"` (default), `"median"` or `"mean"`.

    Returns:
        int32 levels `(...)` in 0..K.

    Raises:
        ValueError: For an unknown decision, or probabilities that are none, where values can be read.

    >>> p = [0.4, 0.1, 0.1, 0.3, 0.1]                           # F = .4 .5 .6 .9 1, E[k] = 1.6
    >>> [int(decide_level(p, d)) for d in ("mode", "median", "mean")]
    [0, 1, 2]
    """
    check_decision(decision)
    check_probabilities(probabilities, "probabilities")
    return decided_level(as_float(probabilities), decision)


def decided_level(p, decision):
    """`decide_level` of float probabilities, unchecked: those of a pixel that is not finite may be 0."""
    if decision == "mode":
        return ops.cast(ops.argmax(p, axis=-1), "int32")
    size = p.shape[-1]
    if decision == "mean":
        expected = ops.sum(p * constant(list(range(size)), p), axis=-1)
        return ops.clip(ops.cast(ops.floor(expected + 0.5), "int32"), 0, size - 1)
    above, level = 0.0, 0
    for k in range(size - 1, 0, -1):
        above = above + p[..., k]
        level = level + ops.cast(above > 0.5, "int32")
    return level
