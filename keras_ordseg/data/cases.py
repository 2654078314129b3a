"""Which files belong together: images, their raters' masks, ids and groups."""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from keras_ordseg.data._errors import DataError
from keras_ordseg.data._patterns import check_patterns, match, natural


@dataclass(frozen=True)
class Case:
    """One image and the raters' masks of it; `None` where a rater's file is missing."""

    id: str
    group: str
    image: Path
    ratings: tuple[Path | None, ...]


@dataclass(frozen=True)
class Cases(Sequence):
    """The cases of a folder, ordered by id, as `find_cases` returns them."""

    path: Path
    raters: tuple[str, ...]
    items: tuple[Case, ...] = field(repr=False)
    unmatched: tuple[Path, ...] = field(default=(), repr=False)  # masks whose image is not there

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]

    def __iter__(self) -> Iterator[Case]:
        return iter(self.items)

    @property
    def num_raters(self) -> int:
        """K, the number of raters over all cases."""
        return len(self.raters)

    @property
    def num_absent(self) -> int:
        """How many rater files are missing."""
        return sum(mask is None for case in self.items for mask in case.ratings)


def find_cases(
    path: str | Path,
    image: str = "*_image.png",
    ratings: str = "*_rater{r}.png",
    raters: Sequence[str] | None = None,
    groups: Mapping[str, str] | Callable[[str], str] | None = None,
) -> Cases:
    """Find the images of a folder and each rater's masks of them. No file is opened but `index.csv`.

    `*` stands for the case's id and `{r}` for the rater's name; both patterns may hold sub-folders, and
    where `*` comes twice it is the same text. So `"images/*.png"` with `"masks/{r}/*.png"`, or
    `"*/*.jpg"` with `"*/*_seg_disc_{r}.png"`. The raters are all names found, in natural order
    (1, 2, …, 10). A rater whose file is missing for a case is `None` there.

    The groups (patients) come from `groups`, else from the columns `id` and `group` of an `index.csv` in
    the folder, else every case is its own group.

    Args:
        path: the folder.
        image: pattern of the image files.
        ratings: pattern of the mask files, with `{r}`.
        raters: the raters to use, in this order. Defaults to all.
        groups: a dict from id to group, or a function of the id.

    Returns:
        `Cases`: a sequence of `Case(id, group, image, ratings)`, with `.raters` and `.num_raters`.

    Raises:
        DataError: no such folder, no image, a case without any mask, an id that `index.csv` does not name.
        ValueError: a pattern without `*` or `{r}`.

    >>> import tempfile
    >>> from PIL import Image
    >>> from keras_ordseg import data
    >>> folder = tempfile.mkdtemp()
    >>> for name in ("01_image", "01_rater1", "01_rater2", "02_image", "02_rater2"):
    ...     Image.new("L", (8, 8), 255).save(f"{folder}/{name}.png")
    >>> cases = data.find_cases(folder)
    >>> cases.raters, [case.id for case in cases], cases[1].ratings[0]
    (('1', '2'), ['01', '02'], None)
    """
    root = Path(path)
    check_patterns(image, ratings)
    if not root.is_dir():
        raise DataError(
            f"{root}: {'is a file, not a folder' if root.exists() else 'there is no such folder'}"
        )
    images, masks, unmatched = match(root, image, ratings)
    if not images:
        raise DataError(f"{root}: no image matches image={image!r}. {_found(root)}")
    if not masks:
        raise DataError(f"{root}: no mask of any image matches ratings={ratings!r}. {_found(root)}")
    names = sorted({rater for found in masks.values() for rater in found}, key=natural)
    if raters is not None:
        names, there = [str(rater) for rater in raters], names
        if missing := [name for name in names if name not in there]:
            raise DataError(
                f"{root}: no file of rater {', '.join(missing)}; raters there are {', '.join(there)}"
            )
        if not names or len(set(names)) < len(names):
            raise ValueError(f"raters must name each rater once, came {names}")
    ids = sorted(images, key=natural)
    group_of = _groups(root, ids, groups)
    items = tuple(
        Case(key, group_of[key], images[key], tuple(masks.get(key, {}).get(name) for name in names))
        for key in ids
    )
    if alone := [case for case in items if not any(case.ratings)]:
        problems = [f"{case.image.relative_to(root)}: no mask of any rater ({ratings})" for case in alone]
        raise DataError.listing(problems, str(root))
    return Cases(root, tuple(names), items, tuple(unmatched))


def _found(root):
    names = sorted(
        file.name + "/" * file.is_dir() for file in root.iterdir() if not file.name.startswith(".")
    )
    if not names:
        return "The folder is empty."
    return (
        "The folder holds "
        + ", ".join(names[:5])
        + (f" and {len(names) - 5} more." if len(names) > 5 else ".")
    )


def _groups(root, ids, groups):
    if groups is None:
        index = root / "index.csv"
        return _index_groups(index, ids) if index.is_file() else {key: key for key in ids}
    if callable(groups):
        return {key: str(groups(key)) for key in ids}
    if missing := [key for key in ids if key not in groups]:
        raise DataError(f"groups has no group for {len(missing)} cases, the first is {missing[0]!r}")
    return {key: str(groups[key]) for key in ids}


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
