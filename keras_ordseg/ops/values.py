"""Scores whose values can be read: are they the logits, or the probabilities, that they are taken for?"""

import warnings

import numpy as np
from keras import ops

from keras_ordseg._checks import ArgumentError
from keras_ordseg.ops.targets import concrete

SLACK = 1e-3  # what a probability may lie outside [0, 1] by rounding
_SUM_SLACK = 1e-2  # and a sum of eleven of them in bfloat16 beside 1
_ROWS = 2**18  # read together
_PASSED_THROUGH = ("Identity", "Cast", "Reshape", "Squeeze", "ExpandDims", "StopGradient")


def check_scores(y_pred, from_logits=True, argument="y_pred"):
    """An error where level scores are probabilities taken for logits, or scores are logits taken for probabilities.

    Values are read where that costs nothing (see `concrete`). A binary logit may lie in [0, 1], so that only a softmax
    or sigmoid that is seen to make the tensor tells: that is Keras' own warning.

    Args:
        y_pred: Level scores `(..., K+1)` or a binary score `(..., 1)`.
        from_logits: Whether `y_pred` is taken for logits (default) or for probabilities.
        argument: Its name in messages.

    Raises:
        ArgumentError: Of level scores taken for logits, if all lie in [0, 1] and sum to 1 at every pixel. Of
            probabilities, see `check_probabilities`.
    """
    if not from_logits:
        check_probabilities(y_pred, argument, "pass from_logits=True if the model gives logits", why="from_logits=False")
        return
    if maker := _made_by(y_pred):
        warnings.warn(
            f"{argument}: expected logits; got the output of a {maker}, which are probabilities. Pass from_logits=False, "
            "or leave the activation out.",
            stacklevel=3,
        )
        return
    values = concrete(y_pred)
    if values is None or values.ndim == 0 or values.shape[-1] < 2 or not values.size:
        return
    if values.min() >= -SLACK and values.max() <= 1 + SLACK and not any(map(np.any, map(_off_one, _parts(values)))):
        raise ArgumentError(
            argument,
            "logits, as model.predict gives them",
            "probabilities: values in [0, 1] that sum to 1 at every pixel",
            "pass from_logits=False where there is such an argument",
            "take np.log(np.maximum(p, 1e-7)) first",
        )


def check_probabilities(values, argument, *remedies, levels=True, why=None):
    """An error where values that can be read are no probabilities, or those of levels do not sum to 1; NaN passes.

    Args:
        values: Level probabilities `(..., K+1)` or a binary probability `(..., 1)`.
        argument: Their name in messages.
        remedies: What to do about values outside [0, 1].
        why: What makes them probabilities. Default: not said.
        levels: Whether a last axis longer than 1 holds levels. `False`: every entry is a probability of its own.
    """
    values = concrete(values)
    if values is None or not values.size:
        return
    low, high = values.min(), values.max()
    if low < -SLACK or high > 1 + SLACK:
        expected = "probabilities in [0, 1]" + (f", because {why}" if why else "")
        raise ArgumentError(argument, expected, f"values from {float(low):g} to {float(high):g}", *remedies)
    if not levels or values.ndim == 0 or values.shape[-1] == 1:
        return
    wrong = [part[_off_one(part)] for part in _parts(values)]
    if count := sum(map(len, wrong)):
        total = float(next(part for part in wrong if len(part))[0].sum(dtype="float32"))
        raise ArgumentError(
            argument,
            f"probabilities of {values.shape[-1]} levels that sum to 1 at every pixel",
            f"{count} of {values[..., 0].size} pixels with another sum, the first {total:.4g}",
            "give P(k = 0), ..., P(k = K) rather than P(k >= t)",
            "normalize them",
        )


def impossible_probabilities(y_pred):
    """Where `check_probabilities` of levels would refuse, as a boolean tensor `(...)` for compiled graphs."""
    outside = ops.any(ops.logical_or(y_pred < -SLACK, y_pred > 1 + SLACK), axis=-1)
    if y_pred.shape[-1] == 1:
        return outside
    return ops.logical_or(outside, ops.abs(ops.sum(y_pred, axis=-1) - 1.0) > _SUM_SLACK)


def check_single(**given):
    """An error where an argument is a dict, or a list of arrays, as of several structures, rather than one array.

    Raises:
        ArgumentError: Naming the argument.
    """
    for argument, value in given.items():
        if isinstance(value, dict):
            got, remedy = f"a dict of {sorted(map(str, value))}", "take one structure at a time"
        elif isinstance(value, (list, tuple)) and any(len(getattr(x, "shape", ())) > 0 for x in value):
            got = f"a {type(value).__name__} of {len(value)} arrays"
            remedy = "take one structure at a time, and np.stack images of one size"
        else:
            continue
        raise ArgumentError(argument, "one array of a batch of images", got, remedy)


def _parts(values):
    """Rows of levels, some at a time, so that memory does not grow with the volume."""
    rows = values.reshape(-1, values.shape[-1])
    return (rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS))


def _off_one(values):  # False for NaN
    return np.abs(values.sum(-1, dtype="float64" if values.dtype == "float64" else "float32") - 1) > _SUM_SLACK


def _made_by(y_pred):
    """The activation that a tensor is seen to come from, or None: Keras leaves a mark, TensorFlow the operation."""
    if hasattr(y_pred, "_keras_logits"):
        return "softmax or sigmoid"
    operation = getattr(y_pred, "op", None)
    while operation is not None and operation.type in _PASSED_THROUGH and len(operation.inputs):
        operation = operation.inputs[0].op
    kind = getattr(operation, "type", "")
    return kind.lower() if kind in ("Softmax", "Sigmoid") else None
