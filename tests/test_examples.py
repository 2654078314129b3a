"""How the notebooks are committed; the quickstart and the volumes run from top to bottom.

The notebooks of the benchmarks run in `test_notebooks.py`, the scripts in `test_training_scripts.py` and `distribution`.
"""

import json
import re

import nbformat
import numpy as np
import pytest

from tests.notebooks import check_pictures, is_parameters, read, runner, text, write_folder

EXECUTED = ("lidc", "own_masks")  # on data whose licence lets pictures of it be committed
NOTEBOOKS = ("quickstart", "volumes", "cocahis", "refuge_disc", "refuge_cup", "longciu", *EXECUTED)

# Run after a notebook's last cell, in its kernel: what the test wants to know of its variables.
QUICKSTART = """
import json as _json

_k = np.arange(K + 1)
_shared = set(train["group"]) & set(test["group"]) | set(train["group"]) & set(validation["group"])
_served = {name: value.numpy() for name, value in answer.items()}
_levels = _served["levels"].astype("float64")
print(_json.dumps({
    "images": arrays["image"].shape, "raters": K, "absent": int((arrays["ratings"] < 0).sum()),
    "groups": len(set(arrays["group"])), "shared": len(_shared | set(validation["group"]) & set(test["group"])),
    "policy": keras.config.dtype_policy().name, "epochs": len(history.history["loss"]),
    "before": before["all pixels"], "after": after["all pixels"], "near": after["near marks"],
    "ece": {r: reliability(r, near)["ece"] for r in ("expected", "majority")},
    "table": {name: float(np.sum(shares)) for name, shares in table.items()},
    "reloaded": float(np.abs(again - logits).max()), "file": (output / "model.keras").is_file(),
    "spread": float(agreement.max() - agreement.min()),
    "version": version.as_posix(), "saved_model": (version / "saved_model.pb").is_file(),
    "served": {name: value.shape for name, value in _served.items()},
    "served_agreement": float(np.abs(_served["agreement"] - agreement[:4]).max()),
    "served_levels": float(np.abs(_levels @ _k / K - agreement[:4]).max()),
    "served_majority": float(np.abs(_levels[..., -(-K // 2):].sum(-1) - majority[:4]).max()),
}))
"""

