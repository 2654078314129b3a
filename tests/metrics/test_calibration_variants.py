"""`MultiRaterECE` with each rater alone, bins of equal mass, other norms and top-label confidence."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

from keras_ordseg import plots
from keras_ordseg.metrics import MultiRaterECE
from keras_ordseg.ops import readout_probability

JAX = keras.backend.backend() == "jax"
CHOICES = {
    "raters": ("pooled", "per_rater"),
    "binning": ("uniform", "equal_mass"),
    "norm": ("l1", "l2", "max"),
    "confidence": ("foreground", "top_label"),
}


def answers(p, ratings, sample_weight=1.0, confidence="foreground"):
    """Prediction, answer and weight of each rater's every answer: `[(p, y, w), …]`, one triple a rater."""
    weight = np.broadcast_to(sample_weight, p.shape)
    out = []
    for rater in range(ratings.shape[-1]):
        y = ratings[..., rater]
        rated = y >= 0
        q, t, w = p[rated], y[rated].astype("float64"), weight[rated].astype("float64")
        if confidence == "top_label":
            t = np.where(q >= 0.5, t, 1 - t)
            q = np.maximum(q, np.float32(1) - q)
        out.append((q.astype("float64"), t, w))
    return out


def error(which, p, y, w, norm, num_bins=15):
    weight, gap = (np.bincount(which, x, minlength=num_bins) for x in (w, w * (p - y)))
    full = weight > 0
    share, mean = weight[full] / w.sum(), np.abs(gap[full] / weight[full])
    return {"l1": (share * mean).sum(), "l2": np.sqrt((share * mean**2).sum()), "max": mean.max()}[norm]


def reference(groups, norm, which):
    """The mean over raters of each one's error (or over one group of all answers)."""
    return np.mean([error(which(p, w), p, y, w, norm) for p, y, w in groups if w.sum() > 0])


def pooled(groups):
    return [tuple(np.concatenate(parts) for parts in zip(*groups, strict=True))]


def equal_width(p, w):
    return np.digitize(p, np.arange(1, 15) / 15)


def equal_mass(p, w):
    """Exactly equal bins of sorted answers, which may cut through equal predictions."""
    order = np.argsort(p, kind="stable")
    reached = np.cumsum(w[order])
    which = np.empty(len(p), int)
    which[order] = np.minimum((reached - w[order] / 2) / reached[-1] * 15, 14).astype(int)
    return which


@pytest.mark.parametrize("shape", [(3, 50), (3, 9, 8), (2, 5, 4, 6)])
@pytest.mark.parametrize("readout", ["expected", "majority", 2])
def test_equal_width_against_replication(shape, readout, rng):
    z = rng.normal(size=(*shape, 5)).astype("float32") * 2
    ratings = rng.integers(-1, 2, (*shape, 4)).astype("int8")
    weight = rng.random(shape)
    weight[0] = 0
    p = ops.convert_to_numpy(readout_probability(z, readout))
    for raters, norm, confidence in itertools.product(*(CHOICES[k] for k in ("raters", "norm", "confidence"))):
        metric = MultiRaterECE(readout, raters=raters, norm=norm, confidence=confidence)
        metric.update_state(ratings[:1], z[:1], weight[:1])
        metric.update_state(ratings[1:], z[1:], weight[1:])
        groups = answers(p, ratings, weight, confidence)
        groups = pooled(groups) if raters == "pooled" else groups
        expected = reference(groups, norm, equal_width)
        np.testing.assert_allclose(float(metric.result()), expected, atol=3e-7, err_msg=f"{raters} {norm}")


