import keras
import numpy as np
import pytest
from keras import ops

from keras_ordseg.layers import BilinearUpsampling
from keras_ordseg.layers.upsample import upsample_bilinear


def reference_upsampling(x, factor):
    """Half-pixel linear interpolation, edges repeated, one axis after the other, by `numpy.interp`."""
    x = np.asarray(x, "float64")
    for axis in range(1, x.ndim - 1):
        size = x.shape[axis]
        at = (np.arange(size * factor) + 0.5) / factor - 0.5
        x = np.apply_along_axis(lambda line, at=at, size=size: np.interp(at, np.arange(size), line), axis, x)
    return x


def test_known_values():
    # x2: a quarter of the way to the neighbour on either side, ends held.
    line = np.array([0.0, 4.0, 8.0], "float32").reshape(1, 3, 1)
    np.testing.assert_allclose(np.ravel(upsample_bilinear(line, 2)), [0, 1, 3, 5, 7, 8])
    # x3: offsets -1/3, 0, 1/3 of a pixel.
    np.testing.assert_allclose(
        np.ravel(upsample_bilinear(line, 3)), [0, 0, 4 / 3, 8 / 3, 4, 16 / 3, 20 / 3, 8, 8], atol=1e-6
    )


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
@pytest.mark.parametrize("shape", [(2, 5, 3), (2, 4, 1, 3), (1, 3, 2, 4, 2)])
def test_interpolates_every_spatial_axis(shape, factor, rng):
    x = rng.normal(size=shape).astype("float32")
    layer = BilinearUpsampling(factor)
    y = layer(x)
    np.testing.assert_allclose(y, reference_upsampling(x, factor), atol=1e-6)
    assert layer.compute_output_shape(shape) == y.shape
    symbolic = layer(keras.Input((*[None] * (len(shape) - 2), shape[-1])))
    assert symbolic.shape == (None,) * (len(shape) - 1) + (shape[-1],)


def test_equals_keras_in_two_dimensions(rng):
    x = rng.normal(size=(2, 6, 5, 3)).astype("float32")
    for factor in (2, 4):
        peer = keras.layers.UpSampling2D(factor, interpolation="bilinear")(x)
        np.testing.assert_allclose(BilinearUpsampling(factor)(x), peer, atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float32"])
def test_keeps_the_compute_dtype(policy, rng):
    layer = BilinearUpsampling(dtype=policy)
    x = rng.uniform(size=(1, 3, 3, 2))
    y = layer(x)
    assert keras.backend.standardize_dtype(y.dtype) == layer.compute_dtype
    assert layer(keras.Input((None, None, 2))).dtype == layer.compute_dtype
    np.testing.assert_allclose(ops.cast(y, "float32"), reference_upsampling(x, 2), atol=8e-3)


def test_comes_back_from_its_config():
    layer = BilinearUpsampling(3, name="up", dtype="mixed_bfloat16")
    twin = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert isinstance(twin, BilinearUpsampling)
    assert twin.get_config() == layer.get_config()
    assert twin.factor == 3


@pytest.mark.parametrize("factor", [0, -1, 2.0, True, None])
def test_refuses_a_factor_that_is_not_a_whole_number(factor):
    with pytest.raises(ValueError, match="factor: expected an int of at least 1"):
        BilinearUpsampling(factor)


def test_refuses_a_tensor_without_spatial_axes():
    with pytest.raises(ValueError, match=r"expected \(batch, \*spatial, channels\)"):
        upsample_bilinear(np.zeros((2, 3), "float32"))
