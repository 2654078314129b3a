"""A model is served and predicts at the scale that it was trained at."""

import json

import keras
import numpy as np
import pytest
from PIL import Image

from keras_ordseg import calibration, serving
from keras_ordseg.data._sizes import fit_image
from keras_ordseg.layers import TemperatureScaling
from keras_ordseg.models import BinarySegmenter, OrdinalSegmenter, describe_images, small_backbone
from keras_ordseg.ops.resizing import resize_linear
from keras_ordseg.serving import predict_files
from keras_ordseg.serving._checks import check_trial
from tests.serving.test_export import shaken

tf = pytest.importorskip("tensorflow")
SIZE = (16, 16)


def net(shape=(None, None, 1), kind=OrdinalSegmenter, **images):
    model = shaken(kind(small_backbone(shape, (4, 8)), **({"num_raters": 3} if kind is OrdinalSegmenter else {})))
    return describe_images(model, **images) if images else model


def agreement(model, image):
    """Of one image as training saw it, by hand."""
    z = model(image[None])
    if z.shape[-1] == 1:
        return np.asarray(keras.ops.sigmoid(z))[0, ..., 0]
    p = np.asarray(keras.ops.softmax(z))[0]
    return p @ np.arange(p.shape[-1]) / (p.shape[-1] - 1)


def by_hand(model, image, size=SIZE):
    """Resized as `data.load` does it, and the map brought back linearly."""
    found = agreement(model, fit_image(image, size, "resize"))
    return fit_image(found[..., None].astype("float32"), image.shape[:-1], "resize")[..., 0]


def files(folder, rng, *shapes):
    folder.mkdir()
    images = {}
    for number, shape in enumerate(shapes):
        pixels = rng.integers(0, 256, shape).astype("uint8")
        Image.fromarray(pixels).save(folder / f"{number}.png")
        images[f"{number}.png"] = pixels[..., None].astype("float32") / 255
    return images


def maps(folder):
    found = folder.glob("*_agreement.png")
    return {path.name.replace("_agreement", ""): np.asarray(Image.open(path)) / 65535 for path in found}


@pytest.mark.parametrize(
    "have, want", [((7, 9), (16, 12)), ((33, 20), (8, 16)), ((5,), (9,)), ((4, 5, 6), (8, 5, 3)), ((6, 7), (6, 7))]
)
def test_resizing_is_that_of_training(have, want, rng):
    image = rng.random((*have, 2), dtype="float32")
    found = np.asarray(resize_linear(image[None], want))[0]
    np.testing.assert_allclose(found, fit_image(image, want, "resize"), atol=5e-6)
    if have == want:
        np.testing.assert_array_equal(found, image)


@pytest.mark.parametrize("kind", [OrdinalSegmenter, pytest.param(BinarySegmenter, marks=pytest.mark.slow)])
def test_files_are_predicted_at_the_size_of_training(kind, tmp_path, rng):
    """By an export and by a `.keras` file, larger, smaller and of another shape; the maps have the image's own size."""
    model = net(kind=kind, size=SIZE, fit="resize")
    images = files(tmp_path / "scans", rng, (40, 23), (9, 7), SIZE)
    model.save(tmp_path / "model.keras")
    serving.export(model, tmp_path / "export")
    for name in ("model.keras", "export"):
        rows = predict_files(tmp_path / name, tmp_path / "scans", tmp_path / f"{name}-out")
        assert [row["size"] for row in rows] == ["40x23", "9x7", "16x16"]
        found = maps(tmp_path / f"{name}-out")
        for file, image in images.items():
            np.testing.assert_allclose(found[file], by_hand(model, image), atol=3e-5, err_msg=file)
        np.testing.assert_allclose(found["2.png"], agreement(model, images["2.png"]), atol=2e-5)
        with pytest.raises(ValueError, match=r"sliding_window: expected none, because the model.*resized.*; got 8"):
            predict_files(tmp_path / name, tmp_path / "scans", tmp_path / "no", sliding_window=8)


