"""Ensembles and mirrored views: the mean of probabilities against NumPy, files, precision, export, refusals."""

import itertools
import json
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_ordseg import serving
from keras_ordseg.layers import OrdinalHead
from keras_ordseg.losses import OrdinalSegmentationLoss
from keras_ordseg.metrics import MultiRaterECE
from keras_ordseg.models import Ensemble, OrdinalSegmenter, small_backbone
from keras_ordseg.models.binary import BinaryHead
from tests.conftest import ROOT
from tests.tracing import made_ready

# Keras reads TensorFlow variables with np.array, whose copy argument TensorFlow does not know.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
)


def softmax(z):
    e = np.exp(np.asarray(z, "float64") - np.max(z, -1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def sigmoid(z):
    return 1 / (1 + np.exp(-np.asarray(z, "float64")))


def lively(model, seed):
    """Weights at which the members disagree, and a view differs from its mirror image."""
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(size=w.shape) * 0.6 if w.ndim > 1 else w for w in model.get_weights()])
    return model


def member(seed, rank=2, kind=OrdinalHead, channels=1, sides=None, structures=None, num_raters=3):
    """A network of one convolution: small, and not the same mirrored."""
    image = keras.Input((*(sides or [None] * rank), channels), name="image")
    convolution = {1: keras.layers.Conv1D, 2: keras.layers.Conv2D, 3: keras.layers.Conv3D}[rank]
    x = convolution(4, 3, padding="same", activation="tanh")(image)
    heads = {
        name: (OrdinalHead(num_raters, name=name) if kind is OrdinalHead else BinaryHead(name=name))(x)
        for name in structures or ("levels",)
    }
    return lively(keras.Model(image, heads if structures else heads["levels"]), seed)


def segmenter(seed, rank=2):
    backbone = small_backbone((*[None] * rank, 1), filters=(2, 4))
    return lively(OrdinalSegmenter(backbone, 3, decoder="unet"), seed)


def views(rank):
    return [v for n in range(rank + 1) for v in itertools.combinations(range(rank), n)]


def mean(members, x, flips, activate, pick=lambda z: z):
    """The definition: mirror, predict, mirror back, mean of probabilities; float64."""
    total = []
    for axes in flips:
        axes = tuple(a + 1 for a in axes)
        for model in members:
            total.append(np.flip(activate(pick(model.predict(np.flip(x, axes), verbose=0))), axes))
    return np.mean(total, axis=0), np.std(total, axis=0)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_is_the_mean_of_probabilities_over_members_and_views(rank, rng):
    members = [member(seed, rank) for seed in (1, 2)]
    x = rng.uniform(size=(2, *(8, 6, 4)[:rank], 1)).astype("float32")
    z = Ensemble(members, flips="all").predict(x, verbose=0)
    expected, spread = mean(members, x, views(rank), softmax)
    assert z.dtype == np.float32
    assert spread.max() > 0.1  # views and members differ, or the test would show nothing
    np.testing.assert_allclose(softmax(z), expected, atol=1e-6)
    np.testing.assert_allclose(np.exp(z.astype("float64")).sum(-1), 1, atol=1e-5)  # normalised log probabilities
    one = Ensemble(members[0]).predict(x, verbose=0)
    np.testing.assert_allclose(softmax(one), softmax(members[0].predict(x, verbose=0)), atol=1e-6)


@pytest.mark.parametrize(
    "flips,seen", [(None, [()]), ([0], [(), (0,)]), ([1, (1, 0)], [(), (1,), (0, 1)]), ([(0, 1)], [(), (0, 1)])]
)
def test_views(flips, seen, rng):
    model = member(3)
    x = rng.uniform(size=(1, 8, 6, 1)).astype("float32")
    ensemble = Ensemble([model], flips)
    assert ensemble.views == seen
    np.testing.assert_allclose(softmax(ensemble(x)), mean([model], x, seen, softmax)[0], atol=1e-6)


def test_binary_members_and_structures(rng):
    x = rng.uniform(size=(1, 8, 8, 1)).astype("float32")
    binary = [member(seed, kind=BinaryHead) for seed in (1, 2, 3)]
    z = Ensemble(binary, flips=[1]).predict(x, verbose=0)
    assert z.shape == (1, 8, 8, 1)
    np.testing.assert_allclose(sigmoid(z), mean(binary, x, [(), (1,)], sigmoid)[0], atol=1e-6)
    both = [member(seed, structures=("disc", "cup")) for seed in (1, 2)]
    z = Ensemble(both, flips=[0]).predict(x, verbose=0)
    assert {name: value.shape[-1] for name, value in z.items()} == {"disc": 4, "cup": 4}
    for name, value in z.items():
        expected, _ = mean(both, x, [(), (0,)], softmax, lambda z, name=name: z[name])
        np.testing.assert_allclose(softmax(value), expected, atol=1e-6)


