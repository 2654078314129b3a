"""`model_card.json`: what a served model is, beside it."""

import datetime
import importlib.metadata
import json
import math
import platform
import re

import keras
import numpy as np

from keras_ordseg.layers import IsotonicCalibration, TemperatureScaling, VectorScaling
from keras_ordseg.models._inside import layers_inside
from keras_ordseg.models._outputs import output_of
from keras_ordseg.models.preprocessing import ImageScaling, mode_name

_PACKAGES = ("keras-ordseg", "keras", "tensorflow", "numpy")
CALIBRATORS = (TemperatureScaling, VectorScaling, IsotonicCalibration)
READOUTS = {
    "agreement": "E[k] / K, the chance that a rater drawn at random marks the pixel",
    "majority": "P(k >= ceil(K/2))",
    "levels": "P(k = 0), ..., P(k = K)",
    "at_least": "P(k >= 1), ..., P(k >= K)",
    "probability": "sigmoid of the binary logit",
    "masks": "P(k >= t) > 1/2 for t = 1..K",
    "ribbon": "marked by some rater but not by all: in the first mask and not in the last",
    "area": "mean of A_t over t, A_t the sum of P(k >= t): the expected area of a rater drawn at random",
    "area_low": "A_K, what all raters mark",
    "area_high": "A_1, what any rater marks",
    "expected_area": "the same as area",
    "area_sd": "standard deviation of A_t over t",
    "disputed_share": "mean of P(0 < k < K) over the pixels with P(k >= 1) > 1/2; 0 where there are none",
    "review": "disputed_share above the review threshold, or not a number",
}


def make_card(about, own):
    """The user's fields and those that the export knows, as one JSON text.

    Args:
        about: Dict of the user's, or None. NumPy numbers and arrays and tensors are taken; what is not a number is null.
        own: Dict of the export's fields; a field of the user's with such a name is refused.

    Returns:
        The text.

    Raises:
        TypeError: If `about` is not a dict, or holds what JSON cannot, named.
        ValueError: If it names a field of the export's.

    >>> print(make_card({"licence": "CC BY 4.0", "metrics": {"ece": np.float32(0.5)}}, {"raters": 3}))
    {
      "raters": 3,
      "licence": "CC BY 4.0",
      "metrics": {
        "ece": 0.5
      }
    }
    """
    if about is not None and not isinstance(about, dict):
        raise TypeError(
            f"card: expected a dict such as {{'data': ..., 'licence': ..., 'metrics': ...}}. Received: {about!r}."
        )
    if taken := sorted(set(about or {}) & set(own)):
        raise ValueError(f"card: the export itself writes the fields {taken}; give yours other names.")
    text = json.dumps({**own, **_plain(about or {}, "card")}, indent=2, ensure_ascii=False, allow_nan=False)
    return re.sub(r"\[\n[^\[\]{}]*\n *\]", _one_line, text) + "\n"


def card_fields(model, raters, calibrators, signatures, left_out, settings):
    """The fields of the card that the export knows."""
    attached = attached_calibrators(model)
    after = {name: _layer(layer) for name, layer in (calibrators or attached).items()}
    if calibrators and attached:
        after = {name: {**card, "on_top_of": _layer(attached.get(name))} for name, card in after.items()}
    return {
        "format": "keras_ordseg model card 1",
        "model": model.name,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "raters": raters.get(None, raters),
        "structures": None if None in raters else list(raters),
        "preprocessing": preprocessing_of(model),
        "calibrator": {name or "": card for name, card in after.items()} or None,
        **settings,
        "signatures": signatures,
        "left_out": left_out,
        "readouts": {name: text for name, text in READOUTS.items() if _named(name, signatures)},
        "versions": _versions(),
    }


def describe(function):
    """Inputs and outputs of a `tf.function` with a fixed signature, as `{name: {"dtype", "shape"}}`."""
    concrete = function.get_concrete_function()
    inputs = {spec.name: spec for spec in function.input_signature}
    return {
        side: {name: {"dtype": x.dtype.name, "shape": x.shape.as_list()} for name, x in specs.items()}
        for side, specs in (("inputs", inputs), ("outputs", concrete.structured_outputs))
    }


def _one_line(numbers):
    """A list without lists inside; a line break in the text of an entry is written as an escape, so none is touched."""
    return re.sub(r"\n *", " ", numbers[0]).replace("[ ", "[", 1).removesuffix(" ]") + "]"


def _named(name, signatures):
    outputs = {output for signature in signatures.values() for output in signature["outputs"]}
    return any(output == name or output.endswith(f"_{name}") for output in outputs)


def preprocessing_of(model):
    """How images are prepared inside a model, wherever in it: a mode, the numbers of a scaling, or the class of a layer."""
    found = []
    for layer in layers_inside(model):
        own = getattr(layer, "preprocessing", None) if isinstance(layer, keras.Model) else None
        if isinstance(layer, ImageScaling):
            own = mode_name(layer)
        elif isinstance(own, keras.layers.Layer):
            own = None if isinstance(own, ImageScaling) else type(own).__name__
        if own is not None and own not in found:
            found.append(own)
    return found[0] if len(found) == 1 else sorted(found, key=str) or None


def attached_calibrators(model):
    """`{structure: layer}` of the calibrators that stand last in a model, through models that are used as layers."""
    found, output = {}, output_of(model)
    for name, tensor in (output if isinstance(output, dict) else {None: output}).items():
        operation, _, index = tensor._keras_history
        while isinstance(operation, keras.Model) and getattr(operation, "outputs", None):
            operation, _, index = operation.outputs[index]._keras_history
        if isinstance(operation, CALIBRATORS):
            found[name] = operation
    return found


def _layer(layer):
    """A layer's name, class, and the numbers that it works with."""
    if layer is None:
        return None
    return {"name": layer.name, "class": type(layer).__name__, "weights": _numbers(layer)}


def _numbers(layer):
    """The weights of a layer, where they are few, and the settings that are its own; of a model by layer."""
    if isinstance(layer, keras.Model):
        inside = [each for each in layer.layers if not isinstance(each, keras.layers.InputLayer)]
        return {each.name: _numbers(each) for each in inside}
    values = {weight.name: np.asarray(weight) for weight in layer.weights}
    if sum(value.size for value in values.values()) > 100:
        return None
    own = layer.get_config() if isinstance(layer, CALIBRATORS) or not values else {}
    own = {name: value for name, value in own.items() if name not in ("name", "trainable", "dtype", "data_format")}
    return {name: value.tolist() for name, value in values.items()} | _plain(own, "calibrator")


def _plain(value, place):
    """`value` as JSON types."""
    if isinstance(value, dict):
        if bad := [key for key in value if not isinstance(key, str)]:
            raise TypeError(f"{place}: expected text as keys. Received: {bad[0]!r} of type {type(bad[0]).__name__}.")
        return {key: _plain(entry, f"{place}[{key!r}]") for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry, f"{place}[{i}]") for i, entry in enumerate(value)]
    if isinstance(value, np.ndarray | np.generic) or keras.ops.is_tensor(value):
        return _plain(np.asarray(value).tolist(), place)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | bool | int):
        return value
    raise TypeError(
        f"{place}: expected what JSON holds (text, numbers, lists, dicts). Received: {value!r} of type "
        f"{type(value).__name__}."
    )


def _versions():
    found = {"python": platform.python_version(), "keras_backend": keras.config.backend()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found
