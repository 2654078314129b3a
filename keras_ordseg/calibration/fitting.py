"""Fits a calibrator to the raters' answers on held-out images."""

import numpy as np
from keras import ops

from keras_ordseg.calibration._isotonic import isotonic_curve
from keras_ordseg.calibration._least import least_scale, least_scales
from keras_ordseg.calibration._likelihood import binary_likelihood, level_likelihood
from keras_ordseg.layers.calibrators import IsotonicCalibration, TemperatureScaling, VectorScaling
from keras_ordseg.ops.checks import check_choice
from keras_ordseg.ops.ratings import panel
from keras_ordseg.ops.values import check_scores, check_single

_METHODS = ("temperature", "vector", "isotonic")


def fit(y_true, y_pred, method="temperature", sample_weight=None, num_raters=None):
    """A layer that turns a trained model's logits into calibrated ones.

    To be fitted on images that were neither trained on nor will be reported on: the validation images.

    - `"temperature"`: one number for all logits, least negative log-likelihood. It keeps the order of the levels.
    - `"vector"`: a scale and an offset for each level logit (Platt scaling of a binary logit), the same objective.
    - `"isotonic"`: each `P(k >= t)` (or the probability of a binary logit) through its own rising curve, fitted to how
      often at least t raters marked, on 96 bins of equal width over the logits' range, those beyond ±12 in the outermost.
      The most flexible; wants many images.

    What fits these images need not fit others: few patients, or a share of marks that is not that of the test images, and a
    calibrator makes things worse (docs/evidence.md). Compare with and without it on images that it has not seen.

    The likelihood of levels is that of the votes `v` among the `n` raters present (levels thinned to n where raters are
    absent); that of a binary logit counts every rater's answer. Logits of any scale are taken. Where nothing is likeliest
    (the logits separate the answers perfectly or rank them no better than chance; a level or a mark never occurs), a
    warning says so, and a penalty that weighs as much as one pixel keeps the calibrated logits near the model's own.

    Isotonic curves of levels use only pixels that all K raters
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
    check_choice(method, "method", _METHODS)
    check_single(y_true=y_true, y_pred=y_pred)
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
    check_scores(logits)
    if method == "isotonic":
        return IsotonicCalibration(_curves(votes, counts, weights, logits))
    if logits.shape[-1] == 1:
        likelihood = binary_likelihood(votes, counts, weights)
    else:
        likelihood = level_likelihood(votes, counts, weights, logits.shape[-1] - 1)
    if method == "temperature":
        return TemperatureScaling(1 / least_scale(likelihood, logits))
    scale, offset = least_scales(likelihood, logits, weights)
    return VectorScaling(scale, offset - (offset[0] if len(scale) > 1 else 0.0))


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
