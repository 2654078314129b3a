"""Jobs in several processes: each runs once with what it was given, and an error ends them all."""

import io
import os
from concurrent.futures.process import BrokenProcessPool
from types import SimpleNamespace

import pytest

from keras_ordseg.benchmark import Settings, TrainingError, _workers, runner
from keras_ordseg.benchmark._workers import run_jobs


def note(folder, stream, name, rest):
    """A job: leaves a file, or fails."""
    if name == "bad":
        raise ValueError("a job that fails")
    (folder / name).write_text(f"{os.getpid()} {rest:g} {stream.isatty()}")


def test_several_processes_and_an_error(tmp_path, monkeypatch):
    """Two processes at a time that live for one job: three jobs take three of them, and none is this one."""
    pytest.importorskip("jax")
    monkeypatch.setenv("KERAS_BACKEND", "jax")  # which five processes import sooner than TensorFlow
    monkeypatch.setattr(_workers, "_LIFE", 1)
    run_jobs(note, [("a", 4), ("b", 2), ("c", 0)], 2, (tmp_path,), None)
    found = {f.name: f.read_text().split() for f in tmp_path.iterdir()}
    assert {name: words[1] for name, words in found.items()} == {"a": "2", "b": "1", "c": "0"}
    assert {words[2] for words in found.values()} == {"False"}
    assert found["c"][0] not in (found["a"][0], found["b"][0], str(os.getpid()))
    with pytest.raises(ValueError, match="a job that fails"):
        run_jobs(note, [("bad", 2), ("later", 1), ("never", 0)], 2, (tmp_path,), None)
    assert not (tmp_path / "never").exists()


def test_one_process_is_this_one(tmp_path):
    run_jobs(note, [("a", 0)], 1, (tmp_path,), io.StringIO())
    assert (tmp_path / "a").read_text() == f"{os.getpid()} 0 False"
    with pytest.raises(ValueError, match="a job that fails"):
        run_jobs(note, [("bad", 1), ("never", 0)], 1, (tmp_path,), io.StringIO())
    assert [f.name for f in tmp_path.iterdir()] == ["a"]


def test_a_count_that_is_none():
    with pytest.raises(ValueError, match="processes: expected a whole number of at least 1. Received: 0"):
        run_jobs(note, [], 0, (), None)


def test_a_process_that_is_killed_is_told(tmp_path, monkeypatch):
    def killed(*arguments):
        raise BrokenProcessPool

    monkeypatch.setattr(runner, "run_jobs", killed)
    with pytest.raises(TrainingError, match="Continue with --resume and fewer --processes"):
        runner.finish(Settings(), SimpleNamespace(folds={None: None}), tmp_path, processes=2)
