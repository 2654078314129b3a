"""Negative log-likelihoods of scaled logits with their derivatives, in float64, a chunk of pixels at a time."""

import numpy as np

from keras_ordseg.ops.thinning import thinning_kernel

_CHUNK = 1 << 18  # pixels


def level_likelihood(votes, counts, weights, num_raters):
    """`f(logits, scale, offset)`: the weighted mean of `-log P(votes | counts raters)`, and its derivatives.

    Args:
        votes, counts, weights: `(pixels,)`, counts whole numbers of at least 1.
        num_raters: K.

    Returns:
        A function that gives `(value, derivative by the K+1 scales, by the K+1 offsets)`.
    """
    size = num_raters + 1
    table = np.full((size, size, size), -np.inf)  # log P(v | k, n), indexed n, v, k
    with np.errstate(divide="ignore"):
        for n in range(1, size):
            table[n, : n + 1] = np.log(thinning_kernel(num_raters, n).T)
    rows = table.reshape(size * size, size)
    cells = counts.astype(int) * size + votes.astype(int)

    def chunk(z, part):
        joint = z + rows[cells[part]]
        (p, log_total), (q, log_joint) = _softmax(z), _softmax(joint)
        return log_total - log_joint, p - q

    return _mean(chunk, weights)


def binary_likelihood(votes, counts, weights):
    """The same of a binary logit: the cross-entropy of every rater's answer."""
    target = votes / counts

    def chunk(z, part):
        z = z[:, 0]
        value = np.logaddexp(0, z) - target[part] * z
        return value, (1 / (1 + np.exp(-np.clip(z, -700, 700))) - target[part])[:, None]

    return _mean(chunk, weights * counts)


def _softmax(z):
    top = z.max(-1, keepdims=True)
    e = np.exp(z - top)
    total = e.sum(-1, keepdims=True)
    return e / total, (top + np.log(total))[:, 0]


def _mean(chunk, weights):
    total = weights.sum()

    def likelihood(logits, scale, offset):
        value, by_scale, by_offset = 0.0, 0.0, 0.0
        for start in range(0, len(weights), _CHUNK):
            part = slice(start, start + _CHUNK)
            raw = logits[part].astype("float64")
            values, slopes = chunk(raw * scale + offset, part)
            slopes *= weights[part][:, None]
            value += values @ weights[part]
            by_scale = by_scale + (slopes * raw).sum(0)
            by_offset = by_offset + slopes.sum(0)
        return value / total, by_scale / total, by_offset / total

    return likelihood
