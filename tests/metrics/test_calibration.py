from unittest import mock

import keras
import numpy as np
import pytest
from keras import ops

from keras_ordseg.metrics import MultiRaterBrier, MultiRaterECE
from keras_ordseg.ops import readout_probability

JAX = keras.backend.backend() == "jax"
SHAPES = [(3, 50), (3, 9, 8), (2, 5, 4, 6)]


def reference_ece(p, ratings, num_bins=15, sample_weight=None):
    """Every prediction replicated once for each rater that answered, in float64."""
    weight = np.broadcast_to(1.0 if sample_weight is None else sample_weight, p.shape)
    p = np.broadcast_to(p[..., None], ratings.shape).astype("float64")
    weight = np.broadcast_to(weight[..., None], ratings.shape)
    answered = ratings >= 0
    p, y, w = p[answered], ratings[answered], weight[answered]
    edges = np.arange(1, num_bins) / num_bins
    which = np.digitize(p, edges)
    error = sum(abs((w * (p - y))[which == b].sum()) for b in range(num_bins))
    return error / w.sum()


def reference_brier(p, ratings):
    answered = ratings >= 0
    return ((p[..., None] - ratings) ** 2)[answered].mean()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("num_raters", [1, 4, 7])
@pytest.mark.parametrize("readout", ["expected", "majority", 1])
def test_against_replication(shape, num_raters, readout, rng):
    z = rng.normal(size=(*shape, num_raters + 1)).astype("float32") * 2
    ratings = rng.integers(0, 2, (*shape, num_raters)).astype("int8")
    p = ops.convert_to_numpy(readout_probability(z, readout))
    for y in (ratings, ratings.sum(-1)):
        ece, brier = MultiRaterECE(readout), MultiRaterBrier(readout)
        for metric in (ece, brier):
            metric.update_state(y, z)
        np.testing.assert_allclose(float(ece.result()), reference_ece(p, ratings), atol=2e-7)
        np.testing.assert_allclose(float(brier.result()), reference_brier(p, ratings), atol=2e-7)


def test_absent_raters_weights_and_batches(rng):
    z = rng.normal(size=(6, 9, 8, 5)).astype("float32")
    ratings = rng.integers(-1, 2, (6, 9, 8, 4)).astype("int8")
    ratings[0] = -1
    p = ops.convert_to_numpy(readout_probability(z))
    whole, split, slots = MultiRaterECE(), MultiRaterECE(), MultiRaterECE()
    whole.update_state(ratings, z)
    for a, b in ((0, 1), (1, 1), (1, 5), (5, 6)):
        split.update_state(ratings[a:b], z[a:b])
    more = np.concatenate([np.full((6, 9, 8, 2), -1, "int8"), ratings[..., ::-1]], -1)
    slots.update_state(more, z)
    np.testing.assert_allclose(float(whole.result()), reference_ece(p, ratings), atol=2e-7)
    np.testing.assert_allclose(float(split.result()), float(whole.result()), atol=1e-7)
    np.testing.assert_allclose(float(slots.result()), float(whole.result()), atol=1e-12)
    for weight in (rng.random(6), rng.random((6, 9, 8))):
        metric = MultiRaterECE()
        metric.update_state(ratings, z, weight)
        full = weight.reshape(-1, 1, 1) if weight.ndim == 1 else weight
        np.testing.assert_allclose(float(metric.result()), reference_ece(p, ratings, 15, full), atol=3e-7)


def test_binary_outputs_are_scored_alike(rng):
    p = rng.random((2, 30)).astype("float32")
    ratings = rng.integers(0, 2, (2, 30, 3)).astype("int8")
    expected = reference_ece(p, ratings)
    logit = np.log(p / (1 - p))[..., None]
    for y, y_pred, from_logits, num_raters in (
        (ratings, p[..., None], False, None),
        (ratings.sum(-1), p[..., None], False, 3),
        (ratings, logit, True, None),
    ):
        metric = MultiRaterECE(from_logits=from_logits, num_raters=num_raters)
        metric.update_state(y, y_pred)
        np.testing.assert_allclose(float(metric.result()), expected, atol=1e-6)


def test_perfect_ordinal_model_is_calibrated_under_expected_only(rng):
    """Votes drawn from the predicted levels: the expected read-out is calibrated to the raters, the majority is not."""
    z = rng.normal(size=(1, 60_000, 6)) * 1.5
    p = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    votes = (p.cumsum(-1) < rng.random((1, 60_000, 1))).sum(-1)
    scores = {}
    for readout in ("expected", "majority"):
        metric = MultiRaterECE(readout)
        metric.update_state(votes, z.astype("float32"))
        scores[readout] = float(metric.result())
    assert scores["expected"] < 0.006 < 0.04 < scores["majority"]


