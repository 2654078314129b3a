"""Groups: every spelling of a table that says who belongs together is read, or refused; images become groups aloud only."""

import csv
import unicodedata

import numpy as np
import pytest

from keras_ordseg import data

WANT = ["p0", "p0", "p1", "p1"]


class NotThere:
    """As pandas' NA: neither equal nor unequal, and no truth value."""

    def __ne__(self, other):
        return self

    __hash__ = None

    def __repr__(self):
        return "NA"

    def __bool__(self):
        raise TypeError("boolean value of NA is ambiguous")


NotThere.__name__ = "NAType"
MISSING = [None, float("nan"), np.float32("nan"), np.datetime64("NaT"), NotThere(), "", "\xa0", "nan", "NaN", "<NA>", "NA"]


@pytest.fixture
def four(folder):
    return folder([f"{i}_{kind}.png" for i in range(4) for kind in ("image", "rater1")])


def index(root, text, encoding="utf-8", name="index.csv"):
    (root / name).write_text(text, encoding=encoding)
    return data.cases(root)


def lines(header, separator=",", cells=lambda i: (i, f"p{i // 2}")):
    return header + "\n" + "".join(separator.join(map(str, cells(i))) + "\n" for i in range(4))


@pytest.mark.parametrize("table", [False, True])
@pytest.mark.parametrize(
    "header", ["id,group", "id, group", "ID,group ", " Id ,GROUP", '"id","group"', "id,\ufeffgroup", "id,group\xa0"]
)
def test_headers(four, header, table):
    if not table:
        assert index(four, lines(header)).groups.tolist() == WANT
        return
    text = lines(header + ",image,Rater1", cells=lambda i: (i, f"p{i // 2}", f"{i}_image.png", f"{i}_rater1.png"))
    (four / "t.csv").write_text(text, encoding="utf-8")
    cases = data.cases(four / "t.csv")
    assert cases.groups.tolist() == WANT
    assert cases.raters == ("1",)


@pytest.mark.parametrize(
    "text, encoding",
    [
        (lines("id;group", ";"), "utf-8"),
        (lines("id\tgroup", "\t"), "utf-16"),
        (lines("id,group"), "utf-8-sig"),
        (lines("id,group") + "\n , \n\n", "utf-8"),
        ("\n\n" + lines("id,group").replace("\n", "\r\n"), "utf-8"),
        ("sep=;\n" + lines("id;group", ";"), "utf-8"),
        (lines("id,group,", cells=lambda i: (i, f"p{i // 2}", "")), "utf-8"),
        (lines(",id,group", cells=lambda i: (i, i, f"p{i // 2}")), "utf-8"),  # as pandas writes its index
        (lines('id,"a;b;c",group', cells=lambda i: (i, '"x;y"', f"p{i // 2}")), "utf-8"),
        (lines("id,group", cells=lambda i: (f"{i}.0", f"p{i // 2}")), "utf-8"),
        (lines('"id" , "group" ', cells=lambda i: (f'"{i}" ', f'"p{i // 2}"\t')), "utf-8"),
        (lines("id,group").replace("\n", "\r"), "utf-8"),
    ],
)
def test_separators_and_encodings(four, text, encoding):
    assert index(four, text, encoding).groups.tolist() == WANT


