"""One pass over cases of any source before they are packed: every problem, and what they have in common."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from keras_ordseg.data._bits import MAX_RATERS
from keras_ordseg.data._cells import cell_text
from keras_ordseg.data._errors import DataError
from keras_ordseg.data.arrays import case_problems
from keras_ordseg.data.readers import read_checked
from keras_ordseg.data.table import Cases

_WHOLE = ("uint8", "uint16")
_NAMES = ("image", "ratings", "id", "group", "anonymous")
_DTYPES = ("auto", *_WHOLE, "float16", "float32")


@dataclass(frozen=True)
class Survey:
    """What all cases have in common; None in a shape stands for an axis that differs."""

    count: int
    pixels: int
    values: int
    image_shape: tuple
    ratings_shape: tuple
    image_dtype: str
    complete: bool
    anonymous: bool  # the raters are slots made from votes

    @property
    def num_raters(self):
        return self.ratings_shape[-1]


def rows_of(cases, size, fit):
    """A function that starts a pass over the cases: dicts of `image`, `ratings`, `id` and `group`."""
    if size is not None and not isinstance(cases, Cases):
        raise ValueError("size belongs to cases that are read from files; these are read already")
    if isinstance(cases, Cases):
        return lambda: _named(_loaded(cases, size, fit))
    if isinstance(cases, Mapping):
        if missing := [name for name in ("image", "ratings") if name not in cases]:
            raise DataError(f"arrays must hold 'image' and 'ratings', missing: {', '.join(missing)}")
        arrays = {name: np.asarray(cases[name]) for name in _NAMES if name in cases}
        if len({len(array) for array in arrays.values()}) > 1:
            rows = ", ".join(f"{name} {len(array)}" for name, array in arrays.items())
            raise DataError(f"arrays must have one row for each case, have {rows}")
        return lambda: _named(dict(zip(arrays, row, strict=True)) for row in zip(*arrays.values(), strict=True))
    if hasattr(cases, "as_numpy_iterator"):
        if float(cases.cardinality()) == -1:  # tf.data.INFINITE_CARDINALITY
            raise ValueError("the dataset never ends; pack it before .repeat()")
        return lambda: _named(cases.as_numpy_iterator())
    if isinstance(cases, Iterator) or not hasattr(cases, "__iter__"):
        raise ValueError(
            "cases must be a dict of arrays, what data.cases returns, a tf.data.Dataset, or a list of dicts (it is "
            f"read twice); came {type(cases).__name__}"
        )
    return lambda: _named(cases)


def _named(rows):
    """Dicts of the four names, with the number of the row where an id is missing."""
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping) or not {"image", "ratings"} <= set(row):
            raise DataError(f"case {number} must be a dict with 'image' and 'ratings'")
        name = _name(number, "id", row.get("id", number))
        yield {
            "image": np.asarray(row["image"]),
            "ratings": np.asarray(row["ratings"]),
            "id": name,
            "group": _name(name, "group", row.get("group", name)),
            "anonymous": bool(row.get("anonymous", False)),
        }


def _loaded(cases, size, fit):
    for case, values in zip(cases, read_checked(cases, size, fit), strict=True):
        yield values | {"id": case.id, "group": case.group}


def _name(case, what, value):
    """An id or a group as text."""
    try:
        text = cell_text(value)
    except TypeError as error:
        raise DataError(f"case {case}: {what}: {error}") from None
    if text is None:
        raise DataError(f"case {case}: has no {what} (None, NaN or blank)", f"give every case one, or none a {what!r}")
    return text


def survey(rows, image_dtype):
    """Read all rows once.

    Raises:
        DataError: every problem of every case.
        ValueError: `image_dtype` is none.
    """
    if image_dtype not in _DTYPES:
        raise ValueError(f"image_dtype must be one of {', '.join(map(repr, _DTYPES))}, came {image_dtype!r}")
    problems, first, shape, complete, anonymous = [], None, None, True, False
    lossless, count, pixels, values = list(_WHOLE), 0, 0, 0
    for row in rows:
        image, ratings = row["image"], row["ratings"]
        found = _problems(image, ratings, first)
        if not found and image_dtype in (*_WHOLE, "auto"):
            lossless = [dtype for dtype in lossless if _keeps(image, dtype)]
            if image_dtype != "auto" and image_dtype not in lossless:
                bits = np.iinfo(image_dtype).bits
                found = [f"the image does not come from {bits} bits; pack it as 'float16' or 'float32'"]
                lossless = list(_WHOLE)
        problems += [f"case {row['id']}: {text}" for text in found]
        if found:
            continue
        first = first or (image.shape, ratings.shape)
        spatial = image.shape[:-1]
        shape = spatial if shape is None else tuple(
            a if a == b else None for a, b in zip(shape, spatial, strict=True)
        )
        complete = complete and bool(ratings.min() >= 0)
        anonymous = anonymous or row["anonymous"]
        count, pixels, values = count + 1, pixels + int(np.prod(spatial)), values + image.size
    if problems:
        raise DataError.listing(problems, "the cases")
    if not count:
        raise DataError("there are no cases to pack")
    if image_dtype == "auto":
        image_dtype = lossless[0] if lossless else "float32"
    image, ratings = first
    return Survey(
        count, pixels, values, (*shape, image[-1]), (*shape, ratings[-1]), image_dtype, complete, anonymous
    )


def _problems(image, ratings, first):
    if image.ndim < 2 or image.shape[:-1] != ratings.shape[:-1] or not image.size or not ratings.size:
        return [
            "image and ratings must be (*spatial, C) and (*spatial, K), the same but for the last axis, came "
            f"{image.shape} and {ratings.shape}"
        ]
    if image.dtype.kind != "f":
        return [f"the image must be float in [0, 1], came {image.dtype}; divide 8-bit images by 255"]
    if ratings.dtype.kind not in "iu":
        return [f"ratings must be integers (int8) of -1, 0 and 1, came {ratings.dtype}"]
    if ratings.shape[-1] > MAX_RATERS:
        return [f"has {ratings.shape[-1]} raters, at most {MAX_RATERS} can be packed"]
    if first is not None:
        for what, have, want in zip(("channels", "raters"), (image, ratings), first, strict=True):
            if have.ndim != len(want) or have.shape[-1] != want[-1]:
                return [f"has shape {have.shape}, the first case {want}: axes and {what} must agree"]
    return case_problems(image, ratings)


def _keeps(image, dtype):
    """Whether whole numbers of this width give back the same float32 values."""
    image = image.astype(np.float32, copy=False)
    scale = np.float32(np.iinfo(dtype).max)
    return bool((np.rint(image * scale) / scale == image).all())
