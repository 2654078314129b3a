"""What the ordinal model and its binary baseline share: image -> backbone -> decoder -> heads."""

import contextlib

import keras
from keras import layers

from keras_ordseg.models.backbones import feature_maps, small_backbone
from keras_ordseg.models.decoders import decode


class Segmenter(keras.Model):
    """A functional model with one head on the decoder, or one for each structure.

    Args:
        heads: Dict `{structure: layer}`, or `{None: layer}` for a single unnamed output.
        backbone, decoder, decoder_filters, dropout, input_channels, name, trainable, dtype: see `OrdinalSegmenter`.
    """

    def __init__(
        self,
        heads,
        backbone=None,
        decoder="fpn",
        decoder_filters=None,
        dropout=0.0,
        input_channels=None,
        name=None,
        trainable=True,
        dtype=None,
    ):
        with dtype_scope(dtype):
            backbone = _resolve_backbone(backbone, input_channels)
            features = feature_maps(backbone)
            # A model of its own over the taps leaves layers out that no tap needs, and lets the input be named.
            taps = {f"stride_{stride}": tap for stride, tap in features.items()}
            taps = keras.Model(backbone.inputs[0], taps, name=f"{backbone.name}_features")
            image = keras.Input(backbone.inputs[0].shape[1:], name="image")
            maps = taps(image)
            x = decode(decoder, {stride: maps[f"stride_{stride}"] for stride in features}, decoder_filters)
            x = _drop(x, dropout)
            outputs = {structure: make_head()(x) for structure, make_head in heads.items()}
            super().__init__(image, outputs.get(None, outputs), name=name)
        self.decoder = decoder
        self.decoder_filters = decoder_filters
        self.dropout = dropout
        self.strides = tuple(features)
        # Not a plain attribute: Keras would then train, without gradient, the layers that the taps leave out.
        self._backbone = lambda: backbone
        if not trainable:
            self.trainable = False

    @property
    def backbone(self):
        """The backbone; its layers are shared with this model, so freezing it freezes them here."""
        return self._backbone()

    def call(self, inputs, training=None, mask=None):
        if isinstance(inputs, dict) and "image" in inputs:
            inputs = inputs["image"]
        self._check_shape(keras.tree.flatten(inputs)[0].shape)
        return super().call(inputs, training=training, mask=mask)

    def predict(self, x, *args, **kwargs):
        if hasattr(x, "shape"):
            self._check_shape(x.shape)
        return super().predict(x, *args, **kwargs)

    predict.__doc__ = keras.Model.predict.__doc__

    def _check_shape(self, shape):
        """A ValueError where the image has the wrong channels, or a known side that the strides do not divide."""
        expected, largest = self.inputs[0].shape, self.strides[-1]
        if len(shape) != len(expected):
            return  # Keras names a wrong rank itself
        *sides, channels = tuple(shape)[1:]
        if channels is not None and channels != expected[-1]:
            raise ValueError(
                f"image: the model '{self.name}' takes images of {expected[-1]} channels, the last axis. Received shape "
                f"{tuple(shape)}."
            )
        if any(side is not None and side % largest for side in sides):
            fit = [None if side is None else -(-side // largest) * largest for side in sides]
            raise ValueError(
                f"image: every side must be divisible by {largest}, the largest stride of the backbone. Received "
                f"images of {_size(sides)} pixels; crop, pad or resize them, for example to {_size(fit)}."
            )

    def get_config(self):
        return {
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "decoder": self.decoder,
            "decoder_filters": self.decoder_filters,
            "dropout": self.dropout,
            "input_channels": self.inputs[0].shape[-1],
            "name": self.name,
            "trainable": self.trainable,
            "dtype": keras.saving.serialize_keras_object(self.dtype_policy),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        if isinstance(config.get("dtype"), dict):
            config["dtype"] = keras.saving.deserialize_keras_object(config["dtype"])
        if isinstance(config.get("backbone"), dict):
            with dtype_scope(config.get("dtype")):
                config["backbone"] = keras.saving.deserialize_keras_object(
                    config["backbone"], custom_objects=custom_objects
                )
        return cls(**config)


@contextlib.contextmanager
def dtype_scope(dtype):
    """Layers built inside run under this dtype policy; `None` is the global one."""
    before = keras.config.dtype_policy()
    if dtype is not None:
        keras.config.set_dtype_policy(dtype)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def per_structure(value, argument, structures):
    """`{structure: value}` from one value for all structures or a dict with an entry for each."""
    if not isinstance(value, dict):
        return dict.fromkeys(structures, value)
    if None in structures:
        raise ValueError(
            f"{argument}: expected one value, not a dict, because the model has a single output. Received keys "
            f"{list(value)}; name them in structures={tuple(value)!r}."
        )
    if set(value) != set(structures):
        raise ValueError(
            f"{argument}: expected one value for all structures, or a dict with the keys {list(structures)}. Received "
            f"keys {list(value)}."
        )
    return value


def structure_names(structures):
    """`structures` as a tuple of names, `(None,)` for a single unnamed output."""
    if structures is None:
        return (None,)
    names = () if isinstance(structures, str) else tuple(structures)
    if not names or len(set(names)) < len(names) or not all(isinstance(name, str) and name for name in names):
        raise ValueError(
            "structures: expected distinct names such as ('disc', 'cup'), or None for a single output. "
            f"Received: {structures!r}."
        )
    return names


def _resolve_backbone(backbone, input_channels):
    if backbone is None:
        return small_backbone((None, None, 3 if input_channels is None else input_channels))
    channels = backbone.inputs[0].shape[-1] if getattr(backbone, "inputs", None) else None
    if input_channels is not None and channels is not None and input_channels != channels:
        raise ValueError(
            f"input_channels: the backbone '{backbone.name}' takes {channels} channels. Received: {input_channels}. "
            "Leave input_channels out when a backbone is given."
        )
    return backbone


def _drop(x, rate):
    if not isinstance(rate, (int, float)) or not 0 <= rate < 1:
        raise ValueError(f"dropout: expected a rate in [0, 1). Received: {rate!r}.")
    if rate == 0:
        return x
    layer = {1: layers.SpatialDropout1D, 2: layers.SpatialDropout2D, 3: layers.SpatialDropout3D}[
        len(x.shape) - 2
    ]
    return layer(rate, name="decoder_dropout")(x)


def _size(sides):
    return "×".join("?" if side is None else str(side) for side in sides)
