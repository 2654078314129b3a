"""LiteRT and ONNX files of the signatures, run by their own runtimes."""

import sys

import keras
import numpy as np
import pytest

from keras_ordseg.models import BinarySegmenter, OrdinalSegmenter, small_backbone
from keras_ordseg.serving import _convert, convert, export

tf = pytest.importorskip("tensorflow")


def one_layer():
    image = keras.Input((None, None, 1), name="image")
    return keras.Model(image, keras.layers.Conv2D(4, 3, padding="same")(image))


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    """A model of one layer, which is converted fast, with a calibrator and images that are padded."""
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("one")
    return export(one_layer(), folder, keras.layers.Rescaling(3.0), multiple=4, spacing=(0.5, 0.5))


def needed(suffix):
    if suffix == ".onnx":
        for package in ("tf2onnx", "onnxruntime"):
            pytest.importorskip(package, reason=f"{package} is not installed: extra `convert`")
    else:
        pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed: extra `convert`")


def run(path, signature, image):
    """The outputs of a file by name, through the runtime's own interface."""
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return dict(zip([o.name for o in session.get_outputs()], session.run(None, {"image": image}), strict=True))
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(model_path=str(path)).get_signature_runner(signature)(image=image)


def same(version, path, signature, image):
    """The file against the SavedModel: to 1e-4 of a probability and of an area."""
    served = tf.saved_model.load(str(version)).signatures[signature](image=tf.constant(image))
    found = run(path, signature, image)
    assert set(found) == set(served)
    for name, value in served.items():
        assert found[name].shape == value.shape, name
        assert found[name].dtype == value.numpy().dtype, name
        if value.dtype.is_floating:
            np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-4, err_msg=name)
        elif value.dtype != tf.bool:
            assert np.mean(found[name] != value.numpy()) <= 1e-3, name


@pytest.mark.parametrize("suffix,signature", [(".tflite", "contours"), (".onnx", "summary"), (".onnx", "serving_default")])
def test_names_sizes_and_numbers_stay(version, suffix, signature, tmp_path, rng):
    needed(suffix)
    path = convert(version, tmp_path / "new" / f"model{suffix}", signature)
    assert [file.name for file in path.parent.iterdir()] == [f"model{suffix}"]
    for size in ((1, 8, 12, 1), (3, 13, 6, 1)):  # the second is padded
        same(version, path, signature, rng.uniform(size=size).astype("float32"))


@keras.saving.register_keras_serializable(package="tests")
class Rounded(keras.layers.Layer):
    """Functions that the heads, ensembles and calibrators of the package use, and tf2onnx has no rule for."""

    def call(self, logits):
        return keras.ops.expm1(keras.ops.log1p(keras.ops.exp(0.1 * logits)))


def test_functions_that_the_converter_lacks(tmp_path, rng):
    needed(".onnx")
    version = export(one_layer(), tmp_path, Rounded())
    path = convert(version, tmp_path / "model.onnx", "summary")
    same(version, path, "summary", rng.uniform(size=(2, 9, 7, 1)).astype("float32"))


