"""The words of the command line: values that begin with a minus, errors in flags, advice that can be followed there."""

import argparse
import pickle

import numpy as np
import pytest
from PIL import Image

from keras_ordseg._checks import ArgumentError, PathError, Problem, Setting
from keras_ordseg._commands import flags, joined, refuse, typed
from keras_ordseg.cli import _parser, main
from keras_ordseg.data import DataError


@pytest.mark.parametrize(
    "before, after",
    [
        ("inspect x --window -1000,400", "inspect x --window=-1000,400"),
        ("inspect x --void -1,255 --label -1", "inspect x --void=-1,255 --label=-1"),
        ("predict --axis -1 --spacing -.5,1", "predict --axis=-1 --spacing=-.5,1"),
        ("inspect x --window -inf,400", "inspect x --window=-inf,400"),
        ("inspect x --window=-1000,400 --json", "inspect x --window=-1000,400 --json"),
        ("predict --images a -1.png --overwrite --output o", "predict --images a -1.png --overwrite --output o"),
        ("inspect -- -1", "inspect -- -1"),
        ("benchmark -h", "benchmark -h"),
    ],
)
def test_a_value_that_begins_with_a_minus(before, after):
    assert joined(before.split()) == after.split()


@pytest.mark.parametrize(
    "command, name, value",
    [
        ("inspect folder --window -1000,400", "window", (-1000.0, 400.0)),
        ("inspect folder --window −1000,400", "window", (-1000.0, 400.0)),  # U+2212, as copied from a page
        ("benchmark --output o --window -1000,400", "window", (-1000.0, 400.0)),
        ("benchmark --output o --void -1,255", "void", (-1, 255)),
        ("benchmark --output o --seeds -3", "seeds", (-3,)),
        ("predict --model m --images i --output o --window -1000,400", "window", (-1000.0, 400.0)),
        ("predict --model m --images i --output o --spacing -1,2", "spacing", (-1.0, 2.0)),
        ("export m.keras --output o --spacing -0.7,0.7", "spacing", (-0.7, 0.7)),
        ("inspect folder --label -1", "label", (-1,)),
    ],
)
def test_every_command_reads_it(command, name, value):
    assert getattr(_parser().parse_args(joined(command.split())), name) == value


@pytest.fixture
def spelling():
    parser = argparse.ArgumentParser()
    parser.add_argument("path", metavar="PATH")
    parser.add_argument("--output")
    parser.add_argument("--window")
    parser.add_argument("--overwrite", action="store_true")
    parser.add_argument("--no-augment", dest="augment", action="store_false")
    return flags(parser, directory="output", source="path")


@pytest.mark.parametrize(
    "setting, flag",
    [
        (Setting("window"), "--window"),
        (Setting("window", "(-1000, 400.0)"), "--window=-1000,400"),
        (Setting("window", "(lo, hi)", "LO,HI"), "--window=LO,HI"),
        (Setting("window", '("1%", "99%")'), "--window=1%,99%"),
        (Setting("window", '"*_x {r}.png"'), "--window='*_x {r}.png'"),
        (Setting("directory", "'here'"), "--output=here"),
        (Setting("source"), "PATH"),
        (Setting("overwrite", "True"), "--overwrite"),
        (Setting("overwrite", "False"), None),
        (Setting("augment", "False"), "--no-augment"),
        (Setting("groups"), None),
    ],
)
def test_a_setting_as_a_flag(spelling, setting, flag):
    assert spelling(setting) == flag


def said(error, spelling, capsys):
    assert refuse(error, spelling) == 2
    return capsys.readouterr().err


def test_an_argument_is_a_flag_and_its_value_as_typed(spelling, capsys):
    remedies = ("swap them", ("pass ", Setting("groups")), ("replace it with ", Setting("overwrite", "True")))
    error = ArgumentError("window", "(lo, hi) with lo < hi", "(9.0, 0.5)", *remedies)
    assert said(error, spelling, capsys) == (
        "keras-ordseg: --window: expected (lo, hi) with lo < hi; got 9,0.5. Swap them, or replace it with --overwrite.\n"
    )
    assert said(ArgumentError("shape", "two", "'a b'"), spelling, capsys) == "keras-ordseg: shape: expected two; got 'a b'\n"
    error = PathError("directory", "a folder", "x, which is a file")
    assert said(error, spelling, capsys) == "keras-ordseg: --output: expected a folder; got x, which is a file\n"
    assert said(OSError("disk is full"), spelling, capsys) == "keras-ordseg: disk is full\n"


