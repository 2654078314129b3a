"""What every public layer and loss promises, one parametrised test for each promise.

Round trips in a fresh process and training steps take one model that holds them all. The same numbers on the other
backends: `test_backends.py`.
"""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_ordseg import layers, losses
from tests import contract

RANKS = [(6,), (6, 4), (2, 6, 4)]
POLICIES = ["float32", "mixed_bfloat16", "mixed_float16"]


def test_everything_public_is_here():
    public = {n for n in layers.__all__ if issubclass(getattr(layers, n), keras.layers.Layer)} - SEVERAL_INPUTS
    assert {name.split()[0] for name in contract.LAYERS} == public
    assert set(contract.LOSSES) == set(losses.__all__) - {"MultiRaterLoss"}


# an image with its ratings: tests/layers/test_augmentation.py; two structures: tests/layers/test_nesting.py
SEVERAL_INPUTS = {"RatingsAugmentation", "NestedLevels"}


@pytest.mark.parametrize("spatial", RANKS)
@pytest.mark.parametrize("name", contract.LAYERS)
def test_layer_builds_on_any_rank_and_knows_its_shape(name, spatial, rng):
    x = contract.features(rng, spatial)
    layer = contract.LAYERS[name]()
    symbolic, eager = layer(keras.Input(x.shape[1:])), layer(x)
    assert symbolic.shape[1:] == eager.shape[1:] == layer.compute_output_shape(x.shape)[1:]
    assert symbolic.dtype == keras.backend.standardize_dtype(eager.dtype)


@pytest.mark.parametrize("name", contract.LAYERS)
def test_layer_config_round_trip(name, rng):
    x = contract.features(rng)
    layer = contract.LAYERS[name]()
    y = layer(x)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == layer.get_config()
    again(x)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(again(x), y)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", contract.LAYERS)
def test_layer_is_finite_in_half_precision(name, policy, rng):
    keras.config.set_dtype_policy(policy)
    layer = contract.LAYERS[name]()
    y = layer(np.clip(contract.features(rng) * 30, -30, 30))
    expected = "float32" if name != "BilinearUpsampling" else keras.config.dtype_policy().compute_dtype
    assert keras.backend.standardize_dtype(y.dtype) == expected
    assert np.isfinite(keras.ops.convert_to_numpy(keras.ops.cast(y, "float32"))).all()


@pytest.mark.parametrize("name", contract.LOSSES)
def test_loss_config_round_trip(name, rng):
    loss = contract.LOSSES[name](name="mine", from_logits=False, reduction="sum", level_weights=[1, 3])
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert again.get_config() == loss.get_config()
    z = rng.normal(size=(1, 4, 3))
    p, y = (np.exp(z) / np.exp(z).sum(-1, keepdims=True)).astype("float32"), np.array([[0, 1, 2, 2]])
    assert float(again(y, p)) == float(loss(y, p))


@pytest.mark.parametrize("kind", ["votes", "ratings"])
@pytest.mark.parametrize("name", contract.LOSSES)
def test_loss_is_finite_with_float16_logits_of_thirty(name, kind, rng):
    z = np.where(rng.random((3, 6, 4, contract.K + 1)) < 0.5, 30, -30).astype("float16")
    assert np.isfinite(float(contract.LOSSES[name]()(contract.all_ratings(rng)[kind], z)))


FIRST, REST = slice(9), slice(9, None)  # compiling grows with the losses; either part has every layer below it
STEPS = [("float32", True, 0, FIRST), ("mixed_bfloat16", True, 1, REST), ("mixed_float16", False, 1, slice(None))]
MORE = [
    ("float32", True, 0, slice(None)),
    ("mixed_bfloat16", True, 1, slice(None)),
    ("float32", False, 1, slice(None)),
    ("mixed_bfloat16", False, 0, slice(None)),
    ("mixed_float16", True, 0, slice(None)),
]


@pytest.mark.dear
@pytest.mark.parametrize(
    "policy,jit_compile,flip,some", [*STEPS, *(pytest.param(*step, marks=pytest.mark.slow) for step in MORE)]
)
def test_training_steps(policy, jit_compile, flip, some):
    contract.check_training_steps(policy, jit_compile, flip, some)


def test_each_part_of_the_losses_trains_every_layer():
    models = [contract.model_of_all(some=part)[0] for part in (FIRST, REST, slice(None))]
    terms = {*contract.LOSSES, *contract.HYBRIDS}
    first, rest, every = (sorted(type(x).__name__ for x in m.layers if x.name not in terms) for m in models)
    assert first == rest == every
    assert {layer.name for model in models[:2] for layer in model.layers} >= terms


LOAD = """
import json, sys
import keras, numpy as np
import keras_ordseg
model = keras.models.load_model(sys.argv[1])
data = np.load(sys.argv[2])
y = model.predict(data["x"], verbose=0)
scores = model.evaluate(data["x"], {name: data["y"] for name in model.output_names}, return_dict=True, verbose=0)
gap = max(abs(y[name] - data[name]).max() for name in y)
json.dump({"gap": float(gap), "scores": scores, "compiled": sorted(model.loss)}, sys.stdout)
"""


@pytest.mark.dear
def test_all_survive_a_keras_file_in_a_fresh_process(tmp_path, rng):
    model, terms = contract.model_of_all()
    model.compile("sgd", terms, run_eagerly=True)  # a graph of all would take minutes to trace
    x, y = contract.features(rng), contract.all_ratings(rng)["ratings"]
    scores = model.evaluate(x, dict.fromkeys(terms, y), return_dict=True, verbose=0)
    model.save(tmp_path / "all.keras")
    np.savez(tmp_path / "data.npz", x=x, y=y, **model.predict(x, verbose=0))
    command = [sys.executable, "-c", LOAD, tmp_path / "all.keras", tmp_path / "data.npz"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["gap"] < 1e-6
    assert result["compiled"] == sorted(terms)
    for name, value in scores.items():
        np.testing.assert_allclose(result["scores"][name], value, rtol=1e-5, err_msg=name)
