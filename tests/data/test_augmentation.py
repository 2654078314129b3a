"""Image and masks move alike, and no vote is forged."""

import numpy as np
import pytest

from keras_ordseg import data

GEOMETRY = [
    data.Augmentation(flip=True, rotate90=False),
    data.Augmentation(flip=False, rotate90=True),
    data.Augmentation(),
    data.Augmentation(rotate=180),
    data.Augmentation(flip=False, rotate90=False, rotate=25, scale=0.3),
]


def smooth(rng, shape):
    """A smooth image, so that a threshold of the interpolated image is near the moved threshold."""
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, side) for side in shape], indexing="ij"), -1)
    waves = [np.cos(grid @ rng.normal(0, 4, len(shape)) + rng.uniform(0, 6)) for _ in range(4)]
    return (0.5 + 0.12 * np.sum(waves, 0)).astype(np.float32)[..., None]


def call(augment, image, ratings, seed):
    return [part.numpy() for part in augment(image, ratings, seed)]


@pytest.mark.parametrize("shape", [(24, 24), (20, 27), (4, 18, 18)])
@pytest.mark.parametrize("augment", GEOMETRY, ids=str)
def test_masks_follow_the_image(rng, augment, shape):
    """A mask that is a threshold of the image still is one after moving, up to half a pixel of interpolation."""
    image = smooth(rng, shape)
    ratings = np.concatenate([image > 0.5, image > 0.6, image < 0.45], -1).astype(np.int8)
    moved = 0
    for seed in range(8):
        picture, marks = call(augment, image, ratings, (seed, 3))
        assert picture.shape == image.shape
        assert picture.dtype == np.float32
        assert marks.dtype == np.int8
        assert set(np.unique(marks)) <= {-1, 0, 1}
        seen = marks[..., 0] >= 0
        if not augment.makes_voids:
            assert seen.all()
        expected = np.concatenate([picture > 0.5, picture > 0.6, picture < 0.45], -1)
        agreement = ((marks == 1) == expected)[seen].mean()
        # turns by 90° move pixels exactly; an affine one blends the border and rounds
        assert agreement == 1 if not augment.makes_voids else agreement > 0.93
        moved += not np.array_equal(picture, image)
    assert moved >= 2


@pytest.mark.parametrize("augment", GEOMETRY[3:], ids=str)
def test_no_vote_is_forged(augment):
    """What turns in from outside is -1 for all raters and 0 in the image; an absent rater stays absent."""
    image = np.ones((16, 16, 2), np.float32)
    ratings = np.ones((16, 16, 4), np.int8)
    ratings[..., 1] = 0
    ratings[..., 3] = -1
    outside = 0
    for seed in range(12):
        picture, marks = call(augment, image, ratings, (seed, 0))
        assert set(np.unique(marks[..., 0])) <= {-1, 1}
        assert set(np.unique(marks[..., 1])) <= {-1, 0}
        np.testing.assert_array_equal(marks[..., 0] == -1, marks[..., 1] == -1)
        assert (marks[..., 3] == -1).all()
        outside += (marks[..., 0] == -1).sum()
        # a pixel without votes lies at least half a pixel outside: less than half its image is left
        assert picture[marks[..., 0] == -1].max(initial=0) <= 0.5 + 1e-5
        assert picture[marks[..., 0] == 1].min() >= 0.25 - 1e-5
    assert outside > 20


def test_rotation_is_about_the_centre():
    """±180° draws: a mark at the centre of an odd image stays, one at distance 5 keeps its distance."""
    image = np.zeros((21, 21, 1), np.float32)
    ratings = np.zeros((21, 21, 2), np.int8)
    ratings[10, 10, 0] = 1
    ratings[9:12, 14:17, 1] = 1
    augment = data.Augmentation(flip=False, rotate90=False, rotate=180)
    angles = []
    for seed in range(8):
        marks = call(augment, image, ratings, (0, seed))[1]
        assert marks[10, 10, 0] == 1
        y, x = np.argwhere(marks[..., 1] == 1).mean(0) - 10
        assert np.hypot(y, x) == pytest.approx(5, abs=0.6)
        angles.append(np.arctan2(y, x))
    assert np.ptp(angles) > 2


