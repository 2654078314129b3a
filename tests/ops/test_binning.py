from fractions import Fraction

import numpy as np
import pytest
from keras import ops

from keras_ordseg.ops.binning import (
    NUM_CELLS,
    bin_edges,
    bin_index,
    cell_edges,
    cell_index,
    equal_mass_bins,
    expected_calibration_error,
)


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


def test_other_norms_golden():
    """Gaps of 0.1 and 0.4, a half of the weight each: sqrt((0.01 + 0.16) / 2) and 0.4; an empty bin changes nothing."""
    weight, confidence, vote = np.array([2.0, 0, 2.0]), np.array([0.2, 0, 1.8]), np.array([0.0, 0, 1.0])
    got = [float(expected_calibration_error(weight, confidence, vote, norm)) for norm in ("l1", "l2", "max")]
    np.testing.assert_allclose(got, [0.25, np.sqrt(0.085), 0.4], rtol=1e-6)
    for norm in ("l2", "max"):
        assert float(expected_calibration_error(weight * 0, confidence * 0, vote * 0, norm)) == 0


def test_cells_are_their_edges(rng):
    """Small, middling and large probabilities, every edge and its neighbours, against a search in the float64 edges."""
    edges = cell_edges()
    assert len(edges) == NUM_CELLS + 1 == 6916
    assert (np.diff(edges) > 0).all()
    p = np.concatenate([rng.random(50_000), rng.random(50_000) ** 30, 1 - rng.random(50_000) ** 30, edges])
    p = p.astype("float32")
    p = np.concatenate([p, np.nextafter(p, np.float32(-1)), np.nextafter(p, np.float32(2)), [0, 1]]).clip(0, 1)
    p = p[(p == 0) | (p >= np.finfo("float32").tiny)].astype("float32")  # denormals are 0 to some backends
    expected = np.searchsorted(edges[:-1], p.astype("float64"), side="right") - 1
    np.testing.assert_array_equal(ops.convert_to_numpy(cell_index(p)), expected)


def test_cells_are_narrow():
    low, high = cell_edges()[:-1], cell_edges()[1:]
    to_the_end = np.minimum(low, 1 - high)
    fine = to_the_end > 2.0**-24
    assert ((high - low)[fine] <= to_the_end[fine] / 128 * (1 + 1 / 128)).all()
    assert (high - low)[to_the_end <= 2.0**-32].max() < 2.0**-23


def test_equal_mass_bins_hold_as_much_as_cells_allow(rng):
    weight = rng.random((2, 5000)) ** 8
    weight[0, :2000] = 0
    bins = ops.convert_to_numpy(equal_mass_bins(weight, 7))
    assert (np.diff(bins) >= 0).all()
    for row, which in zip(weight, bins, strict=True):
        mass = np.bincount(which, row, minlength=7)
        np.testing.assert_allclose(mass, row.sum() / 7, atol=row.max())
    assert (ops.convert_to_numpy(equal_mass_bins(np.zeros(4), 3)) == 0).all()
