import keras
import numpy as np
import pytest
from keras import ops
from scipy.stats import hypergeom

from keras_ordseg import ops as kops
from keras_ordseg.ops.ratings import panel
from keras_ordseg.ops.scores import binary_target, level_cross_entropy
from tests.ops.test_levels import softmax64

SHAPES = [(2, 5), (2, 4, 3), (1, 3, 4, 2)]
SCALE = {"levels": lambda n: 1 / (n + 1), "thresholds": lambda n: 1 / n, "sum": lambda n: 1.0}


def reference_rps(votes, probabilities, normalization):
    """The definition, one pixel at a time."""
    out = np.zeros(votes.shape)
    for i in np.ndindex(votes.shape):
        p, v = probabilities[i], votes[i]
        n = len(p) - 1
        out[i] = SCALE[normalization](n) * sum((p[: j + 1].sum() - (v <= j)) ** 2 for j in range(n))
    return out


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("num_raters", [1, 2, 7])
@pytest.mark.parametrize("normalization", ["levels", "thresholds", "sum"])
def test_rps_against_its_definition(shape, num_raters, normalization, rng):
    z = rng.normal(size=(*shape, num_raters + 1)).astype("float32") * 2
    votes = rng.integers(0, num_raters + 1, shape)
    expected = reference_rps(votes, softmax64(z), normalization)
    np.testing.assert_allclose(kops.ranked_probability_score(votes, z, normalization), expected, atol=1e-6)
    ratings = (np.arange(num_raters) < votes[..., None]).astype("int8")
    np.testing.assert_allclose(  # to the bit, but that JAX compiles the choice between the forms and not the votes' one
        kops.ranked_probability_score(ratings, z, normalization),
        kops.ranked_probability_score(votes, z, normalization),
        rtol=1e-6 if keras.backend.backend() == "jax" else 0,
    )


def test_rps_golden():
    """p = (.5, .25, .25), v = 1: F = (.5, .75), 1[v<=j] = (0, 1): .25 + .0625 = .3125; / 3 = .1041667; / 2 = .15625."""
    z = np.log([[[0.5, 0.25, 0.25]]]).astype("float32")
    for normalization, value in (("sum", 0.3125), ("levels", 0.1041667), ("thresholds", 0.15625)):
        got = kops.ranked_probability_score(np.array([[1]]), z, normalization)
        np.testing.assert_allclose(got, [[value]], atol=1e-6)


def test_rps_is_the_sum_of_brier_scores_of_the_thresholds(rng):
    z = rng.normal(size=(1, 50, 6)).astype("float32")
    v = rng.integers(0, 6, (1, 50))
    p = softmax64(z)
    briers = sum((p[..., t:].sum(-1) - (v >= t)) ** 2 for t in range(1, 6))
    np.testing.assert_allclose(kops.ranked_probability_score(v, z, "sum"), briers, atol=1e-5)


def test_scores_are_least_at_the_truth(rng):
    """Strict propriety: of many predictions for one level distribution, the truth has the least expected score."""
    truth = softmax64(rng.normal(size=5))
    others = softmax64(np.log(truth) + rng.normal(size=(40, 5)) * 0.5)
    z = np.log(np.concatenate([truth[None], others])).astype("float32")[None]
    for score in (
        kops.ranked_probability_score,
        lambda v, z: level_cross_entropy(panel(v, z), ops.convert_to_tensor(z)),
    ):
        expected = sum(truth[v] * np.asarray(score(np.full((1, 41), v), z)) for v in range(5))[0]
        assert expected[0] < expected[1:].min()


def thinned_levels64(z, n):
    num_raters = z.shape[-1] - 1
    kernel = np.array(
        [[hypergeom.pmf(v, num_raters, k, n) for v in range(n + 1)] for k in range(num_raters + 1)]
    )
    return softmax64(z) @ kernel


@pytest.mark.parametrize("normalization", ["levels", "thresholds", "sum"])
def test_absent_raters_thin_the_levels(normalization, rng):
    """A pixel that n of K raters rated scores as the thinned model does on those n."""
    z = rng.normal(size=(1, 6, 6)).astype("float32")
    ratings = np.full((1, 6, 5), -1, "int8")
    for n in range(6):
        ratings[0, n, :n] = rng.integers(0, 2, n)
    rps = np.asarray(kops.ranked_probability_score(ratings, z, normalization))[0]
    entropy = np.asarray(level_cross_entropy(panel(ratings, z), ops.convert_to_tensor(z)))[0]
    assert rps[0] == 0.0
    for n in range(1, 6):
        p, v = thinned_levels64(z[0, n], n), int((ratings[0, n] == 1).sum())
        np.testing.assert_allclose(rps[n], reference_rps(np.array(v), p, normalization), atol=1e-6)
        np.testing.assert_allclose(entropy[n], -np.log(p[v]), atol=1e-5)


