import keras
import numpy as np
import pytest
from scipy.integrate import IntegrationWarning, quad
from scipy.interpolate import interp1d
from scipy.stats import norm

from keras_ordseg.metrics import VolumeCRPS
from keras_ordseg.ops import crps_ensemble, crps_normal
from tests.ops.test_levels import reference_readout

CLOSE = 2e-5 if keras.backend.backend() == "jax" else 2e-6  # without float64, volumes are sums in float32
SHAPES = [(3, 50), (3, 9, 8), (2, 5, 4, 6)]


def integral(cdf, observation, low, high, jumps=()):
    """The definition by quadrature, in pieces between the jumps, so that no step falls inside a piece."""
    cuts = sorted({low, high, observation, *jumps})
    return sum(
        quad(lambda y: (cdf(y) - (y >= observation)) ** 2, a, b, epsabs=1e-12, limit=200)[0]
        for a, b in zip(cuts[:-1], cuts[1:], strict=True)
    )


def normal64(observation, mean, std):
    if std == 0:
        return abs(observation - mean)
    low, high = min(observation, mean - 12 * std), max(observation, mean + 12 * std)
    jumps = [mean + s * std for s in range(-6, 7, 2)]
    return integral(lambda y: norm.cdf(y, mean, std), observation, low, high, jumps)


def empirical64(observation, members):
    members = np.sort(members)
    low, high = min(observation, members[0]), max(observation, members[-1])
    return integral(lambda y: (members <= y).mean(), observation, low, high, members)


def curvas(observation, mean, std):
    """The challenge's own figure: 100 points of the distribution function, an integral over three deviations."""
    grid = np.linspace(norm.ppf(0.01, mean, std), norm.ppf(0.99, mean, std), 100)
    cdf = interp1d(grid, norm.cdf(grid, mean, std), bounds_error=False, fill_value=(0, 1))
    return quad(
        lambda y: (cdf(y) - 0.5 * (np.sign(y - observation) + 1)) ** 2, mean - 3 * std, mean + 3 * std
    )[0]


def reference(p, ratings, distribution="normal", voxel_volume=1.0, weight=None):
    """Each image on its own, on flattened float64 arrays; the images' scores and what each image weighs."""
    batch = len(p)
    weight = np.ones(p.shape) if weight is None else weight.astype("float64")
    scores, weights = [], []
    for q, r, w in zip(
        p.reshape(batch, -1), ratings.reshape(batch, -1, ratings.shape[-1]), weight.reshape(batch, -1), strict=True
    ):
        r = r[:, ((r >= 0) & (w > 0)[:, None]).any(0)]
        shared = (r >= 0).all(-1) & (r.shape[1] > 0)
        w = np.where(shared, w, 0)
        if not w.any():
            continue
        size = voxel_volume * w / w.max()
        volumes, predicted = ((r == 1) * size[:, None]).sum(0), (size * q).sum()
        if distribution == "normal":
            scores.append(normal64(predicted, volumes.mean(), volumes.std()))
        else:
            scores.append(empirical64(predicted, volumes))
        weights.append(w.max())
    return np.average(scores, weights=weights)


def score(metric, *args):
    metric.update_state(*args)
    return float(metric.result())


@pytest.mark.parametrize("std", [0.0, 0.03, 1.0, 250.0])
def test_crps_of_a_normal_distribution_over_the_whole_line(std):
    for observation in (-400.0, 1.0, 2.0, 2.5, 900.0):
        expected = normal64(observation, 2.0, std)
        np.testing.assert_allclose(
            float(crps_normal(np.float64(observation), np.float64(2.0), np.float64(std))), expected, rtol=1e-6
        )


def test_crps_of_members(rng):
    members = rng.normal(size=(6, 4)) * 10
    for x in (-30.0, 0.3, 12.0):
        value = crps_ensemble(np.full(6, x), members, np.ones((6, 4)))
        np.testing.assert_allclose(value, [empirical64(x, m) for m in members], atol=1e-5)
        value = crps_ensemble(np.full(6, x), members, np.array([2.0, 2.0, 0.0, 2.0]) * np.ones((6, 4)))
        np.testing.assert_allclose(value, [empirical64(x, m[[0, 1, 3]]) for m in members], atol=1e-5)
        np.testing.assert_allclose(value[0], float(crps_ensemble(x, members[0, [0, 1, 3]], np.ones(3))), rtol=1e-6)
    assert float(crps_ensemble(1.0, np.ones(3), np.zeros(3))) == 0.0


