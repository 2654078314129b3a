import keras
import numpy as np
import pytest
from scipy import optimize, special, stats

from keras_ordseg import calibration, layers, metrics

K = 4


def softmax(z):
    return special.softmax(np.asarray(z, "float64"), -1)


def drawn(rng, shape=(4, 40, 40), temperature=2.0, num_raters=K):
    """Level logits that are `temperature` times too large, and votes drawn from the true levels."""
    z = rng.normal(size=(*shape, num_raters + 1)) * 1.5
    votes = (softmax(z).cumsum(-1)[..., :-1] < rng.random((*shape, 1))).sum(-1)
    return votes, (temperature * z).astype("float32")


def nll(votes, counts, p):
    """Mean of `-log P(votes)` when the levels are thinned to `counts` raters, by scipy's hypergeometric distribution."""
    k = np.arange(p.shape[-1])
    chance = stats.hypergeom.pmf(votes[..., None], p.shape[-1] - 1, k, counts[..., None])
    return -np.log((p * chance).sum(-1)).mean()


def test_temperature_is_the_one_of_least_likelihood(rng):
    votes, z = drawn(rng)
    layer = calibration.fit(votes, z)
    counts = np.full(votes.shape, K)
    best = optimize.minimize_scalar(lambda t: nll(votes, counts, softmax(z / t)), bounds=(0.5, 8), method="bounded")
    np.testing.assert_allclose(layer.temperature, best.x, rtol=1e-4)
    assert abs(layer.temperature - 2.0) < 0.1


def test_absent_raters_are_thinned(rng):
    """Ratings of exchangeable raters of whom some are absent: the oracle thins with scipy."""
    votes, z = drawn(rng, (1, 30, 30))
    order = rng.random((*votes.shape, K)).argsort(-1).argsort(-1)
    ratings = (order < votes[..., None]).astype("int8")
    ratings[rng.random(ratings.shape) < 0.4] = -1
    counts = (ratings >= 0).sum(-1)
    rated = counts > 0
    assert set(np.unique(counts)) == set(range(K + 1))
    marked = (ratings == 1).sum(-1)

    def loss(t):
        return nll(marked[rated], counts[rated], softmax(z[rated] / t))

    best = optimize.minimize_scalar(loss, bounds=(0.5, 8), method="bounded")
    np.testing.assert_allclose(calibration.fit(ratings, z).temperature, best.x, rtol=1e-4)


def test_vector_scaling_undoes_a_scale_and_an_offset(rng):
    votes, z = drawn(rng, (8, 60, 60), temperature=1.0)
    scale, offset = np.array([1, 2, 0.5, 1, 1.5]), np.array([0, 0.5, -1, 0.3, 0])
    layer = calibration.fit(votes, (z - offset) / scale, "vector")
    counts = np.full(votes.shape, K)
    found = nll(votes, counts, softmax(layer((z - offset) / scale)))
    assert layer.offset[0] == 0
    assert found <= nll(votes, counts, softmax(z)) + 1e-6  # at least as good as the truth, which it can express
    np.testing.assert_allclose(layer.scale, scale, atol=0.25)
    np.testing.assert_allclose(layer.offset, offset, atol=0.25)


def test_binary_temperature_and_platt_count_every_answer(rng):
    z = rng.normal(size=(2, 50, 50, 1)) * 2
    ratings = (rng.random((2, 50, 50, 3)) < special.expit(0.5 * z - 0.7)).astype("int8")
    ratings[0, :20, :, 2] = -1
    rated = ratings >= 0
    counts, votes = rated.sum(-1)[..., None], (ratings == 1).sum(-1)[..., None]

    def answers(logit):
        return (votes * np.logaddexp(0, -logit) + (counts - votes) * np.logaddexp(0, logit)).sum() / counts.sum()

    best = optimize.minimize(lambda x: answers(x[0] * z + x[1]), [1, 0], method="Nelder-Mead", tol=1e-10).x
    layer = calibration.fit(ratings, z.astype("float32"), "vector")
    np.testing.assert_allclose([layer.scale[0], layer.offset[0]], best, atol=1e-4)
    one = optimize.minimize_scalar(lambda t: answers(z / t), bounds=(0.1, 20), method="bounded").x
    np.testing.assert_allclose(calibration.fit(ratings, z.astype("float32")).temperature, one, rtol=1e-4)
    votes_of_all = rng.integers(0, 4, (2, 50, 50))
    assert calibration.fit(votes_of_all, z.astype("float32"), num_raters=3).temperature > 0


def test_isotonic_makes_every_threshold_calibrated(rng):
    votes, z = drawn(rng, (4, 100, 100), temperature=3.0)
    layer = calibration.fit(votes, z, "isotonic")
    before, after = softmax(z), softmax(layer(z))
    for t in range(1, K + 1):
        for p, at_most, at_least in ((before, 1, 0.04), (after, 0.015, 0)):
            error = _ece(p[..., t:].sum(-1).ravel(), (votes >= t).ravel())
            assert at_least <= error <= at_most
    for predicted, observed in layer.curves:
        assert (np.diff(observed) >= 0).all()
        assert len(predicted) <= 96


def _ece(p, hit):
    place = np.minimum((p * 15).astype(int), 14)
    return np.abs(np.bincount(place, p - hit, 15)).sum() / len(p)


