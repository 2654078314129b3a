"""From level logits to probabilities and read-outs, in log space throughout."""

import keras
import numpy as np
from keras import ops

from keras_ordseg.ops.ratings import resolve_quorum
from keras_ordseg.ops.values import check_scores


def as_float(x):
    """`x` as a tensor of at least float32: half precision and integers are widened, float64 is kept."""
    x = ops.convert_to_tensor(x)
    return x if keras.backend.standardize_dtype(x.dtype) in ("float32", "float64") else ops.cast(x, "float32")


def level_probabilities(logits):
    """Probability of each level, `p_k = softmax(z)_k`.

    Args:
        logits: Level logits `(..., K+1)`.

    Returns:
        Probabilities `(..., K+1)` that sum to 1, float32 for half-precision input.

    Raises:
        ValueError: If they are probabilities already, where values can be read.

    >>> [round(float(p), 4) for p in level_probabilities([0.0, 0.0, 0.0, 0.0])]
    [0.25, 0.25, 0.25, 0.25]
    """
    check_scores(logits, argument="logits")
    return ops.softmax(as_float(logits), axis=-1)


def check_readout(readout):
    """Returns `readout` when it is `"expected"`, `"majority"` or an int quorum; a ValueError otherwise."""
    if readout in ("expected", "majority"):
        return readout
    if isinstance(readout, (int, np.integer)) and not isinstance(readout, bool) and readout >= 1:
        return int(readout)
    raise ValueError(
        "readout: expected 'expected' (the chance that a rater drawn at random marks the pixel), 'majority' or an "
        f"int quorum (at least that many raters mark it). Received: {readout!r}."
    )


def readout_logit(logits, readout="expected"):
    """Logit of the foreground probability that a read-out takes from the levels.

    `"majority"` and an int quorum q: `logsumexp(z[q:]) - logsumexp(z[:q])`, the logit of `P(k >= q)`.
    `"expected"`: `logsumexp_{k>=1}(z_k + log k) - logsumexp_{k<=K-1}(z_k + log(K-k))`, the logit of `E[k] / K`.

    Args:
        logits: Level logits `(..., K+1)`, or a binary logit `(..., 1)`, which is returned as it is.
        readout: `"expected"` (default), `"majority"` (`q = ceil(K/2)`) or an int quorum in 1..K.

    Returns:
        Logits of shape `(...)`.

    Raises:
        ValueError: For an unknown read-out, a quorum outside 1..K, or level probabilities in the place of logits where
            values can be read.

    Reference: majority read-out: Riera-Marín et al., *Multi-Rater Calibrated Segmentation Models*, arXiv 2605.02437.

    >>> z = np.log([0.1, 0.2, 0.7])      # K = 2: E[k]/K = (0.2 + 2 * 0.7) / 2 = 0.8
    >>> round(float(ops.sigmoid(readout_logit(z))), 4)
    0.8
    """
    check_scores(logits, argument="logits")
    logits = as_float(logits)
    readout = check_readout(readout)
    num_raters = logits.shape[-1] - 1
    if num_raters == 0:
        return ops.squeeze(logits, axis=-1)
    if readout == "expected":
        rising = np.log(np.arange(1, num_raters + 1))
        up = ops.logsumexp(logits[..., 1:] + constant(rising, logits), axis=-1)
        down = ops.logsumexp(logits[..., :-1] + constant(rising[::-1], logits), axis=-1)
        return up - down
    quorum = resolve_quorum(readout, num_raters)
    return ops.logsumexp(logits[..., quorum:], axis=-1) - ops.logsumexp(logits[..., :quorum], axis=-1)


def readout_probability(y_pred, readout="expected", from_logits=True):
    """Foreground probability of a read-out, from level scores or from an ordinary binary output.

    Args:
        y_pred: Level logits or probabilities `(..., K+1)`, or a binary logit or probability `(..., 1)`.
        readout: `"expected"`, `"majority"` or an int quorum. A binary output has one read-out only: itself.
        from_logits: Whether `y_pred` holds logits (default) or probabilities.

    Returns:
        Probabilities of shape `(...)`.

    Raises:
        ValueError: As `readout_logit`, or for values that are no probabilities, or no levels that sum to 1.

    >>> float(readout_probability([[0.0, 0.5, 0.5]], "majority", from_logits=False)[0])
    1.0
    """
    if from_logits:
        return ops.sigmoid(readout_logit(y_pred, readout))
    check_scores(y_pred, from_logits=False)
    p = as_float(y_pred)
    readout = check_readout(readout)
    num_raters = p.shape[-1] - 1
    if num_raters == 0:
        return ops.squeeze(p, axis=-1)
    if readout == "expected":
        return ops.sum(p * constant(np.arange(num_raters + 1) / num_raters, p), axis=-1)
    return ops.minimum(ops.sum(p[..., resolve_quorum(readout, num_raters) :], axis=-1), 1.0)


def expected_agreement(logits):
    """`E[k] / K`: the chance that a rater drawn at random marks the pixel.

    Args:
        logits: Level logits `(..., K+1)`.

    Returns:
        Probabilities of shape `(...)`.

    >>> round(float(expected_agreement([0.0, 0.0, 0.0])), 4)
    0.5
    """
    return readout_probability(logits, "expected")


def consensus_probability(logits, quorum="majority"):
    """`P(k >= quorum)`: the chance that at least `quorum` of the K raters mark the pixel.

    Args:
        logits: Level logits `(..., K+1)`.
        quorum: An int in 1..K, or `"majority"` for `ceil(K/2)`.

    Returns:
        Probabilities of shape `(...)`.

    Raises:
        ValueError: For a quorum outside 1..K.

    >>> round(float(consensus_probability([0.0, 0.0, 0.0], 1)), 4)
    0.6667
    """
    return readout_probability(logits, resolve_quorum(quorum, max(np.shape(logits)[-1] - 1, 1)))


def level_logits(y_pred, from_logits=True):
    """`y_pred` as level logits: itself, or the log of its probabilities (floored at 1e-30).

    Raises:
        ValueError: If `y_pred` is a binary output, which has no levels.
    """
    y_pred = as_float(y_pred)
    if y_pred.shape[-1] == 1:
        raise ValueError(
            "y_pred: expected level scores (..., K+1). Received a last axis of 1, an ordinary binary output, "
            "which has no levels to score; use an OrdinalHead, or a metric of the read-out such as MultiRaterBrier."
        )
    return y_pred if from_logits else ops.log(ops.maximum(y_pred, 1e-30))


def constant(array, like):
    """A NumPy array as a tensor of the dtype of `like`."""
    return ops.convert_to_tensor(np.ascontiguousarray(array), dtype=like.dtype)
