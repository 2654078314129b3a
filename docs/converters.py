"""What LiteRT and ONNX take of an exported model: prints the table of docs/serving.md, or the rows that are named.

    python docs/converters.py [MODEL ...]
"""

import importlib.metadata
import os
import re
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from keras_ordseg import models, serving

SIGNATURES = ("serving_default", "contours", "summary")
PACKAGES = ("tensorflow", "ai-edge-litert", "tf2onnx", "onnx", "onnxruntime")


def small(shape=(None, None, 1), **kwargs):
    return models.OrdinalSegmenter(models.small_backbone(shape, filters=(8, 16, 32)), 3, **kwargs)


def light(link="softmax"):
    return models.OrdinalSegmenter(models.small_backbone((None, None, 1), (8, 16)), 3, decoder="upsample", link=link)


def disc_and_cup():
    backbone = models.small_backbone((None, None, 3), filters=(8, 16))
    structures = {"disc": 3, "cup": 3}
    return models.OrdinalSegmenter(backbone, structures, "upsample", structures=tuple(structures), nested_structures=True)


def binary():
    return models.BinarySegmenter(models.small_backbone((None, None, 1), filters=(8, 16, 32)))


def half():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        return light()
    finally:
        keras.config.set_dtype_policy("float32")


MODELS = {
    "FPN": (small, {}),
    "U-Net": (lambda: small(decoder="unet"), {}),
    "attention U-Net": (lambda: small(decoder="attention_unet"), {}),
    "DeepLabV3+": (lambda: small(decoder="deeplabv3plus"), {}),
    "FPN, 1-D": (lambda: small((None, 2)), {}),
    "FPN, 3-D": (lambda: small((None, None, None, 1)), {}),
    "binary": (binary, {}),
    "link cumulative": (lambda: light("cumulative"), {}),
    "link nested": (lambda: light("nested"), {}),
    "link beta_binomial": (lambda: light("beta_binomial"), {}),
    "cup inside disc": (disc_and_cup, {}),
    "ensemble of 2": (lambda: models.Ensemble([light(), light()]), {}),
    "mixed_float16": (half, {}),
    "mixed_float16, dtype='float32'": (half, {"dtype": "float32"}),
}


def difference(version, path, signature, image):
    """The largest difference to the SavedModel: of areas relatively, of masks the share of pixels."""
    served = tf.saved_model.load(str(version)).signatures[signature](image=tf.constant(image))
    kind = serving._convert._litert_runner if path.suffix == ".tflite" else serving._convert._onnx_runner
    found = kind(path.read_bytes(), signature)(image)
    worst = 0.0
    for name, value in served.items():
        want, have = value.numpy().astype("float64"), np.asarray(found[name]).astype("float64")
        relative = np.max(np.abs(want - have) / np.maximum(np.abs(want), 1))
        gap = relative if value.dtype == tf.float32 else np.mean(want != have)
        worst = max(worst, float(gap))
    return worst


def cell(version, suffix, signature, shape):
    sides = [{1: 40, 2: 40, 3: 12}[len(shape) - 2] if side is None else side for side in shape[1:-1]]
    image = np.random.default_rng(1).uniform(size=(2, *sides, shape[-1])).astype("float32")
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = serving.convert(version, Path(folder) / f"model{suffix}", signature)
        except (ValueError, RuntimeError) as error:
            missing = re.search(r"'tf\.(\w+)' op", str(error))
            return "half precision: refused" if "half precision" in str(error) else f"no {missing[1] if missing else error}"
        return f"{difference(version, path, signature, image):.0e}"


def main(names):
    print(", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES) + "\n")
    print("| model |" + "".join(f" {f}: {s} |" for f in ("LiteRT", "ONNX") for s in SIGNATURES))
    print("| --- |" + " --- |" * 6)
    for name in names or MODELS:
        build, options = MODELS[name]
        keras.utils.set_random_seed(0)
        model = build()
        rng = np.random.default_rng(0)
        for variable in model.trainable_variables:
            variable.assign(variable + 0.03 * rng.normal(size=variable.shape))
        with tempfile.TemporaryDirectory() as folder:
            version = serving.export(model, folder, **options)
            cells = [cell(version, f, s, model.inputs[0].shape) for f in (".tflite", ".onnx") for s in SIGNATURES]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
