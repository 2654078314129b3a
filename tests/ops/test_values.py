"""Logits, probabilities and other arguments are checked alike in ops, losses, metrics, calibration, windows and export."""

import warnings

import keras
import numpy as np
import pytest
from scipy import special

from keras_ordseg import calibration, layers, losses, metrics, models, ops, serving
from keras_ordseg._checks import ArgumentError

K = 3
TAKEN_FOR_LOGITS = "expected logits, as model.predict gives them; got probabilities: values in .* sum to 1 at every pixel"


@pytest.fixture
def case(rng):
    """Votes, level logits and their probabilities."""
    z = rng.normal(size=(2, 5, 4, K + 1)).astype("float32")
    return rng.integers(0, K + 1, (2, 5, 4)), z, special.softmax(z, -1)


def updated(metric, *batch):
    metric.update_state(*batch)
    return metric


METRICS = (
    metrics.MultiRaterECE,
    metrics.KernelECE,
    metrics.MultiRaterAUC,
    metrics.ConsensusDice,
    metrics.SoftDice,
    metrics.LevelMAE,
    lambda **k: metrics.QuadraticWeightedKappa(K, **k),
    lambda **k: metrics.LossTerm(losses.RankedProbabilityLoss(**k)),
)
LOSSES = (losses.OrdinalSegmentationLoss, losses.LevelCrossEntropy, losses.SoftLabelCrossEntropy, losses.EarthMoverLoss)
SCORES = (ops.readout_logit, ops.expected_agreement, ops.consensus_probability, ops.level_probabilities, ops.nested_masks)


def test_probabilities_taken_for_logits(case):
    y, z, p = case
    for metric in METRICS:
        updated(metric(), y, z)
        with pytest.raises(ArgumentError, match=f"y_pred: {TAKEN_FOR_LOGITS}"):
            metric().update_state(y, p)
        updated(metric(from_logits=False), y, p)
    for loss in LOSSES:
        loss()(y, z)
        with pytest.raises(ArgumentError, match=f"y_pred: {TAKEN_FOR_LOGITS}"):
            loss()(y, p)
        with pytest.raises(ArgumentError, match=TAKEN_FOR_LOGITS):
            loss().call(y, p)
        loss(from_logits=False)(y, p)
    for function in SCORES:
        function(z)
        with pytest.raises(ArgumentError, match=TAKEN_FOR_LOGITS):
            function(p)
    with pytest.raises(ArgumentError, match=f"logits: {TAKEN_FOR_LOGITS}"):
        ops.ranked_probability_score(y, p)
    for method in ("temperature", "vector", "isotonic"):
        with pytest.raises(ArgumentError, match=f"y_pred: {TAKEN_FOR_LOGITS}"):
            calibration.fit(y, p, method)


def test_logits_taken_for_probabilities(case):
    y, z, p = case
    for make in (*METRICS, *LOSSES):
        thing = make(from_logits=False)
        score = thing.update_state if isinstance(thing, keras.metrics.Metric) else thing
        with pytest.raises(ArgumentError, match=r"y_pred: expected probabilities in \[0, 1\], because from_logits=False"):
            score(y, z)
        with pytest.raises(ArgumentError, match="of 4 levels that sum to 1.*40 of 40 pixels with another sum, the first 0"):
            score(y, p / 2)
    for function in (lambda x: ops.thin_levels(x, 2), ops.decide_level, lambda x: ops.readout_probability(x, 2, False)):
        function(p)
        with pytest.raises(ArgumentError, match="expected probabilities in"):
            function(z)
        with pytest.raises(ArgumentError, match="sum to 1"):
            function(np.cumsum(p[..., ::-1], -1))  # P(k >= t)
    with pytest.raises(ArgumentError, match=r"probability: expected probabilities in \[0, 1\]; got values from -3 to 0.5"):
        ops.brier(1.0, 2.0, np.array([0.5, -3.0]))
    with pytest.raises(ArgumentError, match="target: expected probabilities"):
        ops.binary_cross_entropy(255.0 * np.ones(3), np.zeros(3))
    with pytest.raises(ArgumentError, match="prediction: expected probabilities.*Compare the logits with a threshold"):
        ops.dice(z[..., 0], np.ones(y.shape), np.ones(y.shape))
    with pytest.raises(ArgumentError, match="probability: expected probabilities"):
        ops.bin_index(z, 15)


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "mean of windows"])
def test_rounded_probabilities_are_probabilities(kind, case):
    """Either way: half precision sums to 1 within 0.4 %, and rounding takes a mean of windows above 1."""
    y, _, p = case
    if kind == "mean of windows":
        p[0, 0, 0] = [1 + 1e-6, -1e-7, 0, 0]
    else:
        p = p.astype(keras.ops.convert_to_numpy(keras.ops.zeros(1, kind)).dtype)
    assert float(updated(metrics.MultiRaterBrier(from_logits=False), y, p).result()) < 1
    losses.OrdinalSegmentationLoss(from_logits=False)(y, p)
    with pytest.raises(ArgumentError, match=TAKEN_FOR_LOGITS):
        metrics.MultiRaterBrier().update_state(y, p)


