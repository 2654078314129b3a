"""DeepLabV3+: atrous convolutions at several rates over the coarsest map, and one finer map."""

from keras import layers

from keras_ordseg.layers.upsample import BilinearUpsampling
from keras_ordseg.models._blocks import conv, conv_norm_relu
from keras_ordseg.models._features import WIDEST, check_filters, sorted_features

_REACH = 96  # pixels of the image between the taps of the narrowest atrous convolution: rate 6 at stride 16
_LOW_STRIDE = 4
_LOW_FILTERS = 48


def deeplab_decoder(features, filters=None):
    """The decoder of DeepLabV3+.

    Atrous spatial pyramid pooling over the coarsest map: a 1x1 convolution, three 3x3 convolutions at growing rates (6,
    12 and 18 at stride 16, as published; at another stride those of the same reach in pixels, at least 1) and the
    mean of the image, projected together. Then bilinear enlargement to the map nearest stride 4, which comes in over 48
    channels, two 3x3 convolutions, and enlargement to the size of the image.

    Args:
        features: Dict `{stride: KerasTensor}` of `feature_maps`. With a single map there is no finer one to come in.
        filters: Width. Default `None`: half the channels of the coarsest map, at most 256 (the published width).

    Returns:
        KerasTensor `(batch, *spatial, filters)` of the image's size.

    Raises:
        ValueError: If `features` is empty or `filters` is not a positive int.

    Reference: Chen et al., *Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation*, ECCV 2018.

    >>> from keras_ordseg.models.backbones import feature_maps, small_backbone
    >>> deeplab_decoder(feature_maps(small_backbone((64, 64, 1))), filters=32).shape
    (None, 64, 64, 32)
    """
    features = sorted_features(features)
    *finer, stride = features
    if filters is None:
        filters = min(WIDEST, max(features[stride].shape[-1] // 2, 2))
    check_filters(filters)
    x = _pyramid_pooling(features[stride], filters, max(_REACH // stride, 1))
    if finer:
        low = min(finer, key=lambda s: (abs(s.bit_length() - _LOW_STRIDE.bit_length()), s))
        x = BilinearUpsampling(stride // low, name="deeplab_up")(x)
        detail = conv_norm_relu(features[low], min(_LOW_FILTERS, features[low].shape[-1]), "deeplab_low", kernel_size=1)
        x = layers.Concatenate(name="deeplab_concat")([x, detail])
        stride = low
    x = conv_norm_relu(x, filters, "deeplab_1")
    x = conv_norm_relu(x, filters, "deeplab_2")
    return x if stride == 1 else BilinearUpsampling(stride, name="deeplab_full")(x)


def _pyramid_pooling(x, filters, rate):
    """The branches, projected: a 1x1 convolution of their concatenation, that of the image's mean added by broadcasting."""
    branches = [conv_norm_relu(x, filters, "aspp0", kernel_size=1)]
    for step in (1, 2, 3):
        branches.append(conv_norm_relu(x, filters, f"aspp{step}", dilation_rate=step * rate))
    rank = len(x.shape) - 2
    pooling = {
        1: layers.GlobalAveragePooling1D,
        2: layers.GlobalAveragePooling2D,
        3: layers.GlobalAveragePooling3D,
    }[rank]
    mean = pooling(keepdims=True, data_format="channels_last", name="aspp_mean")(x)
    mean = conv(mean, filters, 1, "aspp_mean", activation="relu")  # no normalisation: there is one value for each image
    mean = conv(mean, filters, 1, "aspp_mean_project", use_bias=False)
    joined = conv(layers.Concatenate(name="aspp_concat")(branches), filters, 1, "aspp_project", use_bias=False)
    x = layers.Add(name="aspp_sum")([joined, mean])
    x = layers.BatchNormalization(momentum=0.9, name="aspp_norm")(x)
    return layers.ReLU(name="aspp_relu")(x)
