"""Runs of the benchmark in this process, without what a test does not look at."""

import contextlib
import io
from types import SimpleNamespace
from unittest import mock

import pytest

from keras_ordseg.benchmark import runner, summary
from keras_ordseg.cli import main


@pytest.fixture
def steps_without_a_graph(monkeypatch):
    """Trainings run step by step: of a few steps, to trace them is nearly all of the time."""
    build = runner.build_model

    def built(*arguments):
        model = build(*arguments)
        model.run_eagerly = True
        return model

    monkeypatch.setattr(runner, "build_model", built)


@contextlib.contextmanager
def no_export():
    """Runs end without the SavedModel of their last model."""
    with mock.patch.object(summary, "_export", return_value={"label": "none", "path": "none"}):
        yield


@contextlib.contextmanager
def numbers_only():
    """Runs end with their numbers: no figures, no report, no SavedModel."""
    drawn = {"draw": [], "markdown_report": "", "write_report": None}
    with no_export(), contextlib.ExitStack() as stack:
        for name, value in drawn.items():
            stack.enter_context(mock.patch.object(summary, name, return_value=value))
        yield


def benchmark(*arguments):
    """`keras-ordseg benchmark` in this process: its exit status and what it says."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["benchmark", *map(str, arguments)])
    return SimpleNamespace(returncode=code, stdout=out.getvalue(), stderr=err.getvalue())