def constant(logits):
    """A model that says the same of every pixel."""
    image = keras.Input((None, 1))
    model = keras.Model(image, keras.layers.Dense(len(logits))(image))
    model.set_weights([np.zeros((1, len(logits))), np.array(logits, "float32")])
    return model


def test_is_exact_where_probabilities_leave_float32():
    """p = (1, 2e-44, ...) and its reverse: the mean's logits are log 1/2 and, of the rest, the logs of the means."""
    x = np.zeros((1, 2, 1), "float32")
    z = np.asarray(Ensemble([constant([0, -300, -100]), constant([0, -300, -104])])(x))[0, 0]
    # log((e^-100 + e^-104) / 2) = -100 + log((1 + e^-4) / 2) = -100.6749973
    np.testing.assert_allclose(z, [0, -300, -100.6749973], rtol=1e-6, atol=1e-6)
    z = float(np.asarray(Ensemble([constant([-200.0]), constant([-202.0])])(x))[0, 0, 0])
    # logit of (e^-200 + e^-202) / 2: -200 + log((1 + e^-2) / 2) = -200.5662192
    np.testing.assert_allclose(z, -200.5662192, rtol=1e-6)
    z = float(np.asarray(Ensemble([constant([200.0]), constant([-200.0])])(x))[0, 0, 0])
    assert z == 0


LOAD = """
import json, sys
import keras, numpy as np
import keras_ordseg
model = keras.models.load_model(sys.argv[1])
data = np.load(sys.argv[2])
answer = model.predict(data["x"], verbose=0)
json.dump({"gap": float(abs(answer - data["z"]).max()), "name": type(model).__name__, "flips": model.flips}, sys.stdout)
"""


