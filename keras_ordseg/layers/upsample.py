"""Bilinear upsampling that compiles, exports and trains in half precision."""

import keras
from keras import ops


def upsample_bilinear(x, factor=2):
    """Enlarges every spatial axis of a channels-last tensor `factor` times by linear interpolation.

    Half-pixel centres, edges repeated. Along one axis, output pixel `factor·i + r` lies
    `o = (r + 1/2) / factor - 1/2` input pixels to the right of input pixel `i`, so that

    `y[factor·i + r] = (1 - |o|) · x[i] + |o| · x[i + sign(o)]`.

    Only slices, sums and a reshape are used: unlike `keras.ops.image.resize`, the gradient compiles under XLA in
    mixed precision, and images of unknown size can be exported.

    Args:
        x: Tensor `(batch, *spatial, channels)` with one, two or three spatial axes.
        factor: Int, at least 1. Default 2.

    Returns:
        Tensor `(batch, *(factor · spatial), channels)` of the dtype of `x`.

    Raises:
        ValueError: For a factor below 1 or a tensor without a spatial axis.

    >>> x = ops.reshape(ops.convert_to_tensor([0.0, 4.0]), (1, 2, 1))
    >>> [float(v) for v in ops.reshape(upsample_bilinear(x), (-1,))]
    [0.0, 1.0, 3.0, 4.0]
    """
    _check_factor(factor)
    x = ops.convert_to_tensor(x)
    if len(x.shape) < 3:
        raise ValueError(f"x: expected (batch, *spatial, channels). Received shape {tuple(x.shape)}.")
    if factor == 1:
        return x
    for axis in range(1, len(x.shape) - 1):
        x = _upsample_axis(x, axis, factor)
    return x


def _check_factor(factor):
    if not isinstance(factor, int) or isinstance(factor, bool) or factor < 1:
        raise ValueError(f"factor: expected an int of at least 1. Received: {factor!r}.")


def _upsample_axis(x, axis, factor):
    """`x` with one axis enlarged; see `upsample_bilinear` for the formula."""
    shape = list(ops.shape(x))
    size = shape[axis]

    def part(tensor, start, length):
        # Not tensor[start:...]: TensorFlow's gradient of a subscript costs several times the gradient of a slice.
        starts = [0] * len(shape)
        starts[axis] = start
        return ops.slice(tensor, starts, [*shape[:axis], length, *shape[axis + 1 :]])

    edged = ops.concatenate([part(x, 0, 1), x, part(x, size - 1, 1)], axis=axis)
    before, after = part(edged, 0, size), part(edged, 2, size)
    phases = []
    for r in range(factor):
        offset = (r + 0.5) / factor - 0.5
        neighbour = before if offset < 0 else after
        phases.append(x if offset == 0 else (1 - abs(offset)) * x + abs(offset) * neighbour)
    return ops.reshape(ops.stack(phases, axis=axis + 1), [*shape[:axis], size * factor, *shape[axis + 1 :]])


@keras.saving.register_keras_serializable(package="keras_ordseg")
class BilinearUpsampling(keras.layers.Layer):
    """Bilinear upsampling of a channels-last feature map with one, two or three spatial axes.

    Equal to `keras.layers.UpSampling2D(factor, interpolation="bilinear")` in two dimensions, but it also trains
    under XLA in mixed precision and can be exported with images of unknown size.

    Args:
        factor: Int, at least 1: how many times every spatial axis grows. Default 2.
        **kwargs: Keyword arguments of `keras.layers.Layer`.

    Returns:
        `(batch, *(factor · spatial), channels)` in the compute dtype.

    Raises:
        ValueError: For a factor below 1 or an input without a spatial axis.

    >>> BilinearUpsampling(4)(ops.ones((1, 2, 3, 5))).shape == (1, 8, 12, 5)
    True
    """

    def __init__(self, factor=2, **kwargs):
        super().__init__(**kwargs)
        _check_factor(factor)
        self.factor = factor

    def call(self, inputs):
        return upsample_bilinear(inputs, self.factor)

    def compute_output_shape(self, input_shape):
        batch, *spatial, channels = input_shape
        if not spatial:
            raise ValueError(f"inputs: expected (batch, *spatial, channels). Received shape {input_shape}.")
        return (batch, *(None if size is None else size * self.factor for size in spatial), channels)

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}
