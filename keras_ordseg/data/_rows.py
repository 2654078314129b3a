"""Cases from a CSV file or from rows in Python: one row a case, one column a rater."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from keras_ordseg._checks import ArgumentError, Problem, Setting
from keras_ordseg.data._cells import cell_text, file_text, is_missing, nfc, shown_list
from keras_ordseg.data._csv import OWN, checked_names, read_sheet
from keras_ordseg.data._errors import DataError
from keras_ordseg.data._find import not_chosen, rater_names, slot_names
from keras_ordseg.data._folder import LINK, is_broken_link, lies_below, on_disk
from keras_ordseg.data._groups import given_groups
from keras_ordseg.data._patterns import natural, rater_addresses
from keras_ordseg.data._sources import Source, parse

_ONE_ROW = "one row a case and one column a rater, as id,image,rater_ann,rater_bob"
_LONG = ("rater", "annotator", "reader", "observer", "expert", "grader", "annotation", "mask", "segmentation")


def read_csv(path, raters, groups, num_raters, outside):
    """Names of the raters, a dict of the fields of each `Case`, and whether groups are known; see `cases`."""
    columns, rows = read_sheet(path)
    return _Table(columns, rows, path, raters, num_raters, outside).cases(groups)


def read_rows(rows, raters, groups, num_raters):
    """The same from an iterable of dicts."""
    rows = list(rows)
    if not all(isinstance(row, Mapping) for row in rows):
        raise ArgumentError(
            "source", "rows that are dicts with 'id', 'image' and the raters' masks",
            f"{type(next(row for row in rows if not isinstance(row, Mapping))).__name__}",
            "turn a pandas table into dicts with .to_dict('records')",
        )  # fmt: skip
    named = []
    for number, row in enumerate(rows, 1):
        named.append((number, dict(zip(checked_names(row, f"row {number}"), row.values(), strict=True))))
    columns = list(dict.fromkeys(name for _, row in named for name in row))
    return _Table(columns, named, None, raters, num_raters, outside=True).cases(groups)


class _Table:
    """Rows that are read one after the other; what is wrong with them is reported at once."""

    def __init__(self, columns, rows, path, raters, num_raters, outside):
        self.columns, self.rows, self.num_raters, self.outside = columns, rows, num_raters, outside
        self.where = "the rows" if path is None else str(path)
        self.root = Path() if path is None else path.parent
        self.problems = []
        if not rows:
            raise DataError(f"{self.where}: there are no rows")
        self.votes = "votes" in columns
        if missing := [name for name in ("id", "image") if name not in columns]:
            listed = f"(columns: {', '.join(map(str, columns))})"
            raise DataError(f"{self.where}: has no column {' and '.join(map(repr, missing))} {listed}")
        if self.votes != (num_raters is not None):
            got = f"{num_raters!r} with {'such a' if self.votes else 'no such'} column"
            raise ArgumentError("num_raters", "a number with a column 'votes', and none without", got)
        self.names = slot_names(num_raters, raters) if self.votes else None if raters is None else rater_names(raters)
        self.by_column = self._rater_columns([] if self.votes or raters is None else self.names)

    def cases(self, groups):
        read = [self._row(*row) for row in self.rows]
        ids = [row["id"] for row in read]
        if twice := [key for key, times in Counter(ids).items() if key and times > 1]:
            hint = (f"a table has {_ONE_ROW}",) if self._long() else ()
            self.problems += [Problem(f"id {key!r} comes twice", hint) for key in twice]
        if not self.votes:
            self._choose(read)
        known = self._known_groups(read) if groups is None else True
        if self.problems:
            raise DataError.listing(self.problems, self.where)
        group_of = given_groups(ids, groups) if groups is not None else {}
        for row in read:
            row["group"] = group_of.get(row["id"]) or row["group"] or row["id"]
            if not self.votes:
                row["ratings"] = tuple(map(row["ratings"].get, self.names))
            row.pop("place")
        return tuple(self.names), read, known

    def _long(self):
        return [name for name in self.columns if str(name).casefold() in _LONG]

    def _rater_columns(self, given):
        """The column of each rater."""
        found = {}
        for column in self.columns:
            name = nfc(str(column))
            if name in OWN:
                continue
            if name not in given:
                if not name.casefold().startswith("rater"):
                    continue
                name = name[len("rater") :].lstrip("_- ") or name
            if name in found:
                raise DataError(
                    f"{self.where}: the columns {found[name]!r} and {column!r} are both of rater {name}", "rename one"
                )
            found[name] = column
        if found and self.votes:
            raise DataError(f"{self.where}: has a column 'votes' as well as {shown_list(found.values())}", "remove either")
        nobody = not found and not {"ratings", "votes"} & set(self.columns)
        if nobody or (list(found) == ["rater"] and len(self._long()) > 1):
            raise DataError(
                f"{self.where}: has no column of a rater (columns: {shown_list(self.columns, 20)}): a table has {_ONE_ROW}",
                "name them so", ("say which they are with ", Setting("raters")),
            )  # fmt: skip
        return found

    def _row(self, number, row):
        key = self._name(number, "id", row)
        place = f"row {number}" + (f" ({key})" if key else "")
        if not key:
            self._problem(place, "has no id")
        if None in row:
            self._problem(place, "has more cells than the header")
        result = {"id": key, "place": place, "image": self._source(place, "image", row.get("image"))}
        result["group"] = self._name(number, "group", row)
        if result["image"] is None:
            self._problem(place, "has no image")
        if self.votes:
            marks = result["votes"] = self._source(place, "votes", row.get("votes"))
        else:
            marks = result["ratings"] = self._ratings(place, row)
        if not marks:
            self._problem(place, "no mask of any rater")
        used = {*OWN, *self.by_column.values(), None}
        result["metadata"] = {name: value for name, value in row.items() if name not in used}
        return result

    def _name(self, number, column, row):
        try:
            return cell_text(row.get(column))
        except TypeError as error:
            self._problem(f"row {number}", f"{column}: {error}")

    def _known_groups(self, read):
        """Whether there are groups; a problem for each row that has none where others have one."""
        if "group" not in self.columns:
            return False
        for row in read:
            if row["group"] is None:
                self._problem(
                    row["place"], "has no group", "fill in the column 'group'", "remove it", ("give ", Setting("groups"))
                )
        return True

    def _ratings(self, place, row):
        """The masks that are there, by rater."""
        given, named = row.get("ratings"), {}
        if not is_missing(given) and any(not is_missing(row.get(column)) for column in self.by_column.values()):
            self._problem(place, "has masks in the column 'ratings' as well as in those of raters", "leave one empty")
        if isinstance(given, Mapping):
            for rater, file in given.items():
                name = cell_text(rater, is_name=True)
                if name is None or name in named:
                    self._problem(place, f"ratings: rater {name} comes twice" if name else "ratings: a rater has no name")
                named[name] = file
        elif not is_missing(given):
            return self._matched(place, file_text(given))
        else:
            named = {name: row.get(column) for name, column in self.by_column.items()}
        found = {name: self._source(place, f"rater {name}", file) for name, file in named.items()}
        return {name: source for name, source in found.items() if source is not None}

    def _matched(self, place, pattern):
        try:
            return rater_addresses(self.root, pattern)
        except ValueError as error:
            self._problem(place, str(error))
            return {}

    def _source(self, place, what, cell):
        text = file_text(cell)
        if text is None:
            return None
        try:
            source = parse(text, self.root)
        except ValueError as error:
            self._problem(place, f"{what}: {error}")
            return None
        source = Source(on_disk(source.file), source.dataset, source.row, source.channel)
        if not self.outside and not lies_below(source.file, self.root):
            self._problem(
                place, f"{what} {text} lies outside the table's folder", "move it", ("pass ", Setting("outside", "True"))
            )
        elif is_broken_link(source.file):
            self.problems.append(Problem(f"{what} {text} {LINK.text}", LINK.remedies, place))
        elif not source.file.is_file():
            self._problem(place, f"{what} {text} is not there", *["write / between folders"] * ("\\" in text))
        return source

    def _choose(self, read):
        """The raters' names, and a problem for each row that none of the chosen ones marked."""
        there = sorted({name for row in read for name in row["ratings"]}, key=natural)
        if self.names is None:
            self.names = there
            if empty := [column for name, column in self.by_column.items() if name not in there]:
                remedies = ("remove it", ("choose among the others in ", Setting("raters")))
                self.problems += [Problem(f"the column {column!r} holds no mask", remedies) for column in empty]
        elif missing := [name for name in self.names if name not in there]:
            self.problems.append(
                Problem(
                    f"no mask of rater {', '.join(missing)}; raters are {', '.join(there)}",
                    (("choose among these in ", Setting("raters")),),
                )
            )
        else:
            for row in read:
                if row["ratings"] and not any(name in row["ratings"] for name in self.names):
                    self.problems.append(not_chosen(self.names, row["ratings"]).at(row["place"]))

    def _problem(self, place, text, *remedies):
        self.problems.append(Problem(text, remedies, place))
