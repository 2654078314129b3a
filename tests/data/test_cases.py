"""Which files belong together."""

from pathlib import Path

import pytest

from keras_ordseg import data


def test_missing_file_is_an_absent_rater(panel):
    cases = data.cases(panel)
    assert [case.id for case in cases] == ["a", "b", "c"]
    assert cases.raters == ("1", "2")
    assert cases.num_raters == 2
    assert cases.num_absent == 1
    assert str(cases[1].ratings[0]) == f"{panel}/b_rater1.png"
    assert cases[1].ratings[1] is None
    assert [case.group for case in cases] == ["a", "b", "c"]


def test_raters_and_ids_in_natural_order(folder):
    path = folder([f"{case}_image.png" for case in (2, 10)] + [f"2_rater{r}.png" for r in (10, 2, 1)])
    folder(["10_rater7.png"])
    cases = data.cases(path)
    assert cases.raters == ("1", "2", "7", "10")
    assert [case.id for case in cases] == ["2", "10"]
    assert [mask is None for mask in cases[1].ratings] == [True, True, False, True]


@pytest.mark.parametrize(
    "image, ratings, names",
    [
        ("images/*.png", "masks/{r}/*.png", ["images/p_1.png", "masks/ann/p_1.png", "masks/bob/p_1.png"]),
        ("*.png", "*_{r}.png", ["p_1.png", "p_1_ann.png", "p_1_bob.png"]),
        ("*_image.png", "*_{r}.png", ["p_1_image.png", "p_1_ann.png", "p_1_bob.png"]),
        (
            "*/*.png",
            "*/*_seg_{r}.png",
            ["p_1/p_1.png", "p_1/p_1_seg_ann.png", "p_1/p_1_seg_bob.png", "p_1/q.png"],
        ),
        ("x[1]/*.png", "{r}/*.png", ["x[1]/p_1.png", "ann/p_1.png", "bob/p_1.png"]),
    ],
)
def test_patterns(folder, image, ratings, names):
    path = folder(names)
    cases = data.cases(path, image, ratings)
    assert len(cases) == 1
    assert cases[0].id == "p_1"
    assert cases.raters == ("ann", "bob")
    assert Path(cases[0].image) == path / names[0]
    assert [Path(mask) for mask in cases[0].ratings] == [path / names[1], path / names[2]]


def test_longest_id_owns_the_mask(folder):
    """`p_1_2.png` is rater 2 of case p_1, not rater 1_2 of case p."""
    names = ["p.tif", "p_1.tif", "p_9.png", "p_1_2.png"]
    cases = data.cases(folder(names), "*.tif", "*_{r}.png")
    found = {case.id: [mask.name for mask in case.ratings if mask] for case in cases}
    assert found == {"p": ["p_9.png"], "p_1": ["p_1_2.png"]}


def test_shorter_id_where_the_longest_has_no_image(folder):
    """`p_dr_ann.png` is rater dr_ann of case p: there is no image of a case p_dr."""
    cases = data.cases(folder(["p_image.png", "p_dr_ann.png", "p_dr_bob.png"]), ratings="*_{r}.png")
    assert cases.raters == ("dr_ann", "dr_bob")
    assert [mask.name for mask in cases[0].ratings] == ["p_dr_ann.png", "p_dr_bob.png"]


def test_hidden_files_and_masks_without_image(panel, folder):
    folder(["._a_image.png", "z_rater1.png"])
    cases = data.cases(panel)
    assert len(cases) == 3
    assert {file.name: file.reason for file in cases.unmatched} == {
        "z_rater1.png": "a mask of no image", "._a_image.png": "hidden"
    }  # fmt: skip


def test_chosen_raters(panel):
    cases = data.cases(panel, raters=["1"])
    assert cases.num_raters == 1
    assert all(len(case.ratings) == 1 for case in cases)
    with pytest.raises(data.DataError, match=r"no file of rater 3; raters there are 1, 2"):
        data.cases(panel, raters=["1", "3"])
    with pytest.raises(ValueError, match="raters: expected each rater once"):
        data.cases(panel, raters=["1", "1"])
    with pytest.raises(data.DataError, match=r"b_image.png: no mask of the raters asked for \(2\); it has one of 1"):
        data.cases(panel, raters=["2"])


