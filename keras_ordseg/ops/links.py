"""Level logits from fewer or ordered numbers: thresholds in order, and the beta-binomial distribution.

Everything stays in log space, so that values and gradients are finite for any pre-activation that float32 holds.
"""

import math

import numpy as np
from keras import ops

from keras_ordseg.ops.checks import check_num_raters
from keras_ordseg.ops.levels import as_float, constant

_NEVER = -1e30  # the logarithm of 0, but for the infinity, which has no gradient


def ordered_levels(first, gaps):
    """Level logits from K threshold logits in descending order, `theta_t = logit P(k >= t)`.

    `theta_1 = first`, `theta_{t+1} = theta_t - gap_t`, and in log space

    `log p_0 = log s(-theta_1)`, `log p_K = log s(theta_K)`,
    `log p_k = log s(theta_k) + log s(-theta_{k+1}) + log(1 - exp(-gap_k))` with s the logistic function.

    Args:
        first: The logit of "at least one rater marks", `(...)`.
        gaps: Positive distances to the next thresholds, `(..., K-1)`, or `(K-1,)` shared by all pixels.

    Returns:
        Level logits `(..., K+1)` whose exponentials sum to 1.

    Reference: McCullagh, *Regression models for ordinal data*, J. R. Stat. Soc. B 42, 1980.

    >>> p = ops.exp(ordered_levels(0.0, [np.log(3.0)]))      # P(k >= 1) = 1/2, P(k >= 2) = 1/4
    >>> [round(float(x), 4) for x in p]
    [0.5, 0.25, 0.25]
    """
    first = as_float(first)
    gaps = ops.cast(gaps, first.dtype)
    below = ops.expand_dims(first, -1)
    if gaps.shape[-1] == 0:
        return ops.concatenate([ops.log_sigmoid(-below), ops.log_sigmoid(below)], axis=-1)
    thetas = ops.concatenate([below, below - ops.cumsum(gaps, axis=-1)], axis=-1)
    between = ops.log_sigmoid(thetas[..., :-1]) + ops.log_sigmoid(-thetas[..., 1:]) + _log1mexp(gaps)
    lowest, highest = ops.log_sigmoid(-thetas[..., :1]), ops.log_sigmoid(thetas[..., -1:])
    return ops.concatenate([lowest, between, highest], axis=-1)


def _log1mexp(x):
    """`log(1 - exp(-x))` for x > 0, exact for small and large x."""
    return ops.where(x > math.log(2), ops.log1p(-ops.exp(-x)), ops.log(-ops.expm1(-x)))


def beta_binomial_levels(mean_logit, correlation_logit, num_raters: int):
    """Level logits of the beta-binomial distribution: K raters whose answers share a chance that varies.

    Each rater marks with the same probability, itself drawn from a beta distribution of mean `m` and concentration
    `s = (1 - rho) / rho`. So `m` is the chance that a rater marks, `rho` the correlation of two raters' answers
    (0: independent, the binomial distribution; 1: all agree), and with `t = rho / (1 - rho)`

    `p_k = C(K,k) prod_{i<k} (m + i t) prod_{i<K-k} (1 - m + i t) / prod_{i<K} (1 + i t)`.

    The two numbers do not depend on K: the same pixel can be read for any panel.

    Args:
        mean_logit: logit of `m`, `(...)`.
        correlation_logit: logit of `rho`, that is `log t`, `(...)`.
        num_raters: K, at least 1.

    Returns:
        Level logits `(..., K+1)` whose exponentials sum to 1.

    Raises:
        ValueError: If `num_raters` is no int of at least 1.

    Reference: Skellam, *A probability distribution derived from the binomial distribution by regarding the probability
    of success as variable between the sets of trials*, J. R. Stat. Soc. B 10, 1948.

    >>> p = ops.exp(beta_binomial_levels(0.0, float(np.log(0.5)), 3))      # Beta(1, 1): every level alike
    >>> [round(float(x), 4) for x in p]
    [0.25, 0.25, 0.25, 0.25]
    """
    num_raters = check_num_raters(num_raters)
    mean = ops.expand_dims(as_float(mean_logit), -1)
    steps = np.log(np.maximum(np.arange(num_raters), 1))
    steps[0] = _NEVER
    spread = ops.expand_dims(ops.cast(correlation_logit, mean.dtype), -1) + constant(steps, mean)  # log(i t), i < K
    whole = ops.softplus(spread)
    # each factor over 1 + i t: the large equal parts cancel before they are summed
    marked = _sums_below(ops.logaddexp(ops.log_sigmoid(mean), spread) - whole)
    unmarked = ops.flip(_sums_below(ops.logaddexp(ops.log_sigmoid(-mean), spread) - whole), axis=-1)
    totals = _sums_below(whole)
    rest = totals + ops.flip(totals, axis=-1) - totals[..., -1:]
    ways = np.log([math.comb(num_raters, k) for k in range(num_raters + 1)])
    return marked + unmarked + rest + constant(ways, mean)


def _sums_below(x):
    """`(..., K) -> (..., K+1)`: the sum of the first 0, 1, …, K entries."""
    sums = ops.cumsum(x, axis=-1)
    return ops.concatenate([ops.zeros_like(sums[..., :1]), sums], axis=-1)
