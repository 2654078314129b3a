"""Sums that stay exact at volume scale, on every backend.

A float32 sum stops growing at 2^24 equal terms, and calibration is a small difference of such sums. TensorFlow and
torch have float64 everywhere; JAX has it only when the whole process asks for it, so there each value is cut into
three 12-bit limbs (36 bits below the largest value of the update), the limbs are summed as int32, which is exact,
and the totals are kept as compensated pairs of float32.
"""

import keras
import numpy as np
from keras import ops

_LIMBS, _BITS = 3, 12
_CHUNK = 2 ** (31 - _BITS - 1)  # limbs of this many values fit into an int32
_POWERS = 2.0 ** np.arange(-126, 128)


def _has_float64() -> bool:
    return keras.backend.backend() != "jax"


def wide(x):
    """`x` as float64 where the backend has it, else unchanged."""
    return ops.cast(x, "float64") if _has_float64() else x


class ExactSum:
    """A metric's running sums: one variable, exact to far below float32's step.

    Args:
        metric: The `keras.metrics.Metric` that owns the variable.
        size: Number of sums.
        name: Name of the variable.
    """

    def __init__(self, metric, size, name):
        dtype, parts = ("float64", 1) if _has_float64() else ("float32", 2)
        self.variable = metric.add_variable((parts, size), "zeros", dtype=dtype, aggregation="sum", name=name)

    def add(self, values, segments=None):
        """Adds `values` (any shape) to the sums named by `segments` (same shape, int32; None: the only sum)."""
        new = segment_sums(values, segments, self.variable.shape[1])
        if _has_float64():
            self.variable.assign(self.variable + new)
        else:
            total, error = _two_sum(self.variable[0], new[0])
            self.variable.assign(ops.stack(_two_sum(total, error + self.variable[1] + new[1])))

    def value(self):
        """The sums, of shape `(size,)`, float64 where the backend has it."""
        return ops.sum(ops.convert_to_tensor(self.variable), axis=0)

    def parts(self):
        """The sums as addends `(parts, size)`, which a caller can subtract before adding them up."""
        return ops.convert_to_tensor(self.variable)


def segment_sums(values, segments=None, size=1):
    """Sums of `values` by segment, as addends `(parts, size)`: one of float64, or a pair of float32.

    Args:
        values: Finite floats of any shape.
        segments: int32 of the same shape in `0..size-1`, or None for one sum.
        size: Number of segments.

    Returns:
        A tensor `(1, size)` of float64, or `(2, size)` of float32 on JAX.
    """
    values = ops.reshape(values, (-1,))
    if segments is not None:
        segments = ops.reshape(segments, (-1,))
    if _has_float64():
        values = wide(values)
        if segments is None:
            return ops.reshape(ops.sum(values), (1, 1))
        if (
            keras.backend.backend() == "torch"
        ):  # Keras' segment_sum adds up in float32 there, whatever the dtype
            zeros = ops.zeros_like(values)
            each = [ops.sum(ops.where(ops.equal(segments, s), values, zeros)) for s in range(size)]
            return ops.expand_dims(ops.stack(each), 0)
        return ops.expand_dims(ops.segment_sum(values, segments, num_segments=size), 0)
    return _limb_sums(values, segments, size)


def _limb_sums(values, segments, size):
    count = values.shape[0]
    if count == 0:
        return ops.zeros((2, size), "float32")
    values = ops.cast(values, "float32")
    powers = ops.convert_to_tensor(_POWERS, "float32")
    largest = ops.minimum(
        ops.searchsorted(powers, ops.reshape(ops.max(ops.abs(values)), (1,))), len(_POWERS) - 1
    )
    scale = ops.take(powers, largest)[0]  # the power of two at or above every value: dividing by it is exact
    chunks = -(-count // _CHUNK)
    chunk = ops.arange(count, dtype="int32") // _CHUNK
    ids = chunk if segments is None else chunk * size + ops.cast(segments, "int32")
    rest, high, low = values / scale, ops.zeros((size,), "float32"), ops.zeros((size,), "float32")
    for limb in range(1, _LIMBS + 1):
        rest = rest * 2.0**_BITS
        whole = ops.floor(rest)
        rest = rest - whole
        totals = ops.segment_sum(ops.cast(whole, "int32"), ids, num_segments=chunks * size)
        totals = ops.reshape(totals, (chunks, size))
        upper = totals // 2**_BITS  # floor: the remainder below is never negative
        for piece, exponent in ((ops.sum(upper, 0), _BITS), (ops.sum(totals - upper * 2**_BITS, 0), 0)):
            big = piece // 2**_BITS
            for part, more in ((big, _BITS), (piece - big * 2**_BITS, 0)):
                term = ops.cast(part, "float32") * 2.0 ** (exponent + more - _BITS * limb)
                high, error = _two_sum(high, term)
                low = low + error
    return ops.stack([high * scale, low * scale])


def _two_sum(a, b):
    """`(s, e)` with `s = fl(a + b)` and `s + e = a + b` exactly (Knuth)."""
    total = a + b
    b_seen = total - a
    return total, (a - (total - b_seen)) + (b - b_seen)