def test_every_signature_resizes(tmp_path, rng):
    """With a calibrator, whose logits are those at the size of training; files too; and areas are of the image's pixels."""
    model = net(size=SIZE, fit="resize")
    version = serving.export(model, tmp_path / "export", TemperatureScaling(0.7), spacing=(0.5, 2.0))
    card = json.loads((version / "model_card.json").read_text())
    assert card["trained_images"] == {"size": [16, 16], "fit": "resize", "window": None, "spacing": None}
    assert card["warmup_shape"] == [1, 16, 16, 1]
    signatures = tf.saved_model.load(str(version)).signatures
    pixels = rng.integers(0, 256, (21, 30)).astype("uint8")
    image = tf.constant(pixels[None, ..., None] / 255.0, tf.float32)
    wanted = by_hand(calibration.attach(model, TemperatureScaling(0.7)), image.numpy()[0])
    served = signatures["serving_default"](image=image)
    np.testing.assert_allclose(served["agreement"][0], wanted, atol=1e-5)
    np.testing.assert_allclose(served["levels"].numpy().sum(-1), 1, atol=1e-5)
    encoded = signatures["encoded"](encoded=tf.constant([tf.io.encode_png(pixels[..., None]).numpy()]))
    np.testing.assert_allclose(encoded["agreement"][0], wanted, atol=1e-5)
    assert signatures["contours"](image=image)["masks"].shape == (1, 21, 30, 3)
    np.testing.assert_allclose(signatures["summary"](image=image)["expected_area"], wanted.sum(), rtol=1e-4)


def test_a_fixed_size_is_the_size_of_training(tmp_path, rng):
    """Before, a large image went through windows of that size, at its own scale."""
    model = net((16, 16, 1), size=16, fit="resize")
    images = files(tmp_path / "scans", rng, (50, 34))
    model.save(tmp_path / "model.keras")
    serving.export(model, tmp_path / "export")
    for name in ("model.keras", "export"):
        predict_files(tmp_path / name, tmp_path / "scans", tmp_path / f"{name}-out")
        np.testing.assert_allclose(maps(tmp_path / f"{name}-out")["0.png"], by_hand(model, images["0.png"]), atol=3e-5)


def test_slices_of_a_volume_are_resized_each(tmp_path, rng):
    model = net(size=SIZE, fit="resize")
    volume = rng.random((20, 9, 3), dtype="float32")
    np.save(tmp_path / "v.npy", volume)
    model.save(tmp_path / "model.keras")
    predict_files(tmp_path / "model.keras", tmp_path / "v.npy", tmp_path / "out")
    found = np.load(tmp_path / "out" / "v_agreement.npy")
    for number in range(3):
        np.testing.assert_allclose(found[..., number], by_hand(model, volume[..., number, None]), atol=1e-5)


def test_crops_keep_the_scale_of_the_image(tmp_path, rng):
    plain, described = net(), net(size=16, fit="crop")
    described.set_weights(plain.get_weights())
    files(tmp_path / "scans", rng, (24, 40), (6, 10))
    for name, model in {"plain": plain, "described": described}.items():
        model.save(tmp_path / f"{name}.keras")
        predict_files(tmp_path / f"{name}.keras", tmp_path / "scans", tmp_path / name)
    for file, found in maps(tmp_path / "described").items():
        np.testing.assert_array_equal(found, maps(tmp_path / "plain")[file])


