"""Pictures during `fit`: as files that are whole, in TensorBoard's event files, for every kind of model."""

import json
import os
import subprocess
import sys
from unittest import mock

import keras
import numpy as np
import pytest
from PIL import Image

from keras_ordseg import callbacks, data, losses, metrics, models
from tests.conftest import ROOT

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
)


def arrays(rng, num=6, shape=(16, 16), num_raters=3, channels=1):
    """Boxes that grow from rater to rater; image 0 has no mark, a rater is absent from image 1."""
    image = rng.random((num, *shape, channels)).astype("float32")
    ratings = np.zeros((num, *shape, num_raters), "int8")
    for r in range(num_raters):
        ratings[(slice(1, None), *(slice(4 - r, 9 + r) for _ in shape), r)] = 1
    ratings[1, ..., 0] = -1
    return {"image": image, "ratings": ratings, "id": np.array([f"case{i}" for i in range(num)])}


def compiled(model, loss=None):
    """Trained step by step: what is tested here is around the model, and to trace a step takes longer than the steps."""
    model.compile("adam", loss or losses.OrdinalSegmentationLoss(), run_eagerly=True)
    return model


def segmenter(num_raters, **kwargs):
    backbone = models.small_backbone((None, None, 1), filters=(4, 8))
    return compiled(models.OrdinalSegmenter(backbone, num_raters, **kwargs))


def small(outputs=4, channels=1, axes=2, loss=None):
    """One convolution: what is tested here is around the model."""
    x = keras.Input((*(None,) * axes, channels))
    conv = {2: keras.layers.Conv2D, 3: keras.layers.Conv3D}[axes]
    return compiled(keras.Model(x, conv(outputs, 1)(x)), loss)


def watched(model, ratings, monitors, epochs=1, **kwargs):
    monitors = monitors if isinstance(monitors, list) else [monitors]
    image = monitors[0]._arrays["image"]
    return model.fit(image, ratings, epochs=epochs, batch_size=4, verbose=0, callbacks=monitors, **kwargs)


def spied(*names):
    """The plot functions, called through, that remember what they drew."""
    from keras_ordseg import plots

    return [mock.patch.object(plots, name, wraps=getattr(plots, name)) for name in names]


def events(folder):
    """`[(step, tag, image)]` of every event file in a folder, as TensorBoard reads them."""
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    return [
        (event.step, value.tag, value.image)
        for path in sorted(folder.glob("events.out.tfevents.*"))
        for event in LegacyEventFileLoader(str(path)).Load()
        for value in event.summary.value
    ]


def test_files_and_events(tmp_path, rng):
    arr = arrays(rng)
    monitor = callbacks.AgreementMonitor(arr, tmp_path / "a" / "b", tmp_path / "logs", every=2, images=3)
    model = small()
    model.compile("adam", losses.OrdinalSegmentationLoss())  # in a graph, as users train
    diagram, maps = spied("reliability_diagram", "agreement_map")
    with diagram as diagram, maps as maps:
        watched(model, arr["ratings"], monitor, epochs=5)
    names = sorted(path.name for path in (tmp_path / "a" / "b").iterdir())
    assert names == [f"{kind}_epoch000{n}.png" for kind in ("agreement", "reliability") for n in (2, 4)]
    for name in names:
        with Image.open(tmp_path / "a" / "b" / name) as picture:
            picture.load()
            assert min(picture.size) > 300
    found = events(tmp_path / "logs" / "agreement")
    assert [(step, tag) for step, tag, _ in found] == [
        (1, "reliability"), (1, "agreement"), (3, "reliability"), (3, "agreement")
    ]  # fmt: skip
    for (step, tag, image), _ in zip(found, names, strict=True):
        png = (tmp_path / "a" / "b" / f"{tag}_epoch{step + 1:04d}.png").read_bytes()
        assert image.encoded_image_string == png
        with Image.open(tmp_path / "a" / "b" / f"{tag}_epoch{step + 1:04d}.png") as picture:
            assert (image.width, image.height) == picture.size
    # what was drawn is what the model says after its last epoch that was drawn; the fifth moved it on
    drawn = diagram.call_args.args[0]
    assert list(drawn) == ["expected read-out", "majority read-out"]
    assert all(entry["counts"].sum() == (arr["ratings"] >= 0).sum() for entry in drawn.values())
    images, ratings, predicted = maps.call_args.args
    assert maps.call_args.kwargs["row_titles"] == ["case1", "case2", "case4"]  # of those with marks, spread evenly
    np.testing.assert_array_equal(ratings[1], arr["ratings"][2])
    assert maps.call_args.kwargs["title"] == "epoch 4"
    assert len(images) == len(predicted) == 3


