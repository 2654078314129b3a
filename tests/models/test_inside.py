"""What is known of a model stays known however it is wrapped, cut, renamed or cloned."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_ordseg import calibration
from keras_ordseg.layers import TemperatureScaling
from keras_ordseg.models import (
    Ensemble,
    OrdinalSegmenter,
    sliding_window_inference,
    small_backbone,
    with_ordinal_head,
)
from keras_ordseg.models._inside import size_multiple
from keras_ordseg.models._outputs import logit_outputs


def net(shape=(None, None, 1), filters=(4, 4, 4), **kwargs):
    return OrdinalSegmenter(small_backbone(shape, filters=filters), 2, decoder="upsample", **kwargs)


def around(model, before=lambda x: x, after=lambda x: x):
    image = keras.Input(model.inputs[0].shape[1:])
    return keras.Model(image, after(model(before(image))))


class Holder(layers.Layer):
    """A layer of the user's own around a model."""

    def __init__(self, inner, **kwargs):
        super().__init__(**kwargs)
        self.inner = inner

    def call(self, x):
        return self.inner(x)


def held(model):
    image = keras.Input(model.inputs[0].shape[1:])
    return keras.Model(image, Holder(model)(image))


def attached(model):
    return calibration.attach(model, TemperatureScaling(2.0))


WRAPS = {
    "as it is": lambda model: model,
    "clone": keras.models.clone_model,
    "sequential": lambda model: keras.Sequential([keras.Input(model.inputs[0].shape[1:]), layers.Rescaling(1.0), model]),
    "nested twice": lambda model: around(around(model, layers.Rescaling(1.0)), after=TemperatureScaling(2.0)),
    "attached clone": lambda model: attached(keras.models.clone_model(model)),
    "ensemble of wraps": lambda model: Ensemble([around(model), keras.models.clone_model(model)]),
    "attached ensemble": lambda model: attached(Ensemble([keras.models.clone_model(model)])),
    "layer of its own": held,
    "other head": lambda model: with_ordinal_head(around(model, after=layers.Conv2D(3, 1)), 2),
}


@pytest.mark.parametrize("wrap", WRAPS)
def test_the_size_multiple_is_that_of_the_graph(wrap):
    assert size_multiple(WRAPS[wrap](net())) == 4


def test_an_ensemble_needs_what_all_its_members_need():
    members = [net(filters=filters) for filters in ((4, 4), (4, 4, 4), (4,))]
    assert [size_multiple(each) for each in members] == [2, 4, 1]
    ensemble = Ensemble([Ensemble(members[:2]), members[2]])
    assert size_multiple(attached(ensemble)) == 4
    assert ensemble.strides == (4,)


def own(*stack):
    image = x = keras.Input((None, None, 1))
    for layer in stack:
        x = layer(x)
    return keras.Model(image, x)


@pytest.mark.parametrize(
    "model, multiple",
    [
        (own(layers.Conv2D(3, 3, padding="same")), 1),
        (own(layers.AveragePooling2D(3), layers.UpSampling2D(3)), 3),
        (own(layers.Conv2D(3, 14, strides=14), layers.UpSampling2D(14)), 14),
        (own(layers.MaxPooling2D((1, 4)), layers.UpSampling2D((1, 4))), 4),
        (own(layers.Conv2D(3, 3, strides=2, padding="same")), None),
        (own(layers.Conv2D(3, 3)), None),
        (own(layers.Resizing(8, 8)), None),
        (around(net(), layers.AveragePooling2D(2), layers.UpSampling2D(2)), 8),
    ],
)
def test_models_of_the_users_own(model, multiple):
    assert size_multiple(model) == multiple


def test_fixed_sides_need_no_multiple():
    assert size_multiple(net((16, 16, 1))) == 1
    assert size_multiple(net((16, None, 1))) == 4


@pytest.mark.parametrize("wrap", ["clone", "nested twice", "ensemble of wraps", "layer of its own"])
def test_windows_that_the_strides_do_not_divide_are_named(wrap, rng):
    model = WRAPS[wrap](net())
    image = rng.random((13, 18, 1), dtype="float32")
    with pytest.raises(ValueError, match=r"window: every side must be divisible by 4.*take \(12, 12\)"):
        sliding_window_inference(model, image, 10, verbose=0)
    p = sliding_window_inference(model, image, 8, verbose=0)
    assert p.shape == (13, 18, 3)
    np.testing.assert_allclose(p.sum(-1), 1, atol=1e-5)


def test_an_ensemble_of_clones_names_a_size_that_does_not_fit(rng):
    with pytest.raises(ValueError, match="every side must be divisible by 4"):
        Ensemble([keras.models.clone_model(net())]).predict(rng.random((1, 10, 8, 1)), verbose=0)


scaled = TemperatureScaling(2.0)
PROBABILITIES = {
    "softmax layer": lambda: own(layers.Conv2D(3, 1), layers.Softmax(name="soft")),
    "activation of a convolution": lambda: own(layers.Conv2D(1, 1, activation="sigmoid", name="soft")),
    "nested": lambda: around(own(layers.Conv2D(3, 1, activation="softmax", name="soft"))),
    "nested twice": lambda: around(around(own(layers.Conv2D(3, 1, activation="softmax", name="soft")))),
    "sequential": lambda: keras.Sequential([keras.Input((None, None, 1)), net(), layers.Softmax(name="soft")]),
    "enlarged behind": lambda: own(layers.Conv2D(3, 1, activation="softmax", name="soft"), layers.UpSampling2D(1)),
    "calibrator behind": lambda: around(own(layers.Conv2D(3, 1, activation="softmax", name="soft")), after=scaled),
    "function": lambda: around(net(), after=keras.ops.softmax),
    "clone": lambda: keras.models.clone_model(own(layers.Conv2D(3, 1), layers.Activation("softmax", name="soft"))),
}


@pytest.mark.parametrize("kind", PROBABILITIES)
def test_probabilities_are_seen_through_what_is_around_them(kind):
    with pytest.raises(ValueError, match="expected logits.*soft.*gives probabilities; take its activation away"):
        logit_outputs(PROBABILITIES[kind]())


@pytest.mark.parametrize(
    "after", [layers.Conv2D(3, 1), layers.Activation("log_softmax"), layers.Rescaling(2.0), lambda x: keras.ops.log(x)]
)
def test_what_follows_probabilities_may_be_logits(after):
    assert logit_outputs(around(own(layers.Conv2D(3, 1, activation="softmax")), after=after))
