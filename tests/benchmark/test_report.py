"""The report holds every number, escapes every word that came from outside and needs nothing but itself."""

import base64
import html
import html.parser
import re

import numpy as np
import pytest

from keras_ordseg import plots
from keras_ordseg.benchmark._report import headline, markdown_table, text_table, write_report
from tests.benchmark.made_up import made_up


@pytest.fixture
def results():
    return made_up()


@pytest.fixture
def figure(tmp_path):
    path = tmp_path / "figures" / "training.png"
    path.parent.mkdir()
    plots.training_curves({"a": {"loss": [2.0, 1.0]}}).savefig(path)
    return {"title": "Training", "caption": "Losses of one seed.", "path": "figures/training.png"}


class Cells(html.parser.HTMLParser):
    """The text of every cell, by the id of its table, and every tag with its attributes."""

    def __init__(self, page):
        super().__init__()
        self.tables, self.tags, self._table, self._cell = {}, [], None, None
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "table":
            self._table = self.tables.setdefault(dict(attributes).get("id"), [])
        elif tag == "tr":
            self._table.append([])
        elif tag in ("th", "td"):
            self._cell = []

    def handle_endtag(self, tag):
        if tag in ("th", "td"):
            self._table[-1].append(" ".join("".join(self._cell).split()))
            self._cell = None

    def handle_data(self, data):
        if self._cell is not None:
            self._cell.append(data if data.strip() == "" else f" {data}")


def read(path):
    return path.read_text(encoding="utf-8")


def test_page_holds_the_tables_and_the_facts(results, figure, tmp_path):
    path = write_report(tmp_path, results, [figure])
    assert path == tmp_path / "report.html"
    page = read(path)
    assert "<title>keras_ordseg benchmark: nodules</title>" in page
    cells = Cells(page)
    assert cells.tables["means"] == [
        ["method", "ECE expected, % ↓", "Consensus Dice ↑", "RPS ↓"],
        ["Majority-vote BCE", "1.50 [1.25, 1.75]", "0.700 [0.650, 0.750]", "n/a"],
        ["Hybrid", "0.50 [0.25, 0.75]", "0.680 [0.630, 0.730]", "0.100 [0.050, 0.150]"],
        ["Soft-label BCE", "2.50 [2.25, 2.75]", "0.700 [0.650, 0.750]", "n/a"],
    ]
    assert cells.tables["differences"] == [
        ["method", "ECE expected, % ↓", "Consensus Dice ↑", "RPS ↓"],
        ["Hybrid", "−1.00 [−1.25, −0.75] better", "−0.020 [−0.050, +0.010]", "n/a"],
        ["Soft-label BCE", "+1.00 [+0.50, +1.50] worse", "0.000 [−0.010, +0.010]", "n/a"],
    ]
    rest = cells.tables[None]
    for row in [
        ["Majority-vote BCE (baseline)", "expected", "1, 2", "1,234,567", "0.082", "ordinary"],
        ["Hybrid", "n/a", "n/a", "n/a", "n/a", ""],
        ["images, test", "30 (groups: 14)"],
        ["image shape", "64 × 64 × 1"],
        ["disputed share", "0.0312"],
        ["0", "95.000"],
        ["4", "1.000"],
        ["--augment", "yes"],
        ["--seeds", "1, 2"],
        ["keras", "3.15.1"],
        ["commit", "abc123"],
        ["training", "1 h 2 min"],
        ["evaluation", "1 min 1 s"],
        ["report", "2.5 s"],
    ]:
        assert row in rest
    for text in (
        "Armato et al. 2011",
        "read this",
        "2026-01-02T03:04:05+00:00",
        "Losses of one seed.",
        "gap",
    ):
        assert html.escape(text) in page


def test_page_needs_nothing_else(results, figure, tmp_path):
    page = read(write_report(tmp_path, results, [figure]))
    tags = Cells(page).tags
    (image,) = [attributes for tag, attributes in tags if tag == "img"]
    data = base64.b64decode(image["src"].removeprefix("data:image/png;base64,"), validate=True)
    assert data == (tmp_path / figure["path"]).read_bytes()
    assert image["alt"] == "Training"
    assert not [tag for tag, _ in tags if tag in ("script", "link", "iframe", "object")]
    assert not [a for tag, a in tags if tag != "img" and ("src" in a or "href" in a)]
    assert not re.search(r"https?://|url\(|@import", page)


