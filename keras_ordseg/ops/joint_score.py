"""The read-out's cross-entropy and the ranked probability score of the same levels, in one pass.

Value and gradient share one exponential a level. The levels are worked on one by one, as maps of the size of the image,
each overwritten by what is made of it next, so that the memory beside the logits stays near once their size.
"""

import functools

import numpy as np
from keras import ops

from keras_ordseg.ops.levels import constant
from keras_ordseg.ops.ratings import resolve_quorum
from keras_ordseg.ops.thinning import scaled_quorum, thinning_kernel

_NEVER = -1e30
_FAR = 60.0  # a read-out's logit counts as no more than this where it weighs levels, so that no division overflows


def joint_score(votes, counts, logits, upstream=None, readout=None, binary_weight=0.0, rps_weight=1.0, extra=None):
    """`binary_weight * BCE(read-out, target) + rps_weight * c * sum_j (F_j - 1[v <= j])^2`, or its gradient.

    Args:
        votes: Raters that marked, `(batch, *spatial)`, float.
        counts: Raters that rated, to whom the levels are thinned, or `None`: all K.
        logits: Level logits `(batch, *spatial, K+1)`.
        upstream: `None` (default) for the values, or what multiplies the gradient, `(batch, *spatial)`.
        readout: `"expected"`, `"majority"` or an int quorum; or `None` (default): no binary term.
        binary_weight: Weight of the cross-entropy. Default 0.
        rps_weight: Weight of the ranked probability score. Default 1.
        extra: `c = 1 / (n + extra)`, or 1 for `None` (default).

    Returns:
        Values `(batch, *spatial)`, or with `upstream` the gradient by the logits, a list of one such map for each level.
    """
    votes = ops.cast(votes, logits.dtype)
    counts = None if counts is None else ops.cast(counts, logits.dtype)
    levels = ops.unstack(logits, axis=-1)
    last = len(levels) - 1
    present = float(last) if counts is None else ops.maximum(counts, 1.0)
    scale = rps_weight * (1.0 if extra is None else 1.0 / (present + extra))
    if readout is None:
        probabilities = _softmax(levels)
    else:
        upper, low, high = _split(readout, last, counts, logits)
        logit, probabilities = _read(levels, upper, low, high)
        target = votes / present
        if readout != "expected":
            quorum = scaled_quorum(readout, last if counts is None else counts, last)
            target = ops.cast(votes >= quorum, votes.dtype)
    rps, slopes = (_rps, _rps_slopes) if counts is None else (_rps_thinned, _rps_thinned_slopes)
    if upstream is None:
        value = scale * rps(votes, counts, probabilities)
        return value if readout is None else value + binary_weight * _cross_entropy(target, logit)
    scale = 2.0 * scale * upstream
    if readout is None:
        return slopes(votes, counts, probabilities, scale, lambda k: 0.0)
    up, down = _pulls(target, logit, binary_weight * upstream)

    def pull(k):
        return _total([(upper(k), up), (1.0 - upper(k), -down)])

    return slopes(votes, counts, probabilities, scale, pull)


def _softmax(levels):
    largest = functools.reduce(ops.maximum, levels)
    terms = [ops.exp(z - largest) for z in levels]
    factor = 1.0 / sum(terms)
    return [term * factor for term in terms]


def _split(readout, last, counts, like):
    """`(upper, low, high)`: `upper(k)` is the chance of foreground given level k: 0 for k < low, 1 for k > high."""
    every = [_split_of(readout, last, n or last) for n in range(last + 1)]  # nobody: as all
    if counts is None:
        shares, low, high = every[last]
        return lambda k: float(shares[k]), low, high
    rows = ops.cast(counts, "int32")
    table, lows, highs = (constant(np.array(x, "float64"), like) for x in zip(*every, strict=True))
    return lambda k: ops.take(table[:, k], rows), ops.take(lows, rows), ops.take(highs, rows)


def _split_of(readout, last, kept):
    levels = np.arange(last + 1)
    if readout == "expected":
        return levels / last, 1, last - 1
    quorum = scaled_quorum(resolve_quorum(readout, last) if readout != "majority" else readout, kept, last)
    return thinning_kernel(last, kept)[:, quorum:].sum(-1), quorum, last - kept + quorum - 1


