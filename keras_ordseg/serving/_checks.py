"""What can be served, and what is refused before anything is written."""

import math
from numbers import Integral, Real

import keras
import numpy as np

from keras_ordseg._checks import ArgumentError
from keras_ordseg.models._inside import output_sides, size_multiple
from keras_ordseg.models._outputs import logit_outputs
from keras_ordseg.ops.values import check_scores
from keras_ordseg.serving._load import plain


def check_model(model):
    """The shape of the model's input with a free batch axis, and its outputs by structure; an error for another model."""
    outputs = logit_outputs(model)
    return (None, *model.inputs[0].shape[1:]), outputs


def check_backend(shape):
    """An error where Keras cannot write a SavedModel of this input shape."""
    backend = keras.config.backend()
    if backend not in ("tensorflow", "jax"):
        raise RuntimeError(
            f"serving.export writes a TensorFlow SavedModel, which Keras cannot do under the '{backend}' backend. Save "
            "the model with model.save('model.keras') and export it in a process with KERAS_BACKEND=tensorflow."
        )
    if backend == "jax" and None in shape[1:]:
        raise ValueError(
            f"model: under the 'jax' backend the size of the image must be fixed, and it is {shape[1:-1]}. Save the "
            "model with model.save('model.keras') and export it in a process with KERAS_BACKEND=tensorflow, or build "
            "it on a backbone with a fixed input_shape."
        )
    try:
        import tensorflow  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "serving.export writes a TensorFlow SavedModel and needs TensorFlow: pip install tensorflow"
        ) from error


def check_calibrators(calibrator, outputs):
    """`{structure: layer}` of the calibrators, checked against the model's outputs."""
    if calibrator is None:
        return {}
    named = calibrator if isinstance(calibrator, dict) else {None: calibrator}
    if unknown := [name for name in named if name not in outputs]:
        there = [name for name in outputs if name is not None]
        raise ValueError(
            f"calibrator: expected {f'a dict by structure, of {there}' if there else 'one layer, not a dict'}. "
            f"Received {'one layer' if unknown == [None] else f'the structures {unknown}'}."
        )
    for name, layer in named.items():
        if not isinstance(layer, keras.layers.Layer):
            kind = type(layer).__name__
            raise TypeError(f"calibrator: expected a Keras layer or model. Received: {layer!r} of type {kind}.")
        shape = tuple(outputs[name].shape)
        expected = "calibrator: expected a layer from logits to logits of the same shape, as calibration.fit gives, here "
        expected += f"{shape}."
        images = isinstance(layer, keras.Model) and layer.built and getattr(layer, "inputs", None)
        if images and len(layer.inputs[0].shape) == len(shape) and size_multiple(layer) != 1:
            raise ValueError(f"{expected} '{layer.name}' is a segmentation model, which takes images.")
        for x in (layer.built and getattr(layer, "inputs", None)) or ():
            if len(x.shape) != len(shape) or any(w not in (None, s) for w, s in zip(x.shape, shape, strict=True)):
                raise ValueError(f"{expected} '{layer.name}' takes {tuple(x.shape)}; was it made for another model?")
        try:
            given = getattr(layer(keras.KerasTensor(shape, dtype="float32")), "shape", None)
        except Exception as error:  # each layer raises its own kinds, and Keras adds pages in colours to them
            raise ValueError(f"{expected} '{layer.name}' does not take them: {plain(error)}") from None
        if given is None or len(given) != len(shape) or given[-1] != shape[-1]:
            raise ValueError(f"{expected} '{layer.name}' makes {given} of them.")
    return dict(named)


def check_multiples(multiple, model, shape):
    """For each spatial axis the number that its side must be a multiple of; 1 where the side is fixed."""
    found = size_multiple(model)
    if found is None:
        sides = tuple(64 if side is None else side for side in shape[1:-1])
        given = output_sides(model, sides) or [None]
        raise ArgumentError(
            "model",
            "an output of the image's size",
            f"{' and '.join(map(str, given))} pixels from '{model.name}' for images of {sides}",
            "enlarge its output, as layers.BilinearUpsampling does",
        )
    if multiple is None:
        multiple = found
    if not isinstance(multiple, Integral) or multiple < 1:
        raise ArgumentError("multiple", "an int of at least 1", repr(multiple))
    if multiple % found:
        raise ArgumentError(
            "multiple", f"a multiple of {found}, which the strides of '{model.name}' need", f"{multiple}", "leave it out"
        )
    return tuple(int(multiple) if side is None else 1 for side in shape[1:-1])


def check_trial(outputs, image):
    """An error where what a model makes of an image has not the image's size, where the sides are known."""
    for z in keras.tree.flatten(outputs):
        sides, wanted = tuple(z.shape[1:-1]), tuple(image.shape[1:-1])
        if None not in (*sides, *wanted) and sides != wanted:
            raise ArgumentError(
                "model",
                "an output of the image's size",
                f"{sides} pixels for an image of {wanted}",
                "give multiple=, the largest stride of the model, or enlarge its output",
            )


