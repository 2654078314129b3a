"""Image and masks move alike, and no vote is forged."""

import numpy as np
import pytest

from keras_ordseg import data

STILL = {"flip": False, "rotate90": False}
TURNS = [{"rotate90": False}, {"flip": False}, {}]
MOVES = [
    {"rotate": 180},
    {"rotate": 25, "scale": 0.3, **STILL},
    {"translate": 6, **STILL},
    {"elastic": 4, "elastic_grid": 12, **STILL},
    {"rotate": 20, "scale": 0.2, "translate": 3, "elastic": 3, "elastic_grid": 12},
]


def smooth(rng, shape):
    """A smooth image, so that a threshold of the interpolated image is near the moved threshold."""
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, side) for side in shape], indexing="ij"), -1)
    waves = [np.cos(grid @ rng.normal(0, 4, len(shape)) + rng.uniform(0, 6)) for _ in range(4)]
    return (0.5 + 0.12 * np.sum(waves, 0)).astype(np.float32)[..., None]


def call(augment, image, ratings, seed):
    return [part.numpy() for part in augment(image, ratings, seed)]


@pytest.mark.parametrize("shape", [(40,), (24, 24), (20, 27), (4, 18, 18), (14, 16, 16)])
@pytest.mark.parametrize("options", TURNS + MOVES, ids=str)
def test_masks_follow_the_image(rng, options, shape):
    """A mask that is a threshold of the image still is one after moving, up to half a pixel of interpolation."""
    options = dict(options)
    if len(shape) == 1:
        options["rotate"] = 0
    if shape[0] == 14:
        options["voxel_size"] = (1, 1, 1)
    augment = data.Augmentation(**options)
    image = smooth(rng, shape)
    ratings = np.concatenate([image > 0.5, image > 0.6, image < 0.45], -1).astype(np.int8)
    moved = 0
    for seed in range(6):
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
        # turns by 90° move pixels exactly; the others blend the border and round
        assert agreement == 1 if not augment.makes_voids else agreement > 0.88
        moved += not np.array_equal(picture, image)
    assert moved >= 2 or options == {"flip": False, "rotate": 0}  # a line has no quarter turns


@pytest.mark.parametrize("voxel_size", [None, (2, 1, 1)])
@pytest.mark.parametrize("options", MOVES, ids=str)
def test_no_vote_is_forged(options, voxel_size):
    """What turns in from outside is -1 for all raters and 0 in the image; an absent rater stays absent."""
    augment = data.Augmentation(brightness=0.5, voxel_size=voxel_size, **options)
    shape = (16, 16) if voxel_size is None else (8, 12, 12)
    image = np.full((*shape, 2), 0.5, np.float32)
    ratings = np.ones((*shape, 4), np.int8)
    ratings[..., 1] = 0
    ratings[..., 3] = -1
    outside = 0
    for seed in range(6):
        picture, marks = call(augment, image, ratings, (seed, 0))
        assert set(np.unique(marks[..., 0])) <= {-1, 1}
        assert set(np.unique(marks[..., 1])) <= {-1, 0}
        np.testing.assert_array_equal(marks[..., 0] == -1, marks[..., 1] == -1)
        assert (marks[..., 3] == -1).all()
        void = marks[..., 0] == -1
        outside += void.sum()
        # image is 0 nowhere but outside, and brightness does not light the outside up
        still, _ = call(data.Augmentation(voxel_size=voxel_size, **options), image, ratings, (seed, 0))
        assert (still[~void] > 0).all()
        assert (picture[still == 0] == 0).all()
        # a pixel without votes lies at least half a pixel outside: half its image is left at most
        assert still[void].max(initial=0) <= 0.25 + 1e-5
    assert outside > 10


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


