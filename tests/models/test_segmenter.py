import json

import keras
import numpy as np
import pytest

from keras_ordseg.models import BinarySegmenter, OrdinalSegmenter, small_backbone
from keras_ordseg.models.decoders import DECODERS
from tests.models.test_backbones import keras_cv_resnet

LEVELS = [0.9, 0.05, 0.03, 0.02]


def tiny(channels=1, **kwargs):
    return OrdinalSegmenter(
        small_backbone((None, None, channels), filters=(4, 8)), **{"num_raters": 3, **kwargs}
    )


def softmax(z):
    e = np.exp(np.asarray(z, "float64"))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("decoder", DECODERS)
def test_level_logits_of_the_size_of_the_image(decoder, rng):
    model = tiny(channels=2, decoder=decoder)
    assert model.input_shape == (None, None, None, 2)
    assert model.output_shape == (None, None, None, 4)
    assert model.inputs[0].name == "image"
    for size in [(8, 8), (16, 6)]:
        z = model.predict(rng.uniform(size=(3, *size, 2)), verbose=0)
        assert z.shape == (3, *size, 4)
        assert z.dtype == "float32"
        assert z.std() > 0


@pytest.mark.parametrize("decoder", ["fpn", "unet"])
def test_on_a_keras_cv_backbone_of_any_channels(decoder, rng):
    backbone = keras_cv_resnet(channels=5)
    before = [w.copy() for w in backbone.get_weights()]
    model = OrdinalSegmenter(backbone, 3, decoder=decoder, decoder_filters=8)
    assert model.backbone is backbone
    assert model.strides == (4, 8)
    for old, new in zip(before, backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)  # what a backbone has learnt stays
    z = np.asarray(model(rng.uniform(size=(1, 24, 32, 5))))
    assert z.shape == (1, 24, 32, 4)
    # Layers that no feature map needs (here the last normalisation) are not trained: they would have no gradient.
    assert not any("post_bn" in v.path for v in model.trainable_variables)
    assert len(model.trainable_variables) < len(backbone.trainable_variables) + 40


def test_default_backbone_and_volumes(rng):
    model = OrdinalSegmenter(num_raters=2, input_channels=1)
    assert model.backbone.name == "small_backbone"
    assert model.input_shape == (None, None, None, 1)
    assert OrdinalSegmenter(num_raters=2).input_shape[-1] == 3
    volume = OrdinalSegmenter(small_backbone((None, None, None, 1), (2, 4)), 2, decoder="unet")
    assert volume(rng.uniform(size=(1, 4, 6, 8, 1))).shape == (1, 4, 6, 8, 3)


def test_starts_at_the_prior(rng):
    x = rng.uniform(size=(1, 8, 8, 1))
    np.testing.assert_allclose(softmax(tiny(initial_levels=LEVELS)(x))[0, 3, 4], LEVELS, atol=1e-6)
    binary = BinarySegmenter(small_backbone(filters=(4, 8)), initial_probability=0.02)
    logit = np.asarray(binary(x))
    assert logit.shape == (1, 8, 8, 1)
    np.testing.assert_allclose(logit, np.log(0.02 / 0.98), atol=1e-6)


def test_structures_are_named_outputs(rng):
    model = tiny(
        num_raters={"disc": 3, "cup": 5},
        structures=("disc", "cup"),
        initial_levels={"disc": LEVELS, "cup": None},
    )
    z = model.predict(rng.uniform(size=(2, 8, 8, 1)), verbose=0)
    assert {name: value.shape for name, value in z.items()} == {"disc": (2, 8, 8, 4), "cup": (2, 8, 8, 6)}
    np.testing.assert_allclose(softmax(z["disc"])[0, 0, 0], LEVELS, atol=1e-6)
    assert set(tiny(structures=["lesion"]).output) == {"lesion"}
    both = BinarySegmenter(structures=("a", "b"), initial_probability={"a": 0.1, "b": 0.2}, input_channels=1)
    z = both(np.zeros((1, 8, 8, 1)))
    assert [round(1 / (1 + np.exp(-float(z[n][0, 0, 0, 0]))), 4) for n in "ab"] == [0.1, 0.2]


