"""Tables of cases: stacks and datasets by pattern, CSV files, rows, slices and patches."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_ordseg import data


def addresses(cases):
    """Images and masks of each case below the table's folder."""
    return {
        case.id: [None if source is None else source.shown(cases.path) for source in (case.image, *case.ratings)]
        for case in cases
    }


class TestPatternsInsideFiles:
    def test_channels(self, tmp_path, rng):
        for key in "ab":
            np.save(tmp_path / f"{key}_image.npy", rng.random((4, 5)))
            np.save(tmp_path / f"{key}_masks.npy", rng.integers(0, 2, (4, 5, 3)))
        cases = data.cases(tmp_path, "*_image.npy", "*_masks.npy[..., {r}]")
        assert cases.raters == ("0", "1", "2")
        assert addresses(cases)["b"] == ["b_image.npy", *(f"b_masks.npy[..., {r}]" for r in range(3))]

    def test_channels_first(self, tmp_path, rng):
        np.save(tmp_path / "a_image.npy", rng.random((4, 5)))
        masks = rng.integers(0, 2, (2, 4, 5))
        np.save(tmp_path / "a_masks.npy", masks)
        cases = data.cases(tmp_path, "*_image.npy", "*_masks.npy[{r}]")
        assert addresses(cases) == {"a": ["a_image.npy", "a_masks.npy[0]", "a_masks.npy[1]"]}
        np.testing.assert_array_equal(np.moveaxis(data.load(cases)["ratings"][0], -1, 0), masks)

    def test_a_stack_of_cases(self, tmp_path, rng):
        image, masks = rng.random((12, 4, 5)), rng.integers(0, 2, (12, 4, 5, 2))
        np.savez(tmp_path / "all.npz", image=image, masks=masks)
        cases = data.cases(tmp_path, "all.npz::image[*]", "all.npz::masks[*, ..., {r}]")
        assert [case.id for case in cases] == [str(i) for i in range(12)]
        assert addresses(cases)["10"] == [
            "all.npz::image[10]", "all.npz::masks[10, ..., 0]", "all.npz::masks[10, ..., 1]",
        ]  # fmt: skip
        arrays = data.load(cases)
        np.testing.assert_array_equal(arrays["image"][..., 0], image.astype("float32"))
        np.testing.assert_array_equal(arrays["ratings"], masks)

    def test_names_that_no_file_has_are_listed(self, tmp_path):
        np.savez(tmp_path / "a.npz", picture=np.zeros((2, 2)), rater1=np.zeros((2, 2)))
        with pytest.raises(data.DataError, match=r"no image matches .* a.npz holds picture, rater1"):
            data.cases(tmp_path, "*.npz::image", "*.npz::rater{r}")
        with pytest.raises(data.DataError, match=r"no mask of any image .* a.npz holds picture, rater1"):
            data.cases(tmp_path, "*.npz::picture", "*.npz::expert{r}")

    def test_every_file_with_a_broken_header_is_named(self, tmp_path):
        for key in "abc":
            np.save(tmp_path / f"{key}_image.npy", np.zeros((2, 2)))
            (tmp_path / f"{key}_masks.npy").write_bytes(b"nothing")
        np.save(tmp_path / "b_masks.npy", np.zeros((2, 2, 2)))
        with pytest.raises(data.DataError) as caught:
            data.cases(tmp_path, "*_image.npy", "*_masks.npy[..., {r}]")
        assert [text.split(":")[0] for text in caught.value.problems] == ["a_masks.npy", "c_masks.npy"]

    @pytest.mark.parametrize(
        "image, ratings, message",
        [
            ("*.npy[1:2]", "*_{r}.png", "image: expected numbers, .* as row and channel"),
            ("*.npy[1, 2]", "*_{r}.png", r"an index must be \[row\], \[..., channel\]"),
            ("*.npy[*]", "*_{r}.png", "either in the file's name or as an index"),
            ("../*.npy", "*_{r}.png", "image: expected a pattern inside the folder"),
        ],
    )
    def test_bad_patterns(self, tmp_path, image, ratings, message):
        with pytest.raises(ValueError, match=message):
            data.cases(tmp_path, image, ratings)