def test_certain_predictions_one_bin_and_nothing():
    metric = MultiRaterECE(from_logits=False)
    assert float(metric.result()) == 0.0
    metric.update_state(np.zeros((0, 4, 2), "int8"), np.zeros((0, 4, 1), "float32"))
    metric.update_state(np.full((1, 4, 2), -1, "int8"), np.full((1, 4, 1), 0.3, "float32"))
    assert float(metric.result()) == 0.0  # nothing was answered
    metric.update_state(np.array([[[1, 1], [0, 0]]], "int8"), np.array([[[1.0], [0.0]]], "float32"))
    assert float(metric.result()) == 0.0  # certain, and right
    metric.reset_state()
    metric.update_state(np.array([[[1, 1], [0, 0]]], "int8"), np.array([[[0.0], [1.0]]], "float32"))
    assert float(metric.result()) == 1.0  # certain, and wrong
    metric.reset_state()
    metric.update_state(np.array([[[1], [0]]], "int8"), np.full((1, 2, 1), 0.5, "float32"))
    assert float(metric.result()) == 0.0  # one bin, right on average


def test_reliability_gives_the_diagram(rng):
    p = rng.random((1, 400)).astype("float32") * 0.6  # bins above 0.6 stay empty
    ratings = rng.integers(0, 2, (1, 400, 3)).astype("int8")
    metric = MultiRaterECE(num_bins=10, from_logits=False)
    metric.update_state(ratings, p[..., None])
    diagram = metric.reliability()
    which = np.floor(p[0].astype("float64") * 10).astype(int)
    np.testing.assert_allclose(diagram["edges"], np.arange(11) / 10, atol=1e-7)
    np.testing.assert_allclose(diagram["counts"], 3 * np.bincount(which, minlength=10))
    for b in range(6):
        np.testing.assert_allclose(diagram["confidence"][b], p[0][which == b].mean(), atol=1e-6)
        np.testing.assert_allclose(diagram["vote"][b], ratings[0][which == b].mean(), atol=1e-6)
    assert np.isnan(diagram["confidence"][6:]).all()
    assert np.isnan(diagram["vote"][6:]).all()
    gaps = diagram["counts"] * np.abs(diagram["confidence"] - diagram["vote"])
    np.testing.assert_allclose(diagram["ece"], np.nansum(gaps) / diagram["counts"].sum(), atol=1e-9)


def exactness(size, updates, rng):
    """Error of the metric against float64 sums of the same float32 read-out, `size` voxels in `updates` uneven parts."""
    p = (rng.random(size, dtype="float32") ** 4)[None]  # mostly background, as in a volume
    votes = (rng.random((1, size), dtype="float32") < p).astype("int8") * 3
    metric = MultiRaterECE(from_logits=False, num_raters=3)
    cuts = np.sort(rng.integers(0, size, updates - 1))
    for a, b in zip([0, *cuts], [*cuts, size], strict=True):
        metric.update_state(votes[:, a:b], p[:, a:b, None])
    which = np.minimum((p.astype("float64") * 15).astype("int8"), 14).ravel()
    gap = np.bincount(which, p.ravel().astype("float64") - votes.ravel() / 3.0, minlength=15)
    return abs(float(metric.result()) - np.abs(gap).sum() / size)


@pytest.mark.parametrize("updates", [1, 16])
def test_exact_at_a_million_voxels(updates, rng):
    assert exactness(2**20, updates, rng) < (1e-6 if JAX else 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("updates", [1, 64])
def test_exact_at_volume_scale(updates, rng):
    assert exactness(2**25, updates, rng) < (1e-6 if JAX else 1e-9)


@pytest.mark.parametrize("where", ["y_true", "y_pred"])
def test_impossible_values_make_it_nan_and_stay(where, rng):
    """Inside a graph, where values cannot be read, a vote above K never becomes a plausible number."""
    z = rng.normal(size=(1, 8, 4)).astype("float32")
    votes = np.full((1, 8), 2, "int32")
    metric = MultiRaterECE()
    bad_votes, bad_z = votes.copy(), z.copy()
    if where == "y_true":
        bad_votes[0, 3] = 4
    else:
        bad_z[0, 3] = np.nan
    if where == "y_true" and keras.backend.backend() == "tensorflow":
        with pytest.raises(ValueError, match="y_true: expected votes"):
            metric.update_state(bad_votes, bad_z)
    with mock.patch("keras_ordseg.ops.targets.concrete", return_value=None):
        metric.update_state(bad_votes, bad_z)
    assert np.isnan(float(metric.result()))
    metric.update_state(votes, z)
    assert np.isnan(float(metric.result()))
    metric.reset_state()
    metric.update_state(votes, z)
    assert np.isfinite(float(metric.result()))


@pytest.mark.parametrize(
    "kwargs,message",
    [
        ({"num_bins": 0}, "num_bins: expected an int"),
        ({"num_bins": 2.5}, "num_bins: expected an int"),
        ({"raters": "mean"}, "raters: expected one of"),
        ({"readout": "soft"}, "readout: expected"),
        ({"binning": "quantile"}, "binning: expected one of"),
        ({"norm": 2}, "norm: expected one of"),
        ({"confidence": "max"}, "confidence: expected one of"),
    ],
)
def test_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        MultiRaterECE(**kwargs)
