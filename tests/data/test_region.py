"""Regions, and ratings restricted to them."""

import numpy as np
import pytest

from keras_ordseg import data, metrics


@pytest.mark.parametrize("shape", [(23,), (11, 9), (6, 7, 8)])
@pytest.mark.parametrize("margin", [0, 1, 1.5, 3])
def test_union_with_a_margin(rng, shape, margin):
    """Against every pair of pixels: 1-D, 2-D and 3-D, anisotropic."""
    ratings = np.where(rng.random((3, *shape, 2)) < 0.03, 1, rng.integers(-1, 1, (3, *shape, 2))).astype(np.int8)
    ratings[2][ratings[2] == 1] = 0
    spacing = [1.0, 0.5, 2.0][: len(shape)]
    found = data.region(ratings, "union", margin=margin, spacing=spacing)
    assert not found[2].any()
    places = np.stack(np.indices(shape), -1).reshape(-1, len(shape)) * spacing
    for image, region in zip(ratings[:2], found[:2], strict=True):
        marks = places[(image == 1).any(-1).ravel()]
        distance = np.sqrt(((places[:, None] - marks[None]) ** 2).sum(-1)).min(-1, initial=np.inf)
        np.testing.assert_array_equal(region.ravel(), distance <= margin)


def test_all(arrays):
    arrays["ratings"][2, 1, 3] = -1
    found = data.region(arrays, "all")
    assert found.dtype == bool
    np.testing.assert_array_equal(np.argwhere(~found), [[2, 1, 3]])


@pytest.mark.parametrize("margin", [0, 2])
def test_body(margin):
    """A bright ring with a dark inside, a smaller bright piece elsewhere, on noise: the filled disc."""
    y, x = np.indices((40, 48))
    radius = np.hypot(y - 18, x - 20)
    image = np.where((radius < 12) & (radius > 6), 0.8, 0.1) + 0.02 * np.sin(y * 3.0 + x)
    image[34:38, 40:44] = 0.9
    arrays = {"image": np.stack([image, np.full_like(image, 0.3)])[..., None], "ratings": np.zeros((2, 40, 48, 2), int)}
    found = data.region(arrays, "body", margin=margin)
    disc = radius < 12
    distance = np.sqrt(((np.argwhere(disc)[:, None, None] - np.stack([y, x], -1)) ** 2).sum(-1)).min(0)
    np.testing.assert_array_equal(found[0], distance <= margin)
    assert not found[1].any() or found[1].all()
    low = data.region(arrays, "body", threshold=0.95)
    assert not low.any()


def test_a_metric_looks_only_inside(arrays, rng):
    """`restrict` is the weight 1 inside and 0 outside."""
    logits = rng.normal(size=(7, 6, 6, 5)).astype("float32")
    ratings = np.abs(arrays["ratings"])
    region = rng.random((7, 6, 6)) < 0.4
    inside, weighted = metrics.MultiRaterECE(), metrics.MultiRaterECE()
    inside.update_state(data.restrict(ratings, region), logits)
    weighted.update_state(ratings, logits, sample_weight=region.astype("float32"))
    np.testing.assert_allclose(float(inside.result()), float(weighted.result()), rtol=1e-6)


def test_restrict(arrays):
    region = data.region(arrays, "union")
    inside = data.restrict(arrays, region)
    assert inside["ratings"].dtype == np.int8
    assert inside["id"] is arrays["id"]
    np.testing.assert_array_equal(inside["ratings"][region], arrays["ratings"][region])
    np.testing.assert_array_equal(inside["ratings"][~region], -1)
    for bad in (region.astype(int), region[:, 1:]):
        with pytest.raises(data.DataError, match=r"region must be bool \(7, 6, 6\) for ratings"):
            data.restrict(arrays, bad)


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"kind": "band"}, "kind must be one of 'all', 'union', 'body', came 'band'"),
        ({"margin": -1}, "margin must be 0 or more, came -1"),
        ({"margin": float("nan")}, "margin must be"),
        ({"spacing": (1, 0)}, r"spacing must be above 0, came \(1, 0\)"),
        ({"threshold": 0.5}, "threshold belongs to kind='body'"),
    ],
)
def test_errors(arrays, kwargs, message):
    with pytest.raises(ValueError, match=message):
        data.region(arrays, **kwargs)


def test_body_needs_images(arrays):
    with pytest.raises(data.DataError, match="needs a dict with the images of the ratings, came none"):
        data.region(arrays["ratings"], "body")
    with pytest.raises(data.DataError, match=r"came image \(7, 5, 6, 1\) and ratings"):
        data.region(arrays | {"image": arrays["image"][:, 1:]}, "body")
    with pytest.raises(data.DataError, match="ratings must be"):
        data.region(arrays["ratings"][0, 0])