def test_scale():
    """A square of 10 pixels stays between 10 (1 - 0.3) and 10 (1 + 0.3), give or take a pixel of rounding."""
    ratings = np.zeros((24, 24, 1), np.int8)
    ratings[7:17, 7:17] = 1
    augment = data.Augmentation(flip=False, rotate90=False, scale=0.3)
    sides = [
        np.sqrt((call(augment, np.zeros((24, 24, 1), np.float32), ratings, (0, seed))[1] == 1).sum())
        for seed in range(20)
    ]
    assert 6 <= min(sides) < 8.5
    assert 11.5 < max(sides) <= 14


def test_eight_symmetries_of_a_square_and_four_of_a_rectangle(rng):
    for shape, count in (((5, 5), 8), ((4, 5), 4)):
        image = rng.random((*shape, 1), dtype=np.float32)
        ratings = np.zeros((*shape, 1), np.int8)
        kinds = {call(data.Augmentation(), image, ratings, (seed, 1))[0].tobytes() for seed in range(120)}
        assert len(kinds) == count


@pytest.mark.parametrize("name, amount", [("brightness", 0.2), ("contrast", 0.5), ("noise", 0.1)])
def test_intensity(rng, name, amount):
    image = smooth(rng, (16, 16))
    ratings = rng.integers(-1, 2, (16, 16, 3)).astype(np.int8)
    augment = data.Augmentation(flip=False, rotate90=False, **{name: amount})
    assert not augment.makes_voids
    changes = []
    for seed in range(40):
        picture, marks = call(augment, image, ratings, (seed, 2))
        np.testing.assert_array_equal(marks, ratings)
        assert picture.min() >= 0
        assert picture.max() <= 1
        inside = (picture > 0) & (picture < 1)
        change = (picture - image)[inside]
        if name == "brightness":
            np.testing.assert_allclose(change, change[0], atol=1e-6)
            changes.append(change[0])
        elif name == "contrast":
            factor = change / (image - image.mean())[inside]
            np.testing.assert_allclose(change, np.median(factor) * (image - image.mean())[inside], atol=1e-5)
            changes.append(np.median(factor))
        else:
            changes.append(change.std())
    assert np.abs(changes).max() <= amount * 1.15
    assert np.abs(changes).max() > 0.7 * amount
    assert np.ptp(changes) > 0.6 * amount


def test_same_seed_same_result(rng):
    augment = data.Augmentation(rotate=20, scale=0.1, brightness=0.1, contrast=0.1, noise=0.1)
    image, ratings = smooth(rng, (12, 12)), rng.integers(-1, 2, (12, 12, 3)).astype(np.int8)
    first, again, other = (call(augment, image, ratings, seed) for seed in ((1, 2), (1, 2), (1, 3)))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first[0], other[0])


def test_sizes_known_only_at_run_time(rng):
    import tensorflow as tf

    augment = data.Augmentation(rotate=20)
    spec = [
        tf.TensorSpec((None, None, 1)),
        tf.TensorSpec((None, None, 2), tf.int8),
        tf.TensorSpec((2,), tf.int32),
    ]
    compiled = tf.function(augment.__call__, input_signature=spec)
    for shape in ((8, 8), (8, 11)):
        image, ratings = smooth(rng, shape), rng.integers(-1, 2, (*shape, 2)).astype(np.int8)
        for seed in range(4):
            for a, b in zip(
                compiled(image, ratings, (seed, 9)), augment(image, ratings, (seed, 9)), strict=True
            ):
                np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize(
    "name, value", [("rotate", -1), ("rotate", 181), ("scale", 1), ("brightness", 2), ("noise", -0.1)]
)
def test_errors(name, value):
    with pytest.raises(ValueError, match=f"{name} must be from 0 to"):
        data.Augmentation(**{name: value})


def test_wrong_rank():
    with pytest.raises(ValueError, match=r"image and ratings must be \(H, W, channels\)"):
        data.Augmentation()(np.zeros((8, 1), np.float32), np.zeros((8, 2), np.int8), (0, 0))
