"""A file or folder appears whole, or what was there stays."""

import os

import pytest

from keras_ordseg._io import in_place


def made(path, text):
    path.mkdir()
    (path / "page.txt").write_text(text)


def names(folder):
    return sorted(file.name for file in folder.iterdir())


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_the_new_takes_the_place_of_the_old(tmp_path, kind, there):
    target = tmp_path / "deep" / "result"
    write = made if kind == "folder" else lambda path, text: path.write_text(text)
    if there:
        target.parent.mkdir()
        write(target, "old")
    with in_place(target) as path:
        assert not path.exists()
        write(path, "new")
    assert (target / "page.txt" if kind == "folder" else target).read_text() == "new"
    assert names(target.parent) == ["result"]


def test_an_error_while_writing_leaves_what_was_there(tmp_path):
    made(tmp_path / "result", "old")

    def interrupted():
        with in_place(tmp_path / "result") as path:
            made(path, "half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (tmp_path / "result" / "page.txt").read_text() == "old"
    assert names(tmp_path) == ["result"]


@pytest.mark.parametrize("failing, stays", [((2,), "old"), ((1,), "old"), ((2, 3), None)])
def test_a_rename_that_fails(tmp_path, monkeypatch, failing, stays):
    """The second rename fails: the old folder goes back. If that fails too, the error says where the old one is."""
    made(tmp_path / "result", "old")
    real, calls = os.replace, []

    def replace(source, target):
        calls.append((source, target))
        if len(calls) in failing:
            raise OSError(5, "Input/output error")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OSError) as error, in_place(tmp_path / "result") as path:
        made(path, "new")
    if stays:
        assert (tmp_path / "result" / "page.txt").read_text() == stays
        assert names(tmp_path) == ["result"]
    else:
        place = str(error.value).partition("is now at ")[2].partition(" (")[0]
        assert (tmp_path / place / "page.txt").read_text() == "old"


def test_an_inspection_survives_a_failing_rename(tmp_path, monkeypatch):
    from PIL import Image

    from keras_ordseg import data, inspection

    (tmp_path / "masks").mkdir()
    for name in ("1_image", "1_rater1", "1_rater2"):
        Image.new("L", (8, 8), 255).save(tmp_path / "masks" / f"{name}.png")
    cases = data.cases(tmp_path / "masks")
    result = inspection.inspect(cases)
    inspection.write(result, cases, tmp_path / "out")
    real = os.replace

    def replace(source, target):
        if os.fspath(target) == os.fspath(tmp_path / "out") and "earlier" not in os.fspath(source):
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OSError, match="No space left"):
        inspection.write(result, cases, tmp_path / "out", overwrite=True)
    assert names(tmp_path / "out") == ["contact_sheet.png", "inspection.html", "inspection.json"]
    assert names(tmp_path) == ["masks", "out"]
