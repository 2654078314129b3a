import keras
import numpy as np
import pytest

from keras_ordseg import calibration, layers, losses, models, serving


def segmenter(**kwargs):
    return models.OrdinalSegmenter(models.small_backbone((None, None, 1), filters=(4, 8)), 3, **kwargs)


def test_a_calibrated_model_is_a_model(rng, tmp_path):
    model = segmenter()
    x, votes = rng.uniform(size=(4, 16, 16, 1)).astype("float32"), rng.integers(0, 4, (4, 16, 16))
    layer = calibration.fit(votes, model.predict(x, verbose=0), "isotonic")
    calibrated = calibration.attach(model, layer)
    np.testing.assert_allclose(calibrated(x), layer(model(x)), atol=1e-5)
    calibrated.save(tmp_path / "calibrated.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "calibrated.keras")(x), calibrated(x))
    calibrated.compile(loss=losses.OrdinalSegmentationLoss())
    assert np.isfinite(calibrated.evaluate(x, votes, verbose=0))


def test_a_calibrated_model_is_exported_and_knows_its_strides(rng, tmp_path):
    """Sides of 9 and 7 are no multiples of the stride 2 of the model inside: padded with the edge, and cut back."""
    import tensorflow as tf

    calibrated = calibration.attach(segmenter(), layers.TemperatureScaling(2.0))
    graph = tf.saved_model.load(str(serving.export(calibrated, tmp_path))).signatures["serving_default"]
    x = rng.uniform(size=(1, 9, 7, 1)).astype("float32")
    padded = np.pad(x, [(0, 0), (0, 1), (0, 1), (0, 0)], "edge")
    expected = keras.ops.softmax(calibrated(padded, training=False))[:, :9, :7]
    np.testing.assert_allclose(graph(image=tf.constant(x))["levels"], expected, atol=1e-5)


def test_structures_take_a_dict_and_may_be_left_as_they_are(rng):
    model = segmenter(structures=("disc", "cup"))
    x = rng.uniform(size=(1, 8, 8, 1)).astype("float32")
    found, plain = calibration.attach(model, {"cup": layers.TemperatureScaling(2.0)})(x), model(x)
    np.testing.assert_array_equal(found["disc"], plain["disc"])
    np.testing.assert_allclose(found["cup"], plain["cup"] / 2, rtol=1e-6)


def test_wrong_arguments():
    one, two = segmenter(), segmenter(structures=("disc", "cup"))
    scaling = layers.TemperatureScaling(2.0)
    with pytest.raises(ValueError, match=r"outputs, \['disc', 'cup'\]. Received calibrators for a single one"):
        calibration.attach(two, scaling)
    with pytest.raises(ValueError, match=r"outputs, a single one. Received calibrators for \['cup'\]"):
        calibration.attach(one, {"cup": scaling})
    with pytest.raises(ValueError, match="Received calibrators for"):
        calibration.attach(two, {})
    with pytest.raises(TypeError, match="calibrator: expected a Keras layer"):
        calibration.attach(one, 2.0)
    with pytest.raises(TypeError, match="model: expected a Keras model"):
        calibration.attach("model.keras", scaling)
