"""Jobs in several processes: each runs once with what it was given, and an error ends them all."""

import io
import os
from concurrent.futures import ThreadPoolExecutor
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


@pytest.fixture
def threads(monkeypatch):
    """Threads in place of processes, each of which would import TensorFlow: the sizes of the pools that were made."""
    made = []

    def pool(count, context, initializer, initargs):
        made.append(count)
        monkeypatch.setattr(_workers, "_COMMON", [*initargs[1]])
        return ThreadPoolExecutor(count)

    monkeypatch.setattr(_workers, "ProcessPoolExecutor", pool)
    return made


def test_pools_of_two_that_live_for_one_job_and_an_error(tmp_path, monkeypatch, threads):
    """Processes: `test_several_processes_and_an_error`, and the folds of tests/benchmark/test_run.py."""
    monkeypatch.setattr(_workers, "_LIFE", 1)
    run_jobs(note, [("a", 4), ("b", 2), ("c", 0)], 2, (tmp_path,), None)
    assert threads == [2, 1]
    assert {f.name: f.read_text().split()[1:] for f in tmp_path.iterdir()} == {
        "a": ["2", "False"],
        "b": ["1", "False"],
        "c": ["0", "False"],
    }
    with pytest.raises(ValueError, match="a job that fails"):
        run_jobs(note, [("bad", 2), ("later", 1), ("never", 0)], 2, (tmp_path,), None)
    assert not (tmp_path / "never").exists()


@pytest.mark.slow
def test_several_processes_and_an_error(tmp_path, monkeypatch):
    """Two processes at a time that live for one job: three jobs take three of them, and none is this one."""
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
    with pytest.raises(ValueError, match="processes: expected a whole number of at least 1; got 0"):
        run_jobs(note, [], 0, (), None)


def test_a_process_that_is_killed_is_told(tmp_path, monkeypatch):
    def killed(*arguments):
        raise BrokenProcessPool

    monkeypatch.setattr(runner, "run_jobs", killed)
    with pytest.raises(TrainingError, match="continue with resume=True and fewer processes="):
        runner.finish(Settings(), SimpleNamespace(folds={None: None}), tmp_path, processes=2)
