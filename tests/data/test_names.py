"""Names of files: what fits a pattern is read in any spelling, what may be two things is refused, and the rest is listed."""

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_ordseg import data, inspection


def nfd(text):
    return unicodedata.normalize("NFD", text)


def png(file, value=255):
    """Writes a PNG, whatever the name says."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((6, 5), np.uint8)
    pixels[1:3] = value
    Image.fromarray(pixels).save(file, format="PNG")


def found(cases):
    """The masks' names of each case, by rater."""
    return {
        case.id: {rater: mask.name for rater, mask in zip(cases.raters, case.ratings, strict=True) if mask}
        for case in cases
    }


def left(cases):
    return {source.shown(cases.path): source.reason for source in cases.unmatched}


class TestCapitals:
    def test_of_the_ending(self, tmp_path):
        for name in ("1_image.png", "1_rater1.png", "2_image.PNG", "2_rater1.Png"):
            png(tmp_path / name)
        cases = data.cases(tmp_path)
        assert found(cases) == {"1": {"1": "1_rater1.png"}, "2": {"1": "2_rater1.Png"}}
        assert data.load(cases)["ratings"].min() == 0

    @pytest.mark.parametrize("pattern, name", [("*_i.NII.gz", "1_i.nii.GZ"), ("*.TIFF", "1.tiff"), ("*/x.npy", "1/x.NPY")])
    def test_of_other_formats(self, tmp_path, pattern, name):
        png(tmp_path / name)
        png(tmp_path / "1_m_a.png")
        assert [case.id for case in data.cases(tmp_path, pattern, "*_m_{r}.png")] == ["1"]

    def test_twice(self, tmp_path):
        for name in ("1_image.png", "1_image.PNG", "1_rater1.png"):
            png(tmp_path / name)
        with pytest.raises(data.DataError, match=r"1_image.PNG and 1_image.png: two files for one; remove or rename"):
            data.cases(tmp_path)
        (tmp_path / "1_image.PNG").unlink()
        png(tmp_path / "1_rater1.PNG")
        with pytest.raises(data.DataError, match="1_rater1.PNG and 1_rater1.png: two files for one"):
            data.cases(tmp_path)

    def test_elsewhere_is_listed(self, tmp_path):
        for name in ("1_image.png", "1_rater1.png", "1_Rater2.png", "2_Image.png"):
            png(tmp_path / name)
        assert left(data.cases(tmp_path)) == dict.fromkeys(
            ("1_Rater2.png", "2_Image.png"), "fits a pattern but for capitals"
        )


class TestUnicode:
    def test_files(self, tmp_path):
        png(tmp_path / "Zoë_image.png")
        png(tmp_path / nfd("Zoë_rater1.png"))
        png(tmp_path / "Zoë_rater2.png")
        cases = data.cases(tmp_path)
        assert (cases.raters, cases.num_absent, cases.unmatched) == (("1", "2"), 0, ())
        assert data.load(cases)["ratings"].shape == (1, 6, 5, 2)

    def test_folders_and_raters(self, tmp_path):
        for i, name in ((1, "José"), (2, nfd("José"))):
            png(tmp_path / f"images/{i}.png")
            png(tmp_path / f"masks/{name}/{i}.png")
        for raters in (None, ["José"], [nfd("José")]):
            cases = data.cases(tmp_path, "images/*.png", "masks/{r}/*.png", raters)
            assert (cases.raters, cases.num_absent) == (("José",), 0)

    @pytest.mark.parametrize("form", ["NFC", "NFD"])
    def test_patterns(self, tmp_path, form):
        png(tmp_path / "1_größe.png")
        png(tmp_path / nfd("1_prüfer1.png"))
        image, ratings = (unicodedata.normalize(form, text) for text in ("*_größe.png", "*_prüfer{r}.png"))
        assert data.cases(tmp_path, image, ratings).raters == ("1",)

    def test_two_files_of_one_name(self, tmp_path):
        for name in ("é_image.png", "é_rater1.png", nfd("é_rater1.png")):
            png(tmp_path / name)
        with pytest.raises(data.DataError, match="two files for one"):
            data.cases(tmp_path)

    def test_tables_and_groups(self, tmp_path):
        png(tmp_path / nfd("é/a.png"))
        (tmp_path / "t.csv").write_text("id,image,raterZoë\né,é/a.png,é/a.png\n", encoding="utf-8")
        cases = data.cases(tmp_path / "t.csv", raters=[nfd("Zoë")], groups={nfd("é"): "p"})
        assert (cases.raters, cases.groups.tolist()) == (("Zoë",), ["p"])
        assert data.load(cases)["image"].shape == (1, 6, 5, 1)


