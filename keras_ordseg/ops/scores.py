"""Proper scores of the levels and of the read-outs, per pixel.

Each score has a plain form, for pixels whose K raters all answered, and a thinned one, for pixels that only `n < K`
of them rated; ratings choose between the two at run time, votes never pay for the choice. Each form gives its value
together with its gradient in closed form, which costs less than differentiating it and keeps automatic
differentiation out of the choice.
"""

import functools

import numpy as np
from keras import ops

from keras_ordseg.ops.checks import check_choice
from keras_ordseg.ops.joint_score import joint_score
from keras_ordseg.ops.levels import as_float, constant, level_logits, readout_logit
from keras_ordseg.ops.ratings import panel, resolve_quorum
from keras_ordseg.ops.thinning import scaled_quorum, thinned_readout_terms, thinning_kernel
from keras_ordseg.ops.values import check_probabilities, check_scores, check_single

_NORMALIZATIONS = ("levels", "thresholds", "sum")


def check_normalization(normalization):
    """Returns `normalization` when it is one of `"levels"`, `"thresholds"`, `"sum"`; a ValueError otherwise."""
    return check_choice(normalization, "normalization", _NORMALIZATIONS)


def ranked_probability_score(y_true, logits, normalization="levels"):
    """Ranked probability score of the level distribution, per pixel.

    `RPS = c * sum_{j<K} (F_j - 1[v <= j])^2` with `F_j = sum_{k<=j} p_k`: the sum of the Brier scores of the K events
    "at least t raters mark the pixel", hence strictly proper. Where only `n < K` raters rated, the levels are
    thinned to n raters first and n takes the place of K; a pixel that nobody rated scores 0.

    Args:
        y_true: Votes `(batch, *spatial)` or ratings `(batch, *spatial, slots)`.
        logits: Level logits `(batch, *spatial, K+1)`.
        normalization: `c` is `1/(K+1)` for `"levels"` (default, the paper's), `1/K` for `"thresholds"` (the
            textbook's) or 1 for `"sum"`.

    Returns:
        Scores `(batch, *spatial)`, 0 for a certain and right prediction.

    Raises:
        ValueError: For shapes or values that do not fit, or an unknown normalization.

    Reference: Epstein, *A scoring system for probability forecasts of ranked categories*, J. Appl. Meteorol. 8, 1969;
    Gneiting and Raftery, *Strictly proper scoring rules, prediction, and estimation*, JASA 102, 2007;
    eq. 3 of Riera-Marín et al., arXiv 2605.02437.

    >>> z = ops.zeros((1, 1, 3))                       # K = 2, F = (1/3, 2/3), v = 0: (4/9 + 1/9) / 3
    >>> round(float(ranked_probability_score(ops.zeros((1, 1)), z)[0, 0]), 4)
    0.1852
    """
    check_single(y_true=y_true, logits=logits)
    check_scores(logits, argument="logits")
    logits = level_logits(logits)
    p = panel(y_true, logits, dtype=logits.dtype)
    return p.weights * rps_of_panel(p, logits, normalization)  # 1, 0 where nobody rated, NaN for what cannot be


def rps_of_panel(p, logits, normalization="levels"):
    """`ranked_probability_score` of a prepared `Panel`, whose weights mark an impossible y_true."""
    return joint_score_of_panel(p, logits, normalization=normalization, binary_weight=0.0, rps_weight=1.0)


def joint_score_of_panel(p, logits, readout=None, normalization="levels", binary_weight=1.0, rps_weight=0.8):
    """Cross-entropy of a read-out plus ranked probability score of a prepared `Panel`, in one pass: see `joint_score`."""
    extra = {"levels": 1, "thresholds": 0, "sum": None}[check_normalization(normalization)]
    weights = {"binary_weight": binary_weight, "rps_weight": rps_weight}
    return choose(p, functools.partial(joint_score, readout=readout, extra=extra, **weights), logits)


