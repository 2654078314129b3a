import numpy as np
import pytest

from keras_ordseg.metrics import GeneralizedEnergyDistance
from tests.ops.test_levels import reference_readout, softmax64

SHAPES = [(3, 50), (3, 9, 8), (2, 5, 4, 6)]


def distance64(a, b, weight):
    union = weight[a | b].sum()
    return 0.0 if union == 0 else 1 - weight[a & b].sum() / union


def ged64(samples, ratings, weight):
    """The definition for one image: masks `(S, pixels)`, ratings `(R, pixels)`, every ordered pair in turn."""
    weight = np.where((ratings >= 0).any(0), weight, 0.0)
    raters = [r for r in ratings if weight[r >= 0].sum() > 0]
    if not raters:
        return None
    cross = np.mean([distance64(s, r == 1, weight * (r >= 0)) for s in samples for r in raters])
    among_s = np.mean([distance64(s, t, weight) for s in samples for t in samples])
    among_y = [
        distance64(q == 1, r == 1, weight * (q >= 0) * (r >= 0))
        for q in raters
        for r in raters
        if (weight * (q >= 0) * (r >= 0)).sum() > 0
    ]
    return 2 * cross - among_s - np.mean(among_y)


def reference(masks, ratings, weight=None):
    """Mean over the images; `masks` `(batch, *spatial, S)`, `weight` `(batch, *spatial)`."""
    batch = len(masks)
    weight = np.ones(masks.shape[:-1]) if weight is None else weight
    masks, ratings = (x.reshape(batch, -1, x.shape[-1]).swapaxes(1, 2) for x in (masks, ratings))
    weight = weight.reshape(batch, -1)
    values = [ged64(m.astype(bool), r, w) for m, r, w in zip(masks, ratings, weight, strict=True)]
    each = [w[(r >= 0).any(0)].max(initial=0) for r, w in zip(ratings, weight, strict=True)]
    return np.average([v or 0.0 for v in values], weights=each)


def nested64(z):
    return np.stack([reference_readout(z, t) > 0.5 for t in range(1, z.shape[-1])], -1)


def score(metric, *args):
    metric.update_state(*args)
    return float(metric.result())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("num_raters", [1, 4, 5])
def test_nested_masks_of_a_level_map(shape, num_raters, rng):
    z = (rng.normal(size=(*shape, num_raters + 1)) * 2).astype("float32")
    ratings = rng.integers(0, 2, (*shape, num_raters)).astype("int8")
    ratings[0] = 0  # an image that nobody marks
    expected = reference(nested64(z), ratings)
    np.testing.assert_allclose(score(GeneralizedEnergyDistance(), ratings, z), expected, atol=1e-6)
    p = softmax64(z).astype("float32")
    np.testing.assert_allclose(
        score(GeneralizedEnergyDistance(from_logits=False), ratings, p), expected, atol=1e-6
    )
    metric = GeneralizedEnergyDistance()
    for part in (slice(0, 1), slice(1, None)):
        metric.update_state(ratings[part], z[part])
    np.testing.assert_allclose(float(metric.result()), expected, atol=1e-6)


@pytest.mark.parametrize("num_samples", [1, 2, 9])
def test_samples_as_masks_probabilities_or_logits(num_samples, rng):
    """As many samples as one likes, whatever the number of raters; masks read the same with either from_logits."""
    z = rng.normal(size=(3, 8, 7, num_samples)).astype("float32")
    ratings = rng.integers(-1, 2, (3, 8, 7, 4)).astype("int8")
    masks, expected = (z > 0).astype("int8"), reference(z > 0, ratings)
    for y_pred, from_logits in ((z, True), (masks, True), (masks, False), (1 / (1 + np.exp(-z)), False)):
        metric = GeneralizedEnergyDistance("samples", from_logits=from_logits)
        np.testing.assert_allclose(score(metric, ratings, y_pred), expected, atol=1e-6)
    logits_taken_for_probabilities = GeneralizedEnergyDistance("samples", from_logits=False)
    assert np.isnan(score(logits_taken_for_probabilities, ratings, 5 * z))


@pytest.mark.parametrize("shape", SHAPES)
def test_absent_raters_and_weights(shape, rng):
    """Rater 0 of image 0 rated nothing; rater 1 and 2 of image 1 share no pixel; voids everywhere else."""
    z = (rng.normal(size=(*shape, 5)) * 2).astype("float32")
    ratings = rng.integers(-1, 2, (*shape, 4)).astype("int8")
    ratings[0, ..., 0] = -1
    first = ratings[1, ..., 1] >= 0
    ratings[1, ..., 2] = np.where(first, -1, rng.integers(0, 2, first.shape))
    weight = rng.random(shape).astype("float32")
    weight[0] *= ratings[0, ..., 1] < 0  # with these weights rater 1 is absent from image 0, too
    np.testing.assert_allclose(
        score(GeneralizedEnergyDistance(), ratings, z), reference(nested64(z), ratings), atol=1e-6
    )
    np.testing.assert_allclose(
        score(GeneralizedEnergyDistance(), ratings, z, weight),
        reference(nested64(z), ratings, weight),
        atol=1e-6,
    )
    by_image = np.arange(shape[0], dtype="float32")
    by_pixel = by_image.reshape(-1, *[1] * (len(shape) - 1)) * np.ones(shape, "float32")
    np.testing.assert_allclose(
        score(GeneralizedEnergyDistance(), ratings, z, by_image),
        reference(nested64(z), ratings, by_pixel),
        atol=1e-6,
    )


