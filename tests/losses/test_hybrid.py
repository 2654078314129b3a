"""The hybrid takes any ordinal and any binary term, and each is logged by a metric."""

import keras
import numpy as np
import pytest

from keras_ordseg.losses import (
    CoralLoss,
    FocalLoss,
    LevelCrossEntropy,
    MajorityCrossEntropy,
    OrdinalSegmentationLoss,
    RankedProbabilityLoss,
    SoftLabelCrossEntropy,
)
from keras_ordseg.metrics import LossTerm
from tests.contract import JIT
from tests.tracing import made_ready


@pytest.fixture
def pixels(rng):
    z = rng.normal(size=(2, 6, 5)).astype("float32") * 2
    return rng.integers(-1, 2, (2, 6, 4)).astype("int8"), z, rng.random((2, 6)).astype("float32")


@pytest.mark.parametrize("readout", ["majority", "expected", 3])
def test_any_ordinal_and_any_binary_term(readout, pixels):
    y, z, weight = pixels
    for ordinal in (LevelCrossEntropy(), CoralLoss(), RankedProbabilityLoss("sum")):
        binary = FocalLoss(1.0, readout=readout)
        loss = OrdinalSegmentationLoss(readout, binary, 0.3, ordinal=ordinal, binary_weight=2.5)
        expected = 2.5 * float(binary(y, z, weight)) + 0.3 * float(ordinal(y, z, weight))
        np.testing.assert_allclose(float(loss(y, z, weight)), expected, rtol=1e-5)
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
        np.testing.assert_allclose(float(again(y, z, weight)), expected, rtol=1e-5)


def test_the_papers_terms_by_name_are_the_losses(pixels):
    y, z, _ = pixels
    expected = float(MajorityCrossEntropy()(y, z)) + 0.8 * float(RankedProbabilityLoss()(y, z))
    np.testing.assert_allclose(float(OrdinalSegmentationLoss()(y, z)), expected, rtol=1e-6)
    by_instance = OrdinalSegmentationLoss(binary=MajorityCrossEntropy(), ordinal=RankedProbabilityLoss())
    np.testing.assert_allclose(float(by_instance(y, z)), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "build,message",
    [
        (lambda: OrdinalSegmentationLoss(ordinal="emd"), "ordinal: expected 'rps' or a loss of the levels"),
        (lambda: OrdinalSegmentationLoss(ordinal=FocalLoss()), "ordinal: expected 'rps' or a loss of the levels"),
        (lambda: OrdinalSegmentationLoss(ordinal=keras.losses.Dice()), "ordinal: expected 'rps'"),
        (lambda: OrdinalSegmentationLoss(binary=SoftLabelCrossEntropy()), "binary: expected a loss with readout='majority'"),
        (lambda: OrdinalSegmentationLoss(binary=CoralLoss()), "binary: expected a loss with readout='majority'"),
        (
            lambda: OrdinalSegmentationLoss(ordinal=CoralLoss(level_weights=[1, 2])),
            "ordinal: expected a loss without level_weights",
        ),
        (
            lambda: OrdinalSegmentationLoss(binary=MajorityCrossEntropy(from_logits=False)),
            "binary: expected a loss without from_logits",
        ),
        (
            lambda: OrdinalSegmentationLoss(binary=FocalLoss(num_raters=3)),
            "binary: expected a loss without num_raters",
        ),
        (lambda: OrdinalSegmentationLoss(binary_weight=-1), "binary_weight: expected a finite number"),
    ],
)
def test_arguments(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.dear
def test_terms_are_logged_in_fit(pixels):
    """No model class of one's own: the logged terms, with their weights, are the logged loss."""
    y, z, _ = pixels
    loss = OrdinalSegmentationLoss("expected", "bce_dice", 0.5, binary_weight=2.0, level_weights=[1, 1, 2, 2, 3])
    names = ("loss", "binary", "ordinal")
    model = keras.Sequential([keras.Input((6, 5)), keras.layers.Dense(5)])
    terms = [LossTerm(loss, name, name=f"term_{name}") for name in names]
    model.compile(keras.optimizers.SGD(0.0), loss, metrics=terms, jit_compile=JIT)
    logs = {k: v[0] for k, v in made_ready(model, z, y).fit(z, y, verbose=0, batch_size=2).history.items()}
    np.testing.assert_allclose(logs["term_loss"], logs["loss"], rtol=1e-5)
    np.testing.assert_allclose(2 * logs["term_binary"] + 0.5 * logs["term_ordinal"], logs["loss"], rtol=1e-5)
    assert logs["term_binary"] != logs["term_ordinal"]


def test_term_metric_keeps_its_loss(pixels):
    y, z, weight = pixels
    metric = LossTerm(OrdinalSegmentationLoss(3, rps_weight=0.1), "ordinal")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert again.name == "ordinal"
    for m in (metric, again):
        for i in range(2):  # the mean over all pixels, not over the batches
            m.update_state(y[i : i + 1], z[i : i + 1], weight[i : i + 1])
        np.testing.assert_allclose(float(m.result()), float(RankedProbabilityLoss()(y, z, weight)), rtol=1e-5)
    with pytest.raises(ValueError, match=r"term: expected one of \('loss', 'binary', 'ordinal'\)"):
        LossTerm(OrdinalSegmentationLoss(), "dice").update_state(y, z)
    with pytest.raises(ValueError, match="loss: expected a loss of keras_ordseg"):
        LossTerm(keras.losses.Dice())
