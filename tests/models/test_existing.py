import keras
import numpy as np
import pytest

from keras_ordseg import losses
from keras_ordseg.models import OrdinalSegmenter, with_ordinal_head
from tests.models.test_backbones import keras_cv_resnet


def own(classes=4):
    image = keras.Input((None, None, 3), name="pixels")
    x = keras.layers.Conv2D(6, 3, strides=4, padding="same", activation="relu", name="stem")(image)
    x = keras.layers.Conv2D(5, 3, padding="same", activation="relu", name="body")(x)
    x = keras.layers.Conv2D(classes, 1, name="classes")(x)
    return keras.Model(image, keras.layers.Softmax()(keras.layers.UpSampling2D(4)(x)), name="own")


def deeplab():
    keras_cv = pytest.importorskip("keras_cv")
    backbone = keras_cv.models.ResNetV2Backbone(
        stackwise_filters=[64] * 4,
        stackwise_blocks=[2] * 4,
        stackwise_strides=[1, 2, 2, 2],
        include_rescaling=True,
        block_type="basic_block",
        input_shape=(None, None, 3),
    )
    return keras_cv.models.DeepLabV3Plus(backbone=backbone, num_classes=4)


def test_the_classification_layer_goes_and_the_rest_stays(rng):
    segmenter = own()
    model = with_ordinal_head(segmenter, 3, decoder_filters=7, initial_levels=[0.7, 0.1, 0.1, 0.1])
    assert isinstance(model, OrdinalSegmenter)
    assert model.strides == (4,)
    names = {v.path.split("/")[0] for v in model.variables}
    assert {"stem", "body", "upsample_conv"} <= names
    assert "classes" not in names
    assert model.get_layer("upsample_conv").filters == 7
    x = rng.uniform(size=(2, 8, 12, 3)).astype("float32")
    z = np.asarray(model(x))
    np.testing.assert_allclose(np.exp(z - z.max(-1, keepdims=True))[0, 0, 0, 1], 1 / 7, rtol=1e-4)
    # shared, not copied: what the segmenter learns is seen, what the head trains moves the segmenter
    body = segmenter.get_layer("body")
    before = body.get_weights()[0]
    model.compile(keras.optimizers.SGD(1.0), losses.OrdinalSegmentationLoss(), jit_compile=False)
    for _ in range(2):  # a head that starts at the prior passes no gradient in the first step
        model.train_on_batch(x, rng.integers(0, 4, (2, 8, 12)))
    assert np.abs(body.get_weights()[0] - before).max() > 0


@pytest.mark.parametrize("build", [own, deeplab])
def test_saves_and_loads(build, rng, tmp_path):
    model = with_ordinal_head(build(), {"disc": 3, "cup": 3}, structures=("disc", "cup"), nested_structures=True)
    x = rng.uniform(size=(1, 64, 64, 3)).astype("float32")
    expected = model(x)
    assert expected["cup"].shape == (1, 64, 64, 4)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    mine, other = model.get_config(), again.get_config()
    assert mine.pop("backbone")["class_name"] == other.pop("backbone")["class_name"] == "SegmenterFeatures"
    assert mine == other
    for structure in ("disc", "cup"):
        np.testing.assert_array_equal(again(x)[structure], expected[structure])


def test_deeplab_of_keras_cv_loses_its_head_as_a_whole():
    segmenter = deeplab()
    model = with_ordinal_head(segmenter, 3)
    assert model.backbone.output[0].shape == (None, None, None, 304)  # 256 pooled, 48 of the low level
    assert model.get_layer("image_scaling").scale == 255.0  # its backbone divides by 255
    head = {v.path for v in segmenter.layers[-1].variables}
    assert head.isdisjoint(v.path for v in model.variables)


def test_wrong_models_are_named():
    with pytest.raises(TypeError, match="segmenter: expected a functional segmentation model"):
        with_ordinal_head("deeplab", 3)
    image = keras.Input((None, None, 3))
    two = [keras.layers.Conv2D(2, 1)(image), keras.layers.Conv2D(2, 1)(image)]
    with pytest.raises(ValueError, match="segmenter: expected a model of one output"):
        with_ordinal_head(keras.Model(image, two), 3)
    with pytest.raises(ValueError, match="segmenter: found no classification layer in 'one'"):
        with_ordinal_head(keras.Model(image, two[0], name="one"), 3)
    with pytest.raises(ValueError, match="segmenter: found no classification layer"):
        with_ordinal_head(keras.Model(image, keras.layers.Add()([image, image])), 3)
    with pytest.raises(ValueError, match="num_raters: expected an int"):
        with_ordinal_head(own(), 0)


def test_a_backbone_of_several_scales_is_none(rng):
    with pytest.raises(ValueError, match="segmenter: expected a model of one output|found no classification layer"):
        with_ordinal_head(keras.Model((b := keras_cv_resnet()).input, [b.output, b.output]), 3)