@pytest.mark.parametrize("window", [(-100, 300), pytest.param(("10%", "90%"), marks=pytest.mark.slow)])
def test_the_window_of_training_is_applied(window, tmp_path, rng):
    np.save(tmp_path / "ct.npy", rng.integers(-1000, 1000, (8, 10)).astype("int16"))
    plain, described = net(), net(window=window)
    described.set_weights(plain.get_weights())
    plain.save(tmp_path / "plain.keras")
    described.save(tmp_path / "described.keras")
    version = serving.export(described, tmp_path / "export")
    card = json.loads((version / "model_card.json").read_text())
    assert "was trained in" in card["left_out"]["encoded"]  # which reads files over their largest value
    assert "encoded" not in tf.saved_model.load(str(version)).signatures
    (wanted,) = predict_files(tmp_path / "plain.keras", tmp_path / "ct.npy", tmp_path / "out", window=window)
    for number, model in enumerate(("described.keras", "export")):
        for given in ({}, {"window": list(window)}):
            (row,) = predict_files(
                tmp_path / model, tmp_path / "ct.npy", tmp_path / f"{number}", overwrite=True, **given
            )
            assert row["expected_area"] == pytest.approx(wanted["expected_area"], rel=1e-6)
        with pytest.raises(ValueError, match=r"window: expected .* in which the model was trained; got \(0"):
            predict_files(tmp_path / model, tmp_path / "ct.npy", tmp_path / "no", window=(0, 1))


def test_images_of_another_spacing_are_resampled(tmp_path, rng):
    plain, described = net(), net(spacing=(0.5, 1.0))
    described.set_weights(plain.get_weights())
    image = rng.random((12, 10), dtype="float32")
    np.save(tmp_path / "a.npy", image)
    described.save(tmp_path / "model.keras")
    for spacing, sides in {(0.5, 1.0): (12, 10), (0.51, 0.98): (12, 10), (1.0, 1.0): (24, 10), (0.5, 2.0): (12, 20)}.items():
        name = f"out{spacing}"
        (row,) = predict_files(tmp_path / "model.keras", tmp_path / "a.npy", tmp_path / name, spacing=spacing)
        (found,) = maps(tmp_path / name).values()
        np.testing.assert_allclose(found, by_hand(plain, image[..., None], sides), atol=3e-5, err_msg=name)
        assert row["expected_area"] == pytest.approx(np.prod(spacing) * found.sum(), rel=1e-3)  # of the image's own pixels
    with pytest.raises(ValueError, match=r"spacing: expected \[0.5, 1.0\] mm, in which the model was trained"):
        serving.export(described, tmp_path / "export", spacing=(0.5, 0.5))
    assert serving.export(described, tmp_path / "export", spacing=(0.5, 1.0)).name == "1"


def test_a_model_of_which_nothing_is_known_is_as_before(tmp_path, rng):
    """And so is an export of an earlier release, whose card does not speak of images."""
    model = net()
    images = files(tmp_path / "scans", rng, (20, 14))
    version = serving.export(model, tmp_path / "export")
    card = json.loads((version / "model_card.json").read_text())
    assert card.pop("trained_images") is None
    (version / "model_card.json").write_text(json.dumps(card))
    predict_files(tmp_path / "export", tmp_path / "scans", tmp_path / "out", window=(0, 255))
    np.testing.assert_allclose(maps(tmp_path / "out")["0.png"], agreement(model, images["0.png"]), atol=2e-5)


def test_what_a_model_makes_of_an_image_has_its_size():
    image = np.zeros((1, 8, 8, 1), "float32")
    check_trial(np.zeros((1, 8, 8, 3), "float32"), image)
    with pytest.raises(ValueError, match=r"an output of the image's size; got \(4, 4\) pixels for an image of \(8, 8\)"):
        check_trial({"disc": np.zeros((1, 4, 4, 3), "float32")}, image)


def test_a_larger_multiple_is_taken_and_a_wrong_one_is_not(tmp_path):
    image = keras.Input((None, None, 1))
    model = keras.Model(image, keras.layers.UpSampling2D(4)(keras.layers.Conv2D(3, 4, strides=4)(image)))
    card = json.loads((serving.export(model, tmp_path / "a") / "model_card.json").read_text())
    assert card["size_multiple"] == [4, 4]
    serving.export(model, tmp_path / "a", multiple=8)
    with pytest.raises(ValueError, match="multiple: expected a multiple of 4, which the strides .* got 2"):
        serving.export(model, tmp_path / "a", multiple=2)
