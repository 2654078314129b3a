"""The least likelihood is reached at any scale of the logits, or it is said that there is none."""

import warnings

import numpy as np
import pytest
from scipy import optimize, special

from keras_ordseg import calibration
from tests.calibration.test_fitting import drawn, nll, softmax


def bce(y, logit):
    return (np.logaddexp(0, logit) - y * logit).mean()


@pytest.mark.parametrize("scale", [1e-8, 1e-3, 1.0, 1e6])
def test_levels_of_any_scale(scale, rng):
    """The temperature follows the scale of the logits, and scales and offsets are never worse than it."""
    votes, z = drawn(rng, (2, 20, 20))
    counts = np.full(votes.shape, 4)
    one = calibration.fit(votes, z).temperature
    scaled = (z.astype("float64") * scale).astype("float32")
    np.testing.assert_allclose(calibration.fit(votes, scaled).temperature, one * scale, rtol=1e-4)
    vector = calibration.fit(votes, scaled, "vector")
    np.testing.assert_allclose(vector.scale, np.array(calibration.fit(votes, z, "vector").scale) / scale, rtol=2e-2)
    logits = scaled.astype("float64") * vector.scale + np.array(vector.offset)
    assert nll(votes, counts, softmax(logits)) <= nll(votes, counts, softmax(scaled / (one * scale))) + 1e-9


@pytest.mark.parametrize("shift,scale", [(0.0, 1.0), (160.0, 6.0), (-3e4, 1e3), (0.002, 1e-4)])
def test_platt_scaling_of_raw_scores(shift, scale, rng):
    """Scores of any unit, as grey values or Hounsfield units: the optimum is that of the standardized ones."""
    u = rng.normal(size=(1, 40, 40, 1)) * 2
    y = (rng.random(u.shape) < special.expit(1.5 * u - 1)).astype(int)
    raw = (shift + scale * u).astype("float32")
    layer = calibration.fit(y, raw, "vector")
    best = optimize.minimize(lambda x: bce(y, x[0] * u + x[1]), [1, 0], tol=1e-10).fun
    found = bce(y, layer.scale[0] * raw.astype("float64") + layer.offset[0])
    assert found <= best + 1e-5


def test_half_precision_is_taken(rng):
    votes, z = drawn(rng, (2, 20, 20))
    for method in ("temperature", "vector"):
        half, full = (calibration.fit(votes, z.astype(kind), method) for kind in ("float16", "float32"))
        for name in ("temperature", "scale") if method == "temperature" else ("scale", "offset"):
            np.testing.assert_allclose(getattr(half, name, 1), getattr(full, name, 1), rtol=0.02, atol=0.02)


def one_hot(votes, size, sharp):
    return (sharp * np.eye(size)[votes]).astype("float32")


VOTES = np.random.default_rng(0).integers(0, 3, (1, 30, 30))
NOISE = np.random.default_rng(1).normal(size=(1, 30, 30, 3)).astype("float32")


@pytest.mark.parametrize("sharp", [1e-3, 5.0, 1e4])
@pytest.mark.parametrize("method", ["temperature", "vector"])
def test_perfect_separation_is_said(method, sharp):
    with pytest.warns(UserWarning, match="y_true: expected answers that tell.*separate the answers perfectly.*more images"):
        layer = calibration.fit(VOTES, one_hot(VOTES, 3, sharp), method)
    with pytest.warns(UserWarning, match="separate the answers perfectly"):
        binary = calibration.fit(VOTES[..., None] // 2, one_hot(VOTES // 2, 2, sharp)[..., 1:] - sharp / 2, method)
    for numbers in (layer, binary):
        found = [np.ravel(getattr(numbers, name, 1.0)) for name in ("temperature", "scale", "offset")]
        assert np.isfinite(np.concatenate(found)).all()
    if method == "temperature":
        assert 0 < layer.temperature <= 1
        assert 0 < binary.temperature <= 1


def test_logits_no_better_than_chance_are_said():
    anti = -one_hot(VOTES, 3, 1.0) + NOISE
    with pytest.warns(UserWarning, match="rank the answers no better than chance"):
        assert 1 < calibration.fit(VOTES, anti).temperature < 1e6
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a negative scale is the optimum
        assert max(calibration.fit(VOTES, anti, "vector").scale) < 0


@pytest.mark.parametrize("method", ["temperature", "vector"])
def test_answers_that_are_all_alike_are_said(method):
    """Nobody, or everybody, marks anything, as in a fold without a lesion."""
    for level in (0, 1, 2):
        votes = np.full_like(VOTES, level)
        if method == "vector":
            with pytest.warns(UserWarning, match="no rated pixel needs level"):
                layer = calibration.fit(votes, NOISE, method)
            assert np.abs([layer.scale, layer.offset]).max() < 100
    for mark in (0, 1):
        answers = np.full((1, 30, 30, 1), mark)
        if method == "vector":
            with pytest.warns(UserWarning, match="all answers are a mark" if mark else "all answers are no mark"):
                layer = calibration.fit(answers, NOISE[..., :1], method)
            assert np.abs([layer.scale, layer.offset]).max() < 100
        else:
            with pytest.warns(UserWarning, match="separate the answers perfectly"):
                calibration.fit(answers, (2 * mark - 1) * np.abs(NOISE[..., :1]), method)


def test_a_level_that_never_occurs_is_named():
    votes = np.where(VOTES == 1, 0, VOTES)
    z = one_hot(VOTES, 3, 1.0) + NOISE
    with pytest.warns(UserWarning, match="no rated pixel needs level 1, so that ever lower logits"):
        layer = calibration.fit(votes, z, "vector")
    assert np.abs(layer.offset).max() < 100
    counts = np.full(votes.shape, 2)
    fitted = z * np.array(layer.scale) + np.array(layer.offset)
    assert nll(votes, counts, softmax(fitted)) < nll(votes, counts, softmax(z / calibration.fit(votes, z).temperature))


def test_honest_images_are_not_warned_of(rng):
    """Disputed, thinned, rare marks, many constant pixels: all have a least likelihood."""
    votes, z = drawn(rng, (2, 20, 20))
    ratings = (np.arange(4) < votes[..., None]).astype("int8")
    ratings[0, ..., 1] = -1
    rare = np.zeros((1, 40, 40, 1), int)
    rare[0, 3, 4] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for method in ("temperature", "vector"):
            calibration.fit(votes, z, method)
            calibration.fit(ratings, z, method)
            calibration.fit(rare, rng.normal(size=rare.shape) - 2, "vector")
            calibration.fit(votes, np.zeros_like(z))
            calibration.fit(votes, np.zeros_like(z), "vector")


def test_isotonic_curves_of_small_logits(rng):
    """Bins lie where the logits do: small ones used to share a few bins, and all information was lost."""
    votes, z = drawn(rng, (2, 40, 40), temperature=1.0)
    layer = calibration.fit(votes, z / 100, "isotonic")
    assert min(len(predicted) for predicted, _ in layer.curves) > 20