def test_draws_what_the_model_predicts(tmp_path, rng):
    """The numbers of the pictures, from the model and a metric of one's own; batches of validation change nothing."""
    arr = arrays(rng)
    model = small()
    monitor = callbacks.AgreementMonitor(arr, tmp_path, images=[5, 1], num_bins=7, batch_size=4)
    diagram, maps = spied("reliability_diagram", "agreement_map")
    with diagram as diagram, maps as maps:
        watched(model, arr["ratings"], monitor)
    z = model.predict(arr["image"], verbose=0)
    for label in ("expected", "majority"):
        metric = metrics.MultiRaterECE(label, num_bins=7)
        metric.update_state(arr["ratings"], z)
        drawn = diagram.call_args.args[0][f"{label} read-out"]
        np.testing.assert_allclose(drawn["ece"], float(metric.result()), atol=1e-6)
        np.testing.assert_array_equal(drawn["counts"], metric.reliability()["counts"])
    levels = np.exp(z - z.max(-1, keepdims=True))
    levels /= levels.sum(-1, keepdims=True)
    for row, shown in zip((5, 1), maps.call_args.args[2], strict=True):
        np.testing.assert_allclose(shown["expected read-out"], levels[row] @ (np.arange(4) / 3), atol=1e-5)
        np.testing.assert_allclose(shown["majority read-out"], levels[row][..., 2:].sum(-1), atol=1e-5)


def test_the_second_drawing_starts_anew(tmp_path, rng):
    arr = arrays(rng)
    monitor = callbacks.AgreementMonitor(arr, tmp_path)
    (diagram,) = spied("reliability_diagram")
    with diagram as diagram:
        watched(small(), arr["ratings"], monitor, epochs=2)
    assert diagram.call_args.args[0]["expected read-out"]["counts"].sum() == (arr["ratings"] >= 0).sum()


def test_binary_models_colours_and_odd_channels(tmp_path, rng):
    for channels in (3, 2):
        arr = arrays(rng, channels=channels)
        model = small(1, channels, loss=losses.SoftLabelCrossEntropy())
        diagram, maps = spied("reliability_diagram", "agreement_map")
        with diagram as diagram, maps as maps:
            watched(model, arr["ratings"], callbacks.AgreementMonitor(arr, tmp_path / str(channels)))
        assert "ece" in diagram.call_args.args[0]  # one diagram, with gap bars
        assert maps.call_args.args[0][0].shape == (16, 16, 3 if channels == 3 else 1)
        assert list(maps.call_args.args[2][0]) == ["expected read-out"]


def test_volumes_show_the_slice_with_the_most_marks(tmp_path, rng):
    arr = arrays(rng, num=2, shape=(8, 16, 16))
    arr["ratings"][1, 6] = 1
    model = small(axes=3)
    (maps,) = spied("agreement_map")
    with maps as maps:
        watched(model, arr["ratings"], callbacks.AgreementMonitor(arr, tmp_path))
    images, ratings, predicted = maps.call_args.args
    np.testing.assert_array_equal(images[0], arr["image"][1, 6])
    np.testing.assert_array_equal(ratings[0], arr["ratings"][1, 6])
    z = model.predict(arr["image"], verbose=0)[1, 6].astype("float64")
    p = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    np.testing.assert_allclose(predicted[0]["expected read-out"], p @ (np.arange(4) / 3), atol=1e-5)


def test_structures(tmp_path, rng):
    arr = arrays(rng)
    ratings = {"disc": arr["ratings"], "cup": arr["ratings"][..., :2]}
    arr["ratings"] = ratings
    model = segmenter({"disc": 3, "cup": 2}, structures=("disc", "cup"))
    compiled(model, {name: losses.OrdinalSegmentationLoss() for name in ratings})
    monitors = [
        callbacks.AgreementMonitor(arr, tmp_path, tmp_path / "logs", structure=name) for name in ratings
    ]
    watched(model, ratings, monitors)
    names = sorted(path.name for path in tmp_path.glob("*.png"))
    assert names == [f"{s}_{kind}_epoch0001.png" for s in ("cup", "disc") for kind in ("agreement", "reliability")]
    assert len(events(tmp_path / "logs" / "agreement" / "cup")) == 2
    arr["ratings"] = ratings["disc"]
    for structure, words in ((None, r"structure: expected one of the model's outputs \['cup', 'disc'\]"), ("rim", "rim")):
        with pytest.raises(ValueError, match=words):
            watched(model, ratings, callbacks.AgreementMonitor(arr, tmp_path, structure=structure))
    with pytest.raises(ValueError, match="structure: expected None and a model with one output"):
        watched(small(), arr["ratings"], callbacks.AgreementMonitor(arr, tmp_path, structure="disc"))


