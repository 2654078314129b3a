"""Errors that say what is wrong and what helps, in Python's words or in those of the command line."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Integral


@dataclass(frozen=True)
class Setting:
    """An argument that a remedy names: `window=(0, 4095)` in Python, `--window=0,4095` on the command line.

    Args:
        name: Name of the argument.
        value: Its value as Python code. Default: none, which names the argument alone.
        flag_value: Its value as typed after the flag. Default: `value`.
    """

    name: str
    value: str = ""
    flag_value: str | None = None


Remedy = str | tuple[str | Setting, ...]
Spelling = Callable[[Setting], str | None]


def in_python(setting: Setting) -> str:
    """Returns the setting as a keyword argument."""
    return f"{setting.name}={setting.value}"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and the alternatives that help.

    Args:
        text: What was expected and what was found, without a full stop.
        remedies: Each a sentence without a capital and a full stop, or a tuple of its words and settings. The command
            line leaves out a remedy that needs a flag it does not have.
        where: The file, case or row. Default: none.
    """

    text: str
    remedies: tuple[Remedy, ...] = ()
    where: str = ""

    def at(self, where: str) -> "Problem":
        """Returns the same problem, of this file, case or row."""
        return replace(self, where=where)

    def spelled(self, spelling: Spelling = in_python) -> str:
        """Returns `where: text; remedy, or remedy`, with settings as `spelling` writes them (None: it has no such)."""
        text = f"{self.where}: {self.text}" if self.where else self.text
        remedies = _joined(self.remedies, spelling)
        return f"{text}; {remedies}" if remedies else text

    def __str__(self) -> str:
        return self.spelled()


class ArgumentError(ValueError):
    """An argument that cannot be used: `<argument>: expected <what>; got <what>. <what to do>`.

    Args:
        argument: Its name, kept as `.argument`; the command line shows the flag instead.
        expected: What it has to be.
        got: What it is. Default: not said.
        remedies: What to do, see `Problem`.
    """

    def __init__(self, argument: str, expected: str, got: str | None = None, *remedies: Remedy):
        self.argument, self.expected, self.got, self.remedies = argument, expected, got, remedies
        super().__init__(self.spelled())

    def __reduce__(self):
        return type(self), (self.argument, self.expected, self.got, *self.remedies)

    def spelled(self, spelling: Spelling = in_python) -> str:
        """Returns the message with settings as `spelling` writes them; the argument too where that is not Python."""
        name = self.argument if spelling is in_python else spelling(Setting(self.argument)) or self.argument
        text = f"{name}: expected {self.expected}" + ("" if self.got is None else f"; got {self.got}")
        remedies = _joined(self.remedies, spelling)
        return f"{text}. {remedies[0].upper() + remedies[1:]}." if remedies else text


def _joined(remedies: tuple[Remedy, ...], spelling: Spelling) -> str:
    """Returns the alternatives that can be spelled, as one text."""
    spelled = (_remedy(remedy, spelling) for remedy in remedies)
    return ", or ".join(text for text in spelled if text is not None)


def _remedy(remedy: Remedy, spelling: Spelling) -> str | None:
    if isinstance(remedy, str):
        return remedy
    parts = [spelling(part) if isinstance(part, Setting) else part for part in remedy]
    return None if None in parts else "".join(parts)


def checked_integer(argument: str, value, low: int = 0) -> int:
    """Returns a whole number of at least `low` as an int.

    Raises:
        ArgumentError: It is none, or smaller.
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or value < low:
        raise ArgumentError(argument, f"a whole number, {low} or more", repr(value))
    return int(value)
