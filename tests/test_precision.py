"""Half precision: every decoder trains in it, with the loss curve of float32.

JAX runs float16 at a useful speed on a CPU and so carries the long runs, in a process of its own; TensorFlow's float16 is
tried on a tiny network. Keras skips a step whose gradients are not finite without a word, so the loss scale, which falls
with each such step, is checked beside the losses.
"""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_ordseg.datasets import ambiguous_shapes
from keras_ordseg.losses import OrdinalSegmentationLoss
from keras_ordseg.models import OrdinalSegmenter, small_backbone
from keras_ordseg.models.decoders import DECODERS
from tests.conftest import ROOT

START = 2.0**15  # Keras' initial loss scale; it doubles after 2,000 steps and halves at a step that is not finite
on_tensorflow = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow's own half precision")


def train(decoder, policy, steps, seed=0, images=32, batch=8, filters=(4, 8), jit_compile=True):
    """The loss of each epoch, the last loss scale, and how far the weights moved."""
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(seed)
    shapes = ambiguous_shapes(images, 16, 3, seed=1)
    model = OrdinalSegmenter(small_backbone(filters=filters), 3, decoder, initial_levels=[0.7, 0.1, 0.1, 0.1])
    assert model.compute_dtype == keras.config.dtype_policy().compute_dtype
    start = [np.copy(keras.ops.convert_to_numpy(w)) for w in model.trainable_variables]
    model.compile(keras.optimizers.Adam(3e-3), OrdinalSegmentationLoss(), jit_compile=jit_compile)
    epochs = -(-steps * batch // images)
    losses = model.fit(shapes["image"], shapes["ratings"], batch_size=batch, epochs=epochs, verbose=0).history["loss"]
    end = [keras.ops.convert_to_numpy(w) for w in model.trainable_variables]
    moved = [float(np.abs(a - b).max()) for a, b in zip(end, start, strict=True)]
    scale = getattr(model.optimizer, "dynamic_scale", None)
    scale = None if scale is None else float(keras.ops.convert_to_numpy(scale))
    keras.config.set_dtype_policy("float32")
    return {"losses": losses, "scale": scale, "moved": max(moved), "finite": bool(np.isfinite(moved).all())}


def check(run, policy):
    assert np.isfinite(run["losses"]).all()  # an epoch's mean: one step that is not finite would show
    assert run["finite"]
    assert run["moved"] > 0.01
    assert run["losses"][-1] < run["losses"][0]
    if policy == "mixed_float16":
        assert run["scale"] >= START / 16  # a few steps of adjusting, no collapse
    else:
        assert run["scale"] is None


def on_jax(calls):
    """`train(**call)` for each of the calls, in a fresh process on JAX."""
    pytest.importorskip("jax")
    code = (
        "import json, sys\nfrom tests.test_precision import train\n"
        "print(json.dumps([train(**call) for call in json.loads(sys.argv[1])]))"
    )
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT),
        "XLA_FLAGS": "--xla_backend_optimization_level=0",  # to compile is nearly all of the time
    }
    command = [sys.executable, "-c", code, json.dumps(calls)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_every_decoder_trains(policy):
    """bfloat16 has float32's range: what can overflow does so in float16. The curves below have all decoders in both."""
    calls = [{"decoder": d, "policy": policy, "steps": 12, "images": 16} for d in ("attention_unet", "deeplabv3plus")]
    for run in on_jax(calls):
        check(run, policy)


@pytest.mark.parametrize("decoder", [pytest.param(decoder, marks=pytest.mark.slow) for decoder in DECODERS])
def test_loss_curves_of_float32(decoder):
    """Within the spread of float32 over seeds: the noise that a user cannot tell from precision."""
    policies, seeds = ["float32"] * 3 + ["mixed_bfloat16", "mixed_float16"], [0, 1, 2, 0, 0]
    calls = [{"decoder": decoder, "policy": p, "steps": 60, "seed": s} for p, s in zip(policies, seeds, strict=True)]
    runs = on_jax(calls)
    for run, policy in zip(runs, policies, strict=True):
        check(run, policy)
    curves = np.array([run["losses"] for run in runs])
    noise = np.abs(curves[1:3] - curves[0]).mean()
    for curve in curves[3:]:
        assert np.abs(curve - curves[0]).mean() <= noise
        assert not np.array_equal(curve, curves[0])  # it was another precision


@pytest.mark.slow
@pytest.mark.parametrize("decoder", DECODERS)
def test_two_thousand_steps_in_float16(decoder):
    (run,) = on_jax([{"decoder": decoder, "policy": "mixed_float16", "steps": 2000}])
    check(run, "mixed_float16")
    assert len(run["losses"]) == 500
    assert run["losses"][-1] < 0.7 * run["losses"][0]


@on_tensorflow
@pytest.mark.slow
def test_twenty_steps_of_tensorflow_in_float16():
    run = train("unet", "mixed_float16", 20, images=4, batch=1, filters=(2, 4), jit_compile=False)
    check(run, "mixed_float16")


@on_tensorflow
@pytest.mark.slow
@pytest.mark.parametrize("decoder", [d for d in DECODERS if d != "fpn"])  # fpn: tests/models/test_training.py
def test_bfloat16_compiled_by_tensorflow(decoder):
    check(train(decoder, "mixed_bfloat16", 16, images=8, batch=4), "mixed_bfloat16")