def test_what_does_not_fit_is_found_before_training(tmp_path, rng):
    arr = arrays(rng)
    model = small(3)  # K = 2; the images have three answers
    before = [np.array(w) for w in model.get_weights()]
    with pytest.raises(ValueError, match="at most K=2 answers"):
        watched(model, arr["ratings"][..., :2], callbacks.AgreementMonitor(arr, tmp_path))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    "change,options,message",
    [
        ({}, {"folder": None}, "folder, log_dir: expected where the pictures go"),
        ({}, {"every": 0}, "every: expected an int"),
        ({}, {"images": []}, "images: expected a number, or rows in 0..5"),
        ({}, {"images": [6]}, "images: expected a number, or rows in 0..5"),
        ({}, {"images": 0}, "images: expected an int"),
        ({"ratings": {"cup": 0}}, {"structure": "disc"}, r"structure: expected one of \['cup'\]"),
        ({"image": np.full((6, 16, 16, 1), 80.0, "float32")}, {}, "scale it to that"),
        ({"image": np.zeros((6, 4, 1), "float32"), "ratings": np.zeros((6, 4, 2), "int8")}, {}, "two or three spatial"),
    ],
)
def test_arguments(change, options, message, tmp_path, rng):
    with pytest.raises(ValueError, match=message):
        callbacks.AgreementMonitor(arrays(rng) | change, **({"folder": tmp_path} | options))
    with pytest.raises(ValueError, match="validation: expected a dict"):
        callbacks.AgreementMonitor([np.zeros((1, 4, 4, 1))], tmp_path)


def test_without_tensorboard(tmp_path, rng):
    with mock.patch("importlib.util.find_spec", return_value=None):
        callbacks.AgreementMonitor(arrays(rng), tmp_path)
        with pytest.raises(ImportError, match=r"pip install 'keras_ordseg\[tensorboard\]'"):
            callbacks.AgreementMonitor(arrays(rng), log_dir=tmp_path)


def test_a_disk_that_is_full_does_not_end_the_training(tmp_path, rng):
    arr = arrays(rng)
    (tmp_path / "file").write_text("in the way")
    monitor = callbacks.AgreementMonitor(arr, tmp_path / "file")
    with pytest.warns(UserWarning, match="could not write the picture"):
        watched(small(), arr["ratings"], monitor)
    whole = callbacks.AgreementMonitor(arr, tmp_path)
    with mock.patch("os.replace", side_effect=OSError("full")), pytest.warns(UserWarning, match="full"):
        watched(small(), arr["ratings"], whole)
    assert not list(tmp_path.glob("*.png"))


def test_real_images(real_data, tmp_path):
    """Nodules of a real pack: four radiologists, an image that not all of them mark."""
    cases = data.cases(real_data("lidc_crops"))
    arr = data.load(cases[:8], size=32)
    model = segmenter(4, initial_levels=data.level_frequencies(arr))
    watched(model, arr["ratings"], callbacks.AgreementMonitor(arr, tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"agreement_epoch0001.png", "reliability_epoch0001.png"}


JAX = """
import importlib.abc, json, pathlib, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "tensorflow_datasets"):
            raise ImportError(f"{name} is not installed here")

sys.meta_path.insert(0, Blocked())
import numpy as np
from tests.callbacks import test_monitor as here
folder = pathlib.Path(sys.argv[1])
arr = here.arrays(np.random.default_rng(0))
model = here.small()
model.compile("adam", here.losses.OrdinalSegmentationLoss())
before = [np.array(w) for w in model.get_weights()]
monitor = here.callbacks.AgreementMonitor(arr, folder, folder / "logs")
loss = here.watched(model, arr["ratings"], monitor, epochs=3).history["loss"]
moved = max(float(np.abs(a - b).max()) for a, b in zip(before, model.get_weights()))
found = [(step, tag) for step, tag, _ in here.events(folder / "logs" / "agreement")]
print(json.dumps({"loss": loss, "moved": moved, "events": found, "files": len(list(folder.glob("*.png")))}))
"""


def test_jax_without_tensorflow(tmp_path):
    """Predicting between the epochs leaves the training's state alone; TensorBoard's files need no TensorFlow."""
    pytest.importorskip("jax")
    done = subprocess.run(
        [sys.executable, "-c", JAX, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "jax"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["files"] == len(found["events"]) == 6
    assert found["loss"][2] < found["loss"][0]
    assert found["moved"] > 1e-4
