"""What images were when a model was trained: a layer that carries it, and what reads and writes it."""

from collections.abc import Sequence
from numbers import Real

import keras
import numpy as np

from keras_ordseg._checks import ArgumentError
from keras_ordseg.models._inside import layers_inside

_FITS = ("crop", "resize")
_NOTHING = {"size": None, "fit": None, "window": None, "spacing": None}


@keras.saving.register_keras_serializable(package="keras_ordseg")
class DescribedImage(keras.layers.Layer):
    """Passes images on as they are, and keeps how they were made for training; see `describe_images`.

    Segmenters have one behind their input. It is part of the graph, so the description survives `.keras` files,
    `clone_model`, calibrators, ensembles and whatever a model is wrapped in.

    Args:
        size: Sides of the training images, a list, or `None`.
        fit: `"crop"`, `"resize"` or `None`.
        window: The two ends of the window, a list, or `None`.
        spacing: Millimetres between pixels, a list, or `None`.
        **kwargs: Keyword arguments of `keras.layers.Layer`.

    >>> float(DescribedImage([96, 96], "resize")(keras.ops.ones((1, 2, 2, 1)))[0, 0, 0, 0])
    1.0
    """

    def __init__(self, size=None, fit=None, window=None, spacing=None, **kwargs):
        kwargs.setdefault("dtype", "float32")
        super().__init__(autocast=False, **kwargs)
        self.size, self.fit, self.window, self.spacing = size, fit, window, spacing
        self.supports_masking = True
        self.built = True

    @property
    def description(self):
        """The four as a dict, or `None` where nothing is known."""
        found = {name: _listed(getattr(self, name)) for name in _NOTHING}
        return None if found == _NOTHING else found

    def call(self, inputs):
        return inputs

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape, dtype=inputs.dtype)

    def get_config(self):
        return {**super().get_config(), **(self.description or _NOTHING)}


def describe_images(model, size=None, fit=None, window=None, spacing=None):
    """Writes into a model what images were when it was trained, so that prediction and serving do the same.

    `keras-ordseg predict` and the served graph then act by themselves: with `fit="resize"` an image is brought to `size` as
    in training, and the maps back to the image's own size; `window` is applied to files; images of another `spacing` are
    resampled. `fit="crop"` does not change the scale, so images of any size are predicted at their own. The arguments are
    those that `data.cases` and `data.load` were given for the training images.

    Args:
        model: A functional Keras model of one image. A segmenter of this package, or a model with one inside, is changed
            in place; every description inside it is.
        size: Pixels of the training images, one number or one for each axis. Default `None`: as they were.
        fit: How they were brought to that size, `"crop"` or `"resize"`. Default: `"crop"` where there is a size, as in
            `data.load`.
        window: `(lo, hi)`, the values that became 0 and 1, or percentiles such as `("1%", "99%")`. Default `None`.
        spacing: Millimetres between pixels of the training images, one number or one for each axis. Default `None`.

    Returns:
        The model; for one without a segmenter of this package inside a new functional model around it, of the same name.

    Raises:
        TypeError: If `model` is not a functional Keras model.
        ValueError: If a value is out of range.

    >>> from keras_ordseg import models
    >>> model = models.OrdinalSegmenter(models.small_backbone((None, None, 1), filters=(4, 8)), num_raters=3)
    >>> image_description(describe_images(model, size=96, fit="resize"))
    {'size': [96, 96], 'fit': 'resize', 'window': None, 'spacing': None}
    """
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise TypeError(f"model: expected a functional Keras model; got {model!r} of type {type(model).__name__}.")
    rank = len(model.inputs[0].shape) - 2
    if fit is not None and fit not in _FITS:
        raise ArgumentError("fit", f"one of {_FITS}", repr(fit))
    if fit is not None and size is None:
        raise ArgumentError("size", f"the size that fit={fit!r} brought images to", "None")
    given = {
        "size": _per_axis("size", size, rank, "whole numbers of at least 1", lambda s: s == int(s) >= 1, int),
        "fit": "crop" if size is not None and fit is None else fit,
        "window": None if window is None else _ends(window),
        "spacing": _per_axis("spacing", spacing, rank, "millimetres above 0", lambda s: 0 < s < float("inf"), float),
    }
    fixed = model.inputs[0].shape[1:-1]
    if size is not None and any(want not in (None, have) for have, want in zip(given["size"], fixed, strict=True)):
        raise ArgumentError("size", f"{fixed}, the only size that '{model.name}' takes", f"{size!r}")
    found = _described(model)
    if not found:
        image = keras.Input(model.inputs[0].shape[1:], name="image")
        layer = DescribedImage(**given, name="described_image")
        return keras.Model(image, model(layer(image)), name=model.name)
    for layer in found:
        for name, value in given.items():
            setattr(layer, name, value)
    return model


def image_description(model):
    """What `describe_images` wrote into a model or into one inside it, as a dict; `None` where nothing is known.

    Args:
        model: A Keras model.

    Raises:
        ValueError: If models inside it were trained on images of different scale.
    """
    return common_description([model], "model")


def common_description(models, argument):
    """The description that all models share, each of which sees the same image; `None` where nothing is known."""
    found = []
    for layer in (layer for model in models for layer in _described(model)):
        if layer.description is not None and layer.description not in found:
            found.append(layer.description)
    if not found:
        return None
    resized = any(each["fit"] == "resize" for each in found)
    for names in (["window"], ["spacing"], ["size", "fit"] if resized else []):
        values = [[each[name] for name in names] for each in found]
        values = [value for value in values if None not in value or len(value) == 2]
        if any(value != values[0] for value in values):
            shown = " and ".join(", ".join(map(str, value)) for value in values)
            raise ArgumentError(
                argument,
                "models trained on images of one scale, since they see the same image",
                f"{' and '.join(names)} of {shown}",
                "train them on the same, or mend what models.describe_images wrote into them",
            )
    merged = {name: next((each[name] for each in found if each[name] is not None), None) for name in _NOTHING}
    if any(each["size"] != merged["size"] for each in found):  # crops of several sizes have one scale
        merged["size"] = merged["fit"] = None
    return merged


def _described(model):
    return [layer for layer in layers_inside(model) if isinstance(layer, DescribedImage)]


def _listed(value):
    """A list that Keras wrapped to track it, as a plain one."""
    return list(value) if isinstance(value, list | tuple) else value


def _per_axis(name, value, rank, meaning, fits, kind):
    if value is None:
        return None
    values = list(value) if isinstance(value, Sequence | np.ndarray) else [value] * rank
    good = len(values) == rank and all(isinstance(v, Real) and not isinstance(v, bool) and fits(v) for v in values)
    if not good:
        raise ArgumentError(name, f"{meaning}, one number or one for each of {rank} axes", repr(value))
    return [kind(v) for v in values]


def _ends(window):
    """The two ends as numbers, or as texts of percentiles."""
    ends = list(window) if isinstance(window, Sequence | np.ndarray) and not isinstance(window, str) else []
    percentiles = bool(ends) and all(isinstance(end, str) and end.endswith("%") for end in ends)
    try:
        numbers = [float(end[:-1] if percentiles else end) for end in ends]
    except (TypeError, ValueError):
        numbers = []
    inside = all(0 <= end <= 100 for end in numbers) if percentiles else np.isfinite(numbers).all()
    if len(numbers) != 2 or not inside or not numbers[0] < numbers[1]:
        raise ArgumentError("window", "(lo, hi) with lo < hi, or percentiles such as ('1%', '99%')", repr(window))
    return ends if percentiles else numbers