def test_one_rater(folder):
    assert data.cases(folder(["a_image.png", "a_rater1.png"])).num_raters == 1


class TestGroups:
    def test_index(self, panel):
        (panel / "index.csv").write_text("id,source,group\na,x,p1\nb,y,p2\nc,z,p1\nunused,,p9\n")
        assert [case.group for case in data.cases(panel)] == ["p1", "p2", "p1"]

    def test_index_without_leading_zeros_or_with_a_mark(self, folder):
        path = folder([f"00{i}_{kind}.png" for i in (1, 2) for kind in ("image", "rater1")])
        (path / "index.csv").write_text("\ufeffid,group\n1,p1\n2,p2\n", encoding="utf-8")
        assert [case.group for case in data.cases(path)] == ["p1", "p2"]

    def test_given(self, panel):
        (panel / "index.csv").write_text("nothing\n")
        assert [case.group for case in data.cases(panel, groups=str.upper)] == ["A", "B", "C"]
        given = data.cases(panel, groups={"a": 1, "b": 1, "c": 2})
        assert [case.group for case in given] == ["1", "1", "2"]
        with pytest.raises(data.DataError, match="no group for 1 cases, the first is 'c'"):
            data.cases(panel, groups={"a": 1, "b": 1})

    @pytest.mark.parametrize(
        "text, message",
        [
            ("case,group\na,p1\n", r"index.csv: has no column 'id' \(columns: case, group\)"),
            ("id,width\na,5\n", r"index.csv: has no column 'group' \(columns: id, width\)"),
            ("id,group\na,p1\nb,p1\n", "does not name 1 of 3 cases, the first is 'c'"),
            ("id,group\na,p1\na,p2\nb,p1\nc,p1\n", "row 2: id 'a' has two groups, p1 and p2"),
            ("id,group\na,p1\nb\nc,p1\n", "row 2: id 'b' has no group"),
        ],
    )
    def test_bad_index(self, panel, text, message):
        (panel / "index.csv").write_text(text)
        with pytest.raises(data.DataError, match=message):
            data.cases(panel)


class TestErrors:
    def test_no_folder(self, tmp_path):
        with pytest.raises(data.DataError, match="there is no such folder"):
            data.cases(tmp_path / "absent")
        (tmp_path / "file").write_text("")
        with pytest.raises(data.DataError, match="is a file, not a folder or .csv"):
            data.cases(tmp_path / "file")

    def test_empty_folder(self, tmp_path):
        with pytest.raises(
            data.DataError, match=r"no image matches '\*_image.png'. The folder is empty"
        ):
            data.cases(tmp_path)

    def test_other_names_are_shown(self, panel):
        with pytest.raises(
            data.DataError, match=r"'\*.jpg'. The folder holds a_image.png, .* and 3 more"
        ):
            data.cases(panel, image="*.jpg")

    def test_no_ratings(self, folder):
        path = folder(["a_image.png", "b_rater1.png"])
        with pytest.raises(data.DataError, match=r"no mask of any image matches '\*_rater\{r\}.png'"):
            data.cases(path)

    def test_case_without_ratings(self, panel, folder):
        folder(["d_image.png", "e_image.png"])
        with pytest.raises(
            data.DataError, match=r"(?s)2 problems in .*d_image.png: no mask.*e_image.png: no mask"
        ):
            data.cases(panel)

    @pytest.mark.parametrize(
        "image, ratings, message",
        [
            ("*_image.png", "*_rater.png", r"ratings: expected a pattern .* \"\{r\}\" for the rater"),
            ("*_image.png", "rater{r}.png", "ratings: expected a pattern"),
            ("image.png", "*_rater{r}.png", "image: expected a pattern"),
            ("**/*.png", "*_rater{r}.png", r'without "\*\*": each \* stands for the same text'),
            ("/tmp/*.png", "*_rater{r}.png", "image: expected a pattern inside the folder"),
        ],
    )
    def test_patterns(self, panel, image, ratings, message):
        with pytest.raises(ValueError, match=message):
            data.cases(panel, image, ratings)
