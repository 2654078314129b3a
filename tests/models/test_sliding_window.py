"""Sliding windows: against an independent sum in NumPy, whole images, memory, and everything that is refused."""

import itertools
import tracemalloc

import keras
import numpy as np
import pytest

from keras_ordseg.models import BinarySegmenter, Ensemble, OrdinalSegmenter, small_backbone
from keras_ordseg.models.sliding_window import sliding_window_inference
from keras_ordseg.serving._signatures import cut_to, pad_to_multiples

SHAPES = [((37,), 8), ((21, 16), (8, 5)), ((9, 12, 10), (4, 8, 6))]


def softmax(z):
    e = np.exp(np.asarray(z, "float64") - np.max(z, -1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def pointwise(rank, channels=2, outputs=4):
    """A network of 1x1 convolutions: windows do not matter to it."""
    image = keras.Input((*[None] * rank, channels), name="image")
    x = keras.layers.Dense(8, activation="tanh")(image)
    model = keras.Model(image, keras.layers.Dense(outputs)(x))
    model.set_weights([np.random.default_rng(1).normal(size=w.shape) * 2 for w in model.get_weights()])
    return model


def position(batch):
    """Probabilities that depend on where in its window a pixel lies: every wrong weight shows."""
    size = batch.shape[1:-1]
    grid = np.stack(np.meshgrid(*[np.arange(n) / n for n in size], indexing="ij"), -1)
    first = 0.05 + 0.9 * (batch[..., 0] * 0.5 + 0.5 * (grid**2).mean(-1))
    return np.stack([first, 1 - first], axis=-1)


def reference(image, size, overlap, importance):
    """The weighted mean as its definition says: all windows, all weights, one division at the end; float64."""
    sides = image.shape[:-1]
    starts = []
    for side, n, o in zip(sides, size, overlap, strict=True):
        step, axis = max(1, int(n * (1 - o))), [0]
        while axis[-1] + n < side:
            axis.append(min(axis[-1] + step, side - n))
        starts.append(axis)
    total, weight = np.zeros((*sides, 2)), np.zeros((*sides, 1))
    for corner in itertools.product(*starts):
        place = tuple(slice(a, a + n) for a, n in zip(corner, size, strict=True))
        w = np.ones((*size, 1))
        for index in np.ndindex(*size):
            distance = sum(((i - (n - 1) / 2) / (n / 8)) ** 2 for i, n in zip(index, size, strict=True))
            w[index] = np.exp(-distance / 2) if importance == "gaussian" else 1.0
        total[place] += w * position(image[place][None].astype("float64"))[0]
        weight[place] += w
    return total / weight


@pytest.mark.parametrize("importance", ["gaussian", "constant"])
@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.75])
@pytest.mark.parametrize("sides,window", SHAPES)
def test_is_the_weighted_mean_of_its_windows(sides, window, overlap, importance, rng):
    image = rng.uniform(size=(*sides, 1)).astype("float32")
    size = (window,) * len(sides) if isinstance(window, int) else window
    found = sliding_window_inference(position, image, window, overlap, importance, batch_size=3, verbose=0)
    assert found.dtype == np.float32
    expected = reference(image, size, (overlap,) * len(sides), importance)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    np.testing.assert_allclose(found.sum(-1), 1, atol=2e-6)
    if overlap:
        other = reference(image, size, (overlap,) * len(sides), {"gaussian": "constant"}.get(importance, "gaussian"))
        assert np.abs(found - other).max() > 0.02  # the weights are seen


def test_overlap_of_each_axis(rng):
    image = rng.uniform(size=(16, 20, 1)).astype("float32")
    found = sliding_window_inference(position, image, (8, 10), (0.25, 0.5), verbose=0)
    np.testing.assert_allclose(found, reference(image, (8, 10), (0.25, 0.5), "gaussian"), atol=2e-6)


@pytest.mark.parametrize("sides,window", SHAPES)
def test_equals_the_whole_image_where_windows_do_not_matter(sides, window, rng):
    model = pointwise(len(sides))
    image = rng.normal(size=(*sides, 2)).astype("float32")
    found = sliding_window_inference(model, image, window, 0.6, verbose=0)
    np.testing.assert_allclose(found, softmax(model.predict(image[None], verbose=0)[0]), atol=1e-6)
    binary = pointwise(len(sides), outputs=1)
    found = sliding_window_inference(binary, image, window, verbose=0)
    expected = 1 / (1 + np.exp(-binary.predict(image[None], verbose=0)[0].astype("float64")))
    assert found.shape == (*sides, 1)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def segmenter(rank=2, **kwargs):
    return OrdinalSegmenter(small_backbone((*[None] * rank, 1), (4, 8)), 3, decoder="unet", **kwargs)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_one_window_is_the_plain_prediction_bit_for_bit(rank, rng):
    model = segmenter(rank)
    image = rng.uniform(size=(*(8, 12, 6)[:rank], 1)).astype("float32")
    found = sliding_window_inference(model, image, image.shape[:-1], verbose=0)
    plain = keras.ops.convert_to_numpy(keras.ops.softmax(model.predict_on_batch(image[None]), axis=-1))[0]
    np.testing.assert_array_equal(found, plain)


