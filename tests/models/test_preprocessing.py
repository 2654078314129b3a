import importlib

import keras
import numpy as np
import pytest

from keras_ordseg.models import BinarySegmenter, OrdinalSegmenter, input_scaling, small_backbone
from tests.models.test_backbones import keras_cv_resnet

# The module of keras.applications that holds each model's own preprocess_input, for images of 0..255
QUICK = {"MobileNetV2": "mobilenet_v2", "VGG16": "vgg16", "DenseNet121": "densenet", "EfficientNetB0": "efficientnet"}
ALL = {
    "ResNet50": "resnet",
    "ResNet50V2": "resnet_v2",
    "VGG19": "vgg19",
    "MobileNet": "mobilenet",
    "MobileNetV3Small": "mobilenet_v3",
    "EfficientNetV2B0": "efficientnet_v2",
    "EfficientNetV2S": "efficientnet_v2",
    "ConvNeXtTiny": "convnext",
    "InceptionV3": "inception_v3",
    "InceptionResNetV2": "inception_resnet_v2",
    "Xception": "xception",
    "NASNetMobile": "nasnet",
}


@pytest.mark.parametrize(
    "name,module", [*QUICK.items(), *(pytest.param(*item, marks=pytest.mark.slow) for item in ALL.items())]
)
def test_keras_applications_see_what_they_were_trained_on(name, module, rng):
    shape = (64, 64, 3) if name == "NASNetMobile" else (None, None, 3)
    backbone = getattr(keras.applications, name)(include_top=False, weights=None, input_shape=shape)
    x = rng.uniform(size=(1, 4, 4, 3)).astype("float32")
    expected = importlib.import_module(f"keras.applications.{module}").preprocess_input(255 * x)
    np.testing.assert_allclose(input_scaling(backbone)(x), expected, rtol=1e-5, atol=1e-4)


def test_keras_cv_with_and_without_its_own_rescaling():
    assert input_scaling(keras_cv_resnet()) is None
    keras_cv = pytest.importorskip("keras_cv")
    config = {**keras_cv_resnet().get_config(), "include_rescaling": True}
    config.pop("name"), config.pop("trainable")
    backbone = keras_cv.models.ResNetV2Backbone(**config)
    scaling = input_scaling(backbone)
    assert (scaling.scale, scaling.offset) == (255.0, 0.0)


def test_the_segmenter_scales_inside_and_comes_back(rng, tmp_path):
    """Output on images in [0, 1] equals that of the same weights on images scaled by hand; the file keeps it."""
    x = rng.uniform(size=(2, 8, 8, 3)).astype("float32")
    backbone = small_backbone((None, None, 3), filters=(4, 8))
    for kind, kwargs in ((OrdinalSegmenter, {"num_raters": 3}), (BinarySegmenter, {})):
        inside = kind(backbone, preprocessing="torch", **kwargs)
        plain = kind(backbone, **kwargs)
        plain.set_weights(inside.get_weights())
        by_hand = (x - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
        np.testing.assert_allclose(inside(x), plain(by_hand.astype("float32")), atol=1e-5)
        assert np.abs(np.asarray(inside(x)) - np.asarray(plain(x))).max() > 1e-2
        inside.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
        assert again.preprocessing == "torch"
        np.testing.assert_array_equal(again(x), inside(x))


def test_caffe_is_bgr_without_the_mean():
    x = np.array([[[[0.1, 0.5, 1.0]]]], "float32")
    found = input_scaling(small_backbone((None, None, 3)), "caffe")(x)
    np.testing.assert_allclose(found[0, 0, 0], [255 - 103.939, 127.5 - 116.779, 25.5 - 123.68], rtol=1e-5)


def test_a_layer_of_the_users_own_is_kept_and_saved(rng, tmp_path):
    layer = keras.layers.Rescaling(3.0, offset=-1.0, name="mine")
    model = OrdinalSegmenter(small_backbone(filters=(4, 8)), 2, preprocessing=layer)
    assert model.get_layer("mine").scale == 3.0
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    x = rng.uniform(size=(1, 8, 8, 1))
    np.testing.assert_array_equal(again(x), model(x))
    assert again.get_layer("mine").offset == -1.0


def test_a_converter_of_keras_hub_gives_its_scale_and_offset(rng):
    hub = pytest.importorskip("keras_hub")
    converter = hub.layers.ImageConverter(scale=[0.01, 0.02, 0.03], offset=[-1, -2, -3], image_size=(2, 2))
    x = rng.uniform(size=(1, 4, 4, 3)).astype("float32")
    found = input_scaling(small_backbone((None, None, 3)), converter)(x)
    np.testing.assert_allclose(found, 255 * x * [0.01, 0.02, 0.03] + [-1, -2, -3], atol=1e-5)


def test_scaling_is_float32_under_half_precision(rng):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = OrdinalSegmenter(small_backbone((None, None, 3), filters=(4, 8)), 2, preprocessing="0-255")
    x = rng.uniform(size=(1, 8, 8, 3)).astype("float32")
    layer = model.get_layer("image_scaling")
    assert layer.compute_dtype == "float32"
    np.testing.assert_array_equal(layer(x), x * 255)


def test_grey_images_on_a_backbone_of_three_channels(rng, tmp_path):
    backbone = keras_cv_resnet()
    model = OrdinalSegmenter(backbone, 2, "unet", decoder_filters=4, input_channels=1, preprocessing="torch")
    assert model.input_shape == (None, None, None, 1)
    colour = OrdinalSegmenter(backbone, 2, "unet", decoder_filters=4, preprocessing="torch")
    colour.set_weights(model.get_weights())
    x = rng.uniform(size=(1, 16, 16, 1)).astype("float32")
    np.testing.assert_allclose(model(x), colour(np.repeat(x, 3, -1)), atol=1e-5)
    model.save(tmp_path / "grey.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "grey.keras")(x), model(x))
