"""From images in [0, 1] to what a backbone was trained on, inside the model."""

import re

import keras
import numpy as np
from keras import ops

from keras_ordseg.models._encoders import mode_of
from keras_ordseg.models._graph import first_layers

# Of images of 0..255: scale, offset, and whether the channels are read as BGR
_MODES = {
    "0-255": (1.0, 0.0, False),
    "tf": (1 / 127.5, -1.0, False),
    "torch": (
        (1 / (255 * 0.229), 1 / (255 * 0.224), 1 / (255 * 0.225)),
        (-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225),
        False,
    ),
    "caffe": (1.0, (-103.939, -116.779, -123.68), True),
}
# Of earlier releases, whose files hold "auto" and were trained with what the model's name told
_APPLICATIONS = (
    (r"densenet(121|169|201)|convnext_|efficientnetv2-b", "torch"),
    (r"resnet(50|101|152)v2|mobilenet|efficientnetv2|inception|xception|nasnet", "tf"),
    (r"resnet(50|101|152)|vgg(16|19)", "caffe"),
)


@keras.saving.register_keras_serializable(package="keras_ordseg")
class ImageScaling(keras.layers.Layer):
    """`scale * x + offset` for each channel, in float32 under every precision policy.

    Args:
        scale: A number, or one for each channel. Default 1.
        offset: The same. Default 0.
        reverse_channels: Whether the channels are reversed first (RGB to BGR). Default `False`.
        **kwargs: Keyword arguments of `keras.layers.Layer`.

    >>> float(ImageScaling(2.0, -1.0)(ops.ones((1, 2, 2, 1)))[0, 0, 0, 0])
    1.0
    """

    def __init__(self, scale=1.0, offset=0.0, reverse_channels=False, **kwargs):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.scale, self.offset = np.asarray(scale, "float32").tolist(), np.asarray(offset, "float32").tolist()
        self.reverse_channels = bool(reverse_channels)

    def call(self, inputs):
        x = ops.flip(inputs, axis=-1) if self.reverse_channels else inputs
        return x * ops.convert_to_tensor(self.scale, x.dtype) + ops.convert_to_tensor(self.offset, x.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "scale": self.scale,
            "offset": self.offset,
            "reverse_channels": self.reverse_channels,
        }


def input_scaling(backbone, preprocessing="auto"):
    """The layer that turns images in [0, 1] into what a backbone expects.

    Args:
        backbone: A functional Keras model.
        preprocessing: How the backbone's weights were trained:

            - `"auto"` (default): `"0-255"` where the backbone itself begins with a division by 255 or 127.5 or a
              normalisation of such values (keras-cv with `include_rescaling=True`, EfficientNet, ConvNeXt …); for a model
              of `keras.applications`, known by its first layers, whether cut to feature maps, renamed or wrapped, what
              that needs; for a keras-hub segmenter the scale and offset of its own preprocessor; else `None`;
            - `None`: on images in [0, 1], as keras-cv trained its presets with `include_rescaling=False`;
            - `"0-255"`, `"tf"` (to [-1, 1]), `"torch"` (mean and deviation of ImageNet), `"caffe"` (BGR, mean of ImageNet
              taken off): the terms of `keras.applications`;
            - a keras-hub `ImageConverter`, whose scale and offset are taken;
            - any other Keras layer, called on images in [0, 1].

    Returns:
        A Keras layer, or `None` where images in [0, 1] are right.

    Raises:
        ValueError: For something else, or a mode of three channels on another number of channels.

    >>> from keras_ordseg.models import small_backbone
    >>> input_scaling(small_backbone((None, None, 3))) is None
    True
    >>> input_scaling(small_backbone((None, None, 3)), "tf").scale
    2.0
    """
    preprocessing = resolved(backbone, preprocessing)
    if preprocessing is None:
        return None
    if isinstance(preprocessing, str) and preprocessing in _MODES:
        scale, offset, reverse = _MODES[preprocessing]
        channels = backbone.inputs[0].shape[-1]
        if np.ndim(offset) and channels != 3:
            raise ValueError(
                f"preprocessing: {preprocessing!r} is for images of 3 channels; '{backbone.name}' takes {channels}."
            )
        return ImageScaling(255.0 * np.asarray(scale), offset, reverse, name="image_scaling")
    if isinstance(preprocessing, keras.layers.Layer):
        if hasattr(preprocessing, "image_size") and hasattr(preprocessing, "offset"):  # keras-hub's ImageConverter
            scale = 1.0 if preprocessing.scale is None else np.ravel(preprocessing.scale)
            offset = 0.0 if preprocessing.offset is None else np.ravel(preprocessing.offset)
            return ImageScaling(255.0 * np.asarray(scale), offset, name="image_scaling")
        return preprocessing
    raise ValueError(
        f"preprocessing: expected 'auto', None, one of {tuple(_MODES)} or a Keras layer. Received: {preprocessing!r}."
    )


def resolved(backbone, preprocessing):
    """`preprocessing` with `"auto"` replaced by what it means for this backbone, so that a file says it."""
    if not isinstance(preprocessing, str) or preprocessing != "auto":
        return preprocessing
    converter = _converter(backbone)
    return mode_of(backbone) if converter is None else input_scaling(backbone, converter)


def named_mode(backbone):
    """What `"auto"` meant in earlier releases, by the first layers, the class and the name of the backbone."""
    if backbone is None or (converter := _converter(backbone)) is not None:
        return None if backbone is None else converter
    layers = first_layers(backbone)
    first = layers[0] if layers else None
    if isinstance(first, keras.layers.Rescaling) and np.max(first.scale) < 0.1:
        return "0-255"
    if isinstance(first, keras.layers.Normalization) and first.input_mean is not None and np.max(first.input_mean) > 2:
        return "0-255"
    if backbone.inputs[0].shape[-1] != 3 or type(backbone).__name__ != "Functional":
        return None
    name = backbone.name.lower()
    return next((mode for pattern, mode in _APPLICATIONS if re.match(pattern, name)), None)


def mode_name(scaling):
    """The mode that an `ImageScaling` carries out, or its numbers where it is none."""
    given = (np.asarray(scaling.scale), np.asarray(scaling.offset), scaling.reverse_channels)
    for name, (scale, offset, reverse) in _MODES.items():
        same = given[2] == reverse and given[0].shape == np.shape(scale) and given[1].shape == np.shape(offset)
        if same and np.allclose(given[0], 255.0 * np.asarray(scale)) and np.allclose(given[1], offset):
            return name
    return {"scale": scaling.scale, "offset": scaling.offset, "reverse_channels": scaling.reverse_channels}


def _converter(backbone):
    return getattr(getattr(backbone, "preprocessor", None), "image_converter", None)
