"""A rising curve from predicted to observed probabilities."""

import numpy as np
from scipy import optimize

_LIMIT, _BINS = 12.0, 96  # logits beyond the limit share the outermost bins


def isotonic_curve(score, target, weight):
    """Isotonic regression of targets in [0, 1] on predicted probabilities, on bins of equal width over the logits' range.

    Args:
        score: Predicted logits `(pixels,)`.
        target: What they should have been, in [0, 1].
        weight: Weights.

    Returns:
        `(predicted, observed)`: lists, predicted rising, observed not falling.
    """
    score = np.clip(np.asarray(score, "float64"), -40, 40)
    low, high = np.clip([score.min(), score.max()], -_LIMIT, _LIMIT)
    place = np.clip(((score - low) / ((high - low) or 1.0) * _BINS).astype(int), 0, _BINS - 1)
    total = np.bincount(place, weight, _BINS)
    used = total > 0
    predicted = np.bincount(place, weight / (1 + np.exp(-score)), _BINS)[used] / total[used]
    observed = np.bincount(place, weight * np.asarray(target, "float64"), _BINS)[used] / total[used]
    observed = optimize.isotonic_regression(observed, weights=total[used]).x
    predicted = np.clip(predicted, 0, 1).astype("float32")
    kept = np.append(True, np.diff(predicted) > 0)  # means that float32 cannot tell apart
    return predicted[kept].tolist(), np.clip(observed[kept], 0, 1).tolist()
