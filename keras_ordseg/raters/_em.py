"""Expectation maximisation of the raters' confusions over patterns of answers, for many images at once."""

from numbers import Integral
from typing import NamedTuple

import numpy as np

TINY = np.finfo(np.float64).tiny
_AT_ONCE = 2**20  # numbers of the largest array: it bounds the images that iterate together


class Fit(NamedTuple):
    """What was estimated for each of N images, from M patterns, K raters and C classes."""

    probability: np.ndarray  # (N, C, M), of each class where a pattern is found
    confusion: np.ndarray  # (N, K, C, C), [true, answer]; NaN where a rater or a class is absent
    prior: np.ndarray  # (N, C)
    iterations: np.ndarray  # (N,); 0 where the raters never differ and nothing is to be estimated
    converged: np.ndarray  # (N,)


def vote_shares(rows, num_classes):
    """float64 `(C, M)`: the share of the answers of each pattern that name each class; 0 without answers."""
    votes = (rows == np.arange(num_classes)[:, None, None]).sum(axis=-1)
    return votes / np.maximum((rows >= 0).sum(axis=-1), 1)


def disputed(rows):
    """bool `(M,)`: whether the answers of a pattern differ."""
    return rows.max(axis=-1) > np.where(rows < 0, np.iinfo(rows.dtype).max, rows).min(axis=-1)


def estimate(counts, rows, num_classes=2, prior="free", tolerance=1e-7, max_iterations=20_000):
    """Fit raters and classes to `counts` `(N, M)` of pixels with the answers `rows` `(M, K)`.

    Args:
        prior: `"free"` estimates it anew in every iteration (Dawid and Skene); `"global"` keeps the mean vote share and a
            number keeps that probability of class 1 (STAPLE).
        tolerance: stop when no confusion of an image changes by more in an iteration.

    Returns:
        A `Fit`.
    """
    if isinstance(tolerance, str) or not tolerance > 0:
        raise ValueError(f"tolerance must be above 0, came {tolerance!r}")
    if not isinstance(max_iterations, Integral) or max_iterations < 1:
        raise ValueError(f"max_iterations must be 1 or more, came {max_iterations!r}")
    counts = counts * (rows >= 0).any(axis=-1)
    step = max(1, _AT_ONCE // (len(rows) * num_classes))
    parts = [
        _estimate(counts[i : i + step], rows, num_classes, prior, tolerance, max_iterations)
        for i in range(0, len(counts), step)
    ]
    return Fit(*map(np.concatenate, zip(*parts, strict=True)))


def _estimate(counts, rows, num_classes, prior, tolerance, max_iterations):
    num_raters, shares = rows.shape[-1], vote_shares(rows, num_classes)
    # (M, K·C): what each rater answers; an absent rater's row is 0, so that his factor is left out
    given = (rows[..., None] == np.arange(num_classes)).reshape(len(rows), -1).astype(np.float64)
    answers = given.T.copy()

    def maximise(weights):
        hits = (weights.reshape(-1, len(rows)) @ given).reshape(-1, num_classes, num_raters, num_classes)
        return hits / np.maximum(hits.sum(axis=-1, keepdims=True), TINY)

    def mean(weights):
        return weights.sum(axis=-1) / np.maximum(weights.sum(axis=(1, 2)), TINY)[:, None]

    def expect(confusion, chance):
        scores = (np.log(np.maximum(confusion, TINY)).reshape(-1, len(answers)) @ answers).reshape(
            -1, num_classes, len(rows)
        )
        scores += np.log(np.maximum(chance, TINY))[..., None]
        scores -= scores.max(axis=1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=1, keepdims=True)
        return scores

    probability = np.repeat(shares[None], len(counts), axis=0)
    weights = counts[:, None] * probability
    confusion, priors = maximise(weights), mean(weights)
    differ = (counts[:, disputed(rows)] > 0).any(axis=-1)  # elsewhere the answers are the truth
    if not isinstance(prior, str):
        priors[differ] = 1 - prior, prior
    iterations, converged = np.zeros(len(counts), np.int64), ~differ
    left = np.flatnonzero(differ)
    count, now, theta, chance = counts[left, None], probability[left], confusion[left], priors[left]
    for iteration in range(1, max_iterations + 1):
        if not left.size:
            break
        weights = count * now
        before, theta = theta, maximise(weights)
        if prior == "free":
            chance = mean(weights)
        now = expect(theta, chance)
        change = np.abs(theta - before).reshape(len(left), -1).max(axis=-1)
        done = (change <= tolerance) & (iteration > 1)
        if done.any() or iteration == max_iterations:
            probability[left], confusion[left], priors[left] = now, theta, chance
            iterations[left], converged[left] = iteration, done
            left, count, now, theta, chance = (x[~done] for x in (left, count, now, theta, chance))
    confusion = np.moveaxis(confusion, 2, 1).copy()
    confusion[~confusion.any(axis=-1)] = np.nan
    return Fit(probability, confusion, priors, iterations, converged)
