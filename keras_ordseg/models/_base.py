"""What the ordinal model and its binary baseline share: image -> backbone -> decoder -> heads."""

import keras
from keras import layers

from keras_ordseg.models._arguments import dtype_scope
from keras_ordseg.models._structures import StructuredModel
from keras_ordseg.models.backbones import feature_maps, small_backbone
from keras_ordseg.models.decoders import decode
from keras_ordseg.models.described import DescribedImage, describe_images
from keras_ordseg.models.preprocessing import input_scaling, named_mode, resolved


class Segmenter(StructuredModel):
    """A functional model with one head on the decoder, or one for each structure.

    Args:
        heads: Dict `{structure: layer}`, or `{None: layer}` for a single unnamed output.
        backbone, decoder, decoder_filters, dropout, input_channels, preprocessing, name, trainable, dtype: see
            `OrdinalSegmenter`.
        join: `None`, or what makes the outputs of the heads' outputs, a dict by structure each.
    """

    def __init__(
        self,
        heads,
        backbone=None,
        decoder="fpn",
        decoder_filters=None,
        dropout=0.0,
        input_channels=None,
        preprocessing="auto",
        name=None,
        trainable=True,
        dtype=None,
        join=None,
    ):
        with dtype_scope(dtype):
            backbone = _resolve_backbone(backbone, input_channels)
            features = feature_maps(backbone)
            # A model of its own over the taps leaves layers out that no tap needs, and lets the input be named.
            taps = {f"stride_{stride}": tap for stride, tap in features.items()}
            taps = keras.Model(backbone.inputs[0], taps, name=f"{backbone.name}_features")
            preprocessing = resolved(backbone, preprocessing)
            scaling = input_scaling(backbone, preprocessing)
            image = _image(backbone, input_channels)
            x = DescribedImage(name="described_image")(image)
            if image.shape[-1] != backbone.inputs[0].shape[-1]:
                x = layers.Concatenate(name="grey_to_rgb")([x] * 3)
            maps = taps(x if scaling is None else scaling(x))
            x = decode(decoder, {stride: maps[f"stride_{stride}"] for stride in features}, decoder_filters)
            x = _drop(x, dropout)
            outputs = {structure: make_head()(x) for structure, make_head in heads.items()}
            outputs = outputs if join is None else join(outputs)
            super().__init__(image, outputs.get(None, outputs), name=name)
        self.decoder = decoder
        self.decoder_filters = decoder_filters
        self.dropout = dropout
        self.preprocessing = preprocessing
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
        check_image(keras.tree.flatten(inputs)[0].shape, self, self.strides[-1])
        return super().call(inputs, training=training, mask=mask)

    def predict(self, x, *args, **kwargs):
        if hasattr(x, "shape"):
            check_image(x.shape, self, self.strides[-1])
        return super().predict(x, *args, **kwargs)

    predict.__doc__ = keras.Model.predict.__doc__

    def get_config(self):
        return {
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "decoder": self.decoder,
            "decoder_filters": self.decoder_filters,
            "dropout": self.dropout,
            "input_channels": self.inputs[0].shape[-1],
            "preprocessing": keras.saving.serialize_keras_object(self.preprocessing),
            "name": self.name,
            "trainable": self.trainable,
            "dtype": keras.saving.serialize_keras_object(self.dtype_policy),
            "images": self.get_layer("described_image").description,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        images = config.pop("images", None)  # not in files of earlier releases
        if isinstance(config.get("dtype"), dict):
            config["dtype"] = keras.saving.deserialize_keras_object(config["dtype"])
        with dtype_scope(config.get("dtype")):
            for name in ("backbone", "preprocessing"):
                if isinstance(config.get(name), dict):
                    config[name] = keras.saving.deserialize_keras_object(config[name], custom_objects=custom_objects)
        if config.get("preprocessing") == "auto":  # a file of an earlier release, which went by names
            config["preprocessing"] = named_mode(config["backbone"])
        model = cls(**config)
        return model if images is None else describe_images(model, **images)


def check_image(shape, model, multiple):
    """A ValueError where the image has the wrong channels, or a known side that `multiple` does not divide."""
    expected = model.inputs[0].shape
    if len(shape) != len(expected):
        return  # Keras names a wrong rank itself
    *sides, channels = tuple(shape)[1:]
    if channels is not None and channels != expected[-1]:
        raise ValueError(
            f"image: the model '{model.name}' takes images of {expected[-1]} channels, the last axis. Received shape "
            f"{tuple(shape)}."
        )
    if any(side is not None and side % multiple for side in sides):
        fit = [None if side is None else -(-side // multiple) * multiple for side in sides]
        raise ValueError(
            f"image: every side must be divisible by {multiple}, the largest stride of the backbone. Received "
            f"images of {_size(sides)} pixels; crop, pad or resize them, for example to {_size(fit)}."
        )


def _resolve_backbone(backbone, input_channels):
    if backbone is None:
        return small_backbone((None, None, 3 if input_channels is None else input_channels))
    channels = backbone.inputs[0].shape[-1] if getattr(backbone, "inputs", None) else None
    grey = (input_channels, channels) == (1, 3)
    if input_channels is not None and channels is not None and input_channels != channels and not grey:
        raise ValueError(
            f"input_channels: the backbone '{backbone.name}' takes {channels} channels. Received: {input_channels}. "
            "Leave input_channels out when a backbone is given; 1 is also taken by a backbone of 3 channels, which "
            "then sees the grey image three times."
        )
    return backbone


def _image(backbone, input_channels):
    *shape, channels = backbone.inputs[0].shape[1:]
    return keras.Input((*shape, channels if input_channels is None else input_channels), name="image")


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
