"""The generated data keep what they promise about their raters."""

from math import comb, log

import numpy as np
import pytest

from keras_ordseg import data, raters
from keras_ordseg.datasets import ambiguous_shapes


@pytest.mark.parametrize(
    "dims, size, shape", [(1, 40, (40,)), (2, 32, (32, 32)), (2, (24, 36), (24, 36)), (3, 16, (16,) * 3)]
)
@pytest.mark.parametrize("num_raters", [1, 2, 7])
def test_shapes(dims, size, shape, num_raters):
    arrays = ambiguous_shapes(3, size, num_raters, dims=dims)
    assert {name: (array.shape, array.dtype.kind) for name, array in arrays.items()} == {
        "image": ((3, *shape, 1), "f"),
        "ratings": ((3, *shape, num_raters), "i"),
        "probability": ((3, *shape), "f"),
        "levels": ((3, *shape, num_raters + 1), "f"),
        "id": ((3,), "U"),
        "group": ((3,), "U"),
    }
    assert arrays["image"].dtype == np.float32
    assert arrays["ratings"].dtype == np.int8
    data.check_arrays(arrays)
    assert arrays["probability"].min() >= 0
    assert arrays["probability"].max() <= 1


@pytest.mark.parametrize("seed, dims, size", [(0, 2, 48), (1, 2, 48), (2, 3, 16), (3, 1, 64)])
def test_votes_follow_the_true_probability(seed, dims, size):
    """2000 raters of an image: no frequency is off by more than chance allows.

    Bernstein: |f - p| <= sqrt(2 p (1-p) L / K) + 2 L / (3 K) but for a chance of 2 exp(-L); L = log(2 M / 1e-6)
    makes that 1e-6 for all M pixels together.
    """
    num_raters = 2000
    arrays = ambiguous_shapes(1, size, num_raters, seed, dims)
    p = arrays["probability"][0].astype(np.float64)
    frequency = (arrays["ratings"][0] == 1).mean(-1)
    chance = log(2 * p.size / 1e-6)
    bound = np.sqrt(2 * p * (1 - p) * chance / num_raters) + 2 * chance / (3 * num_raters)
    assert (np.abs(frequency - p) <= bound).all()
    assert ((p > 0.1) & (p < 0.9)).any()


def test_the_spread_of_the_borders_is_right():
    """Raters who spread wider than `probability` says would mark more where p < 1/2 and less where p > 1/2.

    The difference of the two, averaged over an image, has mean 0 and is independent from image to image: over
    200 images its mean is within four standard errors. Borders spread 10 % wider give thirteen.
    """
    arrays = ambiguous_shapes(200, 16, 300, seed=12)
    p = arrays["probability"].astype(np.float64)
    excess = ((arrays["ratings"] == 1).mean(-1) - p) * np.sign(0.5 - p)
    per_image = excess.mean((1, 2))
    assert abs(per_image.mean()) < 4 * per_image.std() / np.sqrt(200)
    assert per_image.std() < 0.01


def test_levels_are_the_binomial_and_match_the_votes():
    """Over 400 images the share of each level is that of `levels`.

    An image's share of a level deviates at random around its own expectation; over images these deviations are
    independent, so their mean is within five standard errors.
    """
    arrays = ambiguous_shapes(400, 16, 4, seed=9)
    p = arrays["probability"].astype(np.float64)
    expected = np.stack([comb(4, k) * p**k * (1 - p) ** (4 - k) for k in range(5)], -1)
    np.testing.assert_allclose(arrays["levels"], expected, atol=1e-6)
    votes = raters.fuse(arrays["ratings"], "votes")
    deviation = (votes[..., None] == np.arange(5)).mean((1, 2)) - expected.mean((1, 2))
    assert (np.abs(deviation.mean(0)) < 5 * deviation.std(0) / np.sqrt(400)).all()


