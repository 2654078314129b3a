"""Keras' augmentation layers around ratings: image and masks move together, and no vote is forged."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_ordseg.layers import RatingsAugmentation
from keras_ordseg.layers.augmentation import planes_to_ratings, rating_planes

L = keras.layers
EXACT = {  # pixels only change places
    "flip": lambda: L.RandomFlip(seed=1),
    "crop": lambda: L.RandomCrop(20, 16, seed=1),
    "cutmix": lambda: L.CutMix(seed=1),
}
SAMPLED = {
    "rotation": lambda: L.RandomRotation(0.2, fill_mode="constant", seed=1),
    "rotation on white": lambda: L.RandomRotation(0.2, fill_mode="constant", fill_value=1.0, seed=1),
    "zoom": lambda: L.RandomZoom((0.2, 0.5), fill_mode="constant", seed=1),
    "translation": lambda: L.RandomTranslation(0.3, 0.3, fill_mode="constant", seed=1),
    "shear": lambda: L.RandomShear(0.3, 0.3, fill_mode="constant", seed=1),
    "perspective": lambda: L.RandomPerspective(1.0, 0.6, seed=3),
}
REFLECTED = {  # Keras' default: mirrored beyond the border, image and masks alike
    "reflected rotation": lambda: L.RandomRotation(0.2, seed=1),
    "reflected zoom": lambda: L.RandomZoom((0.2, 0.5), seed=1),
}
COLOURS = {  # these leave every mask as it is
    "brightness": lambda: L.RandomBrightness(0.3, (0, 1), seed=1),
    "contrast": lambda: L.RandomContrast(0.5, (0, 1), seed=1),
    "blur": lambda: L.RandomGaussianBlur(1.0, 3, 1.0, seed=1),
    "erasing": lambda: L.RandomErasing(1.0, value_range=(0, 1), seed=1),
}


@pytest.fixture
def batch(rng):
    """Four smooth images; raters of different cuts, one who marks nothing, and one absent."""
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, 32)] * 2, indexing="ij"), -1)
    waves = [[np.cos(grid @ rng.normal(0, 4, 2) + rng.uniform(0, 6)) for _ in range(4)] for _ in range(4)]
    image = (0.5 + 0.12 * np.sum(waves, 1)).astype(np.float32)[..., None]
    return image, answers(image)


def answers(image):
    zeros = np.zeros_like(image)
    return np.concatenate([image > 0.5, image > 0.6, image < 0.45, zeros, zeros - 1], -1).astype(np.int8)


def numpy_of(pair):
    return [np.asarray(ops.convert_to_numpy(part)) for part in pair]


@pytest.mark.parametrize("name, make", [*EXACT.items(), *SAMPLED.items(), *REFLECTED.items()])
def test_keras_geometric_layers(batch, name, make):
    image, ratings = batch
    picture, marks = numpy_of(RatingsAugmentation([make()])(batch, training=True))
    assert marks.dtype == np.int8
    assert picture.dtype == np.float32
    assert marks.shape[:-1] == picture.shape[:-1]
    assert not np.array_equal(picture, image)
    assert set(np.unique(marks)) <= {-1, 0, 1}
    assert (marks[..., 4] == -1).all()  # the absent rater stays absent
    assert set(np.unique(marks[..., 3])) <= {-1, 0}  # who marked nothing marks nothing
    void = marks[..., 3] == -1
    for rater in range(3):
        np.testing.assert_array_equal(marks[..., rater] == -1, void)  # outside is outside for all
    expected = answers(picture)[..., :3]
    agreement = (marks[..., :3] == expected)[~void].mean()
    if name in EXACT:
        assert agreement == 1
    else:
        assert agreement > 0.95
        assert (marks[~void][:, :3] == answers(image)[~void][:, :3]).mean() < 0.95  # it did move
    if name in SAMPLED:
        assert void.mean() > 0.02
        outside = 1.0 if "white" in name else 0.0
        # beyond half a pixel the image is blended with the fill: most of the void is the fill alone
        assert np.mean(np.abs(picture[void] - outside) < 1e-6) > 0.5
    else:
        assert not void.any()


@pytest.mark.parametrize("make", COLOURS.values(), ids=COLOURS)
def test_layers_that_change_the_image_alone(batch, make):
    picture, marks = numpy_of(RatingsAugmentation(make())(batch, training=True))
    np.testing.assert_array_equal(marks, batch[1])
    assert np.abs(picture - batch[0]).max() > 0.01


@pytest.mark.dear
def test_rand_augment(batch):
    """Masks follow what geometry it draws: where a rater and another said the same, they still do."""
    ratings = np.concatenate([batch[1][..., :1], 1 - batch[1][..., :1], batch[1][..., 4:]], -1)
    augment = RatingsAugmentation(L.RandAugment((0, 1), num_ops=3, factor=1.0, seed=2))
    moved = 0
    for _ in range(4):
        _, marks = numpy_of(augment((batch[0], ratings)))
        seen = marks[..., 0] >= 0
        np.testing.assert_array_equal(marks[..., 0][seen], 1 - marks[..., 1][seen])
        assert (marks[..., 2] == -1).all()
        moved += not np.array_equal(marks, ratings)
    assert moved


def test_plain_keras_forges_votes_where_ours_does_not(batch):
    """The trap that the layer is for: without it a rater who was absent becomes one who did not mark."""
    layer = SAMPLED["translation"]()
    plain = layer({"images": batch[0], "segmentation_masks": batch[1].astype("float32")}, training=True)
    assert (ops.convert_to_numpy(plain["segmentation_masks"])[..., 4] == 0).mean() > 0.02


def test_raters_are_independent(batch):
    """What a rater becomes does not depend on who rates beside him."""
    image, ratings = batch
    whole = numpy_of(RatingsAugmentation(SAMPLED["rotation"]())(batch))[1]
    alone = numpy_of(RatingsAugmentation(SAMPLED["rotation"]())((image, ratings[..., 1:2])))[1]
    np.testing.assert_array_equal(whole[..., 1:2], alone)


def test_layers_in_turn_and_seeds(batch):
    def both():
        return RatingsAugmentation([SAMPLED["rotation"](), EXACT["flip"]()])

    first, again = (numpy_of(augment(batch)) for augment in (both(), both()))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    turned = RatingsAugmentation(SAMPLED["rotation"]())(batch)
    by_hand = numpy_of(RatingsAugmentation(EXACT["flip"]())(turned))
    for a, b in zip(first, by_hand, strict=True):
        np.testing.assert_array_equal(a, b)
    augment = both()
    assert not np.array_equal(numpy_of(augment(batch))[0], numpy_of(augment(batch))[0])


def test_only_in_training(batch):
    augment = RatingsAugmentation([EXACT["crop"](), SAMPLED["rotation"]()])
    for a, b in zip(augment(batch, training=False), batch, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(a), b)
    inputs = [keras.Input((32, 32, 1)), keras.Input((32, 32, 5), dtype="int8")]
    model = keras.Model(inputs, RatingsAugmentation([SAMPLED["rotation"]()])(inputs))
    np.testing.assert_array_equal(model.predict(batch, verbose=0)[1], batch[1])
    assert not np.array_equal(ops.convert_to_numpy(model(batch, training=True)[1]), batch[1])


def test_dict_passes_other_entries_through(batch):
    case = {"image": batch[0], "ratings": batch[1], "weight": np.arange(4.0, dtype="float32")}
    moved = RatingsAugmentation(EXACT["flip"]())(case)
    assert moved.keys() == case.keys()
    np.testing.assert_array_equal(ops.convert_to_numpy(moved["weight"]), case["weight"])
    np.testing.assert_array_equal(
        numpy_of([moved["image"], moved["ratings"]])[1], numpy_of(RatingsAugmentation(EXACT["flip"]())(batch))[1]
    )


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_rounds_nothing(batch, policy):
    expected = numpy_of(RatingsAugmentation([SAMPLED["rotation"](), L.RandAugment((0, 1), seed=4)])(batch))
    keras.config.set_dtype_policy(policy)
    augment = RatingsAugmentation([SAMPLED["rotation"](), L.RandAugment((0, 1), seed=4)])
    for a, b in zip(numpy_of(augment(batch)), expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_saved_and_loaded(batch):
    augment = RatingsAugmentation([SAMPLED["rotation"](), EXACT["flip"]()], name="moves")
    config = keras.saving.serialize_keras_object(augment)
    again = keras.saving.deserialize_keras_object(config)
    assert again.name == "moves"
    for a, b in zip(numpy_of(again(batch)), numpy_of(augment(batch)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_planes_are_undone_exactly_and_blends_are_no_votes(rng):
    ratings = rng.integers(-1, 2, (3, 4, 5)).astype("int8")
    planes = ops.convert_to_numpy(rating_planes(ratings))
    np.testing.assert_array_equal(planes, np.concatenate([ratings == 1, ratings == 0], -1))
    np.testing.assert_array_equal(ops.convert_to_numpy(planes_to_ratings(planes)), ratings)
    for fill in (0.0, 0.5, 1.0, -1.0, 255.0):
        assert (ops.convert_to_numpy(planes_to_ratings(np.full((2, 6), fill, "float32"))) == -1).all()
    blend = 0.5 * planes[:1] + 0.5 * planes[1:2]
    same = (ratings[0] == ratings[1]) & (ratings[0] >= 0)
    expected = np.where(same, ratings[0], -1)
    np.testing.assert_array_equal(ops.convert_to_numpy(planes_to_ratings(blend))[0], expected)


@pytest.mark.dear
def test_in_tf_data_and_under_xla(batch):
    import tensorflow as tf

    augment = RatingsAugmentation([SAMPLED["translation"](), EXACT["flip"]()])
    dataset = tf.data.Dataset.from_tensors(batch).repeat(3).map(lambda *pair: augment(pair), num_parallel_calls=2)
    for picture, marks in dataset.as_numpy_iterator():
        void = marks[..., 3] == -1
        assert (marks[..., :3] == answers(picture)[..., :3])[~void].mean() > 0.95
        assert marks.dtype == np.int8
        assert (marks[..., 4] == -1).all()
    single = tf.data.Dataset.from_tensor_slices({"image": batch[0], "ratings": batch[1]}).map(augment).batch(4)
    assert next(iter(single))["ratings"].shape == (4, 32, 32, 5)
    assert not augment.supports_jit
    flip = RatingsAugmentation([EXACT["flip"](), COLOURS["erasing"]()])
    assert flip.supports_jit
    step = tf.function(lambda *pair: flip(pair, training=True), jit_compile=True)
    moved = [numpy_of(step(*batch))[1] for _ in range(4)]
    flips = [batch[1], batch[1][:, ::-1, ::-1]]
    for marks in moved:
        assert all(any(np.array_equal(one, kind[i]) for kind in flips) for i, one in enumerate(marks))
    assert len({marks.tobytes() for marks in moved}) > 1


def test_impossible_ratings(batch):
    """An error where they can be read; in a compiled graph no plausible number comes out."""
    import tensorflow as tf

    augment = RatingsAugmentation(EXACT["flip"]())
    with pytest.raises(ValueError, match="ratings: expected ratings 1"):
        augment((batch[0], batch[1] * 3))
    marks = tf.function(lambda *pair: augment(pair)[1])(batch[0], tf.constant(batch[1] * 3))
    assert (marks.numpy() == 2).all()


class Net(keras.Model):
    """A pixel-wise model that augments inside its training step."""

    def __init__(self, augment):
        super().__init__()
        self.pixel = L.Conv2D(1, 1)
        self.augment = augment

    def call(self, x):
        return self.pixel(x)

    def train_step(self, batch):
        return super().train_step(self.augment(batch, training=True))


@pytest.mark.dear
@pytest.mark.parametrize("inside", [True, False], ids=["in the step", "before the step"])
def test_training_with_jit_compile(batch, inside):
    """The three ways of the docstring train; a step of flips alone is compiled."""
    from keras_ordseg import losses

    augment = RatingsAugmentation([EXACT["flip"](), COLOURS["contrast"]()] if inside else [SAMPLED["rotation"]()])
    model = Net(augment) if inside else keras.Sequential([keras.Input((32, 32, 1)), L.Conv2D(1, 1)])
    loss = losses.SoftLabelCrossEntropy(num_raters=5)
    model.compile(keras.optimizers.SGD(1.0), loss, jit_compile=True)
    assert model.jit_compile
    batches = (batch if inside else augment(batch) for _ in range(12))
    history = model.fit(batches, steps_per_epoch=4, epochs=3, shuffle=False, verbose=0).history["loss"]
    assert np.isfinite(history).all()
    assert history[-1] < history[0]


@pytest.mark.dear
def test_keras_cv(batch):
    """KerasCV takes the same dict; a resizing crop as well."""
    keras_cv = pytest.importorskip("keras_cv")
    for layer, size in (
        (keras_cv.layers.RandomFlip("horizontal_and_vertical"), 32),
        (keras_cv.layers.RandomRotation(0.1, fill_mode="constant"), 32),
        (keras_cv.layers.RandomCropAndResize((16, 16), (0.5, 0.9), (0.9, 1.1)), 16),
    ):
        picture, marks = numpy_of(RatingsAugmentation(layer)(batch))
        assert picture.shape == (4, size, size, 1)
        void = marks[..., 3] == -1
        assert marks.dtype == np.int8
        assert (marks[..., 4] == -1).all()
        assert (marks[..., :3] == answers(picture)[..., :3])[~void].mean() > 0.95


@pytest.mark.parametrize(
    "layers, message",
    [
        ([lambda image: image], "layers: expected Keras augmentation layers"),
        ([L.MixUp()], "MixUp; it blends the masks of two images"),
        ([L.AugMix((0, 1))], "AugMix; it blends"),
        (L.RandomElasticTransform(), r"another random field than the image.*data.Augmentation \(elastic"),
    ],
)
def test_refused_layers(layers, message):
    with pytest.raises(ValueError, match=message):
        RatingsAugmentation(layers)


def test_why_elastic_is_refused(batch):
    """Keras draws the field twice: masks of the image itself move otherwise than the image."""
    layer = L.RandomElasticTransform(1.0, 0.5, interpolation="nearest", seed=1)
    moved = layer({"images": batch[0], "segmentation_masks": batch[0].copy()}, training=True)
    assert np.abs(np.asarray(moved["images"]) - np.asarray(moved["segmentation_masks"])).max() > 0.05


@pytest.mark.parametrize(
    "inputs, message",
    [
        (np.zeros((1, 8, 8, 1), "float32"), r"inputs: expected \(image, ratings\) or a dict"),
        ({"image": np.zeros((1, 8, 8, 1)), "votes": np.zeros((1, 8, 8))}, r"Received: \['image', 'votes'\]"),
        ((np.zeros((1, 8, 8, 1), "float32"), np.zeros((1, 8, 8), "int8")), "votes have no raters to move"),
        ((np.zeros((1, 4, 8, 8, 1), "float32"), np.zeros((1, 4, 8, 8, 2), "int8")), "For volumes use"),
    ],
)
def test_wrong_input(inputs, message):
    with pytest.raises(ValueError, match=message):
        RatingsAugmentation(EXACT["flip"]())(inputs)