@pytest.mark.parametrize("voxel", [(1, 1, 1), (2.0, 1, 1)])
def test_volumes_turn_in_space(voxel):
    """A ball keeps its distance to the centre in the voxel's units, and leaves its slice."""
    sides = np.array([41, 41, 41] / np.array(voxel), int) // 2 * 2 + 1
    place = (np.stack(np.meshgrid(*map(np.arange, sides), indexing="ij"), -1) - (sides - 1) / 2) * voxel
    ratings = (np.linalg.norm(place - (0, 0, 12), axis=-1) < 3.5)[..., None].astype(np.int8)
    augment = data.Augmentation(rotate=90, voxel_size=voxel, **STILL)
    centres = []
    for seed in range(8):
        marks = call(augment, np.zeros((*sides, 1), np.float32), ratings, (seed, 5))[1]
        centres.append(place[marks[..., 0] == 1].mean(0))
    assert np.linalg.norm(centres, axis=1) == pytest.approx(12, abs=0.5)
    assert np.ptp(centres, axis=0).min() > 3


def test_slices_of_a_volume_move_alike_in_their_plane(rng):
    """Without voxel_size every slice is what the same draw makes of it alone."""
    augment = data.Augmentation(rotate=30, scale=0.2, translate=3, elastic=3, elastic_grid=10, **STILL)
    image, ratings = rng.random((4, 13, 15, 2), dtype=np.float32), rng.integers(-1, 2, (4, 13, 15, 3)).astype("int8")
    picture, marks = call(augment, image, ratings, (3, 4))
    for k in range(4):
        alone, alone_marks = call(augment, image[k], ratings[k], (3, 4))
        np.testing.assert_allclose(picture[k], alone, atol=1e-6)
        np.testing.assert_array_equal(marks[k], alone_marks)


def test_translate(rng):
    """The mask of one pixel goes to whole pixels within ±3, every one of them, on both axes by itself."""
    ratings = np.zeros((9, 9, 1), np.int8)
    ratings[4, 4] = 1
    augment = data.Augmentation(translate=3, **STILL)
    moves = []
    for seed in range(60):
        marks = call(augment, np.zeros((9, 9, 1), np.float32), ratings, (seed, 8))[1]
        moves += [tuple(np.argwhere(marks[..., 0] == 1)[0] - 4)]
    assert {m for move in moves for m in move} == set(range(-3, 4))
    assert len(set(moves)) > 20


