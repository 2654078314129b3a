"""What images were when a model was trained travels inside the model."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_ordseg import calibration
from keras_ordseg.layers import TemperatureScaling
from keras_ordseg.models import (
    BinarySegmenter,
    Ensemble,
    OrdinalSegmenter,
    describe_images,
    image_description,
    small_backbone,
    with_ordinal_head,
)

CT = {"size": [16, 16], "fit": "resize", "window": [-1000.0, 400.0], "spacing": [0.5, 0.5]}


def net(kind=OrdinalSegmenter, **kwargs):
    raters = {"num_raters": 2} if kind is OrdinalSegmenter else {}
    return kind(small_backbone((None, None, 1), filters=(4, 4)), **raters, **kwargs)


def around(model, *before):
    image = x = keras.Input(model.inputs[0].shape[1:])
    for layer in before:
        x = layer(x)
    return keras.Model(image, model(x))


WRAPS = {
    "as it is": lambda model: model,
    "clone": keras.models.clone_model,
    "nested twice": lambda model: around(around(model), layers.Rescaling(1.0)),
    "sequential": lambda model: keras.Sequential([keras.Input((None, None, 1)), model]),
    "attached": lambda model: calibration.attach(model, TemperatureScaling(2.0)),
    "ensemble": lambda model: Ensemble([around(model), keras.models.clone_model(model)], flips="all"),
    "config": lambda model: type(model).from_config(model.get_config()),
    "other head": lambda model: with_ordinal_head(model, 3),
}


@pytest.mark.parametrize("wrap", WRAPS)
def test_it_survives_wraps_and_files(wrap, tmp_path, rng):
    model = WRAPS[wrap](describe_images(net(), **CT))
    assert image_description(model) == CT
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert image_description(again) == CT
    x = rng.random((2, 8, 8, 1), dtype="float32")
    np.testing.assert_array_equal(again(x), model(x))


def test_a_model_of_the_users_own_is_wrapped(rng):
    image = keras.Input((None, None, 1))
    own = keras.Model(image, layers.Conv2D(3, 3, padding="same")(image), name="own")
    model = describe_images(own, size=(8, 12))
    assert model.name == "own"
    assert image_description(model) == {"size": [8, 12], "fit": "crop", "window": None, "spacing": None}
    x = rng.random((1, 8, 12, 1), dtype="float32")
    np.testing.assert_array_equal(model(x), own(x))
    assert image_description(own) is None


def test_it_changes_no_output_and_no_weight(rng):
    """Under half precision too: the image reaches the first layer as it was."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = net(BinarySegmenter)
        assert model.get_layer("described_image").weights == []
        x = keras.ops.convert_to_tensor(rng.random((1, 8, 8, 1)), "float32")
        np.testing.assert_array_equal(model.get_layer("described_image")(x), x)
    finally:
        keras.config.set_dtype_policy("float32")
    assert image_description(model) is None


def test_it_is_written_anew():
    model = describe_images(net(), **CT)
    describe_images(model, size=np.int64(8))
    assert image_description(model) == {"size": [8, 8], "fit": "crop", "window": None, "spacing": None}
    assert image_description(describe_images(around(model), window=("1%", "99%")))["window"] == ["1%", "99%"]
    assert image_description(model)["size"] is None  # that inside was changed
    assert image_description(describe_images(model)) is None


def test_levels_for_another_panel_keep_it():
    model = describe_images(net(link="beta_binomial"), **CT)
    assert image_description(model.levels_for(4)) == CT


@pytest.mark.parametrize(
    "other", [{"size": 8, "fit": "resize"}, {"size": 16, "fit": "crop"}, {**CT, "window": [0, 1]}, {**CT, "spacing": 1.0}]
)
def test_members_of_another_scale_are_refused(other):
    one, two = describe_images(net(), **CT), describe_images(net(), **other)
    with pytest.raises(ValueError, match="members: expected models trained on images of one scale"):
        Ensemble([one, two])


def test_crops_of_several_sizes_have_one_scale():
    members = [describe_images(net(), size=8, window=(0, 9)), describe_images(net(), size=16, window=(0, 9)), net()]
    assert image_description(Ensemble(members)) == {"size": None, "fit": None, "window": [0.0, 9.0], "spacing": None}


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"size": 0}, "size: expected whole numbers"),
        ({"size": (8, 8, 8)}, "size: expected whole numbers of at least 1, one number or one for each of 2 axes"),
        ({"size": "96"}, "size: expected"),
        ({"size": 96, "fit": "pad"}, "fit: expected one of"),
        ({"fit": "resize"}, "size: expected the size that fit='resize' brought images to; got None"),
        ({"window": (4, 4)}, "window: expected"),
        ({"window": "1%,99%"}, "window: expected"),
        ({"window": ("1%", "101%")}, "window: expected"),
        ({"spacing": (0.5, -1)}, "spacing: expected"),
        ({"spacing": float("nan")}, "spacing: expected"),
    ],
)
def test_what_is_no_description(arguments, words):
    with pytest.raises(ValueError, match=words):
        describe_images(net(), **arguments)


def test_a_size_that_the_model_does_not_take():
    fixed = OrdinalSegmenter(small_backbone((8, 8, 1), filters=(4,)), 2)
    with pytest.raises(ValueError, match=r"size: expected \(8, 8\), the only size"):
        describe_images(fixed, size=16, fit="resize")
    with pytest.raises(TypeError, match="model: expected a functional Keras model"):
        describe_images("model.keras", size=8)