VOLUMES_PROBE = """
import json as _json

_one, _all = predicted.values()
_map = nib.load(output / f"{case.id}_agreement.nii.gz")
print(_json.dumps({
    "groups": [sorted(set(part.groups)) for part in (train, validation, test)],
    "epochs": [len(h["loss"]) for h in histories.values()],
    "losses": [h["loss"] for h in histories.values()],
    "shapes": {name: p.shape for name, p in predicted.items()},
    "sums": max(float(np.abs(p.sum(-1) - 1).max()) for p in predicted.values()),
    "again": float(np.abs(again - _all[0]).max()),
    "differ": float(np.abs(_one - _all).max()),
    "table": table,
    "map": float(np.abs(_map.get_fdata() - again @ np.arange(K + 1) / K).max()),
    "affine": float(np.abs(_map.affine - scan.affine).max()),
    "reloaded": float(np.abs(loaded.predict(block, verbose=0) - logits).max()),
    "served": float(np.abs(answer["levels"] - ops.level_probabilities(logits)).max()),
    "files": [(output / "ensemble.keras").is_file(), (version / "saved_model.pb").is_file()],
}))
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    return runner(tmp_path, monkeypatch)


def check_answers(found, raters, size):
    """What holds of every run, whatever the data."""
    assert found["shared"] == 0
    assert found["epochs"] == 1
    assert found["policy"] == "float32"
    for values in (found["before"], found["after"], found["near"]):
        assert sorted(values) == ["brier", "dice", "ece_expected", "ece_majority", "loss"]
        assert all(0 <= value < 3 for value in values.values())
    # the evaluation of Keras and the diagram from the logits are the same sums
    assert found["ece"]["expected"] == pytest.approx(found["near"]["ece_expected"], abs=1e-6)
    assert found["ece"]["majority"] == pytest.approx(found["near"]["ece_majority"], abs=1e-6)
    assert found["table"] == {"predicted": pytest.approx(1, abs=1e-5), "voted": pytest.approx(1)}
    assert found["spread"] > 1e-3
    assert found["file"]
    assert found["reloaded"] < 1e-5
    assert found["saved_model"]
    assert found["version"] == "runs/quickstart/serving/1"
    shape = [4, size, size]
    assert found["served"] == {
        "agreement": shape,
        "at_least": [*shape, raters],
        "levels": [*shape, raters + 1],
        "majority": shape,
    }
    assert max(found["served_agreement"], found["served_levels"], found["served_majority"]) < 1e-5


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_is_committed_clean(name):
    book = read(name)
    nbformat.validate(book)
    assert (book.nbformat, book.nbformat_minor) == (4, 5)
    assert book.metadata.kernelspec.name == "python3"
    assert sum(is_parameters(cell) for cell in book.cells) == 1
    assert not any(cell.get("attachments") for cell in book.cells)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    if name not in EXECUTED:
        assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
        return
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    for cell in code:
        kinds = {output.output_type for output in cell.outputs}
        assert kinds <= {"stream", "display_data", "execute_result"}, cell.id
        assert bool(kinds) == ("print(" in cell.source or "plots." in cell.source), cell.id
        assert not text(cell, "stderr")
        shown = json.dumps([out.get("text") or out.data.get("text/plain") for out in cell.outputs])
        assert not re.search(r"(?<![\w.:/])/\w+/\w", shown), cell.id  # the path of a machine


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_uses_the_public_names_only(name):
    source = "\n".join(cell.source for cell in read(name).cells if cell.cell_type == "code")
    assert "._" not in source
    assert "keras_ordseg." not in source


def test_runs_on_generated_images(run):
    found, figures = run("quickstart", QUICKSTART, SIZE=32, IMAGES=24, EPOCHS=1, BATCH=8)
    assert found["images"] == [24, 32, 32, 1]
    assert (found["raters"], found["groups"], found["absent"]) == (5, 6, 0)
    check_answers(found, raters=5, size=32)
    check_pictures(figures)


@pytest.mark.slow
def test_runs_on_a_folder_with_absent_raters(run, tmp_path, rng):
    write_folder(tmp_path / "masks", rng)
    found, figures = run("quickstart", QUICKSTART, DATA=str(tmp_path / "masks"), SIZE=32, EPOCHS=1, BATCH=8)
    assert found["images"] == [14, 32, 32, 3]
    assert (found["raters"], found["groups"]) == (3, 7)
    assert found["absent"] == 2 * 32 * 32
    check_answers(found, raters=3, size=32)
    check_pictures(figures)


@pytest.mark.slow
def test_volumes_run_on_files(run):
    small = {"VOLUMES": 12, "SIZE": 16, "PATCH": 12, "EPOCHS": 2, "FILTERS": (2, 4), "FLIPS": [0, (1, 2)]}
    found, figures = run("volumes", VOLUMES_PROBE, **small)
    assert not set.intersection(*map(set, found["groups"]))
    assert sum(map(len, found["groups"])) == 3
    assert found["epochs"] == [2, 2]
    assert np.isfinite(found["losses"]).all()
    shape = [4, 16, 16, 16, 6]
    assert found["shapes"] == {"one model": shape, "ensemble, 3 views": shape}
    assert found["sums"] < 1e-5
    assert found["again"] < 1e-6
    assert found["differ"] > 1e-4
    for scores in found["table"].values():
        assert sorted(scores) == ["brier", "dice", "ece", "ece_majority", "from_truth", "volume_crps"]
        assert np.isfinite(list(scores.values())).all()
    assert found["map"] < 1e-6
    assert found["affine"] == 0
    assert max(found["reloaded"], found["served"]) < 1e-5
    assert found["files"] == [True, True]
    check_pictures(figures, count=3)
