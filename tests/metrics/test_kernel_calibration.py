import keras
import numpy as np
import pytest
from keras import ops
from scipy.stats import beta

from keras_ordseg.metrics import KernelECE
from keras_ordseg.metrics.kernel_calibration import priorities
from keras_ordseg.ops import kernel_calibration_error, readout_probability
from keras_ordseg.ops.kernel_calibration import BANDWIDTHS

TOLERANCE = {"tensorflow": 1e-9, "torch": 1e-6}.get(keras.backend.backend(), 2e-5)  # float64, in part, not at all


def reference(p, s, w, h=0.01, norm="l1"):
    """The estimator by two loops over pixels and SciPy's Beta density."""
    p, s, w = (np.asarray(x, "float64") for x in (p, s, w))
    gap = np.zeros(len(p))
    likelihood = 0.0
    for j in range(len(p)):
        other = (np.arange(len(p)) != j) & (w > 0)
        kernel = w[other] * beta.pdf(p[j], p[other] / h + 1, (1 - p[other]) / h + 1)
        gap[j] = abs(kernel @ s[other] / kernel.sum() - p[j])
        likelihood += w[j] * np.log(kernel.sum())
    if norm == "l1":
        return (w * gap).sum() / w.sum(), likelihood
    return np.sqrt((w * gap**2).sum() / w.sum()), likelihood


def made(rng, count):
    p = rng.beta(0.3, 0.8, count).clip(1e-4, 1 - 1e-4)
    made = p, rng.integers(0, 5, count) / 4, rng.integers(0, 5, count) * rng.random(count)
    return tuple(x.astype("float32").astype("float64") for x in made)  # what every backend can hold


@pytest.mark.parametrize("norm", ["l1", "l2"])
@pytest.mark.parametrize("bandwidth", [0.001, 0.01, 0.3])
def test_error_against_scipy(norm, bandwidth, rng):
    p, s, w = made(rng, 60)
    expected, _ = reference(p, s, w, bandwidth, norm)
    got = float(kernel_calibration_error(p, s, w, bandwidth, norm))
    np.testing.assert_allclose(got, expected, atol=TOLERANCE)


def test_rows_in_blocks_equal_rows_at_once(rng):
    """Beyond 1024 pixels the matrix is made in blocks; 1500 pixels against a plain float64 matrix."""
    p, s, w = made(rng, 1500)
    x, z = p[:, None], p[None]
    kernel = beta.pdf(x, z / 0.02 + 1, (1 - z) / 0.02 + 1) * w
    np.fill_diagonal(kernel, 0)
    expected = (w * np.abs(kernel @ s / kernel.sum(1) - p)).sum() / w.sum()
    got = float(kernel_calibration_error(p, s, w, 0.02))
    np.testing.assert_allclose(got, expected, atol=TOLERANCE)


def test_bandwidth_of_the_highest_likelihood(rng):
    p, s, w = made(rng, 40)
    results = {h: reference(p, s, w, h) for h in BANDWIDTHS}
    best = max(results, key=lambda h: results[h][1])
    assert best not in (BANDWIDTHS[0], BANDWIDTHS[-1])
    got = float(kernel_calibration_error(p, s, w, "likelihood"))
    np.testing.assert_allclose(got, results[best][0], atol=TOLERANCE)


def test_raters_of_a_pixel_are_not_its_neighbours():
    """Two far pixels that the raters split: a replicated prediction would find its own other answers next to it.

    p = 0.1 and 0.9, both with 1 of 2 votes. Each one's only neighbour is the other: m = 1/2, gaps 0.4 and 0.4.
    """
    got = float(kernel_calibration_error(np.array([0.1, 0.9]), np.array([0.5, 0.5]), np.full(2, 2.0)))
    np.testing.assert_allclose(got, 0.4, atol=1e-6)


def test_certain_predictions_and_too_few():
    p = np.array([0.0, 0.0, 1.0, 1.0])
    for s, expected in ((p, 0.0), (1 - p, 1.0)):
        np.testing.assert_allclose(float(kernel_calibration_error(p, s, np.ones(4))), expected, atol=1e-6)
    metric = KernelECE(from_logits=False)
    assert float(metric.result()) == 0.0
    metric.update_state(np.zeros((0, 4, 2), "int8"), np.zeros((0, 4, 1), "float32"))
    metric.update_state(np.array([[[1, 1], [-1, -1]]], "int8"), np.full((1, 2, 1), 0.3, "float32"))
    assert float(metric.result()) == 0.0  # one pixel has no neighbour