@pytest.mark.filterwarnings("ignore", category=IntegrationWarning)
def test_where_the_challenge_differs():
    """Within two deviations its numerical figure is ours; from three on it stands still, and ours grows on."""
    for w in (-2.0, -0.7, 0.0, 1.3, 2.0):
        ours = float(crps_normal(1000.0 + 50 * w, 1000.0, 50.0))
        assert curvas(1000 + 50 * w, 1000, 50) == pytest.approx(ours, abs=0.02 * 50)
    assert curvas(1200, 1000, 50) == pytest.approx(curvas(5000, 1000, 50), abs=1e-6)
    assert curvas(5000, 1000, 50) == pytest.approx(2.44 * 50, abs=0.01 * 50)
    # far away the score is |x - mean| - std / sqrt(pi)
    assert float(crps_normal(5000.0, 1000.0, 50.0)) == pytest.approx(4000 - 50 / np.pi**0.5, rel=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("num_raters", [1, 4])
@pytest.mark.parametrize("distribution", ["normal", "empirical"])
def test_against_quadrature(shape, num_raters, distribution, rng):
    z = (rng.normal(size=(*shape, num_raters + 1)) * 2).astype("float32")
    ratings = (rng.random((*shape, num_raters)) < np.linspace(0.2, 0.8, num_raters)).astype("int8")
    ratings[0, ..., 1:] = ratings[0, ..., :1]  # an image on which all raters agree: no deviation
    for readout in ("expected", "majority"):
        p = reference_readout(z, readout)
        expected = reference(p, ratings, distribution, 2.5)
        metric = VolumeCRPS(readout, distribution, voxel_volume=2.5)
        for part in (slice(0, 1), slice(1, None)):
            metric.update_state(ratings[part], z[part])
        np.testing.assert_allclose(float(metric.result()), expected, rtol=CLOSE)
    binary = VolumeCRPS(distribution=distribution, from_logits=False)
    np.testing.assert_allclose(
        score(binary, ratings, p[..., None].astype("float32")),
        reference(p, ratings, distribution),
        rtol=CLOSE,
    )


@pytest.mark.parametrize("distribution", ["normal", "empirical"])
def test_voids_absent_raters_and_weights(distribution, rng):
    """Rater 0 is absent from image 0; 1 in 20 answers is void elsewhere; image 2 was rated by nobody."""
    p = rng.random((4, 12, 10)).astype("float32")
    ratings = np.where(rng.random((4, 12, 10, 3)) < 0.05, -1, rng.integers(0, 2, (4, 12, 10, 3))).astype("int8")
    ratings[0, ..., 0], ratings[2] = -1, -1
    pixels, images = rng.random((4, 12, 10)).astype("float32"), np.array([1.0, 0.5, 2.0, 3.0], "float32")
    pixels[1, :4] = 0
    region = (pixels > 0.3).astype("float32")
    ratings[3, :6, :, 1], upper = -1, region.copy()  # by this region rater 1 is absent from image 3
    upper[3, 6:] = 0
    for weight in (None, pixels, images, region, upper):
        full = weight
        if weight is images:
            full = images[:, None, None] * np.ones((4, 12, 10))
        args = (ratings, p[..., None]) if weight is None else (ratings, p[..., None], weight)
        metric = VolumeCRPS(distribution=distribution, from_logits=False)
        np.testing.assert_allclose(
            score(metric, *args), reference(p.astype("float64"), ratings, distribution, weight=full), rtol=CLOSE
        )
    more = np.concatenate([ratings[..., ::-1], np.full((4, 12, 10, 2), -1, "int8")], -1)
    metric = VolumeCRPS(distribution=distribution, from_logits=False)
    np.testing.assert_allclose(
        score(metric, more, p[..., None]), reference(p.astype("float64"), ratings, distribution), rtol=CLOSE
    )


def test_raters_without_a_common_pixel_have_no_volumes_to_compare():
    ratings = np.array([[[1, -1], [-1, 1]], [[1, 1], [0, 0]]], "int8")
    p = np.array([[[0.9], [0.9]], [[0.5], [0.0]]], "float32")
    # image 0 does not count; image 1: both raters say 1, predicted 0.5
    assert score(VolumeCRPS(from_logits=False), ratings, p) == pytest.approx(0.5)


def test_half_precision_and_impossible_values(rng):
    z = rng.normal(size=(2, 30, 5)).astype("float16")
    ratings = rng.integers(0, 2, (2, 30, 4)).astype("int8")
    assert score(VolumeCRPS(), ratings, z) == score(VolumeCRPS(), ratings, z.astype("float32"))
    z[0, 3, 1] = np.nan
    assert np.isnan(score(VolumeCRPS(), ratings, z))


@pytest.mark.parametrize(
    "build,message",
    [
        (lambda: VolumeCRPS(distribution="gaussian"), "distribution: expected one of"),
        (lambda: VolumeCRPS(voxel_volume=0), "voxel_volume: expected a finite number above 0"),
        (lambda: VolumeCRPS("soft"), "readout: expected"),
        (
            lambda: VolumeCRPS().update_state(np.zeros((1, 4)), np.zeros((1, 4, 3))),
            "y_true: VolumeCRPS expects ratings",
        ),
    ],
)
def test_arguments(build, message):
    with pytest.raises(ValueError, match=message):
        build()
