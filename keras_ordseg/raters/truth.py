"""STAPLE and Dawid–Skene: the raters' errors and the truth behind their answers, estimated together."""

from numbers import Integral
from typing import NamedTuple

import numpy as np

from keras_ordseg.raters._em import estimate
from keras_ordseg.raters._estimates import foreground, warn_of
from keras_ordseg.raters._patterns import find_patterns
from keras_ordseg.raters._rules import checked_ratings


class Staple(NamedTuple):
    """What `staple` returns; see there."""

    probability: np.ndarray
    sensitivity: np.ndarray
    specificity: np.ndarray
    prior: float
    iterations: int
    converged: bool


class DawidSkene(NamedTuple):
    """What `dawid_skene` returns; see there."""

    probability: np.ndarray
    confusion: np.ndarray
    prior: np.ndarray
    iterations: int
    converged: bool


def staple(ratings, prior="global", restrict=None, tolerance=1e-7, max_iterations=20_000) -> Staple:
    """Simultaneous truth and performance level estimation of one image.

    Rater `r` marks a pixel that is truly foreground with probability `p_r` (sensitivity) and leaves out one that is
    not with `q_r` (specificity), independently of the others. With the prior `g`, expectation maximisation
    alternates between

        W = g Π_r a_r / (g Π_r a_r + (1-g) Π_r b_r),  a_r, b_r = (p_r, 1-q_r) where r marks, (1-p_r, q_r) elsewhere
        p_r = Σ W [r marks] / Σ W,  q_r = Σ (1-W) [r does not mark] / Σ (1-W)

    from `W = v/n`. A pixel that a rater did not rate has no factor of his and is not in his sums. K raters
    leave at most `3^K` patterns of answers (`2^K` without absences), so the pixels are counted once and the
    iteration runs over the patterns. Where no raters differ the answers are the truth, and nothing is iterated.

    Two raters are not identifiable: no data tell whose errors a difference is. A warning says so.

    Args:
        ratings: integers `(*spatial, K)` of 1, 0 and -1 (did not rate).
        prior: `g`: `"global"`, the mean of `v/n` over the pixels, or a number between 0 and 1.
        restrict: the pixels that are estimated from: None, all; `"disputed"`, those whose raters differ; `"box"`, the
            bounding box of all marks; or booleans `(*spatial,)`, an array or nested lists. The others keep `v/n`, and do not
            count in the prior, sensitivities and specificities. Large background pulls the prior to 0 and every
            specificity to 1, which a restriction prevents.
        tolerance: stop when no sensitivity and specificity changes by more in an iteration.
        max_iterations: stop there in any case.

    Returns:
        `Staple`, a named tuple: `probability` float32 `(*spatial,)` of foreground (NaN where nobody rated), `sensitivity`
        and `specificity` float64 `(K,)` (NaN for a rater who rated nothing, or where there is no foreground or
        no background), `prior`, `iterations` done, and whether they `converged`.

    Raises:
        ValueError: values that are no ratings, an argument out of its range.

    Reference: Warfield, Zou, Wells, IEEE Transactions on Medical Imaging 23 (2004) 903; for the restriction
    Asman, Landman, IEEE Transactions on Medical Imaging 30 (2011) 1779.

    >>> import numpy as np
    >>> from keras_ordseg import raters
    >>> ratings = np.zeros((20, 20, 3), "int8")
    >>> ratings[5:10, 5:10] = 1
    >>> ratings[4, 5:10, 2] = 1  # the third draws a row too many
    >>> result = raters.staple(ratings)
    >>> result.specificity.round(3), result.probability[4:6, 5].round(3)
    (array([1.   , 1.   , 0.987]), array([0., 1.], dtype=float32))
    """
    ratings = checked_ratings(ratings)
    if restrict is not None and not isinstance(restrict, str):
        restrict = np.asarray(restrict)[None]
    probability, (fit,) = foreground(
        ratings[None],
        "staple",
        restrict=restrict,
        prior=prior,
        tolerance=tolerance,
        max_iterations=max_iterations,
    )
    warn_of([fit], "staple")
    confusion = fit.confusion[0]
    return Staple(
        probability[0],
        confusion[:, 1, 1],
        confusion[:, 0, 0],
        float(fit.prior[0, 1]),
        int(fit.iterations[0]),
        bool(fit.converged[0]),
    )


def dawid_skene(labels, num_classes: int, tolerance=1e-7, max_iterations=20_000) -> DawidSkene:
    """Dawid and Skene's estimate of the true classes behind several raters' labels, of one image.

    As `staple`, for any number of classes and with the prior estimated anew in every iteration: rater `r`
    answers `a` where the truth is `c` with probability `π_r[c, a]`, and the truth is `c` with `ρ_c`;

        W_c = ρ_c Π_r π_r[c, a_r] / Σ_c' …,  π_r[c, a] = Σ W_c [a_r = a] / Σ W_c,  ρ_c = mean of W_c

    from the shares of the answers. Absent raters have no factor and are not in their sums.

    Args:
        labels: integers `(*spatial, K)` from 0 to `num_classes - 1`, and -1 (did not rate).
        num_classes: C, 2 or more.
        tolerance: stop when no `π` changes by more in an iteration.
        max_iterations: stop there in any case.

    Returns:
        `DawidSkene`, a named tuple: `probability` float32 `(*spatial, C)` (NaN where nobody rated), `confusion` float64
        `(K, C, C)`, [rater, true class, answer] (NaN where the rater or the class is absent), `prior` `(C,)`,
        `iterations` done, and whether they `converged`.

    Raises:
        ValueError: labels out of range, an argument out of its range.

    Reference: Dawid, Skene, Applied Statistics 28 (1979) 20.

    >>> import numpy as np
    >>> from keras_ordseg import raters
    >>> labels = np.array([[0, 0, 0], [1, 1, 1], [2, 2, 2], [2, 2, 1], [0, 0, 0]])
    >>> raters.dawid_skene(labels, num_classes=3).probability.argmax(axis=-1)
    array([0, 1, 2, 2, 0])
    """
    if isinstance(num_classes, bool) or not isinstance(num_classes, Integral) or num_classes < 2:
        raise ValueError(f"num_classes must be 2 or more, came {num_classes!r}")
    labels = checked_ratings(labels, "labels", num_classes)
    patterns = find_patterns(labels, num_classes)
    fit = estimate(patterns.count(), patterns.rows, num_classes, "free", tolerance, max_iterations)
    warn_of([fit], "dawid_skene")
    table = np.where((patterns.rows >= 0).any(axis=-1), fit.probability[0], np.nan)
    probability = patterns.by_code(table.T.astype(np.float32))[patterns.codes]
    return DawidSkene(
        probability.reshape(*labels.shape[:-1], num_classes),
        fit.confusion[0],
        fit.prior[0],
        int(fit.iterations[0]),
        bool(fit.converged[0]),
    )
