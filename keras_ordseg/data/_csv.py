"""CSV files as people and spreadsheets write them: any separator, blanks, BOMs, empty lines, other capitals."""

import csv
import re
from collections.abc import Iterable
from io import StringIO
from pathlib import Path

from keras_ordseg.data._cells import is_missing, nfc
from keras_ordseg.data._errors import DataError

OWN = ("id", "group", "image", "ratings", "votes")
_SEPARATORS = ",;\t|"


def read_sheet(path: Path) -> tuple[list[str], list[tuple[int, dict]]]:
    """Reads a CSV file.

    Returns:
        The columns' names, and each row that is not empty with its number below the header. Cells beyond the header
        are under None.

    Raises:
        DataError: The file is missing, empty or not text, a quote is not closed, or a column's name comes twice.
    """
    lines, separator = _lines(path, _text(path))
    try:
        # strict, because a quote that is not closed would swallow the rows below it
        found = list(csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise DataError(f"{path}: cannot be read as CSV ({error})", "check its quotes") from None
    found = [(number, cells) for number, cells in enumerate(found) if any(cell.strip() for cell in cells)]
    if not found:
        raise DataError(f"{path}: there are no rows")
    start, header = found[0]
    names = checked_names(header, str(path))
    rows = []
    for number, cells in found[1:]:
        row = dict(zip(names, cells, strict=False))
        if extra := [cell for cell in cells[len(names) :] if cell.strip()]:
            row[None] = extra
        if "" in row and is_missing(row[""]):
            del row[""]  # a separator at the end of each line
        rows.append((number - start, row))
    return [name for name in names if name], rows


def checked_names(header: Iterable, where: str) -> list:
    """Returns the names of columns: this package's own without regard to capitals and blanks, others cut of blanks.

    Raises:
        DataError: A name comes twice, without regard to capitals.
    """
    names, seen = [], {}
    for given in header:
        name = given
        if isinstance(given, str):
            name = nfc(given.strip().strip("\ufeff\u200b").strip())
            name = name.casefold() if name.casefold() in OWN else name
        key = name.casefold() if isinstance(name, str) else str(name)
        if key and key in seen:
            raise DataError(
                f"{where}: has two columns of one name, {seen[key]!r} and {given!r}", "rename or remove one"
            )
        seen[key] = given
        names.append(name)
    return names


def _text(path):
    if not path.is_file():
        what = "is a link whose content is not here" if path.is_symlink() else "there is no such file"
        raise DataError(f"{path}: {what}")
    raw = path.read_bytes()
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not UTF-8 text", "save it as CSV UTF-8") from None
    if "\0" in text:
        raise DataError(f"{path}: holds zero bytes, so it is not UTF-8 text", "save it as CSV UTF-8")
    return text


def _lines(path, text):
    """The text from its header on, as lines for `csv`, and the separator of the header."""
    first = re.match(r"(\s*\n)*[\"']?sep=(.)[\"']?[ ,;\t]*\r?\n", text, re.IGNORECASE)  # as Excel begins a file
    if first:
        return StringIO(text[first.end() :], newline=""), first[2]
    header = re.search(r"\S[^\r\n]*", text)
    header = re.sub(r'"[^"]*"', "", header[0] if header else "")
    return StringIO(text, newline=""), max(_SEPARATORS, key=header.count)
