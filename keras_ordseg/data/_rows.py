"""Cases from a CSV file or from rows in Python: one row a case, one column a rater."""

import csv
import os
from collections import Counter
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from keras_ordseg.data._errors import DataError
from keras_ordseg.data._find import groups_of, slot_names
from keras_ordseg.data._patterns import natural, rater_addresses
from keras_ordseg.data._sources import parse

_OWN = ("id", "group", "image", "ratings", "votes")


def read_csv(path, raters, groups, num_raters, outside):
    """Names of the raters and a dict of the fields of each `Case`; see `cases`."""
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not UTF-8 text; save it as CSV UTF-8") from None
    delimiter = max(",;\t", key=text.partition("\n")[0].count)  # spreadsheets write any of these
    rows = list(csv.DictReader(StringIO(text, newline=""), skipinitialspace=True, delimiter=delimiter))
    return _Table(rows, path, raters, num_raters, outside).cases(groups)


def read_rows(rows, raters, groups, num_raters):
    """The same from an iterable of dicts."""
    rows = list(rows)
    if not all(isinstance(row, Mapping) for row in rows):
        raise ValueError("rows must be dicts with 'id', 'image' and the raters' masks")
    return _Table(rows, None, raters, num_raters, outside=True).cases(groups)


class _Table:
    """Rows that are read one after the other; what is wrong with them is reported at once."""

    def __init__(self, rows, path, raters, num_raters, outside):
        self.rows, self.raters, self.num_raters, self.outside = rows, raters, num_raters, outside
        self.where = "the rows" if path is None else str(path)
        self.root = Path() if path is None else path.parent
        self.problems = []
        if not rows:
            raise DataError(f"{self.where}: there are no rows")
        self.columns = list(dict.fromkeys(name for row in rows for name in row if isinstance(name, str)))
        if missing := [name for name in ("id", "image") if name not in self.columns]:
            raise DataError(
                f"{self.where}: has no column {' and '.join(map(repr, missing))} "
                f"(columns: {', '.join(self.columns)})"
            )
        self.votes = "votes" in self.columns
        if self.votes != (num_raters is not None):
            raise ValueError("a column 'votes' and num_raters go together")
        given = [] if raters is None else [str(rater) for rater in raters]
        self.by_column = {
            name if name in given else name.removeprefix("rater").lstrip("_- ") or name: name
            for name in self.columns
            if name in given or (name.startswith("rater") and name not in _OWN)
        }

    def cases(self, groups):
        read = [self._row(place, row) for place, row in enumerate(self.rows, 1)]
        ids = [row["id"] for row in read]
        twice = [key for key, times in Counter(ids).items() if key and times > 1]
        self.problems += [f"id {key!r} comes twice" for key in twice]
        if self.votes:
            names = slot_names(self.num_raters, self.raters)
        else:
            names = self._names([row["ratings"] for row in read])
        if self.problems:
            raise DataError.listing(self.problems, self.where)
        group_of = groups_of(ids, groups) if groups is not None else {}
        for row in read:
            row["group"] = group_of.get(row["id"], row["group"])
            if not self.votes:
                row["ratings"] = tuple(map(row["ratings"].get, names))
        return tuple(names), read

    def _row(self, place, row):
        key = str(row.get("id") or "").strip()
        place = f"row {place}" + (f" ({key})" if key else "")
        if not key:
            self.problems.append(f"{place}: has no id")
        if None in row:  # csv puts what lies beyond the header there
            self.problems.append(f"{place}: has more cells than the header")
        result = {"id": key, "group": str(row.get("group") or key).strip()}
        result["image"] = self._source(place, "image", row.get("image"))
        if result["image"] is None:
            self.problems.append(f"{place}: has no image")
        if self.votes:
            marks = result["votes"] = self._source(place, "votes", row.get("votes"))
        else:
            marks = result["ratings"] = self._ratings(place, row)
        if not marks:
            self.problems.append(f"{place}: no mask of any rater")
        used = {*_OWN, *self.by_column.values(), None}
        result["metadata"] = {name: value for name, value in row.items() if name not in used}
        return result

    def _ratings(self, place, row):
        """The masks that are there, by rater."""
        given = row.get("ratings")
        if isinstance(given, Mapping):
            named = {str(name): file for name, file in given.items()}
        elif given:
            named = self._matched(place, str(given))
        else:
            named = {name: row.get(column) for name, column in self.by_column.items()}
        found = {name: self._source(place, f"rater {name}", file) for name, file in named.items()}
        return {name: source for name, source in found.items() if source is not None}

    def _matched(self, place, pattern):
        try:
            return rater_addresses(self.root, pattern)
        except ValueError as error:
            self.problems.append(f"{place}: {error}")
            return {}

    def _source(self, place, what, text):
        if text is None or not str(text).strip():
            return None
        try:
            source = parse(str(text).strip(), self.root)
        except ValueError as error:
            self.problems.append(f"{place}: {what}: {error}")
            return None
        inside = Path(os.path.normpath(source.file)).is_relative_to(os.path.normpath(self.root))
        if not inside and not self.outside:
            self.problems.append(
                f"{place}: {what} {text} lies outside the table's folder; move it, or pass outside=True"
            )
        elif not source.file.is_file():
            self.problems.append(f"{place}: {what} {text} is not there")
        return source

    def _names(self, ratings):
        there = sorted({name for found in ratings for name in found}, key=natural)
        if self.raters is None:
            return there
        names = [str(rater) for rater in self.raters]
        if missing := [name for name in names if name not in there]:
            self.problems.append(f"no mask of rater {', '.join(missing)}; raters are {', '.join(there)}")
        return names
