"""The notebooks of the benchmarks: how they are committed, and that each runs on small files of the real layout."""

import hashlib
import json

import h5py
import nibabel
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from keras_ordseg import datasets
from keras_ordseg.datasets import long_ciu
from tests.datasets.raw import write_cocahis, write_lidc, write_long_ciu, write_refuge
from tests.notebooks import check_pictures, is_parameters, read, runner, text, write_folder

EXECUTED = ("lidc", "own_masks")  # on data whose licence lets pictures of it be committed
BENCHMARKS = ("cocahis", "refuge_disc", "refuge_cup", "longciu", *EXECUTED)
NOTEBOOKS = ("quickstart", "volumes", *BENCHMARKS)
TINY = {"EPOCHS": 1, "BATCH": 4, "DECODER_FILTERS": 8, "BAND": 2}
RESNET, EFFICIENT = {"FILTERS": (4, 8), "BLOCKS": 2}, {"FILTERS": (8, 8, 16), "REPEATS": 1}

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
_levels = np.exp(_direct - _direct.max(axis=-1, keepdims=True))
_levels /= _levels.sum(axis=-1, keepdims=True)
print(_json.dumps({
    "raters": K, "sizes": [len(part["image"]) for part in (train, validation, test)],
    "groups": [sorted(set(map(str, part["group"]))) for part in (train, validation, test)],
    "policy": keras.config.dtype_policy().name, "computed": ordinal.backbone.compute_dtype,
    "dtypes": sorted({str(_inner(z).dtype) for z in logits.values()}),
    "losses": [h["loss"] for h in histories.values()],
    "ece": {name: [_ece(z, _near["ratings"]), scores[_where, name]["ECE expected %"]] for name, z in _z.items()},
    "served": {name: value.shape for name, value in _answer.items()},
    "served_levels": float(np.abs(_answer["levels"] - _levels).max()),
    "served_agreement": float(np.abs(_answer["levels"] @ np.arange(K + 1) / K - _answer["agreement"]).max()),
    "reloaded": float(np.abs(_again - _direct).max()),
    "signatures": sorted(served), "version": version.as_posix(),
}))
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    return runner(tmp_path, monkeypatch)


@pytest.fixture(params=NOTEBOOKS)
def notebook(request):
    book = read(request.param)
    book.metadata["title"] = request.param
    return book


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    return folder


def magnify(folder, times):
    """The same files with pixels `times` as large, for networks with strides."""
    for file in folder.rglob("*"):
        if file.suffix in (".png", ".jpg"):
            with Image.open(file) as image:
                large = image.resize([times * side for side in image.size], Image.Resampling.NEAREST)
            large.save(file)
        elif file.suffix == ".hdf5":
            with h5py.File(file, "a") as content:
                for name in [f"{group}/{name}" for group in content for name in content[group]]:
                    values = content[name][()].repeat(times, axis=1).repeat(times, axis=2)
                    del content[name]
                    content[name] = values
        elif file.suffix == ".gz":
            volume = nibabel.load(file)
            values = np.asarray(volume.dataobj).repeat(times, axis=0).repeat(times, axis=1)
            nibabel.save(nibabel.Nifti1Image(values, volume.affine), file)


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
    assert found["reloaded"] < 0.2
    assert found["signatures"] == ["contours", "encoded", "serving_default", "summary"]


def test_is_committed_clean(notebook):
    nbformat_validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.get("attachments") for cell in notebook.cells)
    if notebook.metadata.title not in EXECUTED:
        assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
        return
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    for cell in code:
        kinds = {output.output_type for output in cell.outputs}
        assert kinds <= {"stream", "display_data", "execute_result"}, cell.id
        assert bool(kinds) == ("print(" in cell.source or "plots." in cell.source), cell.id
        assert not text(cell, "stderr")
        shown = json.dumps([out.get("text") or out.data.get("text/plain") for out in cell.outputs])
        assert not any(place in shown for place in ("/home", "/work", "/tmp", "/root", "/Users")), cell.id


def nbformat_validate(book):
    import nbformat

    title = book.metadata.pop("title")
    nbformat.validate(book)
    book.metadata["title"] = title
    assert (book.nbformat, book.nbformat_minor) == (4, 5)
    assert book.metadata.kernelspec.name == "python3"
    assert sum(is_parameters(cell) for cell in book.cells) == 1


def test_uses_the_public_names_only(notebook):
    source = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert "._" not in source
    assert "keras_ordseg." not in source


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
    write_cocahis(files, rng)
    magnify(files, 8)
    with h5py.File(files / "CoCaHis.hdf5", "a") as content:  # two patients to test on, and to resample
        content["HE"].attrs["patient_num"] = np.array([b"1", b"1", b"2", b"3", b"4", b"4", b"5", b"6"])
    found, figures = run("cocahis", PROBE, MANUAL_DIR=str(files), SHRINK=1, PATCH=32, **TINY, **RESNET)
    check(found, raters=7)
    assert sum(found["sizes"]) == 8
    assert found["groups"][2] == ["5", "6"]
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
    write_long_ciu(files, rng)
    magnify(files, 8)
    published = {
        name: (number, hashlib.sha256((files / name).read_bytes()).hexdigest())
        for name, (number, _) in long_ciu.FILES.items()
    }
    monkeypatch.setattr(long_ciu, "FILES", published)  # the notebook finds the dataset prepared
    tfds.display_progress_bar(False)
    datasets.prepare("long_ciu/ggo", data_dir=tmp_path / "tfds", manual_dir=files)
    layout = {"DATA_DIR": str(tmp_path / "tfds"), "CONFIGURATION": "ggo", "SHRINK": 1}
    found, figures = run("longciu", PROBE, PATCH=32, **layout, **TINY, **EFFICIENT)
    check(found, raters=3)
    assert found["sizes"] == [5, 2, 2]
    assert found["groups"] == [["000", "003", "004", "007", "008"], ["001", "006"], ["002", "005"]]
    check_pictures(figures, 6)
