"""AUC and average precision against scikit-learn on replicated answers, within the metric's own bound."""

import keras
import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import average_precision_score, roc_auc_score

from keras_ordseg.metrics import MultiRaterAUC
from tests.metrics.test_probability import replicate
from tests.ops.test_levels import reference_readout

ORACLE = {"roc": roc_auc_score, "pr": average_precision_score}
FLOAT = 1e-5 if keras.backend.backend() == "jax" else 1e-12  # rounding of the sums


@pytest.mark.parametrize("shape", [(3, 50), (3, 9, 8), (2, 5, 4, 6)])
@pytest.mark.parametrize("readout", ["expected", "majority", 1])
@pytest.mark.parametrize("curve", ["roc", "pr"])
def test_against_scikit_learn(shape, readout, curve, rng):
    z = rng.normal(size=(*shape, 5)).astype("float32") * 2
    votes = rng.binomial(4, expit(z[..., -1] - z[..., 0]))
    ratings = (np.arange(4) < votes[..., None]).astype("int8")
    ratings[rng.random(ratings.shape) < 0.2] = -1
    weight = rng.random(shape).astype("float32")
    p, y, w = replicate(reference_readout(z, readout), ratings, weight)
    metric = MultiRaterAUC(curve, readout)
    for part in (slice(0, 1), slice(1, None)):
        metric.update_state(ratings[part], z[part], weight[part])
    error = abs(float(metric.result()) - ORACLE[curve](y, p, sample_weight=w))
    assert error <= metric.bound() + FLOAT
    assert error < 2e-3


@pytest.mark.parametrize("curve,error,most", [("roc", 2e-5, 2e-3), ("pr", 1e-3, 1e-2)])
def test_bound_is_small_at_scale(curve, error, most, rng):
    """2^19 answers on rare foreground: the error is below the bound, and the bound below what one reports."""
    logit = rng.normal(size=(1, 2**17, 1)).astype("float32") * 2 - 5
    votes = rng.binomial(4, expit(logit[..., 0]))
    metric = MultiRaterAUC(curve, num_raters=4)
    metric.update_state(votes, logit)
    p = np.repeat(logit.ravel(), 2)
    weight = np.stack([votes.ravel(), 4 - votes.ravel()], -1).ravel()
    exact = ORACLE[curve](np.tile([1, 0], 2**17), p, sample_weight=weight)
    assert abs(float(metric.result()) - exact) < error < metric.bound() < most


def test_exact_where_no_cell_is_shared():
    """Ties are half a pair won: 8 + 1/2 of 9 pairs; precision 2/2 twice (logit 2), then 3 answers of 4 (logit 1)."""
    votes, logit = np.array([[0, 1, 2]]), np.array([[[-3.0], [1.0], [2.0]]], "float32")
    for curve, expected in (("roc", 8.5 / 9), ("pr", (2 * 1 + 3 / 4) / 3)):
        metric = MultiRaterAUC(curve, num_raters=2)
        metric.update_state(votes, logit)
        np.testing.assert_allclose(float(metric.result()), expected, rtol=1e-6)
    # the last cell's two answers, the other way round: 1/2 pair of 9; precision 1, 1, 2/3 to 3/3
    roc, pr = MultiRaterAUC(num_raters=2), MultiRaterAUC("pr", num_raters=2)
    for metric in (roc, pr):
        metric.update_state(votes, logit)
    np.testing.assert_allclose(roc.bound(), 0.5 / 9, rtol=1e-6)
    # unmarked first, in portions: the integral of (2 + x) / (3 + x) over 0..1 is 1 - log(4/3) = 0.712, best 1
    np.testing.assert_allclose(pr.bound(), (1 - 3 / 4) / 3, rtol=1e-6)


@pytest.mark.parametrize("curve", ["roc", "pr"])
def test_no_order_within_the_cells_leaves_the_bound(curve, rng):
    """Logits moved inside their cells, to the worst and the best order there."""
    cells = rng.integers(-20, 20, 400)
    marks = rng.random(400) < expit(cells / 6)
    exact = {}
    for sign in (-1, 1):
        logit = cells / 128 + 1 / 256 + np.where(marks, 1, -1) * sign / 1024
        metric = MultiRaterAUC(curve)
        metric.update_state(marks[None, :, None].astype("int8"), logit[None, :, None].astype("float32"))
        exact[sign] = ORACLE[curve](marks, logit)
    found, bound = float(metric.result()), metric.bound()
    distance = max(abs(exact[sign] - found) for sign in exact)
    assert distance <= bound + FLOAT
    assert distance > 0.5 * bound  # not much more than what can happen
    if curve == "roc":
        np.testing.assert_allclose(distance, bound, rtol=1e-4)


def test_order_is_all_that_counts(rng):
    """Any rising function of the logit leaves the area unchanged, up to the cells; turned round, it is 1 - area."""
    logit = rng.normal(size=(1, 3000, 1)).astype("float32")
    votes = rng.binomial(3, expit(logit[..., 0]))

    def area(y_pred, **kwargs):
        metric = MultiRaterAUC(num_raters=3, **kwargs)
        metric.update_state(votes, y_pred)
        return float(metric.result())

    np.testing.assert_allclose(area(3 * logit + 1), area(logit), atol=2e-4)
    np.testing.assert_allclose(area(-logit), 1 - area(logit), atol=2e-4)
    np.testing.assert_allclose(area(expit(logit), from_logits=False), area(logit), atol=1e-5)


def test_certain_predictions():
    for y_pred, from_logits in (([[[0.0], [1.0]]], False), ([[[-300.0], [300.0]]], True)):
        for ratings, expected in (([[[0], [1]]], 1.0), ([[[1], [0]]], 0.0)):
            metric = MultiRaterAUC(from_logits=from_logits)
            metric.update_state(np.array(ratings, "int8"), np.array(y_pred, "float32"))
            assert float(metric.result()) == expected
            assert metric.bound() == 0.0


def test_nothing_to_rank():
    """NaN, not 0, which would be the worst ranking there is."""
    logit = np.zeros((1, 3, 1), "float32")
    for curve, defined in (("roc", False), ("pr", True)):
        metric = MultiRaterAUC(curve)
        assert np.isnan(float(metric.result()))
        metric.update_state(np.zeros((1, 3, 2), "int8"), logit)
        assert np.isnan(float(metric.result()))
        assert np.isnan(metric.bound())
        metric.reset_state()
        metric.update_state(np.ones((1, 3, 2), "int8"), logit)
        assert np.isfinite(float(metric.result())) == defined
    assert float(metric.result()) == 1.0


def test_arguments():
    with pytest.raises(ValueError, match="curve: expected one of"):
        MultiRaterAUC("ROC")
    with pytest.raises(ValueError, match="readout: expected"):
        MultiRaterAUC(readout=0)
