"""A structure inside another one, as a layer over the level logits of both."""

import keras

from keras_ordseg.ops.nesting import nested_levels


@keras.saving.register_keras_serializable(package="keras_ordseg")
class NestedLevels(keras.layers.Layer):
    """Level logits of a structure that lies inside another: its level is the smaller of the outer one's and its own.

    With independent levels `P(inner >= t) = P(outer >= t) * P(own >= t)`, so that at every pixel and for every number of
    raters t the inner structure is at most as probable as the outer one; the same holds of every read-out.
    `OrdinalSegmenter(..., structures=("disc", "cup"), nested_structures=True)` has it built in.

    Args:
        name, dtype, …: As for any Keras layer.

    Call arguments:
        inputs: `[outer, own]`, level logits `(batch, *spatial, K+1)` each.

    Output shape:
        `(batch, *spatial, K+1)` level logits, float32.

    Raises:
        ValueError: If the two have different shapes.

    >>> import numpy as np
    >>> both = [np.log([[0.5, 0.5]]), np.log([[0.5, 0.5]])]                  # K = 1: 0.5 * 0.5
    >>> round(float(keras.ops.softmax(NestedLevels()(both))[0, 1]), 4)
    0.25
    """

    def __init__(self, **kwargs):
        kwargs.setdefault("dtype", "float32")  # levels must not pass through half precision
        super().__init__(**kwargs)

    def build(self, input_shape):
        shapes = [tuple(shape) for shape in input_shape] if isinstance(input_shape[0], (tuple, list)) else [input_shape]
        if len(shapes) != 2 or shapes[0][-1] != shapes[1][-1] or len(shapes[0]) != len(shapes[1]):
            raise ValueError(
                "inputs: expected a list of two level logits (batch, *spatial, K+1) of the same shape, of the outer "
                f"structure and of the inner one. Received shapes {' and '.join(map(str, shapes))}."
            )
        super().build(input_shape)

    def call(self, inputs):
        outer, own = inputs
        return nested_levels(outer, own)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape[0])
