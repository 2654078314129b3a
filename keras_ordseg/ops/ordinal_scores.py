"""Further losses of the level distribution, per pixel: what the field of ordinal regression trains with.

Each reads the level logits of the raters present (`thinning.present_levels`), so that absent raters move none of them.
"""

import numpy as np
from keras import ops

from keras_ordseg.ops.levels import constant
from keras_ordseg.ops.scores import check_normalization
from keras_ordseg.ops.thinning import present_levels


def earth_mover(panel, logits, normalization="levels"):
    """Absolute earth mover's distance of the levels to the votes, `c * sum_{j<n} |F_j - 1[v <= j]|`.

    In one dimension that is `c * E|k - v|`, the expected number of raters by which the levels are off.

    Args:
        panel: A `Panel`.
        logits: Level logits `(batch, *spatial, K+1)`.
        normalization: `c` is `1/(n+1)` for `"levels"` (default), `1/n` for `"thresholds"` or 1 for `"sum"`.

    Returns:
        Values `(batch, *spatial)`.
    """
    extra = {"levels": 1, "thresholds": 0, "sum": None}[check_normalization(normalization)]
    levels = present_levels(panel, logits)
    distance = ops.abs(ops.arange(levels.shape[-1], dtype=levels.dtype) - ops.expand_dims(panel.votes, -1))
    total = ops.sum(ops.softmax(levels, axis=-1) * distance, axis=-1)
    return total if extra is None else total / ops.maximum(panel.counts + extra, 1.0)


def threshold_cross_entropy(panel, logits):
    """Sum of the cross-entropies of the n events "at least t raters mark", from the levels' `P(k >= t)`.

    `-sum_{t<=v} log P(k >= t) - sum_{t>v} log P(k < t)`.

    Args:
        panel: A `Panel`.
        logits: Level logits `(batch, *spatial, K+1)`.

    Returns:
        Values `(batch, *spatial)` in nats.
    """
    levels = present_levels(panel, logits)
    size = levels.shape[-1]
    below, above = [levels[..., 0]], [levels[..., -1]]
    for k in range(1, size - 1):
        below.append(ops.logaddexp(below[-1], levels[..., k]))
        above.append(ops.logaddexp(above[-1], levels[..., size - 1 - k]))
    whole, value = ops.logaddexp(below[-1], levels[..., -1]), 0.0
    for t in range(1, size):
        chosen = ops.where(panel.votes >= t, above[size - 1 - t], below[t - 1])
        value = value + ops.where(panel.counts >= t, whole - chosen, ops.zeros_like(whole))
    return value


def soft_ordinal_cross_entropy(panel, logits, distance="squared", sharpness=1.0):
    """Cross-entropy of the levels with a target softened around the votes, `q_k ~ exp(-sharpness * phi(k, v))`.

    Args:
        panel: A `Panel`.
        logits: Level logits `(batch, *spatial, K+1)`.
        distance: `phi` is `(k - v)^2` for `"squared"` (default), `|k - v|` for `"absolute"`.
        sharpness: Factor of the distance, above 0. Default 1.

    Returns:
        Values `(batch, *spatial)` in nats.
    """
    levels = present_levels(panel, logits)
    log_p = levels - ops.logsumexp(levels, axis=-1, keepdims=True)
    target = constant(_soft_targets(levels.shape[-1], distance, sharpness), levels)
    cell = ops.cast(panel.counts, "int32") * levels.shape[-1] + ops.cast(panel.votes, "int32")
    cell = ops.clip(cell, 0, target.shape[0] - 1)  # what cannot be is NaN by its weight
    return -ops.sum(ops.take(target, cell, axis=0) * log_p, axis=-1)


def _soft_targets(size, distance, sharpness):
    """Targets by n and v, `(size * size, size)`; 0 above n, and rows that cannot be are uniform."""
    gap = np.abs(np.arange(size)[:, None] - np.arange(size)).astype("float64")
    weight = np.exp(-sharpness * (gap**2 if distance == "squared" else gap))
    table = np.full((size, size, size), 1.0 / size)
    for n in range(1, size):
        rows = weight[: n + 1, : n + 1]
        table[n] = 0.0
        table[n, : n + 1, : n + 1] = rows / rows.sum(-1, keepdims=True)
        table[n, n + 1 :, 0] = 1.0
    return table.reshape(size * size, size)