class TestLinks:
    """A link of git-annex or DVC whose content was not fetched."""

    def test_that_fits_a_pattern(self, panel):
        (panel / "c_rater1.png").unlink()
        (panel / "c_rater1.png").symlink_to(".git/annex/objects/x")
        with pytest.raises(data.DataError, match=r"c_rater1.png: is a link whose content is not here; get it first"):
            data.cases(panel)

    def test_of_an_image_or_a_folder(self, tmp_path):
        png(tmp_path / "images/1.png")
        png(tmp_path / "masks/a/1.png")
        (tmp_path / "images/2.png").symlink_to("nowhere")
        with pytest.raises(data.DataError, match="images/2.png: is a link"):
            data.cases(tmp_path, "images/*.png", "masks/{r}/*.png")
        (tmp_path / "images/2.png").unlink()
        (tmp_path / "masks/b").symlink_to("nowhere")
        with pytest.raises(data.DataError, match="masks/b: is a link"):
            data.cases(tmp_path, "images/*.png", "masks/{r}/*.png")

    def test_in_a_table(self, panel):
        (panel / "x.png").symlink_to("nowhere")
        with pytest.raises(data.DataError, match=r"row 1 \(7\): rater 1 .*x.png is a link whose content is not here"):
            data.cases([{"id": 7, "image": panel / "a_image.png", "rater1": panel / "x.png"}])
        (panel / "t.csv").write_text("id,image,rater1\n7,a_image.png,x.png\n")
        with pytest.raises(data.DataError, match="x.png is a link"):
            data.cases(panel / "t.csv")

    def test_that_fits_none(self, panel):
        (panel / "notes").symlink_to("nowhere")
        assert left(data.cases(panel)) == {"notes": "a link whose content is not here"}

    def test_that_lead_somewhere(self, panel, tmp_path_factory):
        store = tmp_path_factory.mktemp("store")
        os.replace(panel / "a_rater1.png", store / "x")
        (panel / "a_rater1.png").symlink_to(store / "x")
        assert data.load(data.cases(panel))["ratings"][0, 1, 1, 0] == 1


