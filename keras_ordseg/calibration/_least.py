"""The scale, or scales and offsets, of least negative log-likelihood, or the finding that there are none."""

import warnings

import numpy as np
from scipy import optimize

_FAR = 1e12  # of scales in units of the logits' spread: only the order of the logits counts there
_NOISE = 1e-12  # of a derivative in these units
_CHANCE = "the logits rank the answers no better than chance, so that ever smaller ones are ever likelier"
_SEPARATED = "the logits separate the answers perfectly, so that ever larger ones are ever likelier"


def least_scale(likelihood, logits):
    """The one positive scale of all logits, by the sign of the derivative, wherever it lies.

    Args:
        likelihood: As `_likelihood.level_likelihood` gives it.
        logits: `(pixels, width)`.

    Returns:
        The scale. Where there is none of least likelihood, a `UserWarning` says so, and a penalty that weighs as much as
        one pixel keeps it near 1.
    """
    scale, reason = _single_scale(likelihood, logits)
    if reason:
        _say_so(reason)
    return scale


def _single_scale(likelihood, logits):
    """The scale, and why there is none of least likelihood, or None."""
    centred = logits - logits.mean(-1, keepdims=True, dtype="float64") if logits.shape[-1] > 1 else logits
    unit = 1 / (np.sqrt(np.mean(np.square(centred, dtype="float64"))) or 1.0)

    def slope(scale):
        return float(np.sum(likelihood(logits, scale * unit, 0.0)[1])) * unit

    flat, steep = slope(0.0), slope(_FAR)
    if abs(flat) <= _NOISE and abs(steep) <= _NOISE:
        return 1.0, None  # the logits of a pixel are alike, whatever their scale
    if flat > -_NOISE or steep <= 0:

        def penalized(x):
            value, by_scale, _ = likelihood(logits, np.exp(x[0]), 0.0)
            by_scale = by_scale.sum(keepdims=True) * np.exp(x)
            return value + x[0] ** 2 / len(logits), by_scale + 2 * x / len(logits)

        scale = float(np.exp(_minimize(penalized, np.zeros(1))[0]))
        return scale, _CHANCE if flat > -_NOISE else _SEPARATED
    low = high = 0.0
    while slope(np.exp(high)) < 0:
        low, high = high, high + 2.0
    while slope(np.exp(low)) > 0:
        low, high = low - 2.0, low
    if low == high:
        return unit, None
    return float(np.exp(optimize.brentq(lambda x: slope(np.exp(x)), low, high, xtol=1e-9)) * unit), None


def least_scales(likelihood, logits, weights):
    """A scale and an offset for each logit, found in units of the logits' spread and from the best single scale.

    Args:
        likelihood, logits: As for `least_scale`.
        weights: `(pixels,)`.

    Returns:
        `(scales, offsets)`, each `(width,)`. Where there are none of least likelihood, a `UserWarning` says so, and a
        penalty that weighs as much as one pixel keeps them near the single scale.
    """
    width = logits.shape[-1]
    middle = np.average(logits, axis=0, weights=weights).astype("float64")
    spread = np.sqrt(np.average(np.square(logits - middle), axis=0, weights=weights))
    spread = np.where(spread > 0, spread, 1.0)

    def natural(x):
        return x[:width] / spread, x[width:] - x[:width] * middle / spread

    def objective(x):
        value, by_scale, by_offset = likelihood(logits, *natural(x))
        return value, np.concatenate([(by_scale - by_offset * middle) / spread, by_offset])

    one, _ = _single_scale(likelihood, logits)  # what is said of one scale need not hold of several
    start = np.concatenate([one * spread, one * middle])
    start[width:] -= start[width]
    found = _minimize(objective, start)
    if reason := _unbounded(objective, found, start, width):
        _say_so(reason)

        def penalized(x):
            value, gradient = objective(x)
            return value + np.square(x - start).sum() / len(logits), gradient + 2 * (x - start) / len(logits)

        found = _minimize(penalized, start)
    return natural(found)


def _minimize(objective, start):
    """The parameters of least value of `objective(x) -> (value, gradient)`."""
    options = {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 2000, "maxfun": 4000, "maxcor": 30}
    return optimize.minimize(objective, start, jac=True, method="L-BFGS-B", options=options).x


def _unbounded(objective, found, start, width):
    """Why the objective falls, or stays, however far one goes; None where it rises at last."""
    least, far = objective(found)[0], 1e3 * (1 + np.abs(found).max())

    def falls(ray):
        there, back = (objective(found + sign * far * ray)[0] for sign in (1, -1))
        return there <= least + 1e-12 < back  # what changes nothing either way is no direction

    never = []
    for k in range(width if width > 1 else 0):
        ray = np.zeros(2 * width)
        ray[width + k] = -1.0
        if falls(ray):
            never.append(k)
    if never:
        return f"no rated pixel needs level {', '.join(map(str, never))}, so that ever lower logits of it are ever likelier"
    if width == 1:
        for sign, what in ((1.0, "a mark"), (-1.0, "no mark")):
            if falls(np.array([0.0, sign])):
                return f"all answers are {what}, so that ever larger offsets are ever likelier"
    slopes = np.concatenate([found[:width], np.zeros(width)])
    for ray in (found, slopes, found - start):
        if ray.any() and falls(ray / np.abs(ray).max()):
            return _SEPARATED
    return None


def _say_so(reason):
    warnings.warn(
        f"y_true: expected answers that tell how sure the model may be; {reason}. A penalty that weighs as much as one "
        "pixel keeps the calibrator near the model's own logits; fit it on more images.",
        stacklevel=4,
    )
