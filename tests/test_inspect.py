"""`keras-ordseg inspect`: what a data set holds, as text, JSON, a page and a picture."""

import base64
import csv
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from keras_ordseg import data, inspection, raters
from keras_ordseg.cli import main


@pytest.fixture
def folder(tmp_path, rng):
    """Five cases of three raters and two sizes; a rater is absent from one, another case is empty."""
    root = tmp_path / "masks & <more>"
    root.mkdir()
    everything = []
    for number in range(5):
        size = (12, 10) if number < 3 else (8, 9)
        truth = np.zeros(size, bool)
        truth[2:6, 3:7] = number != 4
        ratings = np.where(rng.random((*size, 3)) < 0.1 * (number != 4), ~truth[..., None], truth[..., None])
        Image.fromarray(rng.integers(0, 90, size, np.uint8)).save(root / f"{number}_image.png")
        for r in range(3):
            if (number, r) != (1, 2):
                Image.fromarray(np.uint8(255 * ratings[..., r])).save(root / f"{number}_rater{r + 1}.png")
        ratings = ratings.astype(np.int8)
        if number == 1:
            ratings[..., 2] = -1
        everything.append(ratings)
    with (root / "index.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "group"), *((n, n // 2) for n in range(5))])
    return root, everything


class Page(HTMLParser):
    """The texts of the cells of each table, the sources of images, and every tag that could load or run something."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.images, self.active, self.text = {}, [], [], []
        self._table = self._cell = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "table":
            self._table = self.tables.setdefault(attrs.get("id", len(self.tables)), [])
        elif tag == "tr" and self._table is not None:
            self._table.append([])
        elif tag in ("td", "th"):
            self._cell = ""
        elif tag == "img":
            self.images.append(attrs["src"])
        elif tag in ("script", "link", "iframe") or any(name.startswith("on") for name in attrs):
            self.active.append(tag)

    def handle_data(self, text):
        self.text.append(text)
        if self._cell is not None:
            self._cell += text

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._table[-1].append(self._cell.strip())
            self._cell = None


class TestInspect:
    def test_what_is_there(self, folder):
        root, everything = folder
        result = inspection.inspect(data.cases(root))
        assert result["name"] == "masks & <more>"
        assert [result[f"num_{what}"] for what in ("images", "groups", "raters")] == [5, 3, 3]
        assert result["sizes"] == {"10x12": 3, "9x8": 2}
        assert result["channels"] == {1: 5}
        assert (result["absent_masks"], result["images_with_absent_raters"], result["images_without_marks"]) == (1, 1, 1)
        assert result["void"] == 0
        pixels = np.concatenate([r.reshape(-1, 3) for i, r in enumerate(everything) if i != 1])
        np.testing.assert_allclose(result["levels"], np.bincount(pixels.sum(-1), minlength=4) / len(pixels))
        expected = raters.agreement(everything)
        for name, value in result["agreement"].items():
            assert value == pytest.approx(expected[name], rel=1e-12), name
        np.testing.assert_array_equal(result["dice_matrix"], expected["dice_matrix"])
        for r, row in enumerate(result["raters"]):
            assert row["name"] == str(r + 1)
            for name in ("images", "marked", "volume", "sensitivity", "specificity", "volume_ratio"):
                assert row[name] == pytest.approx(expected[name][r]), name
        json.dumps(result, allow_nan=False)

    def test_each_case(self, folder):
        root, everything = folder
        rows = inspection.inspect(data.cases(root))["cases"]
        for number, (row, ratings) in enumerate(zip(rows, everything, strict=True)):
            alone = raters.agreement([ratings])
            assert (row["id"], row["group"], row["raters"]) == (str(number), str(number // 2), 3 - (number == 1))
            marked = [(ratings[..., r] == 1).sum() for r in range(3)]
            assert row["marked"] == [None if (number, r) == (1, 2) else marked[r] for r in range(3)]
            assert row["union"] == (ratings == 1).any(-1).sum()
            for name in ("disputed_of_marked", "pairwise_dice"):
                assert row[name] == (None if number == 4 else pytest.approx(alone[name])), name

    def test_notes(self, folder):
        root, _ = folder
        (root / "index.csv").unlink()
        (root / "9_rater1.png").write_bytes((root / "0_rater1.png").read_bytes())
        notes = "\n".join(inspection.inspect(data.cases(root))["notes"])
        for words in (
            "Masks of no image: 1, as 9_rater1.png",
            "Masks that are not there: 1.",
            "Images of 2 sizes: training needs --size",
            "No groups are known: each image is its own group",
            "Images without a mark of any rater: 1.",
        ):
            assert words in notes
        two = inspection.inspect(data.cases(root, raters=["1", "2"]))
        assert "Fewer than three raters" in "\n".join(two["notes"])
        assert [row["sensitivity"] for row in two["raters"]] == [None, None]

    def test_votes_say_nothing_of_single_raters(self, tmp_path, rng):
        for name in "ab":
            Image.fromarray(rng.integers(0, 255, (6, 7), np.uint8)).save(tmp_path / f"{name}_image.png")
            Image.fromarray(rng.integers(0, 5, (6, 7), np.uint8)).save(tmp_path / f"{name}_votes.png")
        cases = data.cases(tmp_path, votes="*_votes.png", num_raters=4)
        result = inspection.inspect(cases)
        assert result["raters"] is result["dice_matrix"] is result["agreement"]["pairwise_dice"] is None
        assert result["agreement"]["fleiss_kappa"] is not None
        assert {row["marked"] for row in result["cases"]} == {None}
        assert "Only votes are known" in inspection.text(result)
        assert "sensitivity" not in inspection.text(result)
        inspection.write(result, cases, tmp_path / "out")
        assert "raters" not in Page((tmp_path / "out" / "inspection.html").read_text()).tables

    def test_volumes(self, tmp_path, rng):
        """The contact sheet shows the slice of the last axis with most dispute."""
        ratings = np.zeros((6, 7, 5, 2), np.int8)
        ratings[1:4, 1:4, 1] = ratings[2:5, 2:5, 3] = 1
        ratings[2, 2:5, 3, 0] = 0
        image = rng.random((6, 7, 5)).astype(np.float32)
        np.savez(tmp_path / "a.npz", image=image, masks=ratings)
        cases = data.cases(tmp_path, image="*.npz::image", ratings="*.npz::masks[..., {r}]")
        result = inspection.inspect(cases)
        assert result["sizes"] == {"6x7x5": 1}
        figure = inspection._report._contact_sheet(result, cases, 24, None)
        low, high = np.percentile(image[..., 3], (0.5, 99.5))
        expected = np.clip((image[..., 3] - low) / (high - low), 0, 1)
        np.testing.assert_allclose(figure.axes[0].images[0].get_array(), expected, atol=1e-6)


class TestCommand:
    def test_text(self, folder, capsys):
        root, everything = folder
        assert main(["inspect", str(root)]) == 0
        out = capsys.readouterr().out
        expected = raters.agreement(everything)
        assert "masks & <more>: 5 images, 3 raters, 3 groups" in out
        assert re.search(r"sizes +10x12 \(3\), 9x8 \(2\)", out)
        assert re.search(rf"Krippendorff's alpha +{expected['krippendorff_alpha']:.3f}\n", out)
        assert re.search(rf"\n  3 +4 .* {expected['sensitivity'][2]:.3f} ", out)
        assert f"{expected['dice_matrix'][0, 2]:.3f}" in out.split("Dice")[-1]
        assert sorted(file.name for file in root.parent.iterdir()) == [root.name]

    def test_json(self, folder, capsys):
        root, _ = folder
        assert main(["inspect", str(root), "--json", "--output", str(root.parent / "out")]) == 0
        printed, said = capsys.readouterr()
        result = json.loads(printed)
        assert result == json.loads((root.parent / "out" / "inspection.json").read_text())
        assert result["num_images"] == len(result["cases"]) == 5
        assert "inspection.html" in said

    def test_page_and_picture(self, folder, capsys):
        root, everything = folder
        output = root.parent / "deep" / "out"
        assert main(["inspect", str(root), "--output", str(output), "--shown", "3", "--margin", "2"]) == 0
        assert sorted(file.name for file in output.iterdir()) == ["contact_sheet.png", "inspection.html", "inspection.json"]
        assert [file.name for file in output.parent.iterdir()] == ["out"]
        text = (output / "inspection.html").read_text()
        assert "masks &amp; &lt;more&gt;" in text
        page = Page(text)
        (source,) = page.images
        head, picture = source.split(",")
        assert head == "data:image/png;base64"
        assert base64.b64decode(picture) == (output / "contact_sheet.png").read_bytes()
        with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
            assert image.width > 600
        assert not page.active
        assert not re.search(r"https?://|url\(|@import", text)
        expected = raters.agreement(everything)
        assert [row[4] for row in page.tables["raters"][1:]] == [f"{v:.3f}" for v in expected["sensitivity"]]
        assert page.tables["dice"][1][2] == f"{expected['dice_matrix'][0, 1]:.3f}"
        assert [row[0] for row in page.tables["cases"][1:]] == list("01234")

    def test_the_sheet_spans_the_range_of_dispute(self, folder):
        root, _ = folder
        cases = data.cases(root)
        result = inspection.inspect(cases)
        order = sorted(result["cases"][:4], key=lambda row: -row["disputed_of_marked"])
        figure = inspection._report._contact_sheet(result, cases, 2, None)
        shown = [ax.get_xlabel().split("\n")[0] for ax in figure.axes]
        assert shown == [order[0]["id"], order[-1]["id"]]
        assert figure.get_suptitle() == "masks & <more>: 2 of 5 images, most disputed first"

    def test_every_bad_file_is_named(self, folder, capsys):
        root, _ = folder
        for number in range(30):
            (root / f"bad{number}_image.png").write_bytes(b"no image")
            (root / f"bad{number}_rater1.png").write_bytes((root / "0_rater1.png").read_bytes())
        Image.new("L", (3, 3)).save(root / "2_rater1.png")
        (root / "index.csv").unlink()
        assert main(["inspect", str(root), "--output", str(root.parent / "out")]) == 2
        out, said = capsys.readouterr()
        assert out == ""
        assert said.startswith("keras-ordseg: 31 problems in ")
        for name in ("2_rater1.png", *(f"bad{number}_image.png" for number in range(30))):
            assert f"\n  {name}: " in said
        assert sorted(file.name for file in root.parent.iterdir()) == [root.name]

    @pytest.mark.parametrize(
        "arguments, words",
        [
            (["--image", "*_picture.png"], "no image matches"),
            (["--ratings", "masks.png"], "ratings: expected a pattern"),
            (["--window", "3"], "window"),
            (["--shown", "0", "--output", "{out}"], "shown must be 1 or more"),
        ],
    )
    def test_arguments(self, folder, capsys, arguments, words):
        root, _ = folder
        arguments = [argument.replace("{out}", str(root.parent / "out")) for argument in arguments]
        assert main(["inspect", str(root), *arguments]) == 2
        assert words in capsys.readouterr().err
        assert not (root.parent / "out").exists()

    def test_an_earlier_inspection_stays_unless_told(self, folder, capsys):
        root, _ = folder
        output = root.parent / "out"
        assert main(["inspect", str(root), "--output", str(output)]) == 0
        (root / "4_image.png").unlink()
        assert main(["inspect", str(root), "--output", str(output)]) == 2
        assert "holds an earlier inspection; pass --overwrite" in capsys.readouterr().err
        assert json.loads((output / "inspection.json").read_text())["num_images"] == 5
        assert main(["inspect", str(root), "--output", str(output), "--overwrite"]) == 0
        assert json.loads((output / "inspection.json").read_text())["num_images"] == 4
        (output / "notes.txt").write_text("mine")
        assert main(["inspect", str(root), "--output", str(output), "--overwrite"]) == 2
        assert "a folder with other files" in capsys.readouterr().err
        assert (output / "notes.txt").exists()
        assert main(["inspect", str(root), "--output", str(root / "index.csv"), "--overwrite"]) == 2

    def test_a_failure_while_writing_leaves_what_was_there(self, folder, monkeypatch):
        root, _ = folder
        output = root.parent / "out"
        cases = data.cases(root)
        inspection.write(inspection.inspect(cases), cases, output)
        before = (output / "inspection.html").read_bytes()

        def fail(*args):
            raise RuntimeError("no page")

        monkeypatch.setattr(inspection._report, "_page", fail)
        with pytest.raises(RuntimeError, match="no page"):
            inspection.write(inspection.inspect(cases), cases, output, overwrite=True)
        assert (output / "inspection.html").read_bytes() == before
        assert sorted(file.name for file in root.parent.iterdir()) == [root.name, "out"]


@pytest.mark.parametrize("pack, images, sizes", [("cfos_brain", 22, 1), ("bubil_fluo_crowd", 72, 70)])
def test_real_packs(real_data, tmp_path, pack, images, sizes):
    """The statistics agree with the pack's own `stats.json`, made by other code."""
    folder = real_data(pack)
    expected = json.loads((folder / "stats.json").read_text())
    result = inspection.inspect(data.cases(folder))
    assert (result["num_images"], len(result["sizes"])) == (images, sizes)
    assert result["agreement"]["pairwise_dice"] == pytest.approx(expected["mean_pairwise_dice"], abs=1e-4)
    assert result["agreement"]["disputed_of_marked"] == pytest.approx(expected["share_of_union_disputed"], abs=1e-4)
    histogram = np.array(expected["count_histogram"])
    np.testing.assert_allclose(result["levels"], histogram / histogram.sum(), rtol=1e-12)
    assert result["agreement"]["disputed"] == pytest.approx(histogram[1:-1].sum() / histogram.sum(), rel=1e-12)
