"""Proper scores against scikit-learn on replicated answers, and the Brier score's parts against their definitions."""

from unittest import mock

import keras
import numpy as np
import pytest
from scipy.special import expit, log_softmax
from sklearn.metrics import brier_score_loss, log_loss

from keras_ordseg.metrics import MultiRaterBrier, MultiRaterECE, MultiRaterNLL
from tests.ops.test_levels import reference_readout

JAX = keras.backend.backend() == "jax"
PARTS = ("reliability", "resolution", "uncertainty", "within_bin")


def replicate(p, ratings, weight=None):
    """`(probability, answer, weight)` of every answer given, in float64."""
    weight = np.broadcast_to(1.0 if weight is None else weight, p.shape)[..., None]
    answered = ratings >= 0
    return tuple(
        np.broadcast_to(x, ratings.shape)[answered].astype("float64") for x in (p[..., None], ratings, weight)
    )


def score(metric, *args):
    metric.update_state(*args)
    return float(metric.result())


@pytest.mark.parametrize("shape", [(3, 50), (3, 9, 8), (2, 5, 4, 6)])
@pytest.mark.parametrize("readout", ["expected", "majority", 1])
def test_against_scikit_learn(shape, readout, rng):
    z = rng.normal(size=(*shape, 5)).astype("float32") * 2
    ratings = rng.integers(-1, 2, (*shape, 4)).astype("int8")
    weight = rng.random(shape).astype("float32")
    p, y, w = replicate(reference_readout(z, readout), ratings, weight)
    np.testing.assert_allclose(
        score(MultiRaterNLL(readout), ratings, z, weight), log_loss(y, p, sample_weight=w), atol=3e-7
    )
    np.testing.assert_allclose(
        score(MultiRaterBrier(readout), ratings, z, weight),
        brier_score_loss(y, p, sample_weight=w),
        atol=3e-7,
    )


def test_votes_and_binary_outputs_score_alike(rng):
    logit = rng.normal(size=(2, 40, 1)).astype("float32") * 3
    ratings = rng.integers(0, 2, (2, 40, 3)).astype("int8")
    p, y, _ = replicate(expit(logit[..., 0].astype("float64")), ratings)
    for y_true, y_pred, options in (
        (ratings, logit, {}),
        (ratings.sum(-1), logit, {"num_raters": 3}),
        (ratings, expit(logit), {"from_logits": False}),
    ):
        np.testing.assert_allclose(
            score(MultiRaterNLL(**options), y_true, y_pred), log_loss(y, p), rtol=1e-6
        )


def test_nll_does_not_saturate():
    """The cost of a wrong answer is its logit, long after the probability is 1 in float32."""
    metric = MultiRaterNLL()
    assert score(metric, np.zeros((1, 1, 1), "int8"), np.array([[[60.0]]], "float32")) == 60.0
    metric.reset_state()
    # levels: log sum_k k e^z_k - log sum_k (2 - k) e^z_k = log(2 e^200 + e^0) - log(2 e^0 + e^0) = 200 + log 2 - log 3
    z = np.array([[[0.0, 0.0, 200.0]]], "float32")
    np.testing.assert_allclose(score(metric, np.zeros((1, 1)), z), 200 + np.log(2 / 3), rtol=1e-6)
    metric.reset_state()
    certain = np.array([[[-np.inf, -np.inf, 0.0], [0.0, -np.inf, -np.inf]]], "float32")
    assert score(metric, np.array([[2, 0]]), certain) == 0.0
    assert score(metric, np.array([[2, 2]]), certain) == 1e4 / 4  # one of four pixels is wrong, at the limit


