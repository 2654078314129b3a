"""Patterns with `*` for a case and `{r}` for a rater, matched against the files of a folder."""

import glob
import re
from pathlib import Path

from keras_ordseg.data._errors import DataError
from keras_ordseg.data._sources import Source, address, format_of, split_address


def check_patterns(image, ratings, votes):
    if "*" not in image or "{r}" in image:
        raise ValueError(f'image must be a pattern with "*" for the case and no "{{r}}", came {image!r}')
    if votes is not None and ("*" not in votes or "{r}" in votes):
        raise ValueError(f'votes must be a pattern with "*" for the case and no "{{r}}", came {votes!r}')
    if votes is None and ("*" not in ratings or ratings.count("{r}") != 1):
        raise ValueError(
            f'ratings must be a pattern with "*" for the case and one "{{r}}" for the rater, as in '
            f'"*_rater{{r}}.png", "masks/{{r}}/*.png" or "*_masks.npy[..., {{r}}]"; came {ratings!r}'
        )
    for name, pattern in (("image", image), ("ratings", ratings if votes is None else votes)):
        file, dataset, *index = split_address(pattern)
        if "**" in pattern or Path(pattern).is_absolute() or ".." in Path(file).parts:
            raise ValueError(f'{name} must be a pattern inside the folder without "**", came {pattern!r}')
        if any(part not in (None, "*", "{r}") and not part.isdecimal() for part in index):
            raise ValueError(f'{name}: row and channel must be numbers, "*" or "{{r}}", came {pattern!r}')
        if "*" in index and ("*" in file or "*" in dataset):
            raise ValueError(f'{name}: "*" is either in the file\'s name or an index, came {pattern!r}')


def match(root, image, ratings):
    """Images by id, masks by id and rater, and the masks of no image, all as `Source`.

    Raises:
        DataError: the problems of every file whose header had to be read for its datasets or channels.
    """
    problems = {}
    candidates, others = (_candidates(root, pattern, problems) for pattern in (image, ratings))
    if problems:
        raise DataError.listing([f"{file}: {text}" for file, text in problems.items()], str(root))
    hits = {name: _regex(image).fullmatch(name) for name in candidates}
    images = {hit["id"]: candidates[name] for name, hit in hits.items() if hit}
    masks, unmatched = {}, []
    for name, source in others.items():
        # a file that fits both patterns is the image of its own case, or a mask of another image
        if hit := _mask_match(name, source, ratings, images):
            masks.setdefault(hit["id"], {})[hit.groupdict().get("r", "")] = source
        elif not _regex(image).fullmatch(name):
            unmatched.append(source)
    used = {mask for found in masks.values() for mask in found.values()}
    images = {key: source for key, source in images.items() if source not in used}
    masks = {key: found for key, found in masks.items() if key in images}
    return images, masks, unmatched


def rater_addresses(root, pattern):
    """What matches a pattern with `{r}` alone, by rater, as addresses below `root`."""
    if pattern.count("{r}") != 1 or "*" in pattern:
        raise ValueError(f'ratings must have one "{{r}}" and no "*" in a row, came {pattern!r}')
    if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
        raise ValueError(f"ratings must be a pattern inside the table's folder, came {pattern!r}")
    problems = {}
    candidates = _candidates(root, pattern, problems)
    if problems:
        raise DataError("; ".join(f"{file}: {text}" for file, text in problems.items()))
    hits = [_regex(pattern).fullmatch(name) for name in candidates]
    return {hit["r"]: hit.string for hit in hits if hit}


def _mask_match(name, source, ratings, images):
    """The match with the longest id that has an image other than this file."""
    longest = len(name)
    while hit := _regex(ratings, longest).fullmatch(name):
        if images.get(hit["id"], source) != source:
            return hit
        longest = len(hit["id"]) - 1
        if longest < 1:
            return None
    return None


_CACHE: dict = {}


def _regex(pattern, longest=None):
    key = pattern, longest
    if key not in _CACHE:
        parts, seen = [], False
        for part in re.split(r"(\*|\{r\})", address(*split_address(pattern))):
            if part == "*":
                parts.append("(?P=id)" if seen else f"(?P<id>[^/]{{1,{longest or ''}}})")
                seen = True
            else:
                parts.append("(?P<r>[^/]+)" if part == "{r}" else re.escape(part))
        _CACHE[key] = re.compile("".join(parts))
    return _CACHE[key]


def _candidates(root, pattern, problems):
    """Every array that may fit the pattern, by its address below `root`."""
    file_pattern, dataset, row, channel = split_address(pattern)
    found = {}
    for name in _files(root, file_pattern):
        file = root / name
        try:
            for there in _datasets(file, dataset):
                shape = () if row is channel is None else format_of(file).shape(file, there)
                for i in _numbers(row, shape[:1]):
                    for j in _numbers(channel, shape[-1:]):
                        found[address(name, there, i, j)] = Source(file, there, i, j)
        except DataError as error:
            problems[name] = error
    return found


def _datasets(file, pattern):
    if not pattern:
        return [""]
    loose = "".join(
        ".+" if part in ("*", "{r}") else re.escape(part) for part in re.split(r"(\*|\{r\})", pattern)
    )
    return [name for name in format_of(file).datasets(file) if re.fullmatch(loose, name)]


def _numbers(index, size):
    if index is None:
        return [None]
    return [int(index)] if index.isdecimal() else range(*size)


def _files(root, pattern):
    escaped = glob.escape(pattern.replace("*", "\0")).replace("\0", "*").replace("{r}", "*")
    found = (file.relative_to(root) for file in root.glob(escaped) if file.is_file())
    return sorted(file.as_posix() for file in found if not any(part.startswith(".") for part in file.parts))


def natural(text):
    parts = re.split(r"(\d+)", text)
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts], text
