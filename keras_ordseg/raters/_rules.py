"""The rules that fuse raters, written once for NumPy and TensorFlow, and the table of votes."""

from numbers import Integral

import numpy as np

HARD = ("majority", "union", "intersection")  # and an integer quorum
ESTIMATED = {  # fitted to each image first; with the names of their options
    "staple": ("prior", "restrict", "tolerance", "max_iterations"),
    "dawid_skene": ("tolerance", "max_iterations"),
}
METHODS = ("votes", "majority", "soft", "random", "union", "intersection", "staple", "dawid_skene")


def check_method(method, num_raters, options, methods=METHODS):
    """Refuse what is no rule, a quorum that K raters cannot reach, and options of another rule."""
    if isinstance(method, Integral) and not isinstance(method, bool):
        if not 1 <= method <= num_raters:
            raise ValueError(
                f"method={method} is a quorum, at least so many raters must mark: expected 1 to "
                f"K={num_raters} raters"
            )
    elif not isinstance(method, str) or method not in methods:
        names = ", ".join(map(repr, methods))
        raise ValueError(f"method must be one of {names} or an integer quorum, came {method!r}")
    known = ESTIMATED.get(method, ())
    if unknown := sorted(set(options) - set(known)):
        has = f"its options are {', '.join(known)}" if known else "it has no options"
        raise TypeError(f"method={method!r} does not take {', '.join(unknown)}; {has}")


def hard_target(votes, counts, method, num_raters, where):
    """1 where the votes reach what the rule asks for, 0 elsewhere, -1 where nobody rated.

    A tie is a majority. A quorum of q among K raters is ceil(q n / K) among the n that rated. `where` is that of the array
    library.
    """
    if method == "majority":
        needed = (counts + 1) // 2
    elif method == "union":
        needed = 1
    elif method == "intersection":
        needed = counts
    else:
        needed = (method * counts + num_raters - 1) // num_raters
    return where(counts > 0, where(votes >= needed, 1, 0), -1)


def checked_ratings(ratings, name="ratings", num_classes=2):
    """`ratings` as an array, once it is certain that they are ratings (or labels of so many classes)."""
    ratings = np.asarray(ratings)
    if ratings.dtype == bool:
        ratings = ratings.astype(np.int8)
    if ratings.ndim < 2 or not ratings.size:
        raise ValueError(f"{name} must be (*shape, K) and not empty, came shape {ratings.shape}")
    allowed = "1, 0 and -1" if num_classes == 2 else f"0 to {num_classes - 1}, and -1"
    if ratings.dtype.kind not in "iu":
        raise ValueError(f"{name} must be integers of {allowed}, came {ratings.dtype}")
    low, high = ratings.min(), ratings.max()
    if low < -1 or high >= num_classes:
        allowed = allowed.replace("and", "or")
        raise ValueError(f"{name} must be {allowed} (did not rate), came values from {low} to {high}")
    return ratings


def count_votes(ratings):
    """Votes and answers of every pixel, int32."""
    return (ratings == 1).sum(axis=-1, dtype=np.int32), (ratings >= 0).sum(axis=-1, dtype=np.int32)


def vote_table(votes, counts, num_raters, weights=None):
    """int64 `(K+1, K+1)`: how many pixels have n answers (row) and v votes (column)."""
    size = num_raters + 1
    cells = np.ravel(counts).astype(np.int64) * size + np.ravel(votes)
    return np.bincount(cells, weights, minlength=size * size).astype(np.int64).reshape(size, size)


def present_raters(ratings):
    """bool `(N, K)`: whether a rater rated any pixel of an image; ratings are `(N, *spatial, K)`."""
    return (ratings >= 0).any(axis=tuple(range(1, ratings.ndim - 1)))


def draw_raters(present, generator):
    """One present rater for each image, each as likely: int64 `(N,)`."""
    return np.where(present, generator.random(present.shape), -1.0).argmax(axis=-1)
