"""Decoders: the feature maps of a backbone, merged into one map of the image's size."""

import functools

from keras import layers

from keras_ordseg.layers.upsample import BilinearUpsampling
from keras_ordseg.models._blocks import conv, conv_norm_relu
from keras_ordseg.models._features import WIDEST, check_filters, sorted_features
from keras_ordseg.models.deeplab import deeplab_decoder


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
    features = sorted_features(features)
    strides = list(features)
    if filters is None:
        filters = min(WIDEST, max(features[strides[-1]].shape[-1] // 2, 2))
    check_filters(filters)
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


def unet_decoder(features, filters=None, attention=False):
    """The expanding path of the U-Net, with attention gates on its skips if wished.

    From the coarsest map on: bilinear enlargement, concatenation with the next finer map, and two times convolution
    3, batch normalisation and ReLU. Where the finest map is smaller than the image, the same step without a map to
    concatenate is repeated, each time with half the filters (not below 16), up to the image's size.

    Args:
        features: Dict `{stride: KerasTensor}` of `feature_maps`.
        filters: Width at the finest map, doubled at every coarser one. Default `None`: at each map the width of the
            backbone there, at most 256.
        attention: Whether each map passes an additive attention gate before it is concatenated (the decoder
            `"attention_unet"`): `x * sigmoid(psi(relu(theta(x) + phi(g))))`, `g` the coarser map of the decoder, on whose
            grid the gate is computed. Default `False`.

    Returns:
        KerasTensor `(batch, *spatial, filters)` of the image's size.

    Raises:
        ValueError: If `features` is empty or `filters` is not a positive int.

    Reference: Ronneberger, Fischer and Brox, *U-Net*, MICCAI 2015; Oktay et al., *Attention U-Net*, MIDL 2018.

    >>> from keras_ordseg.models.backbones import feature_maps, small_backbone
    >>> unet_decoder(feature_maps(small_backbone((64, 64, 1)))).shape
    (None, 64, 64, 16)
    """
    features = sorted_features(features)
    strides = list(features)
    if filters is not None:
        check_filters(filters)
    stride = strides[-1]
    x = features[stride]
    width = x.shape[-1]
    for finer in reversed(strides[:-1]):
        name = f"unet{finer}"
        if filters is None:
            width = min(WIDEST, features[finer].shape[-1])
        else:
            width = filters * 2 ** strides.index(finer)
        skip = features[finer]
        if attention:
            skip = _attention_gate(skip, x, stride // finer, name)
        x = BilinearUpsampling(stride // finer, name=f"{name}_up")(x)
        x = layers.Concatenate(name=f"{name}_skip")([x, skip])
        x = _double_conv(x, width, name)
        stride = finer
    if len(strides) == 1:
        width = min(WIDEST, width) if filters is None else filters
        x = _double_conv(x, width, f"unet{stride}")
    odd = stride // (stride & -stride)
    if odd > 1:  # the patches of a transformer, 14 pixels for example
        x, stride = BilinearUpsampling(odd, name=f"unet{stride}_patch")(x), stride // odd
    while stride > 1:
        stride //= 2
        width = max(min(16, width), width // 2)
        x = BilinearUpsampling(2, name=f"unet{stride}_up")(x)
        x = _double_conv(x, width, f"unet{stride}")
    return x


def upsample_decoder(features, filters=None):
    """The coarsest map, a convolution, and bilinear enlargement: for backbones whose output is a decoded map already.

    What `with_ordinal_head` puts between a segmentation model's own decoder and the head, and the plain choice for
    backbones of one scale, such as vision transformers.

    Args:
        features: Dict `{stride: KerasTensor}` of `feature_maps`; the coarsest is used.
        filters: Width. Default `None`: the map's own, at most 64.

    Returns:
        KerasTensor `(batch, *spatial, filters)` of the image's size.

    Raises:
        ValueError: If `features` is empty or `filters` is not a positive int.

    >>> from keras_ordseg.models.backbones import feature_maps, small_backbone
    >>> upsample_decoder(feature_maps(small_backbone((64, 64, 1), filters=(4, 8)))).shape
    (None, 64, 64, 8)
    """
    stride, x = list(sorted_features(features).items())[-1]
    filters = min(64, x.shape[-1]) if filters is None else filters
    check_filters(filters)
    x = conv_norm_relu(x, filters, "upsample")
    return x if stride == 1 else BilinearUpsampling(stride, name="upsample_full")(x)


def _attention_gate(skip, gate, ratio, name):
    """`skip` times its attention, which is computed on the `ratio` times coarser grid of `gate`."""
    width = max(skip.shape[-1] // 2, 1)
    own = conv(skip, width, ratio, f"{name}_theta", strides=ratio, use_bias=False)
    x = layers.Add(name=f"{name}_gate")([own, conv(gate, width, 1, f"{name}_phi")])
    x = conv(layers.ReLU(name=f"{name}_gate_relu")(x), 1, 1, f"{name}_psi", activation="sigmoid")
    x = BilinearUpsampling(ratio, name=f"{name}_attention")(x)
    return layers.Multiply(name=f"{name}_attended")([skip, x])


def _double_conv(x, width, name):
    return conv_norm_relu(conv_norm_relu(x, width, f"{name}_1"), width, f"{name}_2")


DECODERS = {
    "fpn": fpn_decoder,
    "unet": unet_decoder,
    "attention_unet": functools.partial(unet_decoder, attention=True),
    "deeplabv3plus": deeplab_decoder,
    "upsample": upsample_decoder,
}


def decode(decoder, features, filters=None):
    """The map of the image's size that the named decoder makes; a ValueError for an unknown name."""
    if decoder not in DECODERS:
        raise ValueError(f"decoder: expected one of {', '.join(map(repr, DECODERS))}. Received: {decoder!r}.")
    return DECODERS[decoder](features, filters)