def test_golden():
    """Two pixels, two raters, p = 0.25 and 0.75, two bins: rater 1 says 0 0, rater 2 says 0 1.

    Foreground: rater 1 has gaps 0.25 and 0.75 (l1 0.5, l2 sqrt(0.3125), max 0.75), rater 2 has 0.25 and 0.25; pooled has
    0.25 and 0.25. Top label (one bin holds both confidences, 0.75): rater 1 is right once of 2, a gap of 0.25; rater 2 is
    right twice, 0.25; pooled 3 of 4, none.
    """
    ratings = np.array([[[0, 0], [0, 1]]], "int8")
    p = np.array([[[0.25], [0.75]]], "float32")
    expected = {
        ("per_rater", "l1", "foreground"): (0.5 + 0.25) / 2,
        ("per_rater", "l2", "foreground"): (np.sqrt(0.3125) + 0.25) / 2,
        ("per_rater", "max", "foreground"): (0.75 + 0.25) / 2,
        ("pooled", "l1", "foreground"): 0.25,
        ("pooled", "max", "foreground"): 0.25,
        ("per_rater", "l1", "top_label"): 0.25,
        ("pooled", "l1", "top_label"): 0.0,
    }
    for (raters, norm, confidence), value in expected.items():
        metric = MultiRaterECE(
            num_bins=2, raters=raters, norm=norm, confidence=confidence, from_logits=False
        )
        metric.update_state(ratings, p)
        np.testing.assert_allclose(float(metric.result()), value, atol=1e-7)


