"""The calibration-aware baselines against their published formulas, in float64."""

import itertools

import numpy as np
import pytest
from scipy.ndimage import correlate

from keras_ordseg.losses import (
    FocalLoss,
    LabelSmoothingCrossEntropy,
    MarginalL1ACELoss,
    MarginLabelSmoothing,
    NeighborAwareCalibrationLoss,
    SpatiallyVaryingLabelSmoothing,
)
from keras_ordseg.ops.neighbourhood import neighbourhood_mean, spatially_smoothed

SHAPES = [(3, 9), (3, 6, 5), (2, 4, 5, 3)]
READOUTS = {"majority": lambda v, n: (v >= np.ceil(n / 2)) * 1.0, "expected": lambda v, n: v / n}


def bce64(t, p):
    return -(t * np.log(p) + (1 - t) * np.log1p(-p))


def gaussian_window(dims, sigma):
    """The published kernel: a Gaussian over the 3^d window whose centre weighs as much as all neighbours together."""
    grid = np.stack(np.meshgrid(*[[-1, 0, 1]] * dims, indexing="ij"))
    window = np.exp(-(grid**2).sum(0) / (2 * sigma**2))
    centre = (1,) * dims
    window[centre] = 0
    window[centre] = window.sum()
    return window / window.sum()


def windowed(x, window):
    """Weighted mean over the window of what lies inside the image."""
    inside = correlate(np.ones_like(x), window, mode="constant")
    return correlate(x, window, mode="constant") / inside


def ace64(t, p, num_bins):
    """One image: the mean over its used bins of |mean p - mean t|."""
    which = np.minimum((p * num_bins).astype(int), num_bins - 1)
    gaps = [abs((p - t)[which == b].mean()) for b in np.unique(which)]
    return np.mean(gaps)


def references(t, p, z):
    dims = t.ndim - 1
    smooth = np.stack([windowed(image, gaussian_window(dims, 0.8)) for image in t])
    share = np.stack([windowed(image, np.ones((3,) * dims)) for image in t])
    ace = np.array([ace64(a, b, 5) for a, b in zip(t, p, strict=True)]).reshape(-1, *[1] * dims)
    return [
        (lambda r: LabelSmoothingCrossEntropy(0.2, r), bce64(0.8 * t + 0.1, p)),
        (lambda r: FocalLoss(1.5, r), -t * (1 - p) ** 1.5 * np.log(p) - (1 - t) * p**1.5 * np.log1p(-p)),
        (lambda r: FocalLoss(0, r), bce64(t, p)),
        (lambda r: MarginLabelSmoothing(1.0, 0.3, r), bce64(t, p) + 0.3 * np.maximum(np.abs(z) - 1, 0)),
        (lambda r: SpatiallyVaryingLabelSmoothing(0.8, r), bce64(smooth, p)),
        (lambda r: NeighborAwareCalibrationLoss(0.4, r), bce64(t, p) + 0.2 * np.abs(z - (2 * share - 1))),
        (lambda r: MarginalL1ACELoss(0.7, 5, r), bce64(t, p) + 0.7 * ace),
    ]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("readout", READOUTS)
def test_against_their_formulas(shape, readout, rng):
    z = rng.normal(size=shape).astype("float32") * 2
    ratings = rng.integers(0, 2, (*shape, 4)).astype("int8")
    t = READOUTS[readout](ratings.sum(-1), 4)
    z64 = z.astype("float64")
    for build, expected in references(t, 1 / (1 + np.exp(-z64)), z64):
        loss = build(readout)
        np.testing.assert_allclose(float(loss(ratings, z[..., None])), expected.mean(), rtol=1e-5)
        if not isinstance(loss, MarginalL1ACELoss):
            np.testing.assert_allclose(loss.call(ratings, z[..., None]), expected, rtol=1e-4, atol=1e-5)


