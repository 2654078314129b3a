"""Convolution blocks for feature maps with one, two or three spatial axes, channels last."""

import math

from keras import layers


def pool(x, name):
    """Max pooling by two along every spatial axis."""
    layer = {1: layers.MaxPooling1D, 2: layers.MaxPooling2D, 3: layers.MaxPooling3D}[len(x.shape) - 2]
    return layer(2, data_format="channels_last", name=name)(x)


def conv(x, filters, kernel_size, name, **kwargs):
    """A same-padded convolution over the spatial axes of `x`."""
    layer = {1: layers.Conv1D, 2: layers.Conv2D, 3: layers.Conv3D}[len(x.shape) - 2]
    return layer(
        filters, kernel_size, padding="same", data_format="channels_last", name=f"{name}_conv", **kwargs
    )(x)


def conv_norm_relu(x, filters, name, kernel_size=3, norm="batch", **kwargs):
    """Convolution, batch (momentum 0.9) or group normalisation (up to 32 groups) and ReLU."""
    x = conv(x, filters, kernel_size, name, use_bias=False, kernel_initializer="he_normal", **kwargs)
    if norm == "batch":
        x = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
    else:
        x = layers.GroupNormalization(math.gcd(32, filters), name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x)
