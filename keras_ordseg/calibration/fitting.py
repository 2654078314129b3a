"""Fits a calibrator to the raters' answers on held-out images."""

import numpy as np
from keras import ops
from scipy import optimize

from keras_ordseg.calibration._isotonic import isotonic_curve
from keras_ordseg.calibration._likelihood import binary_likelihood, level_likelihood
from keras_ordseg.layers.calibrators import IsotonicCalibration, TemperatureScaling, VectorScaling
from keras_ordseg.ops.ratings import panel

_METHODS = ("temperature", "vector", "isotonic")
_ROUNDING = 1e-6  # of a mean of probabilities, such as overlapping windows give


def fit(y_true, y_pred, method="temperature", sample_weight=None, num_raters=None):
    """A layer that turns a trained model's logits into calibrated ones.

    To be fitted on images that were neither trained on nor will be reported on: the validation images.

    - `"temperature"`: one number for all logits, least negative log-likelihood. It keeps the order of the levels.
    - `"vector"`: a scale and an offset for each level logit (Platt scaling of a binary logit), the same objective.
    - `"isotonic"`: each `P(k >= t)` (or the probability of a binary logit) through its own rising curve, fitted to how
      often at least t raters marked, on 96 bins of equal width in the logit. The most flexible; wants many images.

    What fits these images need not fit others: few patients, or a share of marks that is not that of the test images, and a
    calibrator makes things worse (docs/evidence.md). Compare with and without it on images that it has not seen.

    The likelihood of levels is that of the votes `v` among the `n` raters present (levels thinned to n where raters are
    absent); that of a binary logit counts every rater's answer. Isotonic curves of levels use only pixels that all K raters
    rated, because fewer do not tell whether at least t of K mark.

    Args:
        y_true: Votes `(batch, *spatial)` or ratings `(batch, *spatial, raters)`.
        y_pred: Level logits `(batch, *spatial, K+1)` or a binary logit `(batch, *spatial, 1)`, as `model.predict` gives. Of
            probabilities, as of `models.sliding_window_inference`, take `np.log(np.maximum(p, 1e-7))` first; of a binary
            model `np.log(p) - np.log1p(-p)` with `p = np.clip(p, 1e-7, 1 - 1e-7)`.
        method: `"temperature"` (default), `"vector"` or `"isotonic"`.
        sample_weight: None, or weights `(batch,)` or `(batch, *spatial)`.
        num_raters: K; needed only where `y_true` is votes and `y_pred` a binary logit.

    Returns:
        A `layers.TemperatureScaling`, `VectorScaling` or `IsotonicCalibration`; `calibration.attach` puts it behind a
        model, `serving.export(model, folder, calibrator)` into the exported graph.

    Raises:
        ValueError: For an unknown method, shapes and values that do not fit, logits that are not finite, level
            probabilities in the place of logits, or no rated pixel.

    >>> rng = np.random.default_rng(0)
    >>> votes = rng.integers(0, 4, size=(4, 32, 32))
    >>> guess = np.where(rng.random(votes.shape) < 0.7, votes, 0)
    >>> fit(votes, 8 * np.eye(4)[guess]).temperature > 1              # far surer than right
    True
    """
    if method not in _METHODS:
        raise ValueError(f"method: expected one of {_METHODS}. Received: {method!r}.")
    if isinstance(y_pred, dict):
        raise ValueError(
            f"y_pred: expected the logits of one structure. Received a dict of {sorted(y_pred)}: fit a calibrator for each; "
            "calibration.attach and serving.export take a dict of them."
        )
    logits = np.asarray(ops.convert_to_numpy(y_pred), "float32")
    read = panel(y_true, logits, sample_weight, num_raters, "float32")
    votes, counts, weights = (np.asarray(ops.convert_to_numpy(x), "float64").ravel() for x in read[:3])
    logits = logits.reshape(-1, logits.shape[-1])
    keep = weights != 0
    if not keep.any():
        raise ValueError("y_true: expected at least one pixel that a rater rated and that has a weight. Received none.")
    if not np.isfinite(logits[keep]).all() or not np.isfinite(weights[keep]).all():
        raise ValueError("y_pred: expected finite logits and weights. Received NaN or infinity.")
    votes, counts, weights, logits = votes[keep], counts[keep].astype(int), weights[keep], logits[keep]
    _refuse_probabilities(logits)
    if method == "isotonic":
        return IsotonicCalibration(_curves(votes, counts, weights, logits))
    if logits.shape[-1] == 1:
        likelihood = binary_likelihood(votes, counts, weights)
    else:
        likelihood = level_likelihood(votes, counts, weights, logits.shape[-1] - 1)
    if method == "temperature":

        def by_temperature(x):
            value, by_scale, _ = likelihood(logits, np.exp(x), 0.0)
            return value, by_scale.sum(keepdims=True) * np.exp(x)

        return TemperatureScaling(float(np.exp(-_minimise(by_temperature, np.zeros(1))[0])))
    width = logits.shape[-1]

    def by_vector(x):
        value, by_scale, by_offset = likelihood(logits, x[:width], x[width:])
        return value, np.concatenate([by_scale, by_offset])

    scale, offset = np.split(_minimise(by_vector, np.repeat([1.0, 0.0], width)), 2)
    return VectorScaling(scale, offset - (offset[0] if width > 1 else 0.0))


def _refuse_probabilities(logits):
    """A ValueError where `(pixels, K+1)` are what a softmax made of logits; one probability cannot be told from a logit."""
    if logits.shape[-1] == 1 or logits.min() < -_ROUNDING or logits.max() > 1 + _ROUNDING:
        return
    if (np.abs(logits.sum(-1) - 1) < 1e-3).all():
        raise ValueError(
            "y_pred: expected logits, as model.predict gives them. Received probabilities: values in [0, 1] that sum to 1 "
            "at every pixel. Of probabilities, as models.sliding_window_inference gives them, take "
            "np.log(np.maximum(p, 1e-7)) first."
        )


def _minimise(objective, start):
    """The parameters of least value of `objective(x) -> (value, gradient)`."""
    bounds = [(-10, 10)] * len(start)  # logits that separate the levels perfectly have no least value
    options = {"ftol": 1e-14, "gtol": 1e-9, "maxiter": 500}
    return optimize.minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x


def _curves(votes, counts, weights, logits):
    if logits.shape[-1] == 1:
        return [isotonic_curve(logits[:, 0].astype("float64"), votes / counts, weights * counts)]
    num_raters = logits.shape[-1] - 1
    complete = counts == num_raters
    if not complete.any():
        raise ValueError(
            f"y_true: isotonic calibration of levels needs pixels that all {num_raters} raters rated. Received none; use "
            "method='temperature' or 'vector'."
        )
    z = logits[complete].astype("float64")
    z = z - z.max(-1, keepdims=True)
    tail = np.cumsum(np.exp(z)[:, ::-1], -1)[:, ::-1]  # of P(k >= t), up to the same factor
    curves = []
    for t in range(1, num_raters + 1):
        with np.errstate(divide="ignore"):
            score = np.log(tail[:, t]) - np.log(np.maximum(tail[:, 0] - tail[:, t], 1e-300))
        curves.append(isotonic_curve(score, votes[complete] >= t, weights[complete]))
    return curves