def test_nll_of_certain_probabilities():
    """Floors: 1e-7 for a binary output, 1e-30 for a level."""
    right, wrong = np.array([[[1, 1], [0, 0]]], "int8"), np.array([[[0, 0], [1, 1]]], "int8")
    binary = np.array([[[1.0], [0.0]]], "float32")
    levels = np.array([[[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]], "float32")
    for p, floor in ((binary, 1e-7), (levels, 1e-30)):
        np.testing.assert_allclose(score(MultiRaterNLL(from_logits=False), right, p), 0, atol=2e-7)
        # of levels: p_1 + 2 p_2 against 2 p_0 + p_1 = 2 against 3e-30
        cost = -np.log(floor) if p is binary else -np.log(1.5 * floor)
        np.testing.assert_allclose(score(MultiRaterNLL(from_logits=False), wrong, p), cost, rtol=1e-6)


def reference_parts(p, y, w, num_bins):
    """Each part by its definition: weighted variances and covariances of the answers in each bin."""
    total, mean = w.sum(), np.average(y, weights=w)
    which = np.minimum(np.floor(p * num_bins), num_bins - 1)
    parts = dict.fromkeys(PARTS, 0.0)
    parts["uncertainty"] = mean * (1 - mean)
    for b in np.unique(which):
        here = which == b
        share = w[here].sum() / total
        mean_p, mean_y = (np.average(x[here], weights=w[here]) for x in (p, y))
        variance = np.average((p[here] - mean_p) ** 2, weights=w[here])
        covariance = np.average((p[here] - mean_p) * (y[here] - mean_y), weights=w[here])
        parts["reliability"] += share * (mean_p - mean_y) ** 2
        parts["resolution"] += share * (mean_y - mean) ** 2
        parts["within_bin"] += share * (variance - 2 * covariance)
    return parts


@pytest.mark.parametrize("num_bins", [1, 4, 15, 50])
@pytest.mark.parametrize("absent", [False, True])
def test_decomposition(num_bins, absent, rng):
    p = rng.random((5, 300)).astype("float32")
    ratings = rng.integers(-1 if absent else 0, 2, (5, 300, 3)).astype("int8")
    weight = rng.integers(1, 4, (5, 300)).astype("float32")
    metric = MultiRaterBrier(num_bins=num_bins, from_logits=False)
    for part in (slice(0, 1), slice(1, 5)):
        metric.update_state(ratings[part], p[part][..., None], weight[part])
    parts = metric.decomposition()
    answers = replicate(p, ratings, weight)
    tolerance = 3e-7 if JAX else 1e-12
    for name, value in reference_parts(*answers, num_bins).items():
        np.testing.assert_allclose(parts[name], value, rtol=0, atol=tolerance, err_msg=name)
    total = parts["reliability"] - parts["resolution"] + parts["uncertainty"] + parts["within_bin"]
    exact = np.average((answers[0] - answers[1]) ** 2, weights=answers[2])
    np.testing.assert_allclose(total, exact, rtol=0, atol=3e-7 if JAX else 1e-12)
    np.testing.assert_allclose(float(metric.result()), exact, rtol=0, atol=3e-7 if JAX else 1e-12)


def test_identity_at_a_million_pixels(rng):
    """Background with small probabilities, as in a volume: the identity still holds to 1e-9 of an exact score."""
    p = (rng.random((4, 2**18), dtype="float32") ** 4)[..., None]
    votes = rng.binomial(4, p[..., 0]).astype("int8")
    metric = MultiRaterBrier(from_logits=False, num_raters=4)
    for y, x in zip(votes, p, strict=True):
        metric.update_state(y[None], x[None])
    parts = metric.decomposition()
    x, v = p[..., 0].astype("float64"), votes.astype("float64")
    exact = (v * (1 - x) ** 2 + (4 - v) * x**2).sum() / (4 * v.size)
    total = parts["reliability"] - parts["resolution"] + parts["uncertainty"] + parts["within_bin"]
    assert abs(parts["brier"] - exact) < (1e-6 if JAX else 1e-9)
    assert abs(total - exact) < (1e-6 if JAX else 1e-9)
    assert parts["reliability"] < 1e-5  # drawn from p


def test_decomposition_tells_calibration_from_resolution():
    """Golden: two bins, p = 0.2 and 0.8 with 10 answers each, of which 4 and 8 mark; y = 0.6.

    reliability (0.2^2 + 0) / 2 = 0.02, resolution (0.2^2 + 0.2^2) / 2 = 0.04, uncertainty 0.24, within a bin nothing
    varies: 0; Brier 0.22 = (4 * 0.64 + 6 * 0.04 + 8 * 0.04 + 2 * 0.64) / 20.
    """
    ratings = np.zeros((1, 2, 10), "int8")
    ratings[0, 0, :4], ratings[0, 1, :8] = 1, 1
    metric = MultiRaterBrier(from_logits=False)
    assert set(metric.decomposition().values()) == {0.0}
    metric.update_state(ratings, np.array([[[0.2], [0.8]]], "float32"))
    expected = {"brier": 0.22, "reliability": 0.02, "resolution": 0.04, "uncertainty": 0.24, "within_bin": 0.0}
    parts = metric.decomposition()
    assert list(parts) == list(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(parts[name], value, atol=1e-7, err_msg=name)
    ece = MultiRaterECE(from_logits=False)
    ece.update_state(ratings, np.array([[[0.2], [0.8]]], "float32"))
    np.testing.assert_allclose(float(ece.result()), 0.1, atol=1e-7)  # the same gaps, not squared


def test_impossible_values_reach_the_decomposition(rng):
    metric = MultiRaterBrier(num_raters=3)
    with mock.patch("keras_ordseg.ops.targets.concrete", return_value=None):
        metric.update_state(np.full((1, 4), 7), rng.normal(size=(1, 4, 1)).astype("float32"))
    assert np.isnan(list(metric.decomposition().values())).all()


@pytest.mark.parametrize("value", [1.2, -0.1])
@pytest.mark.parametrize("build", [MultiRaterBrier, MultiRaterNLL, MultiRaterECE])
def test_logits_are_not_taken_for_probabilities(build, value):
    """from_logits=False and values outside [0, 1]: an error where they can be read, NaN inside a graph."""
    ratings, p = np.ones((1, 2, 2), "int8"), np.array([[[0.5], [value]]], "float32")
    if keras.backend.backend() == "tensorflow":
        with pytest.raises(ValueError, match=r"y_pred: expected probabilities in \[0, 1\], because from_logits"):
            build(from_logits=False).update_state(ratings, p)
    with mock.patch("keras_ordseg.ops.values.concrete", return_value=None):
        assert np.isnan(score(build(from_logits=False), ratings, p))
    assert np.isfinite(score(build(from_logits=False), ratings, p.clip(0, 1)))


def test_proper(rng):
    """No other probability scores better than the share of raters that mark, on average over their answers."""
    p = rng.dirichlet(np.ones(5), size=(1, 200))
    votes = (p.cumsum(-1) < rng.random((1, 200, 1))).sum(-1)
    share = votes.mean() / 4
    for build in (MultiRaterBrier, MultiRaterNLL):
        best = score(
            build(from_logits=False, num_raters=4), votes, np.full((1, 200, 1), share, "float32")
        )
        for other in (0.8 * share, 1.1 * share):
            worse = np.full((1, 200, 1), other, "float32")
            assert score(build(from_logits=False, num_raters=4), votes, worse) > best
    levels = log_softmax(rng.normal(size=(1, 200, 5)), -1).astype("float32")
    assert score(MultiRaterNLL(), votes, levels) > 0


@pytest.mark.parametrize("num_bins", [0, 2.5, True])
def test_arguments(num_bins):
    with pytest.raises(ValueError, match="num_bins: expected an int of at least 1"):
        MultiRaterBrier(num_bins=num_bins)
    with pytest.raises(ValueError, match="readout: expected"):
        MultiRaterNLL(readout="mean")
