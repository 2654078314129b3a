import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_ordseg.layers import AgreementReadout
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


def plain(outputs):
    """A model of one small layer, which is written fast."""
    image = keras.Input((4, 4, 1), name="image")
    return keras.Model(image, outputs(image))


def level_model():
    return plain(keras.layers.Conv2D(4, 1))


def test_versions_count_up_and_are_whole(tmp_path):
    folder = tmp_path / "new" / "model"
    assert export(level_model(), folder) == folder / "1"
    # what an earlier crash, a user and a backup leave behind: none of it is a version
    (folder / ".export-abc" / "model").mkdir(parents=True)
    (folder / "7.tmp").mkdir()
    (folder / "notes.txt").write_text("9")
    (folder / "latest").mkdir()
    assert export(level_model(), str(folder)).name == "2"
    (folder / "0012").mkdir()
    version = export(level_model(), folder)
    assert version.name == "13"
    assert (version / "saved_model.pb").is_file()
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        ["1", "2", "0012", "13", ".export-abc", "7.tmp", "notes.txt", "latest"]
    )


def test_a_failed_export_leaves_nothing(tmp_path, monkeypatch):
    def fail(self, filepath, **kwargs):
        os.makedirs(filepath)
        raise OSError("disk full")

    monkeypatch.setattr(type(keras.export.ExportArchive()), "write_out", fail)
    with pytest.raises(OSError, match="disk full"):
        export(level_model(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_version_taken_meanwhile_is_not_overwritten(tmp_path, monkeypatch):
    """Two exports at once: both look, both find version 1 free."""
    rename = os.rename

    def slow(source, target):
        if target == tmp_path / "1" and not target.exists():
            target.mkdir()
            (target / "saved_model.pb").write_text("the other's")
        rename(source, target)

    monkeypatch.setattr(os, "rename", slow)
    assert export(level_model(), tmp_path).name == "2"
    assert (tmp_path / "1" / "saved_model.pb").read_text() == "the other's"


def test_others_may_read_the_version(tmp_path):
    version = export(level_model(), tmp_path)
    (tmp_path / "mine").mkdir()
    assert version.stat().st_mode == (tmp_path / "mine").stat().st_mode


class Opaque(keras.Model):
    def call(self, x):
        return x


def two_inputs():
    first, second = keras.Input((4, 4, 1)), keras.Input((4, 4, 1))
    return keras.Model([first, second], first + second)


def built_opaque():
    model = Opaque()
    model.build((None, 4, 4, 1))
    model(np.zeros((1, 4, 4, 1)))
    return model


@pytest.mark.parametrize(
    "model,message",
    [
        (Opaque, "is not built"),
        (built_opaque, "shapes are not known"),
        (lambda: keras.Sequential([keras.layers.Conv2D(1, 1)]), "is not built"),
        (two_inputs, "expected one input, an image"),
        (lambda: plain(keras.layers.GlobalAveragePooling2D()), r"expected level logits .* shape \(None, 1\)"),
        (lambda: plain(lambda x: [x, x]), "expected level logits"),
        (lambda: plain(keras.layers.Conv2D(4, 1, activation="softmax")), "expected logits.*probabilities"),
        (lambda: plain(lambda x: keras.ops.sigmoid(x)), "expected logits.*probabilities"),
        (
            lambda: plain(lambda x: AgreementReadout(output="probability")(keras.layers.Conv2D(4, 1)(x))),
            "expected logits.*probabilities",
        ),
    ],
)
def test_an_unsuitable_model_is_refused(model, message, tmp_path):
    with pytest.raises(ValueError, match=f"(?s)model: .*{message}"):
        export(model(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_something_else_is_refused(tmp_path):
    with pytest.raises(TypeError, match="model: expected a Keras model"):
        export("model.keras", tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="directory: expected a folder"):
        export(level_model(), tmp_path / "file")


def test_without_a_way_to_write_it_says_so(tmp_path, monkeypatch):
    model = level_model()
    with monkeypatch.context() as patch:
        patch.setattr(keras.config, "backend", lambda: "torch")
        with pytest.raises(RuntimeError, match="'torch' backend.*KERAS_BACKEND=tensorflow"):
            export(model, tmp_path)
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ImportError, match="pip install tensorflow"):
        export(model, tmp_path)