def all_models():
    shapes = {"fpn": (None, None, 1), "fixed": (32, 48, 3), "volume": (None, None, None, 1), "signal": (None, 2)}
    models = {
        name: lambda shape=shape: OrdinalSegmenter(small_backbone(shape, filters=(4, 8)), num_raters=3)
        for name, shape in shapes.items()
    }
    models["unet"] = lambda: OrdinalSegmenter(small_backbone((None, None, 1), (4, 8)), num_raters=3, decoder="unet")
    models["binary"] = lambda: BinarySegmenter(small_backbone((None, None, 1), filters=(4, 8)))
    models["structures"] = lambda: OrdinalSegmenter(
        small_backbone((None, None, 1), (4, 8)), {"disc": 2, "cup": 2}, structures=("disc", "cup"), nested_structures=True
    )
    return models


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".tflite", ".onnx"])
@pytest.mark.parametrize("name", list(all_models()))
def test_every_kind_of_model(name, suffix, tmp_path, rng):
    needed(suffix)
    model = all_models()[name]()
    for variable in model.trainable_variables:
        variable.assign(variable + rng.normal(0, 0.1, variable.shape))
    version = export(model, tmp_path / "saved")
    if (name, suffix) == ("volume", ".tflite"):
        with pytest.raises(RuntimeError, match="cannot take the signature 'serving_default'.*MaxPool3D"):
            convert(version, tmp_path / "model.tflite")
        return
    sides = [12 if side is None else side for side in model.inputs[0].shape[1:-1]]
    image = rng.uniform(size=(2, *sides, model.inputs[0].shape[-1])).astype("float32")
    for signature in ("serving_default", "contours", "summary"):
        same(version, convert(version, tmp_path / f"{signature}{suffix}", signature), signature, image)


def test_half_precision_is_refused_until_it_is_exported_in_float32(tmp_path, rng):
    keras.config.set_dtype_policy("mixed_float16")
    model = OrdinalSegmenter(small_backbone((None, None, 1), filters=(2,)), num_raters=2, decoder="upsample")
    keras.config.set_dtype_policy("float32")
    for variable in model.trainable_variables:
        variable.assign(variable + rng.normal(0, 0.1, variable.shape))
    with pytest.raises(ValueError, match=r"half precision.*dtype='float32'"):
        convert(export(model, tmp_path), tmp_path / "model.tflite")
    version = export(model, tmp_path, dtype="float32")
    image = rng.uniform(size=(2, 9, 9, 1)).astype("float32")
    served = tf.saved_model.load(str(version)).signatures["serving_default"](image=tf.constant(image))
    levels = keras.ops.softmax(model(image))
    assert np.ptp(levels) > 0.05
    np.testing.assert_allclose(served["levels"], levels, atol=5e-3)  # float16 keeps 11 bits
    assert model.dtype_policy.name == "mixed_float16"
    needed(".tflite")
    same(version, convert(version, tmp_path / "model.tflite"), "serving_default", image)


def test_a_file_that_differs_is_not_kept(version, tmp_path, monkeypatch):
    old = tmp_path / "model.tflite"
    old.write_bytes(b"the file before")
    wrong = {"area": np.ones(2, "float32"), "area_low": np.ones(2, "float32")}
    monkeypatch.setattr(_convert, "_litert", lambda *args: b"a file")
    monkeypatch.setattr(_convert, "_litert_runner", lambda *args: lambda image: wrong)
    with pytest.raises(RuntimeError, match="changed the outputs"):
        convert(version, old)
    shapes = {"agreement": (), "majority": (), "levels": (4,), "at_least": (3,)}
    wrong = {name: np.zeros((2, 32, 32, *shape), "float32") for name, shape in shapes.items()}
    with pytest.raises(RuntimeError, match="would differ from the SavedModel in '.*nothing was written"):
        convert(version, old)

    def fail(*args):
        raise KeyError("no such op")

    monkeypatch.setattr(_convert, "_litert", fail)
    with pytest.raises(RuntimeError, match="converter to .tflite cannot take.*no such op"):
        convert(version, old)
    assert [file.name for file in tmp_path.iterdir()] == ["model.tflite"]
    assert old.read_bytes() == b"the file before"


def test_what_cannot_be_converted(version, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="path: expected a file that ends in .tflite or .onnx"):
        convert(version, "model.pb")
    with pytest.raises(ValueError, match="version: expected the folder of an exported version"):
        convert(version.parent, tmp_path / "model.onnx")
    with pytest.raises(ValueError, match="signature: expected one of .*'summary'.*Received: 'encoded'"):
        convert(version, tmp_path / "model.tflite", "encoded")
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r'needed for .onnx files: pip install "keras_ordseg\[convert\]"'):
        convert(version, tmp_path / "model.onnx")
