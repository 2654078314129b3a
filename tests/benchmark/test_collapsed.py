"""A model that marks nothing is named, and is never the best; few groups give no verdict; volumes are refused."""

import copy
import io
from types import SimpleNamespace

import numpy as np
import pytest

from keras_ordseg.benchmark import METHODS, Settings, start
from keras_ordseg.benchmark._report import headline, write_report
from keras_ordseg.benchmark._report_tables import comparison, markdown_table, text_table
from keras_ordseg.benchmark.bootstrap import group_weights, tabulate
from keras_ordseg.benchmark.evaluation import figures, image_sums
from keras_ordseg.benchmark.methods import select
from keras_ordseg.benchmark.runner import TrainingError, _evaluate, _never_marks
from keras_ordseg.cli import main
from tests.benchmark.made_up import made_up
from tests.benchmark.test_run import folder_of_masks


@pytest.fixture
def results():
    return copy.deepcopy(made_up())


def by_key(results):
    return {row["key"]: row for row in comparison(results)}


def test_a_collapsed_method_is_named_and_never_the_best(results, tmp_path):
    results["methods"][1]["collapsed"] = [
        {"seed": 1, "fold": None, "marks": "nothing"}, {"seed": 2, "fold": 3, "marks": "nothing"},
    ]  # fmt: skip
    rows = by_key(results)
    assert rows["hybrid"]["label"] == "Hybrid (collapsed)"
    assert not any(cell["best"] or cell["tied"] or cell["verdict"] for cell in rows["hybrid"]["cells"])
    assert rows["majority_bce"]["cells"][0]["best"]  # the next best
    sentence = "Collapsed: Hybrid marks nothing in the test images (seed 1; seed 2, fold 3). It is in no comparison."
    assert headline(results)[0] == sentence
    assert sentence in text_table(results)
    assert "| Hybrid (collapsed) | 0.50" in markdown_table(results)
    page = write_report(tmp_path, results).read_text()
    assert sentence in page
    assert "Hybrid (collapsed)" in page


def test_nothing_is_better_than_a_baseline_that_collapsed(results):
    assert by_key(results)["hybrid"]["cells"][0]["verdict"] == "better"
    results["methods"][0]["collapsed"] = [{"seed": 1, "fold": None, "marks": "everything"}]
    assert not any(cell["verdict"] for row in comparison(results) for cell in row["cells"])
    assert "the baseline collapsed" in headline(results)[1]


@pytest.mark.parametrize("groups, verdict", [(5, "better"), (4, ""), (2, "")])
def test_few_groups_give_no_verdict(results, groups, verdict):
    results["dataset"]["num_groups"]["test"] = groups
    assert by_key(results)["hybrid"]["cells"][0]["verdict"] == verdict
    said = " ".join(headline(results))
    assert ("excludes 0" in said) == bool(verdict)
    assert (f"{groups} groups of test images are too few for a verdict" in said) == (not verdict)


def test_the_best_is_found_among_the_others(rng):
    ratings = rng.integers(0, 2, (6, 8, 8, 3)).astype("int8")
    good = np.where(ratings.sum(-1, keepdims=True) == np.arange(4), 2.0, 0.0).astype("float32")
    empty = np.broadcast_to(np.array([20.0, 0, 0, 0], "float32"), good.shape)
    cells = {"good": [image_sums(good, ratings, 2)], "empty": [image_sums(empty, ratings, 2)]}
    for sums in cells["empty"]:
        sums["brier"][:, 0] = 0  # the lowest there can be
    weights = group_weights(np.arange(6), 20)
    values = tabulate(cells, figures(False, 2), weights)
    assert "to_best" in values["good"]["brier"]
    values = tabulate(cells, figures(False, 2), weights, collapsed=["empty"])
    assert "to_best" not in values["good"]["brier"]


def test_calibration_near_the_marks_comes_first():
    table = figures(True, 7)
    assert [f.key for f in table[:4]] == ["band_ece_expected", "band_ece_majority", "ece_expected", "ece_majority"]
    assert "within 7 pixels" in table[0].description
    assert all("even a model that marks nothing looks calibrated" in f.description for f in table[2:4])


class Constant:
    """A model that predicts the same level logits everywhere."""

    def __init__(self, level):
        self.level = level

    def predict(self, images, **_):
        z = np.zeros((*images.shape[:-1], 4), "float32")
        z[..., self.level] = 20
        return z

    def save(self, path):
        path.write_text("a model")


def arrays(votes):
    ratings = np.zeros((2, 4, 4, 3), "int8")
    ratings[:, 1, 1, :votes] = 1
    return {"image": np.zeros((2, 4, 4, 1), "float32"), "ratings": ratings}


@pytest.mark.parametrize("level, votes, warned", [(0, 2, True), (0, 1, False), (0, 0, False), (3, 2, False)])
def test_a_model_that_never_exceeds_a_half(level, votes, warned):
    """Only where raters agree on marks: a single rater's mark needs no probability above 1/2."""
    said = _never_marks(Constant(level), Settings(), arrays(votes))
    assert len(said) == warned
    assert not said or "at least half of the raters mark 2 pixels" in said[0]


