"""The files of a table of cases, checked and read into arrays or a `tf.data.Dataset`."""

import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_ordseg._checks import Problem, Setting
from keras_ordseg.data._case_checks import GEOMETRY, answers, mixed_ranks, write_row
from keras_ordseg.data._cells import shown_list
from keras_ordseg.data._errors import DataError
from keras_ordseg.data._parts import NO_MASK, first_mask
from keras_ordseg.data._reader import CaseReader
from keras_ordseg.data._sizes import check_size, fit_image, fit_ratings, new_grid, size_for
from keras_ordseg.data.arrays import from_arrays
from keras_ordseg.data.table import Cases, cases


def check(cases: Cases, progress: bool = False) -> None:
    """Read every file and report everything that is wrong, before any training starts.

    Args:
        cases: as `cases` returns them.
        progress: whether to count on the standard error stream.

    Raises:
        DataError: lists every problem by its file, all of them in `.problems`: a file that cannot be read, is cut
            short, holds Python objects or would unpack to more than the limit; a dataset that is not there (with
            those that are); a mask that is not binary, without the `label`, or of another shape or affine than its
            image; votes that are none; a rater who answered nowhere, a case that nobody rated; pictures among
            volumes; an image that is not finite, or outside [0, 1] without a `window`, or with
            another number of channels than the rest.

    >>> import tempfile
    >>> from PIL import Image
    >>> from keras_ordseg import data
    >>> folder = tempfile.mkdtemp()
    >>> for name in ("01_image", "01_rater1", "01_rater2", "02_image", "02_rater2"):
    ...     Image.new("L", (8, 8 + (name == "02_rater2")), 255).save(f"{folder}/{name}.png")
    >>> data.check(data.cases(folder))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    keras_ordseg.data._errors.DataError: 1 problem in ...:
      02_rater2.png: the mask has 8x9 pixels, its image 02_image.png has 8x8
    """
    for _ in read_checked(cases, progress=progress):
        pass


def load(
    cases: Cases, size: int | Sequence[int] | None = None, fit: str = "crop", progress: bool = False
) -> dict[str, np.ndarray]:
    """Read all cases into NumPy arrays. TensorFlow is not needed. Every file is checked as by `check`.

    Volumes are big: what all cases together need is said with `progress`, and refused above the memory of
    the machine. `cases.slices()`, `cases.patches(64)`, a part such as `cases[:10]`, or `PyDataset`, which
    reads a batch at a time, need less.

    Args:
        cases: as `cases` returns them.
        size: pixels along each spatial axis, one number for all; needed where the images differ in size.
        fit: `"crop"` takes the centre, and pads what is smaller (image 0, ratings -1: nobody rated there);
            `"resize"` scales the whole image (linearly, with antialiasing) and each mask (nearest).
        progress: whether to count on the standard error stream, and to say there that no groups are known, and what
            the folder holds besides.

    Returns:
        A dict: `"image"` float32 `(N, *spatial, C)` in [0, 1], `"ratings"` int8 `(N, *spatial, K)` of 1, 0 and
        -1 (absent, or void there), `"id"` and `"group"` string arrays `(N,)`. Where all are NIfTI images, whose axes
        stay in the order of the file, also `"affine"` `(N, 4, 4)` and `"spacing"` `(N, axes)` in mm, both of
        the array as it is returned. Of votes, also `"anonymous"` `(N,)`, True.

    Raises:
        DataError: whatever `check` finds, images of several sizes without `size`, or more than the memory. Every row
            of what is returned was written.
        ValueError: a `size` or `fit` that is none.

    >>> import tempfile
    >>> from PIL import Image
    >>> from keras_ordseg import data
    >>> folder = tempfile.mkdtemp()
    >>> for name in ("01_image", "01_rater1", "01_rater2", "02_image", "02_rater2"):
    ...     Image.new("L", (8, 8), 255).save(f"{folder}/{name}.png")
    >>> arrays = data.load(data.cases(folder))
    >>> arrays["image"].shape, arrays["ratings"][:, 0, 0].tolist()
    ((2, 8, 8, 1), [[1, 1], [-1, 1]])
    """
    check_size(size, fit)
    if progress:
        for note in _notes(cases):
            print(note, file=sys.stderr)
    arrays, written, misfits = {}, 0, []
    for row, values in enumerate(read_checked(cases, size, fit, progress, one_size=size is None)):
        if not row:
            _check_memory(cases, values, progress)
            arrays = {
                name: np.zeros((len(cases), *np.shape(value)), np.asarray(value).dtype)
                for name, value in values.items()
            }
        # geometry is that of all images or of none
        arrays = {name: array for name, array in arrays.items() if name in values or name not in GEOMETRY}
        misfits += [f"case {cases[row].id}: {text}" for text in write_row(arrays, row, values)]
        written += 1
    if misfits:
        raise DataError.listing(misfits, cases.where)
    if written != len(cases):
        raise DataError(f"{cases.where}: {written} of {len(cases)} cases were read")
    return arrays | {"id": np.array([case.id for case in cases], np.str_), "group": cases.groups}


