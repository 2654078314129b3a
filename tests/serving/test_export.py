import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_ordseg.layers import VectorScaling
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
    signatures = tf.saved_model.load(version).signatures
    images = np.load(name + "_in.npz")
    outputs, specs = {}, {}
    for signature, serve in signatures.items():
        (spec,) = serve.structured_input_signature[1].values()
        specs[signature] = [spec.name, spec.dtype.name, spec.shape.as_list()]
        for key in images:
            x = images[key]
            if signature == "encoded":
                x = [tf.io.encode_png(np.rint(255 * image).astype("uint8")).numpy() for image in x]
            for output, value in serve(**{spec.name: tf.constant(x)}).items():
                outputs[f"{key}:{signature}:{output}"] = value.numpy()
    np.savez(name + "_out.npz", **outputs)
    served[name] = specs
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


@keras.saving.register_keras_serializable(package="tests")
class Temperature(keras.layers.Layer):
    """A fitted calibrator as a user may have one."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(), initializer=keras.initializers.Constant(0.6))

    def call(self, logits):
        return logits * self.scale


def probabilities(logits):
    """`serving_default`, from the logits in float64."""
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


def expected(logits):
    """Every signature, from the logits in float64; areas in pixels and the review at 1/2."""
    default = probabilities(logits)
    at_least = default["at_least"] if "at_least" in default else default["probability"][..., None]
    axes = tuple(range(1, at_least.ndim - 1))
    areas, masks = at_least.sum(axes), at_least > 0.5
    result = {
        "serving_default": default,
        "contours": {"masks": masks, "area": areas.mean(-1)},
        "summary": {"expected_area": areas.mean(-1)},
    }
    if "at_least" in default:
        inside, differ = masks[..., 0], at_least[..., 0] - at_least[..., -1]
        share = (inside * differ).sum(axes) / np.maximum(inside.sum(axes), 1)
        result["contours"] |= {
            "ribbon": masks[..., 0] & ~masks[..., -1],
            "area_low": areas[:, -1],
            "area_high": areas[:, 0],
        }
        result["summary"] |= {"area_sd": areas.std(-1), "disputed_share": share, "review": share > 0.5}
    return result


def padded_logits(model, x, multiple):
    """The model on the image padded by hand, cut back."""
    sides = x.shape[1:-1]
    pad = [(0, -side % multiple) for side in sides]
    z = model(np.pad(x, [(0, 0), *pad, (0, 0)], mode="edge"), training=False)
    cut = (slice(None), *(slice(0, side) for side in sides))
    return {name: np.asarray(v)[cut] for name, v in (z if isinstance(z, dict) else {"": z}).items()}


@pytest.mark.parametrize("some", [("fpn", "structures"), pytest.param(None, marks=pytest.mark.slow)], ids=["two", "all"])
def test_a_process_without_keras_serves_the_same_numbers(tmp_path, rng, some):
    """Several models, all signatures, several batch and image sizes, one fresh process.

    In this process, with the package: volumes and binary models in test_client.py and test_predict.py, bfloat16 in
    test_ensemble.py.
    """
    two = {"disc": 1, "cup": 5}
    models = {
        "fpn": shaken(small(4, (None, None, 3), dropout=0.5)),
        "binary": shaken(small(kind=BinarySegmenter, decoder="unet")),
        "structures": shaken(small(two, shape=(8, 16, 1), decoder="unet", structures=tuple(two))),
        "volume": shaken(small(2, (None, None, None, 1))),
        "signal": shaken(small(2, (None, 2))),
    }
    keras.config.set_dtype_policy("mixed_bfloat16")
    models["bfloat16"] = shaken(small(3))
    keras.config.set_dtype_policy("float32")
    models = {name: models[name] for name in some or models}
    calibrators = {"fpn": Temperature(), "structures": {"cup": Temperature()}}
    sizes = {
        "structures": [(1, 8, 16, 1), (3, 8, 16, 1)],
        "volume": [(2, 4, 6, 5, 1)],
        "signal": [(2, 17, 2)],
    }
    versions, wanted = {}, {}
    for name, model in models.items():
        calibrator = calibrators.get(name)
        versions[name] = str(export(model, tmp_path / name, calibrator))
        channels = model.inputs[0].shape[-1]
        rows = sizes.get(name, [(1, 8, 16, channels), (3, 8, 16, channels), (2, 16, 11, channels)])
        images = {str(i): rng.integers(0, 256, size).astype("float32") / 255 for i, size in enumerate(rows)}
        np.savez(tmp_path / f"{name}_in.npz", **images)
        wanted[name] = {}
        for key, x in images.items():
            for structure, logits in padded_logits(model, x, 2).items():
                fitted = calibrator.get(structure) if isinstance(calibrator, dict) else calibrator
                logits = logits if fitted is None else 0.6 * logits
                prefix = f"{structure}_" if structure else ""
                signatures = expected(logits)
                if channels in (1, 3) and len(x.shape) == 4:
                    signatures["encoded"] = signatures["serving_default"]
                for signature, outputs in signatures.items():
                    for output, value in outputs.items():
                        wanted[name][f"{key}:{signature}:{prefix}{output}"] = value
    served = run(SERVE, tmp_path, json.dumps(versions))
    for name, specs in served.items():
        shape = [None, *models[name].inputs[0].shape[1:]]
        for signature, spec in specs.items():
            assert spec == (["encoded", "string", [None]] if signature == "encoded" else ["image", "float32", shape])
        found = dict(np.load(tmp_path / f"{name}_out.npz"))
        assert set(found) == set(wanted[name])
        # bfloat16 keeps 8 bits, and its sums may be taken in another order: about 1 % of a probability
        tolerance = 2e-2 if name == "bfloat16" else 1e-5
        for key, value in wanted[name].items():
            have = found[key]
            assert have.shape == value.shape, (name, key)
            if value.dtype == bool and name == "bfloat16":
                continue
            assert have.dtype == {"masks": "uint8", "ribbon": "uint8", "review": "bool"}.get(
                key.rsplit("_", 1)[-1].rsplit(":", 1)[-1], "float32"
            ), key
            np.testing.assert_allclose(
                have.astype("float64"), value, rtol=tolerance, atol=tolerance, err_msg=f"{name} {key}"
            )
    assert set(served["fpn"]) == {"serving_default", "encoded", "contours", "summary"}
    for name in {"volume", "signal"} & set(models):
        assert set(served[name]) == {"serving_default", "contours", "summary"}


def test_what_is_not_finite_is_not_exported(tmp_path):
    """Weights, one structure, a calibrator, and what overflows; nothing is left behind."""
    two = small(2, structures=("disc", "cup"))
    diverged = [v for v in two.trainable_variables if "cup" in v.path][-1]
    diverged.assign(np.full(diverged.shape, np.nan))
    image = keras.Input((None, None, 1))
    large = keras.Model(image, keras.layers.Dense(3, bias_initializer=keras.initializers.Constant(np.inf))(image))
    broken, loud = small(3), Temperature()
    loud.call = lambda z: z + np.nan
    for variable in broken.trainable_variables:
        variable.assign(np.full(variable.shape, np.nan))
    for model, calibrator, names in [
        (broken, None, r"\['agreement', 'majority', 'levels', 'at_least'\]: the training diverged. Check the loss"),
        (two, None, r"\['cup_agreement', 'cup_majority', 'cup_levels', 'cup_at_least'\]"),
        (small(3), loud, "the training diverged, or the calibrator is not finite"),
        (large, None, "the training diverged"),
    ]:
        with pytest.raises(ValueError, match=f"model: expected finite probabilities of a trial image.*{names}"):
            export(model, tmp_path / "export", calibrator)
        assert not (tmp_path / "export").exists()


def test_a_calibrator_of_another_model_is_refused_in_plain_words(tmp_path):
    """A layer that knows its width, and one with an error of its own; without colours and lists of arguments."""
    wrong = keras.layers.Lambda(lambda z: z[..., :1] @ keras.ops.ones((3, 4)))
    for layer, words in (VectorScaling([1.0] * 3, [0.0] * 3), "last axis of 3"), (wrong, "[Dd]imension|shape"):
        with pytest.raises(ValueError, match=f"calibrator: expected a layer.*does not take them.*{words}") as error:
            export(small(3), tmp_path / "export", layer)
        assert "\x1b" not in str(error.value)
        assert "Arguments received" not in str(error.value)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in ("/proc/models", "/proc", tmp_path / "file" / "models"):
        with pytest.raises(OSError, match=f"directory: expected a folder that can be made and written to; got '{folder}'"):
            export(small(), folder)


EXPORT = """
import json
import warnings
import numpy as np
import keras_ordseg
from keras_ordseg import serving
from keras_ordseg.models import OrdinalSegmenter, small_backbone
try:
    serving.export(OrdinalSegmenter(small_backbone((None, None, 1), (4,)), 3, decoder="unet"), "jax")
except ValueError as error:
    message = str(error)
model = OrdinalSegmenter(small_backbone((8, 16, 1), (4, 4)), 3, decoder="unet")
version = serving.export(model, "jax")
x = np.random.default_rng(0).integers(0, 256, (3, 8, 16, 1)).astype("float32") / 255
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
    assert served["jax"]["summary"] == ["image", "float32", [None, 8, 16, 1]]
    found = np.load(tmp_path / "jax_out.npz")
    wanted = expected(np.load(tmp_path / "logits.npz")["x"])
    for signature, outputs in (wanted | {"encoded": wanted["serving_default"]}).items():
        for output, value in outputs.items():
            have = found[f"x:{signature}:{output}"].astype("float64")
            np.testing.assert_allclose(have, value, rtol=1e-5, atol=1e-5, err_msg=output)