@pytest.mark.parametrize("name", ["INDEX.CSV", "Index.csv"])
def test_capitals_of_the_index(four, name):
    assert index(four, lines("id,group"), name=name).groups.tolist() == WANT
    (four / "index.csv").write_text("id,group\n")
    with pytest.raises(data.DataError, match="keep one of them"):
        data.cases(four)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "there are no rows"),
        (lines("id,patient"), r"no column 'group' \(columns: id, patient\)"),
        (lines("patient,group"), r"no column 'id' \(columns: patient, group\)"),
        (lines("id,group,Group ", cells=lambda i: (i, "a", f"p{i}")), "two columns of one name, 'group' and 'Group '"),
        (lines("id,group", cells=lambda i: (i, "" if i == 2 else "p")), "row 3: id '2' has no group"),
        (lines("id,group", cells=lambda i: (i, "NaN" if i == 2 else "p")), "row 3: id '2' has no group"),
        (lines("id,group") + "0,p9\n", "row 5: id '0' has two groups, p0 and p9"),
        (lines("id,group") + ",p9\n", "row 5: has no id"),
        ("id,group\n0,Smith, John\n1,Smith, Ann\n2,p\n3,p\n", "row 1: has more cells than the header"),
        ("id,group,\n0,Smith, John\n1,Smith, Ann\n2,p,\n3,p,\n", "row 1: has more cells than the header"),
        ('id,group\n0,"p0\n1,p0\n2,p1\n3,p1\n', "cannot be read as CSV .*; check its quotes"),
        ("id,group\n0,p0\n1,p0\n", "does not name 2 of 4 cases, the first is '2'"),
    ],
)
def test_refused(four, text, message):
    with pytest.raises(data.DataError, match=message):
        index(four, text)


def test_not_text(four):
    for raw in ("id,group\n0,Zoë\n".encode("latin-1"), "id,group\n0,p\n".encode("utf-16-le")):
        (four / "index.csv").write_bytes(raw)
        with pytest.raises(data.DataError, match="index.csv: .*not UTF-8 text; save it as CSV UTF-8"):
            data.cases(four)
    (four / "index.csv").unlink()
    (four / "index.csv").symlink_to(four / "nowhere")
    with pytest.raises(data.DataError, match="index.csv: is a link whose content is not here"):
        data.cases(four)


class TestLeadingZeros:
    """A spreadsheet cuts them; two ids that differ only so are told apart by their text, or not at all."""

    def cases(self, folder, ids, rows):
        root = folder([f"{key}_{kind}.png" for key in ids for kind in ("image", "rater1")])
        return index(root, "id,group\n" + "".join(f"{key},{group}\n" for key, group in rows)).groups.tolist()

    def test_cut(self, folder):
        assert self.cases(folder, ["000", "007", "010"], [(0, "a"), (7, "b"), (10, "c")]) == ["a", "b", "c"]

    def test_added(self, folder):
        assert self.cases(folder, ["1", "2"], [("01", "a"), ("02", "b")]) == ["a", "b"]

    def test_exact_where_both_are_there(self, folder):
        assert self.cases(folder, ["1", "01"], [("01", "a"), ("1", "b")]) == ["a", "b"]

    @pytest.mark.parametrize("ids, rows", [(["1", "01"], [("1", "a")]), (["001"], [("1", "a"), ("01", "b")])])
    def test_ambiguous(self, folder, ids, rows):
        with pytest.raises(data.DataError, match="does not name 1 of"):
            self.cases(folder, ids, rows)

    def test_only_of_numbers(self, folder):
        with pytest.raises(data.DataError, match="does not name 1 of 1 cases, the first is '0a'"):
            self.cases(folder, ["0a"], [("a", "p")])


