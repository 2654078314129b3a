"""Patterns with `*` for a case and `{r}` for a rater, matched against the files of a folder."""

import re
from functools import lru_cache
from pathlib import Path

from keras_ordseg._checks import ArgumentError, Problem, Setting
from keras_ordseg.data._cells import nfc
from keras_ordseg.data._errors import DataError
from keras_ordseg.data._folder import Unmatched, files_like, leftovers, pattern_regex
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


def match(root, image, ratings, raters=None):
    """Images by id, masks by id and rater, and what is left over.

    Raises:
        DataError: Broken links, files whose header cannot be read, two files for one image or mask, and files that may
            be an image as well as a mask.
    """
    problems, datasets = {}, {}
    pictures, others = (list(_candidates(root, pattern, problems, datasets)) for pattern in (image, ratings))
    if problems:
        raise DataError.listing([problem.at(file) for file, problem in problems.items()], str(root))
    doubles, images = [], {}
    for name, source in pictures:
        if hit := _regex(image).fullmatch(name):
            _keep(images, hit["id"], source, doubles, root)
    if doubles:
        raise DataError.listing(doubles, str(root))
    claims, alone = _claims(others, image, ratings, images, raters)
    _decide(claims, images, raters, root)
    masks, used = {}, set(claims)
    for source, (key, rater) in claims.items():
        _keep(masks.setdefault(key, {}), rater, source, doubles, root)
    if doubles:
        raise DataError.listing(doubles, str(root))
    images = {key: source for key, source in images.items() if source not in used}
    alone += _other_datasets(datasets, used | set(images.values()) | set(alone))
    return images, masks, alone


def left_over(root, image, ratings, images, masks, alone, index):
    """Returns every file of the folder that is neither an image, a mask nor the index, with its reason."""
    used = {source.file for found in (images, *masks.values()) for source in found.values()}
    used |= {source.file for source in alone} | ({index} if index else set())
    loose = [re.compile(pattern_regex(split_address(text)[0]), re.IGNORECASE) for text in (image, ratings)]
    names = [re.compile(pattern_regex(split_address(text)[0].split("/")[-1])) for text in (image, ratings)]

    def reason_of(file):
        if any(regex.fullmatch(nfc(file.relative_to(root).as_posix())) for regex in loose):
            return "fits a pattern but for capitals"
        if any(regex.fullmatch(nfc(file.name)) for regex in names):
            return "fits a pattern but for its folder"
        return "fits no pattern"

    return [*alone, *leftovers(root, used, reason_of)]


def rater_addresses(root, pattern):
    """What matches a pattern with `{r}` and no `*`, by rater, as addresses below `root`."""
    if "{r}" not in pattern or "*" in pattern:
        raise ValueError(f'ratings must have "{{r}}" and no "*" in a row, came {pattern!r}')
    if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
        raise ValueError(f"ratings must be a pattern inside the table's folder, came {pattern!r}")
    problems, found = {}, {}
    for name, source in _candidates(root, pattern, problems, {}):
        if hit := _regex(pattern).fullmatch(name):
            found.setdefault(hit["r"], []).append(source)
    problems |= {f"rater {r}": Problem(f"{len(two)} files for one") for r, two in found.items() if len(two) > 1}
    if problems:
        raise DataError("; ".join(str(problem.at(file)) for file, problem in problems.items()))
    return {rater: source for rater, (source,) in found.items()}


def _keep(table, key, source, problems, root):
    """Enters a source, or the problem that its place is taken: capitals or Unicode forms differ alone."""
    if (there := table.setdefault(key, source)) != source:
        names = f"{there.shown(root)} and {source.shown(root)}"
        problems.append(Problem(f"{names}: two files for one", ("remove or rename one of them",)))


def _claims(others, image, ratings, images, raters):
    """The image and the rater that each mask claims by its name, and the masks of no image."""
    claims, alone = {}, []
    # where everything called like an image may be called like a mask, only the name of the image tells them apart
    special = _fits(ratings, image) and not _fits(image, ratings)
    for name, source in others:
        is_image = _regex(image).fullmatch(name) is not None
        if is_image and special:
            continue
        hits = list(_mask_hits(name, source, ratings, images))
        chosen = [hit for hit in hits if raters is not None and hit[1] in raters]
        if hits:
            claims[source] = (chosen or hits)[0]
        elif not is_image:
            alone.append(Unmatched(source.file, source.dataset, source.row, source.channel, "a mask of no image"))
    return claims, alone


def _decide(claims, images, raters, root):
    """Leaves out the claims of images, where other masks claim them.

    Raises:
        DataError: A file that may be either.
    """
    claimed, problems = {}, []
    for source, (key, _) in claims.items():
        claimed.setdefault(key, source)
    for key, source in images.items():
        if source not in claims or key not in claimed:
            continue
        whose, rater = claims[source]
        if raters is not None and rater not in raters:
            del claims[source]
            continue
        problems.append(
            Problem(
                f"{source.shown(root)} may be the image of {claimed[key].shown(root)} as well as rater {rater}'s mask of "
                f"{images[whose].shown(root)}",
                (
                    ("say which names are images with ", Setting("image")),
                    ("name the raters with ", Setting("raters")),
                    "list the files in a CSV table",
                ),
            )
        )
    if problems:
        raise DataError.listing(problems, str(root))


def _mask_hits(name, source, ratings, images):
    """The id and rater of a mask for each id that has an image other than this file, the longest first."""
    longest = len(name)
    while longest and (hit := _regex(ratings, longest).fullmatch(name)):
        if images.get(hit["id"], source) != source:
            yield hit["id"], hit.groupdict().get("r", "")
        longest = len(hit["id"]) - 1


def _fits(pattern, other):
    """Whether a name made from `other` fits `pattern`."""
    name = address(*split_address(other)).replace("*", "0").replace("{r}", "1")
    return _regex(pattern).fullmatch(nfc(name)) is not None


@lru_cache(maxsize=4096)
def _regex(pattern, longest=""):
    file, *inside = split_address(pattern)
    head = address(file)
    return re.compile(pattern_regex(head, address(file, *inside)[len(head) :], longest))


def _candidates(root, pattern, problems, datasets):
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


def _other_datasets(datasets, used):
    """Datasets that no pattern names, of files of which others are used."""
    known = {(source.file, source.dataset) for source in used}
    files = {file for file, _ in known}
    return [
        Unmatched(file, name, reason="a dataset that fits no pattern")
        for file, names in datasets.items() if file in files
        for name in sorted(names) if (file, name) not in known
    ]  # fmt: skip


def _numbers(index, size):
    if index is None:
        return [None]
    return [int(index)] if index.isdecimal() else range(*size)


def natural(text):
    """Sorting key in which numbers count as numbers: 1, 2, …, 10."""
    parts = re.split(r"(\d+)", text)
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts], text
