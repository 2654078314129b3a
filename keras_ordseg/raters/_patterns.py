"""The distinct rows of answers and how many pixels have each: K raters leave few, however many the pixels."""

from typing import NamedTuple

import numpy as np


class Patterns(NamedTuple):
    """Patterns of answers over all pixels that came in; a pattern has a number, its code."""

    rows: np.ndarray  # (M, K), the answers of each pattern
    seen: np.ndarray  # (M,), its code
    codes: np.ndarray  # (pixels,), the code of each pixel
    total: np.ndarray  # by code, how many pixels have it

    def count(self, num_images=1, where=None):
        """float64 `(images, M)`: how many pixels of each image have a pattern (of those in `where`)."""
        if num_images == 1 and where is None:
            return self.total[self.seen].astype(np.float64)[None]
        parts = self.codes.reshape(num_images, -1)
        if where is not None:
            parts = [codes[inside] for codes, inside in zip(parts, where.reshape(num_images, -1), strict=True)]
        counts = [np.bincount(codes, minlength=len(self.total))[self.seen] for codes in parts]
        return np.stack(counts).astype(np.float64)

    def by_code(self, table):
        """A table of the patterns `(M, …)` as one of the codes, for `by_code(table)[codes]`."""
        whole = np.zeros((len(self.total), *table.shape[1:]), table.dtype)
        whole[self.seen] = table
        return whole


def find_patterns(answers, num_classes=2):
    """The patterns of integers `(*shape, K)` from -1 to `num_classes - 1`."""
    num_raters = answers.shape[-1]
    answers = answers.reshape(-1, num_raters)
    low = min(int(answers.min()), 0)
    base = num_classes - low
    limit = max(4096, len(answers))  # of the codes; above it those that occur are numbered anew
    codes, size, anew = np.zeros(len(answers), np.uint8), 1, False
    for column in answers.T:
        if size * base > limit:
            seen, codes = np.unique(codes, return_inverse=True)
            size, anew = len(seen), True
        size *= base
        codes = codes.astype(np.min_scalar_type(size), copy=False)
        codes *= codes.dtype.type(base)
        digits = column - low if low else column
        codes += digits.view(np.uint8) if digits.dtype.itemsize == 1 else digits.astype(codes.dtype)
    total = np.bincount(codes)
    seen = np.flatnonzero(total)
    if anew:
        some_pixel = np.empty(len(total), np.intp)
        some_pixel[codes] = np.arange(len(codes))
        rows = answers[some_pixel[seen]]
    else:
        rows = (seen[:, None] // base ** np.arange(num_raters)[::-1] % base + low).astype(answers.dtype)
    return Patterns(rows, seen, codes, total)
