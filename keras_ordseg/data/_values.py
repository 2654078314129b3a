"""From stored numbers to an image in [0, 1], and to what a rater said."""

from dataclasses import dataclass

import numpy as np

from keras_ordseg._checks import ArgumentError, Setting
from keras_ordseg.data._errors import DataError
from keras_ordseg.data._numbers import ROUNDING, integers, number, same, shown

_SCALED = {"b": 1, "uint8": 255, "uint16": 65535}


@dataclass(frozen=True)
class Reading:
    """How the numbers of a table's files are read; see `cases`."""

    label: tuple[int, ...] | None = None
    void: tuple[int, ...] = ()
    window: tuple | None = None
    num_raters: int | None = None  # of votes; None where each rater has masks


@dataclass(frozen=True)
class Found:
    """What the numbers of a mask are, for the judgement of all masks of a rater."""

    marks: tuple = ()  # the labels that are there, or the one value that is not 0
    others: tuple = ()  # what else is there but 0 and voids
    minus: bool = False  # whether -1 is there


def checked_reading(label, void, window, num_raters):
    """A `Reading` of the arguments of `cases`.

    Raises:
        ValueError: an argument that is none, named.
    """
    given = repr(label)
    label = None if label is None else _integers("label", label)
    void = () if void is None else _integers("void", void)
    if label is not None and num_raters is not None:
        raise ArgumentError("label", "no label with votes, whose numbers are counts", given, "leave it out")
    if label is not None and -1 in label:
        expected = "values other than -1, which means that the rater did not rate"
        raise ArgumentError("label", expected, given, "store marks as 1")
    if num_raters is not None and (counts := [value for value in void if 0 <= value <= num_raters]):
        raise ArgumentError("void", f"with votes values that are no counts of 0 to {num_raters}", repr(counts))
    if label is not None and (both := set(label) & set(void)):
        raise ValueError(f"label and void must differ, both hold {sorted(both)}")
    if window is not None:
        window = _checked_window(window)
    return Reading(label, void, window, num_raters)


def limits(window, values):
    """The ends of a window as numbers: percentiles are taken over all of `values`."""
    if not isinstance(window[0], str):
        return window
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0  # `to_image` refuses these values
    return tuple(float(end) for end in np.percentile(finite, [float(end[:-1]) for end in window]))


def to_image(values, ends=None):
    """Stored numbers as float32 in [0, 1].

    Args:
        values: numbers as stored.
        ends: the two ends of a window, `lo` to 0 and `hi` to 1; without it, 8 and 16 bits are divided by
            their largest value, and floats have to be in [0, 1].

    Raises:
        DataError: what is wrong with the values.
    """
    kind = values.dtype
    if kind.kind == "f" and (bad := np.count_nonzero(~np.isfinite(values))):
        raise DataError(f"the image has {bad} values that are not finite (NaN or infinite)")
    if ends is not None:
        low, high = ends
        scaled = (values.astype(np.float32) - np.float32(low)) / np.float32(high - low or 1)
        return np.clip(scaled, 0, 1, out=scaled)
    if scale := _SCALED.get("b" if kind.kind == "b" else kind.name):
        return values / np.float32(scale)
    low, high = values.min(), values.max()
    if kind.kind == "f" and low >= -ROUNDING and high <= 1 + ROUNDING:
        return np.clip(values, 0, 1).astype(np.float32)
    raise DataError(
        f"the {'float' if kind.kind == 'f' else kind.name} image spans [{number(low)}, {number(high)}] where [0, 1] is "
        "expected; scale it, or give window=(lo, hi), as (-1000, 400) for the lung in CT or "
        '("1%", "99%") for MR'
    )


