"""The rules that fuse raters, written once for NumPy and TensorFlow, and the table of votes."""

import numpy as np

# Each rule takes the votes v and the answers n of every pixel, and `where` of the array library. Pixels that
# nobody rated are -1. A tie is foreground.
RULES = {
    "majority": lambda v, n, where: where(n > 0, where(2 * v >= n, 1, 0), -1),
    "union": lambda v, n, where: where(n > 0, where(v > 0, 1, 0), -1),
    "intersection": lambda v, n, where: where(n > 0, where(v == n, 1, 0), -1),
}


def checked_ratings(ratings, name="ratings"):
    """`ratings` as an array, once it is certain that they are ratings."""
    ratings = np.asarray(ratings)
    if ratings.ndim < 2 or not ratings.size:
        raise ValueError(f"{name} must be (*shape, K) and not empty, came shape {ratings.shape}")
    if ratings.dtype.kind not in "iu":
        raise ValueError(f"{name} must be integers of 1, 0 and -1, came {ratings.dtype}")
    low, high = ratings.min(), ratings.max()
    if low < -1 or high > 1:
        raise ValueError(f"{name} must be 1, 0 or -1 (did not rate), came values from {low} to {high}")
    return ratings


def count_votes(ratings):
    """Votes and answers of every pixel, int32."""
    return (ratings == 1).sum(axis=-1, dtype=np.int32), (ratings >= 0).sum(axis=-1, dtype=np.int32)


def vote_table(votes, counts, num_raters):
    """int64 `(K+1, K+1)`: how many pixels have n answers (row) and v votes (column)."""
    size = num_raters + 1
    cells = np.ravel(counts).astype(np.int64) * size + np.ravel(votes)
    return np.bincount(cells, minlength=size * size).reshape(size, size)


def present_raters(ratings):
    """bool `(N, K)`: whether a rater rated any pixel of an image; ratings are `(N, *spatial, K)`."""
    return (ratings >= 0).any(axis=tuple(range(1, ratings.ndim - 1)))


def draw_raters(present, generator):
    """One present rater for each image, each as likely: int64 `(N,)`."""
    return np.where(present, generator.random(present.shape), -1.0).argmax(axis=-1)
