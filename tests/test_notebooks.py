"""The notebooks of the benchmarks run from top to bottom, each on small files of the layout of its data."""

import ast
import hashlib
import importlib
import inspect

import h5py
import numpy as np
import pytest
import tensorflow_datasets as tfds

from keras_ordseg import datasets
from keras_ordseg.datasets import long_ciu
from tests.datasets.raw import write_cocahis, write_lidc, write_long_ciu, write_refuge
from tests.notebooks import ROOT, check_pictures, magnify, read, runner, write_folder

EXAMPLES = ROOT / "examples"

TINY = {"EPOCHS": 1, "BATCH": 4, "DECODER_FILTERS": 8, "BAND": 2}
RESNET, EFFICIENT = {"FILTERS": (4, 8), "BLOCKS": 2}, {"FILTERS": (8, 8), "REPEATS": 1}

# Run after the last cell, in the notebook's kernel; of a notebook with structures it looks at the cup.
PROBE = """
import json as _json

_nested = isinstance(near, dict) and "cup" in near
_inner = (lambda found: found["cup"]) if _nested else (lambda found: found)
_z = {name: np.asarray(_inner(z), "float64") for name, z in logits.items()}
_near, _where = (near["cup"], "cup") if _nested else (near, "near marks")


def _ece(z, ratings):  # by hand, from the definition
    if z.shape[-1] == 1:
        p = 1 / (1 + np.exp(-z[..., 0]))
    else:
        levels = np.exp(z - z.max(axis=-1, keepdims=True))
        p = levels @ np.arange(K + 1) / K / levels.sum(axis=-1)
    n, v = (ratings >= 0).sum(axis=-1), (ratings == 1).sum(axis=-1)
    bins = np.minimum((np.float32(p) * 15).astype(int), 14)
    gaps = [np.abs((n * p - v)[bins == b].sum()) for b in range(15)]
    return sum(gaps) / n.sum()


_block = test["image"][:2, :32, :32]
_direct = _inner(calibrated.predict(_block, verbose=0))
_again = _inner(keras.models.load_model(output / "model.keras").predict(_block, verbose=0))
_answer = served["serving_default"](image=tf.constant(_block))
_answer = {name.removeprefix("cup_"): value.numpy() for name, value in _answer.items() if _nested <= name.startswith("cup_")}
_levels, _again = (np.exp(z - z.max(axis=-1, keepdims=True)) for z in (_direct, _again))
_levels, _again = (x / x.sum(axis=-1, keepdims=True) for x in (_levels, _again))
_above = 0.0  # by how much the cup exceeds the disc at any quorum, before calibration
if _nested:
    _cup, _disc = (np.exp(z - z.max(axis=-1, keepdims=True)) for z in (logits["ordinal"]["cup"], logits["ordinal"]["disc"]))
    _cup, _disc = ((x / x.sum(axis=-1, keepdims=True))[..., ::-1].cumsum(axis=-1) for x in (_cup, _disc))
    _above = float((_cup - _disc).max())
print(_json.dumps({
    "above": _above, "marks": (test["ratings"] > 0).sum(axis=(0, 1, 2)).tolist(),
    "raters": K, "sizes": [len(part["image"]) for part in (train, validation, test)],
    "groups": [sorted(set(map(str, part["group"]))) for part in (train, validation, test)],
    "policy": keras.config.dtype_policy().name, "computed": ordinal.backbone.compute_dtype,
    "dtypes": sorted({str(_inner(z).dtype) for z in logits.values()}),
    "losses": [h["loss"] for h in histories.values()],
    "ece": {name: [_ece(z, _near["ratings"]), scores[_where, name]["ECE expected %"]] for name, z in _z.items()},
    "served": {name: value.shape for name, value in _answer.items()},
    "served_levels": float(np.abs(_answer["levels"] - _levels).max()),
    "served_agreement": float(np.abs(_answer["levels"] @ np.arange(K + 1) / K - _answer["agreement"]).max()),
    "reloaded": float(np.abs(_again - _levels).max()),
    "signatures": sorted(served), "version": version.as_posix(),
}))
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    return runner(tmp_path, monkeypatch)


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    return folder


def check(found, raters, side=32):
    """What holds of every run, whatever the data."""
    assert found["raters"] == raters
    assert min(found["sizes"]) >= 1
    train, validation, test = map(set, found["groups"])
    assert not train & validation | train & test | validation & test
    assert (found["policy"], found["computed"]) == ("mixed_bfloat16", "bfloat16")
    assert found["dtypes"] == ["float32"]
    assert np.shape(found["losses"]) == (2, 1)
    assert np.isfinite(found["losses"]).all()
    assert sorted(found["ece"]) == ["majority BCE", "majority BCE, calibrated", "ordinal", "ordinal, calibrated"]
    for by_hand, value in found["ece"].values():
        assert value == pytest.approx(by_hand, abs=1e-4)
    shape = [2, side, side]
    expected = {"agreement": shape, "majority": shape, "at_least": [*shape, raters], "levels": [*shape, raters + 1]}
    assert found["served"] == expected
    assert found["served_levels"] < 0.02  # bfloat16 has 8 bits, and the graph may fuse what the model does step by step
    assert found["served_agreement"] < 1e-5
    assert found["reloaded"] < 0.02
    assert found["above"] < 1e-5
    assert found["signatures"] == ["contours", "encoded", "serving_default", "summary"]


def calls(source):
    """`(dotted name, arguments, keywords)` of every call of `room.name(...)`, without those that unpack arguments."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        unpacked = any(isinstance(a, ast.Starred) for a in node.args) or any(k.arg is None for k in node.keywords)
        if isinstance(node.func.value, ast.Name) and not unpacked:
            yield (node.func.value.id, node.func.attr), node.args, [k.arg for k in node.keywords]


