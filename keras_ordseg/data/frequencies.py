"""How often each level occurs: where a head starts."""

from math import comb

import numpy as np

from keras_ordseg.data._errors import DataError
from keras_ordseg.data.readers import read_checked
from keras_ordseg.data.table import Cases
from keras_ordseg.raters._rules import checked_ratings, count_votes, vote_table

_STEPS = 500


def level_frequencies(dataset, num_raters: int | None = None) -> np.ndarray:
    """How often each level `k = 0..K` occurs in the training data, for `initial_levels`.

    Where all K raters rated, level `k` is counted. A pixel with `n < K` answers, `v` of them marks, is
    spread over the levels by `P(k | v, n) ∝ f_k · C(k,v) C(K-k,n-v) / C(K,n)`, with `f` found by
    expectation maximisation (to convergence, at most 500 steps) from the complete pixels and a uniform
    start. Pixels that nobody rated do not count. One pixel is added to each level, so that no logarithm is
    infinite.

    Args:
        dataset: ratings `(N, *spatial, K)`; a dict of arrays with `"ratings"`; `Cases`, read one by one; or a
            finite `tf.data.Dataset` of dicts with `"ratings"`, or of `(image, target)` with ratings or votes,
            batched or not.
        num_raters: K. Needed for votes; otherwise the last axis of the ratings.

    Returns:
        float64 `(K+1,)`, positive, with sum 1.

    Raises:
        DataError: values that are neither ratings nor votes, or nothing rated at all.
        ValueError: votes without `num_raters`, or another kind of dataset.

    >>> import numpy as np
    >>> from keras_ordseg import data
    >>> ratings = np.zeros((1, 97, 2), dtype="int8")
    >>> ratings[0, :9], ratings[0, :4, 1] = (1, 0), 1
    >>> data.level_frequencies(ratings)
    array([0.89, 0.06, 0.05])
    """
    table = _table(dataset, num_raters)
    size = len(table)
    kernel = _thinning(size - 1)
    counts = table[-1] + 1.0
    frequencies = counts / counts.sum()
    if table[1:-1].any():
        for _ in range(_STEPS):
            posterior = kernel * frequencies
            posterior /= np.maximum(posterior.sum(axis=-1, keepdims=True), np.finfo(float).tiny)
            counts = np.einsum("nv,nvk->k", table, posterior) + 1.0
            before, frequencies = frequencies, counts / counts.sum()
            if np.abs(frequencies - before).max() < 1e-12:
                break
    return frequencies


def mean_vote(dataset, num_raters: int | None = None) -> float:
    """The share of all answers that are marks, for the bias of a binary baseline.

    One mark and one non-mark are added, so that its logit is finite.

    Args:
        dataset, num_raters: see `level_frequencies`.

    Returns:
        `(Σv + 1) / (Σn + 2)`.

    >>> import numpy as np
    >>> from keras_ordseg import data
    >>> data.mean_vote(np.array([[[1, 0], [1, -1], [0, 0], [0, 0], [0, -1]]], dtype="int8"))
    0.3
    """
    table = _table(dataset, num_raters)
    answers, votes = np.indices(table.shape)
    return float(((table * votes).sum() + 1) / ((table * answers).sum() + 2))


def _table(dataset, num_raters):
    """The pixels by answers and votes; row 0 (nobody rated) is emptied."""
    table = None
    for votes, counts, slots in _parts(dataset, num_raters):
        table = (0 if table is None else table) + vote_table(votes, counts, slots)
    if table is None or not table[1:].any():
        raise DataError("no pixel of the dataset was rated")
    table[0] = 0
    return table


def _parts(dataset, num_raters):
    """Yield `(votes, counts, K)` piece by piece."""
    for kind, values in _targets(dataset):
        try:
            values = checked_ratings(values) if kind == "ratings" else np.asarray(values)
        except ValueError as error:
            raise DataError(str(error)) from None
        if kind == "ratings":
            slots = values.shape[-1] if num_raters is None else num_raters
            if slots < values.shape[-1]:
                raise ValueError(f"num_raters={num_raters}, but the ratings have {values.shape[-1]} raters")
            yield *count_votes(values), slots
        else:
            if num_raters is None:
                raise ValueError("the targets are votes: give num_raters, the K they count to")
            if values.dtype.kind not in "iu" or values.min() < 0 or values.max() > num_raters:
                raise DataError(
                    f"votes must be integers from 0 to num_raters={num_raters}, came {values.dtype} "
                    f"from {values.min()} to {values.max()}"
                )
            yield values, np.full(values.shape, num_raters), num_raters


def _targets(dataset):
    if isinstance(dataset, dict):
        dataset = dataset["ratings"]
    if isinstance(dataset, np.ndarray):
        for image in dataset:  # image by image: less memory
            yield "ratings", image
        return
    if isinstance(dataset, Cases):
        for values in read_checked(dataset):
            yield "ratings", values["ratings"]
        return
    if not hasattr(dataset, "as_numpy_iterator"):
        raise ValueError(
            "dataset must be an array of ratings, a dict of arrays, Cases, or a tf.data.Dataset, "
            f"came {type(dataset).__name__}"
        )
    if float(dataset.cardinality()) == -1:  # tf.data.INFINITE_CARDINALITY
        raise ValueError("the dataset never ends; give it before .repeat()")
    for element in dataset.as_numpy_iterator():
        if isinstance(element, dict):
            yield "ratings", element["ratings"]
        elif isinstance(element, tuple) and len(element) >= 2:
            ranks = np.ndim(element[1]) - np.ndim(element[0])
            if ranks not in (0, -1):
                raise ValueError(f"targets of shape {np.shape(element[1])} are neither ratings nor votes")
            yield ("votes" if ranks else "ratings"), element[1]
        else:
            raise ValueError("elements of the dataset must be dicts with 'ratings' or (image, target)")


def _thinning(num_raters):
    """`C(k,v) C(K-k,n-v) / C(K,n)` as an array `[n, v, k]`."""
    size = num_raters + 1
    kernel = np.zeros((size, size, size))
    for n in range(size):
        for v in range(n + 1):
            for k in range(v, num_raters - (n - v) + 1):
                kernel[n, v, k] = comb(k, v) * comb(num_raters - k, n - v) / comb(num_raters, n)
    return kernel
