"""The further ordinal losses: their formulas, absent raters, and what their minimum is."""

import numpy as np
import pytest

from keras_ordseg.losses import CoralLoss, EarthMoverLoss, SORDLoss
from tests.ops.test_levels import softmax64
from tests.ops.test_scores import thinned_levels64

SHAPES = [(3, 5), (3, 4, 3), (2, 3, 4, 2)]
SCALE = {"levels": lambda n: 1 / (n + 1), "thresholds": lambda n: 1 / n, "sum": lambda n: 1.0}


def emd64(p, v, normalization="levels"):
    """The definition: the distance between cumulative distributions, one pixel."""
    n = len(p) - 1
    return SCALE[normalization](n) * sum(abs(p[: j + 1].sum() - (v <= j)) for j in range(n))


def coral64(p, v):
    return -sum(np.log(p[t:].sum() if v >= t else p[:t].sum()) for t in range(1, len(p)))


def sord64(p, v, distance="squared", sharpness=1.0):
    gap = np.abs(np.arange(len(p)) - v) ** (2 if distance == "squared" else 1)
    target = np.exp(-sharpness * gap) / np.exp(-sharpness * gap).sum()
    return -(target * np.log(p)).sum()


CASES = [
    (EarthMoverLoss(), emd64),
    (EarthMoverLoss("thresholds"), lambda p, v: emd64(p, v, "thresholds")),
    (EarthMoverLoss("sum"), lambda p, v: emd64(p, v, "sum")),
    (CoralLoss(), coral64),
    (SORDLoss(), sord64),
    (SORDLoss("absolute", 0.7), lambda p, v: sord64(p, v, "absolute", 0.7)),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("num_raters", [1, 2, 7])
def test_against_their_formulas(shape, num_raters, rng):
    z = rng.normal(size=(*shape, num_raters + 1)).astype("float32") * 2
    votes = rng.integers(0, num_raters + 1, shape)
    ratings = rng.permuted(np.arange(num_raters) < votes[..., None], axis=-1).astype("int8")
    p = softmax64(z)
    for loss, reference in CASES:
        expected = np.array([reference(p[i], votes[i]) for i in np.ndindex(*shape)]).reshape(shape)
        np.testing.assert_allclose(loss.call(votes, z), expected, rtol=2e-5, atol=2e-5)
        # complete ratings take the plain form, to the bit
        np.testing.assert_array_equal(loss.call(ratings, z), loss.call(votes, z))


def test_absent_raters_thin_the_levels(rng):
    """A pixel that n of K raters rated is scored as the thinned model is on those n, the count varying by pixel."""
    z = rng.normal(size=(1, 6, 6)).astype("float32")
    ratings = np.full((1, 6, 5), -1, "int8")
    for n in range(6):
        ratings[0, n, rng.permutation(5)[:n]] = rng.integers(0, 2, n)
    for loss, reference in CASES:
        values = np.asarray(loss.call(ratings, z))[0]
        for n in range(1, 6):
            expected = reference(thinned_levels64(z[0, n], n), int((ratings[0, n] == 1).sum()))
            np.testing.assert_allclose(values[n], expected, rtol=2e-5, atol=1e-6)


def test_golden():
    """p = (.5, .25, .25), v = 1. EMD: |.5 - 0| + |.75 - 1| = .75, / 3 = .25. CORAL: -log P(k>=1) - log P(k<2)
    = -log .5 - log .75 = .980829. SORD: target (e^-1, 1, e^-1) / 1.735759 = (.211942, .576117, .211942):
    .211942 log 2 + (.576117 + .211942) log 4 = 1.239389."""
    z, v = np.log([[[0.5, 0.25, 0.25]]]).astype("float32"), np.array([[1]])
    for loss, value in ((EarthMoverLoss(), 0.25), (CoralLoss(), 0.980829), (SORDLoss(), 1.239389)):
        np.testing.assert_allclose(float(loss(v, z)), value, atol=2e-6)


def test_what_the_minimum_is(rng):
    """CORAL is least at the truth; the earth mover's distance at all mass on the median, as its docstring warns."""
    truth = np.array([0.3, 0.1, 0.35, 0.25])
    others = softmax64(np.log(truth) + rng.normal(size=(60, 4)) * 0.5)
    median = np.full(4, 1e-9)
    median[2] = 1.0
    z = np.log(np.concatenate([truth[None], median[None], others])).astype("float32")[None]
    for loss, best in ((CoralLoss(), 0), (EarthMoverLoss(), 1)):
        expected = sum(truth[v] * np.asarray(loss.call(np.full((1, 62), v), z)) for v in range(4))[0]
        assert expected.argmin() == best


def test_arguments():
    with pytest.raises(ValueError, match="distance: expected one of .'squared', 'absolute'"):
        SORDLoss("cubic")
    with pytest.raises(ValueError, match="sharpness: expected a finite number above 0"):
        SORDLoss(sharpness=0)
    with pytest.raises(ValueError, match="normalization: expected one of"):
        EarthMoverLoss("mean")
