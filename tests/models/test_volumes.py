"""Volumes: the 3-D U-Net in every precision, in files and served, and from NIfTI patches to a NIfTI map."""

import keras
import numpy as np
import pytest

from keras_ordseg import data, datasets, metrics, serving
from keras_ordseg.losses import OrdinalSegmentationLoss
from keras_ordseg.models import Ensemble, OrdinalSegmenter, sliding_window_inference, small_backbone

nib = pytest.importorskip("nibabel")

# Keras reads TensorFlow variables with np.array, whose copy argument TensorFlow does not know.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
)
AFFINE = np.array([[-0.7, 0, 0, 90], [0, 0.7, 0, -120], [0, 0, 2.5, 40], [0, 0, 0, 1]])


def unet(filters=(2, 4), num_raters=3, **kwargs):
    """The 3-D U-Net: the U-Net decoder on an encoder of three spatial axes, of any size."""
    return OrdinalSegmenter(small_backbone((None, None, None, 1), filters), num_raters, decoder="unet", **kwargs)


def compiled(model, jit):
    model.compile(
        keras.optimizers.Adam(0.02),
        OrdinalSegmentationLoss(readout="expected"),
        metrics=[metrics.MultiRaterBrier(name="brier")],
        jit_compile=jit,
    )
    return model


@pytest.mark.slow
@pytest.mark.parametrize(
    "policy,jit",
    [
        ("float32", True),
        pytest.param("mixed_bfloat16", True, marks=pytest.mark.slow),
        # not mixed_float16: TensorFlow has no MaxPool3D of that type on a CPU
    ],
)
def test_trains_saves_and_is_served_at_any_size(policy, jit, tmp_path, rng):
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(policy)
    inside = np.zeros((4, 8, 8, 4, 1), "float32")
    inside[:, 2:6, 1:5, 1:3] = 1
    images = (0.6 * inside + 0.4 * rng.uniform(size=inside.shape)).astype("float32")
    model = compiled(unet(), jit)
    history = model.fit(images, inside.repeat(3, -1).astype("int8"), batch_size=2, epochs=12, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert history["loss"][-1] < 0.6 * history["loss"][0]
    z = model.predict(images, verbose=0)
    assert z.dtype == np.float32
    # what is served is not compiled by XLA, which rounds the halves of a bfloat16 model elsewhere (0.03 of a probability)
    plain = keras.ops.softmax(model(images, training=False))
    np.testing.assert_allclose(keras.ops.softmax(z), plain, atol=1e-5 if policy == "float32" else 0.1)
    model.save(tmp_path / "unet.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "unet.keras").predict(images, verbose=0), z)
    version = serving.export(model, tmp_path / "served", sample=images)
    serve = tf.saved_model.load(str(version)).signatures["serving_default"]
    for volume in (images, np.tile(images[:1], (1, 2, 1, 3, 1))[:, :, :7]):  # another size, and one that 2 does not divide
        levels = serve(image=tf.constant(volume))["levels"]
        assert levels.shape == (*volume.shape[:-1], 4)
        if volume is images:
            np.testing.assert_allclose(levels, plain, atol=1e-5)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Eight generated volumes of 24x20x16 as NIfTI, three raters' masks each; rater 2 has not read volume 1."""
    folder = tmp_path_factory.mktemp("volumes")
    arrays = datasets.ambiguous_shapes(8, size=(24, 20, 16), num_raters=3, dims=3)
    for name, image, ratings in zip(arrays["id"], arrays["image"], arrays["ratings"], strict=True):
        nib.save(nib.Nifti1Image(image[..., 0], AFFINE), folder / f"{name}_image.nii")
        for rater in range(3):
            if (name, rater) != ("0001", 1):
                mask = nib.Nifti1Image(ratings[..., rater].astype("uint8"), AFFINE)
                nib.save(mask, folder / f"{name}_rater{rater + 1}.nii")
    return folder, arrays


def test_random_foreground_patches_are_new_in_every_epoch_and_true_to_the_files(files):
    """A grid of larger patches and a random crop: no volume is held, and image and masks stay together."""
    folder, arrays = files
    cases = data.cases(folder, "*_image.nii", "*_rater{r}.nii")
    patches = cases[:1].patches((16, 16, 16), overlap=8)
    crop = (8, 8, 8)

    def epochs(foreground):
        augment = data.Augmentation(flip=False, rotate90=False, crop=crop, foreground=foreground)
        batches = data.PyDataset(patches, len(patches), augment=augment, epochs=2, seed=1)
        return [batches[step][:2] for step in range(2)]

    whole, masks = arrays["image"][0], arrays["ratings"][0]
    places = []
    for images, ratings in epochs(1.0):
        assert images.shape == (len(patches), *crop, 1)
        for image, marks in zip(images, ratings, strict=True):
            windows = np.lib.stride_tricks.sliding_window_view(whole[..., 0], crop)
            (place,) = np.argwhere(np.abs(windows - image[..., 0]).max(axis=(3, 4, 5)) < 1e-6)
            places.append(tuple(place))
            np.testing.assert_array_equal(marks, masks[tuple(slice(p, p + 8) for p in place)])
    assert len(set(places)) > len(patches)  # the second epoch cuts elsewhere
    marked = [np.mean([(r > 0).any() for _, ratings in epochs(f) for r in ratings]) for f in (0.0, 1.0)]
    assert marked[1] > marked[0]


def test_from_patches_to_a_map_of_the_whole_volume(files, tmp_path):
    folder, arrays = files
    keras.utils.set_random_seed(0)
    cases = data.cases(folder, "*_image.nii", "*_rater{r}.nii")
    patches = cases[:7].patches(16, overlap=8)
    levels = data.level_frequencies(cases[:7])
    model = compiled(unet((4, 8), initial_levels=levels), jit=False)
    training = data.PyDataset(patches, 7, epochs=4)
    steps = data.steps_per_epoch(patches, 7)
    history = model.fit(training, steps_per_epoch=steps, epochs=4, shuffle=False, verbose=0).history
    assert history["brier"][-1] < 0.8 * history["brier"][0]

    case = cases[7]
    scan = nib.load(case.image)
    ensemble = Ensemble([model], flips=[0, (1, 2)])
    probabilities = sliding_window_inference(ensemble, scan.dataobj, 16, verbose=0)
    assert probabilities.shape == (24, 20, 16, 4)
    np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-5)
    read = data.load(cases[7:])
    np.testing.assert_allclose(
        sliding_window_inference(ensemble, read["image"][0], 16, verbose=0), probabilities, atol=1e-6
    )
    brier = {}
    for name, p in (("prior", np.broadcast_to(levels, probabilities.shape)), ("model", probabilities)):
        metric = metrics.MultiRaterBrier(from_logits=False)
        metric.update_state(arrays["ratings"][7:], p[None].astype("float32"))
        brier[name] = float(metric.result())
    assert brier["model"] < 0.9 * brier["prior"]

    agreement = (probabilities @ np.arange(4) / 3).astype("float32")
    nib.save(nib.Nifti1Image(agreement, scan.affine), tmp_path / "agreement.nii.gz")
    again = nib.load(tmp_path / "agreement.nii.gz")
    np.testing.assert_array_equal(again.affine, scan.affine)
    np.testing.assert_array_equal(again.get_fdata(dtype="float32"), agreement)