def test_logits_that_look_like_probabilities_are_logits(case, rng):
    """Binary logits in [0, 1], levels there that do not sum to 1, or at one pixel not, zeros, and log probabilities."""
    y, z, p = case
    binary = rng.random((2, 5, 4, 1)).astype("float32")
    for y_pred in (binary, rng.random(z.shape), np.zeros_like(z), np.where(np.arange(4)[:, None] == 3, z, p), np.log(p)):
        updated(metrics.MultiRaterECE(num_raters=K), y, y_pred)
        losses.SoftLabelCrossEntropy(num_raters=K)(y, y_pred)
        ops.readout_logit(y_pred)
    spoilt = p.copy()
    spoilt[0, 0, 0] = np.nan  # is no probability and no logit, but NaN
    assert np.isnan(float(updated(metrics.MultiRaterECE(from_logits=False), y, spoilt).result()))


@pytest.mark.dear
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="graphs of TensorFlow")
def test_a_compiled_graph_answers_with_nan(case):
    import tensorflow as tf

    y, z, p = case
    for jit in (False, True):
        for y_pred in (z, p / 2):
            loss = tf.function(losses.RankedProbabilityLoss(from_logits=False), jit_compile=jit)
            assert np.isnan(float(loss(tf.constant(y), tf.constant(y_pred))))
            metric = metrics.MultiRaterBrier(from_logits=False)
            tf.function(metric.update_state, jit_compile=jit)(tf.constant(y), tf.constant(y_pred))
            assert np.isnan(float(metric.result()))
        loss = tf.function(losses.RankedProbabilityLoss(from_logits=False), jit_compile=jit)
        expected = float(losses.RankedProbabilityLoss()(y, z))
        np.testing.assert_allclose(float(loss(tf.constant(y), tf.constant(p))), expected, rtol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only there operations are seen")
@pytest.mark.parametrize("last", ["softmax", "ops.softmax", "sigmoid", "read-out, cast"])
def test_an_activation_that_is_seen_is_warned_of(last):
    image = x = keras.Input((4, 4, 1))
    x = keras.layers.Conv2D(1 if last == "sigmoid" else K + 1, 1)(x)
    if last in ("softmax", "sigmoid"):
        x = keras.layers.Activation(last)(x)
    elif last == "ops.softmax":
        x = keras.ops.softmax(x)
    else:
        x = layers.AgreementReadout(output="probability")(x)
        x = keras.layers.Activation("linear", dtype="float64")(x)
    y = np.zeros((2, 4, 4, 2), "int8")
    for from_logits in (True, False):
        model = keras.Model(image, x)
        model.compile("sgd", losses.SoftLabelCrossEntropy(from_logits=from_logits))
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            model.evaluate(np.zeros((2, 4, 4, 1)), y, verbose=0)
        words = [str(w.message) for w in seen if "y_pred: expected logits; got the output of a" in str(w.message)]
        assert bool(words) == from_logits
        assert all("from_logits=False" in text for text in words)


class Normalized(keras.layers.Layer):
    """Probabilities that no graph tells from logits."""

    def call(self, x):
        x = keras.ops.exp(x)
        return x / keras.ops.sum(x, axis=-1, keepdims=True)


def test_windows_and_export_read_the_values(tmp_path):
    image = keras.Input((None, None, 1), name="image")
    levels = layers.OrdinalHead(K)(image)
    for output, words in ((Normalized()(levels), "model"), ({"cup": Normalized()(levels), "disc": levels}, "output 'cup'")):
        model = keras.Model(image, output)
        with pytest.raises(ArgumentError, match=f"{words}: {TAKEN_FOR_LOGITS}"):
            models.sliding_window_inference(model, np.zeros((9, 8, 1), "float32"), 4, verbose=0)
        if keras.backend.backend() == "tensorflow":
            with pytest.raises(ArgumentError, match=f"{words}: {TAKEN_FOR_LOGITS}"):
                serving.export(model, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "call",
    [
        lambda: ops.expected_calibration_error(np.ones(2), np.ones(2), np.ones(2), norm="L1"),
        lambda: ops.kernel_calibration_error(np.ones(2), np.ones(2), np.ones(2), norm="L1"),
        lambda: metrics.MultiRaterECE(norm="L1"),
        lambda: metrics.KernelECE(norm="L1"),
    ],
)
def test_a_norm_is_spelled_alike_everywhere(call):
    with pytest.raises(ArgumentError, match=r"norm: expected one of \('l1', 'l2'.*; got 'L1'. Write 'l1'."):
        call()


@pytest.mark.parametrize("wrong", [0, -1, 2.5, True, "15", None, np.float64(15)])
def test_a_number_of_bins_is_checked_everywhere(wrong):
    for call in (
        lambda: ops.bin_edges(wrong),
        lambda: ops.bin_index([0.5], wrong),
        lambda: metrics.MultiRaterECE(num_bins=wrong),
        lambda: metrics.MultiRaterBrier(num_bins=wrong),
        lambda: losses.MarginalL1ACELoss(num_bins=wrong),
    ):
        with pytest.raises(ArgumentError, match="num_bins: expected an int of at least 1"):
            call()


def test_a_bandwidth_is_checked_everywhere():
    for wrong in (0, 2.0, True, "likely", None):
        for call in (
            lambda h=wrong: metrics.KernelECE(bandwidth=h),
            lambda h=wrong: ops.kernel_calibration_error(np.ones(2), np.ones(2), np.ones(2), h),
        ):
            with pytest.raises(ArgumentError, match=r"bandwidth: expected a number in \[0.0001, 1\] or 'likelihood'"):
                call()
    assert metrics.KernelECE(bandwidth=np.float32(0.5)).get_config()["bandwidth"] == 0.5


@pytest.mark.parametrize("wrong", [0, 1.5, "3"])
def test_a_majority_needs_raters(wrong):
    with pytest.raises(ArgumentError, match="num_raters: expected an int of at least 1"):
        ops.majority_quorum(wrong)


def test_structures_are_taken_one_at_a_time(case):
    y, z, _ = case
    for y_true, y_pred, words in (
        ([y, y], [z, z], "y_true: expected one array of a batch of images; got a list of 2 arrays"),
        (y, (z, z), "y_pred: expected one array .*; got a tuple of 2 arrays. Take one structure at a time"),
        ({"disc": y, "cup": y}, {"disc": z, "cup": z}, r"y_true: .* got a dict of \['cup', 'disc'\]"),
        (y, {"disc": z}, r"y_pred: .* got a dict of \['disc'\]"),
    ):
        for call in (
            losses.OrdinalSegmentationLoss(),
            metrics.MultiRaterECE().update_state,
            metrics.GeneralizedEnergyDistance("samples").update_state,
            metrics.LevelMAE().update_state,
            calibration.fit,
        ):
            with pytest.raises(ArgumentError, match=words):
                call(y_true, y_pred)
    losses.RankedProbabilityLoss()([[0, 1]], [[[0.0, 1.0], [0.5, 0.0]]])  # nested lists of numbers are one array
