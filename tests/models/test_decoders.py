import keras
import numpy as np
import pytest

from keras_ordseg.models import deeplab_decoder, fpn_decoder, unet_decoder, upsample_decoder
from keras_ordseg.models.decoders import DECODERS
from tests.models.test_upsampling import reference_upsampling


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


def convolve(x, kernel, bias=0.0, rate=1):
    """A same-padded convolution of a line `(batch, length, channels)`."""
    size = kernel.shape[0]
    padded = np.pad(x, [(0, 0), (size // 2 * rate, size // 2 * rate), (0, 0)])
    return sum(padded[:, k * rate : k * rate + x.shape[1]] @ kernel[k] for k in range(size)) + bias


def normalise(y, gamma, beta, mean, variance):
    return (y - mean) / np.sqrt(variance + 1e-3) * gamma + beta


def block(y, w, name, rate=1):
    """Convolution, batch normalisation with the moving statistics, ReLU."""
    return np.maximum(normalise(convolve(y, w[f"{name}_conv"][0], rate=rate), *w[f"{name}_norm"]), 0)


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

    skip = double(np.concatenate([reference_upsampling(x[4], 2), x[2]], -1), w, "unet2")
    expected = double(reference_upsampling(skip, 2), w, "unet1")
    assert expected.shape == (2, 16, 6)  # half of 6, but not below min(16, 6)
    np.testing.assert_allclose(model(list(x.values()), training=False), expected, atol=2e-5)


def double(y, w, name):
    return block(block(y, w, f"{name}_1"), w, f"{name}_2")


def test_attention_gates_weigh_the_skips(rng):
    """The same, the map of stride 2 times a gate between 0 and 1 made of both on the grid of stride 4."""
    maps = features((2, 4), rank=1, side=16)
    model = keras.Model(list(maps.values()), DECODERS["attention_unet"](maps, filters=6))
    w = weights(model)
    x = {stride: rng.normal(size=(2, 16 // stride, maps[stride].shape[-1])) for stride in maps}
    (theta,) = w["unet2_theta_conv"]  # kernel 2, stride 2
    own = x[2][:, ::2] @ theta[0] + x[2][:, 1::2] @ theta[1]
    both = np.maximum(own + convolve(x[4], *w["unet2_phi_conv"]), 0)
    gate = reference_upsampling(1 / (1 + np.exp(-convolve(both, *w["unet2_psi_conv"]))), 2)
    assert gate.shape == (2, 8, 1)
    assert gate.std() > 0.01
    skip = double(np.concatenate([reference_upsampling(x[4], 2), x[2] * gate], -1), w, "unet2")
    expected = double(reference_upsampling(skip, 2), w, "unet1")
    np.testing.assert_allclose(model(list(x.values()), training=False), expected, atol=2e-5)


def test_deeplab_is_the_published_decoder(rng):
    """Stride 4 and 16 of an image of 512: rates 6, 12 and 18, the concatenation written out, all in float64."""
    maps = features((4, 16), rank=1, side=512)
    model = keras.Model(list(maps.values()), deeplab_decoder(maps, filters=6))
    w = weights(model)
    x = {stride: rng.normal(size=(2, 512 // stride, maps[stride].shape[-1])) for stride in maps}
    branches = [block(x[16], w, f"aspp{step}", rate=6 * step or 1) for step in range(4)]
    mean = np.maximum(convolve(x[16].mean(1, keepdims=True), *w["aspp_mean_conv"]), 0)
    branches.append(np.repeat(mean, 32, 1))
    kernel = np.concatenate([w["aspp_project_conv"][0], w["aspp_mean_project_conv"][0]], 1)
    assert kernel.shape == (1, 30, 6)
    y = np.maximum(normalise(convolve(np.concatenate(branches, -1), kernel), *w["aspp_norm"]), 0)
    y = np.concatenate([reference_upsampling(y, 4), block(x[4], w, "deeplab_low")], -1)
    expected = reference_upsampling(block(block(y, w, "deeplab_1"), w, "deeplab_2"), 4)
    np.testing.assert_allclose(model(list(x.values()), training=False), expected, atol=5e-5)


def test_deeplab_keeps_its_reach_at_other_strides_and_takes_the_map_nearest_stride_four():
    for strides, rate, low in [((1, 2, 4, 8), 12, 4), ((8, 32), 3, 8), ((2, 64), 1, 2), ((1, 2), 48, 1)]:
        maps = features(strides, side=256)
        model = keras.Model(list(maps.values()), deeplab_decoder(maps, filters=4))
        assert [model.get_layer(f"aspp{s}_conv").dilation_rate[0] for s in (1, 2, 3)] == [rate, 2 * rate, 3 * rate]
        assert model.get_layer("deeplab_low_conv").input is maps[low]


def test_upsample_takes_the_coarsest_map(rng):
    maps = features((2, 4), rank=1, side=16)
    model = keras.Model(list(maps.values()), upsample_decoder(maps, filters=3))
    w = weights(model)
    x = {stride: rng.normal(size=(2, 16 // stride, maps[stride].shape[-1])) for stride in maps}
    expected = reference_upsampling(block(x[4], w, "upsample"), 4)
    np.testing.assert_allclose(model(list(x.values()), training=False), expected, atol=2e-5)


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_single_map_of_any_stride(decoder):
    maps = {14: keras.Input((3, 2, 4))}  # the patches of a transformer
    assert DECODERS[decoder](maps, filters=4).shape[1:-1] == (42, 28)


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
    for given, width, low in ((maps, 128, 48), (wide, 256, 48)):
        deeplab = keras.Model(list(given.values()), deeplab_decoder(given))
        assert (deeplab.get_layer("aspp0_conv").filters, deeplab.get_layer("deeplab_low_conv").filters) == (width, low)
        assert upsample_decoder(given).shape[-1] == 64


@pytest.mark.parametrize("decoder", DECODERS)
def test_wrong_arguments(decoder):
    with pytest.raises(ValueError, match="features: expected at least one"):
        DECODERS[decoder]({})
    for filters in (0, -3, 2.5, True):
        with pytest.raises(ValueError, match="decoder_filters: expected a positive int"):
            DECODERS[decoder](features((1, 2)), filters)
