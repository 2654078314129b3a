"""Ratings, votes and the weight of every pixel."""

from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_ordseg._checks import ArgumentError
from keras_ordseg.ops.checks import check_num_raters
from keras_ordseg.ops.targets import check_dtype, check_ratings, check_votes


def majority_quorum(num_raters: int) -> int:
    """The number of raters that makes a majority, `ceil(K / 2)`: ties are foreground.

    Args:
        num_raters: Number of raters K, at least 1.

    Returns:
        `ceil(K / 2)` as an int.

    >>> majority_quorum(7), majority_quorum(4)
    (4, 2)
    """
    return -(-check_num_raters(num_raters) // 2)


def resolve_quorum(quorum, num_raters: int) -> int:
    """The quorum as a number of raters: `"majority"` is `ceil(K / 2)`, an int stands for itself.

    Args:
        quorum: `"majority"` or an int in 1..K.
        num_raters: Number of raters K.

    Raises:
        ValueError: If `quorum` is neither.

    >>> resolve_quorum("majority", 5), resolve_quorum(2, 5)
    (3, 2)
    """
    if quorum == "majority":
        return majority_quorum(num_raters)
    if isinstance(quorum, (int, np.integer)) and not isinstance(quorum, bool) and 1 <= quorum <= num_raters:
        return int(quorum)
    raise ValueError(
        f"quorum: expected 'majority' or an int in 1..{num_raters} (the number of raters). Received: {quorum!r}."
    )


def votes(ratings):
    """Counts, for every pixel, the raters that marked it and the raters that rated it.

    Args:
        ratings: Integers of shape `(batch, *spatial, K)`: 1 marked, 0 not marked, -1 did not rate.

    Returns:
        `(votes, counts)`, two int32 tensors of shape `(batch, *spatial)`.

    Raises:
        ValueError: If a value read eagerly is none of -1, 0, 1.

    >>> v, n = votes([[1, 0, 1], [1, -1, -1]])
    >>> [int(x) for x in v], [int(x) for x in n]
    ([2, 1], [3, 1])
    """
    check_ratings(ratings, None, "ratings")
    ratings = ops.convert_to_tensor(ratings)
    return (
        ops.sum(ops.cast(ops.equal(ratings, 1), "int32"), axis=-1),
        ops.sum(ops.cast(ops.not_equal(ratings, -1), "int32"), axis=-1),
    )


class Panel(NamedTuple):
    """What the raters said of each pixel, ready for arithmetic. All tensors are `(batch, *spatial)`."""

    votes: Any  # raters that marked, float
    counts: Any  # raters that rated, float
    weights: Any  # sample weight where somebody rated, 0 elsewhere, NaN where y_true is impossible
    complete: Any  # True, or a boolean scalar tensor: every rated pixel has all K answers
    num_raters: int | None  # K, None for a binary output scored on ratings without `num_raters`


def panel(y_true, y_pred, sample_weight=None, num_raters=None, dtype="float32") -> Panel:
    """Reads `y_true` as ratings or votes and checks it against `y_pred`.

    `y_true` is ratings when its rank equals that of `y_pred`, and votes of a complete panel of K when it has
    one axis less. Values that cannot be (a vote above K, more than K answers, a rating outside {-1, 0, 1}) are
    errors where they can be read, and make the pixel's weight NaN inside a compiled graph; there a dtype or a number of
    slots that may as well stand for something else is an error (`check_dtype`).

    Args:
        y_true: Ratings `(batch, *spatial, slots)` or votes `(batch, *spatial)`.
        y_pred: Level scores `(batch, *spatial, K+1)` or a binary score `(batch, *spatial, 1)`.
        sample_weight: None, or weights of shape `(batch,)` or `(batch, *spatial)`.
        num_raters: K. Read from `y_pred` where that has levels; needed for votes and a binary output.
        dtype: Floating dtype of the result.

    Returns:
        A `Panel`.

    Raises:
        ValueError: For a wrong rank, shape or value, naming the argument.
    """
    pred_shape = tuple(y_pred.shape)
    if getattr(getattr(y_true, "shape", None), "rank", 0) is None:  # TensorFlow retraced for votes and ratings alike
        raise ArgumentError(
            "y_true",
            f"votes of rank {len(pred_shape) - 1} or ratings of rank {len(pred_shape)}",
            "a tensor of unknown rank",
            "compile the model again between votes and ratings",
            "give all targets as ratings",
        )
    true_shape = tuple(np.shape(y_true) if not hasattr(y_true, "shape") else y_true.shape)
    levels = pred_shape[-1]
    if levels is None:
        raise ValueError(
            "y_pred: expected a last axis of known size (K+1 levels, or 1 for a binary output). "
            f"Received shape {pred_shape}."
        )
    if levels > 1:
        if num_raters is not None and num_raters != levels - 1:
            raise ValueError(
                f"num_raters: expected {levels - 1}, because y_pred has {levels} levels (0..K). "
                f"Received: num_raters={num_raters}. Leave it out, or build the head for {num_raters} raters."
            )
        num_raters = levels - 1
    is_votes = len(true_shape) == len(pred_shape) - 1
    if not is_votes and len(true_shape) != len(pred_shape):
        raise ValueError(
            f"y_true: expected ratings of rank {len(pred_shape)} (batch, *spatial, raters) or votes of rank "
            f"{len(pred_shape) - 1} (batch, *spatial), to go with y_pred of shape {pred_shape}. "
            f"Received shape {true_shape}."
        )
    spatial = true_shape if is_votes else true_shape[:-1]
    if any(a is not None and b is not None and a != b for a, b in zip(spatial, pred_shape[:-1], strict=True)):
        raise ValueError(
            f"y_true: expected the batch and spatial axes of y_pred, {pred_shape[:-1]}. "
            f"Received shape {true_shape}."
        )
    if is_votes:
        if num_raters is None:
            raise ValueError(
                "num_raters: needed, because y_true is votes and y_pred is a binary output (last axis 1), which "
                "does not tell K. Pass num_raters=K to this loss or metric, or give ratings as y_true."
            )
        check_votes(y_true, num_raters)
        check_dtype(y_true, true_shape, None, num_raters)
        y_true = ops.cast(ops.convert_to_tensor(y_true), dtype)
        bad = ops.logical_or(y_true < 0, y_true > num_raters)
        bad = ops.logical_or(bad, ops.not_equal(y_true, ops.floor(y_true)))  # NaN differs from itself
        marked, rated, complete = y_true, ops.full_like(y_true, num_raters), True
    else:
        check_ratings(y_true, num_raters, "y_true")
        check_dtype(y_true, true_shape, true_shape[-1], num_raters if levels > 1 else None)
        y_true = ops.convert_to_tensor(y_true)
        is_marked, is_absent = ops.equal(y_true, 1), ops.equal(y_true, -1)
        known = ops.logical_or(ops.logical_or(is_marked, is_absent), ops.equal(y_true, 0))
        bad = ops.logical_not(ops.all(known, axis=-1))
        marked = ops.sum(ops.cast(is_marked, dtype), axis=-1)
        rated = ops.sum(ops.cast(ops.logical_not(is_absent), dtype), axis=-1)
        complete = True
        if num_raters is not None:
            bad = ops.logical_or(bad, rated > num_raters)
            if y_true.shape[-1] is None or y_true.shape[-1] > num_raters:  # tables of K raters know no more of them
                rated = ops.minimum(rated, ops.full_like(rated, num_raters))
            complete = ops.all(ops.logical_or(ops.equal(rated, num_raters), ops.equal(rated, 0)))
    weights = ops.cast(rated > 0, dtype)
    if sample_weight is not None:
        weights = weights * _broadcast_weights(sample_weight, weights, dtype)
    weights = ops.where(bad, ops.full_like(weights, float("nan")), weights)
    return Panel(marked, rated, weights, complete, num_raters)


def _broadcast_weights(sample_weight, like, dtype):
    weight = ops.cast(ops.convert_to_tensor(sample_weight), dtype)
    rank, full = len(weight.shape), len(like.shape)
    if rank == full + 1 and weight.shape[-1] == 1:
        weight, rank = ops.squeeze(weight, axis=-1), full
    if rank not in (0, 1, full) or any(
        a is not None and b is not None and a != b for a, b in zip(weight.shape, like.shape, strict=False)
    ):
        raise ValueError(
            f"sample_weight: expected shape (batch,) or (batch, *spatial) = {tuple(like.shape)}. "
            f"Received shape {tuple(weight.shape)}."
        )
    return ops.reshape(weight, (-1,) + (1,) * (full - 1)) if rank == 1 else weight
