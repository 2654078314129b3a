"""What lies beside the SavedModel: the model card and the requests that warm it up; TensorFlow's own tool on all of it."""

import json
import subprocess
import sys
from pathlib import Path

import jinja2
import keras
import numpy as np
import pytest

from keras_ordseg.metrics import MultiRaterECE
from keras_ordseg.models import OrdinalSegmenter, small_backbone
from keras_ordseg.serving import export
from keras_ordseg.serving._card import make_card

tf = pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    metric = MultiRaterECE(num_raters=3)
    metric.update_state(np.zeros((1, 4, 4, 3), "int8"), np.zeros((1, 4, 4, 4), "float32"))
    model = OrdinalSegmenter(small_backbone((None, None, 1), filters=(4, 8)), num_raters=3, preprocessing="tf")
    return export(
        model,
        tmp_path_factory.mktemp("export") / "lungs",
        keras.layers.Rescaling(0.5, name="temperature"),
        sample=np.full((10, 7, 1), 0.25),
        spacing=(0.5, 0.2),
        review_threshold=0.4,
        card={
            "data": {"name": "<b>LIDC</b>", "patients": np.int64(12)},
            "metrics": {"ece": metric.result(), "dice": np.array([0.5, np.nan]), "worst": float("inf")},
            "licence": "CC BY 4.0 [new]\n[x]",
        },
    )


@pytest.fixture(scope="module")
def signatures(version):
    return tf.saved_model.load(str(version)).signatures


def test_the_card_tells_what_is_served(version, signatures):
    text = (version / "model_card.json").read_text(encoding="utf-8")
    card = json.loads(text)
    assert card["raters"] == 3
    assert card["structures"] is None
    assert card["preprocessing"] == "tf"
    assert card["calibrator"][""]["class"] == "Rescaling"
    assert (card["spacing"], card["area_unit"], card["review_threshold"]) == ([0.5, 0.2], "mm²", 0.4)
    assert (card["value_range"], card["size_multiple"], card["max_pixels"]) == ([0, 1], [2, 2], 2**26)
    assert card["data"] == {"name": "<b>LIDC</b>", "patients": 12}
    assert card["metrics"]["ece"] == pytest.approx(0.5)
    assert card["metrics"]["dice"] == [0.5, None]
    assert card["metrics"]["worst"] is None
    assert card["licence"] == "CC BY 4.0 [new]\n[x]"
    assert card["versions"]["keras"] == keras.__version__
    assert card["left_out"] == {}
    assert '"shape": [null, null, null, 1]' in text
    assert set(card["signatures"]) == set(signatures)
    for name, serve in signatures.items():
        for side, specs in (
            ("inputs", serve.structured_input_signature[1]),
            ("outputs", serve.structured_outputs),
        ):
            told = card["signatures"][name][side]
            assert told == {key: {"dtype": x.dtype.name, "shape": x.shape.as_list()} for key, x in specs.items()}
    outputs = {key for signature in card["signatures"].values() for key in signature["outputs"]}
    assert set(card["readouts"]) == outputs


def test_areas_are_in_square_millimetres(signatures):
    image = tf.fill((2, 6, 6, 1), 0.5)
    area = 0.1 * signatures["serving_default"](image=image)["agreement"].numpy().sum((1, 2))
    np.testing.assert_allclose(signatures["contours"](image=image)["area"], area, rtol=1e-5)
    np.testing.assert_allclose(signatures["summary"](image=image)["expected_area"], area, rtol=1e-5)


def test_a_page_shows_the_card_escaped(version):
    """As the package's reports show such texts: Jinja with autoescape."""
    card = json.loads((version / "model_card.json").read_text(encoding="utf-8"))
    page = jinja2.Environment(autoescape=True).from_string("{{ card.data.name }}").render(card=card)
    assert page == "&lt;b&gt;LIDC&lt;/b&gt;"


@pytest.mark.parametrize(
    "about,error,message",
    [
        (["x"], TypeError, "card: expected a dict"),
        ({"a": {"b": [1, object()]}}, TypeError, r"card\['a'\]\['b'\]\[1\]: expected what JSON holds"),
        ({"a": {3: 1}}, TypeError, r"card\['a'\]: expected text as keys"),
        ({"raters": 3, "x": 1}, ValueError, r"writes the fields \['raters'\]"),
        ({"a": b"bytes"}, TypeError, "JSON"),
    ],
)
def test_what_is_no_card(about, error, message):
    with pytest.raises(error, match=message):
        make_card(about, {"raters": 5})


def test_warm_up_requests_are_read_by_tensorflow_servings_own_messages(version, signatures):
    prediction_log_pb2 = pytest.importorskip(
        "tensorflow_serving.apis.prediction_log_pb2", reason="tensorflow-serving-api is not installed"
    )
    file = version / "assets.extra" / "tf_serving_warmup_requests"
    replayed = {}
    for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        assert log.WhichOneof("log_type") == "predict_log"
        assert log.SerializeToString(deterministic=True) == record  # no field unknown to it, nothing left out
        request = log.predict_log.request
        assert request.model_spec.name == "lungs"
        inputs = {name: tf.constant(tf.make_ndarray(tensor)) for name, tensor in request.inputs.items()}
        name = request.model_spec.signature_name
        replayed[name] = signatures[name](**inputs)
    assert set(replayed) == set(signatures)
    assert replayed["serving_default"]["agreement"].shape == (1, 10, 7)
    np.testing.assert_allclose(  # a quarter is 64 of 255 as a file
        replayed["encoded"]["agreement"], replayed["serving_default"]["agreement"], atol=2e-3
    )


def saved_model_cli(*args):
    tool = Path(sys.executable).with_name("saved_model_cli")
    if not tool.exists():
        pytest.skip("saved_model_cli is not beside the interpreter")
    done = subprocess.run([str(tool), *map(str, args)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_saved_model_cli(version, signatures, tmp_path):
    shown = saved_model_cli("show", "--dir", version, "--tag_set", "serve", "--signature_def", "summary")
    assert "inputs['image'] tensor_info" in shown
    assert "outputs['disputed_share'] tensor_info" in shown
    image = np.random.default_rng(0).uniform(size=(2, 10, 8, 1)).astype("float32")
    np.save(tmp_path / "image.npy", image)
    arguments = ["--dir", version, "--tag_set", "serve", "--signature_def", "contours"]
    saved_model_cli("run", *arguments, "--inputs", f"image={tmp_path / 'image.npy'}", "--outdir", tmp_path / "out")
    wanted = signatures["contours"](image=tf.constant(image))
    for name, value in wanted.items():
        np.testing.assert_allclose(np.load(tmp_path / "out" / f"{name}.npy"), value, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    "image,message",
    [
        (np.full((1, 4, 4, 1), np.nan), "image: holds values that are not finite"),
        (np.full((1, 4, 4, 1), np.inf), "not finite"),
        (np.full((1, 4, 4, 1), 200.0), r"image: expected values in \[0, 1\].*divide 8-bit images by 255"),
        (np.full((1, 4, 4, 1), -0.5), r"values in \[0, 1\]"),
    ],
)
def test_values_that_no_training_saw_are_refused(signatures, image, message):
    for name in ("serving_default", "contours", "summary"):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            signatures[name](image=tf.constant(image, tf.float32))