@pytest.mark.parametrize("level, words", [(0, "it marks nothing"), (3, "it marks everything")])
def test_the_log_names_a_collapse(tmp_path, level, words):
    stream = io.StringIO()
    _evaluate(Constant(level), Settings(), arrays(2), tmp_path, "[1/2] Hybrid, seed 0", stream)
    assert f"warning: [1/2] Hybrid, seed 0: collapsed, {words} in the test images\n" == stream.getvalue()


def test_the_report_shows_the_readout_that_is_trained():
    readouts = {m.key: m.readout for m in select([*METHODS, "hybrid(readout=2)"])}
    assert readouts["hybrid"] == "majority"
    assert readouts["hybrid_expected"] == "expected"
    assert readouts["hybrid(readout=2)"] == "quorum 2"
    assert readouts["level_ce"] == readouts["rps"] == "the levels"
    assert readouts["soft_bce"] == readouts["majority_bce"] == "one probability"


def test_a_training_error_speaks_of_settings():
    import pickle

    from keras_ordseg._checks import Setting

    error = TrainingError("the loss is not finite", ("try a smaller ", Setting("learning_rate")))
    assert str(pickle.loads(pickle.dumps(error))) == "the loss is not finite; try a smaller learning_rate="  # noqa: S301


@pytest.mark.parametrize("part", ["data", "test_data"])
def test_volumes_are_refused_before_anything_is_written(tmp_path, rng, capsys, part):
    flat, volumes = folder_of_masks(tmp_path / "flat"), tmp_path / "volumes"
    volumes.mkdir()
    rows = ["id,image,rater1,rater2"]
    for i in range(3):
        np.save(volumes / f"{i}.npy", rng.random((8, 9, 4 + i)).astype("float32"))  # of several sizes, even
        np.save(volumes / f"m{i}.npy", (rng.random((8, 9, 4 + i)) > 0.7).astype("uint8"))
        rows.append(f"{i},{i}.npy,m{i}.npy,m{i}.npy")
    (volumes / "t.csv").write_text("\n".join(rows))
    table = str(volumes / "t.csv")
    flags = ["--data", table] if part == "data" else ["--data", str(flat), "--test-data", table]
    assert main(["benchmark", *flags, "--filters", "4", "--output", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert f"--{part.replace('_', '-')}: expected images of two axes; got 8×9×4" in said
    assert "later release" in said
    assert "slices()" in said
    assert not (tmp_path / "run").exists()


def test_no_groups_are_known_is_said_once(tmp_path):
    folder, said = folder_of_masks(tmp_path / "masks"), []
    for name in ("with", "without"):
        stream = io.StringIO()
        stream.isatty = lambda: False
        ((_, _, prepared),) = start({tmp_path / name: Settings(data=folder, filters=(4,))}, stream=stream)
        said.append((stream.getvalue(), "\n".join(prepared.notes)))
        (folder / "index.csv").unlink(missing_ok=True)
    assert [log.count("each image is its own group") for log, _ in said] == [0, 1]
    assert [notes.count("each image is its own group") for _, notes in said] == [0, 1]


@pytest.mark.parametrize("settings", [{"seeds": (0, 2**31)}, {"seeds": (2**40,)}, {"split_seed": 2**31}, {"seeds": (-1,)}])
def test_seeds_that_cannot_be(settings):
    with pytest.raises(ValueError, match="from 0 to 2147483647"):
        Settings(**settings)
    assert Settings(seeds=(2**31 - 1,), split_seed=2**31 - 1)


def test_a_run_of_an_earlier_release_is_resumed(tmp_path):
    """Its settings do not hold what came later."""
    from keras_ordseg.benchmark._folder import check_settings
    from keras_ordseg.benchmark.checkpoint import write_json

    settings, prepared = Settings(), SimpleNamespace(fingerprint="x")
    before = {name: value for name, value in settings.as_dict().items() if name != "outside"}
    write_json(tmp_path / "settings.json", {"settings": before, "fingerprint": "x"})
    check_settings(tmp_path, settings, prepared)


def test_cells_of_an_earlier_release_are_read(tmp_path):
    """Some folds lack the sums that tell a collapse; the others still do."""
    import json

    from keras_ordseg.benchmark.methods import cell_folder
    from keras_ordseg.benchmark.summary import _load_cell

    (method,) = select(["hybrid"])
    for fold in range(2):
        folder = cell_folder(tmp_path, method, 0, fold)
        folder.mkdir(parents=True)
        sums = {"brier": np.ones((3, 2))} | ({"marks": np.array([[9.0, 3, 0, 0]] * 3)} if fold else {})
        np.savez(folder / "sums.npz", **sums)
        (folder / "cell.json").write_text(json.dumps({"seconds_per_step": None}))
    cell = _load_cell(tmp_path, method, 0, {0: None, 1: None})
    assert set(cell["sums"]) == {"brier"}
    assert cell["sums"]["brier"].shape == (6, 2)
    assert cell["collapsed"] == [{"seed": 0, "fold": 1, "marks": "nothing"}]
