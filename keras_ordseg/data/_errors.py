"""The error raised for data that cannot be trained on."""

from collections.abc import Iterable

_SHOWN = 20


class DataError(ValueError):
    """The data on disk or in an array cannot be used as it is.

    The message names the file or the case and says what to do. It is a `ValueError`, so code that
    catches those catches it too.
    """

    @classmethod
    def listing(cls, problems: Iterable[str], where: str) -> "DataError":
        """One error for every problem found, at most 20 of them printed."""
        problems = list(problems)
        lines = [f"{len(problems)} problem{'s' if len(problems) > 1 else ''} in {where}:"]
        lines += [f"  {problem}" for problem in problems[:_SHOWN]]
        if len(problems) > _SHOWN:
            lines.append(f"  … and {len(problems) - _SHOWN} more")
        return cls("\n".join(lines))
