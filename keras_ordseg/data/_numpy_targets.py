"""What a model is trained on, made from the ratings of a batch in NumPy: the twin of `_targets` for `PyDataset`."""

import numpy as np
from scipy.special import expit

from keras_ordseg.raters import fuse
from keras_ordseg.raters._rules import ESTIMATED, count_votes


def targets_of(ratings, method, weighted, weights=None, restrict=None):
    """`(target,)`, or with the weight of each pixel for a soft target when pixels may lack answers.

    For `"random"` the ratings come in as those of the raters drawn; `weights` are the rows of `fit_weights`.
    """
    if method in ("ratings", "random"):
        return (ratings,)
    if method != "soft" and method not in ESTIMATED:
        return (fuse(ratings, method),)
    target = fuse(ratings, "soft")[..., 0]
    if method in ESTIMATED:
        votes, counts = count_votes(ratings)
        whole = votes * (counts - votes) == 0 if restrict == "disputed" else counts == 0
        target = np.where(whole, target, _estimated(ratings, weights))
    rated = ~np.isnan(target)
    target = np.where(rated, target, np.float32(0))[..., None]
    return (target, rated.astype(np.float32)) if weighted else (target,)


def _estimated(ratings, weights):
    num_raters = ratings.shape[-1]
    weights = weights.reshape(len(weights), *(1,) * (ratings.ndim - 2), -1)
    marks = (ratings == 1) * weights[..., 1 : num_raters + 1]
    others = (ratings == 0) * weights[..., num_raters + 1 :]
    odds = weights[..., 0] + marks.sum(axis=-1) + others.sum(axis=-1)
    return expit(odds).astype(np.float32)