class TestLeftOver:
    def test_everything_else_is_listed(self, panel):
        for name in ("._a_image.png", "Thumbs.db", ".DS_Store", "a_image.jpg", "sub/d_image.png", "README", ".git/x"):
            png(panel / name)
        png(panel / "z_rater1.png")
        cases = data.cases(panel)
        assert left(cases) == {
            "z_rater1.png": "a mask of no image",
            "._a_image.png": "hidden",
            ".DS_Store": "hidden",
            ".git": "hidden",
            "README": "fits no pattern",
            "Thumbs.db": "fits no pattern",
            "a_image.jpg": "fits no pattern",
            "sub/d_image.png": "fits a pattern but for its folder",
        }
        assert Path(cases.unmatched[0]) == panel / "z_rater1.png"
        notes = "\n".join(inspection.inspect(cases)["notes"])
        assert "Masks of no image: 1, as z_rater1.png" in notes
        assert "Files that were not read, as they fit no pattern: 7, as .DS_Store (hidden)" in notes

    def test_nothing(self, panel):
        (panel / "index.csv").write_text("id,group\na,p\nb,p\nc,q\n")
        assert data.cases(panel).unmatched == ()
        assert data.cases(panel, raters=["1"]).unmatched == ()  # who was not chosen is known

    def test_of_the_current_folder(self, panel, monkeypatch):
        (panel / "README").touch()
        monkeypatch.chdir(panel)
        for source in (".", "./", "", f"../{panel.name}"):
            assert [source.name for source in data.cases(source).unmatched] == ["README"]

    def test_a_folder_of_many_files_is_one(self, panel):
        (panel / "many/deep").mkdir(parents=True)
        for i in range(101):
            (panel / f"many/deep/{i}").touch()
        assert left(data.cases(panel)) == {"many": "a folder"}

    def test_datasets_that_no_pattern_names(self, tmp_path):
        np.savez(tmp_path / "1.npz", image=np.zeros((3, 4)), rater1=np.ones((3, 4)), Rater2=np.ones((3, 4)))
        cases = data.cases(tmp_path, "*.npz::image", "*.npz::rater{r}")
        assert left(cases) == {"1.npz::Rater2": "a dataset that fits no pattern"}

    def test_rows_of_a_stack_without_image(self, tmp_path):
        np.savez(tmp_path / "a.npz", image=np.zeros((2, 3, 4)), masks=np.ones((3, 3, 4, 1)))
        cases = data.cases(tmp_path, "a.npz::image[*]", "a.npz::masks[*, ..., {r}]")
        assert left(cases) == {"a.npz::masks[2, ..., 0]": "a mask of no image"}

    def test_said_when_loading(self, panel, capsys):
        png(panel / "d_image.jpg")
        data.load(data.cases(panel), progress=True)
        assert "Left out: d_image.jpg (reasons in cases.unmatched)." in capsys.readouterr().err


class TestImageOrMask:
    """With `*.png` and `*_{r}.png` a name may be either."""

    def test_refused_where_it_may_be_both(self, folder):
        root = folder(["p.png", "p_a.png", "p_1.png", "p_1_a.png"])
        with pytest.raises(data.DataError) as caught:
            data.cases(root, "*.png", "*_{r}.png")
        assert caught.match("p_1.png may be the image of p_1_a.png as well as rater 1's mask of p.png; say which names")

    def test_raters_who_continue_each_other(self, folder):
        root = folder(["p.png", "p_ann.png", "p_ann_2.png"])
        with pytest.raises(data.DataError, match="p_ann.png may be the image of p_ann_2.png"):
            data.cases(root, "*.png", "*_{r}.png")
        cases = data.cases(root, "*.png", "*_{r}.png", raters=["ann", "ann_2"])
        assert found(cases) == {"p": {"ann": "p_ann.png", "ann_2": "p_ann_2.png"}}

    def test_chosen_raters_decide(self, folder):
        root = folder(["p.png", "p_a.png", "p_1.png", "p_1_a.png"])
        cases = data.cases(root, "*.png", "*_{r}.png", raters=["a"])
        assert found(cases) == {"p": {"a": "p_a.png"}, "p_1": {"a": "p_1_a.png"}}

    def test_the_narrower_pattern_decides(self, folder):
        """`p_1_image.png` is an image, and no mask of a rater `1_image` of p."""
        root = folder(["p_image.png", "p_a.png", "p_1_image.png", "p_1_a.png"])
        assert found(data.cases(root, "*_image.png", "*_{r}.png")) == {"p": {"a": "p_a.png"}, "p_1": {"a": "p_1_a.png"}}