@pytest.mark.parametrize("decoder", DECODERS)
def test_the_baseline_is_the_same_network(decoder):
    """After one seed, all weights but the head's are equal, and so are the names of their layers."""

    def body(kind, **kwargs):
        keras.utils.set_random_seed(7)
        model = kind(small_backbone(filters=(4, 8)), decoder=decoder, dropout=0.1, **kwargs)
        head = model.layers[-1]
        return [(v.path, np.asarray(v)) for v in model.variables if head.name not in v.path]

    def names(variables):
        return [path for path, _ in variables if "seed_generator" not in path]  # Keras counts these on

    ordinal = body(OrdinalSegmenter, num_raters=3, initial_levels=LEVELS)
    binary = body(BinarySegmenter)
    assert names(ordinal) == names(binary)
    assert len(ordinal) == len(binary) > 20
    for (_, mine), (_, other) in zip(ordinal, binary, strict=True):
        np.testing.assert_array_equal(mine, other)


def test_dropout_acts_in_training_only(rng):
    x = rng.uniform(size=(1, 8, 8, 1))
    model = tiny(dropout=0.5)
    np.testing.assert_array_equal(model(x, training=False), model(x, training=False))
    assert np.abs(np.asarray(model(x, training=True)) - np.asarray(model(x, training=False))).max() > 1e-3
    assert model.get_layer("decoder_dropout").rate == 0.5
    assert not [layer.name for layer in tiny().layers if "dropout" in layer.name]


def test_a_frozen_backbone_stays(rng):
    model = tiny()
    model.backbone.trainable = False
    kernels = [np.asarray(v) for v in model.backbone.variables if v.name == "kernel"]
    head = np.asarray(model.get_layer("levels").kernel)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(rng.uniform(size=(2, 8, 8, 1)), np.ones((2, 8, 8)), verbose=0)
    after = [np.asarray(v) for v in model.backbone.variables if v.name == "kernel"]
    assert all((a == b).all() for a, b in zip(kernels, after, strict=True))
    assert np.abs(head - np.asarray(model.get_layer("levels").kernel)).max() > 0
    assert not tiny(trainable=False).trainable_variables


@pytest.mark.parametrize("size", [(9, 8), (8, 7)])
def test_a_size_that_does_not_fit_is_named(size):
    model = tiny()
    x = np.zeros((2, *size, 1), "float32")
    message = (
        rf"divisible by 2.* images of {size[0]}×{size[1]} pixels.* for example to {-(-size[0] // 2) * 2}×8"
    )
    with pytest.raises(ValueError, match=message):
        model(x)
    # Having seen two sizes, TensorFlow traces the third with a free one: predict looks before.
    for good in (8, 16):
        model.predict(np.zeros((1, good, good, 1)), verbose=0)
    with pytest.raises(ValueError, match=message):
        model.predict(x, verbose=0)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with pytest.raises(ValueError, match=message):
        model.fit(x, np.zeros((2, *size)), verbose=0)


def test_wrong_channels_are_named():
    with pytest.raises(ValueError, match=r"(takes images of 1 channels|expected shape=.*, 1\))"):
        tiny()(np.zeros((1, 8, 8, 3)))
    with pytest.raises(
        ValueError, match=r"takes images of 1 channels, the last axis. Received shape \(1, 8, 8, 3\)"
    ):
        tiny().predict(np.zeros((1, 8, 8, 3)), verbose=0)


def test_takes_a_dict_with_its_image(rng):
    model = tiny()
    x = rng.uniform(size=(1, 8, 8, 1)).astype("float32")
    np.testing.assert_array_equal(model({"image": x}), model(x))
    with pytest.raises(ValueError, match="divisible by 2"):
        model({"image": x[:, :7]})


