import keras
import numpy as np
import pytest
from keras import ops

from keras_ordseg import metrics
from keras_ordseg.layers import NestedLevels
from keras_ordseg.ops import consensus_probability, expected_agreement, nested_levels


def softmax(z):
    z = np.asarray(z, "float64")
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def at_least(p):
    return p[..., ::-1].cumsum(-1)[..., ::-1]


@pytest.mark.parametrize("spatial", [(), (6,), (3, 4), (2, 3, 2)])
def test_is_the_smaller_of_two_independent_levels(spatial, rng):
    outer, own = rng.normal(size=(2, 2, *spatial, 6)).astype("float32") * 3
    p, q = softmax(outer), softmax(own)
    levels = np.arange(6)
    expected = np.zeros_like(p)
    for i in levels:  # by enumeration: min(i, j) has the probability p_i q_j
        for j in levels:
            expected[..., min(i, j)] += p[..., i] * q[..., j]
    found = np.exp(np.asarray(nested_levels(outer, own), "float64"))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-6)
    np.testing.assert_allclose(at_least(found), at_least(p) * at_least(q), atol=1e-6)
    np.testing.assert_array_equal(NestedLevels()([outer, own]), nested_levels(outer, own))


def test_no_readout_of_the_inner_structure_exceeds_the_outer_one(rng):
    outer, own = rng.normal(size=(2, 200, 5)).astype("float32") * 5
    inner = nested_levels(outer, own)
    assert (np.asarray(expected_agreement(inner)) <= np.asarray(expected_agreement(outer)) + 1e-6).all()
    for quorum in range(1, 5):
        lower, upper = consensus_probability(inner, quorum), consensus_probability(outer, quorum)
        assert (np.asarray(lower) <= np.asarray(upper) + 1e-6).all()


def test_certain_levels_are_finite_with_finite_gradients():
    extremes = np.array([[a, 0.0, b] for a in (-1e4, 0, 1e4) for b in (-1e4, 0, 1e4)], "float32")
    outer = np.repeat(extremes, len(extremes), 0)
    own = np.tile(extremes, (len(extremes), 1))
    np.testing.assert_allclose(
        np.exp(at_least_log(nested_levels(outer, own))), at_least(softmax(outer)) * at_least(softmax(own)), atol=1e-6
    )
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the tape is TensorFlow's")
    import tensorflow as tf

    for x, y in ((outer, own), (own, outer)):
        variable = tf.Variable(x)
        with tf.GradientTape() as tape:
            total = ops.sum(ops.exp(nested_levels(variable, y)) * np.arange(3.0, dtype="float32"))
        assert np.isfinite(tape.gradient(total, variable)).all()


def at_least_log(z):
    return np.logaddexp.accumulate(np.asarray(z, "float64")[..., ::-1], -1)[..., ::-1]


def test_wrong_inputs_and_precision(rng):
    for wrong in ([np.zeros((1, 4, 3)), np.zeros((1, 4, 4))], np.zeros((1, 4, 3)), [np.zeros((1, 4, 3))] * 3):
        with pytest.raises(ValueError, match="expected a list of two level logits .* of the same shape"):
            NestedLevels()(wrong)
    keras.config.set_dtype_policy("mixed_bfloat16")
    y = NestedLevels()([keras.Input((4, 4, 3)), keras.Input((4, 4, 3))])
    assert (y.dtype, y.shape) == ("float32", (None, 4, 4, 3))


def test_metrics_read_it(rng):
    inner = nested_levels(*rng.normal(size=(2, 2, 4, 4, 4)).astype("float32"))
    score = metrics.RankedProbabilityScore()
    score.update_state(rng.integers(0, 4, (2, 4, 4)), inner)
    assert 0 < float(score.result()) < 1