def test_an_absent_slot_an_unrated_image_and_the_order_of_raters(rng):
    z = (rng.normal(size=(3, 6, 6, 5)) * 2).astype("float32")
    ratings = rng.integers(-1, 2, (3, 6, 6, 4)).astype("int8")
    ratings[2] = -1  # does not count
    value = score(GeneralizedEnergyDistance(), ratings, z)
    more = np.concatenate([np.full((3, 6, 6, 2), -1, "int8"), ratings[..., ::-1]], -1)
    assert score(GeneralizedEnergyDistance(), more, z) == pytest.approx(value, abs=1e-9)
    assert score(GeneralizedEnergyDistance(), ratings[:2], z[:2]) == pytest.approx(value, abs=1e-9)


def test_zero_for_the_raters_own_masks_and_never_below(rng):
    """A squared distance: 0 for the same set of masks, in any order, and 0 or more for any complete panel."""
    ratings = rng.integers(0, 2, (40, 12, 3)).astype("int8")
    assert score(GeneralizedEnergyDistance("samples"), ratings, ratings[..., ::-1]) == pytest.approx(0, abs=1e-7)
    for i in range(40):
        samples = rng.integers(0, 2, (1, 12, 5))
        assert score(GeneralizedEnergyDistance("samples"), ratings[i : i + 1], samples) > -1e-7


def test_known_values():
    """One rater marks pixel 0, the other none; the sample is empty: E d(s,y) = 1/2, E d(y,y') = 2/4, so 1/2."""
    ratings = np.array([[[1, 0], [0, 0]]], "int8")
    assert score(GeneralizedEnergyDistance("samples"), ratings, np.zeros((1, 2, 1))) == pytest.approx(0.5)
    assert score(GeneralizedEnergyDistance("samples"), np.zeros((1, 2, 2), "int8"), np.zeros((1, 2, 3))) == 0.0


def test_on_real_panels(real_data):
    """Four radiologists' own masks are at distance 0 from themselves; their majority alone lies further off."""
    from PIL import Image

    pack = real_data("lidc_crops")
    names = sorted(p.name[:4] for p in pack.glob("*_image.png"))[:8]
    ratings = np.stack(
        [
            np.stack([np.asarray(Image.open(pack / f"{n}_rater{r}.png")) > 0 for r in (1, 2, 3, 4)], -1)
            for n in names
        ]
    ).astype("int8")
    majority = (ratings.sum(-1, keepdims=True) >= 2).astype("int8")
    assert score(GeneralizedEnergyDistance("samples"), ratings, ratings) == pytest.approx(0, abs=1e-9)
    value = score(GeneralizedEnergyDistance("samples"), ratings, majority)
    assert value == pytest.approx(reference(majority, ratings), abs=1e-9)
    assert value > 0.05
    # the nested masks of the votes spread as the raters do: closer than the majority
    nested = np.stack([ratings.sum(-1) >= t for t in range(1, 5)], -1)
    assert score(GeneralizedEnergyDistance("samples"), ratings, nested) < value


def test_half_precision_and_impossible_values(rng):
    z = rng.normal(size=(2, 30, 5)).astype("float16")
    ratings = rng.integers(0, 2, (2, 30, 4)).astype("int8")
    for kind in ("levels", "samples"):
        assert score(GeneralizedEnergyDistance(kind), ratings, z) == pytest.approx(
            score(GeneralizedEnergyDistance(kind), ratings, z.astype("float32")), abs=1e-9
        )
        broken = z.copy()
        broken[0, 3, 1] = np.nan
        assert np.isnan(score(GeneralizedEnergyDistance(kind), ratings, broken))


@pytest.mark.parametrize(
    "build,message",
    [
        (lambda: GeneralizedEnergyDistance("masks"), "predictions: expected one of"),
        (
            lambda: GeneralizedEnergyDistance().update_state(np.zeros((1, 4)), np.zeros((1, 4, 3))),
            "y_true: GeneralizedEnergyDistance expects ratings",
        ),
        (
            lambda: GeneralizedEnergyDistance("samples", num_raters=3).update_state(
                np.zeros((1, 4)), np.zeros((1, 4, 3))
            ),
            "y_true: GeneralizedEnergyDistance expects ratings",
        ),
        (
            lambda: GeneralizedEnergyDistance().update_state(np.zeros((1, 4, 3)), np.zeros((1, 4, 1))),
            "y_pred: expected level scores",
        ),
        (
            lambda: GeneralizedEnergyDistance("samples").update_state(np.full((1, 4, 3), 2), np.zeros((1, 4, 5))),
            "y_true: expected ratings 1",
        ),
    ],
)
def test_arguments(build, message):
    with pytest.raises(ValueError, match=message):
        build()