def test_words_from_outside_are_escaped(results, figure, tmp_path):
    attack = "<script>alert('1')</script>\"><b onclick=x>"

    def poison(entry):
        """Every text anywhere, keys of the free tables too, gets the attack appended."""
        if isinstance(entry, dict):
            return {k: poison(v) for k, v in entry.items()}
        if isinstance(entry, list):
            return [poison(v) for v in entry]
        return entry + attack if isinstance(entry, str) else entry

    poisoned = poison(results)
    for table in ("settings", "versions", "seconds"):
        poisoned[table] = {key + attack: entry for key, entry in poisoned[table].items()}
    for entry in poisoned["metrics"] + poisoned["methods"]:
        entry["key"] = entry["key"].removesuffix(attack)
    poisoned["baseline"] = "majority_bce"
    figure = {**figure, "title": "T" + attack, "caption": "C" + attack}
    page = read(write_report(tmp_path, poisoned, [figure]))
    parsed = Cells(page)
    assert not [tag for tag, _ in parsed.tags if tag in ("script", "b")]
    assert not [a for _, a in parsed.tags if "onclick" in a]
    assert ["keras" + attack, "3.15.1" + attack] in parsed.tables[None]
    assert page.count(html.escape("<script>")) > 20

    table = markdown_table(poisoned)
    assert "<script>" not in table
    poisoned["methods"][0]["label"] = "a|b\n*c*"
    lines = markdown_table(poisoned).splitlines()
    assert "| a\\|b \\*c\\* |" in lines[2]
    poisoned["methods"][0]["label"] = "a\x1b[2J"
    assert "\x1b" not in text_table(poisoned)


@pytest.mark.parametrize("hole", [None, float("nan"), "absent"])
def test_missing_numbers(results, tmp_path, hole):
    """Every number of the results may be missing: the page and the tables say n/a."""

    def empty(entry):
        if isinstance(entry, dict):
            return {
                k: empty(v) for k, v in entry.items() if hole != "absent" or not isinstance(v, int | float)
            }
        if isinstance(entry, list):
            return [empty(v) for v in entry]
        return hole if isinstance(entry, float) and hole != "absent" else entry

    emptied = empty(results)
    for metric, whole in zip(emptied["metrics"], results["metrics"], strict=True):
        metric["lower_is_better"] = whole["lower_is_better"]
    cells = Cells(read(write_report(tmp_path, emptied)))
    assert cells.tables["means"][1] == ["Majority-vote BCE", "n/a", "n/a", "n/a"]
    assert "differences" not in cells.tables
    assert text_table(emptied).count("n/a") == 9
    assert "| Hybrid | n/a | n/a | n/a |" in markdown_table(emptied)
    assert headline(emptied) == []


def test_almost_nothing(tmp_path):
    page = read(write_report(tmp_path, {"dataset": {"name": "x"}, "commit": None}))
    assert "No method has been evaluated yet." in page
    assert text_table({}) == ""
    minimal = {"metrics": [{"key": "dice"}], "methods": [{"key": "a", "values": {}}]}
    assert "n/a" in read(write_report(tmp_path, minimal))


def test_page_is_whole_or_not_there(results, figure, tmp_path, monkeypatch):
    write_report(tmp_path, results, [figure])
    before = read(tmp_path / "report.html")

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("keras_ordseg.benchmark._report.os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_report(tmp_path, {**results, "commit": "other"})
    assert read(tmp_path / "report.html") == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["figures", "report.html"]


def test_figures_that_are_no_pictures(results, figure, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.png"):
        write_report(tmp_path, results, [{"title": "", "caption": "", "path": "missing.png"}])
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"text\.png.*not a PNG"):
        write_report(tmp_path, results, [{"title": "", "caption": "", "path": "text.png"}])
    assert not (tmp_path / "report.html").exists()


def test_numbers_of_numpy(results, tmp_path):
    page = markdown_table(results)
    entry = results["methods"][0]["values"]["ece"]
    entry.update(mean=np.float32(1.5), low=np.float64(1.25), high=np.float16(1.75))
    assert markdown_table(results) == page
    results["dataset"]["statistics"] = {"share": np.float32(0.25), "count": np.int64(7)}
    cells = Cells(read(write_report(tmp_path, results))).tables[None]
    assert ["share", "0.25"] in cells
    assert ["count", "7"] in cells
