"""The cases of a folder, by patterns, with their groups."""

from numbers import Integral
from pathlib import Path

from keras_ordseg._checks import ArgumentError, Problem, Setting
from keras_ordseg.data._cells import cell_text, nfc, shown_list
from keras_ordseg.data._errors import DataError
from keras_ordseg.data._folder import files_like
from keras_ordseg.data._groups import given_groups, index_file, index_groups
from keras_ordseg.data._matching import left_over, match
from keras_ordseg.data._patterns import SAME_TEXT, natural
from keras_ordseg.data._sources import format_of, split_address


def find(root, image, ratings, raters, groups, votes, num_raters):
    """Names of the raters, a dict of the fields of each `Case`, what is left over, and whether groups are known."""
    if (votes is None) != (num_raters is None):
        raise ArgumentError(
            "num_raters", "a number with votes, and none without",
            f"{num_raters!r} with votes={votes!r}",
            ("give both, as ", Setting("votes", '"*_votes.png"', "'*_votes.png'"), " and ", Setting("num_raters", "7")),
        )  # fmt: skip
    if not root.is_dir():
        what = "is a file, not a folder or .csv" if root.exists() else "there is no such folder"
        raise DataError(f"{root}: {what}")
    wanted, masks_of = ("votes", votes) if votes else ("ratings", ratings)
    chosen = None if raters is None or votes else rater_names(raters)
    images, masks, alone = match(root, image, masks_of, chosen)
    if not images:
        raise _nothing(root, "image", image, "no image")
    if not any(key in images for key in masks):
        raise _nothing(root, wanted, masks_of, "no mask of any image")
    there = sorted({rater for found in masks.values() for rater in found}, key=natural)
    names = slot_names(num_raters, raters) if votes else there if chosen is None else _chosen(root, there, chosen)
    ids, problems = sorted(images, key=natural), []
    for key in ids:
        if not (found := masks.get(key, {})):
            problems.append(Problem(f"no mask of any rater ({masks_of})", where=images[key].shown(root)))
        elif not votes and not any(name in found for name in names):
            problems.append(not_chosen(names, found).at(images[key].shown(root)))
    if problems:
        raise DataError.listing(problems, str(root))
    index = index_file(root)
    group_of = given_groups(ids, groups) if groups is not None else index_groups(index, ids) if index else {}
    rows = []
    for key in ids:
        marks = {"votes": masks[key][""]} if votes else {"ratings": tuple(map(masks[key].get, names))}
        rows.append({"id": key, "group": group_of.get(key, key), "image": images[key], **marks})
    rest = left_over(root, image, masks_of, images, masks, alone, index)
    return tuple(names), rows, tuple(rest), bool(group_of)


def slot_names(num_raters, raters):
    """The names of raters that are only counted."""
    if raters is not None:
        raise ArgumentError("raters", "none where only the raters' votes are known", repr(raters))
    if not isinstance(num_raters, Integral) or isinstance(num_raters, bool) or num_raters < 1:
        raise ArgumentError("num_raters", "1 or more", repr(num_raters))
    return [f"slot{number}" for number in range(1, num_raters + 1)]


def rater_names(raters):
    """The names of chosen raters as text."""
    if isinstance(raters, str | set | frozenset) or not hasattr(raters, "__iter__"):
        raise ArgumentError("raters", "a list of names", repr(raters))
    names = [cell_text(rater, is_name=True) for rater in raters]
    if None in names or not names or len(set(names)) < len(names):
        raise ArgumentError("raters", "each rater once, and one or more", repr(list(raters)))
    return names


def not_chosen(names, there):
    """The problem of a case that none of the chosen raters marked."""
    asked = f"no mask of the raters asked for ({shown_list(names)}); it has one of {shown_list(sorted(there, key=natural))}"
    return Problem(asked, ("leave this case out", ("choose other ", Setting("raters"))))


def _chosen(root, there, names):
    if missing := [name for name in names if name not in there]:
        raise DataError(
            f"{root}: no file of rater {', '.join(missing)}; raters there are {', '.join(there)}",
            ("choose among these in ", Setting("raters")),
        )
    return names


def _nothing(root, argument, pattern, what):
    """The error that nothing fits a pattern, with what is there instead: datasets of a file that fits, or files."""
    file_pattern, dataset, *_ = split_address(pattern)
    file = next((file for _, file in files_like(root, Path(file_pattern).as_posix(), {})), None)
    if dataset and file:
        found = f"{file.relative_to(root)} holds {shown_list(sorted(format_of(file).datasets(file)))}"
    else:
        names = sorted(f.name + "/" * f.is_dir() for f in root.iterdir() if not f.name.startswith("."))
        found = f"The folder holds {shown_list(names)}" if names else "The folder is empty"
    rule = f"In a pattern {SAME_TEXT}. " if pattern.count("*") > 1 else ""
    return DataError(
        f"{root}: {what} matches {nfc(pattern)!r}. {rule}{found}",
        ("say which files with ", Setting(argument)), "list the files in a CSV table",
    )  # fmt: skip