@pytest.mark.parametrize("shape", [(3, 20), (3, 5, 4), (2, 5, 3, 2)])
def test_metric_of_few_pixels_is_that_of_all(shape, rng):
    z = rng.normal(size=(*shape, 5)).astype("float32")
    ratings = rng.integers(-1, 2, (*shape, 4)).astype("int8")
    weight = rng.random(shape)
    p = ops.convert_to_numpy(readout_probability(z, "majority")).ravel()
    n = (ratings >= 0).sum(-1).ravel()
    s = (ratings == 1).sum(-1).ravel() / np.maximum(n, 1)
    expected, _ = reference(p, s, n * weight.ravel(), 0.05, "l2")
    metric = KernelECE("majority", num_samples=128, bandwidth=0.05, norm="l2")
    metric.update_state(ratings, z, weight)
    np.testing.assert_allclose(float(metric.result()), expected, atol=1e-6)
    sample = metric.sample()
    np.testing.assert_allclose(np.sort(sample["probability"]), np.sort(p[n > 0]), atol=1e-7)
    np.testing.assert_allclose(sample["weight"].sum(), (n * weight.ravel()).sum(), rtol=1e-5)


def test_the_sample_is_the_stated_one(rng):
    """Pixels in the order of updates, voids not counted, priorities by MurmurHash3's finalizer in unsigned NumPy."""
    p = rng.random((1, 5000)).astype("float32")
    ratings = rng.integers(-1, 2, (1, 5000, 2)).astype("int8")
    rated = (ratings >= 0).any(-1)
    x = np.arange(rated.sum(), dtype="uint32") + np.uint32((7 * 0x61C88647 + 0x1E3779B9) % 2**32) + np.uint32(2**31)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        x = (x ^ (x >> np.uint32(shift))) * np.uint32(factor)
    kept = np.argsort(x & np.uint32(2**31 - 1))[-300:]
    metric = KernelECE(num_samples=300, seed=7, from_logits=False)
    metric.update_state(ratings, p[..., None])
    np.testing.assert_array_equal(np.sort(metric.sample()["probability"]), np.sort(p[rated][kept]))
    split = KernelECE(num_samples=300, seed=7, from_logits=False)
    for a, b in ((0, 1), (1, 1), (1, 4000), (4000, 5000)):
        split.update_state(ratings[:, a:b], p[:, a:b, None])
    np.testing.assert_array_equal(split.sample()["probability"], metric.sample()["probability"])
    assert float(split.result()) == float(metric.result())
    split.reset_state()
    assert len(split.sample()["weight"]) == 0


def test_every_pixel_is_as_likely(rng):
    """400 of 4000 pixels under 200 seeds: each tenth of the places gets its share, 400 * 200 / 10 within 4 sigma."""
    counts = np.zeros(10)
    index = np.arange(4000, dtype="int32")
    for seed in range(200):
        kept = np.argsort(ops.convert_to_numpy(priorities(index, seed)))[-400:]
        counts += np.bincount(kept // 400, minlength=10)
    assert np.abs(counts - 8000).max() < 4 * np.sqrt(8000)


def test_a_calibrated_model_is_near_zero_and_a_shifted_one_is_not(rng):
    """Votes drawn from p itself, and from p + 0.1: errors near 0 and near 0.1."""
    p = rng.uniform(0.05, 0.85, (1, 6000))
    for shift in (0.0, 0.1):
        votes = rng.binomial(4, p + shift)
        metric = KernelECE(from_logits=False, num_raters=4)
        metric.update_state(votes, p[..., None].astype("float32"))
        assert abs(float(metric.result()) - shift) < 0.025


@pytest.mark.dear
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="compiles with tf.function")
def test_compiled(rng):
    import tensorflow as tf

    z = rng.normal(size=(2, 40, 5)).astype("float32")
    votes = rng.integers(0, 5, (2, 40))
    eager, compiled = (KernelECE(num_samples=64, bandwidth=b) for b in ("likelihood", "likelihood"))

    compiled.update_state(votes, z)  # makes the variables, so that a step is traced once
    compiled.reset_state()

    @tf.function(jit_compile=True)
    def step(y, x):
        compiled.update_state(y, x)
        return compiled.result()

    for _ in range(2):
        eager.update_state(votes, z)
        result = step(tf.constant(votes), tf.constant(z))
    np.testing.assert_allclose(float(result), float(eager.result()), atol=1e-6)
    np.testing.assert_allclose(compiled.sample()["probability"], eager.sample()["probability"], atol=1e-6)


@pytest.mark.parametrize(
    "kwargs,message",
    [
        ({"num_samples": 0}, "num_samples: expected an int"),
        ({"bandwidth": 0}, "bandwidth: expected a number"),
        ({"bandwidth": "auto"}, "bandwidth: expected a number"),
        ({"norm": "max"}, "norm: expected one of .'l1', 'l2'"),
        ({"seed": 0.5}, "seed: expected an int"),
    ],
)
def test_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        KernelECE(**kwargs)


def test_configuration_comes_back():
    metric = KernelECE(2, 100, "likelihood", "l2", 5, num_raters=3)
    again = KernelECE.from_config(metric.get_config())
    assert again.get_config() == metric.get_config()
