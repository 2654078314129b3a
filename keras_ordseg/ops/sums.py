"""Sums that stay exact at volume scale, on every backend.

A float32 sum stops growing at 2^24 equal terms, and calibration is a small difference of such sums. TensorFlow and
torch have float64 everywhere; JAX has it only when the whole process asks for it, so there each value is cut into
three 12-bit limbs (36 bits below the largest value of the update), the limbs are summed as int32, which is exact,
and the totals are kept as compensated pairs of float32.

Outside compiled graphs a large batch is added in flat pieces (`pieces`), so that the memory for it does not grow with
the volume, and on JAX each of a few shapes is compiled once, however uneven the batches are.
"""

import math

import keras
import numpy as np
from keras import ops

PIECE = 3 * 2**17  # pixels: few enough to fit the cache, enough that the cost of a call does not show
_PADDED = (2**13, 2**16, PIECE)  # JAX compiles every operation anew for every shape: it sees three
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
    values = _flat(values)
    if segments is not None:
        segments = _flat(segments)
    if _has_float64():
        values = wide(values)
        total = ops.sum(values) if segments is None else _float64_sums(values, segments, size)
        return ops.reshape(total, (1, size))
    return _limb_sums(values, segments, size)


def _flat(x):
    x = ops.convert_to_tensor(x)
    return x if len(x.shape) == 1 else ops.reshape(x, (-1,))


def _float64_sums(values, segments, size):
    if keras.backend.backend() == "torch":  # Keras' segment_sum and bincount give float32 there, whatever the dtype
        return ops.zeros((size,), "float64").index_add(0, segments, values)
    if _is_eager(values):  # several times faster than segment_sum, but XLA has no such operation
        return ops.bincount(segments, weights=values, minlength=size)
    return ops.segment_sum(values, segments, num_segments=size)


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


def pieces(y_true, y_pred, sample_weight=None):
    """A batch as one or more flat pieces `(y_true, y_pred, sample_weight)` of at most `PIECE` pixels.

    For metrics that are sums over pixels: batch and spatial axes become one axis. On JAX each piece is filled up with
    pixels of weight 0 to one of three sizes. What cannot be cut, tensors of a compiled graph and shapes that do not fit
    each other, comes back whole, as it is.

    Args:
        y_true: Votes `(batch, *spatial)` or ratings `(batch, *spatial, slots)`.
        y_pred: Scores `(batch, *spatial, channels)`.
        sample_weight: None, a number, or weights `(batch,)` or `(batch, *spatial)`.

    Returns:
        A list or generator of triples.

    >>> cut = pieces(np.zeros((3, 2**18)), np.zeros((3, 2**18, 2)), np.ones(3))
    >>> sum(len(y_pred) for _, y_pred, _ in cut) >= 3 * 2**18
    True
    """
    whole = [(y_true, y_pred, sample_weight)]
    if sample_weight is not None and not hasattr(sample_weight, "shape"):
        sample_weight = np.asarray(sample_weight, "float32")
    given = [x for x in (y_true, y_pred, sample_weight) if x is not None]
    if not all(hasattr(x, "shape") and _is_eager(x) for x in given):
        return whole
    spatial = tuple(y_pred.shape[:-1])
    votes, ratings = tuple(y_true.shape) == spatial, tuple(y_true.shape[:-1]) == spatial
    count = math.prod(spatial)
    fits = sample_weight is None or tuple(sample_weight.shape) in ((), spatial[:1], spatial, (*spatial, 1))
    jax = keras.backend.backend() == "jax"
    if not (spatial and fits and (votes or ratings) and y_pred.shape[-1] and count) or (count <= PIECE and not jax):
        return whole
    if jax:  # NumPy slices without compiling, and on a CPU this copies nothing
        y_true, y_pred, sample_weight = (x if x is None else np.asarray(x) for x in (y_true, y_pred, sample_weight))
    y_true = _reshape(y_true, (count,) if votes else (count, y_true.shape[-1]))
    y_pred = _reshape(y_pred, (count, y_pred.shape[-1]))
    if sample_weight is not None and len(sample_weight.shape) > 0:
        weight = ops.convert_to_numpy(sample_weight)
        if weight.shape == spatial[:1]:
            weight = np.broadcast_to(weight.reshape(-1, *(1,) * (len(spatial) - 1)), spatial)
        sample_weight = weight.reshape(-1)
    return _cut(y_true, y_pred, sample_weight, count, jax)


def _cut(y_true, y_pred, sample_weight, count, padded):
    for start in range(0, count, PIECE):
        part = slice(start, min(start + PIECE, count))
        flat = sample_weight is not None and len(sample_weight.shape) > 0
        weight = sample_weight[part] if flat else sample_weight
        if not padded:
            yield y_true[part], y_pred[part], weight
            continue
        size = part.stop - part.start
        extra = next(p for p in _PADDED if p >= size) - size
        weight = np.full(size, 1.0 if weight is None else weight, "float32") if not flat else weight
        if extra:
            weight = np.concatenate([weight, np.zeros(extra, weight.dtype)])
        # copies of the first pixel: what is wrong with them, if anything, is wrong already
        yield (*(np.concatenate([x[part], x[part][:1].repeat(extra, 0)]) for x in (y_true, y_pred)), weight)


def _reshape(x, shape):
    return x.reshape(shape) if isinstance(x, np.ndarray) else ops.reshape(x, shape)


def _is_eager(x):
    """Whether `x` has values now, rather than standing for them in a graph that is being compiled."""
    if isinstance(x, (np.ndarray, np.generic)):
        return True
    if keras.backend.backend() == "torch":
        return x.device.type != "meta"
    name = type(x).__name__  # TensorFlow's and JAX' types of values; JAX' may lie on other hosts
    return name == "EagerTensor" or (name == "ArrayImpl" and x.is_fully_addressable)
