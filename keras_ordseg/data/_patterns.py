"""Patterns with `*` for a case and `{r}` for a rater: checked, and the arrays that may fit one."""

import re
from functools import lru_cache
from pathlib import Path

from keras_ordseg._checks import ArgumentError, Problem
from keras_ordseg.data._cells import nfc
from keras_ordseg.data._errors import DataError
from keras_ordseg.data._folder import files_like, pattern_regex
from keras_ordseg.data._sources import Source, address, format_of, split_address

SAME_TEXT = "each * stands for the same text (the case's id), wherever it comes"


def check_patterns(image, ratings, votes):
    """Raises an ArgumentError for a pattern that cannot be used."""
    masks = ("ratings", ratings) if votes is None else ("votes", votes)
    if not isinstance(image, str) or "*" not in image or "{r}" in image:
        raise ArgumentError("image", 'a pattern with "*" for the case and no "{r}"', repr(image))
    if votes is not None and (not isinstance(votes, str) or "*" not in votes or "{r}" in votes):
        raise ArgumentError("votes", 'a pattern with "*" for the case and no "{r}"', repr(votes))
    if votes is None and (not isinstance(ratings, str) or "*" not in ratings or "{r}" not in ratings):
        raise ArgumentError(
            "ratings",
            'a pattern with "*" for the case and "{r}" for the rater, as in "*_rater{r}.png", "masks/{r}/*.png" or '
            '"*_masks.npy[..., {r}]"',
            repr(ratings),
        )
    for name, pattern in (("image", image), masks):
        try:
            file, dataset, *index = split_address(pattern)
        except ValueError as error:
            raise ArgumentError(name, "a pattern of files", str(error)) from None
        if "**" in pattern:
            raise ArgumentError(name, f'a pattern without "**": {SAME_TEXT}', repr(pattern))
        if Path(pattern).is_absolute() or ".." in Path(file).parts:
            raise ArgumentError(name, "a pattern inside the folder", repr(pattern))
        if any(part not in (None, "*", "{r}") and not part.isdecimal() for part in index):
            raise ArgumentError(name, 'numbers, "*" or "{r}" as row and channel', repr(pattern))
        if "*" in index and ("*" in file or "*" in dataset):
            raise ArgumentError(name, '"*" either in the file\'s name or as an index', repr(pattern))


def rater_addresses(root, pattern):
    """What matches a pattern with `{r}` and no `*`, by rater, as addresses below `root`."""
    if "{r}" not in pattern or "*" in pattern:
        raise ValueError(f'ratings must have "{{r}}" and no "*" in a row, came {pattern!r}')
    if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
        raise ValueError(f"ratings must be a pattern inside the table's folder, came {pattern!r}")
    problems, found = {}, {}
    for name, source in candidates(root, pattern, problems, {}):
        if hit := regex_of(pattern).fullmatch(name):
            found.setdefault(hit["r"], []).append(source)
    problems |= {f"rater {r}": Problem(f"{len(two)} files for one") for r, two in found.items() if len(two) > 1}
    if problems:
        raise DataError("; ".join(str(problem.at(file)) for file, problem in problems.items()))
    return {rater: source for rater, (source,) in found.items()}


@lru_cache(maxsize=4096)
def regex_of(pattern, longest=""):
    file, *inside = split_address(pattern)
    head = address(file)
    return re.compile(pattern_regex(head, address(file, *inside)[len(head) :], longest))


def candidates(root, pattern, problems, datasets):
    """Every array that may fit the pattern, and its address below `root` in NFC."""
    file_pattern, dataset, row, channel = split_address(pattern)
    for name, file in files_like(root, Path(file_pattern).as_posix(), problems):
        try:
            if dataset:
                datasets[file] = format_of(file).datasets(file)
            for there in _datasets(datasets.get(file, ()), dataset):
                shape = () if row is channel is None else format_of(file).shape(file, there)
                for i in _numbers(row, shape[:1]):
                    for j in _numbers(channel, shape[-1:]):
                        yield nfc(address(name, there, i, j)), Source(file, there, i, j)
        except DataError as error:
            problems[name] = error.found[0]


def _datasets(there, pattern):
    if not pattern:
        return [""]
    loose = "".join(
        ".+" if part in ("*", "{r}") else re.escape(part) for part in re.split(r"(\*|\{r\})", nfc(pattern))
    )
    return [name for name in there if re.fullmatch(loose, nfc(name))]


def _numbers(index, size):
    if index is None:
        return [None]
    return [int(index)] if index.isdecimal() else range(*size)


def natural(text):
    """Sorting key in which numbers count as numbers: 1, 2, …, 10."""
    parts = re.split(r"(\d+)", text)
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts], text
