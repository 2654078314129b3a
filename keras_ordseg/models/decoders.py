"""Decoders: the feature maps of a backbone, merged into one map of the image's size."""

from keras import layers

from keras_ordseg.layers.upsample import BilinearUpsampling
from keras_ordseg.models._blocks import conv, conv_norm_relu

_WIDEST = 256  # filters; the width of the published pyramid, and the cap of both decoders' defaults


def fpn_decoder(features, filters=None):
    """Feature pyramid network with its semantic segmentation branch.

    Top-down: a 1x1 convolution of every map, plus the bilinearly enlarged sum of the coarser ones, then a 3x3
    convolution. Segmentation branch: every level of the pyramid passes through (3x3 convolution, group
    normalisation, ReLU, bilinear x2) until it has the size of the finest; the levels are added, and the sum is
    enlarged to the size of the image.

    Args:
        features: Dict `{stride: KerasTensor}` of `feature_maps`.
        filters: Width of the pyramid; the branch has half of it. Default `None`: half the channels of the coarsest
            map, at most 256 (the published width).

    Returns:
        KerasTensor `(batch, *spatial, filters // 2)` of the image's size.

    Raises:
        ValueError: If `features` is empty or `filters` is not a positive int.

    Reference: Lin et al., *Feature Pyramid Networks for Object Detection*, CVPR 2017; Kirillov et al., *Panoptic
    Feature Pyramid Networks*, CVPR 2019.

    >>> from keras_ordseg.models.backbones import feature_maps, small_backbone
    >>> fpn_decoder(feature_maps(small_backbone((64, 64, 1))), filters=32).shape
    (None, 64, 64, 16)
    """
    features = _sorted(features)
    strides = list(features)
    if filters is None:
        filters = min(_WIDEST, max(features[strides[-1]].shape[-1] // 2, 2))
    _check_filters(filters)
    branch_filters = max(filters // 2, 1)
    finest, above, branches = strides[0], None, []
    for stride in reversed(strides):
        name = f"fpn{stride}"
        merged = conv(features[stride], filters, 1, f"{name}_lateral")
        if above is not None:
            coarse = BilinearUpsampling(above[0] // stride, name=f"{name}_topdown")(above[1])
            merged = layers.Add(name=f"{name}_merge")([merged, coarse])
        above = (stride, merged)
        x = conv(merged, filters, 3, f"{name}_pyramid")
        x = conv_norm_relu(x, branch_filters, f"{name}_branch{stride}", norm="group")
        size = stride
        while size > finest:
            size //= 2
            x = BilinearUpsampling(2, name=f"{name}_up{size}")(x)
            if size > finest:
                x = conv_norm_relu(x, branch_filters, f"{name}_branch{size}", norm="group")
        branches.append(x)
    x = layers.Add(name="fpn_sum")(branches) if len(branches) > 1 else branches[0]
    return x if finest == 1 else BilinearUpsampling(finest, name="fpn_full")(x)


def unet_decoder(features, filters=None):
    """The expanding path of the U-Net.

    From the coarsest map on: bilinear enlargement, concatenation with the next finer map, and two times convolution
    3, batch normalisation and ReLU. Where the finest map is smaller than the image, the same step without a map to
    concatenate is repeated, each time with half the filters (not below 16), up to the image's size.

    Args:
        features: Dict `{stride: KerasTensor}` of `feature_maps`.
        filters: Width at the finest map, doubled at every coarser one. Default `None`: at each map the width of the
            backbone there, at most 256.

    Returns:
        KerasTensor `(batch, *spatial, filters)` of the image's size.

    Raises:
        ValueError: If `features` is empty or `filters` is not a positive int.

    Reference: Ronneberger, Fischer and Brox, *U-Net*, MICCAI 2015.

    >>> from keras_ordseg.models.backbones import feature_maps, small_backbone
    >>> unet_decoder(feature_maps(small_backbone((64, 64, 1)))).shape
    (None, 64, 64, 16)
    """
    features = _sorted(features)
    strides = list(features)
    if filters is not None:
        _check_filters(filters)
    stride = strides[-1]
    x = features[stride]
    width = x.shape[-1]
    for finer in reversed(strides[:-1]):
        name = f"unet{finer}"
        if filters is None:
            width = min(_WIDEST, features[finer].shape[-1])
        else:
            width = filters * 2 ** strides.index(finer)
        x = BilinearUpsampling(stride // finer, name=f"{name}_up")(x)
        x = layers.Concatenate(name=f"{name}_skip")([x, features[finer]])
        x = _double_conv(x, width, name)
        stride = finer
    if len(strides) == 1:
        width = min(_WIDEST, width) if filters is None else filters
        x = _double_conv(x, width, f"unet{stride}")
    while stride > 1:
        stride //= 2
        width = max(min(16, width), width // 2)
        x = BilinearUpsampling(2, name=f"unet{stride}_up")(x)
        x = _double_conv(x, width, f"unet{stride}")
    return x


def _double_conv(x, width, name):
    return conv_norm_relu(conv_norm_relu(x, width, f"{name}_1"), width, f"{name}_2")


def _sorted(features):
    if not features:
        raise ValueError("features: expected at least one feature map {stride: KerasTensor}. Received none.")
    return dict(sorted(features.items()))


def _check_filters(filters):
    if not isinstance(filters, int) or isinstance(filters, bool) or filters < 1:
        raise ValueError(
            f"decoder_filters: expected a positive int, or None for the default. Received: {filters!r}."
        )


DECODERS = {"fpn": fpn_decoder, "unet": unet_decoder}


def decode(decoder, features, filters=None):
    """The map of the image's size that the named decoder makes; a ValueError for an unknown name."""
    if decoder not in DECODERS:
        raise ValueError(f"decoder: expected one of {', '.join(map(repr, DECODERS))}. Received: {decoder!r}.")
    return DECODERS[decoder](features, filters)
