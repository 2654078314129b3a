"""Errors that speak of arguments in Python and of flags on the command line."""

import pickle

import pytest

from keras_ordseg._checks import ArgumentError, Problem, Setting
from keras_ordseg.data import DataError

WINDOW = ("give ", Setting("window", "(0, 4095)", "0,4095"), " for 12 bits")


def flags(setting):
    """A command that knows --window and nothing else."""
    return f"--window={setting.flag_value}" if setting.name == "window" and setting.flag_value else None


def test_a_problem_in_both_spellings():
    problem = Problem("expected [0, 1]; got [0, 9]", ("scale it", WINDOW, ("pass ", Setting("outside", "True")))).at("a.png")
    assert str(problem) == (
        "a.png: expected [0, 1]; got [0, 9]; scale it, or give window=(0, 4095) for 12 bits, or pass outside=True"
    )
    assert problem.spelled(flags) == "a.png: expected [0, 1]; got [0, 9]; scale it, or give --window=0,4095 for 12 bits"


def test_an_argument_error():
    error = ArgumentError("window", "(lo, hi) with lo < hi", "(9, 0)", "swap them")
    assert str(error) == "window: expected (lo, hi) with lo < hi; got (9, 0). Swap them."
    assert error.argument == "window"
    said = error.spelled(lambda setting: f"--{setting.name}")
    assert said == "--window: expected (lo, hi) with lo < hi; got (9, 0). Swap them."


def test_a_list_of_problems_keeps_its_parts_and_counts_each_once():
    one = Problem("is empty", (WINDOW,), "a.png")
    error = DataError.listing([one, "b.png: is cut short", one], "the folder")
    assert error.problems == ("a.png: is empty; give window=(0, 4095) for 12 bits", "b.png: is cut short")
    assert [problem.spelled(flags) for problem in error.found] == [
        "a.png: is empty; give --window=0,4095 for 12 bits", "b.png: is cut short",
    ]


@pytest.mark.parametrize("error", [
    ArgumentError("size", "1 or more", "0", WINDOW), DataError("is empty", WINDOW), DataError.listing(["a", "b"], "here"),
])  # fmt: skip
def test_errors_survive_other_processes(error):
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    for name in ("problems", "found", "argument", "remedies"):
        assert getattr(again, name, None) == getattr(error, name, None)
    assert str(again) == str(error)
