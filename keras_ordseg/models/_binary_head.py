"""The last layer of the binary baseline."""

import math

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_ordseg")
class BinaryHead(keras.layers.Layer):
    """One foreground logit `(batch, *spatial, 1)` in float32: what `OrdinalHead` is to the levels.

    Args:
        initial_probability: Probability in (0, 1) that the head starts at, or `None`.
        **kwargs: Keyword arguments of `keras.layers.Layer`.
    """

    def __init__(self, initial_probability=None, **kwargs):
        super().__init__(**kwargs)
        if initial_probability is not None and not 0 < initial_probability < 1:
            raise ValueError(
                "initial_probability: expected the mean vote of the training data, above 0 and below 1, or None. "
                f"Received: {initial_probability}."
            )
        self.initial_probability = None if initial_probability is None else float(initial_probability)

    def build(self, input_shape):
        p = self.initial_probability
        self.kernel = self.add_weight(
            shape=(input_shape[-1], 1), initializer="glorot_uniform" if p is None else "zeros", name="kernel"
        )
        bias = keras.initializers.Constant(0.0 if p is None else math.log(p) - math.log1p(-p))
        self.bias = self.add_weight(
            shape=(1,), initializer=bias, dtype="float32", autocast=False, name="bias"
        )
        super().build(input_shape)

    def call(self, inputs):
        return ops.cast(ops.matmul(inputs, self.kernel), "float32") + self.bias

    def compute_output_spec(self, inputs):
        return keras.KerasTensor((*inputs.shape[:-1], 1), dtype="float32")

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 1)

    def get_config(self):
        return {**super().get_config(), "initial_probability": self.initial_probability}
