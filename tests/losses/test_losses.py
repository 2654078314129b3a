import math
from unittest import mock

import keras
import numpy as np
import pytest

from keras_ordseg.losses import (
    LevelCrossEntropy,
    MajorityCrossEntropy,
    OrdinalSegmentationLoss,
    RankedProbabilityLoss,
    SoftLabelCrossEntropy,
)
from tests.contract import JIT, LOSSES
from tests.ops.test_levels import reference_readout, softmax64
from tests.ops.test_scores import reference_rps
from tests.tracing import made_ready

SHAPES = [(3, 5), (3, 4, 3), (2, 3, 4, 2)]
ALL = list(LOSSES.values())


def bce64(t, p):
    return -(t * np.log(p) + (1 - t) * np.log1p(-p))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("num_raters", [1, 4, 7])
def test_against_their_formulas(shape, num_raters, rng):
    z = rng.normal(size=(*shape, num_raters + 1)).astype("float32") * 2
    votes = rng.integers(0, num_raters + 1, shape)
    ratings = rng.permuted(np.arange(num_raters) < votes[..., None], axis=-1).astype("int8")
    p, expected, majority = softmax64(z), reference_readout(z, "expected"), reference_readout(z, "majority")
    label, soft = (votes >= math.ceil(num_raters / 2)) * 1.0, votes / num_raters
    rps = reference_rps(votes, p, "levels")
    cases = [
        (RankedProbabilityLoss(), rps),
        (RankedProbabilityLoss("thresholds"), reference_rps(votes, p, "thresholds")),
        (LevelCrossEntropy(), -np.log(np.take_along_axis(p, votes[..., None], -1)[..., 0])),
        (MajorityCrossEntropy(), bce64(label, majority)),
        (SoftLabelCrossEntropy(), bce64(soft, expected)),
        (OrdinalSegmentationLoss(), bce64(label, majority) + 0.8 * rps),
        (OrdinalSegmentationLoss("expected", rps_weight=0.3), bce64(soft, expected) + 0.3 * rps),
        (OrdinalSegmentationLoss(1, rps_weight=0), bce64((votes >= 1) * 1.0, reference_readout(z, 1))),
    ]
    for loss, values in cases:
        for y in (votes, ratings):
            np.testing.assert_allclose(loss.call(y, z), values, atol=2e-5, rtol=2e-5)
            np.testing.assert_allclose(float(loss(y, z)), values.mean(), rtol=2e-5)
            weight = rng.random(shape)
            np.testing.assert_allclose(
                float(loss(y, z, weight)), np.average(values, weights=weight), rtol=3e-5
            )
            weight = rng.random(shape[0])
            full = np.broadcast_to(weight.reshape(-1, *[1] * (len(shape) - 1)), shape)
            np.testing.assert_allclose(float(loss(y, z, weight)), np.average(values, weights=full), rtol=3e-5)


def test_the_papers_loss_golden():
    """K = 2, p = (.5, .25, .25), v = 1: majority quorum 1, P(k>=1) = .5, BCE = log 2 = .693147;
    RPS = (.25 + .0625) / 3 = .1041667; .693147 + .8 * .1041667 = .776480."""
    z = np.log([[[0.5, 0.25, 0.25]]]).astype("float32")
    np.testing.assert_allclose(float(OrdinalSegmentationLoss()(np.array([[1]]), z)), 0.776480, atol=1e-5)


def dice_loss64(t, p, w):
    axes = tuple(range(1, t.ndim))
    return 1 - (2 * (w * t * p).sum(axes) + 1) / ((w * (t + p)).sum(axes) + 1)


@pytest.mark.parametrize("shape", SHAPES)
def test_dice_terms(shape, rng):
    z = rng.normal(size=(*shape, 5)).astype("float32")
    votes = rng.integers(0, 5, shape)
    p, t, w = reference_readout(z, "majority"), (votes >= 2) * 1.0, rng.random(shape)
    dice = dice_loss64(t, p, w).reshape(-1, *[1] * (len(shape) - 1))
    got = float(OrdinalSegmentationLoss(binary="dice", rps_weight=0)(votes, z, w))
    np.testing.assert_allclose(got, np.average(np.broadcast_to(dice, shape), weights=w), rtol=1e-5)
    got = float(OrdinalSegmentationLoss(binary="bce_dice", rps_weight=0)(votes, z, w))
    np.testing.assert_allclose(got, np.average(dice + bce64(t, p), weights=w), rtol=1e-5)


