"""What kind of value a setting takes, from the annotations of `Settings`."""

from numbers import Integral, Real
from os import PathLike, fspath
from types import NoneType, UnionType
from typing import get_args, get_origin

from keras_ordseg._checks import ArgumentError

_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text", NoneType: "nothing"}
_NO = object()


def checked(name, value, kind):
    """The value of a setting as its kind, a list as a tuple.

    Raises:
        ArgumentError: For a value of another kind, naming the setting.
    """
    choices = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    for choice in choices:
        found = _converted(name, value, choice)
        if found is not _NO:
            return found
    expected = " or ".join(_named(choice) for choice in choices if choice is not NoneType)
    hint = ()
    if isinstance(value, str) and {int, float} & set(choices) and _is_number(value):
        hint = ("a number has no quotes, and in YAML 1e-3 is text: write 1.0e-3",)
    raise ArgumentError(name, expected, repr(value), *hint)


def _converted(name, value, kind):
    if get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        return tuple(checked(name, part, inner) for part in value) if isinstance(value, (list, tuple)) else _NO
    if isinstance(value, bool) or value is None:
        return value if isinstance(value, kind) and kind is not int else _NO
    if kind is int and isinstance(value, Integral):
        return int(value)
    if kind is float and isinstance(value, Real):
        return float(value)
    if kind is str and isinstance(value, (str, PathLike)):
        return fspath(value)
    return _NO


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def _named(kind):
    if get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        parts = get_args(inner) if isinstance(inner, UnionType) else (inner,)
        return f"a list, each {' or '.join(_NAMES[part] for part in parts)}"
    return _NAMES[kind]