@pytest.mark.parametrize("path", sorted([*EXAMPLES.glob("*.ipynb"), *EXAMPLES.glob("*.py")]), ids=lambda path: path.name)
def test_what_an_example_calls_is_there_and_takes_its_arguments(path):
    """Of every notebook and script, most of which only the slow tier runs; the quickstart: `test_examples.py`."""
    source = path.read_text()
    if path.suffix == ".ipynb":
        source = "\n".join(cell.source for cell in read(path.stem).cells if cell.cell_type == "code")
    rooms = {
        name.asname or name.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.module == "keras_ordseg"
        for name in node.names
    }
    seen = 0
    for (room, name), arguments, keywords in calls(source):
        if room in rooms:
            called = getattr(importlib.import_module(f"keras_ordseg.{room}"), name)
            inspect.signature(called).bind(*arguments, **dict.fromkeys(keywords))
            seen += 1
    assert seen > 5


@pytest.mark.slow
def test_own_masks_runs_on_a_folder_with_absent_raters(run, files, rng):
    write_folder(files / "masks", rng)
    found, figures = run("own_masks", PROBE, DATA=str(files / "masks"), PATCH=32, **TINY, **EFFICIENT)
    check(found, raters=3)
    assert sum(map(len, found["groups"])) == 7
    assert sum(found["sizes"]) == 14 * 4
    assert found["version"] == "runs/own_masks/serving/1"
    check_pictures(figures, 6)


@pytest.mark.slow
def test_lidc_runs_on_folders_of_slices(run, files, rng):
    write_lidc(files, rng)
    magnify(files, 8)
    layout = {"DATA": str(files / "LIDC-IDRI-slices"), "IMAGE": "*/*/images/*.png", "RATINGS": "*/*/mask-{r}/*.png"}
    found, figures = run("lidc", PROBE, SIZE=32, **layout, **TINY, **EFFICIENT)
    check(found, raters=4)
    assert sum(found["sizes"]) == 8 * 2 * 2
    assert sorted(sum(found["groups"], [])) == [f"LIDC-IDRI-{patient:04d}" for patient in range(8)]
    check_pictures(figures, 5)


@pytest.mark.slow
def test_cocahis_runs_on_the_published_layout(run, files, rng):
    values = write_cocahis(files, rng)
    magnify(files, 8)
    with h5py.File(files / "CoCaHis.hdf5", "a") as content:  # two patients to test on, and to resample
        content["HE"].attrs["patient_num"] = np.array([b"1", b"1", b"2", b"3", b"4", b"4", b"5", b"6"])
    found, figures = run("cocahis", PROBE, MANUAL_DIR=str(files), SIZE=None, PATCH=32, **TINY, **RESNET)
    check(found, raters=7)
    assert sum(found["sizes"]) == 8
    assert found["groups"][2] == ["5", "6"]
    assert found["marks"] == [64 * int(values[f"GT/GT{rater}"][6:].sum()) for rater in range(1, 8)]
    check_pictures(figures, 6)


@pytest.mark.slow
@pytest.mark.parametrize("name, configuration", [("refuge_disc", "full"), ("refuge_cup", "cropped")])
def test_refuge_runs_on_the_published_layout(run, files, rng, name, configuration):
    write_refuge(files, rng, cropped=configuration == "cropped")
    layout = {"MANUAL_DIR": str(files), "CONFIGURATION": configuration}
    found, figures = run(name, PROBE, SIZE=32, **layout, **TINY, **RESNET)
    check(found, raters=7)
    assert found["sizes"] == [4, 1, 2]
    assert found["groups"][2] == ["g0005", "g0006"]
    check_pictures(figures, 5)


@pytest.mark.slow
def test_longciu_runs_on_the_published_layout(run, files, tmp_path, rng, monkeypatch):
    values = write_long_ciu(files, rng)
    magnify(files, 8)
    published = {
        name: (number, hashlib.sha256((files / name).read_bytes()).hexdigest())
        for name, (number, _) in long_ciu.FILES.items()
    }
    monkeypatch.setattr(long_ciu, "FILES", published)  # the notebook finds the dataset prepared
    tfds.display_progress_bar(False)
    datasets.prepare("long_ciu/ggo", data_dir=tmp_path / "tfds", manual_dir=files)
    layout = {"DATA_DIR": str(tmp_path / "tfds"), "CONFIGURATION": "ggo", "SIZE": None}
    found, figures = run("longciu", PROBE, PATCH=32, **layout, **TINY, **EFFICIENT)
    check(found, raters=3)
    assert found["sizes"] == [5, 2, 2]
    assert found["groups"] == [["000", "003", "004", "007", "008"], ["001", "006"], ["002", "005"]]
    opacities = [values[f"longciu_{rater}_tgt.nii.gz"][..., [2, 5]] == 1 for rater in (1, 2, 3)]
    assert found["marks"] == [64 * int(marks.sum()) for marks in opacities]
    check_pictures(figures, 6)