class TestCsv:
    def write(self, folder, text):
        (folder / "cases.csv").write_text(text)
        return folder / "cases.csv"

    def test_columns(self, panel):
        path = self.write(
            panel,
            "id,group,image,rater_ann,rater1,split\n"
            "x,p1,a_image.png,a_rater1.png,a_rater2.png,train\n"
            "y,p1,b_image.png,b_rater1.png,,test\n",
        )
        cases = data.cases(path)
        assert cases.raters == ("1", "ann")
        assert addresses(cases) == {
            "x": ["a_image.png", "a_rater2.png", "a_rater1.png"],
            "y": ["b_image.png", None, "b_rater1.png"],
        }
        assert [case.group for case in cases] == cases.groups.tolist() == ["p1", "p1"]
        assert [case.metadata for case in cases] == [{"split": "train"}, {"split": "test"}]
        arrays = data.load(cases)
        np.testing.assert_array_equal(arrays["ratings"][1, ..., 0], -1)
        assert data.cases(path, raters=["ann"]).raters == ("ann",)
        assert data.cases(path, groups=str.upper).groups.tolist() == ["X", "Y"]

    def test_named_columns_and_pattern(self, panel):
        path = self.write(panel, "id,image,ann\nx,a_image.png,a_rater1.png\n")
        assert addresses(data.cases(path, raters=["ann"])) == {"x": ["a_image.png", "a_rater1.png"]}
        path = self.write(panel, "id,image,ratings\nx,a_image.png,a_rater{r}.png\ny,b_image.png,b_rater{r}.png\n")
        cases = data.cases(path)
        assert cases.raters == ("1", "2")
        assert addresses(cases)["y"] == ["b_image.png", "b_rater1.png", None]
        assert cases[0].group == "x"

    @pytest.mark.parametrize("delimiter", [";", "\t", ", "])
    def test_what_spreadsheets_write(self, panel, delimiter):
        text = "\ufeffid,image,rater1\nx,a_image.png,a_rater1.png\n".replace(",", delimiter)
        (panel / "cases.csv").write_text(text, encoding="utf-8")
        assert addresses(data.cases(panel / "cases.csv")) == {"x": ["a_image.png", "a_rater1.png"]}
        (panel / "cases.csv").write_bytes("id,image,rater1\nü,a,b\n".encode("latin-1"))
        with pytest.raises(data.DataError, match="is not UTF-8 text"):
            data.cases(panel / "cases.csv")

    def test_all_problems_at_once(self, panel, tmp_path_factory):
        elsewhere = tmp_path_factory.mktemp("elsewhere") / "secret.png"
        Image.new("L", (5, 6)).save(elsewhere)
        path = self.write(
            panel,
            "id,image,rater1\n"
            "x,nothing.png,a_rater1.png\n"
            ",a_image.png,a_rater1.png\n"
            f"y,{elsewhere},a_rater1.png\n"
            "z,../z.png,a_rater1.png\n"
            "w,a_image.png,\n"
            "x,,a_rater1.png\n"
            "v,a_image.png,a_rater1.png,extra\n",
        )
        with pytest.raises(data.DataError) as caught:
            data.cases(path)
        assert list(caught.value.problems) == [
            "row 1 (x): image nothing.png is not there",
            "row 2: has no id",
            f"row 3 (y): image {elsewhere} lies outside the table's folder; move it, or pass outside=True",
            "row 4 (z): image ../z.png lies outside the table's folder; move it, or pass outside=True",
            "row 5 (w): no mask of any rater",
            "row 6 (x): has no image",
            "row 7 (v): has more cells than the header",
            "id 'x' comes twice",
        ]

    def test_outside_when_asked(self, panel):
        (panel / "tables").mkdir()
        path = self.write(panel / "tables", "id,image,rater1\nx,../a_image.png,../a_rater1.png\n")
        with pytest.raises(data.DataError, match="(?s)2 problems.*outside.*outside"):
            data.cases(path)
        assert data.load(data.cases(path, outside=True))["ratings"].shape == (1, 6, 5, 1)

    @pytest.mark.parametrize(
        "text, error, message",
        [
            ("", data.DataError, "there are no rows"),
            ("case,image\nx,a.png\n", data.DataError, r"no column 'id' \(columns: case, image\)"),
            ("id,image,votes\nx,a_image.png,a_rater1.png\n", ValueError, "num_raters: expected a number with a column"),
            ("id,image,ratings\nx,a_image.png,/a{r}\n", data.DataError, "inside the table's folder"),
        ],
    )
    def test_bad_tables(self, panel, text, error, message):
        with pytest.raises(error, match=message):
            data.cases(self.write(panel, text))

    def test_bad_arguments(self, panel):
        path = self.write(panel, "id,image,rater1\nx,a_image.png,a_rater1.png\n")
        with pytest.raises(ValueError, match="image: expected a pattern for a folder alone"):
            data.cases(path, image="*.png")
        with pytest.raises(data.DataError, match="no mask of rater 7; raters are 1"):
            data.cases(path, raters=["7"])
        with pytest.raises(data.DataError, match="there is no such file"):
            data.cases(panel / "other.csv")


