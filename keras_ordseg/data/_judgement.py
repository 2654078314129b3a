"""What the masks of each rater hold over a selection of cases: whether that can be what was meant."""

from dataclasses import dataclass, field

from keras_ordseg._checks import Problem, Setting
from keras_ordseg.data._numbers import listed, number

_FULL = {1, 255, 65535}  # the largest number of a mask of 1, 8 and 16 bits: one mark, written by three tools

_SMALL = 64  # above it, 255 is one more grey of a picture


@dataclass
class _Rater:
    name: str
    masks: set = field(default_factory=set)
    marks: dict = field(default_factory=dict)  # the first file of each value
    others: dict = field(default_factory=dict)
    minus: bool = False

    @property
    def count(self):
        return f"{len(self.masks)} mask{'s' * (len(self.masks) != 1)}"


def is_lossy(source):
    """Returns whether a file is a JPEG by its name: its numbers are near those that were saved."""
    return source.file.suffix.lower() in (".jpg", ".jpeg", ".jfif", ".jpe")


class Judgement:
    """Collects what was found in each mask, and judges once, at the end of a selection."""

    def __init__(self, cases):
        self._path, self._label, self._whole = cases.path, cases.reading.label, cases.whole
        self._raters = [_Rater(name) for name in cases.raters]
        self._blurred = None

    def add(self, rater, source, found):
        """Adds a mask of the rater of that number."""
        seen = self._raters[rater]
        seen.masks.add((source.file, source.dataset, source.row, source.channel))
        for value in found.marks:
            seen.marks.setdefault(value, source)
        for value in found.others:
            seen.others.setdefault(value, source)
        seen.minus = seen.minus or found.minus
        if found.others and is_lossy(source):
            self._blurred = self._blurred or source

    def problems(self):
        """Returns what the numbers prove to be wrong, as a list of problems."""
        seen = [rater for rater in self._raters if rater.masks]
        return self._label_problems(seen) if self._label is not None else self._mark_problems(seen)

    def remarks(self):
        """Returns what is suspicious and may be right, as a list of sentences."""
        seen = [rater for rater in self._raters if rater.masks]
        found = [
            f"rater {rater.name} marks nothing: their {rater.count} hold 0 and -1 (did not rate) alone; if -1 was 255 in 8 "
            "bits, store the masks as uint8"
            for rater in seen
            if rater.minus and not rater.marks and not rater.others
        ]
        if self._label is None:
            values = {value: rater.name for rater in seen for value in list(rater.marks)[:1]}
            if len(values) > 1 and not set(values) <= _FULL:
                text = ", ".join(f"rater {name} by {number(value)}" for value, name in values.items())
                found.append(f"raters mark by different values ({text}); if these are different structures, give label=")
            return found
        if self._blurred:
            file = self._blurred.shown(self._path)
            found.append(f"{file} is a JPEG, which blurs labels: beside {self._labels} it holds other values; save masks as PNG")
        if self._ignored(seen):
            found.append(f"255 is read as not marked by {self._labels}; if it means ignored (-1 in 8 bits), give void=255")
        if not any(rater.marks for rater in seen):
            if not self._whole and (others := sorted(set().union(*(rater.others for rater in seen)))):
                found.append(f"no mask of these cases holds {self._labels}; beside 0 they hold {listed(others)}")
            return found
        return found + [f"{self._without(rater)}" for rater in seen if rater.others and self._shares(rater, seen)]

    def _ignored(self, seen):
        """Whether 255 stands out of a map of small labels, as -1 does in 8 bits."""
        values = set(self._label).union(*(set(rater.others) for rater in seen))
        return 255 in values - set(self._label) and max(values - {255}) < _SMALL

    @property
    def _labels(self):
        return f"label={self._label[0] if len(self._label) == 1 else self._label}"

    def _without(self, rater):
        others = sorted(rater.others)
        file = rater.others[others[0]].shown(self._path)
        return (
            f"rater {rater.name} marks nothing: none of their {rater.count} holds {self._labels}, and beside 0 they hold "
            f"{listed(others)} (as {file})"
        )

    def _shares(self, rater, seen):
        """Whether a rater without the label has other values that those who have it use as well: a label map."""
        known = set().union(*(other.others for other in seen if other.marks))
        return not rater.marks and bool(known & set(rater.others))

    def _label_problems(self, seen):
        there = set().union(*(rater.marks for rater in seen)) if seen else set()
        others = set().union(*(rater.others for rater in seen)) if seen else set()
        problems = []
        for label in self._label if self._whole and seen else ():  # a selection may well lack a label
            if label not in there:
                hold = f"beside 0 they hold {listed(sorted(there | others))}" if there | others else "all are 0"
                problems.append(Problem(f"no mask holds label={label}; {hold}"))
        if not there:
            return problems
        for rater in seen:
            if rater.others and not rater.marks and not self._shares(rater, seen):
                values = (*self._label, *sorted(rater.others)[:1])
                setting = Setting("label", f"({', '.join(map(number, values))})", ",".join(map(number, values)))
                remedy = ("if that is their mark, give ", setting)
                problems.append(Problem(self._without(rater), (remedy, "save all masks with the same values")))
        return problems

    def _mark_problems(self, seen):
        problems = []
        for rater in seen:
            if len(rater.marks) > 1 and not set(rater.marks) <= _FULL:
                files = [f"{source.shown(self._path)} by {number(value)}" for value, source in rater.marks.items()]
                text = f"the masks of rater {rater.name} are marked by different values: {', '.join(files[:6])}"
                problems.append(Problem(text, (("say which are marks with ", Setting("label")),)))
        return problems