@pytest.mark.slow
def test_survives_a_keras_file_in_a_fresh_process(tmp_path, rng):
    ensemble = Ensemble([segmenter(1), segmenter(2)], flips=[0, (0, 1)], name="both")
    x = rng.uniform(size=(1, 8, 8, 1)).astype("float32")
    ensemble.save(tmp_path / "both.keras")
    np.savez(tmp_path / "data.npz", x=x, z=ensemble.predict(x, verbose=0))
    command = [sys.executable, "-c", LOAD, tmp_path / "both.keras", tmp_path / "data.npz"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["gap"] < 1e-6
    assert (found["name"], found["flips"]) == ("Ensemble", [[0], [0, 1]])


def test_config_round_trip_nesting_and_layers_on_top(tmp_path, rng):
    inner = Ensemble([member(1), member(2)], flips="all", name="inner")
    assert Ensemble.from_config(inner.get_config()).get_config() == inner.get_config()
    json.dumps(inner.get_config())
    outer = Ensemble([inner, member(3)])
    assert outer.strides == inner.strides == (1,)
    assert len(outer.members) == 2
    x = rng.uniform(size=(1, 8, 8, 1)).astype("float32")
    expected = (softmax(inner(x)) + softmax(outer.members[1](x))) / 2
    np.testing.assert_allclose(softmax(outer(x)), expected, atol=1e-6)
    top = keras.Model(outer.input, keras.layers.Rescaling(2.0)(outer.output))
    top.save(tmp_path / "top.keras")
    np.testing.assert_allclose(keras.models.load_model(tmp_path / "top.keras")(x), top(x), rtol=1e-5)
    frozen = Ensemble([member(1)], trainable=False)
    assert not frozen.trainable_variables
    assert frozen.get_config()["trainable"] is False


@pytest.mark.parametrize(
    "policy,jit",
    [
        ("float32", True),
        pytest.param("mixed_bfloat16", True, marks=pytest.mark.slow),
        pytest.param("mixed_float16", False, marks=pytest.mark.slow),
    ],
)
def test_evaluates_and_trains_under_every_policy(policy, jit, rng):
    keras.config.set_dtype_policy(policy)
    ensemble = Ensemble([member(1), member(2)], flips=[1])
    x = rng.uniform(size=(4, 8, 8, 1)).astype("float32")
    ratings = (x > 0.5).astype("int8").repeat(3, -1)
    ensemble.compile(
        keras.optimizers.Adam(1e-2), OrdinalSegmentationLoss(), metrics=[MultiRaterECE()], jit_compile=jit
    )
    history = made_ready(ensemble, x, ratings).fit(x, ratings, epochs=8, verbose=0).history["loss"]
    assert np.isfinite(history).all()
    assert history[-1] < history[0]
    z = ensemble.predict(x, verbose=0)
    assert z.dtype == np.float32
    tolerance = 1e-6 if policy == "float32" else 0.01  # another compiler rounds the members' halves elsewhere
    np.testing.assert_allclose(softmax(z), mean(ensemble.members, x, [(), (1,)], softmax)[0], atol=tolerance)


@pytest.mark.parametrize("rank", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_is_served_at_any_size(rank, tmp_path, rng):
    """Padded to the strides of its members, which the export knows, by the image's edge."""
    import tensorflow as tf

    ensemble = Ensemble([segmenter(1, rank), member(2, rank)], flips=[0, tuple(range(rank))])
    version = serving.export(ensemble, tmp_path)
    x = rng.uniform(size=(1, *(8, 14, 6)[:rank], 1)).astype("float32")
    serve = tf.saved_model.load(str(version)).signatures["serving_default"]
    expected = softmax(ensemble.predict(x, verbose=0))
    np.testing.assert_allclose(serve(image=tf.constant(x))["levels"], expected, atol=1e-5)
    odd = x[:, :7, :11]
    padded = np.pad(odd, [(0, 0), (0, 1), (0, 1), *[(0, 0)] * (rank - 1)], mode="edge")
    expected = softmax(ensemble.predict(padded, verbose=0))[:, :7, :11]
    np.testing.assert_allclose(serve(image=tf.constant(odd))["levels"], expected, atol=1e-5)


def test_half_precision_is_served_in_float32(tmp_path, rng):
    import tensorflow as tf

    keras.config.set_dtype_policy("mixed_bfloat16")
    ensemble = Ensemble([member(1), member(2)])
    keras.config.set_dtype_policy("float32")
    x = rng.uniform(size=(1, 8, 8, 1)).astype("float32")
    version = serving.export(ensemble, tmp_path, dtype="float32")
    members = [member(1), member(2)]
    served = tf.saved_model.load(str(version)).signatures["serving_default"](image=tf.constant(x))["levels"]
    np.testing.assert_allclose(served, mean(members, x, [()], softmax)[0], atol=1e-5)


def test_a_fixed_side_wins(rng):
    ensemble = Ensemble([member(1), member(2, sides=(8, 16))])
    assert ensemble.input_shape == (None, 8, 16, 1)


def test_a_size_that_does_not_fit_is_named():
    ensemble = Ensemble([segmenter(1), member(2)])
    assert ensemble.strides == (2,)
    for good in (8, 16):
        ensemble.predict(np.zeros((1, good, good, 1)), verbose=0)
    with pytest.raises(ValueError, match="divisible by 2"):
        ensemble.predict(np.zeros((1, 7, 8, 1)), verbose=0)


def shared():
    backbone = small_backbone(filters=(4, 8))
    return [OrdinalSegmenter(backbone, 3), OrdinalSegmenter(backbone, 3)]


@pytest.mark.parametrize(
    "members,error,message",
    [
        (list, ValueError, "members: expected one model or more"),
        (lambda: ["model.keras"], TypeError, r"members\[0\]: expected a Keras model. Received: 'model.keras'"),
        (lambda: [keras.Sequential([keras.layers.Dense(2)])], ValueError, "is not a functional model.*Wrap it"),
        (lambda: [member(1), member(2, num_raters=4)], ValueError, r"K = 3; members\[1\] .*K = 4"),
        (lambda: [member(1), member(2, kind=BinaryHead)], ValueError, "K = 3; .*a binary logit"),
        (lambda: [member(1), member(2, structures=("a",))], ValueError, "the same outputs.*'a': 'K = 3'"),
        (lambda: [member(1), member(2, channels=3)], ValueError, r"the same image .*\(None, None, 3\)"),
        (lambda: [member(1), member(2, rank=3)], ValueError, "the same image"),
        (lambda: [member(1, sides=(8, 8)), member(2, sides=(8, 16))], ValueError, "the same image"),
        (shared, ValueError, r"members\[0\] and members\[1\] share '.*own.*clone_model"),
        (lambda: [constant([1, 2])] * 2, ValueError, "share"),
        (
            lambda: [keras.Sequential([keras.Input((None, 1)), keras.layers.Dense(2, activation="softmax")])],
            ValueError,
            r"members\[0\]: expected logits",
        ),
    ],
)
def test_members_that_do_not_fit(members, error, message):
    with pytest.raises(error, match=f"(?s){message}"):
        Ensemble(members())


@pytest.mark.parametrize("flips", ["both", 0, [2], [-1], [()], [0, 0], [(0, 0)], [(0, 1), (1, 0)], [0.5]])
def test_views_that_are_none(flips):
    with pytest.raises(ValueError, match=r"flips: expected None, 'all', or .* out of 0..1, such as \[0, \(0, 1\)\]"):
        Ensemble(member(1), flips)
