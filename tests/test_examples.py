"""The notebooks run from top to bottom: the quickstart on generated images and on a folder, the volumes on files."""

import base64
import io
import json
import pathlib

import nbclient
import nbformat
import numpy as np
import pytest
from PIL import Image, ImageDraw

ROOT = pathlib.Path(__file__).resolve().parent.parent
NOTEBOOKS = ("quickstart", "volumes")

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
    "before": before, "after": after,
    "ece": {r: reliability(r, test["ratings"])["ece"] for r in ("expected", "majority")},
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


def read(name):
    return nbformat.read(ROOT / "examples" / f"{name}.ipynb", as_version=4)


@pytest.fixture(params=NOTEBOOKS)
def notebook(request):
    return read(request.param)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """`run("volumes", PROBE, EPOCHS=1)` executes a notebook in an empty folder: the probe's answers, pictures."""
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("MPLBACKEND", "agg")
    work = tmp_path / "work"
    work.mkdir()

    def execute(name, probe, **parameters):
        book = read(name)
        place = 1 + [is_parameters(cell) for cell in book.cells].index(True)
        lines = [f"{name} = {value!r}" for name, value in parameters.items()]
        book.cells.insert(place, nbformat.v4.new_code_cell("\n".join(lines)))
        book.cells.append(nbformat.v4.new_code_cell(probe))
        nbclient.NotebookClient(
            book,
            timeout=180,
            startup_timeout=120,
            kernel_name="python3",
            resources={"metadata": {"path": str(work)}},
        ).execute()  # raises CellExecutionError with the traceback of the cell
        *cells, probe = [cell for cell in book.cells if cell.cell_type == "code"]
        for cell in cells:
            assert cell.execution_count, cell.id
            assert "Warning:" not in text(cell, "stderr"), text(cell, "stderr")
        return json.loads(text(probe)), {cell.id: pictures(cell) for cell in cells if "plots." in cell.source}

    return execute


def is_parameters(cell):
    return "parameters" in cell.metadata.get("tags", [])


def text(cell, name="stdout"):
    return "".join(out.text for out in cell.outputs if out.output_type == "stream" and out.name == name)


def pictures(cell):
    found = [out.data["image/png"] for out in cell.outputs if "image/png" in out.get("data", {})]
    return [Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB") for png in found]


def check_pictures(figures, count=5):
    """One picture for each figure cell, neither tiny nor blank."""
    assert len(figures) == count
    for name, found in figures.items():
        assert len(found) == 1, name
        assert min(found[0].size) >= 150, name
        pixels = np.asarray(found[0]).reshape(-1, 3)
        assert len(np.unique(pixels, axis=0)) > 50, name
        assert (pixels.min(axis=-1) < 128).mean() > 0.005, name


def check_answers(found, raters, size):
    """What holds of every run, whatever the data."""
    assert found["shared"] == 0
    assert found["epochs"] == 1
    assert found["policy"] == "float32"
    for values in (found["before"], found["after"]):
        assert sorted(values) == ["brier", "dice", "ece_expected", "ece_majority", "loss"]
        assert all(0 <= value < 3 for value in values.values())
    # the evaluation of Keras and the diagram from the logits are the same sums
    assert found["ece"]["expected"] == pytest.approx(found["after"]["ece_expected"], abs=1e-6)
    assert found["ece"]["majority"] == pytest.approx(found["after"]["ece_majority"], abs=1e-6)
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


def write_folder(folder, rng):
    """14 colour images of 40 × 36 pixels of a disc, three raters' masks, two masks missing, two images a patient."""
    folder.mkdir()
    for case in range(14):
        pixels = rng.integers(60, 90, (40, 36, 3), dtype=np.uint8)
        centre, radius = rng.integers(14, 22, 2), int(rng.integers(6, 10))
        image = Image.fromarray(pixels)
        disc(image, centre, radius, (190, 120, 110))
        image.save(folder / f"{case:02d}_image.png")
        for rater in range(3):
            if (case, rater) not in ((2, 0), (9, 1)):
                mask = Image.new("L", image.size)
                disc(mask, centre, radius + rater - 1, 255)
                mask.save(folder / f"{case:02d}_rater{rater + 1}.png")
    rows = "".join(f"{case:02d},patient{case // 2}\n" for case in range(14))
    (folder / "index.csv").write_text("id,group\n" + rows)


def disc(image, centre, radius, fill):
    x, y = map(int, centre)
    ImageDraw.Draw(image).ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)


def test_is_committed_clean(notebook):
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    assert sum(is_parameters(cell) for cell in notebook.cells) == 1
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [], cell.id
            assert cell.execution_count is None, cell.id
        else:
            assert not cell.get("attachments"), cell.id


def test_uses_the_public_names_only(notebook):
    source = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert "._" not in source
    assert "keras_ordseg." not in source


def test_runs_on_generated_images(run):
    found, figures = run("quickstart", QUICKSTART, SIZE=32, IMAGES=24, EPOCHS=1, BATCH=8)
    assert found["images"] == [24, 32, 32, 1]
    assert (found["raters"], found["groups"], found["absent"]) == (5, 6, 0)
    check_answers(found, raters=5, size=32)
    check_pictures(figures)


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
