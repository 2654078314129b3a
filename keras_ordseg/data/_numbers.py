"""Stored numbers that mean integers, and numbers as messages show them: with every digit that matters."""

import numpy as np

# Eight steps of float32 at 1: what a scale and an intercept stored as float32 (NIfTI) leave of an integer.
ROUNDING = 1e-6


def integers(values):
    """Returns the values with those that are within a rounding of an integer replaced by it.

    >>> integers(np.array([0.9999999, 1.00000004, 0.5])).tolist()
    [1.0, 1.0, 0.5]
    """
    if values.dtype.kind != "f":
        return values
    whole = np.rint(values)
    near = np.abs(values - whole) <= ROUNDING * np.maximum(1, np.abs(whole))
    return np.where(near, whole, values)


def same(values, value):
    """Returns where the values are `value`, or within a rounding of it if they are floats."""
    if values.dtype.kind != "f":
        return values == value
    return np.abs(values - value) <= ROUNDING * max(1, abs(float(value)))


def number(value):
    """Returns a number as text, short where that is exact.

    >>> number(np.float32(1)), number(np.float32(0.9999999)), number(16711680)
    ('1', '0.9999999', '16711680')
    """
    short = f"{float(value):g}"
    return short if float(short) == value or value != value else str(value)


def shown(values):
    """Returns how many values there are, and the first six of them."""
    there = np.unique(values)
    return f"{len(there)} values ({listed(there)})"


def listed(values):
    """Returns the first six values as text."""
    return ", ".join(number(value) for value in values[:6]) + (", …" if len(values) > 6 else "")


def differing(one, other):
    """Returns two arrays of numbers as tuples in as few digits, from six, as tell them apart."""
    for digits in range(6, 18):
        texts = ["(" + ", ".join(f"{number:.{digits}g}" for number in numbers) + ")" for numbers in (one, other)]
        if texts[0] != texts[1]:
            break
    return texts
