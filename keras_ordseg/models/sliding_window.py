"""Inference on images and volumes larger than the model can see at once."""

import itertools
from collections.abc import Sequence
from numbers import Integral, Real

import keras
import numpy as np

from keras_ordseg.models._inside import output_sides, size_multiple
from keras_ordseg.models._outputs import logit_outputs
from keras_ordseg.models._windows import add_window, grid, per_axis, read_window
from keras_ordseg.ops.checks import check_count
from keras_ordseg.ops.levels import level_probabilities
from keras_ordseg.ops.values import check_probabilities, check_scores

_IMPORTANCE = ("gaussian", "constant")


def sliding_window_inference(
    model, image, window, overlap=0.5, importance="gaussian", batch_size=4, verbose=1, out=None
):
    """Level probabilities of one image of any size, from overlapping windows.

    Windows lie on a grid, `(1 - overlap) * window` apart, the last ones moved inwards; a voxel's probabilities are the
    weighted mean of what the windows over it say, with weights of a window
    `w(i) = prod_axes exp(-((i - (n-1)/2) / (n/8))^2 / 2)`, n its side: a window knows its middle best. The mean is taken
    of probabilities, so it is a distribution. The windows of a grid are products over the axes, and so is the sum of
    their weights: each axis is divided by its own sum beforehand, and nothing but the result is accumulated.

    An image smaller than the window is continued by its edge behind its last voxels, as `serving.export` does, and the
    result is cut back.

    Memory: the result, `4 * (K+1)` bytes for each voxel, and one batch of windows with what the model makes of it. The
    image is read a window at a time: a `numpy.memmap`, an HDF5 dataset, or `nibabel.load("scan.nii").dataobj`.

    Args:
        model: A functional Keras model of level logits, a binary logit, or a dict of them by structure, such as
            `OrdinalSegmenter` or `Ensemble`. Or any function that takes float32 `(batch, *window, channels)` and gives
            probabilities `(batch, *window, C)`, or a dict of them, which are averaged as they are.
        image: One image `(*spatial, channels)` with one to three spatial axes, in the model's range of values: anything
            with a shape that can be sliced. Without the axis of channels it has one channel (of a function, give `window`
            for each axis then). It has no batch axis: of a batch, `image[0]`.
        window: Side of the windows in pixels, one number or one for each spatial axis; each divisible by the largest
            stride of the model. Take the size it was trained on, or more.
        overlap: Share of a window that its neighbour covers, in [0, 1), one number or one for each axis. Default 0.5.
        importance: `"gaussian"` (default) or `"constant"`, which weighs all voxels of a window alike.
        batch_size: Windows in a batch; the last batch is filled up, so that one shape is compiled. Default 4.
        verbose: 1 (default) shows a progress bar, 2 one line at the end, 0 nothing.
        out: Float32 array `(*spatial, K+1)`, or a dict of them, that the result is written into, such as a
            `numpy.memmap` where memory would not hold it. Default `None`: a new array.

    Returns:
        Level probabilities, float32 `(*spatial, K+1)`; of a binary model the probability, `(*spatial, 1)`; or a dict of
        them. Metrics take them with `from_logits=False`.

    Raises:
        TypeError: If `model` is neither a Keras model nor a function.
        ValueError: If an argument is out of range, the window does not fit the model, the output is not finite, or the
            function's answer does not fit the window or is no probability.

    Reference: the Gaussian weights are those of Isensee et al., *nnU-Net*, Nature Methods 18, 2021.

    >>> from keras_ordseg import models
    >>> model = models.OrdinalSegmenter(models.small_backbone((None, None, 1), filters=(4, 8)), num_raters=3)
    >>> p = sliding_window_inference(model, np.zeros((50, 37, 1), "float32"), window=16, verbose=0)
    >>> p.shape, bool(np.allclose(p.sum(axis=-1), 1))
    ((50, 37, 4), True)
    """
    image = image if hasattr(image, "shape") else np.asarray(image)
    shape = tuple(image.shape)
    rank, channels = _axes(model, shape, window)
    sides, size = shape[:rank], per_axis("window", window, rank, Integral, lambda w: w >= 1, "pixels, at least 1")
    overlap = per_axis("overlap", overlap, rank, Real, lambda o: 0 <= o < 1, "a share in [0, 1)")
    if importance not in _IMPORTANCE:
        raise ValueError(f"importance: expected one of {_IMPORTANCE}. Received: {importance!r}.")
    batch_size = check_count(batch_size, "batch_size")
    predict, outputs = _probabilities(model, size, channels), None
    if isinstance(model, keras.Model):
        outputs = _outputs(out, {name: x.shape[-1] for name, x in logit_outputs(model).items()}, sides)
    windows = list(itertools.product(*map(grid, sides, size, overlap, [importance] * rank)))
    batch_size = min(batch_size, len(windows))
    progress = keras.utils.Progbar(len(windows), verbose=verbose, unit_name="window")
    for first in range(0, len(windows), batch_size):
        batch = windows[first : first + batch_size]
        pixels = np.empty((batch_size, *size, channels), np.float32)
        for place, pieces in enumerate(batch):
            pixels[place] = read_window(image, [start for start, _ in pieces], size, channels, len(shape) == rank)
        pixels[len(batch) :] = pixels[len(batch) - 1]
        answers = predict(pixels)
        if outputs is None:
            outputs = _outputs(out, {name: answer.shape[-1] for name, answer in answers.items()}, sides)
        for name, answer in answers.items():
            for probabilities, pieces in zip(answer, batch, strict=False):
                add_window(outputs[name], probabilities, pieces, sides)
        progress.update(min(first + batch_size, len(windows)))
    return outputs.get(None, outputs)


