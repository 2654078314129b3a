"""Arguments that every subpackage checks alike: counts, numbers, choices."""

import numpy as np

from keras_ordseg._checks import ArgumentError


def check_count(value, argument):
    """Returns `value` as an int when it is one of at least 1; a ValueError that names the argument otherwise."""
    return _count(value, argument, "")


def check_num_raters(num_raters, argument="num_raters"):
    """`check_count` of a number of raters."""
    return _count(num_raters, argument, ", the number of raters K")


def _count(value, argument, meaning):
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ArgumentError(argument, f"an int of at least 1{meaning}", repr(value))
    return int(value)


def check_number(value, argument, above=None, at_least=0.0):
    """`value` as a float when it is finite and above, or at least, a bound; a ValueError otherwise."""
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not number or not np.isfinite(value) or (value <= above if above is not None else value < at_least):
        bound = f"above {above:g}" if above is not None else f"of at least {at_least:g}"
        raise ArgumentError(argument, f"a finite number {bound}", repr(value))
    return float(value)


def check_choice(value, argument, choices):
    """Returns `value` when it is one of `choices`, in that spelling; a ValueError that names the argument otherwise."""
    if not isinstance(value, str) or value not in choices:
        lower = value.lower() if isinstance(value, str) else None
        remedies = (f"write {lower!r}",) if lower in choices else ()
        raise ArgumentError(argument, f"one of {tuple(choices)}", repr(value), *remedies)
    return value


def check_int(value, argument):
    """Returns `value` as an int when it is one; a ValueError that names the argument otherwise."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise ArgumentError(argument, "an int", repr(value))
    return int(value)
