"""The table of cases: which image belongs to which masks, ids and groups, and how the files are read."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from keras_ordseg._checks import ArgumentError
from keras_ordseg.data._cells import shown_list
from keras_ordseg.data._find import find
from keras_ordseg.data._parts import parts_of, patch_parts, slice_parts
from keras_ordseg.data._patterns import check_patterns
from keras_ordseg.data._rows import read_csv, read_rows
from keras_ordseg.data._sources import Source
from keras_ordseg.data._values import Reading, checked_reading

_IMAGE, _RATINGS = "*_image.png", "*_rater{r}.png"
_LIKE_GROUP = re.compile(r"(?i)(patient|subject|person|donor|group|study|slide|animal|case)")


@dataclass(frozen=True)
class Case:
    """One image and the raters' masks of it; `None` where a rater has no mask."""

    id: str
    group: str
    image: Source
    ratings: tuple[Source | None, ...] = ()
    votes: Source | None = None  # instead of ratings
    part: tuple[slice | int, ...] = ()  # of the spatial axes; all of them without it
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False)  # other columns of the table


@dataclass(frozen=True, repr=False)
class Cases(Sequence):
    """The cases of a table, as `cases` returns them. A slice or an array of row numbers gives `Cases` again."""

    path: Path | None
    raters: tuple[str, ...]
    items: tuple[Case, ...]
    unmatched: tuple[Source, ...] = ()  # what the folder holds besides: each a `Source` with a `.reason`
    reading: Reading = Reading()
    whole: bool = True  # not a selection of another table
    grouped: bool = True  # whether anything said which cases belong together

    def __repr__(self) -> str:
        counted = f"{len(self)} case{'s' * (len(self) != 1)}, {self.num_raters} rater{'s' * (self.num_raters != 1)}"
        return f"<Cases: {counted} ({shown_list(self.raters)}), of {self.where}>"

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return replace(self, items=self.items[index], whole=False)
        if np.ndim(index) == 0:
            return self.items[index]
        if np.asarray(index).dtype.kind not in "iu" and len(index):
            raise ValueError(f"rows of cases are numbers, came {np.asarray(index).dtype}")
        return replace(self, items=tuple(self.items[row] for row in index), whole=False)

    def __iter__(self) -> Iterator[Case]:
        return iter(self.items)

    @property
    def num_raters(self) -> int:
        """K, the number of raters over all cases."""
        return len(self.raters)

    @property
    def num_absent(self) -> int:
        """How many masks are missing."""
        return sum(mask is None for case in self.items for mask in case.ratings)

    @property
    def groups(self) -> np.ndarray:
        """The group of each case, for `split`."""
        return np.array([case.group for case in self.items], dtype=np.str_)

    @property
    def group_note(self) -> str | None:
        """What to say once where no groups are known, in logs and reports; None where they are."""
        if self.grouped or len(self) < 2:
            return None
        text = "No groups are known: each image is its own group, and images of one patient may land in several parts."
        columns = {name for case in self.items for name in case.metadata if _LIKE_GROUP.match(str(name))}
        if columns:
            return f"{text} If the column {min(columns)!r} says which belong together, call it 'group'."
        return f"{text} Name the patients in index.csv (columns id, group), or in a table's column 'group'."

    @property
    def where(self) -> str:
        """The table's place, for messages."""
        return "the rows" if self.path is None else str(self.path)

    def slices(self, axis: int = -1) -> "Cases":
        """Every slice of every volume as a case of its own, `volume_0007` of the volume's group.

        Only headers are read now. From `.npy`, `.h5` and unpacked `.nii` a slice is later read without the
        rest of its volume; `.nii.gz` is unpacked once for slices that follow each other.
        """
        return replace(self, items=parts_of(self, slice_parts, axis))

    def patches(self, size: int | Sequence[int], overlap: int | Sequence[int] = 0) -> "Cases":
        """Patches of one size that cover each image, `case_0_64_64` by their corners.

        The last patch of an axis moves inwards, so that all have the full size; an axis shorter than `size`
        is an error.

        Args:
            size: pixels along each spatial axis, one number for all.
            overlap: pixels that neighbours share at least.
        """
        return replace(self, items=parts_of(self, patch_parts, size, overlap))