def test_a_small_image_is_continued_by_its_edge_as_a_served_one_is(rng):
    model = segmenter()
    image = rng.uniform(size=(5, 11, 1)).astype("float32")
    found = sliding_window_inference(model, image, (6, 12), verbose=0)
    assert found.shape == (5, 11, 4)
    served = cut_to(model(pad_to_multiples(image[None], (2, 2))), image[None])
    np.testing.assert_allclose(found, softmax(served)[0], atol=1e-6)
    np.testing.assert_array_equal(  # and one axis may be small while another is long
        sliding_window_inference(model, image[:, :7], (8, 4), verbose=0)[:, :4].shape, (5, 4, 4)
    )
    seen = []
    sliding_window_inference(lambda x: (seen.append(x), position(x))[1], image[:2, :2], 4, verbose=0)
    np.testing.assert_array_equal(seen[0][0], np.pad(image[:2, :2], ((0, 2), (0, 2), (0, 0)), mode="edge"))


def test_structures_ensembles_and_functions_of_dicts(rng):
    image = rng.uniform(size=(12, 20, 1)).astype("float32")
    model = segmenter(structures=("disc", "cup"))
    found = sliding_window_inference(model, image, 8, verbose=0)
    assert {name: p.shape for name, p in found.items()} == {"disc": (12, 20, 4), "cup": (12, 20, 4)}
    np.testing.assert_allclose(found["cup"].sum(-1), 1, atol=2e-6)
    assert np.abs(found["cup"] - found["disc"]).max() > 1e-3
    again = sliding_window_inference(
        lambda x: {n: keras.ops.softmax(z, axis=-1) for n, z in model(x).items()}, image, 8, verbose=0
    )
    for name, p in found.items():
        np.testing.assert_allclose(again[name], p, atol=1e-5)
    p = sliding_window_inference(Ensemble([segmenter(), segmenter()], flips=[0]), image, 8, verbose=0)
    np.testing.assert_allclose(p.sum(-1), 1, atol=2e-6)


def test_no_axis_of_channels_is_one_channel(rng):
    volume = rng.uniform(size=(8, 6, 10)).astype("float32")
    flat = sliding_window_inference(segmenter(3, name="m"), volume, (4, 6, 4), verbose=0)
    assert flat.shape == (8, 6, 10, 4)
    np.testing.assert_array_equal(
        sliding_window_inference(position, volume, (4, 6, 4), verbose=0),
        sliding_window_inference(position, volume[..., None], (4, 6, 4), verbose=0),
    )


def test_every_batch_has_one_shape_and_the_bar_counts_windows(rng, capsys):
    shapes, image = [], rng.uniform(size=(30, 1)).astype("float32")
    sliding_window_inference(lambda x: (shapes.append(x.shape), position(x))[1], image, 8, batch_size=4)
    # step 4: starts 0 4 8 12 16 20 and 22, moved inwards: 7 windows in two batches
    assert shapes == [(4, 8, 1)] * 2
    assert "7/7" in capsys.readouterr().out
    sliding_window_inference(position, image, 8, verbose=0)
    assert capsys.readouterr().out == ""