def test_any_keras_loss(rng):
    z = rng.normal(size=(2, 4, 3, 5)).astype("float32")
    votes = rng.integers(0, 5, (2, 4, 3))
    p, t = (
        reference_readout(z, "majority")[..., None].astype("float32"),
        (votes >= 2).astype("float32")[..., None],
    )
    for binary in (
        keras.losses.BinaryFocalCrossentropy(gamma=1.5),
        keras.losses.Dice(),
        keras.losses.Tversky(alpha=0.3),
        "binary_focal_crossentropy",
        "MeanSquaredError",
    ):
        loss = OrdinalSegmentationLoss(binary=binary, rps_weight=0)
        reference = keras.losses.get(binary)
        expected = np.mean(np.asarray(reference(t, p)))
        np.testing.assert_allclose(float(loss(votes, z)), expected, rtol=1e-5)
        again = OrdinalSegmentationLoss.from_config(loss.get_config())
        np.testing.assert_allclose(float(again(votes, z)), expected, rtol=1e-5)


def test_a_region_loss_of_keras_ignores_voids(rng):
    z = rng.normal(size=(1, 6, 4)).astype("float32")
    ratings = rng.integers(0, 2, (1, 6, 3)).astype("int8")
    ratings[:, 4:] = -1
    loss = OrdinalSegmentationLoss(binary=keras.losses.Dice(), rps_weight=0)
    np.testing.assert_allclose(float(loss(ratings, z)), float(loss(ratings[:, :4], z[:, :4])), rtol=1e-5)


def test_absent_raters(rng):
    """An absent slot changes nothing, a void pixel weighs nothing, and an all-void batch is 0 with finite gradients."""
    z = rng.normal(size=(2, 6, 5)).astype("float32")
    ratings = rng.integers(-1, 2, (2, 6, 4)).astype("int8")
    ratings[0, 0] = -1
    void = (ratings == -1).all(-1)
    for build in ALL:
        loss = build()
        values = np.asarray(loss.call(ratings, z))
        assert np.isfinite(values).all()
        np.testing.assert_allclose(float(loss(ratings, z)), values[~void].mean(), rtol=1e-5)
        more = np.concatenate([np.full((2, 6, 1), -1, "int8"), ratings], -1)
        np.testing.assert_allclose(float(loss(more, z)), float(loss(ratings, z)), rtol=1e-6)
        assert float(loss(np.full_like(ratings, -1), z)) == 0.0


@pytest.mark.parametrize("build", ALL, ids=LOSSES)
def test_probabilities_in_place_of_logits(build, rng):
    z = rng.normal(size=(2, 6, 5)).astype("float32")
    ratings = rng.integers(-1, 2, (2, 6, 4)).astype("int8")
    p = softmax64(z).astype("float32")
    np.testing.assert_allclose(
        float(build(from_logits=False)(ratings, p)), float(build()(ratings, z)), rtol=1e-5
    )


def test_binary_outputs(rng):
    logit = rng.normal(size=(2, 6, 1)).astype("float32")
    p = 1 / (1 + np.exp(-logit[..., 0].astype("float64")))
    votes = rng.integers(0, 4, (2, 6))
    for build, target in ((MajorityCrossEntropy, votes >= 2), (SoftLabelCrossEntropy, votes / 3)):
        expected = bce64(target * 1.0, p).mean()
        np.testing.assert_allclose(float(build(num_raters=3)(votes, logit)), expected, rtol=1e-5)
        probability = p.astype("float32")[..., None]
        np.testing.assert_allclose(
            float(build(num_raters=3, from_logits=False)(votes, probability)), expected, rtol=1e-5
        )
        with pytest.raises(ValueError, match="num_raters: needed"):
            build()(votes, logit)
    with pytest.raises(ValueError, match="y_pred: expected level scores"):
        OrdinalSegmentationLoss(num_raters=3)(votes, logit)


@pytest.mark.parametrize("build", ALL, ids=LOSSES)
@pytest.mark.parametrize("absent", [False, True])
def test_gradients_against_finite_differences(build, absent, rng):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the tape is TensorFlow's")
    import tensorflow as tf

    z = rng.normal(size=(1, 3, 4)) * 2
    ratings = rng.integers(0, 2, (1, 3, 3)).astype("int8")
    if absent:
        ratings[0, 0, 0] = ratings[0, 1, :2] = -1
    loss = build(dtype="float64")
    variable = tf.Variable(z)
    with tf.GradientTape() as tape:
        value = loss(ratings, variable)
    assert value.dtype == tf.float64
    gradient = tape.gradient(value, variable).numpy()
    step = 1e-6
    for direction in rng.normal(size=(4, *z.shape)):  # no wrong gradient is right in all of them
        up, down = (float(loss(ratings, tf.constant(z + sign * step * direction))) for sign in (1, -1))
        np.testing.assert_allclose((gradient * direction).sum(), (up - down) / (2 * step), atol=1e-8)