def test_a_pixel_that_nobody_rated_scores_0(rng):
    """Also among pixels that all K rated, where nothing is thinned."""
    z = rng.normal(size=(1, 3, 4)).astype("float32")
    ratings = np.array([[[1, 1, 0], [-1, -1, -1], [0, 0, 0]]], "int8")
    np.testing.assert_array_equal(np.asarray(kops.ranked_probability_score(ratings, z)) == 0, [[False, True, False]])


@pytest.mark.parametrize("place", [(0, 0), (1, 2)])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_logit_that_is_no_number_spoils_its_own_pixel_only(place, value, rng):
    z, votes = rng.normal(size=(2, 3, 4)).astype("float32"), rng.integers(0, 4, (2, 3))
    expected = np.asarray(kops.ranked_probability_score(votes, z)).copy()
    z[(*place, 1)] = value
    expected[place] = np.nan
    np.testing.assert_array_equal(np.isnan(kops.ranked_probability_score(votes, z)), np.isnan(expected))
    np.testing.assert_allclose(kops.ranked_probability_score(votes, z), expected, rtol=1e-6)


def test_one_rater_kept_is_the_binary_case(rng):
    """With one answer of K: the cross-entropy and the Brier score of the expected read-out (half of it for "levels")."""
    z = rng.normal(size=(1, 40, 5)).astype("float32")
    answer = rng.integers(0, 2, (1, 40, 1)).astype("int8")
    p = (softmax64(z) * np.arange(5) / 4).sum(-1)
    y = answer[..., 0]
    np.testing.assert_allclose(
        level_cross_entropy(panel(answer, z), ops.convert_to_tensor(z)),
        -(y * np.log(p) + (1 - y) * np.log1p(-p)),
        atol=1e-5,
    )
    np.testing.assert_allclose(
        kops.ranked_probability_score(answer, z, "thresholds"), (p - y) ** 2, atol=1e-6
    )
    np.testing.assert_allclose(
        kops.ranked_probability_score(answer, z, "levels"), (p - y) ** 2 / 2, atol=1e-6
    )


def test_an_absent_slot_moves_nothing(rng):
    z = rng.normal(size=(2, 7, 4)).astype("float32")
    ratings = rng.integers(0, 2, (2, 7, 3)).astype("int8")
    more = np.concatenate([ratings[..., :1], np.full((2, 7, 2), -1, "int8"), ratings[..., 1:]], -1)
    np.testing.assert_array_equal(
        kops.ranked_probability_score(ratings, z), kops.ranked_probability_score(more, z)
    )


def test_binary_target_scales_the_quorum(rng):
    ratings = np.array(
        [[[1, 0, -1, -1], [1, -1, -1, -1], [0, 0, 1, -1], [1, 1, 0, 0], [-1, -1, -1, -1]]], "int8"
    )
    read = panel(ratings, np.zeros((1, 5, 5), "float32"))
    np.testing.assert_allclose(binary_target(read, "expected"), [[0.5, 1, 1 / 3, 0.5, 0]], atol=1e-6)
    np.testing.assert_array_equal(binary_target(read, "majority"), [[1, 1, 0, 1, 0]])  # quorums 1, 1, 2, 2
    np.testing.assert_array_equal(binary_target(read, 3), [[0, 1, 0, 0, 0]])  # ceil(3n/4): 2, 1, 3, 3


@pytest.mark.dear
def test_impossible_votes_score_nan_inside_a_graph():
    z = np.zeros((1, 3, 3), "float32")

    def score(v):
        return kops.ranked_probability_score(v, ops.convert_to_tensor(z))

    v = np.array([[0, 1, 9]], "int32")
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        got = tf.function(score)(tf.constant(v)).numpy()
    elif keras.backend.backend() == "jax":
        import jax

        got = np.asarray(jax.jit(score)(v))
    else:
        pytest.skip("torch runs eagerly here")
    np.testing.assert_array_equal(np.isnan(got), [[False, False, True]])


def test_binary_cross_entropy_and_brier(rng):
    t, z = rng.random(50), rng.normal(size=50) * 10
    p = 1 / (1 + np.exp(-z))
    np.testing.assert_allclose(
        kops.binary_cross_entropy(t.astype("float32"), z.astype("float32")),
        -(t * np.log(p) + (1 - t) * np.log(1 - p)),
        rtol=1e-4,
    )
    ratings = rng.integers(0, 2, (50, 4))
    np.testing.assert_allclose(
        kops.brier(ratings.sum(-1).astype("float32"), np.float32(4), p.astype("float32")),
        ((p[:, None] - ratings) ** 2).sum(-1),
        atol=1e-5,
    )


def test_unknown_normalization():
    with pytest.raises(ValueError, match="normalization: expected one of"):
        kops.ranked_probability_score(np.zeros((1, 1)), np.zeros((1, 1, 3)), "mean")


def test_a_binary_output_has_no_levels():
    with pytest.raises(ValueError, match="y_pred: expected level scores"):
        kops.ranked_probability_score(np.zeros((1, 2, 1)), np.zeros((1, 2, 1)))
