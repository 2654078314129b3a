"""Cells of tables and names of files as text: what counts as missing, and one spelling of each name."""

import unicodedata
from dataclasses import is_dataclass
from numbers import Integral, Real

import numpy as np

# what pandas, R, NumPy and spreadsheets write for a missing value
_MISSING = {"", "nan", "NaN", "NaT", "None", "<NA>", "NA", "N/A", "n/a", "#N/A", "null", "NULL"}
_BLANK = " \t\r\n\v\f\xa0\u200b\ufeff"


def nfc(text: str) -> str:
    """Returns the text in Unicode's composed form: macOS writes `é` as two code points, others as one."""
    return unicodedata.normalize("NFC", text)


def is_missing(value) -> bool:
    """Returns True for None, NaN, NaT, pandas' NA, blank text and what other tools write for these; 0 is a value."""
    if value is None or value is np.ma.masked:
        return True
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, str):
        return value.strip(_BLANK) in _MISSING
    try:
        return bool(value != value)  # NaN and NaT differ from themselves
    except (TypeError, ValueError):
        return type(value).__name__ == "NAType"  # pandas' NA has no truth value


def cell_text(value, is_name: bool = False) -> str | None:
    """Returns a name (of a case, group or rater) as text, or None where it is missing.

    Blanks around it are cut, `é` has one spelling, and whole floats lose their point: pandas makes floats of integers
    where a value is missing. With `is_name` a text is missing only where it is blank: a rater may be called NA.

    Raises:
        TypeError: The value is no single text or number.
    """
    if is_missing(value) and not (is_name and isinstance(value, str) and value.strip(_BLANK)):
        return None
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bytes):
        value = value.decode()
    if is_dataclass(value) or (hasattr(value, "__len__") and not isinstance(value, str)):
        raise TypeError(f"expected a text or a number, got {type(value).__name__}")
    if isinstance(value, Real) and not isinstance(value, Integral | bool | np.bool_) and float(value).is_integer():
        value = int(value)
    return nfc(str(value).strip(_BLANK))


def file_text(value) -> str | None:
    """Returns a cell that holds a file as text, or None where it is missing. Its spelling stays that of the disk."""
    return None if is_missing(value) else str(value).strip(_BLANK)


def shown_list(names, most=5) -> str:
    """Returns the first names, and how many more there are."""
    names = [str(name) for name in names]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