def test_rows(panel):
    rows = [
        {"id": 7, "image": panel / "a_image.png", "ratings": {"ann": panel / "a_rater1.png", "bob": None}},
        {"id": 8, "image": panel / "b_image.png", "ratings": {"bob": f"{panel}/b_rater1.png"}, "age": 61},
    ]
    cases = data.cases(rows)
    assert cases.raters == ("ann", "bob")
    assert cases.num_absent == 2
    assert cases[1].metadata == {"age": 61}
    assert Path(cases[0].image) == panel / "a_image.png"
    assert data.load(cases)["id"].tolist() == ["7", "8"]
    with pytest.raises(ValueError, match="source: expected rows that are dicts"):
        data.cases([("a", "b")])
    with pytest.raises(data.DataError, match=r"1 problem in the rows:\n  row 1 \(7\): image .* is not there"):
        data.cases([rows[0] | {"image": "x.png"}])


def test_selections_are_tables(panel):
    cases = data.cases(panel)
    assert [case.id for case in cases[1:]] == ["b", "c"]
    assert [case.id for case in cases[np.array([2, 0])]] == ["c", "a"]
    assert cases[[2]].raters == cases.raters
    assert data.load(cases[[2]])["id"].tolist() == ["c"]
    with pytest.raises(ValueError, match="rows of cases are numbers, came bool"):
        cases[np.array([True, False, True])]


@pytest.fixture
def volumes(tmp_path, rng):
    """Two volumes of 4x5x6 and 4x5x3 and two raters."""
    arrays = {}
    for key, depth in (("u", 6), ("v", 3)):
        arrays[key] = rng.random((4, 5, depth), dtype=np.float32), rng.integers(0, 2, (2, 4, 5, depth))
        np.save(tmp_path / f"{key}_image.npy", arrays[key][0])
        for r, mask in enumerate(arrays[key][1]):
            np.save(tmp_path / f"{key}_rater{r}.npy", mask)
    return data.cases(tmp_path, "*_image.npy", "*_rater{r}.npy"), arrays


class TestParts:
    def test_slices(self, volumes):
        cases, arrays = volumes
        slices = cases.slices()
        assert [case.id for case in slices[[0, 5, 6, 8]]] == ["u_0000", "u_0005", "v_0000", "v_0002"]
        assert slices.groups.tolist() == ["u"] * 6 + ["v"] * 3
        loaded = data.load(slices)
        assert loaded["image"].shape == (9, 4, 5, 1)
        np.testing.assert_array_equal(loaded["image"][4, ..., 0], arrays["u"][0][..., 4])
        np.testing.assert_array_equal(loaded["ratings"][7, ..., 1], arrays["v"][1][1][..., 1])

    def test_slices_of_the_first_axis(self, volumes):
        cases, arrays = volumes
        loaded = data.load(cases[:1].slices(axis=0))
        np.testing.assert_array_equal(loaded["image"][..., 0], arrays["u"][0])

    def test_patches_cover_everything(self, volumes):
        cases, arrays = volumes
        patches = cases[:1].patches((2, 3, 4), overlap=(0, 1, 2))
        assert [case.id for case in patches] == [f"u_{x}_{y}_{z}" for x in (0, 2) for y in (0, 2) for z in (0, 2)]
        loaded = data.load(patches)
        whole = np.full((4, 5, 6), np.nan)
        for case, image in zip(patches, loaded["image"], strict=True):
            whole[case.part] = image[..., 0]
        np.testing.assert_array_equal(whole, arrays["u"][0])
        assert [case.part[2].start for case in cases[:1].patches((4, 5, 4))] == [0, 2]

    def test_pictures_have_patches_and_no_slices(self, panel):
        cases = data.cases(panel)
        patches = data.load(cases.patches(3))
        assert patches["image"].shape == (12, 3, 3, 1)
        np.testing.assert_array_equal(patches["image"][0], data.load(cases)["image"][0, :3, :3])
        with pytest.raises(data.DataError, match="(?s)3 problems.*a_rater1.png: has no slices: its shape is 6x5"):
            cases.slices()

    def test_errors(self, volumes):
        cases, _ = volumes
        with pytest.raises(data.DataError, match="v_rater0.npy: has shape 4x5x3, smaller than patches of 4x4x4"):
            cases.patches(4)
        with pytest.raises(ValueError, match="overlap: expected 0 or more pixels, and fewer than size"):
            cases.patches(2, overlap=2)
        with pytest.raises(ValueError, match="size: expected a number of pixels, or 3"):
            cases.patches((2, 2))
        with pytest.raises(ValueError, match="axis: expected -3 to 2 for volumes of 3 axes; got 3"):
            cases.slices(3)
        with pytest.raises(ValueError, match="are parts already"):
            cases.slices().patches(2)
