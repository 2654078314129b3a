"""The files of a folder: those whose names may fit a pattern, and those that are left over."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from keras_ordseg._checks import Problem
from keras_ordseg.data._cells import nfc
from keras_ordseg.data._sources import Source

LINK = Problem("is a link whose content is not here", ("get it first, as by git annex get or dvc pull",))
_SIGNS = re.compile(r"(\*|\{r\})")
_ENDING = re.compile(r"((?i:\.nii\.gz)|\.[^./*{}]+)?$")
_SHOWN = 100  # files of one folder that no pattern reaches


@dataclass(frozen=True)
class Unmatched(Source):
    """What a table of cases leaves out, and why."""

    reason: str = ""


def pattern_regex(file: str, inside: str = "", longest="") -> str:
    """Returns a pattern as a regular expression for names in NFC.

    The first `*` is the group `id`, of at most `longest` letters, and the first `{r}` the group `r`; each of the others
    is the same text again. Capitals of the file's ending do not matter.
    """
    ending, seen = _ENDING.search(file)[0], set()

    def part(text):
        name = {"*": "id", "{r}": "r"}.get(text)
        if name is None:
            return re.escape(text)
        if name in seen:
            return f"(?P={name})"
        seen.add(name)
        return f"(?P<{name}>[^/]{{1,{longest if name == 'id' else ''}}})"

    head, tail = (
        "".join(map(part, _SIGNS.split(nfc(text)))) for text in (file[: len(file) - len(ending)], inside)
    )
    return f"{head}(?i:{re.escape(ending)}){tail}"


def files_like(root: Path, pattern: str, problems: dict) -> Iterator[tuple[str, Path]]:
    """Yields each file that may fit a pattern: its name below `root` in NFC, and the file, in the order of names.

    Hidden files are none. What a broken link would be goes into `problems`.
    """
    folders = [("", root)]
    *middle, last = pattern.split("/")
    for part in middle:
        folders = list(_entries(folders, part, problems, want_files=False))
    yield from sorted(_entries(folders, last, problems, want_files=True))


def _entries(folders, part, problems, want_files):
    """Each entry of the folders that fits one part of a pattern."""
    # every `*` and `{r}` is loose here: what has to be the same text is compared in the whole name
    ending = _ENDING.search(part)[0] if want_files else ""
    pieces = _SIGNS.split(nfc(part[: len(part) - len(ending)]))
    loose = "".join(".+" if piece in ("*", "{r}") else re.escape(piece) for piece in pieces)
    fits = re.compile(f"{loose}(?i:{re.escape(ending)})", re.DOTALL).fullmatch
    for name, folder in folders:
        if not folder.is_dir():
            continue
        for entry in os.scandir(folder):
            here = f"{name}/{nfc(entry.name)}" if name else nfc(entry.name)
            if entry.name.startswith(".") or not fits(nfc(entry.name)):
                continue
            if entry.is_symlink() and not os.path.exists(entry.path):
                problems[here] = LINK
            elif entry.is_file() if want_files else entry.is_dir():
                yield here, folder / entry.name


def is_broken_link(file: Path) -> bool:
    """Returns True for a link to what is not there."""
    return file.is_symlink() and not file.exists()


def leftovers(root: Path, used: set[Path], reason_of) -> list[Unmatched]:
    """Returns every file below `root` that is not used, with its reason.

    A folder of which nothing is used is one entry where it holds many files, or is hidden or a link.
    """
    found, folders = [], [root]
    names = {}
    for file in used:
        names.setdefault(file.parent, set()).add(file.name)
    busy = set(names).union(*(folder.parents for folder in names))
    while folders:
        folder = folders.pop()
        known = names.get(folder, ())
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if entry.name in known:
                continue
            file = folder / entry.name
            if not entry.is_dir():
                found.append(Unmatched(file, reason=_reason(file) or reason_of(file)))
            elif file in busy:
                folders.append(file)
            else:
                inside = [] if entry.name.startswith(".") or entry.is_symlink() else list(islice(_below(file), _SHOWN + 1))
                if 0 < len(inside) <= _SHOWN:
                    found += [Unmatched(part, reason=_reason(part) or reason_of(part)) for part in inside]
                else:
                    found.append(Unmatched(file, reason="hidden" if entry.name.startswith(".") else "a folder"))
    return found


def _below(folder):
    for place, inner, files in os.walk(folder):
        inner.sort()
        yield from (Path(place, name) for name in sorted(files))


def _reason(file):
    if is_broken_link(file):
        return "a link whose content is not here"
    return "hidden" if file.name.startswith(".") else ""
