"""`keras-ordseg export` and `keras-ordseg predict`."""

import csv
import json

import keras
import numpy as np
import pytest
from PIL import Image

from keras_ordseg import layers
from keras_ordseg.cli import main
from keras_ordseg.models import OrdinalSegmenter, small_backbone
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
        ({"file": "nothing.keras"}, "nothing.keras: expected a .keras file"),
        ({"file": "card.txt"}, "card.txt: expected a .keras file"),
        ({"file": "broken.keras"}, "broken.keras"),
        ({"--card": "card.txt"}, "card.txt is not JSON"),
        ({"--spacing": "1,2,3"}, "spacing: expected"),
        ({"--review-threshold": "3"}, "review_threshold: expected"),
        ({"--calibrator": "narrow.keras"}, "calibrator: expected a layer from logits to logits"),
    ],
)
def test_export_refuses(model, tmp_path, capsys, changed, words):
    (model / "card.txt").write_text("licence: mine")
    (model / "broken.keras").write_bytes(b"PK\x03\x04 not a model")
    keras.Sequential([keras.Input((None, None, 4)), keras.layers.Dense(2)]).save(model / "narrow.keras")
    file = model / changed.pop("file", "model.keras")
    options = [str(model / word) if word.endswith((".keras", ".txt")) else word for pair in changed.items() for word in pair]
    assert main(["export", str(file), "--output", str(tmp_path / "out"), *options]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True


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