def choose(p, score, logits):
    """A score of the logits with its own gradient, thinned where some pixel lacks an answer of the K.

    It keeps nothing for the way back: the gradient is made there, from the logits. Both stand in a branch of their own,
    also where there is nothing to choose: XLA would else melt the levels' maps into the result and into one another,
    which costs several times the memory.

    Args:
        p: A `Panel`.
        score: `(votes, counts, logits, upstream=None)`: values, or where `upstream` is given the gradient times that, one
            map for each level; `counts` is `None` where all K rated.
        logits: Level logits `(batch, *spatial, K+1)`.

    Returns:
        Values `(batch, *spatial)`.
    """

    @ops.custom_gradient
    def run(logits, votes, *counts_and_complete):
        def either(*upstream):
            def branch(counts):
                def values():
                    out = score(votes, counts, logits, *upstream)
                    return ops.stack(out, axis=-1) if upstream else out

                return values

            if counts_and_complete:
                counts, complete = counts_and_complete
                return ops.cond(complete > 0.5, branch(None), branch(counts))
            like = logits if upstream else votes
            first = ops.sum(ops.reshape(logits, (-1,))[:1])  # a batch may be empty
            # always so, NaN and infinity included, and no compiler can foresee it
            return ops.cond(ops.not_equal(first, 1.2345e37), branch(None), lambda: ops.full_like(like, np.nan))

        def grad(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            nothing = [ops.zeros_like(x) for x in (votes, *counts_and_complete)]
            return (either(upstream), *nothing)

        return either(), grad

    if p.complete is True:
        return run(logits, p.votes)
    return run(logits, p.votes, p.counts, ops.cast(p.complete, logits.dtype))


def level_cross_entropy(p, logits):
    """`-log P(v)` of a prepared `Panel` under the level logits, thinned where raters are absent.

    Args:
        p: A `Panel`.
        logits: Level logits `(batch, *spatial, K+1)`.

    Returns:
        Values `(batch, *spatial)` in nats.
    """
    return choose(p, _level_cross_entropy, logits)


def _level_cross_entropy(votes, counts, logits, upstream=None):
    if counts is None:
        levels = ops.arange(logits.shape[-1], dtype=logits.dtype)
        hit = ops.cast(ops.equal(ops.expand_dims(votes, -1), levels), logits.dtype)
        if upstream is None:
            return ops.logsumexp(logits, axis=-1) - ops.sum(hit * logits, axis=-1)
        return ops.unstack(ops.expand_dims(upstream, -1) * (ops.softmax(logits, axis=-1) - hit), axis=-1)
    size = logits.shape[-1]
    table = np.zeros((size, size, size))  # log P(v | k, n), indexed n, v, k; what cannot happen is never looked up
    with np.errstate(divide="ignore"):
        for n in range(1, size):
            table[n, : n + 1] = np.log(thinning_kernel(size - 1, n).T)
    cell = ops.cast(counts * size + ops.minimum(ops.maximum(votes, 0.0), size - 1.0), "int32")
    joint = logits + ops.take(constant(table.reshape(size * size, size), logits), cell, axis=0)
    if upstream is None:
        return ops.logsumexp(logits, axis=-1) - ops.logsumexp(joint, axis=-1)
    gradient = ops.softmax(logits, axis=-1) - ops.softmax(joint, axis=-1)
    return ops.unstack(ops.expand_dims(upstream, -1) * gradient, axis=-1)


def panel_readout_logit(p, logits, readout):
    """`readout_logit`, thinned to the raters present; a binary output's logit is returned as it is."""
    if logits.shape[-1] == 1 or readout == "expected" or p.complete is True:
        return readout_logit(logits, readout)
    quorum = resolve_quorum(readout, logits.shape[-1] - 1)

    def score(votes, counts, logits, upstream=None):
        if counts is None and upstream is None:
            return readout_logit(logits, quorum)
        if counts is None:
            shares = ops.concatenate((-_shares(logits[..., :quorum]), _shares(logits[..., quorum:])), axis=-1)
            return ops.unstack(ops.expand_dims(upstream, -1) * shares, axis=-1)
        up, down = thinned_readout_terms(logits, counts, readout)
        if upstream is None:
            return ops.logsumexp(up, axis=-1) - ops.logsumexp(down, axis=-1)
        return ops.unstack(ops.expand_dims(upstream, -1) * (_shares(up) - _shares(down)), axis=-1)

    return choose(p, score, logits)


def _shares(terms):
    """The derivative of their logsumexp: a softmax that takes a single term, too."""
    return ops.exp(terms - ops.logsumexp(terms, axis=-1, keepdims=True))


def binary_target(p, readout):
    """What a read-out should say: `v/n` for `"expected"`, else 1 where at least the quorum of those present mark.

    Args:
        p: A `Panel`.
        readout: `"expected"`, `"majority"` or an int quorum.

    Returns:
        Targets in [0, 1], `(batch, *spatial)`; 0 where nobody rated.
    """
    if readout == "expected":
        return p.votes / ops.maximum(p.counts, 1.0)
    return ops.cast(p.votes >= scaled_quorum(readout, p.counts, p.num_raters), p.votes.dtype)


def binary_cross_entropy(target, logit):
    """Cross-entropy of a (soft) binary target with a logit, per pixel, in nats.

    >>> round(float(binary_cross_entropy(0.5, 0.0)), 4)
    0.6931
    """
    check_probabilities(target, "target", levels=False)
    return cross_entropy(target, logit)


def cross_entropy(target, logit):
    """`binary_cross_entropy` of what a `Panel` gives, unchecked: where y_true is impossible, so is the target."""
    target, logit = as_float(target), as_float(logit)
    return target * ops.softplus(-logit) + (1.0 - target) * ops.softplus(logit)


def brier(votes, counts, probability):
    """Squared error summed over the raters' answers, `v (1-p)^2 + (n-v) p^2`.

    Args:
        votes: Raters that marked, `(...)`.
        counts: Raters that rated, `(...)`.
        probability: Foreground probability, `(...)`.

    Returns:
        Sums over the answers; divide by the sum of `counts` for the Brier score.

    Reference: Brier, *Verification of forecasts expressed in terms of probability*, Mon. Weather Rev. 78, 1950.

    >>> round(float(brier(1.0, 2.0, 0.5)), 4)
    0.5
    """
    check_probabilities(probability, "probability", levels=False)
    votes, counts, probability = as_float(votes), as_float(counts), as_float(probability)
    return votes * ops.square(1.0 - probability) + (counts - votes) * ops.square(probability)
