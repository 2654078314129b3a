"""Jobs in several processes: each runs once with what it was given, and an error ends them all."""

import io

import pytest

from keras_ordseg.benchmark._workers import Workers


def note(folder, stream, name, rest):
    """A job: leaves a file, or fails."""
    if name == "bad":
        raise ValueError("a job that fails")
    (folder / name).write_text(f"{rest:g} {stream.isatty()}")


def test_several_processes_and_an_error(tmp_path):
    with Workers(2, (tmp_path,), None) as workers:
        workers.run(note, [("a", 4), ("b", 2), ("c", 0)])
        assert {f.name: f.read_text() for f in tmp_path.iterdir()} == {"a": "2 False", "b": "1 False", "c": "0 False"}
        with pytest.raises(ValueError, match="a job that fails"):
            workers.run(note, [("bad", 0)])


def test_one_process_is_this_one(tmp_path):
    with Workers(1, (tmp_path,), io.StringIO()) as workers:
        workers.run(note, [("a", 0)])
        with pytest.raises(ValueError, match="a job that fails"):
            workers.run(note, [("bad", 1), ("never", 0)])
    assert [f.name for f in tmp_path.iterdir()] == ["a"]


def test_a_count_that_is_none():
    with pytest.raises(ValueError, match="processes: expected a whole number of at least 1. Received: 0"):
        Workers(0, (), None)