@pytest.mark.parametrize(
    "kwargs,error,message",
    [
        ({"num_raters": None}, ValueError, "num_raters: expected the number of raters"),
        ({"num_raters": 0}, ValueError, "num_raters: expected an int"),
        ({"num_raters": {"disc": 3}}, ValueError, "has a single output.*structures="),
        ({"num_raters": {"disc": 3}, "structures": ["cup"]}, ValueError, r"keys \['cup'\].*Received keys"),
        ({"structures": "disc"}, ValueError, "structures: expected distinct names"),
        ({"structures": ()}, ValueError, "structures: expected distinct names"),
        ({"structures": ("a", "a")}, ValueError, "structures: expected distinct names"),
        ({"decoder": "deeplab"}, ValueError, "decoder: expected one of 'fpn', 'unet', .*'deeplabv3plus'"),
        ({"nested_structures": True}, ValueError, "nested_structures: expected two or more structures"),
        (
            {"nested_structures": True, "structures": ("a", "b"), "num_raters": {"a": 2, "b": 3}},
            ValueError,
            r"with one number of raters. Received .*\[2, 3\]",
        ),
        ({"preprocessing": "imagenet"}, ValueError, "preprocessing: expected 'auto', None, one of"),
        ({"preprocessing": "torch"}, ValueError, "for images of 3 channels; 'small_backbone' takes 1"),
        ({"decoder_filters": 0}, ValueError, "decoder_filters: expected a positive int"),
        ({"dropout": 1.0}, ValueError, r"dropout: expected a rate in \[0, 1\)"),
        ({"initial_levels": [0.5, 0.5]}, ValueError, "initial_levels: expected 4 frequencies"),
        ({"link": "probit"}, ValueError, "link: expected one of"),
        ({"input_channels": 3}, ValueError, "input_channels: the backbone 'small_backbone' takes 1"),
        ({"backbone": "resnet"}, TypeError, "backbone: expected a keras.Model"),
    ],
)
def test_wrong_arguments(kwargs, error, message):
    kwargs = {"backbone": small_backbone(filters=(4, 8)), "num_raters": 3, **kwargs}
    with pytest.raises(error, match=message):
        OrdinalSegmenter(**kwargs)


@pytest.mark.parametrize("p", [0.0, 1.0, -0.1, float("nan")])
def test_binary_refuses_a_start_outside_the_open_interval(p):
    with pytest.raises(ValueError, match="initial_probability: expected the mean vote"):
        BinarySegmenter(initial_probability=p, input_channels=1)


def at_least(z):
    return softmax(z)[..., ::-1].cumsum(-1)[..., ::-1]


def test_nested_structures_start_at_their_priors_and_stay_nested(rng, tmp_path):
    cup = [0.95, 0.03, 0.014, 0.006]  # P(>= t) of .05 .02 .006: .5, .4 and .3 of the disc's .1 .05 .02
    model = tiny(structures=("disc", "cup"), nested_structures=True, initial_levels={"disc": LEVELS, "cup": cup})
    x = rng.uniform(size=(1, 8, 8, 1)).astype("float32")
    z = model(x)
    np.testing.assert_allclose(softmax(z["disc"])[0, 3, 3], LEVELS, atol=1e-6)
    np.testing.assert_allclose(softmax(z["cup"])[0, 3, 3], cup, atol=1e-6)
    model.set_weights([rng.uniform(0, 1, size=w.shape) for w in model.get_weights()])
    z = model(x)
    assert np.abs(at_least(z["cup"]) - at_least(z["disc"])).max() > 0.05
    assert (at_least(z["cup"]) <= at_least(z["disc"]) + 1e-6).all()
    model.save(tmp_path / "nested.keras")
    again = keras.saving.load_model(tmp_path / "nested.keras")
    assert json.dumps(again.get_config()) == json.dumps(model.get_config())
    np.testing.assert_array_equal(again(x)["cup"], z["cup"])


def test_three_structures_nest_one_in_the_other_and_a_prior_that_does_not_is_bounded(rng):
    levels = {"a": [0.5, 0.2, 0.2, 0.1], "b": [0.4, 0.2, 0.2, 0.2], "c": None}  # b is more frequent than a
    model = tiny(structures=("a", "b", "c"), nested_structures=True, initial_levels=levels)
    z = model(rng.uniform(size=(1, 8, 8, 1)))
    np.testing.assert_allclose(at_least(z["b"]), at_least(z["a"]), atol=1e-5)
    assert (at_least(z["c"]) <= at_least(z["b"]) + 1e-6).all()
