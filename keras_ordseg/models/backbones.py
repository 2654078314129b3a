"""Feature maps of any backbone, and the small default one."""

import keras

from keras_ordseg.models._alignment import AlignToStride
from keras_ordseg.models._blocks import conv_norm_relu, pool
from keras_ordseg.models._taps import named_maps, named_taps, scanned_maps


def feature_maps(backbone):
    """The feature maps of a backbone by their true stride, finest first.

    Looked for in this order: `backbone.pyramid_outputs` (keras-hub), `backbone.pyramid_level_inputs` (keras-cv: names
    of layers), the outputs of a functional model that gives a dict or a list, and else the graph of the model itself
    (`keras.applications`, any encoder): of the maps of one size the last that everything after it is made of.

    The stride is the ratio of the image's side to the map's side, never read from a key: libraries number their levels
    differently. Where several maps share a stride the last one, the deepest, is taken. A map that unpadded
    convolutions left up to a fifth too small (Inception, Xception) is brought to size by repeating its edges.

    Args:
        backbone: A functional `keras.Model` with one input `(batch, *spatial, channels)`, channels last.

    Returns:
        A dict `{stride: KerasTensor}` in ascending order of the strides, which are powers of two; a single map may have
        another one, such as a transformer's patches of 14 pixels.

    Raises:
        TypeError: If `backbone` is not a functional Keras model.
        ValueError: If no feature maps are found, or their sides do not divide the image's.

    >>> list(feature_maps(small_backbone((None, None, 3), filters=(4, 8, 16))))
    [1, 2, 4]
    """
    image = _single_input(backbone)
    taps = named_taps(backbone)
    found = scanned_maps(backbone, image) if taps is None else named_maps(backbone, image, taps)
    if len(found) > 1 and any(stride & (stride - 1) for stride in found):
        raise ValueError(
            f"backbone: the strides of several maps must be powers of two; '{backbone.name}' has {list(found)}."
        )
    return {
        stride: tap if exact else AlignToStride(stride, name=f"align{stride}")([tap, image])
        for stride, (tap, exact) in sorted(found.items(), key=lambda item: item[0])
    }


def _single_input(backbone):
    """The backbone's input tensor; errors name what is wrong with it."""
    if not isinstance(backbone, keras.Model):
        raise TypeError(
            "backbone: expected a keras.Model such as keras_cv.models.ResNetV2Backbone(...) or "
            f"models.small_backbone(), or None for the default. Received: {backbone!r} of type {type(backbone).__name__}."
        )
    inputs = getattr(backbone, "inputs", None)
    if not inputs:
        raise TypeError(
            f"backbone: '{backbone.name}' is not a functional model, so its feature maps cannot be reached. "
            "Build it as keras.Model(inputs, outputs)."
        )
    if len(inputs) != 1 or not 3 <= len(inputs[0].shape) <= 5 or inputs[0].shape[-1] is None:
        raise ValueError(
            "backbone: expected one input (batch, *spatial, channels) with one to three spatial axes and a known "
            f"number of channels. '{backbone.name}' takes {[tuple(x.shape) for x in inputs]}."
        )
    return inputs[0]


def small_backbone(input_shape=(None, None, 1), filters=(16, 32, 64, 128), name="small_backbone"):
    """A small convolutional encoder that trains on a laptop.

    One level for each entry of `filters`, at strides 1, 2, 4, 8, ...: two times convolution 3, batch normalisation
    and ReLU, then max pooling to the next level: the contracting path of the U-Net. TensorFlow on a CPU has
    no max pooling of volumes in float16: train in `"float32"` or `"mixed_bfloat16"` there.

    Args:
        input_shape: `(*spatial, channels)` with one, two or three spatial axes; `None` for any size.
            Default `(None, None, 1)`.
        filters: Filters of each level, finest first. Default `(16, 32, 64, 128)`.
        name: Name of the model.

    Returns:
        A functional `keras.Model` whose output is a dict of feature maps, `"stride_1"`, `"stride_2"`, ...

    Raises:
        ValueError: If `input_shape` or `filters` cannot be used.

    Reference: Ronneberger, Fischer and Brox, *U-Net*, MICCAI 2015.

    >>> small_backbone((64, 64, 3), filters=(8, 16)).output["stride_2"].shape
    (None, 32, 32, 16)
    """
    rank = len(input_shape) - 1
    if not 1 <= rank <= 3 or input_shape[-1] is None:
        raise ValueError(
            "input_shape: expected (*spatial, channels) with one to three spatial axes and a known number of "
            f"channels. Received: {input_shape}."
        )
    if not filters or any(f < 1 for f in filters):
        raise ValueError(f"filters: expected one positive number for each level. Received: {filters}.")
    image = x = keras.Input(input_shape, name="image")
    outputs = {}
    for level, width in enumerate(filters):
        if level:
            x = pool(x, name=f"level{level}_pool")
        for step in (1, 2):
            x = conv_norm_relu(x, width, name=f"level{level}_{step}")
        outputs[f"stride_{2**level}"] = x
    return keras.Model(image, outputs, name=name)
