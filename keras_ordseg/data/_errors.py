"""The error raised for data that cannot be trained on, and checks that every file format shares."""

from collections.abc import Iterable
from math import prod

from keras_ordseg._checks import Problem, Remedy

_SHOWN = 20
_LIMIT = 2**31


class DataError(ValueError):
    """The data on disk or in an array cannot be used as it is.

    The message names the file or the case and says what to do; `.problems` holds every problem found as a
    sentence each. It is a `ValueError`, so code that catches those catches it too.

    Args:
        text: what was expected and what was found.
        remedies: what helps, see `keras_ordseg._checks.Problem`.
    """

    problems: tuple[str, ...] = ()

    def __init__(self, text: str, *remedies: Remedy):
        self.found = (Problem(text, remedies),)
        super().__init__(str(self.found[0]))

    @classmethod
    def listing(cls, problems: Iterable[str | Problem], where: str) -> "DataError":
        """One error for every problem found, at most 20 of them printed."""
        found = [problem if isinstance(problem, Problem) else Problem(problem) for problem in problems]
        found = {str(problem): problem for problem in found}
        lines = [f"{len(found)} problem{'s' if len(found) > 1 else ''} in {where}:"]
        lines += [f"  {problem}" for problem in list(found)[:_SHOWN]]
        if len(found) > _SHOWN:
            lines.append(f"  … and {len(found) - _SHOWN} more (all of them in .problems)")
        error = cls("\n".join(lines))
        error.problems, error.found = tuple(found), tuple(found.values())
        return error

    def __reduce__(self):
        return _rebuilt, (type(self), str(self), self.problems, self.found)


def _rebuilt(cls, text, problems, found):
    """A `DataError` from another process."""
    error = cls(text)
    error.problems, error.found = problems, found
    return error


def checked_numbers(dtype) -> None:
    """Refuse arrays of complex numbers, text or records."""
    if dtype.kind not in "buif":
        raise DataError(f"holds {dtype} where numbers are expected")


def checked_volume(shape) -> None:
    """Refuse what would fill the memory, before it is unpacked."""
    if prod(shape) > _LIMIT:
        raise DataError(
            f"has {'x'.join(map(str, shape))} values, above the limit of {_LIMIT}; cut it into parts"
        )


def the_dataset(names, dataset) -> str:
    """`dataset` if the file has it, the only one if no name is given."""
    if dataset in names:
        return dataset
    there = ", ".join(sorted(names)[:20]) or "none"
    if dataset:
        raise DataError(f"has no dataset {dataset!r}; there are: {there}")
    if len(names) != 1:
        raise DataError(f"holds {len(names)} datasets: name one as file::dataset; there are: {there}")
    return names[0]
