from fractions import Fraction

import keras
import numpy as np
import pytest
from keras import ops

from keras_ordseg.ops.binning import bin_edges, bin_index, expected_calibration_error
from keras_ordseg.ops.sums import ExactSum, segment_sums

# JAX keeps pairs of float32; the other backends keep float64
TOLERANCE = 1e-10 if keras.backend.backend() == "jax" else 1e-14


def parts_sum(parts):
    return np.asarray(parts, "float64").sum(0)


@pytest.mark.parametrize("size", [1, 15])
def test_sums_of_many_equal_and_unequal_values(size, rng):
    values = np.concatenate([np.full(300_000, 0.1), rng.random(300_000), rng.random(1000) * 1e-6]).astype(
        "float32"
    )
    segments = rng.integers(0, size, values.size).astype("int32")
    exact = np.bincount(segments, values.astype("float64"), minlength=size)
    got = parts_sum(segment_sums(ops.convert_to_tensor(values), ops.convert_to_tensor(segments), size))
    np.testing.assert_allclose(got, exact, rtol=TOLERANCE)
    if size == 1:
        np.testing.assert_allclose(
            parts_sum(segment_sums(ops.convert_to_tensor(values))), exact, rtol=TOLERANCE
        )


def test_sums_of_signed_large_small_and_no_values(rng):
    values = (rng.normal(size=5000) * 1e6).astype("float32")
    exact = values.astype("float64").sum()
    np.testing.assert_allclose(parts_sum(segment_sums(ops.convert_to_tensor(values)))[0], exact, atol=1e-3)
    tiny = (rng.random(5000) * 1e-20).astype("float32")
    np.testing.assert_allclose(
        parts_sum(segment_sums(ops.convert_to_tensor(tiny)))[0], tiny.astype("float64").sum(), rtol=1e-9
    )
    assert parts_sum(segment_sums(ops.zeros((0,))))[0] == 0
    assert parts_sum(segment_sums(ops.zeros((9,))))[0] == 0


def test_a_running_sum_does_not_stop_growing():
    """A float32 sum of ones stops at 2^24: this one takes 64 more after it."""
    metric = keras.metrics.Mean()
    total = ExactSum(metric, 1, "total")
    total.variable.assign(
        ops.concatenate([ops.full((1, 1), 2.0**24), ops.zeros((total.variable.shape[0] - 1, 1))])
    )
    for _ in range(64):
        total.add(ops.ones((1,)))
    assert parts_sum(total.parts())[0] == 2.0**24 + 64


@pytest.mark.parametrize("num_bins", [1, 3, 10, 15, 100])
def test_bins_are_exact(num_bins, rng):
    """Probabilities at every edge and one step to either side, against exact rational arithmetic."""
    edges = (np.arange(num_bins + 1) / num_bins).astype("float32")
    p = np.concatenate(
        [edges, np.nextafter(edges, np.float32(2)), np.nextafter(edges, np.float32(-1)), rng.random(500)]
    )
    p = np.clip(p.astype("float32"), 0, 1)
    exact = [min(int(Fraction(float(x)) * num_bins), num_bins - 1) for x in p]
    np.testing.assert_array_equal(bin_index(p, num_bins), exact)
    assert bin_edges(num_bins)[0] == 0
    assert bin_edges(num_bins)[-1] == 1


def test_calibration_error_golden():
    """Two bins: |0.2 - 0.0| + |1.8 - 1.0| = 1.0 over a weight of 4; no weight at all is 0."""
    weight, confidence, vote = np.array([2.0, 2.0]), np.array([0.2, 1.8]), np.array([0.0, 1.0])
    np.testing.assert_allclose(expected_calibration_error(weight, confidence, vote), 0.25)
    assert float(expected_calibration_error(weight * 0, confidence * 0, vote * 0)) == 0