def _axes(model, shape, window):
    """Spatial axes and channels of the image; an error where it is no image of the model."""
    expected = None
    if isinstance(model, keras.Model):
        logit_outputs(model)
        expected = model.inputs[0].shape[1:]
        rank = len(expected) - 1
    elif callable(model):
        rank = len(window) if isinstance(window, Sequence | np.ndarray) else len(shape) - 1
    else:
        raise TypeError(
            "model: expected a Keras model or a function of a batch of windows. Received: "
            f"{model!r} of type {type(model).__name__}."
        )
    channels = shape[rank] if len(shape) == rank + 1 else 1
    if not 1 <= rank <= 3 or len(shape) not in (rank, rank + 1) or 0 in shape:
        raise ValueError(
            f"image: expected one image (*spatial, channels) of {rank} spatial axes, without a batch axis (of a batch, "
            f"image[0]). Received shape {shape}."
        )
    if expected is not None and channels != expected[-1]:
        raise ValueError(
            f"image: the model '{model.name}' takes images of {expected[-1]} channels, the last axis. Received shape "
            f"{shape}."
        )
    return rank, channels


def _probabilities(model, size, channels):
    """A function from a batch of windows to `{structure: probabilities}`, checked as far as it can be before work."""
    if isinstance(model, keras.Model):
        _check_window(model, size)

        def predict(pixels):
            logits = model.predict_on_batch(pixels)
            named = logits if isinstance(logits, dict) else {None: logits}
            for name, z in named.items():
                check_scores(z, argument=f"model, output {name!r}" if name else "model")
            return {name: _finite(_activated(z), name) for name, z in named.items()}

        return predict

    def checked(pixels):
        answer = model(pixels)
        named = answer if isinstance(answer, dict) else {None: answer}
        return {name: _checked(p, name, pixels.shape[:-1]) for name, p in named.items()}

    return checked


def _activated(logits):
    p = keras.ops.sigmoid(logits) if logits.shape[-1] == 1 else level_probabilities(logits)
    return keras.ops.convert_to_numpy(p)


def _checked(answer, name, expected):
    """The function's answer to a batch; an error where it cannot be one."""
    answer = np.asarray(keras.ops.convert_to_numpy(answer), np.float32)
    what = "model: expected the function to give" + (f" for {name!r}" if name else "")
    if answer.shape[:-1] != expected:
        raise ValueError(f"{what} probabilities of shape {(*expected, 'C')} for its windows. Received shape {answer.shape}.")
    _finite(answer, name)
    argument = f"model, output {name!r}" if name else "model"
    check_probabilities(answer, argument, "return probabilities rather than logits", levels=False)
    return answer


def _finite(answer, name):
    """The answer; an error where a mean with it would be NaN."""
    if not np.isfinite(answer).all():
        of = f" for {name!r}" if name else ""
        raise ValueError(
            f"model: its output{of} is not finite (NaN or infinity). Either its training diverged: check the loss and the "
            "weights; or the image holds such values."
        )
    return answer


def _check_window(model, size):
    """A ValueError where the model does not take windows of this size."""
    expected = tuple(model.inputs[0].shape[1:-1])
    if any(side not in (None, w) for side, w in zip(expected, size, strict=True)):
        raise ValueError(f"window: the model '{model.name}' takes images of {expected} pixels only. Received: {size}.")
    largest = size_multiple(model) or 1
    if any(w % largest for w in size):
        fit = tuple(-(-w // largest) * largest for w in size)
        raise ValueError(
            f"window: every side must be divisible by {largest}, the largest stride of the model '{model.name}'. "
            f"Received: {size}; take {fit}."
        )
    for sides in output_sides(model, size) or ():
        if sides != size and None not in sides:
            raise ValueError(
                f"window: expected a model whose output has the size of its input. '{model.name}' gives {sides} for windows "
                f"of {size}; take sides that its strides divide."
            )


def _outputs(out, channels, sides):
    """Arrays of zeros for the result, or the user's own."""
    shapes = {name: (*sides, count) for name, count in channels.items()}
    if out is None:
        return {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    named = out if isinstance(out, dict) else {None: out}
    given = {name: (getattr(array, "shape", None), str(getattr(array, "dtype", None))) for name, array in named.items()}
    if given != {name: (shape, "float32") for name, shape in shapes.items()}:
        raise ValueError(
            f"out: expected float32 of shape {shapes.get(None, shapes)}. Received: {given.get(None, given)}."
        )
    for array in named.values():
        array[...] = 0
    return named
