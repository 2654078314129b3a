"""What an encoder's graph tells of the images that it was trained on, whatever its name and class."""

import re
import warnings

import keras
import numpy as np
from keras import ops

from keras_ordseg.models._graph import history

# Of each model of keras.applications its mode, the names of its first layers, which stay when a model is renamed, and
# the filters of its first convolutions where other networks have such names.
_STEMS = (
    ("ResNet", "caffe", "conv1_pad conv1_conv conv1_bn conv1_relu pool1_pad pool1_pool conv2_block1_", ""),
    ("ResNetV2", "tf", "conv1_pad conv1_conv pool1_pad pool1_pool conv2_block1_preact_bn", ""),
    ("VGG", "caffe", "block1_conv1 block1_conv2 block1_pool block2_conv1 block2_conv2", "64 64 128 128"),
    ("DenseNet", "torch", r"\S+ conv1_conv conv1_bn conv1_relu \S+ pool1 conv2_block1_0_bn", ""),
    ("MobileNet", "tf", r"(\S+ )?conv1 conv1_bn conv1_relu conv_dw_1", ""),
    ("MobileNetV2", "tf", r"(\S+ )?Conv1 bn_Conv1 Conv1_relu expanded_conv_depthwise", ""),
    ("MobileNetV3", "tf", r"conv conv_bn \S+ (expanded_conv_depthwise_pad )?expanded_conv_depthwise", ""),
    ("Xception", "tf", "block1_conv1 block1_conv1_bn block1_conv1_act block1_conv2 block1_conv2_bn", "32 64 "),
    ("NASNet", "tf", r"stem_conv1 stem_bn1 \S+ reduction_conv_1_stem_1", ""),
    ("ConvNeXt", "torch", r"\S*_stem_conv \S*_stem_layernorm \S*_stage_0_block_0_depthwise_conv", ""),
    ("EfficientNetV2-B", "torch", "stem_conv stem_bn stem_activation block1a_project_conv", r"\d+ 16 "),
    ("EfficientNetV2", "tf", "stem_conv stem_bn stem_activation block1a_project_conv", r"\d+ (24|32) "),
)
# Inception numbers its layers as they are made, so its stem is known by filters, kernel, stride and padding.
_INCEPTION = [(32, 3, 2, "valid"), (32, 3, 1, "valid"), (64, 3, 1, "same"), (80, 1, 1, "valid"), (192, 3, 1, "valid")]
_LIBRARIES = ("keras_cv", "keras_hub", "keras_nlp")


def mode_of(model):
    """The preprocessing mode that the graph of an encoder tells, or `None` for images in [0, 1].

    `"0-255"` where it begins with a scaling of such values; that of a model of `keras.applications` where its first layers
    are that model's, cut, renamed, cloned or wrapped as it may be.
    """
    scaled = _front(model)
    if scaled is not None:
        slope, mean = scaled
        return "0-255" if slope < 0.1 or mean > 2 else None
    if model.inputs[0].shape[-1] != 3:
        return None
    layers = _flat(model)
    convolutions = [layer for layer in layers if isinstance(layer, keras.layers.Conv2D)][: len(_INCEPTION)]
    found = [(x.filters, x.kernel_size[0], x.strides[0], x.padding) for x in convolutions]
    if found == _INCEPTION and not any(layer.use_bias for layer in convolutions):
        return "tf"
    names = " ".join(layer.name for layer in layers[:16])
    filters = " ".join(str(layer.filters) for layer in layers[:16] if isinstance(layer, keras.layers.Conv2D)) + " "
    for name, mode, stem, widths in _STEMS:
        if re.search(rf"(^| ){stem}", names) and re.match(widths, filters):
            cut_short = name == "VGG" and "block3_conv3" not in names  # own encoders have such names as well
            if cut_short or hasattr(model, "_segmenter"):  # a trained segmenter may have seen what it liked
                _assumed(model, name, mode)
            return mode
    return None


def _assumed(model, name, mode):
    warnings.warn(
        f"preprocessing: the first layers of '{model.name}' are named as those of keras.applications' {name}, so images are "
        f"prepared as {mode!r}. Give preprocessing={mode!r} where that is right, else preprocessing=None.",
        stacklevel=6,
    )


def _flat(model):
    """The layers of a model in their order, those of models used as layers in their place; none of another library's."""
    if type(model).__module__.split(".")[0] in _LIBRARIES:
        return []
    found = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found += _flat(layer)
        elif not isinstance(layer, keras.layers.InputLayer):
            found.append(layer)
    return found


def _front(model):
    """Slope, and mean in units of the image, of what a model does to an image before its first weights; `None` if nothing.

    Measured on an image of zeros and one of ones, since a scaling may be a layer or plain arithmetic.
    """
    shape = model.inputs[0].shape
    sides = [32 if side is None else side for side in shape[1:-1]]
    dark, bright = (np.full((1, *sides, shape[-1]), value, "float32") for value in (0, 1))
    try:
        dark, bright = (ops.convert_to_numpy(_through_front(model, image)) for image in (dark, bright))
    except (ValueError, TypeError, RuntimeError, KeyError):  # a graph that does not take this size or cannot be cut
        return None
    slope, offset = float(np.max(np.abs(bright - dark))), float(np.max(np.abs(dark)))
    return None if slope == 0 or (slope == 1 and offset == 0) else (slope, offset / slope)


def _through_front(model, image):
    order, seen = [], set()
    stack = list(keras.tree.flatten(model.outputs))[::-1]
    while stack:  # depth first, inputs before what is made of them
        tensor = stack[-1]
        before = [x for x in history(tensor)[1] if isinstance(x, keras.KerasTensor) and id(x) not in seen]
        if before:
            stack.extend(before)
            continue
        stack.pop()
        if id(tensor) not in seen:
            seen.add(id(tensor))
            order.append(tensor)
    for tensor in order:
        operation, inputs = history(tensor)
        weighted = getattr(operation, "weights", None) and not isinstance(operation, keras.layers.Normalization)
        if weighted and inputs:
            if inputs[0] is not model.inputs[0] and history(inputs[0])[1]:
                image = keras.Model(model.inputs[0], inputs[0])(image, training=False)
            if isinstance(operation, keras.Model) and getattr(operation, "inputs", None):
                return _through_front(operation, image)
            return image
    return image
