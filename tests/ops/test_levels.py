import math
from itertools import combinations

import numpy as np
import pytest
from keras import ops
from scipy.special import logsumexp
from scipy.stats import hypergeom

from keras_ordseg import ops as kops
from keras_ordseg.ops.ratings import panel
from keras_ordseg.ops.scores import panel_readout_logit
from keras_ordseg.ops.thinning import scaled_quorum

SHAPES = [(2, 5), (2, 4, 3), (1, 3, 4, 2)]


def softmax64(z):
    z = np.asarray(z, "float64")
    return np.exp(z - logsumexp(z, axis=-1, keepdims=True))


def reference_readout(z, readout):
    p = softmax64(z)
    num_raters = z.shape[-1] - 1
    if readout == "expected":
        return (p * np.arange(num_raters + 1)).sum(-1) / num_raters
    q = math.ceil(num_raters / 2) if readout == "majority" else readout
    return p[..., q:].sum(-1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("num_raters", [1, 2, 5, 7])
@pytest.mark.parametrize("readout", ["expected", "majority", 1])
def test_readouts(shape, num_raters, readout, rng):
    z = rng.normal(size=(*shape, num_raters + 1)).astype("float32") * 3
    expected = reference_readout(z, readout)
    logit = np.asarray(kops.readout_logit(z, readout))
    np.testing.assert_allclose(logit, np.log(expected) - np.log1p(-expected), atol=2e-5)
    np.testing.assert_allclose(kops.readout_probability(z, readout), expected, atol=1e-6)
    np.testing.assert_allclose(
        kops.readout_probability(softmax64(z).astype("float32"), readout, from_logits=False),
        expected,
        atol=1e-6,
    )


def test_named_readouts_are_the_readouts(rng):
    z = rng.normal(size=(4, 6)).astype("float32")
    np.testing.assert_allclose(kops.expected_agreement(z), reference_readout(z, "expected"), atol=1e-6)
    np.testing.assert_allclose(kops.consensus_probability(z), reference_readout(z, "majority"), atol=1e-6)
    np.testing.assert_allclose(kops.consensus_probability(z, 4), reference_readout(z, 4), atol=1e-6)
    np.testing.assert_allclose(kops.level_probabilities(z), softmax64(z), atol=1e-6)


def test_one_rater_is_the_binary_model(rng):
    z = rng.normal(size=(3, 2)).astype("float32")
    for readout in ("expected", "majority", 1):
        np.testing.assert_allclose(kops.readout_logit(z, readout), z[:, 1] - z[:, 0], atol=1e-6)
    np.testing.assert_array_equal(kops.readout_logit(z[:, :1], "majority"), z[:, 0])


def test_extreme_half_precision_logits_stay_finite():
    """At ±30 the float32 probability of the far side is 1e-26: its logit must not pass through it."""
    z = np.array([[30.0, -30.0, -30.0], [-30.0, -30.0, 30.0]], "float16")
    for readout in ("expected", "majority", 2):
        logit = np.asarray(kops.readout_logit(z, readout))
        assert logit.dtype == np.float32
        assert np.isfinite(logit).all()
        assert logit[0] < -58
        assert logit[1] > 58


@pytest.mark.parametrize("readout", ["mean", 0, -1, True, 2.5, None])
def test_unknown_readout(readout):
    with pytest.raises(ValueError, match="readout: expected 'expected'"):
        kops.readout_logit(np.zeros((1, 3)), readout)


def test_quorum_above_the_raters():
    with pytest.raises(ValueError, match="quorum: expected 'majority' or an int in 1..2"):
        kops.readout_logit(np.zeros((1, 3)), 3)
    with pytest.raises(ValueError, match="quorum: expected 'majority' or an int in 1..2"):
        kops.consensus_probability(np.zeros((1, 3)), "expected")


@pytest.mark.parametrize("num_raters,kept", [(2, 1), (5, 1), (5, 3), (7, 4), (7, 7)])
def test_thinning_is_hypergeometric(num_raters, kept, rng):
    p = softmax64(rng.normal(size=(3, num_raters + 1)))
    kernel = np.array(
        [[hypergeom.pmf(v, num_raters, k, kept) for v in range(kept + 1)] for k in range(num_raters + 1)]
    )
    np.testing.assert_allclose(kops.thin_levels(p.astype("float32"), kept), p @ kernel, atol=1e-6)


def test_thinning_is_the_mean_over_all_subpanels(rng):
    """Drawn out: of K = 4 ratings with k marked, every subset of 2 raters, equally likely."""
    for k in range(5):
        ratings = [1] * k + [0] * (4 - k)
        counts = np.bincount([sum(s) for s in combinations(ratings, 2)], minlength=3) / 6
        np.testing.assert_allclose(kops.thin_levels(np.eye(5, dtype="float32")[k], 2), counts, atol=1e-6)


@pytest.mark.parametrize("kept", [0, 4, 1.0, True])
def test_thinning_to_an_impossible_panel(kept):
    with pytest.raises(ValueError, match="num_raters: expected an int in 1..3"):
        kops.thin_levels(np.ones(4) / 4, kept)


@pytest.mark.parametrize("readout", ["expected", "majority", 2])
def test_thinned_readout_is_the_readout_of_the_thinned_levels(readout, rng):
    num_raters = 5
    z = rng.normal(size=(1, 6, 6)).astype("float32")
    ratings = np.array([[[1] * n + [-1] * (5 - n) for n in range(6)]], "int8")
    got = np.asarray(panel_readout_logit(panel(ratings, z), ops.convert_to_tensor(z), readout))[0]
    for n in range(1, 6):
        p = softmax64(z[0, n]) @ np.array(
            [[hypergeom.pmf(v, 5, k, n) for v in range(n + 1)] for k in range(6)]
        )
        if readout == "expected":
            value = (p * np.arange(n + 1)).sum() / n
        else:
            q = math.ceil(n / 2) if readout == "majority" else math.ceil(readout * n / num_raters)
            value = p[q:].sum()
        np.testing.assert_allclose(got[n], np.log(value / (1 - value)), atol=2e-5)
    assert np.isfinite(got[0])


def test_scaled_quorum_is_exact_in_floating_point():
    for num_raters in range(1, 12):
        counts = np.arange(num_raters + 1, dtype="float32")
        for q in range(1, num_raters + 1):
            expected = [max(-(-q * n // num_raters), 1) for n in range(num_raters + 1)]
            np.testing.assert_array_equal(scaled_quorum(q, counts, num_raters), expected)
        np.testing.assert_array_equal(
            scaled_quorum("majority", counts, num_raters),
            [max(math.ceil(n / 2), 1) for n in range(num_raters + 1)],
        )
