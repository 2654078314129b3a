"""What has no value is n/a, and neither 0 nor the end of a report."""

import html
import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from keras_ordseg import metrics
from keras_ordseg.benchmark import PerImage, Settings, _figures, bootstrap_interval, run
from keras_ordseg.benchmark._files import cases_csv, markdown_report, results_csv
from keras_ordseg.benchmark._report import write_report
from keras_ordseg.benchmark.bootstrap import group_weights, tabulate
from keras_ordseg.benchmark.evaluation import collapse, figures, image_sums
from keras_ordseg.benchmark.methods import select
from keras_ordseg.benchmark.preparation import Fold, prepare
from tests.benchmark.test_run import folder_of_masks


def one_rater_saw_half(rng):
    ratings = rng.integers(0, 2, (4, 6, 5, 2)).astype("int8")
    ratings[2:, ..., 0] = -1
    return ratings, np.where(ratings[..., 1:] > 0, 3.0, -3.0).astype("float32")


def test_images_that_a_metric_does_not_look_at_are_nan(rng):
    ratings, z = one_rater_saw_half(rng)
    ratings = np.concatenate([ratings, np.full((1, 6, 5, 2), -1, "int8")])
    z = np.concatenate([z, z[:1]])
    collected = PerImage({
        "dice_0": metrics.MultiRaterDice(rater=0),
        "dice": metrics.MultiRaterDice(),
        "brier": metrics.MultiRaterBrier(),
        "ece": metrics.MultiRaterECE(),
        "pooled": metrics.ConsensusDice(average="pixels"),
    })  # fmt: skip
    collected.add(ratings, z)
    table = collected.table()
    assert np.isnan(table["dice_0"]).tolist() == [False, False, True, True, True]
    for name in ("dice", "brier", "ece", "pooled"):
        assert np.isnan(table[name]).tolist() == [False] * 4 + [True], name
    assert [collected.counted(name) for name in ("dice_0", "dice")] == [2, 4]
    np.testing.assert_allclose(collected.value("dice_0"), np.nanmean(table["dice_0"]), rtol=1e-6)


def test_weights_and_votes(rng):
    collected = PerImage({"brier": metrics.MultiRaterBrier(num_raters=2)})
    collected.add(rng.integers(0, 3, (3, 4, 4)), np.zeros((3, 4, 4, 1)), sample_weight=np.array([1.0, 0.0, 2.0]))
    assert np.isnan(collected.table()["brier"]).tolist() == [False, True, False]


def test_an_empty_image_that_is_rated_keeps_its_value():
    """Both masks empty is a Dice of 1, and a perfect error is 0: those are values."""
    collected = PerImage({"pooled": metrics.ConsensusDice(average="pixels"), "brier": metrics.MultiRaterBrier()})
    collected.add(np.zeros((1, 4, 4, 2), "int8"), np.full((1, 4, 4, 1), -200.0))
    assert [collected.table()[name][0] for name in ("pooled", "brier")] == [1.0, pytest.approx(0)]


def test_a_resample_without_an_answer_is_left_out(rng):
    """A rater who saw one image of four: resamples without it have no value, and are not 0."""
    ratings = rng.integers(0, 2, (4, 6, 5, 2)).astype("int8")
    ratings[1:, ..., 0] = -1
    collected = PerImage({"dice_0": metrics.MultiRaterDice(rater=0)})
    collected.add(ratings, np.where(ratings[..., 1:] > 0, 3.0, -3.0).astype("float32"))
    assert np.isnan(collected.value("dice_0", np.array([[0, 1, 1, 2], [1, 0, 0, 3]]))).tolist() == [True, False]
    found = bootstrap_interval(collected, "dice_0", resamples=50)
    assert found["low"] == pytest.approx(found["mean"]) == pytest.approx(found["high"])
    assert found["mean"] > 0
    assert found["images"] == 1


def made(ratings, logits, band=2, keys=("majority_bce", "hybrid")):
    """What `draw` and the files take, from the logits of the test images."""
    methods = select(keys)
    sums = {m.key: image_sums(logits if m.levels else logits[..., -1:], ratings, band) for m in methods}
    history = {name: [0.5, 0.4] for name in ("loss", "val_loss", "brier", "val_brier")}
    cells = {m.key: [{"sums": sums[m.key], "history": history, "seed": 0}] for m in methods}
    test = {
        "image": np.zeros((*ratings.shape[:-1], 1), "float32"),
        "ratings": ratings,
        "id": np.array([f"i{i}" for i in range(len(ratings))]),
        "group": np.arange(len(ratings)),
    }
    table = figures(False, band)
    weights = group_weights(test["group"], 20)
    values = tabulate({k: [c["sums"] for c in v] for k, v in cells.items()}, table, weights, methods[0].key)
    results = {
        "dataset": {"name": "none", "num_raters": ratings.shape[-1], "num_images": {"test": len(ratings)}},
        "metrics": [{name: getattr(f, name) for name in ("key", "label", "lower_is_better", "digits")} for f in table],
        "methods": [{"key": m.key, "label": m.label, "values": values[m.key]} for m in methods],
        "baseline": methods[0].key,
        "notes": [],
    }  # fmt: skip
    prepared = SimpleNamespace(test=test, folds={None: Fold(test, test, test)})
    return Settings(methods=keys, band=band), prepared, methods, cells, results