def to_mask(values, reading):
    """Stored numbers as int8 of 1, 0 and -1, and what they were.

    Returns:
        The mask, and a `Found`.

    Raises:
        DataError: what is wrong with the values.
    """
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataError("the mask has values that are not finite")
    stored, values = values, integers(values)
    minus = values == -1 if values.dtype.kind in "if" else np.zeros(values.shape, bool)
    unrated = minus | _any_of(values, reading.void)
    marked = _labelled(values, reading.label) if reading.label is not None else _marked(stored, values, unrated)
    result = marked.astype(np.int8)
    result[unrated] = -1
    if reading.label is None:
        return result, Found(tuple(values[marked][:1]), (), bool(minus.any()))
    there = set(np.unique(values))
    others = there - {0, -1, *reading.label, *reading.void}
    return result, Found(tuple(v for v in reading.label if v in there), tuple(sorted(others)), bool(minus.any()))


def to_slots(votes, num_raters, void=()):
    """Votes `(*spatial,)` as int8 `(*spatial, K)`: the first `v` of K nameless slots are marked.

    Raises:
        DataError: numbers that are no votes.
    """
    values = integers(votes)
    unrated = _any_of(values, (-1, *void) if values.dtype.kind in "if" else void)
    values = np.where(unrated, 0, values)
    if not (np.isfinite(values) & (values >= 0) & (values <= num_raters) & (values == np.round(values))).all():
        wrong = np.unique(values[~((values >= 0) & (values <= num_raters))])
        remedies = []
        if len(wrong) == 1 and wrong[0] == np.rint(wrong[0]):
            text = number(wrong[0])
            remedies = [(f"if {text} means that nobody rated, give ", Setting("void", text, text))]
        raise DataError(
            f"no votes: it holds {shown(votes)} where the integers 0 to num_raters={num_raters} are expected", *remedies
        )
    slots = (np.arange(num_raters) < values.astype(np.int64)[..., None]).astype(np.int8)
    slots[unrated] = -1
    return slots


def _labelled(values, label):
    """Where an integer mask has one of the labels."""
    if values.dtype.kind == "f" and (values != np.rint(values)).any():
        raise DataError(
            f"no label map: it holds {shown(values)} where integers are expected",
            "save the labels as integers, without interpolation",
        )
    return _any_of(values, label)


def _marked(stored, values, unrated):
    """Where a mask without a label has its one value that is not 0."""
    marked = (values != 0) & ~unrated
    there = values[marked]
    if there.size and not same(there, there[0]).all():
        raise DataError(
            f"not a binary mask: it holds {shown(stored)} where 0 and one other are expected; "
            "say which is the mark with label=, or threshold it; save masks as PNG (JPEG blurs them)"
        )
    if there.size and there[0] < 0:
        raise DataError(
            f"it is marked by {number(there[0])}, and -1 alone is a negative number with a meaning (did not rate)",
            ("say what it means with ", Setting("label"), " or ", Setting("void")),
        )
    if not there.size and (near := stored[(stored != 0) & ~unrated]).size:
        raise DataError(f"its largest number {number(np.abs(near).max())} is a rounding of 0; threshold it")
    return marked


def _any_of(values, wanted):
    hits = np.zeros(values.shape, bool)
    for value in wanted:
        hits |= values == value
    return hits


def _integers(name, value):
    values = (value,) if np.ndim(value) == 0 else tuple(value)
    if not values or not all(isinstance(v, int | np.integer) and not isinstance(v, bool) for v in values):
        raise ValueError(f"{name} must be an integer or several, came {value!r}")
    return tuple(int(v) for v in values)


def _checked_window(window):
    try:
        low, high = window
        if isinstance(low, str) and isinstance(high, str) and low.endswith("%") and high.endswith("%"):
            numbers = float(low[:-1]), float(high[:-1])
            good = 0 <= numbers[0] < numbers[1] <= 100
        else:
            low, high = numbers = float(low), float(high)
            good = np.isfinite(numbers).all() and low < high
    except (TypeError, ValueError):
        good = False
    if not good:
        raise ValueError(
            f'window must be (lo, hi) with lo < hi, or percentiles as ("1%", "99%"); came {window!r}'
        )
    return low, high
