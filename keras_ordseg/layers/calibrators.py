"""Post-hoc calibrators as layers: logits in, calibrated logits of the same shape out. `calibration.fit` fits them."""

import keras
import numpy as np
from keras import ops

_FLOOR = 1e-7  # of a probability before its logarithm


class _Calibrator(keras.layers.Layer):
    def __init__(self, **kwargs):
        kwargs.setdefault("dtype", "float32")  # levels must not pass through half precision
        super().__init__(**kwargs)
        self.supports_masking = True

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)


@keras.saving.register_keras_serializable(package="keras_ordseg")
class TemperatureScaling(_Calibrator):
    """Divides level logits, or a binary logit, by one temperature.

    Args:
        temperature: Positive number; above 1 softens. Default 1.
        name, dtype, …: As for any Keras layer.

    Input and output shape:
        `(batch, *spatial, K+1)` or `(batch, *spatial, 1)`.

    Raises:
        ValueError: For a temperature that is not a positive number.

    Reference: Guo et al., *On Calibration of Modern Neural Networks*, ICML 2017.

    >>> [float(z) for z in TemperatureScaling(2.0)(np.array([[0.0, 3.0]]))[0]]
    [0.0, 1.5]
    """

    def __init__(self, temperature=1.0, **kwargs):
        super().__init__(**kwargs)
        if not np.isscalar(temperature) or not 0 < temperature < np.inf:
            raise ValueError(f"temperature: expected a positive number. Received: {temperature!r}.")
        self.temperature = float(temperature)

    def call(self, inputs):
        return inputs / self.temperature

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature}


@keras.saving.register_keras_serializable(package="keras_ordseg")
class VectorScaling(_Calibrator):
    """Scales and shifts every level logit by its own numbers; on a binary logit this is Platt scaling.

    Args:
        scale: K+1 numbers, or one for a binary logit.
        offset: The same number of numbers.
        name, dtype, …: As for any Keras layer.

    Input and output shape:
        `(batch, *spatial, K+1)` or `(batch, *spatial, 1)`.

    Raises:
        ValueError: If the numbers are not finite, not equally many, or do not fit the input.

    Reference: Guo et al., *On Calibration of Modern Neural Networks*, ICML 2017; Platt, *Probabilistic Outputs for Support
    Vector Machines*, 1999.

    >>> [float(z) for z in VectorScaling([1.0, 2.0], [0.0, -1.0])(np.array([[0.0, 3.0]]))[0]]
    [0.0, 5.0]
    """

    def __init__(self, scale, offset, **kwargs):
        super().__init__(**kwargs)
        scale, offset = np.asarray(scale, "float64"), np.asarray(offset, "float64")
        if scale.ndim != 1 or scale.shape != offset.shape or not np.isfinite([scale, offset]).all():
            raise ValueError(
                "scale, offset: expected equally many finite numbers, one for each level logit. Received: "
                f"{scale.tolist()} and {offset.tolist()}."
            )
        self.scale, self.offset = scale.tolist(), offset.tolist()

    def build(self, input_shape):
        _check_width(input_shape, len(self.scale), "scale")
        super().build(input_shape)

    def call(self, inputs):
        scale, offset = (ops.convert_to_tensor(v, inputs.dtype) for v in (self.scale, self.offset))
        return inputs * scale + offset

    def get_config(self):
        return {**super().get_config(), "scale": self.scale, "offset": self.offset}


@keras.saving.register_keras_serializable(package="keras_ordseg")
class IsotonicCalibration(_Calibrator):
    """Maps every `P(k >= t)`, or the probability of a binary logit, through its own rising curve.

    Between the points of a curve the map is linear, outside them constant. The calibrated `P(k >= t)` are put in order again
    (each at most the one before) and read as level logits.

    Args:
        curves: For each t = 1..K, or once for a binary logit, a pair `(predicted, observed)` of equally long lists of
            probabilities: the predicted ones rise, the observed ones do not fall.
        name, dtype, …: As for any Keras layer.

    Input and output shape:
        `(batch, *spatial, K+1)` or `(batch, *spatial, 1)`.

    Raises:
        ValueError: If a curve is none, or there are not as many as the input needs.

    Reference: Zadrozny and Elkan, *Transforming Classifier Scores into Accurate Multiclass Probability Estimates*, KDD 2002.

    >>> z = IsotonicCalibration([([0.0, 1.0], [0.0, 0.5])])(np.array([[0.0]]))           # 0.5 becomes 0.25
    >>> round(float(ops.sigmoid(z)[0, 0]), 4)
    0.25
    """

    def __init__(self, curves, **kwargs):
        super().__init__(**kwargs)
        self.curves = [_check_curve(curve) for curve in curves]

    def build(self, input_shape):
        width = input_shape[-1]
        _check_width(input_shape, 1 if len(self.curves) == 1 and width == 1 else len(self.curves) + 1, "curves")
        super().build(input_shape)

    def call(self, inputs):
        if inputs.shape[-1] == 1:
            p = ops.clip(_interpolate(ops.sigmoid(inputs), *self.curves[0]), _FLOOR, 1 - _FLOOR)
            return ops.log(p) - ops.log1p(-p)
        levels = ops.softmax(inputs, axis=-1)
        above, at_least = 0.0, []
        for t in range(len(self.curves), 0, -1):
            above = above + levels[..., t]
            at_least.append(above)
        before, found = ops.ones_like(above), []
        for p, curve in zip(at_least[::-1], self.curves, strict=True):
            after = ops.minimum(_interpolate(p, *curve), before)
            found.append(before - after)
            before = after
        return ops.log(ops.maximum(ops.stack([*found, before], axis=-1), _FLOOR))

    def get_config(self):
        return {**super().get_config(), "curves": self.curves}


def _interpolate(p, predicted, observed):
    """Linear between the points, constant outside them: what `numpy.interp` does."""
    x, y = (ops.convert_to_tensor(v, p.dtype) for v in (predicted, observed))
    if len(predicted) == 1:
        return ops.zeros_like(p) + y[0]
    lower = ops.zeros_like(p, dtype="int32")
    # By bisection and not by searchsorted, which neither LiteRT nor ONNX has.
    for step in (2**bit for bit in reversed(range((len(predicted) - 2).bit_length()))):
        further = ops.minimum(lower + step, len(predicted) - 2)
        lower = ops.where(ops.take(x, further, axis=0) <= p, further, lower)
    x0, x1 = ops.take(x, lower, axis=0), ops.take(x, lower + 1, axis=0)
    y0, y1 = ops.take(y, lower, axis=0), ops.take(y, lower + 1, axis=0)
    return y0 + (y1 - y0) * ops.clip((p - x0) / (x1 - x0), 0.0, 1.0)


def _check_curve(curve):
    predicted, observed = (np.asarray(v, "float32") for v in curve)
    both = np.concatenate([predicted, observed])
    if (
        predicted.ndim != 1
        or predicted.shape != observed.shape
        or not len(predicted)
        or not ((both >= 0) & (both <= 1)).all()
        or (np.diff(predicted) <= 0).any()
        or (np.diff(observed) < 0).any()
    ):
        raise ValueError(
            "curves: expected pairs (predicted, observed) of equally many probabilities, the predicted ones rising, the "
            f"observed ones not falling. Received: {curve!r}."
        )
    return [predicted.tolist(), observed.tolist()]


def _check_width(input_shape, expected, argument):
    if input_shape[-1] != expected:
        raise ValueError(
            f"{argument}: this calibrator was made for logits with a last axis of {expected}. Received shape "
            f"{tuple(input_shape)}."
        )