class TestPatterns:
    def test_a_rater_twice(self, tmp_path):
        png(tmp_path / "im1.ppm")
        for name in ("labels-ah/im1.ah.ppm", "labels-vk/im1.vk.ppm", "labels-vk/im1.ah.ppm"):
            png(tmp_path / name)
        cases = data.cases(tmp_path, "*.ppm", "labels-{r}/*.{r}.ppm")
        assert found(cases) == {"im1": {"ah": "im1.ah.ppm", "vk": "im1.vk.ppm"}}
        assert [source.shown(tmp_path) for source in cases.unmatched] == ["labels-vk/im1.ah.ppm"]
        png(tmp_path / "t/ah.ah.png")
        png(tmp_path / "t/im.png")
        (tmp_path / "t/t.csv").write_text("id,image,ratings\n1,im.png,{r}.{r}.png\n")
        assert data.cases(tmp_path / "t/t.csv").raters == ("ah",)

    @pytest.mark.parametrize("name, image, ratings", [
        ("scan", "*_image.*", "*_rater{r}.png"),
        ("p1/scan", "*/*_image.png", "*/*_rater{r}.png"),
        ("scan", "*_image.png", "*_*{r}.png"),
    ])  # fmt: skip
    def test_a_star_is_the_same_text(self, tmp_path, name, image, ratings):
        png(tmp_path / f"{name}_image.png")
        png(tmp_path / f"{name}_rater1.png")
        with pytest.raises(data.DataError, match=r"each \* stands for the same text .* wherever it comes"):
            data.cases(tmp_path, image, ratings)

    def test_odd_names(self, tmp_path):
        for key in ("a b", "x[1]", "50%", "a.b", "-", "n{r}", "#1"):
            png(tmp_path / f"{key}_image.png")
            png(tmp_path / f"{key}_rater r[1].png")
        cases = data.cases(tmp_path)
        assert sorted(case.id for case in cases) == sorted(["a b", "x[1]", "50%", "a.b", "-", "n{r}", "#1"])
        assert (cases.raters, cases.num_absent) == ((" r[1]",), 0)

    def test_empty_file(self, panel):
        (panel / "b_rater1.png").write_bytes(b"")
        with pytest.raises(data.DataError, match="b_rater1.png"):
            data.check(data.cases(panel))

    def test_a_folder_called_like_a_mask(self, panel):
        (panel / "b_rater2.png").mkdir()
        assert left(data.cases(panel)) == {"b_rater2.png": "a folder"}


