"""Versions of an export, and what is refused."""

import json
import os
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_ordseg.layers import AgreementReadout
from keras_ordseg.serving import export

tf = pytest.importorskip("tensorflow")


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


@pytest.mark.parametrize("stage", ["write_warmup", "card_fields", "_publish"])
def test_an_export_that_is_interrupted_leaves_nothing(stage, tmp_path, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["keras_ordseg.serving._export"], stage, interrupt)
    with pytest.raises(KeyboardInterrupt):
        export(level_model(), tmp_path)
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
import keras
from keras_ordseg.serving import export
image = keras.Input((4, 4, 1), name="image")
model = keras.Model(image, keras.layers.Conv2D(4, 1)(image))
os.rename = lambda source, target: os.kill(os.getpid(), signal.SIGKILL)
export(model, sys.argv[1])
"""


@pytest.mark.slow
def test_an_export_that_is_killed_leaves_no_version(tmp_path):
    """At the last moment, when all files are written: TensorFlow Serving sees folders with a number for a name only."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True)
    assert done.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".export-")
    assert (left / "model" / "model_card.json").is_file()
    version = export(level_model(), tmp_path)
    assert version.name == "1"
    assert (version / "assets.extra" / "tf_serving_warmup_requests").is_file()


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


class Halving(keras.layers.Layer):
    def call(self, logits):
        return logits[..., :2]


def two_structures():
    image = keras.Input((4, 4, 1), name="image")
    return keras.Model(image, {"disc": keras.layers.Conv2D(4, 1)(image), "cup": keras.layers.Conv2D(4, 1)(image)})


@pytest.mark.parametrize(
    "options,error,message",
    [
        ({"calibrator": "temperature"}, TypeError, "calibrator: expected a Keras layer"),
        ({"calibrator": Halving()}, ValueError, "calibrator: expected a layer from logits to logits"),
        ({"calibrator": {"disc": Halving()}}, ValueError, "one layer, not a dict.*'disc'"),
        ({"spacing": (1.0,)}, ValueError, "spacing: .* each of the 2 axes"),
        ({"spacing": (1.0, 0.0)}, ValueError, "spacing: .*above 0"),
        ({"spacing": 0.5}, ValueError, "spacing: .* each of the 2 axes"),
        ({"review_threshold": 2}, ValueError, "review_threshold: expected a share"),
        ({"max_pixels": 1.5}, ValueError, "max_pixels: expected an int"),
        ({"multiple": 0}, ValueError, "multiple: expected an int"),
        ({"value_range": (1, 0)}, ValueError, "value_range: expected"),
        ({"sample": np.zeros((5, 4, 1))}, ValueError, r"sample: expected an image \(4, 4, 1\).*\(1, 5, 4, 1\)"),
        ({"sample": np.full((4, 4, 1), 7.0)}, ValueError, r"sample: expected finite values in \[0, 1\].*7 to 7"),
        ({"sample": np.full((4, 4, 1), np.nan), "value_range": None}, ValueError, "sample: expected finite values,"),
        ({"card": {"x": object()}}, TypeError, r"card\['x'\]"),
        ({"dtype": "float16"}, ValueError, "dtype: expected 'float32'"),
    ],
)
def test_an_argument_out_of_range_is_refused_before_anything_is_written(options, error, message, tmp_path):
    with pytest.raises(error, match=message):
        export(level_model(), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_calibrator_for_no_structure_is_refused(tmp_path):
    with pytest.raises(ValueError, match="calibrator: expected a dict by structure.*'disc', 'cup'.*one layer"):
        export(two_structures(), tmp_path, keras.layers.Rescaling(2.0))
    with pytest.raises(ValueError, match="the structures .'rim'"):
        export(two_structures(), tmp_path, {"rim": keras.layers.Rescaling(2.0)})


def test_a_model_of_another_range_has_no_files(tmp_path):
    """Its input is not what files hold; any finite values are taken."""
    version = export(level_model(), tmp_path, value_range=None)
    served = tf.saved_model.load(str(version)).signatures
    assert "encoded" not in served
    assert "not exported for that range" in left_out(version)["encoded"]
    assert served["summary"](image=tf.fill((1, 4, 4, 1), -300.0))["review"].shape == (1,)


def left_out(version):
    return json.loads((version / "model_card.json").read_text(encoding="utf-8"))["left_out"]


def test_no_warm_up_request_that_the_served_model_would_refuse(tmp_path):
    """TensorFlow Serving does not load a version whose warm-up fails."""
    version = export(level_model(), tmp_path, max_pixels=15, value_range=(0, 1))
    assert "max_pixels" in left_out(version)["warm-up of encoded"]
    file = version / "assets.extra" / "tf_serving_warmup_requests"
    assert len(list(tf.data.TFRecordDataset(str(file)))) == 3
    version = export(level_model(), tmp_path, value_range=(2, 3))
    record = next(tf.data.TFRecordDataset(str(version / file.relative_to(version.parent / "1"))).as_numpy_iterator())
    assert np.float32(2).tobytes() * 16 in record


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
