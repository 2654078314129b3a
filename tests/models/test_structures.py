"""Targets, weights, losses and metrics of several structures go by name, however Keras orders them."""

import keras
import numpy as np
import pytest

from keras_ordseg import calibration, layers, losses, metrics, models
from keras_ordseg._checks import ArgumentError

NAMES = ("rim", "disc", "cup")  # not the order of the alphabet
K = 2
BY_NAME = r"expected a dict by structure, \{'rim': ..., 'disc': ..., 'cup': ...\}; got a (list|tuple) of 3. Name them"


def segmenter(names=NAMES, cls=models.OrdinalSegmenter, **arguments):
    backbone = models.small_backbone((None, None, 1), filters=(4,))
    more = {"num_raters": K} if cls is models.OrdinalSegmenter else {}
    return cls(backbone, structures=names, decoder="upsample", **more, **arguments)


@pytest.fixture
def arrays(rng):
    x = rng.random((4, 8, 8, 1)).astype("float32")
    return x, {name: np.full((4, 8, 8, K), number % 2, "int8") for number, name in enumerate(NAMES)}


def compiled(model, **arguments):
    model.compile("sgd", {name: losses.RankedProbabilityLoss() for name in model.output}, **arguments)
    return model


def test_lists_of_targets_are_refused_wherever_they_come_in(arrays):
    x, y = arrays
    model = compiled(segmenter())
    right = model.evaluate(x, y, verbose=0, return_dict=True)
    for kind in (list, tuple):
        given = kind(y.values())
        for call in (
            lambda g=given: model.fit(x, g, verbose=0),
            lambda g=given: model.fit(x, y, validation_data=(x, g), verbose=0),
            lambda g=given: model.evaluate(x, g, verbose=0),
            lambda g=given: model.train_on_batch(x, g),
            lambda g=given: model.test_on_batch(x, g),
        ):
            with pytest.raises(ArgumentError, match=f"y: {BY_NAME}"):
                call()
    with pytest.raises(ArgumentError, match="y: expected a dict by structure.*got ndarray"):
        model.evaluate(x, y["cup"], verbose=0)
    assert model.evaluate(x, y, verbose=0, return_dict=True) == right


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.data")
def test_tuples_in_a_dataset_are_refused(arrays):
    import tensorflow as tf

    x, y = arrays
    model = compiled(segmenter())
    with pytest.raises(ArgumentError, match=f"y: {BY_NAME}"):
        model.fit(tf.data.Dataset.from_tensor_slices((x, tuple(y.values()))).batch(2), shuffle=False, verbose=0)
    weights = tuple(np.ones((4, 8, 8), "float32") for _ in NAMES)
    with pytest.raises(ArgumentError, match=f"sample_weight: {BY_NAME}"):
        model.fit(tf.data.Dataset.from_tensor_slices((x, y, weights)).batch(2), shuffle=False, verbose=0)
    by_name = dict(zip(NAMES, weights, strict=True))
    model.fit(tf.data.Dataset.from_tensor_slices((x, y, by_name)).batch(2), shuffle=False, verbose=0)


def test_lists_in_compile_and_of_weights_are_refused(arrays):
    x, y = arrays
    model = segmenter()
    loss = losses.RankedProbabilityLoss()
    for argument, value in {
        "loss": [loss] * 3,
        "loss_weights": (1.0, 2.0, 3.0),
        "metrics": [[metrics.LevelMAE()] for _ in NAMES],
        "weighted_metrics": [metrics.LevelMAE() for _ in NAMES],
    }.items():
        with pytest.raises(ArgumentError, match=f"^{argument}: {BY_NAME}"):
            model.compile("sgd", **{"loss": loss, argument: value})
    compiled(model)
    with pytest.raises(ArgumentError, match=f"sample_weight: {BY_NAME}"):
        model.fit(x, y, sample_weight=[np.ones(4)] * 3, verbose=0)
    model.compile("sgd", loss)  # one is for all
    found = model.evaluate(x, y, verbose=0, return_dict=True)
    np.testing.assert_allclose(found["loss"], sum(found[f"{name}_loss"] for name in NAMES), rtol=1e-5)


def test_models_made_of_a_segmenter_ask_for_names_too(arrays, tmp_path):
    x, y = arrays
    base = segmenter()
    calibrated = calibration.attach(base, {"cup": layers.TemperatureScaling(2.0)})
    calibrated.save(tmp_path / "calibrated.keras")
    binary = segmenter(cls=models.BinarySegmenter)
    for model in (models.Ensemble([base]), calibrated, keras.models.load_model(tmp_path / "calibrated.keras"), binary):
        loss = losses.SoftLabelCrossEntropy()
        model.compile("sgd", dict.fromkeys(NAMES, loss))
        with pytest.raises(ArgumentError, match=f"y: {BY_NAME}"):
            model.evaluate(x, list(y.values()), verbose=0)
        model.evaluate(x, y, verbose=0)
    np.testing.assert_array_equal(
        keras.models.load_model(tmp_path / "calibrated.keras").predict(x, verbose=0)["cup"],
        calibrated.predict(x, verbose=0)["cup"],
    )