@pytest.mark.parametrize(
    "build,message",
    [
        (lambda: OrdinalSegmentationLoss("vote"), "readout: expected"),
        (lambda: OrdinalSegmentationLoss(binary="iou"), "binary: expected one of"),
        (lambda: OrdinalSegmentationLoss(binary=3), "binary: expected one of"),
        (
            lambda: OrdinalSegmentationLoss(binary=keras.losses.BinaryCrossentropy(from_logits=True)),
            "binary: expected a Keras loss with from_logits=False",
        ),
        (lambda: OrdinalSegmentationLoss(rps_weight=-1), "rps_weight: expected a finite number"),
        (lambda: OrdinalSegmentationLoss(rps_weight=np.nan), "rps_weight: expected a finite number"),
        (lambda: RankedProbabilityLoss("mean"), "normalization: expected one of"),
    ],
)
def test_arguments(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def impossible(what):
    """Ratings of two images for K = 3, right, and with a value that is none, or with more answers than K in a pixel."""
    good = np.ones((2, 4, 3), "int8")
    if what == "absent":
        good[0, 0, 0] = -1
    if what == "crowd":
        good = np.concatenate([good, np.full((2, 4, 2), -1, "int8")], axis=-1)
    bad = good.copy()
    bad[1, 2] = [5, *bad[1, 2, 1:]] if what != "crowd" else 1
    return good, bad


IMPOSSIBLE = ("value", "absent", "crowd")


@pytest.mark.parametrize("build", ALL, ids=LOSSES)
@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_impossible_votes_make_the_loss_nan(build, what):
    """Where no value can be read, as inside a compiled step, the loss turns NaN, never a plausible number."""
    good, bad = impossible(what)
    z = np.zeros((2, 4, 4), "float32")
    with mock.patch("keras_ordseg.ops.targets.concrete", return_value=None):
        assert np.isfinite(float(build()(good, z)))
        assert np.isnan(float(build()(bad, z)))


@pytest.mark.dear
@pytest.mark.parametrize("what", [IMPOSSIBLE[0], *(pytest.param(what, marks=pytest.mark.slow) for what in IMPOSSIBLE[1:])])
def test_impossible_votes_make_the_loss_nan_in_fit(what):
    """In a compiled step; without one, for every kind and loss: the test above."""
    image = keras.Input((4, 2))
    z = keras.layers.Dense(4)(image)
    names = ("RankedProbabilityLoss", "CoralLoss", "MarginalL1ACELoss", "OrdinalSegmentationLoss")
    model = keras.Model(image, {name: keras.layers.Identity(name=name)(z) for name in names})
    model.compile(keras.optimizers.SGD(0.0), {name: LOSSES[name]() for name in names}, jit_compile=JIT)
    x = np.ones((2, 4, 2), "float32")
    good, bad = (dict.fromkeys(names, y) for y in impossible(what))
    made_ready(model, x, good)
    assert all(np.isfinite(v[0]) for v in model.fit(x, good, verbose=0).history.values())
    assert all(np.isnan(v[0]) for v in model.fit(x, bad, verbose=0).history.values())


def test_level_weights(rng):
    """Each pixel weighs by its level: the weighted mean of the pixels' losses, for levels, ends and thinned panels."""
    z = rng.normal(size=(2, 9, 5)).astype("float32")
    votes = rng.integers(0, 5, (2, 9))
    weights = np.array([0.5, 4, 3, 2, 1])
    for build in ALL:
        if build is LOSSES["MarginalL1ACELoss"]:
            continue  # its bins are of weighted pixels, so that the values themselves change
        values = np.asarray(build().call(votes, z))
        expected = np.average(values, weights=weights[votes])
        np.testing.assert_allclose(float(build(level_weights=weights)(votes, z)), expected, rtol=2e-5)
        expected = np.average(values, weights=1 + 2 * votes / 4)  # two weights: background 1, foreground 3
        np.testing.assert_allclose(float(build(level_weights=[1, 3])(votes, z)), expected, rtol=2e-5)
        sample_weight = rng.random((2, 9))
        expected = np.average(values, weights=sample_weight * weights[votes])
        np.testing.assert_allclose(
            float(build(level_weights=weights)(votes, z, sample_weight)), expected, rtol=2e-5
        )
    ratings = np.array([[[1, 0, -1, -1], [1, -1, -1, -1], [1, 1, 0, -1], [-1, -1, -1, -1]]], "int8")
    values = np.asarray(LevelCrossEntropy().call(ratings, z[:1, :4]))[0]
    place = np.array([2, 4, 8 / 3])  # K v / n
    expected = np.average(values[:3], weights=np.interp(place, range(5), weights))
    got = float(LevelCrossEntropy(level_weights=weights)(ratings, z[:1, :4]))
    np.testing.assert_allclose(got, expected, rtol=2e-5)


@pytest.mark.parametrize("weights", [[1], [[1, 2]], [0, 0], [1, -1], [1, np.inf], 3.0])
def test_level_weights_that_are_none(weights):
    with pytest.raises(ValueError, match=r"level_weights: expected K\+1 finite numbers"):
        LevelCrossEntropy(level_weights=weights)


def test_level_weights_of_another_panel():
    with pytest.raises(ValueError, match="level_weights: expected 4 numbers, one for each level 0..3, or two. Received 3"):
        LevelCrossEntropy(level_weights=[1, 2, 3])(np.array([[1]]), np.zeros((1, 1, 4)))
