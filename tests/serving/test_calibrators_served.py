"""Calibrators in cards and in converted files."""

import json

import keras
import numpy as np
import pytest
from keras import layers

from keras_ordseg import calibration
from keras_ordseg.layers import IsotonicCalibration, OrdinalHead, TemperatureScaling, VectorScaling
from keras_ordseg.layers.calibrators import _interpolate
from keras_ordseg.models import Ensemble, OrdinalSegmenter, small_backbone
from keras_ordseg.serving import _convert, convert, export
from keras_ordseg.serving._card import attached_calibrators, card_fields, preprocessing_of
from tests.serving.test_convert import needed, same

tf = pytest.importorskip("tensorflow")
CURVE = ([0.01, 0.5, 0.99], [0.0, 0.3, 1.0])


def one_layer():
    image = keras.Input((None, None, 1), name="image")
    return keras.Model(image, OrdinalHead(2)(image))


@pytest.mark.parametrize("points", [1, 2, 3, 5, 8, 9, 96])
def test_the_curve_is_that_of_numpy(points, rng):
    x = np.unique(rng.random(points).astype("float32"))
    y = np.sort(rng.random(len(x))).astype("float32")
    p = np.concatenate([rng.random(500), x, [0.0, 1.0], (x[1:] + x[:-1]) / 2]).astype("float32").reshape(1, -1, 1)
    found = _interpolate(keras.ops.convert_to_tensor(p), x.tolist(), y.tolist())
    np.testing.assert_allclose(found, np.interp(p, x, y), atol=1e-6)


def test_a_curve_of_neighbours_in_float32_and_a_nan(rng):
    x = np.float32(0.5) + np.arange(40, dtype="float32") * np.float32(2**-24)
    x = np.unique(x)
    y = np.linspace(0, 1, len(x), dtype="float32")
    found = _interpolate(keras.ops.convert_to_tensor(x), x.tolist(), y.tolist())
    np.testing.assert_allclose(found, np.interp(x, x, y), atol=1e-6)
    assert np.isnan(_interpolate(keras.ops.convert_to_tensor(np.float32([np.nan])), x.tolist(), y.tolist())).all()


@pytest.mark.parametrize("suffix", [".tflite", ".onnx"])
def test_an_isotonic_calibrator_is_converted(suffix, tmp_path, rng):
    needed(suffix)
    version = export(one_layer(), tmp_path / "model", IsotonicCalibration([CURVE, CURVE]))
    path = convert(version, tmp_path / f"model{suffix}")
    same(version, path, "serving_default", rng.random((2, 9, 7, 1), dtype="float32"))


@pytest.mark.parametrize("suffix", [".tflite", ".onnx"])
def test_what_a_runtime_says_is_one_sentence(suffix, tmp_path, monkeypatch):
    needed(suffix)
    version = export(one_layer(), tmp_path / "model")
    name = "_litert" if suffix == ".tflite" else "_onnx"
    monkeypatch.setattr(_convert, name, lambda *arguments: b"no model at all")
    with pytest.raises(RuntimeError, match=f"The {suffix} file of the signature .* cannot be run: .* Nothing was written"):
        convert(version, tmp_path / f"model{suffix}")
    assert not (tmp_path / f"model{suffix}").exists()
    (version / "saved_model.pb").write_bytes(b"no graph")
    with pytest.raises(ValueError, match="version: .* cannot be loaded. TensorFlow says: "):
        convert(version, tmp_path / f"model{suffix}")


def card(model, calibrators):
    return json.loads(json.dumps(card_fields(model, {None: 2}, calibrators, {}, {}, {})))["calibrator"]


@pytest.mark.parametrize(
    "layer, weights",
    [
        (TemperatureScaling(2.5), {"temperature": 2.5}),
        (VectorScaling([1.0, 2.0, 3.0], [0.0, 0.5, -1.0]), {"scale": [1.0, 2.0, 3.0], "offset": [0.0, 0.5, -1.0]}),
        (IsotonicCalibration([([0.25, 0.75], [0.0, 0.5])] * 2), {"curves": [[[0.25, 0.75], [0.0, 0.5]]] * 2}),
        (layers.Rescaling(0.5), {"scale": 0.5, "offset": 0.0}),
    ],
)
def test_the_card_holds_the_numbers_of_a_calibrator(layer, weights):
    """Given, behind the model, inside a wrap of it, or saved as a model of its own."""
    assert card(one_layer(), {None: layer})[""]["weights"] == weights
    alone = keras.Sequential([keras.Input((None, None, 3)), layer])
    assert card(one_layer(), {None: alone})[""]["weights"] == {layer.name: weights}
    if not isinstance(layer, layers.Rescaling):
        model = calibration.attach(one_layer(), layer)
        image = keras.Input((None, None, 1))
        for wrapped in (model, keras.Model(image, model(image)), keras.models.clone_model(model)):
            assert card(wrapped, {})[""]["weights"] == weights
        both = card(model, {None: TemperatureScaling(3.0)})[""]
        assert both["weights"] == {"temperature": 3.0}
        assert both["on_top_of"]["weights"] == weights


def test_weights_of_a_layer_of_the_users_own():
    layer = layers.Dense(3, use_bias=False, kernel_initializer="ones")
    layer.build((None, None, None, 3))
    assert card(one_layer(), {None: layer})[""]["weights"] == {"kernel": [[1.0] * 3] * 3}
    assert card(one_layer(), {}) is None
    assert attached_calibrators(one_layer()) == {}


def test_the_preprocessing_is_found_wherever_it_is():
    def net(mode):
        return OrdinalSegmenter(small_backbone((None, None, 3), (4,)), 2, preprocessing=mode)

    image = keras.Input((None, None, 3))
    for mode in ("tf", "torch", "caffe", "0-255"):
        model = net(mode)
        assert preprocessing_of(model) == mode
        assert preprocessing_of(keras.models.clone_model(model)) == mode
        assert preprocessing_of(Ensemble([keras.Model(image, model(image))])) == mode
    assert preprocessing_of(net(None)) is None
    assert preprocessing_of(net(layers.Rescaling(3.0))) == "Rescaling"
    assert preprocessing_of(Ensemble([net("tf"), net("torch")])) == ["tf", "torch"]