def _read(levels, upper, low, high):
    """The read-out's logit, and the level probabilities.

    Levels that only one side has are taken relative to the largest of that side, so that neither side's sum can vanish;
    those between, which both have, relative to their own largest.
    """

    def pick(k, below, inside, above):
        if isinstance(low, int):
            return below if k < low else above if k > high else inside
        return ops.where(low > k, below, ops.where(high < k, above, inside))

    top = _largest([pick(k, _NEVER, z, z) for k, z in enumerate(levels)])
    bottom = _largest([pick(k, z, z, _NEVER) for k, z in enumerate(levels)])
    middle = _largest([pick(k, _NEVER, z, _NEVER) for k, z in enumerate(levels)])
    both = middle is not None
    rise, fall = (ops.exp(middle - top), ops.exp(middle - bottom)) if both else (0.0, 0.0)
    terms = [ops.exp(z - pick(k, bottom, middle, top)) for k, z in enumerate(levels)]
    up = _total([(pick(k, 0.0, upper(k) * rise, 1.0), term) for k, term in enumerate(terms)])
    down = _total([(pick(k, 1.0, (1.0 - upper(k)) * fall, 0.0), term) for k, term in enumerate(terms)])
    logit = (top - bottom) + (ops.log(up) - ops.log(down))
    above = ops.sigmoid(ops.maximum(logit, -_FAR)) / up
    below = ops.sigmoid(-ops.minimum(logit, _FAR)) / down
    inside = ops.maximum(rise * above, fall * below) if both else 0.0
    return logit, [term * pick(k, below, inside, above) for k, term in enumerate(terms)]


def _largest(maps):
    maps = [x for x in maps if not isinstance(x, float)]
    return functools.reduce(ops.maximum, maps) if maps else None


def _total(weighted):
    """Sum of weight times map, in which a weight of 0 or 1 costs nothing."""
    weighted = [(w, x) for w, x in weighted if not isinstance(w, float) or w]
    return functools.reduce(ops.add, [x if isinstance(w, float) and w == 1.0 else w * x for w, x in weighted])


def _cross_entropy(target, logit):
    return ops.maximum(logit, 0.0) - target * logit + ops.log1p(ops.exp(-ops.abs(logit)))


def _pulls(target, logit, factor):
    """The cross-entropy's derivative by the logit, divided by the chance of each side."""
    slope = factor * ((1.0 - target) * ops.sigmoid(logit) - target * ops.sigmoid(-logit))
    far = ops.clip(logit, -_FAR, _FAR)
    return slope / ops.sigmoid(far), slope / ops.sigmoid(-far)


def _gaps(votes, probabilities):
    """`F_j` and `F_j - 1[v <= j]` for j = 0..K-1."""
    below = 0.0
    for j, p in enumerate(probabilities[:-1]):
        below = below + p
        yield below, below - ops.cast(votes <= j, votes.dtype)


def _rps(votes, counts, probabilities):
    return sum(ops.square(gap) for _, gap in _gaps(votes, probabilities))


def _rps_slopes(votes, counts, probabilities, scale, pull):
    """`p_k (s_k - sum_l p_l s_l + pull(k))`, where `s_k = scale * sum_{j >= k} gap_j` is the slope of the score by p_k."""
    slope = -scale * sum(below * gap for below, gap in _gaps(votes, probabilities))
    last, above = len(probabilities) - 1, 0.0
    gradient = [probabilities[last] * (slope + pull(last))]
    for j in reversed(range(last)):  # a gap is also what lies above it, but for the sign
        above = above + probabilities[j + 1]
        slope = slope + scale * (ops.cast(votes > j, votes.dtype) - above)
        gradient.append(probabilities[j] * (slope + pull(j)))
    return gradient[::-1]


def _thinned_gaps(votes, counts, probabilities):
    thin = list(probabilities)
    for m in range(len(thin) - 1, 1, -1):  # of m raters one is left out, where fewer than m are present
        part = ops.cast(counts < m, votes.dtype) / m
        for v in range(m):
            thin[v] = thin[v] + part * ((v + 1.0) * thin[v + 1] - float(v) * thin[v])
        thin[m] = thin[m] - part * (float(m) * thin[m])
    for j, (_, gap) in enumerate(_gaps(votes, thin)):
        yield ops.where(counts > j, gap, ops.zeros_like(gap))


def _rps_thinned(votes, counts, probabilities):
    return sum(ops.square(gap) for gap in _thinned_gaps(votes, counts, probabilities))


def _rps_thinned_slopes(votes, counts, probabilities, scale, pull):
    slopes = [ops.zeros_like(votes)]
    for gap in reversed(list(_thinned_gaps(votes, counts, probabilities))):
        slopes.append(slopes[-1] + scale * gap)
    slopes.reverse()
    for m in range(2, len(slopes)):  # the way back through the thinning
        part = ops.cast(counts < m, votes.dtype) / m
        for k in range(m, 0, -1):
            slopes[k] = slopes[k] - part * (float(k) * (slopes[k] - slopes[k - 1]))
    mean = sum(p * s for p, s in zip(probabilities, slopes, strict=True))
    return [p * (s - mean + pull(k)) for k, (p, s) in enumerate(zip(probabilities, slopes, strict=True))]
