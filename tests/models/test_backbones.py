import keras
import numpy as np
import pytest

from keras_ordseg.models import feature_maps, small_backbone


def keras_cv_resnet(channels=3):
    """The smallest ResNetV2 that keras-cv builds: two stacks of two basic blocks, strides 4 and 8."""
    keras_cv = pytest.importorskip("keras_cv")
    return keras_cv.models.ResNetV2Backbone(
        stackwise_filters=[64, 64],
        stackwise_blocks=[2, 2],
        stackwise_strides=[1, 2],
        include_rescaling=False,
        block_type="basic_block",
        input_shape=(None, None, channels),
    )


def convolutions(strides, shape=(None, None, 3)):
    """An image, and one feature map after each of the strides."""
    image = x = keras.Input(shape)
    maps = []
    for index, stride in enumerate(strides):
        x = keras.layers.Conv2D(index + 2, 3, strides=stride, padding="same")(x)
        maps.append(x)
    return image, maps


@pytest.mark.parametrize("spatial", [(None,), (None, None), (32, 64), (None, None, None)])
def test_small_backbone_halves_the_image_at_every_level(spatial):
    backbone = small_backbone((*spatial, 5), filters=(2, 3, 4))
    features = feature_maps(backbone)
    assert list(features) == [1, 2, 4]
    assert [f.shape[-1] for f in features.values()] == [2, 3, 4]
    maps = backbone(np.zeros((1, *[8 if s is None else s for s in spatial], 5)))
    assert list(maps) == ["stride_1", "stride_2", "stride_4"]
    for stride, tensor in zip(features, maps.values(), strict=True):
        assert tuple(tensor.shape)[1:-1] == tuple((8 if s is None else s) // stride for s in spatial)


def test_small_backbone_follows_changing_batch_statistics():
    norms = [layer for layer in small_backbone().layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(norms) == 8
    assert {norm.momentum for norm in norms} == {0.9}


def test_keras_cv_backbone():
    backbone = keras_cv_resnet()
    features = feature_maps(backbone)
    assert list(features) == [4, 8]
    for tap, name in zip(features.values(), backbone.pyramid_level_inputs.values(), strict=True):
        assert tap is backbone.get_layer(name).output


def test_strides_come_from_the_shapes_and_not_from_the_keys():
    class Hub(keras.Model):  # keras-hub's own way to offer feature maps; its MiT calls stride 4 "P1"
        @property
        def pyramid_outputs(self):
            return {"P2": self.maps[1], "P1": self.maps[0]}

    image, maps = convolutions([4, 2])
    backbone = Hub(image, maps[-1])
    backbone.maps = maps
    features = feature_maps(backbone)
    assert list(features) == [4, 8]
    assert features[4] is maps[0]


@pytest.mark.parametrize("shape", [(None, None, 3), (64, 32, 3)])
def test_of_maps_with_one_stride_the_deepest_is_taken(shape):
    image, maps = convolutions([2, 2, 1], shape)  # a dilated last stage keeps its size
    features = feature_maps(keras.Model(image, maps))
    assert list(features) == [2, 4]
    assert features[4].shape[-1] == 4


def test_one_explicit_map_is_enough():
    image, maps = convolutions([8])
    assert list(feature_maps(keras.Model(image, maps))) == [8]


def test_a_single_output_is_refused_with_a_way_out():
    image, maps = convolutions([2, 2])
    with pytest.raises(
        ValueError, match="found no feature maps in 'plain'.*pyramid_outputs.*Pass keras.Model"
    ):
        feature_maps(keras.Model(image, maps[-1], name="plain"))


@pytest.mark.parametrize("value", ["resnet", None, keras.layers.ReLU()])
def test_something_else_is_refused(value):
    with pytest.raises(TypeError, match="backbone: expected a keras.Model"):
        feature_maps(value)


def test_a_model_without_a_graph_is_refused():
    class Opaque(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(TypeError, match="is not a functional model"):
        feature_maps(Opaque())


def test_two_inputs_are_refused():
    first, second = keras.Input((8, 8, 1)), keras.Input((8, 8, 1))
    with pytest.raises(ValueError, match="expected one input"):
        feature_maps(keras.Model([first, second], [first + second]))


def test_an_output_that_is_no_map_is_refused():
    image, maps = convolutions([2])
    pooled = keras.layers.GlobalAveragePooling2D()(maps[0])
    with pytest.raises(ValueError, match="must have the rank of the image, 4"):
        feature_maps(keras.Model(image, {"map": maps[0], "pooled": pooled}))


@pytest.mark.parametrize(
    "strides,shape",
    [([8], (100, 100, 3)), ([(1, 2)], (None, None, 3)), ([3], (96, 96, 3))],
    ids=["indivisible size", "uneven axes", "not a power of two"],
)
def test_strides_that_cannot_be_decoded_are_refused(strides, shape):
    image, maps = convolutions(strides, shape)
    with pytest.raises(ValueError, match="divided by the same power of two"):
        feature_maps(keras.Model(image, maps))


@pytest.mark.parametrize(
    "kwargs,message",
    [
        ({"input_shape": (3,)}, "input_shape: expected"),
        ({"input_shape": (None, None, None)}, "input_shape: expected"),
        ({"filters": ()}, "filters: expected"),
        ({"filters": (8, 0)}, "filters: expected"),
    ],
)
def test_small_backbone_refuses(kwargs, message):
    with pytest.raises(ValueError, match=message):
        small_backbone(**kwargs)