class TestRows:
    def rows(self, panel, groups, ids=(1, 2, 3)):
        files = {"image": panel / "a_image.png", "rater1": panel / "a_rater1.png"}
        return data.cases([{"id": key, "group": group, **files} for key, group in zip(ids, groups, strict=True)])

    @pytest.mark.parametrize(
        "groups, want",
        [
            ([0, 0, 1], ["0", "0", "1"]),
            (np.array([0, 0, 1]), ["0", "0", "1"]),
            ([0.0, 0.0, 1.0], ["0", "0", "1"]),  # pandas, where a value was missing once
            ([False, False, True], ["False", "False", "True"]),
            ([" p ", "p", b"p"], ["p", "p", "p"]),
            (["José", unicodedata.normalize("NFD", "José"), "x"], ["José", "José", "x"]),
        ],
    )
    def test_values(self, panel, groups, want):
        cases = self.rows(panel, groups)
        assert cases.groups.tolist() == want
        assert cases.grouped
        assert cases.group_note is None

    @pytest.mark.parametrize("missing", MISSING, ids=repr)
    def test_missing(self, panel, missing):
        with pytest.raises(data.DataError, match=r"1 problem in the rows:\n  row 2 \(b\): has no group; fill in the column"):
            self.rows(panel, ["p", missing, "p"], ids="abc")
        with pytest.raises(data.DataError, match="row 1: has no id"):
            self.rows(panel, "ppp", ids=(missing, 2, 3))

    def test_column_of_some_rows(self, panel):
        files = {"image": panel / "a_image.png", "rater1": panel / "a_rater1.png"}
        with pytest.raises(data.DataError, match=r"row 2 \(2\): has no group"):
            data.cases([{"id": 1, "Group": "p", **files}, {"id": 2, **files}])
        with pytest.raises(data.DataError, match="two columns of one name"):
            data.cases([{"id": 1, "Group": "p", "group": "q", **files}])

    def test_no_single_value(self, panel):
        with pytest.raises(data.DataError, match="row 1: group: expected a text or a number, got list"):
            self.rows(panel, [["p"], "p", "p"])

    def test_ids_that_are_one(self, panel):
        with pytest.raises(data.DataError, match="id '1' comes twice"):
            self.rows(panel, "pqr", ids=(1, "1 ", 2))

    def test_given_groups_come_before_a_column_with_gaps(self, panel):
        files = {"image": panel / "a_image.png", "rater1": panel / "a_rater1.png"}
        rows = [{"id": 1, "group": None, **files}, {"id": 2, "group": "p", **files}]
        assert data.cases(rows, groups={1: 0, 2: 0}).groups.tolist() == ["0", "0"]


@pytest.mark.parametrize(
    "groups, message",
    [
        (lambda key: None, "groups gives no group .* for 3 cases: a, b, c"),
        ({"a": "p", "b": float("nan"), "c": "p"}, "groups gives no group .* for 1 cases: b"),
        (["p", "p", "q"], "groups: expected a dict from id to group, or a function of the id; got list"),
        ({"a": "p", " a": "q", "b": "p", "c": "p"}, "groups: expected one group for each id; got two for 'a'"),
        ({"a": ["p"], "b": "p", "c": "p"}, "groups: expected one text or number for each id"),
    ],
)
def test_given(panel, groups, message):
    with pytest.raises(ValueError, match=message):
        data.cases(panel, groups=groups)


class TestNoGroups:
    def test_said_once_when_loading(self, panel, capsys):
        data.load(data.cases(panel), progress=True)
        assert capsys.readouterr().err.count("No groups are known: each image is its own group") == 1
        data.load(data.cases(panel, groups=lambda key: "p"), progress=True)
        assert "group" not in capsys.readouterr().err

    def test_property(self, panel):
        cases = data.cases(panel)
        assert not cases.grouped
        assert "index.csv" in cases.group_note
        assert not cases[:2].grouped
        assert cases[:1].group_note is None  # one image has nobody to be confused with

    def test_column_that_may_be_meant(self, panel):
        files = {"image": panel / "a_image.png", "rater1": panel / "a_rater1.png"}
        cases = data.cases([{"id": i, "Patient": "p", **files} for i in range(2)])
        assert "If the column 'Patient' says which belong together, call it 'group'" in cases.group_note

    def test_known_groups_of_one_image_each(self, panel):
        index(panel, "id,group\na,p\nb,q\nc,r\n")
        assert data.cases(panel).group_note is None


