"""Absent raters: the levels of a panel of K, thinned to the n raters that answered."""

import functools
import math

import numpy as np
from keras import ops

from keras_ordseg.ops.levels import as_float, constant
from keras_ordseg.ops.ratings import resolve_quorum
from keras_ordseg.ops.values import check_probabilities

_NEVER = -1e30  # the logarithm of 0, but for the infinity, which has no gradient


@functools.lru_cache(maxsize=64)
def thinning_kernel(num_raters: int, kept: int) -> np.ndarray:
    """Hypergeometric kernel `P(v | k, n) = C(k,v) C(K-k,n-v) / C(K,n)`, float64 of shape `(K+1, n+1)`."""
    total = math.comb(num_raters, kept)
    return np.array(
        [
            [math.comb(k, v) * math.comb(num_raters - k, kept - v) / total for v in range(kept + 1)]
            for k in range(num_raters + 1)
        ]
    )


def thin_levels(probabilities, num_raters: int):
    """Level probabilities of a random sub-panel of `num_raters` of the K raters.

    `P(v) = sum_k p_k C(k,v) C(K-k,n-v) / C(K,n)`: the raters are taken as exchangeable, and their absence as
    independent of what they would have said.

    Args:
        probabilities: Level probabilities `(..., K+1)`.
        num_raters: Number n of raters kept, in 1..K.

    Returns:
        Level probabilities `(..., n+1)`.

    Raises:
        ValueError: If `num_raters` is outside 1..K, or the probabilities are none, where values can be read.

    >>> [round(float(p), 4) for p in thin_levels([0.0, 1.0, 0.0], 1)]      # 1 of 2 marks: a coin toss
    [0.5, 0.5]
    """
    check_probabilities(probabilities, "probabilities")
    p = as_float(probabilities)
    total = p.shape[-1] - 1
    if (
        isinstance(num_raters, bool)
        or not isinstance(num_raters, (int, np.integer))
        or not 1 <= num_raters <= total
    ):
        raise ValueError(f"num_raters: expected an int in 1..{total}. Received: {num_raters!r}.")
    if num_raters == total:
        return p
    return ops.matmul(p, constant(thinning_kernel(total, int(num_raters)), p))


@functools.lru_cache(maxsize=64)
def _readout_table(num_raters: int, readout) -> tuple[np.ndarray, np.ndarray]:
    """`(log P(foreground | k, n), log P(background | k, n))`, each `(K+1, K+1)`, rows n (row 0 as row K)."""
    levels = np.arange(num_raters + 1)
    upper = np.zeros((num_raters + 1, num_raters + 1))
    lower = np.zeros_like(upper)
    for n in (*range(1, num_raters + 1), 0):
        kept = n or num_raters
        kernel = thinning_kernel(num_raters, kept)
        if readout == "expected":
            upper[n], lower[n] = levels / num_raters, 1 - levels / num_raters
        else:
            q = scaled_quorum(readout, kept, num_raters)
            upper[n], lower[n] = kernel[:, q:].sum(-1), kernel[:, :q].sum(-1)
    with np.errstate(divide="ignore"):
        return np.log(upper), np.log(lower)


def scaled_quorum(quorum, counts, num_raters):
    """The quorum among `counts` of K raters: `ceil(n/2)` for a majority, `ceil(q n / K)` for an int q.

    Args:
        quorum: `"majority"` or an int in 1..K.
        counts: Raters that rated: a Python int, or a tensor of whole floats.
        num_raters: K; may be None for a majority.

    Returns:
        An int for an int, a float tensor for a tensor; at least 1.
    """
    if quorum != "majority":
        if num_raters is None:
            raise ValueError(
                "num_raters: needed to scale an int quorum to the raters present. Pass num_raters=K."
            )
        resolve_quorum(quorum, num_raters)
    top, bottom = (1, 2) if quorum == "majority" else (int(quorum), int(num_raters))
    if isinstance(counts, int):
        return max(-(-top * counts // bottom), 1)
    whole = ops.floor_divide(top * ops.cast(counts, "int32") + (bottom - 1), bottom)
    return ops.cast(ops.maximum(whole, 1), counts.dtype)


def thinned_readout_terms(logits, counts, readout):
    """`(up, down)` of shape `(..., K+1)`: `logsumexp(up) - logsumexp(down)` is the read-out logit of the levels thinned
    to each pixel's own number of raters (`counts`, whole floats)."""
    upper, lower = _readout_table(logits.shape[-1] - 1, readout)
    rows = ops.cast(counts, "int32")
    return (
        logits + ops.take(constant(upper, logits), rows, axis=0),
        logits + ops.take(constant(lower, logits), rows, axis=0),
    )


def present_levels(panel, logits):
    """Level logits of the raters present: those of a `Panel`'s pixels, each thinned to its own n raters.

    Complete panels keep their logits to the bit; that is chosen at run time for ratings, and costs votes nothing.

    Args:
        panel: A `Panel`.
        logits: Level logits `(batch, *spatial, K+1)`.

    Returns:
        Level logits `(batch, *spatial, K+1)`, in which the levels above n have probability 0. A pixel that nobody rated
        keeps its K levels.
    """
    if panel.complete is True:
        return logits
    return ops.cond(panel.complete, lambda: logits, lambda: _thin_logits(logits, panel.counts))


def _thin_logits(logits, counts):
    size = logits.shape[-1]
    rows, levels = ops.cast(counts, "int32"), []
    for v in range(size):
        ways = np.full((size, size), _NEVER)  # log P(v | k, n), rows n; row 0 as row K
        for n in range(size):
            kept = n or size - 1
            if v <= kept:
                with np.errstate(divide="ignore"):
                    ways[n] = np.maximum(np.log(thinning_kernel(size - 1, kept)[:, v]), _NEVER)
        levels.append(ops.logsumexp(logits + ops.take(constant(ways, logits), rows, axis=0), axis=-1))
    return ops.stack(levels, axis=-1)
