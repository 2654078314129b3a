import numpy as np
import pytest
from scipy.stats import hypergeom
from sklearn.metrics import cohen_kappa_score, confusion_matrix

from keras_ordseg.metrics import LevelMAE, QuadraticWeightedKappa
from keras_ordseg.ops import decide_level
from tests.ops.test_levels import softmax64

SHAPES = [(3, 50), (3, 9, 8), (2, 5, 4, 6)]
DECISIONS = ["mode", "median", "mean"]


def decide64(p, decision):
    """One pixel's level from its definition: the most probable, or the one of least expected error."""
    levels = np.arange(len(p))
    if decision == "mode":
        return int(np.argmax(p))
    distance = np.abs(levels[:, None] - levels) ** (1 if decision == "median" else 2)
    return int(np.argmin((distance * p).sum(-1)))


def thinned64(p, n):
    """The levels of n raters drawn from the K, from SciPy's hypergeometric distribution."""
    num_raters = len(p) - 1
    return np.array(
        [sum(p[k] * hypergeom.pmf(v, num_raters, k, n) for k in range(num_raters + 1)) for v in range(n + 1)]
    )


def score(metric, *args):
    metric.update_state(*args)
    return float(metric.result())


def made_up(shape, num_raters, rng):
    """Logits whose levels follow the votes loosely, so that kappa is neither 0 nor 1."""
    votes = rng.integers(0, num_raters + 1, shape)
    z = rng.normal(size=(*shape, num_raters + 1)) * 2 + 2 * (votes[..., None] == np.arange(num_raters + 1))
    return z.astype("float32"), votes


@pytest.mark.parametrize("decision", DECISIONS)
@pytest.mark.parametrize("num_raters", [1, 2, 7])
def test_decisions_have_the_least_expected_error(decision, num_raters, rng):
    p = rng.dirichlet(np.ones(num_raters + 1), 300)
    expected = [decide64(row, decision) for row in p]
    np.testing.assert_array_equal(decide_level(p.astype("float32"), decision), expected)


def test_ties_of_decisions():
    """Equal modes and medians: the lower level; an expectation halfway: the upper."""
    half = np.array([0.5, 0.0, 0.5, 0.0])
    assert [int(decide_level(half, d)) for d in DECISIONS] == [0, 0, 1]
    assert int(decide_level(np.array([0.5, 0.5]), "mean")) == 1
    assert int(decide_level(np.eye(4)[3], "mean")) == 3