class TestSplit:
    @pytest.mark.parametrize("missing", MISSING, ids=repr)
    def test_missing(self, missing):
        for kind in (list, lambda values: np.array(values, object)):
            with pytest.raises(ValueError, match="got none .* for 2 of 5 images, at 1, 4"):
                data.split(kind(["a", missing, "b", "c", missing]))

    def test_missing_numbers(self):
        with pytest.raises(ValueError, match="images, at 1"):
            data.split(np.array([0, np.nan, 1, 2]))
        with pytest.raises(ValueError, match="images, at 1"):
            data.split(np.ma.array([0, 9, 1, 2], mask=[0, 1, 0, 0]))

    def test_zero_is_a_group(self):
        parts = data.split([0, 0, 0, 1, 2], (0.5, 0.5))
        assert [0, 1, 2] in [part.tolist()[:3] for part in parts]

    def test_one_name_in_two_forms(self):
        groups = ["José", unicodedata.normalize("NFD", "José"), "José ", "x", "y", "z"]
        parts = data.split(np.array(groups, object), (0.5, 0.5))
        assert any({0, 1, 2} <= set(part.tolist()) for part in parts)

    def test_mixed_kinds(self):
        parts = data.split(np.array([1, "1", "a", 2.0], object), (0.5, 0.5))
        assert any({0, 1} <= set(part.tolist()) for part in parts)

    def test_order_of_numbers_is_kept(self):
        """Numbers sort as numbers: 2 before 10, as they did before texts were accepted."""
        numbers, objects = np.arange(12), np.arange(12).astype(object)
        for one, other in zip(data.split(numbers), data.split(list(range(12))), strict=True):
            np.testing.assert_array_equal(one, other)
        assert len(np.concatenate(data.split(objects))) == 12

    @pytest.mark.parametrize(
        "arguments, message",
        [
            ({"groups": "abc"}, "groups: expected one name for each image; got str"),
            ({"groups": {"a": 1}}, "groups: expected one name for each image; got dict"),
            ({"groups": [["a"], ["b", "c"]]}, "groups: expected one name for each image; got lists of several lengths"),
            ({"groups": 3}, "groups: expected one name for each image; got int"),
            ({"fractions": 0.7}, "fractions: expected a list of numbers; got 0.7"),
            ({"fractions": ("most", "rest")}, "fractions: expected a list of numbers"),
            ({"seed": -1}, "seed: expected a whole number, 0 or more; got -1"),
            ({"seed": None}, "seed: expected a whole number"),
            ({"seed": 1.5}, "seed: expected a whole number"),
        ],
    )
    def test_odd_arguments(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            data.split(**{"groups": ["a", "b", "c"]} | arguments)

    def test_of_cases(self, panel):
        with pytest.raises(ValueError, match=r"got Cases. Give cases.groups\."):
            data.split(data.cases(panel))

    def test_large_seed(self):
        assert len(data.split(["a", "b", "c", "d"], (0.5, 0.5), seed=2**40)) == 2


def test_packing_refuses_a_missing_group(arrays, tmp_path):
    pytest.importorskip("tensorflow_datasets")
    rows = [{name: array[i] for name, array in arrays.items()} for i in range(3)]
    rows[1]["group"] = None
    with pytest.raises(data.DataError, match="case case1: has no group"):
        data.pack(rows, tmp_path / "packed")


def test_every_form_gives_the_same_groups(four):
    """index.csv, a table and rows in Python read the same cells alike."""
    cells = [("0", "0"), ("1", "0"), ("2", "p 1"), ("3", "É")]
    with (four / "index.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "group"), *cells])
    with (four / "t.csv").open("w", newline="", encoding="utf-8") as file:
        rows = [(key, group, f"{key}_image.png", f"{key}_rater1.png") for key, group in cells]
        csv.writer(file).writerows([("id", "group", "image", "rater1"), *rows])
    names = ("id", "group", "image", "rater1")
    made = [dict(zip(names, (k, g, four / i, four / r), strict=True)) for k, g, i, r in rows]
    assert data.cases(four).groups.tolist() == data.cases(four / "t.csv").groups.tolist() == data.cases(made).groups.tolist()