def check_spacing(spacing, shape):
    """The size of a pixel, the unit of areas, and the distances between pixels in millimetres as a list, or None."""
    rank = len(shape) - 2
    if spacing is None:
        return 1.0, "pixel" if rank < 3 else "voxel", None
    values = (spacing,) if isinstance(spacing, Real) else tuple(spacing)
    if len(values) != rank or not all(isinstance(s, Real) and 0 < s < math.inf for s in values):
        expected = f"the distance between pixels in mm on each of the {rank} axes, above 0"
        raise ArgumentError("spacing", expected, repr(spacing))
    return float(math.prod(values)), ("mm", "mm²", "mm³")[rank - 1], [float(s) for s in values]


def check_scale(distances, images):
    """An error where the spacing of what is sent is not that of training, and the served graph does not rescale."""
    trained = (images or {}).get("spacing")
    if distances is None or trained is None or images["fit"] == "resize":
        return
    if not same_spacing(distances, trained):
        raise ArgumentError(
            "spacing",
            f"{trained} mm, in which the model was trained (models.describe_images)",
            f"{distances}",
            "resample the images before they are sent, or leave it out",
        )


def same_spacing(one, other):
    """Whether two spacings differ by less than 5 % on every axis."""
    return all(abs(a / b - 1) < 0.05 for a, b in zip(one, other, strict=True))


def check_settings(review_threshold, max_pixels, value_range):
    """A ValueError for what is no share, no number of pixels, no range."""
    if not isinstance(review_threshold, Real) or not 0 <= review_threshold <= 1:
        raise ArgumentError("review_threshold", "a share in [0, 1]", repr(review_threshold))
    if not isinstance(max_pixels, Integral) or max_pixels < 1:
        raise ArgumentError("max_pixels", "an int of at least 1", repr(max_pixels))
    if value_range is not None:
        good = np.shape(value_range) == (2,) and np.isfinite(value_range).all() and value_range[0] < value_range[1]
        if not good:
            raise ValueError(f"value_range: expected (lowest, highest), or None. Received: {value_range!r}.")


def check_sample(sample, shape, multiples, value_range, size=None):
    """A batch of float32 images as clients send them: the user's, or blank ones of a usual size."""
    low, high = (-math.inf, math.inf) if value_range is None else value_range
    if sample is None:
        usual = {1: 1024, 2: 256, 3: 64}[len(shape) - 2]
        sides = [-(-usual // m) * m if side is None else side for side, m in zip(shape[1:-1], multiples, strict=True)]
        sides = sides if size is None else size
        return np.full((1, *sides, shape[-1]), 0.0 if value_range is None else low, "float32")
    array = np.asarray(sample, "float32")
    array = array[None] if array.ndim == len(shape) - 1 else array
    fits = len(array.shape) == len(shape) and all(
        want in (None, have) and have for have, want in zip(array.shape, shape, strict=True)
    )
    if not fits:
        raise ValueError(
            f"sample: expected an image {shape[1:]} or a batch of them, as the model takes. Received shape {array.shape}."
        )
    if not (np.isfinite(array).all() and array.min() >= low and array.max() <= high):
        raise ValueError(
            f"sample: expected finite values{f' in [{low:g}, {high:g}]' if value_range else ''}, because the served model "
            f"refuses others. They span {array.min():g} to {array.max():g}."
        )
    return array


def check_logits(logits):
    """A ValueError where the model's levels of a trial image are probabilities: they would be taken for logits."""
    named = logits if isinstance(logits, dict) else {None: logits}
    for name, z in named.items():
        check_scores(keras.ops.convert_to_numpy(z), argument=f"model, output {name!r}" if name else "model")


def check_finite(outputs, calibrators):
    """A ValueError where an answer to the trial image is not finite: what is served would be NaN for every client."""
    bad = [name for name, x in outputs.items() if not np.isfinite(keras.ops.convert_to_numpy(x)).all()]
    if bad:
        cause = "the training diverged" + (", or the calibrator is not finite" if calibrators else "")
        raise ValueError(
            f"model: expected finite probabilities of a trial image. Received NaN or infinity in {bad}: {cause}. Check the "
            "loss, and train with a lower learning rate or take the weights of an earlier epoch."
        )


def checked_values(image, value_range):
    """`image` in a TensorFlow graph that fails with a clear error where values are not finite or out of range.

    A mask of an image of NaN would be empty, and one of an image of 0 to 255 plausible and wrong.
    """
    import tensorflow as tf

    from keras_ordseg.serving._encoded import require

    checks = [require(tf.math.is_finite(image), "image: holds values that are not finite (NaN or infinite).")]
    if value_range is not None:
        low, high = value_range
        slack = 1e-3 * (high - low)
        inside = tf.logical_and(image >= low - slack, image <= high + slack)
        message = f"image: expected values in [{low:g}, {high:g}], as in training; divide 8-bit images by 255."
        checks.append(require(inside, message))
    with tf.control_dependencies(checks):
        return tf.identity(image)