def test_one_structure_and_one_output_take_lists(arrays):
    x, y = arrays
    one = compiled(segmenter(("cup",)))
    assert one.evaluate(x, [y["cup"]], verbose=0) == one.evaluate(x, {"cup": y["cup"]}, verbose=0)
    plain = segmenter(None)
    plain.compile("sgd", losses.RankedProbabilityLoss(), metrics=[metrics.LevelMAE(), metrics.MultiRaterECE()])
    found = plain.evaluate(x, y["cup"], verbose=0, return_dict=True)
    assert set(found) == {"loss", "level_mae", "multi_rater_ece"}


def test_targets_are_read_before_the_first_step(arrays, rng):
    """Impossible values that a compiled graph would answer with NaN; what only has an odd dtype is right."""
    x, y = arrays
    model = segmenter(None)
    model.compile("sgd", losses.OrdinalSegmentationLoss())
    votes = rng.integers(0, K + 1, (4, 8, 8))
    ratings = (rng.random((4, 8, 8, K)) < 0.5).astype("int8")
    absent = np.where(x > 0.9, 255, ratings.astype("int64"))
    for wrong, words in (
        (absent.astype("uint8"), r"y_true: expected ratings.*\[255\]"),
        (absent.astype("float32"), r"y_true: expected ratings.*\[255"),
        (np.where(x > 0.9, np.nan, ratings), "y_true: expected ratings.*nan"),
        (votes / K, r"y_true: expected votes, whole numbers in 0..2.*0.5"),
        (votes + 1, r"y_true: expected votes.*\[3\]"),
        (votes[..., None].astype("int8"), r"y_true: expected ratings.*\[2\]"),
        (keras.utils.to_categorical(votes, K + 1), "y_true: expected at most K=2 answers"),
    ):
        for call in (
            lambda w=wrong: model.fit(x, w, verbose=0),
            lambda w=wrong: model.fit(x, votes, validation_data=(x, w), verbose=0),
            lambda w=wrong: model.evaluate(x, w, verbose=0),
            lambda w=wrong: model.train_on_batch(x, w),
        ):
            with pytest.raises(ValueError, match=words):
                call()
    expected = model.evaluate(x, ratings, verbose=0)
    for dtype in ("uint8", "bool", "int64", "float32", "float16", ">i2"):
        np.testing.assert_allclose(model.evaluate(x, ratings.astype(dtype), verbose=0), expected, rtol=1e-6)
    expected = model.evaluate(x, votes, verbose=0)
    for dtype in ("uint8", "float64", "float16"):
        np.testing.assert_allclose(model.evaluate(x, votes.astype(dtype), verbose=0), expected, rtol=1e-6)
    model.evaluate(x, ratings[..., :1].astype("int32"), verbose=0)  # one rater's answers
    with pytest.raises(ValueError, match=r"y_true\['cup'\]: expected ratings"):
        compiled(segmenter()).fit(x, {**y, "cup": absent}, verbose=0)


def test_targets_of_other_losses_are_let_alone(rng):
    model = segmenter(None, cls=models.BinarySegmenter)
    model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
    soft = rng.random((4, 8, 8, 1)).astype("float32")
    assert np.isfinite(model.fit(soft, soft, verbose=0).history["loss"][0])


def test_a_metric_of_a_structure_has_a_direction_and_a_plain_name(arrays):
    x, y = arrays
    model = compiled(
        segmenter(),
        metrics={name: [metrics.MultiRaterECE(), metrics.MultiRaterDice()] for name in NAMES},
    )
    history = model.fit(x, y, validation_data=(x, y), epochs=1, verbose=0).history
    assert {f"{name}_{metric}" for name in NAMES for metric in ("multi_rater_ece", "multi_rater_dice")} <= set(history)
    stop = keras.callbacks.EarlyStopping("val_cup_multi_rater_ece", patience=3)
    keep = keras.callbacks.EarlyStopping("val_disc_multi_rater_dice", patience=3)
    model.fit(x, y, validation_data=(x, y), epochs=1, verbose=0, callbacks=[stop, keep])
    assert (stop.mode, keep.mode) == ("min", "max")
    own = keras.callbacks.EarlyStopping("val_cup_multi_rater_ece", mode="max")
    model.fit(x, y, validation_data=(x, y), epochs=1, verbose=0, callbacks=own)
    assert own.mode == "max"
