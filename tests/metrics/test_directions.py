"""Names and directions of metrics, as Keras' callbacks look for them."""

import inspect

import keras
import numpy as np
import pytest

from keras_ordseg import layers, losses, metrics

NO_DIRECTION = {"MultiRaterMetric", "surface_distances"}  # a base class, and a function
UP = {"ConsensusDice", "MultiRaterAUC", "MultiRaterDice", "QuadraticWeightedKappa", "SoftDice"}
ARGUMENTS = {"QuadraticWeightedKappa": (3,), "LossTerm": (losses.RankedProbabilityLoss(),)}
CLASSES = [name for name in metrics.__all__ if name not in NO_DIRECTION]


@pytest.mark.parametrize("name", CLASSES)
def test_every_metric_says_what_is_better(name):
    assert inspect.isclass(getattr(metrics, name))
    metric = getattr(metrics, name)(*ARGUMENTS.get(name, ()))
    assert metric._direction == ("up" if name in UP else "down")
    again = type(metric).from_config(metric.get_config())
    assert (again._direction, again.name) == (metric._direction, metric.name)


@pytest.mark.parametrize("name", CLASSES)
def test_the_second_of_a_kind_has_the_same_name(name):
    """Keras would count them up in a process, and the names of the logs with them."""
    first, second = (getattr(metrics, name)(*ARGUMENTS.get(name, ())) for _ in range(2))
    expected = "loss" if name == "LossTerm" else keras.src.utils.naming.to_snake_case(name)
    assert first.name == second.name == expected
    if name != "LossTerm":
        assert getattr(metrics, name)(*ARGUMENTS.get(name, ()), name="mine").name == "mine"


def test_a_metric_of_the_users_own_has_no_direction_by_default():
    class Own(metrics.MultiRaterMetric):
        pass

    assert not hasattr(Own(), "_direction")
    assert Own().name == "own"


@pytest.mark.dear
def test_callbacks_need_no_mode(tmp_path):
    image = keras.Input((4, 4, 1))
    model = keras.Model(image, layers.OrdinalHead(2)(image))
    model.compile("sgd", losses.RankedProbabilityLoss(), metrics=[metrics.MultiRaterECE(), metrics.ConsensusDice()])
    x, y = np.zeros((2, 4, 4, 1), "float32"), np.zeros((2, 4, 4, 2), "int8")
    stop = keras.callbacks.EarlyStopping("val_multi_rater_ece", patience=2)
    keep = keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", "val_consensus_dice", save_best_only=True)
    history = model.fit(x, y, validation_data=(x, y), epochs=2, verbose=0, callbacks=[stop, keep]).history
    assert {"val_multi_rater_ece", "val_consensus_dice"} <= set(history)
    assert stop.monitor_op is keras.ops.less
    assert keep.monitor_op is keras.ops.greater


def test_two_of_a_kind_on_one_output_are_told_apart():
    image = keras.Input((4, 4, 1))
    model = keras.Model(image, layers.OrdinalHead(2)(image))
    model.compile("sgd", losses.LevelCrossEntropy(), metrics=[metrics.MultiRaterECE(), metrics.MultiRaterECE("majority")])
    x, y = np.zeros((2, 4, 4, 1), "float32"), np.zeros((2, 4, 4, 2), "int8")
    found = model.evaluate(x, y, verbose=0, return_dict=True)
    assert {"multi_rater_ece", "multi_rater_ece_1"} <= set(found)
