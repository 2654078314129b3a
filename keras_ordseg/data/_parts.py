"""Slices and patches of an image: their names, and what they take of its spatial axes."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from numbers import Integral

import numpy as np

from keras_ordseg._checks import ArgumentError, Problem
from keras_ordseg.data._errors import DataError

NO_MASK = "has no mask of any of its raters"


def first_mask(case):
    """The counted votes of a case, or the first mask that is there; None where there is none."""
    return case.votes or next(filter(None, case.ratings), None)


def parts_of(cases, function, *args):
    """A case for each part of each case, by the shape in the header of its first mask.

    Raises:
        DataError: every case that has no such parts.
    """
    items, problems = [], []
    for case in cases:
        if case.part:
            raise ValueError("these cases are parts already; take slices or patches of whole images")
        source = first_mask(case)
        if source is None:
            problems.append(Problem(NO_MASK, where=f"case {case.id}"))
            continue
        try:
            parts = function(source.mask_shape(), *args)
            items += [replace(case, id=f"{case.id}_{name}", part=part) for name, part in parts]
        except DataError as error:
            problems.append(error.found[0].at(source.shown(cases.path)))
    if problems:
        raise DataError.listing(problems, cases.where)
    return tuple(items)


def slice_parts(shape, axis):
    """`("0007", (…, 7, …))` for each index of `axis`."""
    if not isinstance(axis, Integral) or isinstance(axis, bool):
        raise ArgumentError("axis", "the number of an axis", repr(axis))
    if len(shape) < 3:
        raise DataError(f"has no slices: its shape is {_sides(shape)}, and slices are taken of volumes")
    if not -len(shape) <= axis < len(shape):
        raise ArgumentError("axis", f"{-len(shape)} to {len(shape) - 1} for volumes of {len(shape)} axes", repr(axis))
    axis %= len(shape)
    width = max(4, len(str(shape[axis] - 1)))
    return [
        (f"{i:0{width}d}", tuple(i if place == axis else slice(None) for place in range(len(shape))))
        for i in range(shape[axis])
    ]


def patch_parts(shape, size, overlap):
    """`("0_64", (slice(0, 64), slice(64, 128)))` for each patch of a grid that covers the image."""
    size, overlap = (
        _each_axis(name, value, len(shape)) for name, value in (("size", size), ("overlap", overlap))
    )
    if min(size) < 1 or min(overlap) < 0 or any(o >= s for o, s in zip(overlap, size, strict=True)):
        raise ArgumentError("overlap", "0 or more pixels, and fewer than size", f"{overlap} with size={size}")
    if any(have < want for have, want in zip(shape, size, strict=True)):
        raise DataError(f"has shape {_sides(shape)}, smaller than patches of {_sides(size)}")
    starts = [_starts(*axis) for axis in zip(shape, size, overlap, strict=True)]
    return [
        ("_".join(map(str, corner)), tuple(slice(a, a + s) for a, s in zip(corner, size, strict=True)))
        for corner in product(*starts)
    ]


def offsets(part, rank):
    """Which axes a part keeps, and where it begins on every axis."""
    part = part or (slice(None),) * rank
    kept = [axis for axis, piece in enumerate(part) if isinstance(piece, slice)]
    return kept, np.array([(p.start or 0) if isinstance(p, slice) else p for p in part], float)


def _starts(have, want, overlap):
    count = -(-(have - want) // (want - overlap)) + 1
    return sorted({min(i * (want - overlap), have - want) for i in range(count)})


def _each_axis(name, value, rank):
    values = tuple(value) if isinstance(value, Sequence | np.ndarray) and np.ndim(value) else (value,) * rank
    if len(values) != rank or not all(isinstance(v, Integral) and not isinstance(v, bool) for v in values):
        raise ArgumentError(name, f"a number of pixels, or {rank} for images of {rank} axes", repr(value))
    return tuple(int(v) for v in values)


def _sides(shape):
    return "x".join(map(str, shape))
