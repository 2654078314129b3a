"""CSV files as people and spreadsheets write them: any separator, blanks, BOMs, empty lines, other capitals."""

import csv
import re
from collections.abc import Iterable
from io import StringIO
from pathlib import Path

from keras_ordseg.data._cells import nfc
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
    text, separator = _separated(_text(path))
    try:
        found = _cells(text, separator)
    except csv.Error as error:
        try:
            found = _cells(re.sub(rf'"[ \t]+(?={re.escape(separator)}|\r|\n|$)', '"', text), separator)
        except csv.Error:
            raise DataError(f"{path}: cannot be read as CSV ({error})", "check its quotes") from None
    found = [(number, cells) for number, cells in enumerate(found) if any(cell.strip() for cell in cells)]
    if not found:
        raise DataError(f"{path}: there are no rows")
    start, header = found[0]
    names = checked_names(header, str(path))
    rows = []
    for number, cells in found[1:]:
        row = {name: cell for name, cell in zip(names, cells, strict=False) if name}
        # beyond the header, or below no name; pandas writes its index first, below none
        nameless = [cell for place, cell in enumerate(cells) if place and (place >= len(names) or not names[place])]
        if any(cell.strip() for cell in nameless):
            row[None] = nameless
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


def _cells(text, separator):
    # strict, because a quote that is not closed would swallow the rows below it
    return list(csv.reader(StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True))


def _separated(text):
    """The text from its header on, and the separator of the header."""
    first = re.match(r"(\s*\n)*[\"']?sep=(.)[\"']?[ ,;\t]*\r?\n", text, re.IGNORECASE)  # as Excel begins a file
    if first:
        return text[first.end() :], first[2]
    header = re.search(r"\S[^\r\n]*", text)
    header = re.sub(r'"[^"]*"', "", header[0] if header else "")
    return text, max(_SEPARATORS, key=header.count)
