"""Linear resizing in products of matrices, which every backend, compiler and converter takes, at sizes known or not."""

from keras import ops


def resize_linear(x, sides):
    """Brings every spatial axis of a channels-last tensor to a side by linear interpolation, averaging where it shrinks.

    What Pillow's bilinear filter does, and so `data.load(fit="resize")`: output pixel i of n is a mean of the m input pixels
    j with weights `max(0, 1 - |j + 1/2 - (i + 1/2) m/n| / max(m/n, 1))`. At its own size an image comes back exactly.

    Args:
        x: Float tensor `(batch, *spatial, channels)`.
        sides: One side for each spatial axis, ints or integer scalars of the backend.

    Returns:
        Tensor `(batch, *sides, channels)` of the dtype of `x`.

    >>> x = ops.reshape(ops.convert_to_tensor([0.0, 1.0, 2.0, 5.0]), (1, 4, 1))
    >>> [round(float(v), 3) for v in ops.reshape(resize_linear(x, (2,)), (-1,))]
    [0.714, 3.143]
    """
    x = ops.convert_to_tensor(x)
    rank = len(x.shape)
    for axis, side in enumerate(sides, 1):
        if x.shape[axis] is not None and isinstance(side, int) and x.shape[axis] == side:
            continue
        weights = _weights(ops.shape(x)[axis], side, x.dtype)
        last = [a for a in range(rank) if a != axis] + [axis]
        back = [*range(axis), rank - 1, *range(axis, rank - 1)]
        x = ops.transpose(ops.matmul(ops.transpose(x, last), weights), back)
    return x


def _weights(have, want, dtype):
    """`(have, want)`, each column summing to 1."""
    have_, want_ = (ops.cast(side, "float32") for side in (have, want))
    scale = have_ / want_
    centre = (ops.cast(ops.arange(want, dtype="int32"), "float32") + 0.5) * scale
    place = ops.cast(ops.arange(have, dtype="int32"), "float32") + 0.5
    distance = ops.abs(ops.expand_dims(place, 1) - ops.expand_dims(centre, 0)) / ops.maximum(scale, 1.0)
    weights = ops.maximum(1.0 - distance, 0.0)
    return ops.cast(weights / ops.sum(weights, axis=0, keepdims=True), dtype)
