import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_ordseg.models import BinarySegmenter, OrdinalSegmenter, small_backbone
from keras_ordseg.serving import export

pytest.importorskip("tensorflow")

SERVE = """
import sys
sys.modules["keras"] = sys.modules["keras_ordseg"] = None  # importing TensorFlow alone would import Keras
import json
import numpy as np
import tensorflow as tf
served = {}
for name, version in json.loads(sys.argv[1]).items():
    serve = tf.saved_model.load(version).signatures["serving_default"]
    images = np.load(name + "_in.npz")
    (spec,) = serve.structured_input_signature[1].values()
    outputs = {}
    for key in images:
        for output, value in serve(image=tf.constant(images[key])).items():
            assert value.dtype == tf.float32, output
            outputs[key + ":" + output] = value.numpy()
    np.savez(name + "_out.npz", **outputs)
    served[name] = [spec.name, spec.dtype.name, spec.shape.as_list()]
assert not [m for m in sys.modules if m.split(".")[0] in ("keras", "keras_ordseg") and sys.modules[m] is not None]
print(json.dumps(served))
"""


def run(code, cwd, *args, **env):
    """The last line that a fresh Python process prints, as JSON."""
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **env}
    done = subprocess.run(
        [sys.executable, "-c", code, *args], cwd=cwd, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def small(num_raters=3, shape=(None, None, 2), kind=OrdinalSegmenter, **kwargs):
    if kind is OrdinalSegmenter:
        kwargs["num_raters"] = num_raters
    return kind(small_backbone(shape, filters=(4, 8)), **kwargs)


def shaken(model, seed=0):
    """The model after its statistics and weights have moved away from their start, as in training."""
    rng = np.random.default_rng(seed)
    for v in model.variables:
        if v.name in ("moving_mean", "moving_variance", "gamma", "beta", "bias"):
            v.assign(rng.uniform(0.5, 1.5, v.shape))
    return model


def expected(logits):
    """What is to be served, from the logits in float64."""
    z = np.asarray(logits, "float64")
    num_raters = z.shape[-1] - 1
    if num_raters == 0:
        return {"probability": 1 / (1 + np.exp(-z[..., 0]))}
    p = np.exp(z - z.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    at_least = np.stack([p[..., t:].sum(-1) for t in range(1, num_raters + 1)], -1)
    return {
        "agreement": p @ np.arange(num_raters + 1) / num_raters,
        "majority": at_least[..., (num_raters + 1) // 2 - 1],
        "levels": p,
        "at_least": at_least,
    }


def test_a_process_without_keras_serves_the_same_numbers(tmp_path, rng):
    """Several models, several batch and image sizes, one fresh process."""
    models = {
        "fpn": shaken(small(4, dropout=0.5)),
        "binary": shaken(small(kind=BinarySegmenter, decoder="unet")),
        "structures": shaken(
            small({"disc": 1, "cup": 5}, shape=(8, 16, 2), decoder="unet", structures=("disc", "cup"))
        ),
    }
    keras.config.set_dtype_policy("mixed_bfloat16")
    models["bfloat16"] = shaken(small(3))
    keras.config.set_dtype_policy("float32")
    versions, wanted = {}, {}
    for name, model in models.items():
        versions[name] = str(export(model, tmp_path / name))
        sizes = [(1, 8, 16, 2), (3, 8, 16, 2)] + ([] if name == "structures" else [(2, 16, 10, 2)])
        images = {str(i): rng.uniform(size=size).astype("float32") for i, size in enumerate(sizes)}
        np.savez(tmp_path / f"{name}_in.npz", **images)
        wanted[name] = {}
        for key, x in images.items():
            z = model(x, training=False)
            for structure, logits in (z if isinstance(z, dict) else {"": z}).items():
                prefix = f"{structure}_" if structure else ""
                for output, value in expected(logits).items():
                    wanted[name][f"{key}:{prefix}{output}"] = value
    served = run(SERVE, tmp_path, json.dumps(versions))
    for name, spec in served.items():
        free = [None, 8, 16, 2] if name == "structures" else [None, None, None, 2]
        assert spec == ["image", "float32", free]
        found = dict(np.load(tmp_path / f"{name}_out.npz"))
        assert set(found) == set(wanted[name])
        # bfloat16 keeps 8 bits, and its sums may be taken in another order: about 1 % of a probability
        tolerance = 2e-2 if name == "bfloat16" else 1e-5
        for key, value in wanted[name].items():
            assert found[key].shape == value.shape, (name, key)
            np.testing.assert_allclose(found[key], value, atol=tolerance, err_msg=f"{name} {key}")
    assert {key.split(":")[1] for key in wanted["fpn"]} == {"agreement", "majority", "levels", "at_least"}


EXPORT = """
import json
import warnings
import numpy as np
import keras_ordseg
from keras_ordseg import serving
from keras_ordseg.models import OrdinalSegmenter, small_backbone
try:
    serving.export(OrdinalSegmenter(small_backbone((None, None, 2), (4,)), 3, decoder="unet"), "jax")
except ValueError as error:
    message = str(error)
model = OrdinalSegmenter(small_backbone((8, 16, 2), (4, 4)), 3, decoder="unet")
version = serving.export(model, "jax")
x = np.random.default_rng(0).uniform(size=(3, 8, 16, 2)).astype("float32")
np.savez("jax_in.npz", x=x)
np.savez("logits.npz", x=model(x))
print(json.dumps({"version": str(version), "message": message}))
"""


@pytest.mark.slow
def test_jax_exports_a_fixed_size(tmp_path):
    pytest.importorskip("jax")
    done = run(EXPORT, tmp_path, KERAS_BACKEND="jax")
    assert "the size of the image must be fixed" in done["message"]
    served = run(SERVE, tmp_path, json.dumps({"jax": done["version"]}))
    assert served["jax"] == ["image", "float32", [None, 8, 16, 2]]
    found = np.load(tmp_path / "jax_out.npz")
    for output, value in expected(np.load(tmp_path / "logits.npz")["x"]).items():
        np.testing.assert_allclose(found[f"x:{output}"], value, atol=1e-5)
