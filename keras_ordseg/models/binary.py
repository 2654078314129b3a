"""The binary baseline on the same network, and its last layer."""

import functools
import math

import keras
from keras import ops

from keras_ordseg.models._arguments import per_structure, plain, structure_names
from keras_ordseg.models._base import Segmenter


@keras.saving.register_keras_serializable(package="keras_ordseg")
class BinarySegmenter(Segmenter):
    """Image to one foreground logit: the baseline of an `OrdinalSegmenter`, the same network but for its last layer.

    Built after the same `keras.utils.set_random_seed`, both have the same weights in backbone and decoder.

    Args:
        backbone, decoder, structures, decoder_filters, dropout, input_channels, preprocessing, name, trainable, dtype: As
            for `OrdinalSegmenter`.
        initial_probability: Mean vote of the training data, in (0, 1), at which the model starts: the last bias is
            its logit and the last kernel 0; or a dict by structure. Default `None`: it starts at random.

    Output shape:
        `(batch, *spatial, 1)`, float32 under every policy, or a dict of them. Every metric of the package takes it.

    Raises:
        ValueError: As for `OrdinalSegmenter`, or for a probability outside (0, 1).
        TypeError: If the backbone is not a functional Keras model.

    >>> from keras_ordseg.models import small_backbone
    >>> model = BinarySegmenter(small_backbone((None, None, 1), filters=(4, 8)), initial_probability=0.1)
    >>> round(float(keras.ops.sigmoid(model(keras.ops.zeros((1, 8, 8, 1))))[0, 0, 0, 0]), 4)
    0.1
    """

    def __init__(
        self,
        backbone=None,
        decoder="fpn",
        structures=None,
        initial_probability=None,
        decoder_filters=None,
        dropout=0.0,
        input_channels=None,
        preprocessing="auto",
        name="binary_segmenter",
        trainable=True,
        dtype=None,
    ):
        names = structure_names(structures)
        start = per_structure(initial_probability, "initial_probability", names)
        heads = {
            structure: functools.partial(BinaryHead, start[structure], name=structure or "foreground")
            for structure in names
        }
        super().__init__(
            heads,
            backbone,
            decoder,
            decoder_filters,
            dropout,
            input_channels,
            preprocessing,
            name,
            trainable,
            dtype,
        )
        self._settings = {
            "structures": None if structures is None else list(names),
            "initial_probability": plain(initial_probability, float),
        }

    def get_config(self):
        return {**super().get_config(), **self._settings}


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
