"""The preprocessing of an encoder is told by its graph, not by its name."""

import json
import zipfile

import keras
import numpy as np
import pytest
from keras import layers

from keras_ordseg.models import OrdinalSegmenter, small_backbone, with_ordinal_head
from keras_ordseg.models.preprocessing import ImageScaling, named_mode, resolved


def made(application, **kwargs):
    return getattr(keras.applications, application)(weights=None, include_top=False, input_shape=(32, 32, 3), **kwargs)


def mode(model):
    return resolved(model, "auto")


def cut(model, *names):
    return keras.Model(model.input, [model.get_layer(name).output for name in names])


def around(model, before):
    image = keras.Input(model.inputs[0].shape[1:])
    return keras.Model(image, model(before(image)))


def own(name, *names):
    image = x = keras.Input((None, None, 3))
    for layer in names or (None,):
        x = layers.Conv2D(4, 3, strides=2, padding="same", name=layer)(x)
    return keras.Model(image, x, name=name)


@pytest.fixture(scope="module")
def mobile():
    return made("MobileNetV2", alpha=0.35)


WRAPS = {
    "cut": lambda model: cut(model, "block_1_expand_relu", "block_3_expand_relu"),
    "clone": keras.models.clone_model,
    "nested": lambda model: around(model, lambda x: x),
    "nested twice": lambda model: around(around(model, layers.Rescaling(1.0)), lambda x: x),
    "sequential": lambda model: keras.Sequential([keras.Input((32, 32, 3)), model]),
    "augmented": lambda model: around(model, layers.RandomFlip()),
}


@pytest.mark.parametrize("wrap", WRAPS)
def test_an_encoder_is_known_however_it_is_wrapped(wrap, mobile):
    assert mode(WRAPS[wrap](mobile)) == "tf"


@pytest.mark.parametrize(
    "name, kwargs, expected",
    [
        ("VGG16", {}, "caffe"),
        ("MobileNet", {"alpha": 0.25}, "tf"),
        ("MobileNetV3Small", {"include_preprocessing": False}, "tf"),
        ("EfficientNetV2B0", {"include_preprocessing": False}, "torch"),
        pytest.param("ResNet50", {}, "caffe", marks=pytest.mark.slow),
        pytest.param("ResNet50V2", {}, "tf", marks=pytest.mark.slow),
        pytest.param("DenseNet121", {}, "torch", marks=pytest.mark.slow),
        pytest.param("EfficientNetB0", {}, "0-255", marks=pytest.mark.slow),
        pytest.param("EfficientNetV2S", {"include_preprocessing": False}, "tf", marks=pytest.mark.slow),
        pytest.param("ConvNeXtTiny", {"include_preprocessing": False}, "torch", marks=pytest.mark.slow),
        pytest.param("ConvNeXtTiny", {}, "0-255", marks=pytest.mark.slow),
    ],
)
def test_encoders_of_another_name(name, kwargs, expected):
    model = made(name, **kwargs)
    model.name = "encoder"
    assert mode(model) == expected


@pytest.mark.parametrize("name", ["mobilenet_tiny", "resnet50_own", "vgg16", "densenet121", "enc"])
def test_own_encoders_are_left_alone_whatever_their_name(name):
    assert mode(own(name)) is None
    assert mode(own(name, "conv1_conv", "conv2", "block1_conv1")) is None


def test_scaling_of_the_users_own_in_front_is_not_done_twice(mobile):
    assert mode(around(mobile, layers.Rescaling(2.0, offset=-1.0))) is None  # of images in [0, 1]
    assert mode(around(mobile, layers.Rescaling(1 / 127.5, offset=-1.0))) == "0-255"
    assert mode(around(mobile, keras.applications.mobilenet_v2.preprocess_input)) == "0-255"
    assert mode(around(own("x"), keras.applications.vgg16.preprocess_input)) == "0-255"  # mean off, no factor
    assert mode(around(own("x"), layers.Normalization(mean=[120.0] * 3, variance=[60.0**2] * 3))) == "0-255"
    assert mode(around(own("x"), layers.Normalization(mean=[0.5] * 3, variance=[0.25**2] * 3))) is None


def test_names_that_own_encoders_have_too_are_assumed_aloud():
    vgg = made("VGG16")
    with pytest.warns(UserWarning, match="keras.applications' VGG, so images are prepared as 'caffe'. Give preprocessing="):
        assert mode(cut(vgg, "block1_conv2", "block2_conv2")) == "caffe"
    assert mode(cut(vgg, "block2_conv2", "block3_conv3")) == "caffe"


def test_a_segmenter_with_a_known_encoder_is_assumed_aloud(mobile):
    x = layers.Conv2D(5, 1)(layers.UpSampling2D(2)(mobile.get_layer("block_1_expand_relu").output))
    segmenter = keras.Model(mobile.input, x)
    with pytest.warns(UserWarning, match="MobileNetV2, so images are prepared as 'tf'"):
        model = with_ordinal_head(segmenter, 2)
    assert model.preprocessing == "tf"
    assert with_ordinal_head(segmenter, 2, preprocessing=None).preprocessing is None


def test_a_file_says_what_auto_came_to(mobile, tmp_path, rng):
    model = OrdinalSegmenter(cut(mobile, "block_1_expand_relu"), 2, decoder="upsample")
    assert model.preprocessing == "tf"
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.preprocessing == "tf"
    x = rng.random((1, 32, 32, 3), dtype="float32")
    np.testing.assert_array_equal(again(x), model(x))


def test_a_file_of_an_earlier_release_keeps_what_its_training_saw(mobile, tmp_path, rng):
    """It holds "auto", which went by the name: nothing was done for a renamed encoder."""
    renamed = keras.models.clone_model(mobile)
    renamed.name = "encoder"
    model = OrdinalSegmenter(renamed, 2, decoder="upsample", preprocessing=None)
    model.save(tmp_path / "new.keras")
    with zipfile.ZipFile(tmp_path / "new.keras") as new, zipfile.ZipFile(tmp_path / "old.keras", "w") as old:
        for item in new.namelist():
            content = new.read(item)
            if item == "config.json":
                config = json.loads(content)
                assert config["config"].pop("images") is None
                config["config"]["preprocessing"] = "auto"
                content = json.dumps(config)
            old.writestr(item, content)
    again = keras.saving.load_model(tmp_path / "old.keras")
    x = rng.random((1, 32, 32, 3), dtype="float32")
    np.testing.assert_array_equal(again(x), model(x))
    assert named_mode(mobile) == "tf"
    assert named_mode(small_backbone((None, None, 3))) is None


def test_a_scaling_inside_a_backbone_is_seen(mobile):
    inner = OrdinalSegmenter(cut(mobile, "block_1_expand_relu"), 2, decoder="upsample")
    scalings = [layer for layer in inner.layers if isinstance(layer, ImageScaling)]
    assert len(scalings) == 1
    assert mode(keras.Model(inner.input, [inner.get_layer("upsample_relu").output])) is None
