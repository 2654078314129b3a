"""Patterns with `*` for a case and `{r}` for a rater, matched against the files of a folder."""

import glob
import re
from pathlib import Path


def check_patterns(image, ratings):
    if "*" not in image or "{r}" in image:
        raise ValueError(f'image must be a pattern with "*" for the case and no "{{r}}", came {image!r}')
    if "*" not in ratings or ratings.count("{r}") != 1:
        raise ValueError(
            f'ratings must be a pattern with "*" for the case and one "{{r}}" for the rater, as in '
            f'"*_rater{{r}}.png"; came {ratings!r}'
        )
    for name, pattern in (("image", image), ("ratings", ratings)):
        if "**" in pattern or Path(pattern).is_absolute():
            raise ValueError(f'{name} must be a pattern inside the folder without "**", came {pattern!r}')


def match(root, image, ratings):
    """Images by id, masks by id and rater, and the masks of no image."""
    hits = [_regex(image).fullmatch(name) for name in _files(root, image)]
    images = {hit["id"]: root / hit.string for hit in hits if hit}
    masks, unmatched = {}, []
    for name in _files(root, ratings):
        # a file that fits both patterns is the image of its own case, or a mask of another image
        if hit := _mask_match(name, ratings, images, root):
            masks.setdefault(hit["id"], {})[hit["r"]] = root / name
        elif not _regex(image).fullmatch(name):
            unmatched.append(root / name)
    used = {mask for found in masks.values() for mask in found.values()}
    images = {key: file for key, file in images.items() if file not in used}
    masks = {key: found for key, found in masks.items() if key in images}
    return images, masks, unmatched


def _mask_match(name, ratings, images, root):
    """The match with the longest id that has an image other than this file."""
    longest = len(name)
    while hit := _regex(ratings, longest).fullmatch(name):
        if images.get(hit["id"], root / name) != root / name:
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
        for part in re.split(r"(\*|\{r\})", pattern):
            if part == "*":
                parts.append("(?P=id)" if seen else f"(?P<id>[^/]{{1,{longest or ''}}})")
                seen = True
            else:
                parts.append("(?P<r>[^/]+)" if part == "{r}" else re.escape(part))
        _CACHE[key] = re.compile("".join(parts))
    return _CACHE[key]


def _files(root, pattern):
    escaped = glob.escape(pattern.replace("*", "\0")).replace("\0", "*").replace("{r}", "*")
    found = (file.relative_to(root) for file in root.glob(escaped) if file.is_file())
    return sorted(file.as_posix() for file in found if not any(part.startswith(".") for part in file.parts))


def natural(text):
    parts = re.split(r"(\d+)", text)
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts], text