def test_neighbours_that_nobody_rated_are_left_out(rng):
    """A void pixel's label does not leak into its neighbours', and a weight of 0 does not make it void."""
    values, rated = rng.random((2, 7, 6)), (rng.random((2, 7, 6)) < 0.7) * 1.0
    for function, window in (
        (lambda v, w: spatially_smoothed(v, w, 1.3), gaussian_window(2, 1.3)),
        (neighbourhood_mean, np.ones((3, 3))),
    ):
        got = np.asarray(function(values.astype("float32"), rated.astype("float32")))
        for v, w, g in zip(values, rated, got, strict=True):
            below = correlate(w, window, mode="constant")
            expected = np.divide(correlate(v * w, window, mode="constant"), below, where=below > 1e-9, out=np.zeros((7, 6)))
            np.testing.assert_allclose(g, expected, atol=1e-5)
    z = rng.normal(size=(1, 7, 6, 1)).astype("float32")
    ratings = rng.integers(0, 2, (1, 7, 6, 3)).astype("int8")
    for loss in (SpatiallyVaryingLabelSmoothing(), NeighborAwareCalibrationLoss()):
        values = np.asarray(loss.call(ratings, z))
        weight = np.ones((1, 7, 6))
        weight[:, 2:4] = 0
        np.testing.assert_allclose(float(loss(ratings, z, weight)), np.average(values, weights=weight), rtol=1e-5)
        void = ratings.copy()
        void[:, 2:4] = -1
        other = ratings.copy()
        other[:, 2:4] = 1 - other[:, 2:4]
        other[:, 2:4] = -1
        assert float(loss(void, z)) == float(loss(other, z))
        outer = np.asarray(loss.call(void, z))[:, :1]
        np.testing.assert_allclose(outer, values[:, :1], rtol=1e-6)  # two rows away nothing changes


def test_ace_golden():
    """Image 1, two bins: p = (.25, .25, .75), t = (0, 1, 1): gaps |.25 - .5| and |.75 - 1|, mean .25. Image 2, one bin:
    p = .75 thrice, t = (1, 1, 0): |.75 - 2/3| = .083333; its empty bin does not count."""
    p = np.array([[0.25, 0.25, 0.75], [0.75, 0.75, 0.75]])
    t = np.array([[[0], [1], [1]], [[1], [1], [0]]])
    z = np.log(p / (1 - p)).astype("float32")[..., None]
    with_error, without = MarginalL1ACELoss(1.0, 2), MarginalL1ACELoss(0.0, 2)
    for image, gap in ((slice(0, 1), 0.25), (slice(1, 2), 1 / 12), (slice(0, 2), (0.25 + 1 / 12) / 2)):
        difference = float(with_error(t[image], z[image])) - float(without(t[image], z[image]))
        np.testing.assert_allclose(difference, gap, atol=1e-6)


def test_ace_of_weighted_pixels(rng):
    p, t, w = rng.random((1, 40)), rng.integers(0, 2, (1, 40)), rng.random((1, 40))
    w[:, :5] = 0
    z = np.log(p / (1 - p)).astype("float32")[..., None]
    which = np.minimum((p * 4).astype(int), 3)
    gaps = [abs(np.average((p - t)[which == b], weights=w[which == b])) for b in range(4)]
    with_error, without = MarginalL1ACELoss(1.0, 4), MarginalL1ACELoss(0.0, 4)
    difference = float(with_error(t[..., None], z, w)) - float(without(t[..., None], z, w))
    np.testing.assert_allclose(difference, np.mean(gaps), atol=1e-5)


def test_an_int_quorum_trains_that_consensus(rng):
    z = rng.normal(size=(2, 6, 5)).astype("float32")
    ratings = rng.integers(0, 2, (2, 6, 4)).astype("int8")
    p = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    expected = bce64((ratings.sum(-1) >= 3) * 0.9 + 0.05, p[..., 3:].sum(-1).astype("float64"))
    np.testing.assert_allclose(LabelSmoothingCrossEntropy(0.1, 3).call(ratings, z), expected, rtol=1e-4)


@pytest.mark.parametrize(
    "build,message",
    [
        (lambda: LabelSmoothingCrossEntropy(1.0), r"smoothing: expected a number in \[0, 1\)"),
        (lambda: LabelSmoothingCrossEntropy(-0.1), "smoothing: expected a finite number of at least 0"),
        (lambda: FocalLoss("2"), "gamma: expected a finite number"),
        (lambda: MarginLabelSmoothing(margin=-1), "margin: expected a finite number"),
        (lambda: MarginLabelSmoothing(weight=np.nan), "weight: expected a finite number"),
        (lambda: SpatiallyVaryingLabelSmoothing(0), "sigma: expected a finite number above 0"),
        (lambda: NeighborAwareCalibrationLoss(True), "weight: expected a finite number"),
        (lambda: MarginalL1ACELoss(num_bins=0), "num_bins: expected an int of at least 1"),
        (lambda: FocalLoss(readout="mean"), "readout: expected"),
    ],
)
def test_arguments(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_the_window_is_the_product_over_the_axes():
    """3-D, one marked voxel: the mean of a corner's eight neighbours inside is 1/8 of it."""
    values = np.zeros((1, 2, 2, 2), "float32")
    values[0, 0, 0, 0] = 1
    got = np.asarray(neighbourhood_mean(values, np.ones_like(values)))
    for i in itertools.product((0, 1), repeat=3):
        np.testing.assert_allclose(got[(0, *i)], 1 / 8, atol=1e-7)