class TestCrop:
    def test_is_a_window_of_the_image_anywhere(self):
        image = np.arange(8 * 9, dtype=np.float32).reshape(8, 9, 1)
        ratings = (image % 3 - 1).astype(np.int8)
        starts = set()
        for seed in range(200):
            picture, marks = call(data.Augmentation(crop=(6, 4), **STILL), image, ratings, (seed, 1))
            y, x = divmod(int(picture[0, 0, 0]), 9)
            np.testing.assert_array_equal(picture, image[y : y + 6, x : x + 4])
            np.testing.assert_array_equal(marks, ratings[y : y + 6, x : x + 4])
            starts.add((y, x))
        assert starts == {(y, x) for y in range(3) for x in range(6)}

    def test_moves_exactly_as_a_cut_when_the_displacement_is_nothing(self, rng):
        """The interpolating path at a rotation of (nearly) 0 gives the pixels of the plain cut."""
        image, ratings = rng.random((5, 9, 8, 1), dtype=np.float32), rng.integers(-1, 2, (5, 9, 8, 2)).astype("int8")
        for voxel_size in (None, (1, 1, 1)):
            options = {"crop": (2, 4, 3), "foreground": 0.5, "voxel_size": voxel_size, **STILL}
            plain = call(data.Augmentation(**options), image, ratings, (1, 2))
            moved = call(data.Augmentation(rotate=1e-6, **options), image, ratings, (1, 2))
            np.testing.assert_allclose(moved[0], plain[0], atol=1e-5)
            np.testing.assert_array_equal(moved[1], plain[1])

    @pytest.mark.parametrize("shape, crop", [((30, 40), (5, 7)), ((10, 12, 14), (3, 5, 5)), ((50,), (9,))])
    def test_around_foreground(self, shape, crop):
        """Two raters mark one pixel each: every crop is centred on one of them, each as often."""
        ratings = np.zeros((*shape, 3), np.int8)
        ratings[..., 2] = -1
        first, second = (tuple(n // 2 + step for n in shape) for step in (-2, 1))
        ratings[(*first, 0)] = ratings[(*second, 1)] = 1
        image = np.zeros((*shape, 1), np.float32)
        image[first], image[second] = 1, 0.5
        augment = data.Augmentation(crop=crop, foreground=1, **STILL)
        middle = tuple(n // 2 for n in crop)
        hits = [float(call(augment, image, ratings, (seed, 6))[0][middle][0]) for seed in range(60)]
        assert set(hits) == {1.0, 0.5}
        assert 18 <= hits.count(1.0) <= 42  # 30 expected, standard deviation 3.9

    def test_share_of_crops_around_foreground(self):
        """A marked pixel lies in 9 of the 58² windows of 3×3 of 60×60, by chance 1 in 374; here in 0.4 of them."""
        ratings = np.zeros((60, 60, 1), np.int8)
        ratings[20, 50] = 1
        augment = data.Augmentation(crop=(3, 3), foreground=0.4)
        hits = [
            call(augment, np.zeros((60, 60, 1), np.float32), ratings, (seed, 2))[1].max() for seed in range(150)
        ]
        assert 0.28 < np.mean(hits) < 0.52  # standard deviation 0.04

    @pytest.mark.parametrize("mark", [None, (0, 0), (19, 11)])
    def test_stays_inside(self, mark):
        """A mark in the corner is in the crop though not in its middle; nothing marked: anywhere."""
        ratings = np.zeros((20, 12, 1), np.int8)
        if mark:
            ratings[mark] = 1
        augment = data.Augmentation(crop=(6, 6), foreground=1)
        for seed in range(6):
            marks = call(augment, np.zeros((20, 12, 1), np.float32), ratings, (seed, 2))[1]
            assert marks.shape == (6, 6, 1)
            assert marks.min() == 0
            assert marks.max() == (mark is not None)

    def test_is_cut_from_the_moved_image(self):
        """A small crop in the middle of a large image has no corner that nobody rated, however it turns."""
        ratings = np.zeros((40, 40, 2), np.int8)
        ratings[20, 20] = 1
        augment = data.Augmentation(crop=(12, 12), foreground=1, rotate=180, scale=0.2, elastic=2)
        for seed in range(6):
            picture, marks = call(augment, np.ones((40, 40, 1), np.float32), ratings, (seed, 2))
            assert marks.shape == (12, 12, 2)
            assert marks.min() == 0
            np.testing.assert_allclose(picture, 1, atol=1e-5)

    def test_larger_than_the_image(self):
        import tensorflow as tf

        augment = data.Augmentation(crop=(8, 8))
        with pytest.raises(ValueError, match=r"crop must fit .* crop=\(8, 8\) and an image of \(8, 7\)"):
            augment(np.zeros((8, 7, 1), np.float32), np.zeros((8, 7, 2), np.int8), (0, 0))
        spec = [tf.TensorSpec((None, None, 1)), tf.TensorSpec((None, None, 2), tf.int8), tf.TensorSpec((2,), tf.int32)]
        compiled = tf.function(augment.__call__, input_signature=spec)
        with pytest.raises(tf.errors.InvalidArgumentError, match="crop must fit into the image"):
            compiled(np.zeros((8, 7, 1), np.float32), np.zeros((8, 7, 2), np.int8), (0, 0))


def test_eight_symmetries_of_a_square_and_four_of_a_rectangle(rng):
    for shape, count in (((5, 5), 8), ((4, 5), 4)):
        image = rng.random((*shape, 1), dtype=np.float32)
        ratings = np.zeros((*shape, 1), np.int8)
        kinds = {call(data.Augmentation(), image, ratings, (seed, 1))[0].tobytes() for seed in range(90)}
        assert len(kinds) == count


@pytest.mark.parametrize("name, amount", [("brightness", 0.2), ("contrast", 0.5), ("gamma", 0.5), ("noise", 0.1)])
def test_intensity(rng, name, amount):
    image = smooth(rng, (16, 16))
    ratings = rng.integers(-1, 2, (16, 16, 3)).astype(np.int8)
    augment = data.Augmentation(**STILL, **{name: amount})
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
        elif name == "gamma":
            power = np.log(picture[inside].astype("float64")) / np.log(image[inside])
            np.testing.assert_allclose(power, np.median(power), rtol=1e-4)
            changes.append(np.median(power) - 1)
            assert 1 / 1.5 - 1e-4 <= changes[-1] + 1 <= 1.5 + 1e-4
        else:
            changes.append(change.std())
    assert np.abs(changes).max() <= amount * 1.15
    assert np.abs(changes).max() > 0.7 * amount
    assert np.ptp(changes) > 0.6 * amount


def test_contrast_is_about_the_mean_of_what_is_inside():
    """A constant image has no contrast to change, however much of the frame is outside."""
    image, ratings = np.full((32, 32, 1), 0.5, np.float32), np.ones((32, 32, 1), np.int8)
    augment = data.Augmentation(translate=20, contrast=1, **STILL)
    for seed in range(8):
        picture, marks = call(augment, image, ratings, (seed, 2))
        inside = marks[1:-1, 1:-1] == 1
        inside &= (marks[2:, 1:-1] == 1) & (marks[:-2, 1:-1] == 1) & (marks[1:-1, 2:] == 1) & (marks[1:-1, :-2] == 1)
        assert picture[1:-1, 1:-1][inside] == pytest.approx(0.5, abs=1e-5)


EVERYTHING = data.Augmentation(
    rotate=20,
    scale=0.1,
    translate=2,
    elastic=2,
    elastic_grid=8,
    crop=(8, 8),
    foreground=0.5,
    brightness=0.1,
    contrast=0.1,
    gamma=0.2,
    noise=0.1,
)


def test_same_seed_same_result(rng):
    """Called by itself, and in tf.data, one after the other and in parallel."""
    import tensorflow as tf

    image, ratings = smooth(rng, (12, 12)), rng.integers(-1, 2, (12, 12, 3)).astype(np.int8)
    results = []
    for parallel in (1, 4):
        seeds = tf.data.Dataset.range(6).map(lambda i: tf.stack([tf.constant(1), tf.cast(i, tf.int32)]))
        moved = seeds.map(lambda seed: EVERYTHING(image, ratings, seed), num_parallel_calls=parallel)
        assert moved.element_spec[0].shape == (8, 8, 1)
        assert moved.element_spec[1].shape == (8, 8, 3)
        results.append(list(moved.as_numpy_iterator()))
    results.append([call(EVERYTHING, image, ratings, (1, i)) for i in range(6)])
    for one, other, eager in zip(*results, strict=True):
        for a, b, c in zip(one, other, eager, strict=True):
            np.testing.assert_array_equal(a, b)
            np.testing.assert_allclose(a, c, atol=1e-5)
    assert len({picture.tobytes() for picture, _ in results[0]}) == 6


def test_sizes_known_only_at_run_time(rng):
    import tensorflow as tf

    spec = [tf.TensorSpec((None, None, 1)), tf.TensorSpec((None, None, 2), tf.int8), tf.TensorSpec((2,), tf.int32)]
    for augment in (data.Augmentation(rotate=20, elastic=3), EVERYTHING):
        compiled = tf.function(augment.__call__, input_signature=spec)
        for shape in ((8, 8), (8, 11)):
            image, ratings = smooth(rng, shape), rng.integers(-1, 2, (*shape, 2)).astype(np.int8)
            for seed in range(3):
                ours, known = compiled(image, ratings, (seed, 9)), augment(image, ratings, (seed, 9))
                for a, b in zip(ours, known, strict=True):
                    np.testing.assert_allclose(a, b, atol=1e-5)


def test_batches_of_crops(rng):
    """Crops alone make no voids, so votes stay votes; targets have the crop's size."""
    arrays = {"image": rng.random((3, 9, 9, 1), dtype=np.float32), "ratings": np.ones((3, 9, 9, 2), np.int8)}
    assert not data.Augmentation(crop=(4, 5)).makes_voids
    image, votes = next(iter(data.batches(arrays, 3, "votes", augment=data.Augmentation(crop=(4, 5), rotate90=False))))
    assert image.shape == (3, 4, 5, 1)
    np.testing.assert_array_equal(votes, np.full((3, 4, 5), 2))


@pytest.mark.parametrize("pack", ["lidc_crops", "cfos_brain"])
def test_real_images(real_data, pack):
    """Each rater's marked area stays, within the change of scale and what leaves the frame; nothing is invented."""
    from PIL import Image

    folder = real_data(pack)
    name = sorted(folder.glob("*_image.png"))[3].name.removesuffix("_image.png")
    image = np.atleast_3d(np.asarray(Image.open(folder / f"{name}_image.png"), np.float32) / 255)
    masks = [np.asarray(Image.open(file)) > 0 for file in sorted(folder.glob(f"{name}_rater*.png"))]
    ratings = np.stack(masks, -1).astype(np.int8)
    augment = data.Augmentation(rotate=15, elastic=6, translate=4)
    for seed in range(3):
        picture, marks = call(augment, image, ratings, (seed, 0))
        seen = marks[..., 0] >= 0
        assert 0.6 < seen.mean() <= 1
        area, before = (marks == 1).sum((0, 1)), ratings.sum((0, 1))
        assert (area <= 1.1 * before + 5).all()
        assert (area >= 0.6 * before - 5).all()
        assert picture[seen].mean() == pytest.approx(image.mean(), rel=0.15)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"rotate": -1}, "rotate must be from 0 to 180"),
        ({"rotate": 181}, "rotate must be from 0 to 180"),
        ({"scale": 1}, "scale must be from 0 to 0.9"),
        ({"brightness": 2}, "brightness must be from 0 to 1"),
        ({"noise": -0.1}, "noise must be from 0 to 1"),
        ({"gamma": float("nan")}, "gamma must be from 0 to 4"),
        ({"translate": -2}, "translate must be 0 or more pixels"),
        ({"elastic": 13}, "elastic must be from 0 to 0.4 of elastic_grid, 12.8 pixels"),
        ({"elastic_grid": 0}, "elastic_grid must be 1 or more"),
        ({"crop": 64}, "crop must be one positive int for each spatial axis, came 64"),
        ({"crop": (64, 0)}, "crop must be one positive int"),
        ({"foreground": 0.5}, "foreground=0.5 places a crop"),
        ({"crop": (4, 4), "foreground": 2}, "foreground must be from 0 to 1"),
        ({"voxel_size": (1, 0, 1)}, "voxel_size must be three positive sides"),
        ({"voxel_size": (1, 1)}, "voxel_size must be three positive sides"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        data.Augmentation(**options)


@pytest.mark.parametrize(
    "options, shape, message",
    [
        ({}, (8,), r"image and ratings must be \(L, channels\), \(H, W, channels\)"),
        ({}, (2, 2, 2, 2, 1), "image and ratings must be"),
        ({"crop": (4, 4)}, (5, 8, 8, 1), r"crop must have 3 sizes for an image of \(5, 8, 8, 1\)"),
        ({"voxel_size": (1, 1, 1)}, (8, 8, 1), "voxel_size is for volumes"),
        ({"rotate": 5}, (8, 1), "rotate needs two spatial axes"),
    ],
)
def test_wrong_images(options, shape, message):
    with pytest.raises(ValueError, match=message):
        data.Augmentation(**options)(np.zeros(shape, np.float32), np.zeros(shape, np.int8), (0, 0))


def test_image_and_ratings_of_other_ranks():
    with pytest.raises(ValueError, match="both alike"):
        data.Augmentation()(np.zeros((8, 8, 1), np.float32), np.zeros((8, 8), np.int8), (0, 0))