class TestTables:
    def table(self, panel, text):
        (panel / "t.csv").write_text(text)
        return data.cases(panel / "t.csv")

    @pytest.mark.parametrize("header", ["rater,mask", "annotator,mask", "reader,file", "who,what"])
    def test_long(self, panel, header):
        with pytest.raises(data.DataError, match="one row a case and one column a rater"):
            self.table(panel, f"id,image,{header}\nx,a_image.png,anna,a_rater1.png\nx,a_image.png,bob,a_rater2.png\n")

    def test_long_with_other_names(self, panel):
        with pytest.raises(data.DataError, match="id 'x' comes twice; a table has one row a case"):
            self.table(panel, "id,image,rater,path\nx,a_image.png,a_rater1.png,\nx,a_image.png,a_rater2.png,\n")

    @pytest.mark.parametrize(
        "header, message",
        [
            ("rater1,rater1", "two columns of one name, 'rater1' and 'rater1'"),
            ("Rater1,rater1", "two columns of one name, 'Rater1' and 'rater1'"),
            ("rater1,rater_1", "the columns 'rater1' and 'rater_1' are both of rater 1"),
            ("rater1,Rater 1", "the columns 'rater1' and 'Rater 1' are both of rater 1"),
            ("rater1,image", "two columns of one name, 'image' and 'image'"),
        ],
    )
    def test_a_rater_twice(self, panel, header, message):
        with pytest.raises(data.DataError, match=message):
            self.table(panel, f"id,image,{header}\nx,a_image.png,a_rater1.png,a_rater2.png\n")

    def test_masks_in_two_columns(self, panel):
        with pytest.raises(data.DataError, match="has masks in the column 'ratings' as well as in those of raters"):
            self.table(panel, "id,image,ratings,rater1\nx,a_image.png,a_rater{r}.png,a_rater1.png\n")
        rows = [{"id": 1, "image": panel / "a_image.png", "ratings": {1: panel / "a_rater1.png", "1": None}}]
        with pytest.raises(data.DataError, match="ratings: rater 1 comes twice"):
            data.cases(rows)

    def test_a_rater_without_any_mask(self, panel):
        """Or the number of raters would depend on which rows a table holds."""
        with pytest.raises(data.DataError, match="the column 'rater9' holds no mask; remove it"):
            self.table(panel, "id,image,rater1,rater9\nx,a_image.png,a_rater1.png,\n")
        (panel / "t.csv").write_text("id,image,rater1,rater9\nx,a_image.png,a_rater1.png,\n")
        assert data.cases(panel / "t.csv", raters=["1"]).raters == ("1",)

    def test_a_rater_called_na(self, panel):
        """Initials are no missing value."""
        png(panel / "a_raterNA.png")
        row = {"id": 1, "image": panel / "a_image.png", "ratings": {"NA": panel / "a_raterNA.png"}}
        assert data.cases([row], raters=["NA"]).raters == ("NA",)
        assert data.cases(panel, raters=["NA", "1"]).raters == ("NA", "1")

    def test_paths_of_windows(self, panel):
        with pytest.raises(data.DataError, match="is not there; write / between folders"):
            self.table(panel, "id,image,rater1\nx,.\\a_image.png,a_rater1.png\n")

    def test_cells_that_are_missing(self, panel):
        rows = [
            {"id": 0, "image": panel / "a_image.png", "rater1": panel / "a_rater1.png", "Rater2": float("nan")},
            {"id": 1, "image": panel / "b_image.png", "rater1": None, "Rater2": panel / "a_rater2.png"},
        ]
        cases = data.cases(rows)
        assert (cases.raters, cases.num_absent) == (("1", "2"), 2)

    @pytest.mark.parametrize("away", ["folder", "above", "link", "table"])
    def test_absolute_paths(self, panel, tmp_path_factory, monkeypatch, away):
        """A table may be called by another way than its cells say."""
        text = f"id,image,rater1\n1,{panel}/a_image.png,{panel}/a_rater1.png\n"
        (panel / "t.csv").write_text(text)
        elsewhere = tmp_path_factory.mktemp("elsewhere")
        (elsewhere / "link").symlink_to(panel)
        monkeypatch.chdir(panel.parent if away == "above" else panel)
        path = {"above": f"{panel.name}/t.csv", "link": elsewhere / "link/t.csv", "table": "./t.csv"}.get(away, "t.csv")
        assert len(data.cases(path)) == 1
        png(elsewhere / "b.png")
        (panel / "t.csv").write_text(f"id,image,rater1\n1,{elsewhere}/b.png,a_rater1.png\n")
        with pytest.raises(data.DataError, match="lies outside the table's folder; move it, or pass outside=True"):
            data.cases(path)

    def test_a_data_frame(self, panel):
        class Frame(list):
            """Iterates over its columns' names, as pandas' does."""

        with pytest.raises(ValueError, match=r"source: expected rows that are dicts .* got str. Turn a pandas table"):
            data.cases(Frame(["id", "image"]))
        with pytest.raises(ValueError, match="source: expected a folder, a CSV file or rows; got int"):
            data.cases(5)


def test_remedies_name_settings(panel):
    """The command line writes its own flags, or leaves out what it has no flag for."""
    (panel / "t.csv").write_text("id,group,image,rater1\n1,,/x.png,a_rater1.png\n")
    with pytest.raises(data.DataError) as caught:
        data.cases(panel / "t.csv")
    told = [problem.spelled(lambda setting: None) for problem in caught.value.found]
    assert told == [
        "row 1 (1): image /x.png lies outside the table's folder; move it",
        "row 1 (1): has no group; fill in the column 'group', or remove it",
    ]
