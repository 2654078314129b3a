import keras
import numpy as np
import pytest
from keras import ops
from scipy import stats
from scipy.special import expit, log_softmax

from keras_ordseg.ops import beta_binomial_levels, ordered_levels

SHAPES = [(40,), (3, 5), (2, 3, 2, 2)]


def thresholds64(first, gaps):
    """P(k >= t) for t = 1..K, from the definition."""
    return expit(first[..., None] - np.concatenate([np.zeros((*first.shape, 1)), np.cumsum(gaps, -1)], -1))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("num_raters", [1, 2, 7])
def test_ordered_levels_are_differences_of_the_thresholds(shape, num_raters, rng):
    first, gaps = rng.normal(size=shape) * 2, rng.gamma(1, size=(*shape, num_raters - 1)) + 1e-3
    got = np.asarray(ordered_levels(first.astype("float32"), gaps.astype("float32")))
    assert got.shape == (*shape, num_raters + 1)
    at_least = thresholds64(first, gaps)
    bounds = np.concatenate([np.ones((*shape, 1)), at_least, np.zeros((*shape, 1))], -1)
    np.testing.assert_allclose(np.exp(got.astype("float64")), -np.diff(bounds), atol=1e-6)


def test_gaps_may_be_shared(rng):
    first, gaps = rng.normal(size=(2, 3)).astype("float32"), np.array([0.5, 2.0], "float32")
    full = np.broadcast_to(gaps, (2, 3, 2))
    np.testing.assert_allclose(ordered_levels(first, gaps), ordered_levels(first, full), atol=1e-6)


def test_ordered_levels_hold_where_differences_of_probabilities_vanish():
    """theta = (40, 39): log(s(40) - s(39)) = log(e^-39 - e^-40) = -39 + log(1 - 1/e) = -39.4587; 1 - s is 0 in float32."""
    got = np.asarray(ordered_levels(np.float32(40), np.array([1.0], "float32")))
    np.testing.assert_allclose(got, [-40.0, -39 + np.log1p(-np.exp(-1)), 0.0], atol=1e-4)


def test_narrow_levels_keep_their_probability():
    """theta = (0, -1e-6): log p_1 = 2 log(1/2) + log(1e-6) = -15.2018; in float32 1 - exp(-1e-6) is off by a per cent."""
    got = np.asarray(ordered_levels(np.float32(0), np.array([1e-6], "float32")))
    np.testing.assert_allclose(got, [-np.log(2), 2 * np.log(0.5) + np.log(1e-6), -np.log(2)], atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("num_raters", [1, 2, 4, 9])
def test_beta_binomial_is_scipys(shape, num_raters, rng):
    a, t = rng.normal(size=shape) * 3, rng.normal(size=shape) * 3
    got = np.asarray(beta_binomial_levels(a.astype("float32"), t.astype("float32"), num_raters))
    mean, concentration = expit(a), np.exp(-t)  # t = log(rho / (1 - rho)) and s = (1 - rho) / rho
    levels = [
        stats.betabinom.pmf(k, num_raters, mean * concentration, (1 - mean) * concentration)
        for k in range(num_raters + 1)
    ]
    np.testing.assert_allclose(np.exp(got.astype("float64")), np.stack(levels, -1), atol=2e-6)


def test_beta_binomial_between_its_limits():
    """No correlation: the binomial; full correlation: all or nobody, with the chance of a mark."""
    mean = np.float32(0.3)
    logit = np.log(mean / (1 - mean))
    apart = np.exp(np.asarray(beta_binomial_levels(logit, np.float32(-30), 5)))
    np.testing.assert_allclose(apart, stats.binom.pmf(range(6), 5, 0.3), atol=1e-6)
    together = np.exp(np.asarray(beta_binomial_levels(logit, np.float32(30), 5)))
    np.testing.assert_allclose(together, [0.7, 0, 0, 0, 0, 0.3], atol=1e-6)


@pytest.mark.parametrize("mean", [0.3, 0.9])
def test_the_second_number_is_the_correlation_of_two_raters(mean):
    """For K = 2: E[xy] = p_2, so corr = (p_2 - m^2) / (m (1 - m)), whatever the panel it is read for."""
    for correlation in (0.1, 0.5, 0.8):
        logits = [np.float32(np.log(p / (1 - p))) for p in (mean, correlation)]
        p = np.exp(np.asarray(beta_binomial_levels(*logits, 2), "float64"))
        np.testing.assert_allclose((p[2] - mean**2) / (mean * (1 - mean)), correlation, atol=1e-5)


LINKS = {
    "ordered": lambda x: ordered_levels(x[..., 0], ops.softplus(x[..., 1:]) + 1e-6),
    "beta_binomial": lambda x: beta_binomial_levels(x[..., 0], x[..., 1], 4),
}


@pytest.mark.parametrize("link", LINKS)
def test_values_and_gradients_are_finite_and_right_for_any_size(link, rng):
    """Pre-activations of ±1e4 in every combination, and gradients against finite differences in float64 for usual ones."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the tape is TensorFlow's")
    import tensorflow as tf

    width = 4 if link == "ordered" else 2
    corners = np.stack(np.meshgrid(*[[-1e4, -30, 0, 30, 1e4]] * width), -1).reshape(-1, width)
    x = tf.Variable(corners.astype("float32"))
    with tf.GradientTape() as tape:
        p = ops.softmax(LINKS[link](x), axis=-1)
        loss = ops.sum(p * np.arange(5, dtype="float32") ** 2)
    assert np.isfinite(p).all()
    assert (p.numpy() >= 0).all()
    np.testing.assert_allclose(p.numpy().sum(-1), 1, atol=1e-6)
    assert np.isfinite(tape.gradient(loss, x).numpy()).all()

    x = tf.Variable(rng.normal(size=(3, width)))
    weights = rng.normal(size=(3, 5))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(LINKS[link](x) * weights)
    gradient, step = tape.gradient(loss, x).numpy(), 1e-6
    for i in np.ndindex(*x.shape):
        ends = []
        for sign in (1, -1):
            moved = x.numpy()
            moved[i] += sign * step
            ends.append((np.asarray(LINKS[link](tf.constant(moved))) * weights).sum())
        np.testing.assert_allclose(gradient[i], (ends[0] - ends[1]) / (2 * step), atol=1e-6)


def test_level_logits_are_log_probabilities(rng):
    """No normalisation is missing: softmax changes nothing."""
    z = np.asarray(beta_binomial_levels(rng.normal(size=9).astype("float32"), rng.normal(size=9).astype("float32"), 6))
    np.testing.assert_allclose(log_softmax(z.astype("float64"), -1), z, atol=1e-5)


@pytest.mark.parametrize("num_raters", [0, 2.0, True])
def test_a_panel_that_is_none(num_raters):
    with pytest.raises(ValueError, match="num_raters: expected an int of at least 1"):
        beta_binomial_levels(0.0, 0.0, num_raters)
