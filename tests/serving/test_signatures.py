"""The mathematics of `contours` and `summary` against float64 NumPy."""

import keras
import numpy as np
import pytest

from keras_ordseg.metrics import VolumeCRPS
from keras_ordseg.raters import agreement
from keras_ordseg.serving._signatures import (
    by_structure,
    contours,
    cut_to,
    pad_to_multiples,
    readouts,
    summary,
)


def softmax(z):
    p = np.exp(z.astype("float64") - z.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def reference(z, pixel_size, threshold):
    """Both signatures of level logits, written from the definitions."""
    p = softmax(z)
    raters = p.shape[-1] - 1
    spatial = tuple(range(1, p.ndim - 1))
    at_least = [p[..., t:].sum(-1) for t in range(1, raters + 1)]
    areas = pixel_size * np.stack([a.sum(spatial) for a in at_least], -1)
    masks = np.stack([a > 0.5 for a in at_least], -1)
    differ, share = p[..., 1:raters].sum(-1), np.zeros(len(p))
    for i in range(len(p)):
        if masks[i, ..., 0].any():
            share[i] = differ[i][masks[i, ..., 0]].mean()
    mean = pixel_size * (p @ np.arange(raters + 1)).sum(spatial) / raters
    return {
        "masks": masks,
        "ribbon": masks.any(-1) & ~masks.all(-1),
        "area": mean,
        "area_low": pixel_size * p[..., raters].sum(spatial),
        "area_high": pixel_size * (1 - p[..., 0]).sum(spatial),
        "expected_area": mean,
        "area_sd": areas.std(-1),
        "disputed_share": share,
        "review": share > threshold,
    }


@pytest.mark.parametrize("raters", [1, 2, 5])
@pytest.mark.parametrize("sides", [(40,), (12, 9), (6, 5, 4)])
def test_levels_against_numpy(rng, raters, sides):
    z = rng.normal(0, 3, (3, *sides, raters + 1)).astype("float32")
    z[1, ..., 0] += 9  # an image of background
    z[2, ..., -1] += 9  # one on which all agree
    found = {**contours(z, 0.25), **summary(z, 0.25, 0.3)}
    wanted = reference(z, 0.25, 0.3)
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        have = keras.ops.convert_to_numpy(found[name])
        assert have.shape == value.shape, name
        np.testing.assert_allclose(have.astype("float64"), value, rtol=1e-5, atol=1e-5, err_msg=name)
    assert {name: keras.backend.standardize_dtype(found[name].dtype) for name in ("masks", "ribbon", "review", "area")} == {
        "masks": "uint8",
        "ribbon": "uint8",
        "review": "bool",
        "area": "float32",
    }
    assert bool(found["review"][0]) == (raters > 1)
    assert not found["review"][2]


def test_golden():
    """K = 2, two pixels of p = (.1, .3, .6) and (.7, .2, .1).

    A_1 = .9 + .3 = 1.2, A_2 = .7, area = .95, sd = .25. Only the first pixel has P(k >= 1) > 1/2: disputed .3.
    """
    z = np.log([[[0.1, 0.3, 0.6], [0.7, 0.2, 0.1]]]).astype("float32")
    found = {**contours(z, 10.0), **summary(z, 10.0, 0.3 - 1e-6)}
    assert np.asarray(found["masks"]).tolist() == [[[1, 1], [0, 0]]]
    assert np.asarray(found["ribbon"]).tolist() == [[0, 0]]
    for name, value in {"area": 9.5, "area_low": 7, "area_high": 12, "area_sd": 2.5, "disputed_share": 0.3}.items():
        assert float(found[name][0]) == pytest.approx(value, rel=1e-6), name
    assert bool(found["review"][0])
    assert not bool(summary(z, 10.0, 0.3 + 1e-6)["review"][0])


def test_nothing_marked_is_no_dispute():
    """Many pixels of little doubt: a share of sums of probabilities would call this image disputed."""
    z = np.log(np.full((1, 64, 64, 4), [0.97, 0.02, 0.007, 0.003])).astype("float32")
    found = summary(z)
    assert float(found["disputed_share"][0]) == 0
    assert not bool(found["review"][0])


def test_not_a_number_is_flagged():
    z = np.zeros((2, 4, 4, 3), "float32")
    z[0, 1, 1] = np.nan
    found = summary(z, review_threshold=1.0)
    assert np.asarray(found["review"]).tolist() == [True, False]
    assert np.isnan(found["disputed_share"][0])
    assert np.isnan(contours(z)["area"][0])


def test_binary(rng):
    z = rng.normal(size=(2, 5, 6, 1)).astype("float32")
    p = 1 / (1 + np.exp(-z[..., 0].astype("float64")))
    assert set(readouts(z)) == {"probability"}
    found = {**contours(z, 2.0), **summary(z, 2.0)}
    assert set(found) == {"masks", "area", "expected_area"}
    np.testing.assert_array_equal(found["masks"], (p > 0.5)[..., None])
    np.testing.assert_allclose(found["area"], 2 * p.sum((1, 2)), rtol=1e-6)
    np.testing.assert_allclose(found["expected_area"], 2 * p.sum((1, 2)), rtol=1e-6)


def test_masks_are_nested(rng):
    z = rng.normal(size=(1, 300, 300, 8)).astype("float32")
    z[:, :100] = np.round(z[:, :100])  # ties
    masks = np.asarray(contours(z)["masks"]).astype(int)
    assert (np.diff(masks, axis=-1) <= 0).all()


def test_areas_of_a_whole_slide():
    """2^24 pixels of one image, without float64."""
    z = np.zeros((1, 4096, 4096, 2), "float32")
    z[..., 1] = np.linspace(-6, 6, 4096)[:, None]
    p = 1 / (1 + np.exp(-z[0, :, 0, 1].astype("float64")))
    assert float(contours(z)["area"][0]) == pytest.approx(4096 * p.sum(), rel=2e-6)


def test_the_area_is_the_volume_that_the_metric_scores(rng):
    """`VolumeCRPS` of raters of volume V each is |predicted - V|: it reads the prediction back."""
    z = rng.normal(size=(1, 8, 8, 4)).astype("float32")
    ratings = np.zeros((1, 8, 8, 3), "int8")
    metric = VolumeCRPS(voxel_volume=0.5)
    metric.update_state(ratings, z)
    assert float(metric.result()) == pytest.approx(float(contours(z, 0.5)["area"][0]), rel=1e-6)


def test_raters_lie_inside_the_interval_and_the_spread(rng):
    """Sure levels: each rater's area lies in [A_K, A_1], the spread of theirs is at most `area_sd`, and the disputed share
    is the raters' own."""
    for _ in range(20):
        ratings = (rng.uniform(size=(1, 9, 9, 4)) < rng.uniform(size=4)).astype("int8")
        z = np.where(np.arange(5) == ratings.sum(-1)[..., None], 30.0, -30.0).astype("float32")
        found = {**contours(z), **summary(z)}
        areas = ratings.sum((1, 2))[0]
        assert found["area_low"][0] - 1e-3 <= areas.min()
        assert areas.max() <= found["area_high"][0] + 1e-3
        assert float(found["area"][0]) == pytest.approx(areas.mean(), rel=1e-5)
        assert areas.std() <= found["area_sd"][0] + 1e-3
        assert float(found["disputed_share"][0]) == pytest.approx(agreement(ratings[0])["disputed_of_marked"], abs=1e-5)


def test_structures_are_prefixes(rng):
    z = rng.normal(size=(1, 4, 4, 3)).astype("float32")
    found = by_structure(contours, {"disc": z, "cup": -z})
    assert {name.split("_", 1)[0] for name in found} == {"disc", "cup"}
    np.testing.assert_array_equal(found["cup_masks"], contours(-z)["masks"])


def test_padding_repeats_the_edge(rng):
    image = rng.normal(size=(2, 5, 8, 3)).astype("float32")
    padded = np.asarray(pad_to_multiples(image, (4, 3)))
    np.testing.assert_array_equal(padded, np.pad(image, ((0, 0), (0, 3), (0, 1), (0, 0)), mode="edge"))
    np.testing.assert_array_equal(cut_to(padded, image), image)
    assert pad_to_multiples(image, (1, 1)) is image