def everything(ratings, logits, tmp_path, monkeypatch, **options):
    """Draws and writes all there is; gives the figures by title."""
    settings, prepared, methods, cells, results = made(ratings, logits, **options)
    by_image = iter(np.tile(logits, (4, 1, 1, 1)))
    monkeypatch.setattr(_figures, "_predict", lambda *_: next(by_image)[None])
    drawn = _figures.draw(settings, prepared, tmp_path, methods, cells, results)
    page = html.unescape(write_report(tmp_path, results, drawn).read_text())
    text = markdown_report(results, drawn) + results_csv(results) + cases_csv(prepared.test, methods, cells)
    assert "nan" not in text.lower()
    assert all(figure["title"] in page for figure in drawn)
    return {figure["title"]: figure for figure in drawn}, page


def test_no_mark_in_the_test_images(tmp_path, monkeypatch, rng):
    logits = rng.normal(size=(3, 8, 8, 4)).astype("float32")
    drawn, page = everything(np.zeros((3, 8, 8, 3), "int8"), logits, tmp_path, monkeypatch)
    missing = {title for title, figure in drawn.items() if figure["path"] is None}
    assert missing == {
        "Calibration against accuracy",
        "Reliability, expected readout, within 2 pixels of any mark",
        "Reliability, majority readout, within 2 pixels of any mark",
        "How often each level occurs",
    }
    assert page.count("Not drawn: no test pixel lies within 2 pixels of any mark.") == 1
    assert drawn["Agreement maps"]["path"]


def test_one_image_only(tmp_path, monkeypatch, rng):
    ratings = rng.integers(0, 2, (1, 8, 8, 3)).astype("int8")
    drawn, _ = everything(ratings, rng.normal(size=(1, 8, 8, 4)).astype("float32"), tmp_path, monkeypatch)
    assert all(figure["path"] for figure in drawn.values())


def test_a_group_that_nobody_rated(tmp_path, monkeypatch, rng):
    ratings = rng.integers(0, 2, (3, 8, 8, 3)).astype("int8")
    ratings[1] = -1
    logits = rng.normal(size=(3, 8, 8, 4)).astype("float32")
    drawn, _ = everything(ratings, logits, tmp_path, monkeypatch)
    assert all(figure["path"] for figure in drawn.values())
    (tmp_path / "all").mkdir()
    _, page = everything(np.full_like(ratings, -1), logits, tmp_path / "all", monkeypatch)
    assert "Not drawn: no rater's answer lies there" in page


def test_a_band_of_no_pixel(tmp_path, monkeypatch, rng):
    ratings = rng.integers(0, 2, (3, 8, 8, 3)).astype("int8")
    ratings[:, ::2] = -1
    logits = rng.normal(size=(3, 8, 8, 4)).astype("float32")
    drawn, _ = everything(ratings, logits, tmp_path, monkeypatch, band=0)
    assert drawn["Calibration against accuracy"]["path"]


@pytest.mark.parametrize(
    "marks, what",
    [
        ([[64, 9, 0, 0], [64, 0, 0, 0]], "nothing"),
        ([[64, 9, 64, 64], [64, 0, 64, 64]], "everything"),
        ([[64, 9, 3, 0]], None),
        ([[64, 0, 0, 0]], None),  # nobody marks: nothing is right
        ([[64, 64, 64, 64]], None),  # everybody marks everything
        ([[1e6, 5e4, 20, 3]], "nothing"),  # some stray pixels are no segmentation
    ],
)
def test_collapse(marks, what):
    assert collapse(marks) == what


def test_the_sums_that_tell(rng):
    ratings = np.zeros((1, 4, 4, 3), "int8")
    ratings[0, 0, :2] = 1
    ratings[0, 3] = -1
    z = np.full((1, 4, 4, 4), -9.0, "float32")
    z[..., 0] = 9
    assert image_sums(z, ratings, 1)["marks"].tolist() == [[12, 2, 0, 0]]
    z[0, 1, 1] = [0, 0, 9, 9]
    assert image_sums(z, ratings, 1)["marks"].tolist() == [[12, 2, 1, 1]]


@pytest.mark.slow
def test_a_whole_run_without_a_mark_in_the_test_images(tmp_path):
    train, healthy = folder_of_masks(tmp_path / "train"), folder_of_masks(tmp_path / "healthy", count=3)
    for file in healthy.glob("*_rater*.png"):
        Image.new("L", (16, 16)).save(file)
    settings = Settings(data=train, test_data=healthy, epochs=1, filters=(4,), resamples=10)
    stream = io.StringIO()
    results = run(settings, tmp_path / "run", stream=stream)
    assert results["methods"][0]["values"]["band_ece_expected"]["mean"] is None
    assert "No rater marks anything in the test images" in stream.getvalue()
    for name in ("report.html", "report.md", "results.csv", "cases.csv", results["export"]["path"]):
        assert (tmp_path / "run" / name).exists()


def test_parts_without_marks_are_told_or_refused(tmp_path):
    empty = folder_of_masks(tmp_path / "masks")
    for file in empty.glob("*_rater*.png"):
        Image.new("L", (16, 16)).save(file)
    with pytest.raises(ValueError, match="data: expected training images in which a rater marks something; got none among"):
        prepare(Settings(data=empty, filters=(4,)), progress=False)
    some = folder_of_masks(tmp_path / "some")
    plain = Settings(data=some, filters=(4,))
    for name in prepare(plain, progress=False).folds[None].validation["id"]:
        for file in some.glob(f"{name}_rater*.png"):
            Image.new("L", (16, 16)).save(file)
    assert "No rater marks anything in the validation images." in prepare(plain, progress=False).notes
    with pytest.raises(ValueError, match=r"methods: expected calibrators only where .* got hybrid\+temperature"):
        prepare(Settings(data=some, filters=(4,), methods=("hybrid", "hybrid+temperature")), progress=False)