def _notes(cases):
    """What is said before a table is read: that groups are not known, and what was left out."""
    notes = [] if cases.group_note is None else [cases.group_note]
    if cases.unmatched:
        named = shown_list(source.shown(cases.path) for source in cases.unmatched)
        notes.append(f"Left out: {named} (reasons in cases.unmatched).")
    return notes


def from_folder(
    path: str | Path,
    image: str = "*_image.png",
    ratings: str = "*_rater{r}.png",
    size: int | Sequence[int] | None = None,
    fit: str = "crop",
    progress: bool = False,
    **reading,
):
    """Read a folder of images and each rater's masks as a `tf.data.Dataset`.

    The short form of `from_arrays(load(cases(path, …)))`.

    Args:
        path, image, ratings: see `cases`.
        size, fit, progress: see `load`.
        **reading: further arguments of `cases`, as `raters`, `groups`, `label` or `window`.

    Returns:
        A dataset of one dict per case, ordered by id: `"image"` float32 `(*spatial, C)`, `"ratings"` int8
        `(*spatial, K)`, `"id"` and `"group"` strings. K is `dataset.element_spec["ratings"].shape[-1]`.

    Raises:
        DataError: see `cases` and `check`.

    >>> import tempfile
    >>> from PIL import Image
    >>> from keras_ordseg import data
    >>> folder = tempfile.mkdtemp()
    >>> for name in ("01_image", "01_rater1", "01_rater2", "02_image", "02_rater2"):
    ...     Image.new("L", (8, 8), 255).save(f"{folder}/{name}.png")
    >>> dataset = data.from_folder(folder, size=6)
    >>> dataset.element_spec["ratings"].shape, int(dataset.cardinality())
    (TensorShape([6, 6, 2]), 2)
    """
    return from_arrays(load(cases(path, image, ratings, **reading), size, fit, progress))


def read_checked(cases, size=None, fit="crop", progress=False, one_size=False, remarks=None):
    """Yields a dict of the values of each case while none has a problem; at the end raises all problems.

    The end has to be reached, as by `zip(…, strict=True)`: what several cases do not agree on is known only then.
    What is suspicious and may be right is warned of, or added to the list `remarks`.
    """
    reader, problems, ranks = CaseReader(cases), [], {}
    silent = set(range(cases.num_raters))
    for done, case in enumerate(cases, 1):
        if first_mask(case) is None:
            problems.append(Problem(NO_MASK, where=f"case {case.id}"))
            continue
        image, ratings, found = reader.read(case)
        problems += [problem.at(source.shown(cases.path)) for source, problem in found]
        if image is not None:
            problems += answers(case, ratings, silent)
            ranks.setdefault(image.ndim - 1, []).append((case, image.shape[:-1]))
        if not problems and len(ranks) == 1:
            yield fitted(reader, case, image, ratings, size, fit)
        if progress:
            print(f"\rreading {done}/{len(cases)}", end="", file=sys.stderr, flush=True)
    if progress:
        print(file=sys.stderr)
    problems += mixed_ranks(ranks, cases)
    problems += reader.closing_problems(one_size and len(ranks) < 2)
    if silent and cases.whole and not problems:
        names = ", ".join(cases.raters[rater] for rater in sorted(silent))
        problems.append(f"rater {names} answered nowhere: each mask is absent, or -1 in every pixel")
    if not len(cases):
        problems.append("there is no case")
    if problems:
        raise DataError.listing(problems, cases.where)
    for remark in reader.remarks():
        if remarks is None:
            warnings.warn(f"{cases.where}: {remark}", stacklevel=3)
        else:
            remarks.append(remark)


def fitted(reader, case, image, ratings, size, fit):
    """The values of one case at `size`, with its geometry where it has one."""
    geometry, have = reader.geometry(case), image.shape[:-1]
    if size is not None:
        want = size_for(size, len(have))
        image, ratings = fit_image(image, want, fit), fit_ratings(ratings, want, fit)
    values = {"image": image, "ratings": ratings}
    if case.votes is not None:
        values["anonymous"] = True
    if geometry is not None:
        affine, spacing, axes = geometry
        scale, offset = new_grid(have, image.shape[:-1], fit)
        affine[:3, 3] += affine[:3, axes] @ offset
        affine[:3, axes] *= scale
        values |= {"affine": affine, "spacing": spacing * scale}
    return values


def _check_memory(cases, values, progress):
    need = len(cases) * sum(np.asarray(value).nbytes for value in values.values())
    try:
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not on Windows
        there = float("inf")
    shape = "x".join(map(str, values["image"].shape))
    what = f"{len(cases)} cases of {shape} and {cases.num_raters} raters need {need / 1e9:.3g} GB"
    if need > there:
        raise DataError(
            f"{what} and the machine has {there / 1e9:.3g} GB",
            "read a part as cases[:10] or cases.slices()", ("give a smaller ", Setting("size")),
            "feed them from disk with data.PyDataset(cases, …)",
        )  # fmt: skip
    if progress:
        print(what, file=sys.stderr)
