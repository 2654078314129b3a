"""Training and saving of the segmenters: compiled or not, in every precision, on both backends."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_ordseg.losses import OrdinalSegmentationLoss
from keras_ordseg.metrics import MultiRaterECE
from keras_ordseg.models import BinarySegmenter, OrdinalSegmenter, small_backbone
from tests.conftest import ROOT
from tests.models.test_backbones import keras_cv_resnet
from tests.tracing import made_ready

# Keras reads TensorFlow variables with np.array, whose copy argument TensorFlow does not know.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
)


def squares(rng, num=8, size=16, num_raters=3, channels=1):
    """Bright squares that every rater marks, in noise; ratings `(num, size, size, K)`."""
    inside = np.zeros((num, size, size, 1))
    for index, (row, column) in enumerate(rng.integers(0, size // 2, size=(num, 2))):
        inside[index, row : row + size // 2, column : column + size // 2] = 1
    images = np.clip(0.6 * inside + 0.4 * rng.uniform(size=(num, size, size, channels)), 0, 1)
    return images.astype("float32"), np.repeat(inside, num_raters, -1).astype("int8")


@pytest.mark.parametrize(
    "decoder,policy,jit",
    [
        ("fpn", "mixed_bfloat16", True),
        pytest.param("unet", "float32", True, marks=pytest.mark.slow),
        ("unet", "mixed_float16", False),
    ],
)
def test_learns(decoder, policy, jit, rng):
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(policy)
    images, ratings = squares(rng)
    model = OrdinalSegmenter(
        small_backbone(filters=(4, 8)), 3, decoder=decoder, initial_levels=[0.75, 0, 0, 0.25], dropout=0.1
    )
    assert model.compute_dtype == keras.config.dtype_policy().compute_dtype
    model.compile(
        keras.optimizers.Adam(0.02),
        OrdinalSegmentationLoss(),
        metrics=[MultiRaterECE(name="ece")],
        jit_compile=jit,
    )
    history = made_ready(model, images, ratings).fit(images, ratings, batch_size=4, epochs=12, verbose=0).history
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert np.isfinite(history["ece"]).all()
    z = np.asarray(model(images, training=False))
    assert z.dtype == "float32"
    # Level logits that had passed through half precision would have at most 8 (11) significant bits.
    if policy != "float32":
        half = keras.ops.convert_to_numpy(keras.ops.cast(keras.ops.cast(z, model.compute_dtype), "float32"))
        assert (half != z).mean() > 0.5


def test_structures_train_with_a_dict_of_losses(rng):
    images, ratings = squares(rng)
    model = OrdinalSegmenter(
        small_backbone(filters=(4, 8)), {"disc": 3, "cup": 2}, structures=("disc", "cup"), decoder="unet"
    )
    model.compile("adam", {"disc": OrdinalSegmentationLoss(), "cup": OrdinalSegmentationLoss()})
    targets = {"disc": ratings, "cup": ratings[..., :2]}
    history = made_ready(model, images, targets).fit(images, targets, batch_size=8, epochs=3, verbose=0).history
    assert {"loss", "disc_loss", "cup_loss"} <= set(history)
    np.testing.assert_allclose(history["loss"], np.add(history["disc_loss"], history["cup_loss"]), rtol=1e-5)
    assert history["loss"][-1] < history["loss"][0]


@pytest.mark.parametrize(
    "model",
    [
        lambda: OrdinalSegmenter(
            small_backbone(filters=(4, 8)),
            {"disc": np.int64(3), "cup": 2},
            decoder="unet",
            structures=("disc", "cup"),
            initial_levels={"disc": np.array([0.7, 0.1, 0.1, 0.1]), "cup": None},
            decoder_filters=6,
            dropout=0.25,
            name="eyes",
        ),
        lambda: OrdinalSegmenter(num_raters=2, input_channels=1, trainable=False),
        lambda: BinarySegmenter(
            small_backbone(filters=(4, 8)), decoder="unet", initial_probability=np.float32(0.125)
        ),
    ],
    ids=["structures", "frozen", "binary"],
)
def test_comes_back_from_its_config(model, tmp_path, rng):
    model = model()
    config = json.dumps(model.get_config())
    assert json.dumps(type(model).from_config(json.loads(config)).get_config()) == config
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded) is type(model)
    assert json.dumps(loaded.get_config()) == config
    assert len(loaded.trainable_variables) == len(model.trainable_variables)
    x = rng.uniform(size=(1, 16, 8, 1))
    for mine, other in zip(*map(keras.tree.flatten, (model(x), loaded(x))), strict=True):
        np.testing.assert_array_equal(mine, other)


def test_a_loaded_model_keeps_its_precision(tmp_path, rng):
    keras.config.set_dtype_policy("mixed_bfloat16")
    OrdinalSegmenter(small_backbone(filters=(4, 8)), 2).save(tmp_path / "model.keras")
    keras.config.set_dtype_policy("float32")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert keras.config.dtype_policy().name == "float32"
    assert {layer.compute_dtype for layer in loaded.layers if layer.weights} == {"bfloat16"}
    assert {layer.compute_dtype for layer in loaded.backbone.layers if layer.weights} == {"bfloat16"}
    given = OrdinalSegmenter(num_raters=2, dtype="mixed_bfloat16")
    assert (
        given.backbone.layers[1].compute_dtype
        == given.get_layer("fpn1_pyramid_conv").compute_dtype
        == "bfloat16"
    )


def run(code, cwd, backend):
    """The last line that a fresh Python process prints, as JSON."""
    env = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


RELOAD = """
import json, sys
import numpy as np
import keras_ordseg, keras
data = np.load("data.npz")
model = keras.saving.load_model("model.keras")
levels = model.predict(data["images"], verbose=0)
step = int(keras.ops.convert_to_numpy(model.optimizer.iterations))
loss = model.fit(data["images"], data["ratings"], batch_size=4, epochs=2, shuffle=False, verbose=0).history["loss"]
print(json.dumps({
    "difference": float(np.abs(levels - data["levels"]).max()), "step": step, "loss": loss,
    "tensorflow": "tensorflow" in sys.modules, "backbone": type(model.backbone).__name__,
}))
"""


def train_and_save(backbone, decoder, folder, rng):
    images, ratings = squares(rng, num=4, channels=backbone.input_shape[-1])
    model = OrdinalSegmenter(backbone, 3, decoder, decoder_filters=8)
    model.compile(keras.optimizers.Adam(1e-3), OrdinalSegmentationLoss(), run_eagerly=True)  # and so when it is loaded
    model.fit(images, ratings, batch_size=4, epochs=2, shuffle=False, verbose=0)
    model.save(folder / "model.keras")
    levels = model.predict(images, verbose=0)
    np.savez(folder / "data.npz", images=images, ratings=ratings, levels=levels)
    return model.fit(images, ratings, batch_size=4, epochs=2, shuffle=False, verbose=0).history["loss"]


def test_a_fresh_process_continues_on_a_keras_cv_backbone(tmp_path, rng):
    """Weights and the state of Adam come back: the next steps have the losses they would have had."""
    losses = train_and_save(keras_cv_resnet(channels=2), "fpn", tmp_path, rng)
    found = run(RELOAD, tmp_path, "tensorflow")
    assert found["backbone"] == "ResNetV2Backbone"
    assert found["step"] == 2
    assert found["difference"] < 1e-5
    np.testing.assert_allclose(found["loss"], losses, rtol=1e-4)


@pytest.mark.slow
def test_jax_continues_without_tensorflow(tmp_path, rng):
    pytest.importorskip("jax")
    losses = train_and_save(small_backbone(filters=(8, 8)), "unet", tmp_path, rng)
    found = run(RELOAD, tmp_path, "jax")
    assert found["tensorflow"] is False
    assert found["step"] == 2
    assert found["difference"] < 1e-4
    np.testing.assert_allclose(found["loss"], losses, rtol=1e-3)
