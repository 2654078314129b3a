"""The commands of `keras-ordseg`, one file each, and what they share: values as typed, errors in the words of flags."""

import ast
import re
import shlex
import sys

from keras_ordseg._checks import ArgumentError, Setting, Spelling

_NUMBER = re.compile(r"-(\.?\d|inf)")


def words(text):
    """Returns the words of a comma-separated list."""
    return tuple(word for word in text.replace(" ", "").replace("\N{MINUS SIGN}", "-").split(",") if word)


def methods(text):
    """Returns the methods of a comma-separated list, in which commas within brackets separate options."""
    return tuple(word for word in re.split(r",(?![^(]*\))", text.replace(" ", "")) if word)


def window(text):
    """Returns the two ends of a window: numbers, or percentiles such as `1%`."""
    ends = words(text)
    return ends if any("%" in end for end in ends) else tuple(map(float, ends))


def numbers(kind):
    """Returns a parser of comma-separated numbers of this kind."""
    def parse(text):
        return tuple(kind(word) for word in words(text))

    parse.__name__ = "list of numbers"  # argparse names it when a value does not parse
    return parse


def joined(argv):
    """Returns the arguments with `--window -1000,400` as `--window=-1000,400`: argparse takes the value for an option."""
    result = []
    for word in argv:
        before = result[-1] if result else ""
        if _NUMBER.match(word) and before.startswith("--") and before != "--" and "=" not in before:
            result[-1] = f"{before}={word}"
        else:
            result.append(word)
    return result


def flags(parser, **renamed) -> Spelling:
    """Returns a function that writes an argument of the library as the command's flag, None where it has none.

    Args:
        parser: The command's parser.
        **renamed: The flag's name by that of the argument, where they differ, as `directory="output"`.
    """
    actions = {action.dest: action for action in parser._actions}

    def spelled(setting: Setting) -> str | None:
        action = actions.get(renamed.get(setting.name, setting.name))
        if action is None:
            return None
        name = action.option_strings[-1] if action.option_strings else action.metavar or action.dest
        value = setting.value if setting.flag_value is None else setting.flag_value
        if not value or not action.option_strings:
            return name
        if action.nargs == 0:  # a switch
            return name if value == str(action.const) else None
        return f"{name}={shlex.quote(typed(value))}"

    return spelled


def typed(text):
    """Returns a Python value as it is typed after a flag: `(9.0, 0.0)` as `9,0`, other text as it is."""
    try:
        return _typed(ast.literal_eval(text))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def _typed(value):
    if isinstance(value, list | tuple):
        return ",".join(map(_typed, value))
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def refuse(error, spelling: Spelling, code: int = 2) -> int:
    """Prints an error in the words of the command line, and every problem of a list; returns the exit code."""
    if isinstance(error, ArgumentError):
        got = error.got if error.got is None or error.got[:1] not in "([" else typed(error.got) or "nothing"
        lines = [ArgumentError(error.argument, error.expected, got, *error.remedies).spelled(spelling)]
    elif found := getattr(error, "found", ()):
        lines = [problem.spelled(spelling) for problem in found]
        if getattr(error, "problems", ()):
            lines = [str(error).partition("\n")[0], *(f"  {line}" for line in lines)]
    else:
        lines = [str(error)]
    print("\n".join(["keras-ordseg: " + lines[0], *lines[1:]]), file=sys.stderr)
    return code
