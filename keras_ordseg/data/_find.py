"""The cases of a folder, by patterns, with their groups."""

import csv

from keras_ordseg.data._errors import DataError
from keras_ordseg.data._patterns import match, natural
from keras_ordseg.data._sources import format_of, split_address


def find(root, image, ratings, raters, groups, votes, num_raters):
    """Names of the raters, a dict of the fields of each `Case`, and the masks of no image; see `cases`."""
    if (votes is None) != (num_raters is None):
        raise ValueError('votes and num_raters go together, as in votes="*_votes.png", num_raters=7')
    if not root.is_dir():
        what = "is a file, not a folder or .csv" if root.exists() else "there is no such folder"
        raise DataError(f"{root}: {what}")
    images, masks, unmatched = match(root, image, ratings if votes is None else votes)
    if not images:
        raise DataError(f"{root}: no image matches image={image!r}. {_found(root, image)}")
    if not masks:
        wanted = f"ratings={ratings!r}" if votes is None else f"votes={votes!r}"
        raise DataError(f"{root}: no mask of any image matches {wanted}. {_found(root, votes or ratings)}")
    there = sorted({rater for found in masks.values() for rater in found}, key=natural)
    names = slot_names(num_raters, raters) if votes else _chosen(root, there, raters)
    ids = sorted(images, key=natural)
    group_of = groups_of(ids, groups, root / "index.csv")
    rows = []
    for key in ids:
        found = masks.get(key, {})
        marks = {"votes": found.get("")} if votes else {"ratings": tuple(map(found.get, names))}
        rows.append({"id": key, "group": group_of[key], "image": images[key], **marks})
    if alone := [row for row in rows if not any(row.get("ratings", ())) and not row.get("votes")]:
        problems = [f"{row['image'].shown(root)}: no mask of any rater ({votes or ratings})" for row in alone]
        raise DataError.listing(problems, str(root))
    return tuple(names), rows, tuple(unmatched)


def slot_names(num_raters, raters):
    """The names of raters that are only counted."""
    if raters is not None:
        raise ValueError("raters cannot be chosen where only their votes are known")
    if not isinstance(num_raters, int) or num_raters < 1:
        raise ValueError(f"num_raters must be 1 or more, came {num_raters!r}")
    return [f"slot{number}" for number in range(1, num_raters + 1)]


def groups_of(ids, groups, index=None):
    """The group of each id: by a dict or function, else by the CSV `index`, else the id itself."""
    if groups is None:
        return _index_groups(index, ids) if index and index.is_file() else {key: key for key in ids}
    if callable(groups):
        return {key: str(groups(key)) for key in ids}
    if missing := [key for key in ids if key not in groups]:
        raise DataError(f"groups has no group for {len(missing)} cases, the first is {missing[0]!r}")
    return {key: str(groups[key]) for key in ids}


def _chosen(root, there, raters):
    if raters is None:
        return there
    names = [str(rater) for rater in raters]
    if missing := [name for name in names if name not in there]:
        raise DataError(f"{root}: no file of rater {', '.join(missing)}; raters there are {', '.join(there)}")
    if not names or len(set(names)) < len(names):
        raise ValueError(f"raters must name each rater once, came {names}")
    return names


def _found(root, pattern):
    """What is there instead: the datasets of a file that fits, or the files of the folder."""
    file_pattern, dataset, *_ = split_address(pattern)
    file = next((f for f in sorted(root.glob(file_pattern.replace("{r}", "*"))) if f.is_file()), None)
    if dataset and file:
        return f"{file.relative_to(root)} holds {_listed(sorted(format_of(file).datasets(file)))}"
    names = sorted(f.name + "/" * f.is_dir() for f in root.iterdir() if not f.name.startswith("."))
    return f"The folder holds {_listed(names)}" if names else "The folder is empty."


def _listed(names):
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more." if len(names) > 5 else ".")


def _index_groups(index, ids):
    with index.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or []
        if "id" not in columns:
            raise DataError(
                f"{index}: has no column 'id' (columns: {', '.join(columns)}); name it so, or pass groups="
            )
        rows = list(reader)
    if "group" not in columns:
        return {key: key for key in ids}
    table = {}
    for row in rows:
        key, group = (row["id"] or "").strip(), (row["group"] or "").strip()
        if not group or table.get(key, group) != group:
            raise DataError(f"{index}: id {key!r} has {'two groups' if group else 'no group'}")
        table[key] = group
    bare = {key.lstrip("0"): group for key, group in table.items()}  # a spreadsheet drops leading zeros
    result = {key: table.get(key, bare.get(key.lstrip("0"))) for key in ids}
    if missing := [key for key, group in result.items() if group is None]:
        raise DataError(
            f"{index}: does not name {len(missing)} of {len(ids)} cases, the first is {missing[0]!r}"
        )
    return result