def test_every_problem_of_a_list_is_printed(spelling, capsys):
    problems = [Problem("is dark", (("give ", Setting("window", "(0, 9)")),), f"{i}.png") for i in range(30)]
    lines = said(DataError.listing(problems, "here"), spelling, capsys).splitlines()
    assert lines[0] == "keras-ordseg: 30 problems in here:"
    assert lines[1:] == [f"  {i}.png: is dark; give --window=0,9" for i in range(30)]
    one = DataError("has no column 'id'", "name it so", ("pass ", Setting("groups")))
    assert said(one, spelling, capsys) == "keras-ordseg: has no column 'id'; name it so\n"


def test_a_path_error_is_what_callers_may_catch():
    error = PathError("output", "a folder", "a file")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert str(again) == str(error) == "output: expected a folder; got a file"
    for kind in (FileExistsError, NotADirectoryError, FileNotFoundError, ArgumentError):
        assert isinstance(error, kind)


def test_typed():
    assert [typed(text) for text in ("(1, 2)", "[0.5]", "'a'", "()", "a(b", "3", "None")] == [
        "1,2", "0.5", "a", "", "a(b", "3", "None",
    ]  # fmt: skip


def pictures(folder):
    folder.mkdir()
    mask = np.zeros((8, 9), np.uint8)
    mask[2:5, 2:6] = 255
    for name, array in (("a", mask // 2), ("m", mask)):
        Image.fromarray(array).save(folder / f"{name}.png")


def test_files_outside_the_folder_of_a_csv(tmp_path, capsys):
    pictures(tmp_path / "far")
    (tmp_path / "near").mkdir()
    table = tmp_path / "near" / "t.csv"
    table.write_text("id,image,rater1,rater2\n1,../far/a.png,../far/m.png,../far/m.png\n")
    for command in (["inspect", str(table)], ["benchmark", "--data", str(table), "--output", str(tmp_path / "run")]):
        assert main(command) == 2
        err = capsys.readouterr().err
        assert "move it, or pass --outside" in err
        assert "outside=True" not in err
    assert main(["inspect", str(table), "--outside"]) == 0
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "command, words",
    [
        (["inspect", "{}", "--output", "{}/0_image.png"], "--output: expected a folder; got {}/0_image.png"),
        (["inspect", "{}", "--shown", "-1", "--output", "{}/o"], "--shown: expected 1 or more; got -1"),
        (["inspect", "{}", "--margin", "-2", "--output", "{}/o"], "--margin: expected 0 or more; got -2"),
        (["benchmark", "--output", "{}/o", "--seeds", "-1,0"], "--seeds: expected different whole numbers from 0"),
        (["benchmark", "--output", "{}/o", "--seeds", "4294967296"], "got 4294967296"),
        (["benchmark", "--output", "{}/o", "--fractions", "0.5,0.5"], "--fractions: expected three, for training"),
        (["benchmark", "--output", "{}/o", "--filters", "0"], "--filters: expected one whole number or more"),
        (["benchmark", "--output", "{}"], "--output: expected a new folder or an empty one; got {}"),
        (["export", "{}/none.keras", "--output", "{}/o"], "MODEL.keras: expected a .keras file"),
        (["predict", "--model", "{}/x", "--images", "{}", "--output", "{}/o"], "--model: expected a .keras file, a folder"),
        (["predict", "--model", "{}/x", "--images", "{}/n*", "--output", "{}/o"], "--images: expected files that end in"),
    ],
)
def test_errors_name_the_flag(command, words, tmp_path, capsys):
    Image.new("L", (8, 8)).save(tmp_path / "0_image.png")
    Image.new("L", (8, 8), 255).save(tmp_path / "0_rater1.png")
    assert main([word.replace("{}", str(tmp_path)) for word in command]) == 2
    assert words.replace("{}", str(tmp_path)) in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_settings_of_a_yaml_file_keep_their_names_there(tmp_path, capsys):
    (tmp_path / "grid.yaml").write_text("batch_size: 0\n")
    assert main(["benchmark", "--config", str(tmp_path / "grid.yaml"), "--output", str(tmp_path / "o")]) == 2
    assert "keras-ordseg: batch_size: expected a whole number of at least 1; got 0" in capsys.readouterr().err


def test_a_warning_is_one_line(monkeypatch, capsys):
    import warnings

    from keras_ordseg._commands import prepare

    def run(spelling, arguments):
        warnings.warn("the masks are dark", UserWarning, stacklevel=2)
        return 0

    monkeypatch.setattr(prepare, "_run", run)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(["prepare"]) == 0
    assert capsys.readouterr().err == "warning: the masks are dark\n"
