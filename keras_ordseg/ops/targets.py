"""Whether targets can be what they are taken for: read where values can be read, by dtype and shape where not."""

import keras
import numpy as np

from keras_ordseg._checks import ArgumentError

_AT_ONCE = 64  # images whose values are read together


def concrete(x):
    """`x` as a NumPy array where its values can be read at no cost, else None (compiled graphs, accelerators)."""
    if isinstance(x, (np.ndarray, list, tuple, np.generic)):
        return np.asarray(x)
    if keras.backend.backend() == "tensorflow" and type(x).__name__ == "EagerTensor":
        return x.numpy()
    return None


def read_targets(y_true, pred_shape, num_raters=None, argument="y_true"):
    """NumPy targets with every value read before training, in a dtype that a compiled graph takes.

    Args:
        y_true: Votes or ratings as a NumPy array.
        pred_shape: Shape of the output they are for, `(batch, *spatial, K+1)` or `(batch, *spatial, 1)`.
        num_raters: K of votes for a binary output.
        argument: Its name in messages.

    Returns:
        Ratings as int8 (bool as it is) and votes as integers; targets of another rank as they are.

    Raises:
        ValueError: For impossible values, naming the argument.
    """
    num_raters = pred_shape[-1] - 1 or num_raters
    is_votes = y_true.ndim == len(pred_shape) - 1
    if not is_votes and y_true.ndim != len(pred_shape) or is_votes and num_raters is None:
        return y_true
    for start in range(0, len(y_true), _AT_ONCE):
        part = y_true[start : start + _AT_ONCE]
        if is_votes:
            check_votes(part, num_raters, argument)
        else:
            check_ratings(part, num_raters, argument)
    if is_votes:
        return y_true if y_true.dtype.kind in "iub" else y_true.astype("int32")
    return y_true if y_true.dtype.kind == "b" else y_true.astype("int8", copy=False)


def check_dtype(y_true, shape, slots, num_raters):
    """An error where values cannot be read and dtype and shape leave open what they mean: it would show as NaN only.

    Args:
        y_true: Votes or ratings.
        shape: Their shape.
        slots: Rater slots of ratings; None for votes.
        num_raters: K of levels; None for a binary output.
    """
    if concrete(y_true) is not None:
        return
    dtype = keras.backend.standardize_dtype(y_true.dtype)
    if slots is None:
        if not dtype.startswith(("int", "uint", "bool")):
            raise ArgumentError(
                "y_true",
                f"votes, whole numbers in 0..{num_raters}, of an integer dtype where their values cannot be read",
                f"{dtype} of shape {shape}",
                "cast whole numbers, y.astype('int32'); of shares v/K take np.rint(K * y).astype('int32')",
            )
        return
    if dtype in ("int8", "bool"):
        return
    if dtype.startswith("uint"):
        raise ArgumentError(
            "y_true",
            "ratings 1, 0 or -1 (did not rate) of a signed dtype such as int8 where their values cannot be read",
            f"{dtype}, in which an absent rater is another number",
            "map the values to 1, 0 and -1, then y.astype('int8')",
        )
    if num_raters is not None and slots is not None and slots > num_raters:
        raise ArgumentError(
            "y_true",
            f"ratings (batch, *spatial, raters) of at most {num_raters} raters, because y_pred has {num_raters + 1} levels",
            f"{dtype} of shape {shape}",
            "of one-hot levels take y.argmax(-1), which is votes",
            "give ratings of more slots, of which some are -1 at every pixel, as int8",
        )
    if num_raters is not None and num_raters > 1 and slots == 1:
        raise ArgumentError(
            "y_true",
            "votes (batch, *spatial) or ratings (batch, *spatial, raters)",
            f"{dtype} of shape {shape}, which may be either",
            "give votes without the last axis, y[..., 0]",
            "give one rater's answers as int8",
        )


def check_ratings(y_true, num_raters, argument):
    values = concrete(y_true)
    if values is None or values.size == 0:
        return
    wrong = ~((values == 1) | (values == 0) | (values == -1))
    if wrong.any():
        raise ValueError(
            f"{argument}: expected ratings 1 (marked), 0 (not marked) or -1 (did not rate). Received the value(s) "
            f"{np.unique(values[wrong])[:5].tolist()}. Divide 8-bit masks by 255; give votes without a rater axis."
        )
    if num_raters is not None and (values != -1).sum(-1).max() > num_raters:
        raise ValueError(
            f"{argument}: expected at most K={num_raters} answers for a pixel. Received ratings of shape "
            f"{values.shape} in which a pixel has {(values != -1).sum(-1).max()}. Build the head for that many raters."
        )


def check_votes(y_true, num_raters, argument="y_true"):
    values = concrete(y_true)
    if values is None or values.size == 0:
        return
    with np.errstate(invalid="ignore"):
        wrong = ~((values >= 0) & (values <= num_raters) & (values == np.floor(values)))
    if wrong.any():
        raise ValueError(
            f"{argument}: expected votes, whole numbers in 0..{num_raters} (K={num_raters}). Received the value(s) "
            f"{np.unique(values[wrong])[:5].tolist()}. Absent raters travel as -1 in ratings, not in votes."
        )
