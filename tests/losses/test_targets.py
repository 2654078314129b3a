"""Targets of a compiled graph whose dtype and shape leave open what they mean: they ended as NaN without a word."""

import keras
import numpy as np
import pytest

from keras_ordseg import layers, losses, metrics
from keras_ordseg._checks import ArgumentError

K = 3
X = np.random.default_rng(0).random((2, 4, 4, 1)).astype("float32")
VOTES = (4 * X[..., 0]).astype("int32").clip(0, K)
RATINGS = (np.arange(K) < VOTES[..., None]).astype("int8")


def model_of(output, **compiled):
    image = keras.Input((4, 4, 1))
    model = keras.Model(image, output(image))
    model.compile("sgd", jit_compile=False, **compiled)
    return model


def unread(y_true, y_pred):
    """A loss that takes any target, so that the metric is what refuses it."""
    return keras.ops.sum(y_pred)


REFUSED = {
    "votes with a last axis": (VOTES[..., None], "int32 of shape .*may be either. Give votes without the last axis"),
    "one rater as a float": (RATINGS[..., :1].astype("float32"), "give one rater's answers as int8"),
    "mean votes": (VOTES / K, r"votes, whole numbers in 0..3, of an integer dtype.*np.rint\(K \* y\)"),
    "votes as floats": (VOTES.astype("float64"), r"got float32.*y.astype\('int32'\)"),
    "one-hot levels": (keras.utils.to_categorical(VOTES, K + 1), r"at most 3 raters.*take y.argmax\(-1\), which is votes"),
    "one-hot integers": (np.eye(K + 1, dtype="int64")[VOTES], "at most 3 raters"),
    "255 for absent": (np.where(X > 0.9, 255, RATINGS.astype("int64")).astype("uint8"), "signed dtype.*got uint8"),
    "masks of 0 and 255": ((255 * RATINGS.astype("int64")).astype("uint16"), "signed dtype.*got uint16"),
}


@pytest.mark.dear
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_open_is_refused_in_a_compiled_fit(name):
    y, words = REFUSED[name]
    with pytest.raises(ArgumentError, match=f"y_true: expected .*{words}"):
        model_of(layers.OrdinalHead(K), loss=losses.OrdinalSegmentationLoss()).fit(X, y, verbose=0)
    with pytest.raises(ArgumentError, match=f"y_true: expected .*{words}"):
        model_of(layers.OrdinalHead(K), loss=unread, metrics=[metrics.MultiRaterECE()]).evaluate(X, y, verbose=0)


@pytest.mark.dear
def test_what_is_clear_is_trained():
    model = model_of(layers.OrdinalHead(K), loss=losses.OrdinalSegmentationLoss())
    padded = np.pad(RATINGS, [(0, 0)] * 3 + [(0, 2)], constant_values=-1)
    votes = [VOTES.astype(kind) for kind in ("int32", "uint8", "int64")]
    ratings = [RATINGS.astype(kind) for kind in ("int8", "bool", "int32", "float32")]
    for y in (*votes, *ratings, RATINGS[..., :1], padded):
        model.make_test_function(force=True)
        assert np.isfinite(model.evaluate(X, y, verbose=0))


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="it generalizes shapes")
def test_a_rank_that_tensorflow_forgot_is_said():
    model = model_of(layers.OrdinalHead(K), loss=losses.OrdinalSegmentationLoss())
    model.evaluate(X, VOTES, verbose=0)
    with pytest.raises(ArgumentError, match="y_true: expected votes of rank 3 or ratings of rank 4; got .* unknown rank"):
        model.evaluate(X, RATINGS.astype("int32"), verbose=0)


def test_a_binary_mask_of_floats_is_trained():
    one = model_of(keras.layers.Conv2D(1, 1), loss=losses.MajorityCrossEntropy())
    assert np.isfinite(one.evaluate(X, RATINGS[..., :1].astype("float32"), verbose=0))


def test_values_decide_where_they_can_be_read():
    z = np.random.default_rng(1).normal(size=(*VOTES.shape, K + 1)).astype("float32")
    loss = losses.RankedProbabilityLoss()
    for y in (VOTES.astype("float64"), RATINGS.astype("uint8"), RATINGS.astype("float32")):
        np.testing.assert_allclose(float(loss(y, z)), float(loss(VOTES, z)), rtol=1e-6)
    for y in (VOTES[..., None], VOTES / K, keras.utils.to_categorical(VOTES, K + 1), 255 * RATINGS.astype("int64")):
        with pytest.raises(ValueError, match="y_true: expected"):
            loss(y, z)