def test_memory_is_the_result_and_one_batch_of_windows(tmp_path, rng):
    """A volume on disk: nothing larger than a batch is asked of the model, and little beside the result is held."""
    volume = np.lib.format.open_memmap(tmp_path / "scan.npy", mode="w+", dtype="float32", shape=(256, 96, 96, 1))
    volume[:] = rng.uniform(size=volume.shape)
    asked = []

    def model(x):
        asked.append(x.nbytes)
        return np.repeat(x, 6, axis=-1)

    window = (32, 32, 32)
    sliding_window_inference(model, volume[:32], window, batch_size=2, verbose=0)  # what is imported on first use
    tracemalloc.start()
    found = sliding_window_inference(model, volume, window, 0.5, batch_size=2, verbose=0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    batch = 2 * 32**3 * 4
    assert max(asked) == batch
    # pixels and answer of a batch, those of the batch before it, and the products of one window while they are added
    assert peak < found.nbytes + 4 * 6 * batch
    tracemalloc.start()
    out = np.lib.format.open_memmap(tmp_path / "levels.npy", mode="w+", dtype="float32", shape=(*volume.shape[:3], 6))
    assert sliding_window_inference(model, volume, window, 0.5, batch_size=2, verbose=0, out=out) is out
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * 6 * batch < 0.2 * found.nbytes
    np.testing.assert_array_equal(out, found)


def test_out_is_emptied_first(rng):
    image = rng.uniform(size=(20, 1)).astype("float32")
    out = np.full((20, 2), 7, "float32")
    found = sliding_window_inference(position, image, 8, verbose=0, out=out)
    assert found is out
    np.testing.assert_array_equal(found, sliding_window_inference(position, image, 8, verbose=0))


IMAGE = np.zeros((16, 16, 1), "float32")


@pytest.mark.parametrize(
    "change,message",
    [
        ({"window": 7}, r"window: every side must be divisible by 2.*Received: \(7, 7\); take \(8, 8\)"),
        ({"window": (8, 0)}, "window: expected pixels, at least 1, one number or one for each of the 2 axes"),
        ({"window": (8, 8, 8)}, "window: expected pixels"),
        ({"window": 8.0}, "window: expected pixels"),
        ({"window": "8"}, "window: expected pixels"),
        ({"overlap": 1.0}, r"overlap: expected a share in \[0, 1\)"),
        ({"overlap": -0.1}, "overlap: expected a share"),
        ({"importance": "hann"}, r"importance: expected one of \('gaussian', 'constant'\). Received: 'hann'"),
        ({"batch_size": 0}, "batch_size: expected an int of at least 1"),
        ({"image": np.zeros((1, 16, 16, 1))}, r"image: expected one image .* of 2 spatial axes, without a batch .*\[0\]"),
        ({"image": np.zeros((16, 16, 3))}, "image: the model 'tiny' takes images of 1 channels"),
        ({"image": np.zeros((0, 16, 1))}, "image: expected one image"),
        ({"out": np.zeros((16, 16, 3), "float32")}, r"out: expected float32 of shape \(16, 16, 4\). Received"),
        ({"out": np.zeros((16, 16, 4))}, "out: expected float32"),
    ],
)
def test_wrong_arguments(change, message):
    arguments = {"model": segmenter(name="tiny"), "image": IMAGE, "window": 8, "verbose": 0, **change}
    with pytest.raises(ValueError, match=message):
        sliding_window_inference(**arguments)


def test_models_that_do_not_fit_are_refused_before_work():
    image = keras.Input((None, None, 1))
    fixed = OrdinalSegmenter(small_backbone((16, 16, 1), (4, 8)), 3)
    halved = keras.Model(image, keras.layers.Conv2D(3, 3, strides=2, padding="same")(image), name="halved")
    soft = keras.Model(image, keras.layers.Softmax(name="p")(keras.layers.Conv2D(3, 1)(image)), name="soft")
    for model, window, message in [
        (fixed, 8, r"takes images of \(16, 16\) pixels only. Received: \(8, 8\)"),
        (halved, 8, r"output has the size of its input. 'halved' gives \(4, 4\) for windows of \(8, 8\)"),
        (soft, 8, "expected logits.*The last layer 'p' of 'soft' gives probabilities"),
        (keras.Sequential([keras.layers.Conv2D(2, 1)], name="s"), 8, "'s' is not a functional model"),
    ]:
        with pytest.raises(ValueError, match=message):
            sliding_window_inference(model, IMAGE, window, verbose=0)
    with pytest.raises(TypeError, match="model: expected a Keras model or a function"):
        sliding_window_inference("model", IMAGE, 8)
    with pytest.raises(ValueError, match=r"of shape \(4, 8, 8, 'C'\) for its windows. Received shape \(4, 8, 8\)"):
        sliding_window_inference(lambda x: x[..., 0], IMAGE, 8, verbose=0)
    with pytest.raises(ValueError, match=r"model, output 'cup': expected probabilities in \[0, 1\]"):
        sliding_window_inference(lambda x: {"cup": x + 5.0}, IMAGE, 8, verbose=0)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_an_output_that_is_not_finite(wrong):
    """Of a function, and of models of levels, of a binary logit and of structures whose training diverged."""
    with pytest.raises(ValueError, match="model: its output for 'cup' is not finite.*diverged"):
        sliding_window_inference(lambda x: {"cup": x + wrong}, IMAGE, 8, verbose=0)
    binary = BinarySegmenter(small_backbone((None, None, 1), (4, 8)))
    for model in (segmenter(), binary, segmenter(structures=("disc", "cup"))):
        for weight in model.trainable_variables:
            weight.assign(np.full(weight.shape, np.nan))
        with pytest.raises(ValueError, match="model: its output.* is not finite"):
            sliding_window_inference(model, IMAGE, 8, verbose=0)
    with pytest.raises(ValueError, match="is not finite.*or the image holds such values"):
        sliding_window_inference(segmenter(), np.full((16, 16, 1), np.nan), 8, verbose=0)


def test_binary_segmenter(rng):
    model = BinarySegmenter(small_backbone((None, None, 1), (4, 8)), decoder="unet", initial_probability=0.2)
    found = sliding_window_inference(model, rng.uniform(size=(12, 10, 1)), 8, verbose=0)
    np.testing.assert_allclose(found, 0.2, atol=1e-5)
