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


def encoder(head=None):
    """Residual and squeezed blocks at strides 2 and 4 with a single output."""
    image = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 255)(image)  # still the image, no feature map
    for width, name in ((4, "first"), (8, "second")):
        x = keras.layers.Conv2D(width, 3, strides=2, padding="same", name=f"{name}_down")(x)
        gate = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
        x = keras.layers.Multiply()([x, keras.layers.Conv2D(width, 1, activation="sigmoid")(gate)])
        x = keras.layers.Add(name=f"{name}_sum")([x, keras.layers.Conv2D(width, 3, padding="same")(x)])
        branches = [keras.layers.Conv2D(width, size, padding="same")(x) for size in (1, 3)]
        x = keras.layers.Concatenate(name=f"{name}_joined")(branches)
    return keras.Model(image, x if head is None else head(x), name="plain")


@pytest.mark.parametrize(
    "head", [None, lambda x: keras.layers.Dense(10)(keras.layers.GlobalAveragePooling2D(keepdims=True)(x))]
)
def test_the_graph_of_a_single_output_is_read(head):
    """The last map of each size that everything after it is made of: neither branches nor what gates them."""
    features = feature_maps(encoder(head))
    names = {stride: tap._keras_history[0].name for stride, tap in features.items()}
    assert names == {2: "first_joined", 4: "second_joined"}


def test_a_graph_without_bottlenecks_gives_the_last_map_of_each_size():
    image = keras.Input((None, None, 3))
    first = keras.layers.Conv2D(4, 3, strides=2, padding="same")(image)
    second = keras.layers.Conv2D(5, 3, strides=2, padding="same")(first)
    other = keras.layers.Conv2D(5, 3, strides=4, padding="same")(image)  # a way around every map but the last
    features = feature_maps(keras.Model(image, keras.layers.Add(name="joined")([second, other])))
    assert {stride: tap.shape[-1] for stride, tap in features.items()} == {2: 4, 4: 5}
    assert features[4]._keras_history[0].name == "joined"


def test_a_keras_application(rng):
    backbone = keras.applications.MobileNetV2((None, None, 3), alpha=0.35, include_top=False, weights=None)
    features = feature_maps(backbone)
    assert list(features) == [2, 4, 8, 16, 32]
    assert features[32] is backbone.output
    maps = keras.Model(backbone.input, features)(rng.uniform(size=(1, 64, 96, 3)))
    assert {s: tuple(m.shape[1:3]) for s, m in maps.items()} == {s: (64 // s, 96 // s) for s in features}


@pytest.mark.parametrize("shape", [(None, 3), (64, 3)])
def test_unpadded_maps_are_brought_to_size(shape, rng):
    image = keras.Input(shape)
    x = keras.layers.Conv1D(4, 3, strides=2)(image)  # 64: 31
    y = keras.layers.Conv1D(4, 3, strides=2, padding="same")(keras.layers.Conv1D(4, 3)(x))  # 29, 15
    backbone = keras.Model(image, y)
    features = feature_maps(backbone)
    assert list(features) == [2, 4]
    pixels = rng.uniform(size=(1, 64, 3))
    half, quarter = keras.Model(image, [*features.values()])(pixels)
    valid, last = (np.asarray(t) for t in keras.Model(image, [backbone.layers[2].output, y])(pixels))
    assert (valid.shape[1], last.shape[1]) == (29, 15)
    np.testing.assert_array_equal(half, np.pad(valid, [(0, 0), (1, 2), (0, 0)], "edge"))
    np.testing.assert_array_equal(quarter, np.pad(last, [(0, 0), (0, 1), (0, 0)], "edge"))


def test_a_map_that_is_too_large_is_cut():
    from keras_ordseg.models._alignment import AlignToStride

    line = np.arange(7.0).reshape(1, 7, 1)
    np.testing.assert_array_equal(np.ravel(AlignToStride(2)([line, np.zeros((1, 8, 1))])), [2, 3, 4, 5])


@pytest.mark.parametrize("leading,patch", [(0, None), (1, 8), (5, 8)])
def test_tokens_become_a_map(leading, patch, rng):
    """Patch by patch, row by row, behind what stands before them."""
    image = keras.Input((32, 16, 3))
    x = keras.layers.Reshape((-1, 2))(keras.layers.Conv2D(2, 8, strides=8)(image))
    if leading:
        x = keras.layers.ZeroPadding1D((leading, 0))(x)
    backbone = keras.Model(image, [x])
    backbone.patch_size = patch
    features = feature_maps(backbone)
    assert {s: tap.shape for s, tap in features.items()} == {8: (None, 4, 2, 2)}
    pixels = rng.uniform(size=(1, 32, 16, 3))
    kernel, bias = backbone.layers[1].get_weights()
    patches = pixels.reshape(1, 4, 8, 2, 8, 3).transpose(0, 1, 3, 2, 4, 5).reshape(1, 4, 2, -1)
    found = keras.Model(image, features[8])(pixels)
    np.testing.assert_allclose(found, patches @ kernel.reshape(-1, 2) + bias, atol=1e-5)


def test_what_has_no_map_is_refused_with_a_way_out():
    image = keras.Input((None, None, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(image)
    with pytest.raises(ValueError, match="found no feature maps in 'plain'.*pyramid_outputs.*Pass keras.Model"):
        feature_maps(keras.Model(image, pooled, name="plain"))


def test_a_graph_that_does_not_compute_at_any_size_says_so():
    image, maps = convolutions([2])
    wrong = keras.layers.Add()([keras.layers.Cropping2D(1)(maps[0]), maps[0]])
    with pytest.raises(ValueError, match="cannot be computed for .512, 512.. Build the backbone with a fixed input size"):
        feature_maps(keras.Model(image, wrong))


def test_several_maps_need_powers_of_two():
    image = keras.Input((84, 84, 3))
    maps = [keras.layers.Reshape((-1, 2))(keras.layers.Conv2D(2, size, strides=size)(image)) for size in (14, 28)]
    with pytest.raises(ValueError, match=r"strides of several maps must be powers of two; .* has \[14, 28\]"):
        feature_maps(keras.Model(image, maps))


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
