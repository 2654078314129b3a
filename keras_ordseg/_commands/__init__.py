"""The commands of `keras-ordseg`, one file each; they import their rooms when they run."""

import re


def words(text):
    """The words of a comma-separated list."""
    return tuple(word for word in text.replace(" ", "").split(",") if word)


def methods(text):
    """The methods of a comma-separated list, in which commas within brackets separate options."""
    return tuple(word for word in re.split(r",(?![^(]*\))", text.replace(" ", "")) if word)


def window(text):
    """The two ends of a window: numbers, or percentiles such as `1%`."""
    ends = words(text)
    return ends if any("%" in end for end in ends) else tuple(map(float, ends))


def numbers(kind):
    """A parser of comma-separated numbers of this kind."""
    def parse(text):
        return tuple(kind(word) for word in words(text))

    parse.__name__ = "list of numbers"  # argparse names it when a value does not parse
    return parse
