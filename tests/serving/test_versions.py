"""Versions of an export, and what is refused."""

import os
import sys

import keras
import numpy as np
import pytest

from keras_ordseg.layers import AgreementReadout
from keras_ordseg.serving import export

pytest.importorskip("tensorflow")


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
