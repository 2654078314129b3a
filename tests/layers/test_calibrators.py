import keras
import numpy as np
import pytest

from keras_ordseg.layers import IsotonicCalibration, TemperatureScaling, VectorScaling

CURVE = ([0.1, 0.4, 0.8], [0.05, 0.5, 0.6])


def softmax(z):
    e = np.exp(np.asarray(z, "float64") - np.max(z, -1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_temperature_and_vector(rng):
    z = rng.normal(size=(2, 3, 4, 5)).astype("float32")
    np.testing.assert_allclose(TemperatureScaling(2.5)(z), z / 2.5, rtol=1e-6)
    scale, offset = rng.normal(size=(2, 5))
    np.testing.assert_allclose(VectorScaling(scale, offset)(z), z * scale + offset, atol=1e-6)


@pytest.mark.parametrize("spatial", [(7,), (3, 4), (2, 3, 2)])
def test_isotonic_is_numpy_interp_of_every_threshold(spatial, rng):
    z = rng.normal(size=(2, *spatial, 3)).astype("float32") * 3
    curves = [CURVE, ([0.0, 0.5, 1.0], [0.0, 0.7, 0.9])]  # the second may exceed the first, and is then cut to it
    p = softmax(z)
    first = np.interp(p[..., 1:].sum(-1), *CURVE)
    second = np.minimum(np.interp(p[..., 2], *curves[1]), first)
    assert (np.interp(p[..., 2], *curves[1]) > first).any()
    expected = np.stack([1 - first, first - second, second], -1)
    np.testing.assert_allclose(softmax(IsotonicCalibration(curves)(z)), expected, atol=1e-5)


def test_isotonic_of_a_binary_logit_and_of_one_point(rng):
    z = rng.normal(size=(2, 5, 1)).astype("float32") * 3
    p = 1 / (1 + np.exp(-z.astype("float64")))
    found = np.asarray(IsotonicCalibration([CURVE])(z), "float64")
    np.testing.assert_allclose(1 / (1 + np.exp(-found)), np.interp(p, *CURVE), atol=1e-5)
    one = np.asarray(IsotonicCalibration([([0.5], [0.25])])(z), "float64")
    np.testing.assert_allclose(1 / (1 + np.exp(-one)), 0.25, atol=1e-6)


def test_certain_logits_stay_finite():
    z = np.array([[-1e4, 0, 1e4], [1e4, 0, -1e4]], "float32")
    found = np.asarray(IsotonicCalibration([([0.0, 1.0], [0.0, 1.0])] * 2)(z))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(softmax(found), [[0, 0, 1], [1, 0, 0]], atol=1e-6)


def test_float32_under_half_precision():
    keras.config.set_dtype_policy("mixed_float16")
    assert TemperatureScaling(2.0)(keras.Input((4, 4, 3))).dtype == "float32"


@pytest.mark.parametrize(
    "build,message",
    [
        (lambda: TemperatureScaling(0), "temperature: expected a positive number"),
        (lambda: TemperatureScaling(float("nan")), "temperature: expected a positive number"),
        (lambda: TemperatureScaling([1.0]), "temperature: expected a positive number"),
        (lambda: VectorScaling([1, 2], [0]), "scale, offset: expected equally many"),
        (lambda: VectorScaling([np.inf], [0]), "scale, offset: expected equally many finite"),
        (lambda: IsotonicCalibration([([0.5, 0.5], [0, 1])]), "curves: expected pairs"),
        (lambda: IsotonicCalibration([([0.1, 0.5], [1, 0])]), "curves: expected pairs"),
        (lambda: IsotonicCalibration([([0.1, 2.0], [0, 1])]), "curves: expected pairs"),
        (lambda: IsotonicCalibration([([], [])]), "curves: expected pairs"),
        (lambda: VectorScaling([1, 2], [0, 0])(np.zeros((1, 3))), "scale: .* last axis of 2. Received shape"),
        (lambda: IsotonicCalibration([CURVE] * 3)(np.zeros((1, 3))), "curves: .* last axis of 4. Received shape"),
        (lambda: IsotonicCalibration([CURVE] * 3)(np.zeros((1, 1))), "curves: .* last axis of 4. Received shape"),
    ],
)
def test_wrong_arguments(build, message):
    with pytest.raises(ValueError, match=message):
        build()
