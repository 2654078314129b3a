"""Which group (patient) each case belongs to: as given, by the folder's `index.csv`, or not known."""

import os
import re
from collections import Counter
from collections.abc import Callable

from keras_ordseg._checks import ArgumentError, Setting
from keras_ordseg.data._cells import cell_text, shown_list
from keras_ordseg.data._csv import read_sheet
from keras_ordseg.data._errors import DataError

_GIVE = ("pass ", Setting("groups"))


def given_groups(ids, groups):
    """The group of each id by a dict or a function.

    Raises:
        DataError: Cases without a group.
        ArgumentError: `groups` is neither, or names one id twice.
    """
    if isinstance(groups, Callable):
        found = {key: groups(key) for key in ids}
    elif hasattr(groups, "items"):
        table = _by_id(groups)
        if missing := [key for key in ids if key not in table]:
            raise DataError(
                f"groups has no group for {len(missing)} cases, the first is {missing[0]!r}",
                ("give every id in ", Setting("groups")),
            )
        found = {key: table[key] for key in ids}
    else:
        raise ArgumentError("groups", "a dict from id to group, or a function of the id", type(groups).__name__)
    try:
        found = {key: cell_text(group) for key, group in found.items()}
    except TypeError as error:
        raise ArgumentError("groups", "one text or number for each id", str(error)) from None
    if missing := [key for key, group in found.items() if group is None]:
        raise DataError(f"groups gives no group (None, NaN or blank) for {len(missing)} cases: {shown_list(missing)}")
    return found


def index_file(root):
    """The folder's `index.csv`, whatever its capitals, or None."""
    names = sorted(name for name in os.listdir(root) if name.casefold() == "index.csv")
    found = [root / name for name in names if not (root / name).is_dir()]
    if len(found) > 1:
        raise DataError(f"{root}: holds {' and '.join(file.name for file in found)}", "keep one of them")
    return found[0] if found else None


def index_groups(index, ids):
    """The group of each id by an `index.csv`.

    Raises:
        DataError: No column `id` or `group`, a row or a case without a group, or ids that cannot be told apart.
    """
    columns, rows = read_sheet(index)
    for name in ("id", "group"):
        if name not in columns:
            what = "the cases" if name == "id" else "the groups (patients)"
            raise DataError(
                f"{index}: has no column {name!r} (columns: {', '.join(columns)})",
                f"name the column of {what} so", _GIVE,
            )  # fmt: skip
    table, problems = {}, []
    for number, row in rows:
        key, group = cell_text(row.get("id")), cell_text(row.get("group"))
        if None in row:
            problems.append(f"row {number}: has more cells than the header (a separator inside a name needs quotes)")
        if key is None:
            problems.append(f"row {number}: has no id")
        elif group is None:
            problems.append(f"row {number}: id {key!r} has no group")
        elif table.setdefault(key, group) != group:
            problems.append(f"row {number}: id {key!r} has two groups, {table[key]} and {group}")
    if problems:
        raise DataError.listing(problems, str(index))
    partner = _partners(ids, table)
    if missing := [key for key in ids if key not in partner]:
        raise DataError(
            f"{index}: does not name {len(missing)} of {len(ids)} cases, the first is {missing[0]!r}",
            "add a row for each", _GIVE,
        )  # fmt: skip
    return {key: table[partner[key]] for key in ids}


def _partners(ids, table):
    """The id in the table of each case: the same text, else the one number that only differs in leading zeros.

    A spreadsheet turns `007` to `7`. Where two ids differ only so, on either side, nothing but the same text counts.
    """
    exact = {key: key for key in ids if key in table}
    numbers = Counter(_number(key) for key in ids), Counter(_number(key) for key in table)
    bare = {_number(key): key for key in table}
    for key in ids:
        number = _number(key)
        if key not in exact and number is not None and all(count[number] == 1 for count in numbers):
            exact[key] = bare[number]
    return exact


def _number(key):
    """An id as a spreadsheet keeps it, or None where it is no number."""
    found = re.fullmatch(r"([0-9]+)(?:\.0)?", key)
    return int(found[1]) if found else None


def _by_id(groups):
    """A dict of groups by the ids' text."""
    table = {}
    for key, group in groups.items():
        try:
            name = cell_text(key)
        except TypeError as error:
            raise ArgumentError("groups", "ids as keys", str(error)) from None
        if name in table and str(table[name]) != str(group):
            raise ArgumentError("groups", "one group for each id", f"two for {name!r}, {table[name]!r} and {group!r}")
        table[name] = group
    return table