@pytest.mark.parametrize("spread", ["even", "background"])
@pytest.mark.parametrize("raters", CHOICES["raters"])
@pytest.mark.parametrize("confidence", CHOICES["confidence"])
def test_equal_mass_within_its_bound(spread, raters, confidence, rng):
    """Against exactly equal bins of the sorted answers; most predictions below 0.01 in a segmentation."""
    least = 9 if confidence == "foreground" else 6  # 1 - p has no more digits
    p = rng.random((2, 40_000)) if spread == "even" else 10 ** -rng.uniform(0, least, (2, 40_000))
    p = p.astype("float32")
    ratings = (rng.random((2, 40_000, 3)) < 0.7 * p[..., None]).astype("int8")
    ratings[rng.random(ratings.shape) < 0.2] = -1
    metric = MultiRaterECE(raters=raters, binning="equal_mass", confidence=confidence, from_logits=False)
    metric.update_state(ratings, p[..., None])
    groups = answers(p, ratings, 1.0, confidence)
    groups = pooled(groups) if raters == "pooled" else groups
    diagrams = metric.reliability()
    diagrams = [diagrams] if raters == "pooled" else list(diagrams.values())
    for (q, y, w), diagram in zip(groups, diagrams, strict=True):
        exact = error(equal_mass(q, w), q, y, w, "l1")
        assert diagram["bound"] < 0.25
        assert abs(diagram["ece"] - exact) <= min(diagram["bound"], 5e-4)
        # the edges that it gives are those of its bins: everything else follows from them
        which = np.digitize(q, diagram["edges"][1:-1])
        np.testing.assert_allclose(diagram["counts"], np.bincount(which, w, minlength=15), rtol=1e-6)
        np.testing.assert_allclose(diagram["counts"], w.sum() / 15, rtol=0.3)
        full = diagram["counts"]
        below = 1e-6 if JAX else 0  # 36 bits below the largest value are kept there
        np.testing.assert_allclose(diagram["confidence"] * full, np.bincount(which, q, 15), rtol=1e-5, atol=below)
        np.testing.assert_allclose(diagram["vote"] * full, np.bincount(which, y, 15), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(diagram["ece"], error(which, q, y, w, "l1"), atol=1e-7)
    np.testing.assert_allclose(float(metric.result()), np.mean([d["ece"] for d in diagrams]), atol=1e-7)


def test_equal_mass_keeps_equal_predictions_together(rng):
    """Nine tenths exactly 0, the rest spread: one bin for the zeros, empty ones beside it, and the edges still rise."""
    p = np.concatenate([np.zeros(9000), rng.uniform(0.2, 1, 1000)]).astype("float32")[None]
    ratings = (rng.random((1, 10_000, 2)) < p[..., None]).astype("int8")
    metric = MultiRaterECE(num_bins=10, binning="equal_mass", from_logits=False)
    metric.update_state(ratings, p[..., None])
    diagram = metric.reliability()
    assert diagram["counts"].max() == 18_000
    assert (np.diff(diagram["edges"]) >= 0).all()
    assert (diagram["edges"][[0, -1]] == [0, 1]).all()
    assert diagram["bound"] > 1  # nine edges cut the one cell of the zeros: nothing is promised there
    which = np.digitize(p[0], diagram["edges"][1:-1])
    expected = error(which, p[0].astype("float64"), ratings.mean(-1)[0], np.full(10_000, 2.0), "l1", 10)
    np.testing.assert_allclose(float(metric.result()), expected, atol=1e-7)


def test_a_rater_who_rated_nothing_is_left_out(rng):
    z = rng.normal(size=(2, 30, 4)).astype("float32")
    ratings = rng.integers(0, 2, (2, 30, 3)).astype("int8")
    for binning in CHOICES["binning"]:
        metric, more = (MultiRaterECE(raters="per_rater", binning=binning) for _ in range(2))
        metric.update_state(ratings, z)
        more.update_state(np.concatenate([np.full((2, 30, 1), -1, "int8"), ratings[..., ::-1]], -1), z)
        np.testing.assert_allclose(float(more.result()), float(metric.result()), atol=1e-7)
        diagrams = more.reliability()
        assert list(diagrams) == ["rater 1", "rater 2", "rater 3", "rater 4"]
        assert np.isnan(diagrams["rater 1"]["ece"])
        assert np.isnan(diagrams["rater 1"]["confidence"]).all()
        assert diagrams["rater 1"]["counts"].sum() == 0
        np.testing.assert_allclose(diagrams["rater 4"]["ece"], metric.reliability()["rater 1"]["ece"], atol=1e-7)
        assert plots.reliability_diagram(diagrams) is not None


def test_per_rater_is_never_below_pooled(rng):
    z = rng.normal(size=(4, 60, 4)).astype("float32")
    for _ in range(5):
        ratings = (rng.random((4, 60, 3)) < rng.random(3)).astype("int8")
        scores = {}
        for raters in CHOICES["raters"]:
            metric = MultiRaterECE(raters=raters)
            metric.update_state(ratings, z)
            scores[raters] = float(metric.result())
        assert scores["per_rater"] >= scores["pooled"] - 1e-7


def test_slots_of_each_rater():
    metric = MultiRaterECE(raters="per_rater", from_logits=False)
    p = np.full((1, 2, 1), 0.5, "float32")
    assert float(metric.result()) == 0.0
    with pytest.raises(ValueError, match="reliability: with raters='per_rater'"):
        metric.reliability()
    with pytest.raises(ValueError, match="expects ratings"):
        MultiRaterECE(raters="per_rater", from_logits=False, num_raters=2).update_state(np.zeros((1, 2)), p)
    metric.update_state(np.zeros((1, 2, 3), "int8"), p)
    with pytest.raises(ValueError, match="y_true: expected ratings of 3 raters"):
        metric.update_state(np.zeros((1, 2, 2), "int8"), p)
    np.testing.assert_allclose(float(metric.result()), 0.5)
    metric.reset_state()
    assert float(metric.result()) == 0.0
    sized = MultiRaterECE(raters="per_rater", from_logits=False, num_raters=2)
    assert sized.reliability()["rater 2"]["counts"].sum() == 0
    with pytest.raises(ValueError, match="y_true: expected ratings of 2 raters"):
        sized.update_state(np.array([[[1, -1, 0], [1, -1, 0]]], "int8"), p)


def exactness(size, cuts, **kwargs):
    rng = np.random.default_rng(7)
    p = (rng.random(size, dtype="float32") ** 4)[None]
    p[:, :5], p[:, 5:9] = 0.0, 1.0
    ratings = (rng.random((1, size, 3), dtype="float32") < p[..., None]).astype("int8")
    ratings[:, ::7, 1] = -1
    metric = MultiRaterECE(from_logits=False, **kwargs)
    for a, b in itertools.pairwise([0, *cuts, size]):
        metric.update_state(ratings[:, a:b], p[:, a:b, None])
    groups = answers(p, ratings, 1.0, kwargs.get("confidence", "foreground"))
    diagrams = metric.reliability()
    if metric.raters == "pooled":
        groups, diagrams = pooled(groups), {"all": diagrams}
    which = [np.digitize(q, d["edges"][1:-1]) for (q, _, _), d in zip(groups, diagrams.values(), strict=True)]
    if metric.binning == "uniform":
        which = [np.minimum((q * 15).astype(int), 14) for q, _, _ in groups]
    expected = np.mean([error(b, q, y, w, metric.norm) for b, (q, y, w) in zip(which, groups, strict=True)])
    return abs(float(metric.result()) - expected)


VARIANTS = [
    {"raters": "per_rater"},
    {"binning": "equal_mass"},
    {"raters": "per_rater", "binning": "equal_mass", "norm": "max"},
    {"confidence": "top_label", "norm": "l2"},
    {"norm": "max"},
]


@pytest.mark.parametrize("kwargs", VARIANTS, ids=str)
@pytest.mark.dear
def test_variants_are_exact(kwargs):
    assert exactness(2**20, [3, 600_000], **kwargs) < (1e-6 if JAX else 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("kwargs", VARIANTS[:2], ids=str)
def test_variants_are_exact_at_volume_scale(kwargs):
    assert exactness(2**24, [3, 600_000, 9_000_000], **kwargs) < (1e-6 if JAX else 1e-9)


def test_a_bad_value_late_in_a_large_batch_leaves_nothing_behind(rng):
    """The batch is added piece by piece: what was added before the error is taken back."""
    p = rng.random((1, 2**19 + 10, 1), dtype="float32")
    good = rng.integers(0, 2, (1, 2**19 + 10, 2)).astype("int8")
    bad = good.copy()
    bad[0, -1, 0] = 3
    for raters in CHOICES["raters"]:
        metric = MultiRaterECE(raters=raters, from_logits=False)
        with pytest.raises(ValueError, match="y_true: expected ratings"):
            metric.update_state(bad, p)
        assert float(metric.result()) == 0.0
        metric.update_state(good[:, :100], p[:, :100])
        before = float(metric.result())
        with pytest.raises(ValueError, match="y_true: expected ratings"):
            metric.update_state(bad, p)
        assert float(metric.result()) == before > 0


@pytest.mark.dear
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="compiles with tf.function")
@pytest.mark.parametrize("raters", CHOICES["raters"])
def test_compiled(raters, rng):
    import tensorflow as tf

    z = tf.constant(rng.normal(size=(3, 40, 4)).astype("float32"))
    ratings = tf.constant(rng.integers(-1, 2, (3, 40, 3)).astype("int8"))
    weight = tf.constant(rng.random(3).astype("float32"))
    made = [
        [
            MultiRaterECE(raters=raters, binning="uniform", norm="l2", confidence="top_label"),
            MultiRaterECE("majority", raters=raters, binning="equal_mass", norm="max"),
            MultiRaterECE(raters=raters, binning="equal_mass", confidence="top_label"),
        ]
        for _ in range(2)
    ]

    for metric in made[0]:
        metric.update_state(ratings, z, weight)  # makes the variables, so that a step is traced once
        metric.reset_state()

    @tf.function(jit_compile=True)
    def step(y, x, w):
        for metric in made[0]:
            metric.update_state(y, x, w)
        return [metric.result() for metric in made[0]]

    for _ in range(2):
        results = step(ratings, z, weight)
        for metric in made[1]:
            metric.update_state(ratings, z, weight)
    for result, metric in zip(results, made[1], strict=True):
        np.testing.assert_allclose(float(result), float(metric.result()), atol=1e-6)


def test_configuration_comes_back():
    metric = MultiRaterECE("majority", 7, "per_rater", "equal_mass", "max", "top_label", num_raters=4)
    again = MultiRaterECE.from_config(metric.get_config())
    assert again.get_config() == metric.get_config()
    assert again.get_config()["confidence"] == "top_label"
