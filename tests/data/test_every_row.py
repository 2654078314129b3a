"""Every row that is read was written, and every chosen rater answered: anything else is an error that names the case."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from keras_ordseg import data
from keras_ordseg.data import readers


@pytest.fixture
def table(folder):
    """Three images; case 2 has a mask of rater 3 alone."""
    names = ["1_image", "1_rater1", "1_rater2", "2_image", "2_rater3", "3_image", "3_rater1"]
    root = folder([f"{name}.png" for name in names])
    (root / "t.csv").write_text(
        "id,image,rater1,rater2,rater3\n1,1_image.png,1_rater1.png,1_rater2.png,\n"
        "2,2_image.png,,,2_rater3.png\n3,3_image.png,3_rater1.png,,\n"
    )
    return root


class TestChosenRaters:
    @pytest.mark.parametrize("source, where", [("", "2_image.png"), ("t.csv", r"row 2 \(2\)")])
    def test_nobody_of_them_marked_a_case(self, table, source, where):
        with pytest.raises(data.DataError) as caught:
            data.cases(table / source, raters=["1", "2"])
        assert len(caught.value.problems) == 1
        assert caught.match(f"{where}: no mask of the raters asked for \\(1, 2\\); it has one of 3; leave this case out")

    def test_rows(self, table):
        rows = [{"id": 1, "image": table / "1_image.png", "ratings": {"a": table / "1_rater1.png", "b": None}}]
        rows += [{"id": 2, "image": table / "2_image.png", "ratings": {"b": table / "2_rater3.png"}}]
        with pytest.raises(data.DataError, match=r"row 2 \(2\): no mask of the raters asked for \(a\)"):
            data.cases(rows, raters=["a"])

    def test_all_of_them(self, table):
        for source in ("", "t.csv"):
            assert data.cases(table / source, raters=["3", "1"]).raters == ("3", "1")

    @pytest.mark.parametrize("raters", [[], "12", ["1", "1 "], ["1", None], 1, [float("nan")], {"1", "2"}])
    def test_no_names(self, table, raters):
        for source in ("", "t.csv"):
            with pytest.raises(ValueError, match="raters: expected"):
                data.cases(table / source, raters=raters)

    def test_numbers_are_names(self, table):
        assert data.cases(table, raters=np.array([1, 3])).raters == ("1", "3")


@pytest.fixture
def silent(table):
    """A table made by hand, of a case without any mask."""
    cases = data.cases(table)
    return replace(cases, items=(cases[0], replace(cases[1], ratings=(None,) * 3), cases[2]))


class TestCaseWithoutMask:
    @pytest.mark.parametrize(
        "use",
        [
            data.load,
            data.check,
            lambda cases: cases.patches(2),
            lambda cases: cases.slices(),
            lambda cases: data.PyDataset(cases, 2),
        ],
    )
    def test_named(self, silent, use):
        with pytest.raises(data.DataError, match="case 2: has no mask of any of its raters"):
            use(silent)

    def test_volumes_with_geometry(self, tmp_path):
        nibabel = pytest.importorskip("nibabel")
        nibabel.save(nibabel.Nifti1Image(np.ones((3, 4, 5), np.uint8), np.eye(4)), tmp_path / "m.nii")
        nibabel.save(nibabel.Nifti1Image(np.ones((3, 4, 5), np.float32), np.eye(4)), tmp_path / "i.nii")
        rows = [{"id": i, "image": tmp_path / "i.nii", f"rater{i}": tmp_path / "m.nii"} for i in (1, 2)]
        with pytest.raises(data.DataError, match="no mask of the raters asked for"):
            data.cases(rows, raters=["1"])
        cases = data.cases(rows)
        with pytest.raises(data.DataError, match="case 2: has no mask"):
            data.load(replace(cases, items=(cases[0], replace(cases[1], ratings=(None, None)))))


class TestShapes:
    @pytest.fixture
    def mixed(self, folder):
        """Two pictures and a volume."""
        root = folder(["1_image.png", "1_rater1.png", "2_image.png", "2_rater1.png"])
        np.save(root / "v.npy", np.zeros((6, 5, 4), np.uint8))
        np.save(root / "m.npy", np.ones((6, 5, 4), np.uint8))
        rows = [{"id": i, "image": root / f"{i}_image.png", "rater1": root / f"{i}_rater1.png"} for i in (1, 2)]
        return rows, {"id": "v", "image": root / "v.npy", "rater1": root / "m.npy"}

    @pytest.mark.parametrize("place, size", [(0, None), (1, None), (2, None), (0, 4), (1, 4), (2, 4), (1, (4, 4))])
    def test_picture_and_volume(self, mixed, place, size):
        rows, volume = mixed
        rows.insert(place, volume)
        with pytest.raises(data.DataError, match=r"1 problem(.|\n)*v.npy: has 3 axes \(6x5x4\), most images have 2"):
            data.load(data.cases(rows), size=size)

    def test_every_reader_says_so(self, mixed):
        rows, volume = mixed
        cases = data.cases([*rows, volume])
        for use in (data.check, lambda cases: data.PyDataset(cases, 2), lambda cases: data.PyDataset(cases, 2, size=4)):
            with pytest.raises(data.DataError, match="v.npy: has 3 axes"):
                use(cases)

    def test_two_sizes_in_a_dataset(self, folder):
        """Found while the dataset is made, not by a thread in `fit`."""
        folder(["1_image.png", "1_rater1.png"])
        cases = data.cases(folder(["2_image.png", "2_rater1.png"], size=(4, 8)))
        with pytest.raises(data.DataError, match="images of 2 sizes"):
            data.PyDataset(cases, 1)
        assert len(list(data.PyDataset(cases, 1, size=4))) == 2

    def test_two_numbers_of_channels_in_a_dataset(self, folder):
        root = folder(["1_image.png", "1_rater1.png", "2_rater1.png"])
        Image.new("RGB", (5, 6)).save(root / "2_image.png")
        with pytest.raises(data.DataError, match="2_image.png: has 3 channels"):
            data.PyDataset(data.cases(root), 1)

    @pytest.mark.parametrize("wrong", ["shape", "dtype", "missing"])
    def test_values_that_do_not_fit_their_row(self, panel, monkeypatch, wrong):
        """Whatever a reader returns: a row is written whole, or its case is named."""
        whole = readers.fitted

        def fitted(reader, case, *rest):
            values = whole(reader, case, *rest)
            if case.id == "b":
                ratings = values.pop("ratings")
                changed = {"shape": ratings[:2], "dtype": ratings.astype(float)}
                values |= {} if wrong == "missing" else {"ratings": changed[wrong]}
            return values

        monkeypatch.setattr(readers, "fitted", fitted)
        with pytest.raises(data.DataError, match=r"case b: ratings is (int8|float64|none)"):
            data.load(data.cases(panel))

    def test_rows_that_never_come(self, panel, monkeypatch):
        read = readers.read_checked
        monkeypatch.setattr(readers, "read_checked", lambda *args, **kwargs: list(read(*args, **kwargs))[:2])
        with pytest.raises(data.DataError, match="2 of 3 cases were read"):
            data.load(data.cases(panel))


class TestAnswers:
    def test_a_rater_who_answers_nowhere(self, panel):
        for key in "ac":
            Image.fromarray(np.full((6, 5), 7, np.uint8)).save(panel / f"{key}_rater2.png")
        cases = data.cases(panel, void=7, label=255)
        for use in (data.load, data.check, lambda cases: data.PyDataset(cases, 2)):
            with pytest.raises(data.DataError, match="rater 2 answered nowhere"):
                use(cases)
        assert data.load(cases[:2])["ratings"].shape == (2, 6, 5, 2)  # a selection may well lack a rater

    def test_an_image_that_nobody_rated(self, panel):
        Image.fromarray(np.full((6, 5), 7, np.uint8)).save(panel / "b_rater1.png")
        with pytest.raises(data.DataError, match="case b: no rater rated any pixel"):
            data.check(data.cases(panel, void=7, label=255))

    def test_patches_may_hold_no_answer(self, panel):
        """Void at the border is no reason to refuse the image."""
        for key in "abc":
            pixels = np.asarray(Image.open(panel / f"{key}_rater1.png")).copy()
            pixels[:, :2] = 7
            Image.fromarray(pixels).save(panel / f"{key}_rater1.png")
        cases = data.cases(panel, void=7, label=255, raters=["1"])
        assert (data.load(cases.patches((6, 2)))["ratings"][0] == -1).all()


def test_no_case(panel):
    for use in (data.load, data.check, lambda cases: data.PyDataset(cases, 2)):
        with pytest.raises(data.DataError, match="there is no case"):
            use(data.cases(panel)[:0])


def test_repr(panel):
    cases = data.cases(panel)
    assert repr(cases) == f"<Cases: 3 cases, 2 raters (1, 2), of {panel}>"
    assert repr(cases[:1]).startswith("<Cases: 1 case, 2 raters")
