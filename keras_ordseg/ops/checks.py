"""Arguments that every room checks alike: a count, a number of raters, a finite number."""

import numpy as np


def check_count(value, argument):
    """Returns `value` as an int when it is one of at least 1; a ValueError that names the argument otherwise."""
    return _count(value, argument, "")


def check_num_raters(num_raters, argument="num_raters"):
    """`check_count` of a number of raters."""
    return _count(num_raters, argument, ", the number of raters K")


def _count(value, argument, meaning):
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{argument}: expected an int of at least 1{meaning}. Received: {value!r}.")
    return int(value)


def check_number(value, argument, above=None, at_least=0.0):
    """`value` as a float when it is finite and above, or at least, a bound; a ValueError otherwise."""
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not number or not np.isfinite(value) or (value <= above if above is not None else value < at_least):
        bound = f"above {above:g}" if above is not None else f"of at least {at_least:g}"
        raise ValueError(f"{argument}: expected a finite number {bound}. Received: {value!r}.")
    return float(value)