def test_isotonic_of_a_binary_logit_weighs_the_answers(rng):
    """Two predictions only, so that the curve is two means: by hand."""
    z = np.repeat([[-2.0], [1.0]], 50, 0).reshape(1, 100, 1)
    ratings = rng.integers(-1, 2, (1, 100, 3))
    weight = rng.uniform(0.5, 2, (1, 100))
    ratings[:, :50] = np.where(ratings[:, :50] == 1, 0, ratings[:, :50])
    marked, rated = (ratings == 1).sum(-1), (ratings >= 0).sum(-1)
    layer = calibration.fit(ratings, z, "isotonic", sample_weight=weight)
    expected = [(weight * marked)[0, part].sum() / (weight * rated)[0, part].sum() for part in (slice(50), slice(50, 100))]
    ((predicted, observed),) = layer.curves
    np.testing.assert_allclose(predicted, special.expit([-2.0, 1.0]), rtol=1e-6)
    np.testing.assert_allclose(observed, expected, rtol=1e-5)


@pytest.mark.parametrize("method", ["temperature", "vector", "isotonic"])
def test_unrated_pixels_and_weights_of_zero_move_nothing(method, rng):
    votes, z = drawn(rng, (2, 30, 30))
    base = calibration.fit(votes, z, method).get_config()
    ratings = (np.arange(K) < votes[..., None]).astype("int8")
    more = np.concatenate([ratings, np.full_like(ratings[:1], -1)])
    longer = np.concatenate([z, 100 * z[:1]])
    voided = calibration.fit(more, longer, method).get_config()
    repeated = np.concatenate([votes, votes[:1]])
    weighted = calibration.fit(repeated, longer, method, sample_weight=np.array([1.0, 1.0, 0.0])).get_config()
    for other in (voided, weighted):
        for key in base.keys() - {"name"}:
            if isinstance(base[key], (float, list)):
                for mine, theirs in zip(*map(keras.tree.flatten, (base[key], other[key])), strict=True):
                    np.testing.assert_allclose(mine, theirs, atol=1e-6)


def test_it_lowers_the_ece_of_new_pixels(rng):
    votes, z = drawn(rng, temperature=3.0)
    new_votes, new_z = drawn(rng, temperature=3.0)

    def ece(logits):
        metric = metrics.MultiRaterECE()
        metric.update_state(new_votes, logits)
        return float(metric.result())

    for method in ("temperature", "vector", "isotonic"):
        assert ece(calibration.fit(votes, z, method)(new_z)) < 0.3 * ece(new_z)


def test_perfect_separation_ends():
    votes = np.array([[0, 1, 2, 0]])
    with pytest.warns(UserWarning, match="separate the answers perfectly"):
        layer = calibration.fit(votes, 5.0 * np.eye(3)[votes])
    assert 0 < layer.temperature < 1


@pytest.mark.parametrize(
    "arguments,message",
    [
        ({"method": "beta"}, "method: expected one of"),
        ({"y_true": np.full((1, 4, 2), -1)}, "at least one pixel that a rater rated"),
        ({"y_pred": np.full((1, 4, 3), np.nan)}, "y_pred: expected finite logits"),
        ({"y_true": np.array([[[0, -1]] * 4]), "method": "isotonic"}, "needs pixels that all 2 raters rated"),
        ({"y_true": np.zeros((1, 5))}, "y_true: expected the batch and spatial axes"),
        ({"y_true": np.full((1, 4), 7)}, "vote"),
        ({"y_pred": np.zeros((1, 4, 1))}, "num_raters: needed"),
        ({"y_pred": {"disc": np.zeros((1, 4, 3))}}, r"y_pred: expected one array.*a dict of \['disc'\]"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        calibration.fit(**{"y_true": np.zeros((1, 4), int), "y_pred": np.zeros((1, 4, 3)), **arguments})


@pytest.mark.parametrize("method", ["temperature", "vector", "isotonic"])
def test_probabilities_are_no_logits(method, rng):
    """A softmax, and a mean of some, which rounding takes above 1; their logarithms are taken."""
    votes, z = drawn(rng, (2, 30, 30))
    p = softmax(z).astype("float32")
    p[0, 0, 0] = [1 + 1e-7, 0, 0, 0, 0]
    with pytest.raises(ValueError, match=r"y_pred: expected logits.*model.predict.*np.log\(np.maximum\(p, 1e-7\)\)"):
        calibration.fit(votes, p, method)
    with pytest.raises(ValueError, match="sum to 1"):
        calibration.fit(votes, p.astype("float16"), method)
    calibration.fit(votes, np.log(np.maximum(p, 1e-7)), method)


def test_logits_that_look_like_probabilities_are_taken(rng):
    """Binary logits in [0, 1], as of a model near its prior; level logits there that do not sum to 1, or not everywhere."""
    votes = rng.integers(0, 3, (1, 40))
    calibration.fit(np.tile(votes, (100, 1)), rng.random((100, 40, 1)), num_raters=2)
    with pytest.warns(UserWarning, match="no better than chance"):
        calibration.fit(votes, rng.random((1, 40, 3)))
    z = np.full((1, 40, 3), 1 / 3)
    z[0, 7] = 0
    calibration.fit(votes, z)


def test_the_temperature_of_a_logarithm_is_that_of_the_logits(rng):
    votes, z = drawn(rng, (2, 40, 40))
    found = calibration.fit(votes, np.log(np.maximum(softmax(z), 1e-7))).temperature
    np.testing.assert_allclose(found, calibration.fit(votes, z).temperature, rtol=1e-2)


def test_calibrators_come_back(rng):
    votes, z = drawn(rng, (1, 20, 20))
    for method, cls in (("temperature", layers.TemperatureScaling), ("isotonic", layers.IsotonicCalibration)):
        layer = calibration.fit(votes, z, method)
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
        assert isinstance(again, cls)
        np.testing.assert_array_equal(again(z), layer(z))
