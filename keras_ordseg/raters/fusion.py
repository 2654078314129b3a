"""Several raters' masks to one target, in NumPy."""

from numbers import Integral

import numpy as np

from keras_ordseg._checks import ArgumentError
from keras_ordseg.raters._estimates import foreground, warn_of
from keras_ordseg.raters._rules import (
    ESTIMATED,
    check_method,
    checked_ratings,
    count_votes,
    draw_raters,
    hard_target,
    present_raters,
)


def fuse(
    ratings, method: str | int, seed: int | None = None, progress: bool = False, **options
) -> np.ndarray:
    """Fuse the raters of every pixel into one target.

    With `v` votes among the `n` raters that rated a pixel:

    | method | target | shape | where nobody rated |
    | --- | --- | --- | --- |
    | `"votes"` | `v`, int32; every rater must have rated every pixel | `(N, *spatial)` | |
    | `"majority"` | `v >= n/2` (a tie is foreground), int8 | `(N, *spatial, 1)` | -1 |
    | an integer `q` | `v >= q n/K`, at least `q` of all `K`, int8 | `(N, *spatial, 1)` | -1 |
    | `"union"` | `v > 0`, int8 | `(N, *spatial, 1)` | -1 |
    | `"intersection"` | `v == n`, int8 | `(N, *spatial, 1)` | -1 |
    | `"soft"` | `v/n`, float32 | `(N, *spatial, 1)` | NaN |
    | `"random"` | one rater drawn among those present, int8 | `(N, *spatial, 1)` | -1 |
    | `"staple"` | probability of foreground by `staple`, image by image, float32 | `(N, *spatial, 1)` | NaN |
    | `"dawid_skene"` | the same with a prior estimated too (`dawid_skene`, two classes) | `(N, *spatial, 1)` | NaN |

    Args:
        ratings: integers `(N, *spatial, K)` of 1, 0 and -1 (did not rate).
        method: one of the above.
        seed: of the draws of `"random"`; another value is an error with the other methods.
        progress: whether `"staple"` and `"dawid_skene"` count on the standard error stream.
        options: for `"staple"` its `prior`, `restrict` (an array is `(N, *spatial)`), `tolerance` and `max_iterations`; for
            `"dawid_skene"` `tolerance` and `max_iterations`.

    Returns:
        The target.

    Raises:
        ValueError: another method, values that are no ratings, `"votes"` of an incomplete panel.
        TypeError: an option that the method does not have.

    >>> import numpy as np
    >>> from keras_ordseg import raters
    >>> ratings = np.array([[[1, 1, 0], [0, 1, -1], [0, 0, 1]]])
    >>> raters.fuse(ratings, "majority")[0, :, 0].tolist()
    [1, 1, 0]
    >>> raters.fuse(ratings, 3)[0, :, 0].tolist()
    [0, 0, 0]
    >>> raters.fuse(ratings, "soft")[0, :, 0].round(2)
    array([0.67, 0.5 , 0.33], dtype=float32)
    """
    ratings = checked_ratings(ratings)
    check_method(method, ratings.shape[-1], options)
    if seed is not None and method != "random":
        raise ValueError(f"seed belongs to method='random'; method={method!r} draws nothing")
    if method in ESTIMATED:
        probability, fits = foreground(ratings, method, progress=progress, **options)
        warn_of(fits, method)
        return probability[..., None]
    if method == "random":
        present = present_raters(ratings)
        if not present.any(axis=-1).all():
            raise ValueError(f"image {int(np.argmin(present.any(axis=-1)))} of ratings was rated by nobody")
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, Integral) or seed < 0):
            raise ArgumentError("seed", "None or an int of at least 0", repr(seed))
        chosen = draw_raters(present, np.random.default_rng(seed))
        chosen = chosen.reshape((-1,) + (1,) * (ratings.ndim - 1))
        return np.take_along_axis(ratings, chosen, axis=-1).astype(np.int8)
    votes, counts = count_votes(ratings)
    if method == "votes":
        if (counts < ratings.shape[-1]).any():
            absent = int((counts < ratings.shape[-1]).sum())
            raise ValueError(
                f"method='votes' needs a complete panel; {absent} pixels have an absent rater: keep ratings"
            )
        return votes
    if method == "soft":
        shares = np.divide(votes, counts, out=np.full(votes.shape, np.nan), where=counts > 0)
        return shares.astype(np.float32)[..., None]
    return hard_target(votes, counts, method, ratings.shape[-1], np.where).astype(np.int8)[..., None]
