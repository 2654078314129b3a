import keras
import numpy as np
import pytest

from keras_ordseg.models import fpn_decoder, unet_decoder
from tests.models.test_upsampling import reference_upsampling

DECODERS = {"fpn": fpn_decoder, "unet": unet_decoder}


def features(strides, rank=2, side=32, channels=4):
    spatial = {stride: ((None if side is None else side // stride),) * rank for stride in strides}
    return {stride: keras.Input((*spatial[stride], channels * (i + 1))) for i, stride in enumerate(strides)}


def weights(model):
    """`{layer name: its weights in float64}`, after moving all of them away from their start."""
    rng = np.random.default_rng(3)
    for variable in model.variables:
        positive = variable.name in ("gamma", "moving_variance")
        variable.assign(rng.uniform(0.5 if positive else -0.5, 1.5 if positive else 0.5, variable.shape))
    return {
        layer.name: [np.asarray(w, "float64") for w in layer.get_weights()]
        for layer in model.layers
        if layer.weights
    }


def convolve(x, kernel, bias=0.0):
    """A same-padded convolution of a line `(batch, length, channels)`."""
    size = kernel.shape[0]
    padded = np.pad(x, [(0, 0), (size // 2, size // 2), (0, 0)])
    return sum(padded[:, k : k + x.shape[1]] @ kernel[k] for k in range(size)) + bias


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("strides", [(1, 2, 4), (4, 8), (2, 16), (8,)], ids=["full", "stem", "gap", "single"])
def test_full_resolution(decoder, rank, strides):
    for side in (32, None):
        maps = features(strides, rank, side)
        y = DECODERS[decoder](maps, filters=4)
        assert y.shape[1:-1] == (side,) * rank
    model = keras.Model(list(maps.values()), y)
    sizes = {stride: (2, *(16 * (axis + 1) // stride for axis in range(rank))) for stride in strides}
    out = model([np.zeros((*sizes[stride], maps[stride].shape[-1])) for stride in strides])
    assert tuple(out.shape)[:-1] == (2, *(16 * (axis + 1) for axis in range(rank)))


def test_fpn_is_the_published_pyramid(rng):
    """Stride 2 and 4 of an image of 16: every number recomputed in float64 from the weights."""
    maps = features((2, 4), rank=1, side=16)
    model = keras.Model(list(maps.values()), fpn_decoder(maps, filters=6))
    w = weights(model)
    x = {stride: rng.normal(size=(2, 16 // stride, maps[stride].shape[-1])) for stride in maps}

    def branch(y, name):
        y = convolve(y, w[f"{name}_conv"][0])
        gamma, beta = w[f"{name}_norm"]
        # gcd(32, 3) = 1 group: mean and variance over the line and all channels
        mean, variance = y.mean((1, 2), keepdims=True), y.var((1, 2), keepdims=True)
        return np.maximum((y - mean) / np.sqrt(variance + 1e-3) * gamma + beta, 0)

    top = convolve(x[4], *w["fpn4_lateral_conv"])
    merged = convolve(x[2], *w["fpn2_lateral_conv"]) + reference_upsampling(top, 2)
    coarse = reference_upsampling(branch(convolve(top, *w["fpn4_pyramid_conv"]), "fpn4_branch4"), 2)
    fine = branch(convolve(merged, *w["fpn2_pyramid_conv"]), "fpn2_branch2")
    expected = reference_upsampling(coarse + fine, 2)
    assert expected.shape == (2, 16, 3)
    np.testing.assert_allclose(model(list(x.values())), expected, atol=2e-5)


def test_unet_is_the_published_expanding_path(rng):
    """Stride 2 and 4 of an image of 16: every number recomputed in float64 from the weights."""
    maps = features((2, 4), rank=1, side=16)
    model = keras.Model(list(maps.values()), unet_decoder(maps, filters=6))
    w = weights(model)
    x = {stride: rng.normal(size=(2, 16 // stride, maps[stride].shape[-1])) for stride in maps}

    def double(y, name):
        for step in (1, 2):
            gamma, beta, mean, variance = w[f"{name}_{step}_norm"]
            y = convolve(y, w[f"{name}_{step}_conv"][0])
            y = np.maximum((y - mean) / np.sqrt(variance + 1e-3) * gamma + beta, 0)
        return y

    skip = double(np.concatenate([reference_upsampling(x[4], 2), x[2]], -1), "unet2")
    expected = double(reference_upsampling(skip, 2), "unet1")
    assert expected.shape == (2, 16, 6)  # half of 6, but not below min(16, 6)
    np.testing.assert_allclose(model(list(x.values()), training=False), expected, atol=2e-5)


def test_default_widths():
    maps = features((4, 8, 16, 32), side=64, channels=64)  # 64, 128, 192, 256 channels
    fpn = keras.Model(list(maps.values()), fpn_decoder(maps))
    assert fpn.get_layer("fpn4_lateral_conv").filters == 128
    assert fpn.output_shape[-1] == 64
    unet = keras.Model(list(maps.values()), unet_decoder(maps))
    assert [unet.get_layer(f"unet{s}_1_conv").filters for s in (16, 8, 4, 2, 1)] == [192, 128, 64, 32, 16]
    wide = features((4, 8), side=64, channels=2048)
    assert keras.Model(list(wide.values()), fpn_decoder(wide)).get_layer("fpn4_lateral_conv").filters == 256
    assert keras.Model(list(wide.values()), unet_decoder(wide)).get_layer("unet4_1_conv").filters == 256
    given = keras.Model(list(maps.values()), unet_decoder(maps, filters=24))
    assert [given.get_layer(f"unet{s}_1_conv").filters for s in (16, 8, 4, 2, 1)] == [96, 48, 24, 16, 16]


@pytest.mark.parametrize("decoder", DECODERS)
def test_wrong_arguments(decoder):
    with pytest.raises(ValueError, match="features: expected at least one"):
        DECODERS[decoder]({})
    for filters in (0, -3, 2.5, True):
        with pytest.raises(ValueError, match="decoder_filters: expected a positive int"):
            DECODERS[decoder](features((1, 2)), filters)