def cases(
    source: str | Path | Iterable[Mapping],
    image: str = _IMAGE,
    ratings: str = _RATINGS,
    raters: Sequence[str] | None = None,
    groups: Mapping[str, str] | Callable[[str], str] | None = None,
    *,
    votes: str | None = None,
    num_raters: int | None = None,
    label: int | Sequence[int] | None = None,
    void: int | Sequence[int] | None = None,
    window: tuple[float, float] | tuple[str, str] | None = None,
    outside: bool = False,
) -> Cases:
    """List the cases of a folder, a CSV file or rows: which image belongs to which masks. `load` reads them.

    **A folder.** In the patterns `*` stands for the case's id and `{r}` for the rater's name; patterns may hold
    sub-folders, and where `*` or `{r}` comes twice it is the same text. Capitals of the ending do not matter, nor
    whether `é` is one code point or two. So, for PNG, JPEG, TIFF, NIfTI (`.nii`, `.nii.gz`), HDF5 (`.h5`, `.hdf5`)
    and NumPy (`.npy`, `.npz`):

    | layout | `image` | `ratings` |
    | --- | --- | --- |
    | suffix for each rater | `"*_image.png"` | `"*_rater{r}.png"` |
    | folder for each rater | `"images/*.nii.gz"` | `"masks/{r}/*.nii.gz"` |
    | rater twice in the path | `"*.ppm"` | `"labels-{r}/*.{r}.ppm"` |
    | channel (or TIFF frame) for each rater | `"*_image.tif"` | `"*_masks.tif[..., {r}]"` |
    | datasets in one file a case | `"*.h5::image"` | `"*.h5::rater{r}"` or `"*.h5::masks[..., {r}]"` |
    | all cases in one file, along the first axis | `"all.npz::image[*]"` | `"all.npz::masks[*, ..., {r}]"` |

    Of a stack the ids and the raters are the numbers along the axis, from 0. The raters are all names found,
    in natural order (1, 2, …, 10). A rater whose mask is missing for a case is `None` there. Groups (patients)
    come from `groups`, else from the columns `id` and `group` of an `index.csv` in the folder, which has to name
    every case, else every case is its own group and `.grouped` is False. What fits no pattern is in `.unmatched`,
    each with its `.reason`: masks of no image, other files, hidden files, datasets that nothing names.

    **A CSV file** (commas, semicolons or tabs) **or rows** (dicts), one row a case and one column a rater: `id`,
    `image`, perhaps `group`, and either a column for each rater whose name starts with `rater` (or is in `raters`),
    empty where the rater is absent; or `ratings`, a pattern with `{r}` (in rows also a dict from rater to file); or
    `votes`. Files are relative to the CSV, and in any column may be a dataset or a part of a stack as above,
    `all.npz::image[17]`. Other columns are kept in `case.metadata`. Capitals and blanks of headers do not matter.
    Empty cells, NaN, None and NA are missing, 0 is a value, and a column `group` has a group in every row.

    **Only counts.** `votes="*_votes.png"` with `num_raters=K` reads how many of the K raters marked each
    pixel, 0 to K. `load` then gives a complete panel of K nameless slots, the first `v` of them marked. Votes
    and all that follows from them (losses, ECE, consensus) are right; what compares single raters (agreement,
    Dice by rater, a rater drawn at random) is not, and `load` adds `"anonymous"` so that `batches` and
    `PyDataset` refuse `method="random"`.

    Args:
        source: folder, CSV file, or an iterable of dicts.
        image, ratings, votes: patterns in the folder; `votes` replaces `ratings`.
        raters: the raters to use, in this order; every case needs a mask of one of them. Defaults to all.
        groups: a dict from id to group, or a function of the id. Defaults to what the table says.
        num_raters: K of `votes`.
        label: the value, or values, of the masks that are a mark. Defaults to the one value that is not 0.
        void: values that mean "did not rate", as -1 always does.
        window: `(lo, hi)`, clipped and scaled to [0, 1], or percentiles of each image, `("1%", "99%")`. Without
            it 8 and 16 bits are divided by 255 and 65535, and anything else has to be in [0, 1].
        outside: whether files of a CSV may lie outside its folder.

    Returns:
        `Cases`: a sequence of `Case(id, group, image, ratings)`, with `.raters`, `.num_raters`, `.groups`, `.grouped`,
        `.unmatched`, `.slices()` and `.patches()`.

    Raises:
        DataError: no such folder, no image, a case without any mask (of the chosen raters), files that are not there
            or may be image as well as mask, links without content, ids that come twice or that `index.csv` does not
            name, rows without a group; all of them at once.
        ArgumentError: a pattern without `*` or `{r}`; `votes` without `num_raters`; a bad `window` or `label`.

    >>> import tempfile
    >>> from PIL import Image
    >>> from keras_ordseg import data
    >>> folder = tempfile.mkdtemp()
    >>> for name in ("01_image", "01_rater1", "01_rater2", "02_image", "02_rater2"):
    ...     Image.new("L", (8, 8), 255).save(f"{folder}/{name}.png")
    >>> cases = data.cases(folder)
    >>> cases.raters, [case.id for case in cases], cases[1].ratings[0]
    (('1', '2'), ['01', '02'], None)
    """
    reading = checked_reading(label, void, window, num_raters)
    is_table = isinstance(source, str | Path) and str(source).lower().endswith(".csv") and not Path(source).is_dir()
    if isinstance(source, str | Path) and not is_table:
        root = Path(source)
        check_patterns(image, ratings, votes)
        names, rows, unmatched, grouped = find(root, image, ratings, raters, groups, votes, num_raters)
        return Cases(root, names, tuple(Case(**row) for row in rows), unmatched, reading, grouped=grouped)
    for name, given, default in (("image", image, _IMAGE), ("ratings", ratings, _RATINGS), ("votes", votes, None)):
        if given != default:
            raise ArgumentError(name, "a pattern for a folder alone; a CSV or rows have a column of this name", repr(given))
    if is_table:
        root = Path(source).parent
        names, rows, grouped = read_csv(Path(source), raters, groups, num_raters, outside)
    elif isinstance(source, Iterable):
        root, (names, rows, grouped) = None, read_rows(source, raters, groups, num_raters)
    else:
        raise ArgumentError("source", "a folder, a CSV file or rows", type(source).__name__)
    return Cases(root, names, tuple(Case(**row) for row in rows), (), reading, grouped=grouped)