@pytest.mark.parametrize("decision", DECISIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_level_mae(shape, decision, rng):
    z, votes = made_up(shape, 5, rng)
    p = softmax64(z)
    error = np.array([abs(decide64(p[i], decision) - votes[i]) for i in np.ndindex(shape)]).reshape(shape)
    weight = rng.random(shape)
    ratings = (np.arange(5) < votes[..., None]).astype("int8")
    for y in (votes, ratings):
        np.testing.assert_allclose(score(LevelMAE(decision), y, z), error.mean(), atol=1e-7)
    np.testing.assert_allclose(
        score(LevelMAE(decision), votes, z, weight), np.average(error, weights=weight), atol=1e-6
    )
    np.testing.assert_allclose(
        score(LevelMAE(decision, from_logits=False), votes, p.astype("float32")), error.mean(), atol=1e-7
    )
    metric = LevelMAE(decision)
    for part in (slice(0, 1), slice(1, None)):
        metric.update_state(votes[part], z[part])
    np.testing.assert_allclose(float(metric.result()), error.mean(), atol=1e-12)


@pytest.mark.parametrize("decision", DECISIONS)
def test_level_mae_of_the_raters_present(decision, rng):
    """Each pixel's levels are thinned to its own n raters; pixels that nobody rated do not count."""
    z = (rng.normal(size=(4, 40, 6)) * 2).astype("float32")
    ratings = rng.integers(-1, 2, (4, 40, 5)).astype("int8")
    ratings[0, :5] = -1
    p, errors = softmax64(z), []
    for i in np.ndindex(4, 40):
        n, v = (ratings[i] >= 0).sum(), (ratings[i] == 1).sum()
        if n:
            errors.append(abs(decide64(thinned64(p[i], n), decision) - v))
    np.testing.assert_allclose(score(LevelMAE(decision), ratings, z), np.mean(errors), atol=1e-7)


@pytest.mark.parametrize("decision", DECISIONS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("num_raters", [1, 4])
def test_kappa_against_scikit_learn(shape, num_raters, decision, rng):
    z, votes = made_up(shape, num_raters, rng)
    p = softmax64(z).reshape(-1, num_raters + 1)
    level, levels = [decide64(row, decision) for row in p], np.arange(num_raters + 1)
    weight = rng.random(shape)
    for w in (None, weight):
        flat = None if w is None else w.ravel()
        metric = QuadraticWeightedKappa(num_raters, decision)
        for part in (slice(0, 1), slice(1, None)):
            metric.update_state(votes[part], z[part], None if w is None else w[part])
        expected = cohen_kappa_score(votes.ravel(), level, weights="quadratic", sample_weight=flat)
        np.testing.assert_allclose(float(metric.result()), expected, atol=1e-6)
        table = confusion_matrix(votes.ravel(), level, labels=levels, sample_weight=flat)
        np.testing.assert_allclose(metric.confusion(), table, rtol=1e-5, atol=1e-6)
    assert 0.05 < expected < 0.95


def test_kappa_counts_complete_panels_only(rng):
    z, votes = made_up((3, 60), 4, rng)
    ratings = (np.arange(4) < votes[..., None]).astype("int8")
    broken = ratings.copy()
    broken[:, :20, 0] = -1  # a third of the pixels lacks one rater,
    broken[:, 20:30] = -1  # a sixth of them all
    metric = QuadraticWeightedKappa(4)
    assert metric.left_out() == 0.0
    np.testing.assert_allclose(
        score(metric, broken, z), score(QuadraticWeightedKappa(4), ratings[:, 30:], z[:, 30:]), atol=1e-12
    )
    np.testing.assert_allclose(metric.left_out(), 20 / 50, atol=1e-12)
    np.testing.assert_allclose(metric.confusion().sum(), 90, atol=1e-12)


def test_kappa_without_anything_to_agree_on():
    """Perfect, worse than chance, and undefined (0/0), which is 0: scikit-learn gives NaN there."""
    one_hot = np.eye(3, dtype="float32")
    votes = np.array([[0, 1, 2]])
    assert score(QuadraticWeightedKappa(2, from_logits=False), votes, one_hot[votes]) == 1.0
    # votes 0 1 2 against levels 2 1 0: O = (4 + 0 + 4) / 3, E = (1 + 4 + 1 + 1 + 4 + 1) / 9, so 1 - 2 = -1
    reverse = score(QuadraticWeightedKappa(2, from_logits=False), votes, one_hot[2 - votes])
    np.testing.assert_allclose(reverse, -1.0, atol=1e-6)
    empty = np.zeros((1, 3), "int32")
    assert score(QuadraticWeightedKappa(2, from_logits=False), empty, one_hot[empty]) == 0.0
    assert score(QuadraticWeightedKappa(2, from_logits=False), empty, one_hot[2 - empty]) == 0.0


@pytest.mark.parametrize("metric", [LevelMAE(), QuadraticWeightedKappa(4)], ids=lambda m: m.name)
def test_levels_that_are_none(metric, rng):
    with pytest.raises(ValueError, match="y_pred: expected level scores"):
        type(metric).from_config(metric.get_config()).update_state(
            np.zeros((1, 3, 4), "int8"), np.zeros((1, 3, 1))
        )
    z, votes = made_up((1, 9), 4, rng)
    z[0, 2, 1] = np.nan
    assert np.isnan(score(metric, votes, z))


def test_half_precision(rng):
    z, votes = made_up((2, 40), 4, rng)
    z = z.astype("float16")
    for build in (LevelMAE, lambda: QuadraticWeightedKappa(4)):
        assert score(build(), votes, z) == score(build(), votes, z.astype("float32"))


@pytest.mark.parametrize(
    "build,message",
    [
        (lambda: LevelMAE("argmax"), "decision: expected one of"),
        (lambda: QuadraticWeightedKappa(4, decision=1), "decision: expected one of"),
        (lambda: QuadraticWeightedKappa(0), "num_raters: expected an int"),
        (
            lambda: QuadraticWeightedKappa(3).update_state(np.zeros((1, 2)), np.zeros((1, 2, 5))),
            "num_raters: expected 4",
        ),
    ],
)
def test_arguments(build, message):
    with pytest.raises(ValueError, match=message):
        build()
