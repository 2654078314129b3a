"""What must hold for every panel, level distribution and loss, on examples that Hypothesis looks for."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import softmax

from keras_ordseg import losses, ops
from keras_ordseg.metrics import MultiRaterBrier, MultiRaterECE, RankedProbabilityScore
from tests.contract import LOSSES

settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=20)
settings.load_profile("repeatable")

PROPER = {
    "rps": losses.RankedProbabilityLoss("sum"),
    "level_cross_entropy": losses.LevelCrossEntropy(),
    "coral": losses.CoralLoss(),
}
LEVEL_LOSSES = ["CoralLoss", "EarthMoverLoss", "LevelCrossEntropy", "RankedProbabilityLoss", "SORDLoss"]
BINARY = [name for name in LOSSES if name not in LEVEL_LOSSES and name != "OrdinalSegmentationLoss"]


def finite(shape, size=8.0):
    return hnp.arrays("float32", shape, elements=st.floats(-size, size, width=32))


@st.composite
def panels(draw, min_raters=1, complete=False):
    """Ratings of a few pixels, and level logits."""
    num_raters, pixels = draw(st.integers(min_raters, 5)), draw(st.integers(1, 5))
    answers = st.integers(0 if complete else -1, 1)
    ratings = draw(hnp.arrays("int8", (1, pixels, num_raters), elements=answers))
    return ratings, draw(finite((1, pixels, num_raters + 1)))


def expected_scores(score, ratings, weights, *predictions):
    """Mean of a score over the outcomes `ratings` (a pixel each) with their probabilities, for each prediction."""
    z = np.stack([np.broadcast_to(prediction, (len(weights), len(prediction))) for prediction in predictions])
    values = np.asarray(score.call(np.broadcast_to(ratings, (len(z), *ratings.shape)), z), "float64")
    return values @ weights


@pytest.mark.parametrize("name", PROPER)
@given(data=st.data(), num_raters=st.integers(1, 6))
def test_propriety(name, data, num_raters):
    """No prediction beats the true level distribution."""
    truth = softmax(data.draw(finite(num_raters + 1, 4.0)).astype("float64"))
    other = data.draw(finite(num_raters + 1))
    outcomes = (np.arange(num_raters) < np.arange(num_raters + 1)[:, None]).astype("int8")
    best, score = expected_scores(PROPER[name], outcomes, truth, np.log(truth).astype("float32"), other)
    assert score >= best - 1e-5


@pytest.mark.parametrize("name", PROPER)
@given(data=st.data(), num_raters=st.integers(2, 5))
def test_propriety_over_random_subsets_of_raters(name, data, num_raters):
    """With raters absent at random, by any law of their number, nothing beats the true level distribution either."""
    truth = softmax(data.draw(finite(num_raters + 1, 4.0)).astype("float64"))
    other = data.draw(finite(num_raters + 1))
    law = softmax(data.draw(finite(num_raters, 3.0)).astype("float64"))  # of the number of raters present, 1..K

    outcomes, weights = [], []
    for k, n in itertools.product(range(num_raters + 1), range(1, num_raters + 1)):
        for v in range(max(0, n - (num_raters - k)), min(k, n) + 1):
            ways = math.comb(k, v) * math.comb(num_raters - k, n - v) / math.comb(num_raters, n)
            outcomes.append([1] * v + [0] * (n - v) + [-1] * (num_raters - n))
            weights.append(truth[k] * law[n - 1] * ways)
    best, score = expected_scores(
        PROPER[name], np.array(outcomes, "int8"), np.array(weights), np.log(truth).astype("float32"), other
    )
    assert score >= best - 1e-5


@settings(max_examples=5)
@pytest.mark.parametrize("name", LOSSES)
@given(panel=panels(min_raters=2), seed=st.integers(0, 99))
def test_raters_have_no_order_and_an_absent_slot_is_nothing(name, panel, seed):
    ratings, z = panel
    loss = LOSSES[name]()
    value = float(loss(ratings, z))
    shuffled = np.random.default_rng(seed).permuted(ratings, axis=-1)
    np.testing.assert_allclose(float(loss(shuffled, z)), value, rtol=1e-6, atol=1e-7)
    more = np.concatenate([np.full_like(ratings[..., :2], -1), ratings], axis=-1)
    np.testing.assert_allclose(float(loss(more, z)), value, rtol=1e-6, atol=1e-7)


@given(panel=panels())
def test_rps_does_not_know_which_end_is_which(panel):
    """Marked and not marked exchanged, levels reversed: the same score. So for the level cross-entropy and CORAL."""
    ratings, z = panel
    swapped = np.where(ratings < 0, ratings, 1 - ratings).astype("int8")
    for loss in (*PROPER.values(), losses.EarthMoverLoss(), losses.SORDLoss()):
        one, other = np.asarray(loss.call(ratings, z)), np.asarray(loss.call(swapped, z[..., ::-1]))
        rated = (ratings >= 0).any(-1)
        np.testing.assert_allclose(one[rated], other[rated], rtol=1e-4, atol=1e-5)


@given(data=st.data(), pixels=st.integers(1, 6))
def test_one_rater_is_the_binary_case(data, pixels):
    """K = 1: the level losses are the binary ones of the logit z_1 - z_0, and every read-out is its probability."""
    z = data.draw(finite((1, pixels, 2)))
    y = data.draw(hnp.arrays("int8", (1, pixels, 1), elements=st.integers(0, 1)))
    logit = z[..., 1:] - z[..., :1]
    binary = float(losses.MajorityCrossEntropy()(y, logit))
    p = 1 / (1 + np.exp(-logit.astype("float64")))
    brier = ((p - y) ** 2).mean()
    for loss in (losses.LevelCrossEntropy(), losses.CoralLoss(), losses.SoftLabelCrossEntropy()):
        np.testing.assert_allclose(float(loss(y, z)), binary, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(float(losses.RankedProbabilityLoss("thresholds")(y, z)), brier, rtol=1e-4, atol=1e-6)
    for readout in ("expected", "majority", 1):
        np.testing.assert_allclose(ops.readout_probability(z, readout), p[..., 0], atol=1e-5)


@settings(max_examples=5)
@pytest.mark.parametrize("name", BINARY)
@given(panel=panels(min_raters=2, complete=True))
def test_a_read_out_is_scored_as_the_binary_output_it_is(name, panel):
    """Of a complete panel: the loss of the levels is that of their read-out as a binary output."""
    ratings, z = panel
    loss = LOSSES[name]()
    logit = np.asarray(ops.readout_logit(z, loss.readout))[..., None]
    binary = LOSSES[name](num_raters=ratings.shape[-1])
    np.testing.assert_allclose(float(loss(ratings, z)), float(binary(ratings, logit)), rtol=2e-4, atol=1e-5)


@given(panel=panels(), cut=st.integers(0, 5))
def test_metrics_are_of_all_pixels_however_they_come(panel, cut):
    ratings, z = panel
    for build in (MultiRaterECE, MultiRaterBrier, RankedProbabilityScore):
        whole, parts = build(), build()
        whole.update_state(ratings, z)
        parts.update_state(ratings[:, :cut], z[:, :cut])
        parts.update_state(ratings[:, cut:], z[:, cut:])
        np.testing.assert_allclose(float(parts.result()), float(whole.result()), atol=1e-6)
