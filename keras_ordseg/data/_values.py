"""From stored numbers to an image in [0, 1], and to what a rater said."""

from dataclasses import dataclass

import numpy as np

from keras_ordseg.data._errors import DataError

_SCALED = {"b": 1, "uint8": 255, "uint16": 65535}


@dataclass(frozen=True)
class Reading:
    """How the numbers of a table's files are read; see `cases`."""

    label: tuple[int, ...] | None = None
    void: tuple[int, ...] = ()
    window: tuple | None = None
    num_raters: int | None = None  # of votes; None where each rater has masks


def checked_reading(label, void, window, num_raters):
    """A `Reading` of the arguments of `cases`.

    Raises:
        ValueError: an argument that is none, named.
    """
    label = None if label is None else _integers("label", label)
    void = () if void is None else _integers("void", void)
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
    if kind.kind == "f" and low >= 0 and high <= 1:
        return values.astype(np.float32)
    raise DataError(
        f"the {'float' if kind.kind == 'f' else kind.name} image spans [{low:g}, {high:g}] where [0, 1] is "
        "expected; scale it, or give window=(lo, hi), as (-1000, 400) for the lung in CT or "
        '("1%", "99%") for MR'
    )


def to_mask(values, reading):
    """Stored numbers as int8 of 1, 0 and -1, and which numbers were marks.

    Raises:
        DataError: what is wrong with the values.
    """
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataError("the mask has values that are not finite")
    unrated = _any_of(values, (-1, *reading.void) if values.dtype.kind in "if" else reading.void)
    if reading.label is not None:
        marked = _any_of(values, reading.label)
        found = [label for label in reading.label if len(reading.label) == 1 or (values == label).any()]
        found = found if marked.any() else []
    else:
        marked = (values != 0) & ~unrated
        there = values[marked]
        found = there[:1].tolist()
        if found and (there != found[0]).any():
            raise DataError(
                f"not a binary mask: it holds {shown(values)} where 0 and one other are expected; "
                "say which is the mark with label=, or threshold it; save masks as PNG (JPEG blurs them)"
            )
    result = marked.astype(np.int8)
    result[unrated] = -1
    return result, found


def to_slots(votes, num_raters):
    """Votes `(*spatial,)` as int8 `(*spatial, K)`: the first `v` of K nameless slots are marked.

    Raises:
        DataError: numbers that are no votes.
    """
    whole = votes.dtype.kind in "bui" or (np.isfinite(votes).all() and (votes == np.round(votes)).all())
    if not whole or votes.max() > num_raters or votes.min() < -1:
        raise DataError(
            f"no votes: it holds {shown(votes)} where the integers 0 to num_raters={num_raters} are expected"
        )
    slots = (np.arange(num_raters) < votes.astype(np.int64)[..., None]).astype(np.int8)
    slots[votes.astype(np.int64) < 0] = -1
    return slots


def shown(values):
    """How many values there are, and the first six of them."""
    there = np.unique(values)
    listed = ", ".join(f"{value:g}" for value in there[:6]) + (", …" if len(there) > 6 else "")
    return f"{len(there)} values ({listed})"


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
