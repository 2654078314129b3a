"""`model_card.json`: what a served model is, beside it."""

import datetime
import importlib.metadata
import json
import math
import platform
import re

import keras
import numpy as np

_PACKAGES = ("keras-ordseg", "keras", "tensorflow", "numpy")
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
    preprocessing = getattr(model, "preprocessing", None)
    return {
        "format": "keras_ordseg model card 1",
        "model": model.name,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "raters": raters.get(None, raters),
        "structures": None if None in raters else list(raters),
        "preprocessing": preprocessing if isinstance(preprocessing, str | None) else type(preprocessing).__name__,
        "calibrator": {name or "": _layer(layer) for name, layer in calibrators.items()} or None,
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


def _layer(layer):
    """A layer's name, class and, where it has only a few, its weights."""
    values = {weight.name: np.asarray(weight) for weight in layer.weights}
    few = sum(value.size for value in values.values()) <= 100
    return {
        "name": layer.name,
        "class": type(layer).__name__,
        "weights": {name: value.tolist() for name, value in values.items()} if few else None,
    }


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