def test_disagreement_has_structure():
    """One lesion's outlines are nested, which independent pixels would not give."""
    arrays = ambiguous_shapes(40, 32, 6, seed=2)
    marks = arrays["ratings"].reshape(40, -1, 6) == 1
    nested = []
    for image in marks:
        for i in range(6):
            for j in range(i):
                inner = min(image[:, i].sum(), image[:, j].sum())
                nested += [(image[:, i] & image[:, j]).sum() / inner] if inner else []
    assert np.mean(np.array(nested) == 1) > 0.5
    result = raters.agreement(arrays["ratings"])
    assert 0.5 < result["pairwise_dice"] < 0.9
    assert 0.3 < result["disputed_of_marked"] < 0.8
    assert 0.03 < arrays["probability"].mean() < 0.25


def test_the_image_shows_the_probability():
    """Where raters mark, it is brighter: a model can learn from the image, and not everything."""
    arrays = ambiguous_shapes(40, 32, 2, seed=3)
    image, p = arrays["image"].ravel(), arrays["probability"].ravel()
    assert 0.4 < np.corrcoef(image, p)[0, 1] < 0.95
    assert image.std() > 0.05


def test_seeds_and_prefixes():
    first = ambiguous_shapes(6, 16, 5, seed=4)
    for name, array in ambiguous_shapes(6, 16, 5, seed=4).items():
        np.testing.assert_array_equal(array, first[name])
    fewer = ambiguous_shapes(2, 16, 3, seed=4)
    np.testing.assert_array_equal(fewer["image"], first["image"][:2])
    np.testing.assert_array_equal(fewer["probability"], first["probability"][:2])
    np.testing.assert_array_equal(fewer["ratings"], first["ratings"][:2, ..., :3])
    other = ambiguous_shapes(6, 16, 5, seed=5)
    assert not np.array_equal(other["image"], first["image"])
    assert len({image.tobytes() for image in first["image"]}) == 6
    assert first["group"].tolist() == ["patient-000"] * 4 + ["patient-001"] * 2
    assert first["id"].tolist() == ["0000", "0001", "0002", "0003", "0004", "0005"]


def test_absent_raters():
    """Absence hides a rater's whole image, changes nothing else, and leaves one rater at least."""
    full = ambiguous_shapes(300, 16, 3, seed=6)
    arrays = ambiguous_shapes(300, 16, 3, seed=6, absent=0.4)
    hidden = (arrays["ratings"] == -1).all((1, 2))
    np.testing.assert_array_equal((arrays["ratings"] == -1).any((1, 2)), hidden)
    kept = np.broadcast_to(~hidden[:, None, None], full["ratings"].shape)
    np.testing.assert_array_equal(arrays["ratings"][kept], full["ratings"][kept])
    np.testing.assert_array_equal(arrays["probability"], full["probability"])
    assert (~hidden).any(-1).all()
    # all three absent has chance 0.064 and then one is kept: 0.4 - 0.064 / 3 = 0.379; five standard errors of
    # 900 draws are 5 sqrt(0.379 · 0.621 / 900) = 0.081
    assert hidden.mean() == pytest.approx(0.379, abs=0.081)
    assert (ambiguous_shapes(20, 16, 3, absent=0.99)["ratings"] >= 0).any((1, 2)).sum(-1).max() == 1


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"num_images": 0}, "num_images must be an integer of 1 or more, came 0"),
        ({"num_raters": 2.5}, "num_raters must be an integer of 1 or more, came 2.5"),
        ({"seed": -1}, "seed must be an integer of 0 or more"),
        ({"dims": 4}, "dims must be 1, 2 or 3, came 4"),
        ({"size": 8}, "size must be 16 or more"),
        ({"size": (16, 16, 16)}, "one number or 2 of them"),
        ({"absent": 1.0}, "absent must be a probability below 1"),
    ],
)
def test_errors(kwargs, message):
    with pytest.raises(ValueError, match=message):
        ambiguous_shapes(**{"num_images": 1} | kwargs)
