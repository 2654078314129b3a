"""`keras-ordseg export` and `keras-ordseg predict`."""

import csv
import json

import keras
import numpy as np
import pytest
from PIL import Image

from keras_ordseg import calibration, layers
from keras_ordseg.cli import main
from keras_ordseg.models import BinarySegmenter, OrdinalSegmenter, small_backbone
from tests.serving.test_export import shaken

tf = pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with `model.keras` of three raters and a fitted `calibrator.keras`."""
    folder = tmp_path_factory.mktemp("model")
    shaken(OrdinalSegmenter(small_backbone((None, None, 1), (4, 8)), 3)).save(folder / "model.keras")
    calibrator = keras.Sequential([keras.Input((None, None, 4)), layers.TemperatureScaling(2.0)])
    calibrator.save(folder / "calibrator.keras")
    return folder


@pytest.fixture(scope="module")
def exported(model):
    (model / "card.json").write_text('{"licence": "CC BY 4.0"}')
    arguments = ["--calibrator", "calibrator.keras", "--card", "card.json"]
    arguments = [str(model / word) if "." in word else word for word in arguments]
    numbers = ["--spacing", "0.5,0.5", "--review-threshold", "0.1", "--max-pixels", "5000"]
    assert main(["export", str(model / "model.keras"), "--output", str(model / "export"), *arguments, *numbers]) == 0
    return model / "export"


@pytest.fixture(scope="module")
def wrong(tmp_path_factory):
    """A folder of models, calibrators and cards that `export` does not take."""
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "card.txt").write_text("licence: mine")
    (folder / "broken.keras").write_bytes(b"PK\x03\x04 not a model")
    (folder / "folder.txt").mkdir()
    keras.Sequential([keras.Input((None, None, 4)), keras.layers.Dense(2)]).save(folder / "narrow.keras")
    keras.Sequential([keras.Input((None, None, 3)), keras.layers.Dense(4)], name="colours").save(folder / "colours.keras")
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)], name="flat").save(folder / "flat.keras")
    diverged = OrdinalSegmenter(small_backbone((None, None, 1), (4, 8)), 3)
    diverged.trainable_variables[0].assign(np.full(diverged.trainable_variables[0].shape, np.nan))
    diverged.save(folder / "diverged.keras")
    return folder


@pytest.fixture
def scans(tmp_path, rng):
    for name in ("a", "b"):
        pixels = rng.integers(0, 256, (10, 14)).astype("uint8")
        Image.fromarray(pixels).save(tmp_path / f"{name}_image.png")
    return tmp_path


def test_export(model, exported, rng):
    """The options arrive: calibrated logits, areas in mm², the card."""
    card = json.loads((exported / "1" / "model_card.json").read_text())
    assert (card["licence"], card["spacing"], card["review_threshold"], card["max_pixels"]) == (
        "CC BY 4.0",
        [0.5, 0.5],
        0.1,
        5000,
    )
    images = rng.random((1, 8, 8, 1)).astype("float32")
    logits = np.asarray(keras.saving.load_model(model / "model.keras")(images), "float64") / 2
    levels = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    signatures = tf.saved_model.load(str(exported / "1")).signatures
    found = signatures["serving_default"](image=tf.constant(images))
    np.testing.assert_allclose(found["levels"].numpy(), levels, atol=1e-6)
    area = signatures["summary"](image=tf.constant(images))["expected_area"].numpy()
    assert area[0] == pytest.approx(0.25 * (levels @ np.arange(4) / 3).sum(), rel=1e-5)


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"file": "nothing.keras"}, "MODEL.keras: there is no file"),
        ({"file": "card.txt"}, "MODEL.keras: expected a .keras file"),
        ({"file": "broken.keras"}, "broken.keras is no .keras file, or is cut short"),
        ({"file": "diverged.keras"}, "model: expected finite probabilities of a trial image"),
        ({"--calibrator": "nothing.keras"}, "--calibrator: there is no file"),
        ({"--calibrator": "card.txt"}, "--calibrator: expected a .keras file"),
        ({"--calibrator": "model.keras"}, "'ordinal_segmenter' is a segmentation model, which takes images"),
        ({"--calibrator": "colours.keras"}, "'colours' takes (None, None, None, 3); was it made for another model?"),
        ({"--calibrator": "flat.keras"}, "'flat' takes (None, 4); was it made for another model?"),
        ({"--card": "nosuch.txt"}, "--card: there is no file"),
        ({"--card": "folder.txt"}, "folder.txt cannot be read (Is a directory)"),
        ({"--output": "/proc/models"}, "--output: expected a folder that can be made and written to. '/proc/models' cannot"),
        ({"--output": "/proc"}, "--output: expected a folder that can be made and written to. '/proc' cannot"),
        ({"--card": "card.txt"}, "card.txt is not JSON"),
        ({"--spacing": "1,2,3"}, "spacing: expected"),
        ({"--review-threshold": "3"}, "review_threshold: expected"),
        ({"--calibrator": "narrow.keras"}, "calibrator: expected a layer from logits to logits"),
    ],
)
def test_export_refuses(model, wrong, tmp_path, capsys, changed, words):
    def path(name):
        return str((model if name == "model.keras" else wrong) / name)

    file = path(changed.pop("file", "model.keras"))
    options = [path(word) if word.endswith((".keras", ".txt")) else word for pair in changed.items() for word in pair]
    assert main(["export", file, "--output", str(tmp_path / "out"), *options]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert not any(word in said for word in ("Traceback", "\x1b", "[Errno", "Arguments received"))
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True


@pytest.mark.parametrize("way, kind", [("attached", OrdinalSegmenter), ("apart", BinarySegmenter)])
def test_a_fitted_calibrator_is_exported(tmp_path, rng, way, kind):
    """The two ways of docs/serving.md, from a fit to the served probabilities; `test_export` has levels and apart."""
    levels = {"num_raters": 3} if kind is OrdinalSegmenter else {}
    model = shaken(kind(small_backbone((None, None, 1), (4, 8)), **levels))
    images = rng.random((2, 16, 16, 1)).astype("float32")
    logits = model.predict(images, verbose=0)
    calibrator = calibration.fit(rng.integers(0, 4, (2, 16, 16)), logits, "vector", num_raters=3)
    model.save(tmp_path / "model.keras")
    if way == "attached":
        calibration.attach(model, calibrator).save(tmp_path / "calibrated.keras")
        arguments = [str(tmp_path / "calibrated.keras")]
    else:
        apart = keras.Sequential([keras.Input((None, None, logits.shape[-1])), calibrator])
        apart.save(tmp_path / "calibrator.keras")
        arguments = [str(tmp_path / "model.keras"), "--calibrator", str(tmp_path / "calibrator.keras")]
    assert main(["export", *arguments, "--output", str(tmp_path / "export")]) == 0
    served = tf.saved_model.load(str(tmp_path / "export" / "1")).signatures["serving_default"](image=tf.constant(images))
    z = np.asarray(calibrator(logits), "float64")
    if kind is OrdinalSegmenter:
        wanted, found = np.exp(z) / np.exp(z).sum(-1, keepdims=True), served["levels"].numpy()
        assert np.abs(wanted - np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)).max() > 1e-2
    else:
        wanted, found = 1 / (1 + np.exp(-z[..., 0])), served["probability"].numpy()
        assert np.abs(wanted - 1 / (1 + np.exp(-logits[..., 0]))).max() > 1e-2
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_code_in_a_keras_file_is_not_run(tmp_path, capsys):
    harmful = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Lambda(lambda x: x)])
    harmful.save(tmp_path / "model.keras")
    assert main(["export", str(tmp_path / "model.keras"), "--output", str(tmp_path / "out")]) == 2
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    arguments = ["--model", str(tmp_path / "model.keras"), "--images", str(tmp_path / "a.png")]
    assert main(["predict", *arguments, "--output", str(tmp_path / "out")]) == 2
    assert "ambda" in capsys.readouterr().err


def test_predict(exported, scans, capsys):
    """A folder with a bad file: the others are done, the exit code and both streams say so; then it is mended."""
    (scans / "c_image.png").write_bytes(b"no picture")
    arguments = ["predict", "--model", str(exported), "--images", str(scans / "*_image.png"), "--output", str(scans / "out")]
    assert main([*arguments, "--quorum", "1,majority", "--batch-size", "2"]) == 1
    said = capsys.readouterr()
    assert "2 of 3 images predicted" in said.out
    assert "c_image.png: cannot be read as an image" in said.err
    names = {f"{name}_image_{kind}.png" for name in "ab" for kind in ("agreement", "masks", "quorum1", "quorum2")}
    assert {path.name for path in (scans / "out").iterdir()} == names | {"summary.csv"}
    before = (scans / "out" / "a_image_masks.png").stat().st_mtime_ns
    Image.new("L", (6, 6)).save(scans / "c_image.png")
    assert main([*arguments, "--quorum", "1,majority", "--batch-size", "2"]) == 0
    assert "3 of 3 images predicted" in capsys.readouterr().out
    assert (scans / "out" / "a_image_masks.png").stat().st_mtime_ns == before
    with (scans / "out" / "summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["file"], row["status"], row["unit"]) for row in rows] == [
        (f"{name}_image.png", "done", "mm²") for name in "abc"
    ]


def test_predict_of_a_training_folder(exported, scans, capsys):
    """Masks beside their images are left out and counted; a pattern takes them."""
    for name in "ab":
        for rater in (1, 2, 3):
            Image.new("L", (14, 10)).save(scans / f"{name}_rater{rater}.png")
    arguments = ["predict", "--model", str(exported), "--output", str(scans / "out"), "--images"]
    assert main([*arguments, str(scans)]) == 0
    said = capsys.readouterr().out
    assert "2 of 2 images predicted" in said
    assert "Left out: 6 files of raters, *_rater* beside *_image" in said
    assert not list((scans / "out").glob("*_rater*"))
    assert main([*arguments, str(scans / "*.png")]) == 0
    said = capsys.readouterr().out
    assert "8 of 8 images predicted" in said
    assert "Left out" not in said


def test_predict_files_with_a_window(exported, scans):
    np.save(scans / "ct.npy", np.linspace(-2000, 2000, 80).reshape(8, 10).astype("int16"))
    arguments = ["predict", "--model", str(exported), "--output", str(scans / "out"), "--images", str(scans / "ct.npy")]
    assert main([*arguments, "--window=-1000,400"]) == 0
    assert main([*arguments[:-1], str(scans / "a_image.png"), str(scans / "b_image.png"), "--window", "1%,99%"]) == 0
    assert len(list((scans / "out").glob("*_agreement.png"))) == 3


@pytest.mark.parametrize(
    "option, words",
    [
        (["--window", "5"], "window must be"),
        (["--quorum", "9"], "quorum: expected numbers from 1 to 3"),
        (["--sliding-window", "4,4,4"], "sliding_window: expected"),
        (["--model", "nothing"], "there is no nothing"),
        (["--model", "ftp://host"], "url: expected"),
        (["--output", "/proc/x"], "--output: expected a folder that can be made and written to. '/proc/x' cannot"),
        (["--model", "http://127.0.0.1:9", "--timeout", "2"], "no server answers there"),
        (["--images", "nothing/*.png"], "nothing matches"),
    ],
)
def test_predict_refuses(exported, scans, capsys, monkeypatch, option, words):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    arguments = ["--model", str(exported), "--images", str(scans), "--output", str(scans / "out"), *option]
    assert main(["predict", *arguments]) == 2
    assert words in capsys.readouterr().err
    assert not (scans / "out").exists()


def test_interrupted(exported, scans, capsys, monkeypatch):
    from keras_ordseg import serving

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(serving, "predict_files", interrupted)
    assert main(["predict", "--model", str(exported), "--images", str(scans), "--output", str(scans / "out")]) == 130
    assert "interrupted; run the same command again to go on" in capsys.readouterr().err
