"""The command from end to end: what it writes, what it refuses, and that a killed run continues to the same result."""

import csv
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_ordseg.benchmark import METHODS, Settings, run
from keras_ordseg.benchmark.preparation import prepare
from keras_ordseg.cli import main
from tests.benchmark.conftest import benchmark, no_export, numbers_only

TINY = [
    "--images",
    "32",
    "--size",
    "16",
    "--epochs",
    "2",
    "--batch-size",
    "8",
    "--filters",
    "4,8",
    "--resamples",
    "20",
]


def command(*arguments):
    return [sys.executable, "-m", "keras_ordseg", "benchmark", *map(str, arguments)]


def folder_of_masks(path, count=12, raters=3, size=16):
    """Images of `count` cases, four to a patient, and masks of `raters` raters, as files."""
    rng = np.random.default_rng(0)
    path.mkdir()
    rows = ["id,group"]
    for i in range(count):
        mask = np.zeros((raters, size, size), "uint8")
        for r in range(raters):
            mask[r, 4 : 9 + r, 5:11] = 255
        image = np.clip(mask.mean(0) * 0.5 + rng.integers(0, 60, (size, size)), 0, 255).astype("uint8")
        Image.fromarray(image).save(path / f"{i:03d}_image.png")
        for r in range(raters):
            Image.fromarray(mask[r]).save(path / f"{i:03d}_rater{r + 1}.png")
        rows.append(f"{i:03d},p{i // 2}")
    (path / "index.csv").write_text("\n".join(rows))
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One run of the default methods on the embedded data."""
    output = tmp_path_factory.mktemp("run") / "all"
    done = subprocess.run(command("--output", output, *TINY), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return output, done


def test_the_run_folder(finished):
    output, done = finished
    results = json.loads((output / "results.json").read_text())
    assert [m["key"] for m in results["methods"]] == ["majority_bce", "hybrid"]
    for method in results["methods"]:
        for metric in results["metrics"]:
            entry = method["values"][metric["key"]]
            if metric["key"] == "rps" and not METHODS[method["key"]].levels:
                assert entry["mean"] is None
            else:
                assert np.isfinite(entry["mean"])
                assert entry["low"] <= entry["mean"] <= entry["high"] or metric["key"].endswith(
                    ("expected", "majority")
                )
        cell = output / "cells" / f"{method['key']}-seed0"
        assert (cell / "model.keras").is_file()
        log = (cell / "training.csv").read_text().splitlines()
        assert log[0].startswith("epoch,")
        assert len(log) == 3
        assert not (cell / "epochs").exists()
    report = (output / "report.html").read_text()
    assert "AmbiguousShapes" in report
    assert report.count("data:image/png;base64,") == 9
    assert 'src="http' not in report
    assert len(list((output / "figures").glob("*.png"))) == 9
    check_files(output, results)
    assert results["versions"]["keras"]
    assert results["dataset"]["num_images"] == {"train": 20, "validation": 4, "test": 8}
    assert (output / results["export"]["path"] / "saved_model.pb").is_file()
    assert "Hybrid (the paper's)" in done.stdout
    assert str(output / "report.html") in done.stdout
    assert "epoch 2/2" in done.stderr  # progress
    assert "Traceback" not in done.stderr


def check_files(output, results):
    """The CSV files hold the numbers of results.json and of each image; the Markdown report shows every figure."""
    rows = list(csv.DictReader((output / "results.csv").read_text().splitlines()))
    assert len(rows) == len(results["methods"]) * len(results["metrics"])
    for row, (method, metric) in zip(rows, itertools.product(results["methods"], results["metrics"]), strict=True):
        entry = method["values"][metric["key"]]
        assert (row["method"], row["metric"]) == (method["key"], metric["key"])
        assert (float(row["mean"]) if row["mean"] else None) == entry["mean"]
        assert (float(row["difference_low"]) if row["difference_low"] else None) == entry.get("difference", {}).get("low")
    cases = list(csv.DictReader((output / "cases.csv").read_text().splitlines()))
    assert len(cases) == 8 * 2
    for method in results["methods"]:
        dice = [float(case["soft_dice"]) for case in cases if case["method"] == method["key"]]
        np.testing.assert_allclose(np.mean(dice), method["values"]["soft_dice"]["mean"], rtol=1e-9)
    text = (output / "report.md").read_text()
    for name in re.findall(r"!\[.*\]\((.*)\)", text):
        assert (output / name).is_file()
    assert text.count("![") == 9
    assert text.count("| Hybrid") == 1


def test_every_method_starts_from_the_same_network_at_the_prior():
    from keras_ordseg import data
    from keras_ordseg.benchmark.methods import select
    from keras_ordseg.benchmark.preparation import prepare
    from keras_ordseg.benchmark.runner import build_model
    from keras_ordseg.ops import readout_probability

    settings = Settings(images=16, size=16, filters=(4, 8))
    images = prepare(settings, progress=False).folds[None]
    levels = data.level_frequencies(images.train)
    weights = []
    for method in select(METHODS):
        model = build_model(method, 7, settings, images)
        p = np.asarray(readout_probability(model(images.test["image"]), "expected"))
        votes = data.mean_vote(method.training_arrays(images.train))  # of a fused mask where it trains on one
        np.testing.assert_allclose(p, levels @ np.arange(6) / 5 if method.levels else votes, rtol=1e-4)
        weights.append([w.numpy() for w in model.trainable_weights[:-2]])
    for other in weights[1:]:
        for a, b in zip(weights[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def values(output):
    results = json.loads((output / "results.json").read_text())
    logs = {f.parent.name: f.read_text() for f in output.glob("cells/*/training.csv")}
    return [m["values"] for m in results["methods"]], logs


def test_an_interruption_between_any_two_writes(tmp_path, monkeypatch, steps_without_a_graph):
    """Every result is put in place by a rename: the run dies at several of them, and continues to the same numbers.

    Renames of a run: settings (1), three epochs of two (2-7), then model, sums and cell (8-10). In graphs, and killed:
    `test_a_killed_process`.
    """
    settings = Settings(
        images=32, size=16, epochs=3, batch_size=8, filters=(4,), resamples=20, dropout=0.3, methods=("hybrid",)
    )

    def dying_at(moment):
        calls = itertools.count(1)

        def replace(*paths):
            if next(calls) == moment:
                raise KeyboardInterrupt
            rename(*paths)

        return replace

    rename = os.replace
    with numbers_only():
        run(settings, tmp_path / "whole")
        for moment in (5, 9):
            monkeypatch.setattr(os, "replace", dying_at(moment))
            with pytest.raises(KeyboardInterrupt):
                run(settings, tmp_path / f"at{moment}")
            monkeypatch.setattr(os, "replace", rename)
            run(settings, tmp_path / f"at{moment}", resume=True)
    for moment in (5, 9):
        assert values(tmp_path / f"at{moment}") == values(tmp_path / "whole"), moment


@pytest.mark.slow
def test_a_killed_process(tmp_path):
    """SIGKILL in the middle of an epoch of dropout and augmentation, then --resume: the same numbers."""
    flags = [*TINY, "--epochs", "4", "--dropout", "0.3", "--methods", "hybrid"]
    subprocess.run(command("--output", tmp_path / "whole", *flags), check=True, capture_output=True)
    process = subprocess.Popen(command("--output", tmp_path / "killed", *flags), stderr=subprocess.DEVNULL)
    log, patience = tmp_path / "killed/cells/hybrid-seed0/training.csv", time.time() + 120
    while not log.exists() and time.time() < patience:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed/cells/hybrid-seed0/cell.json").exists()
    subprocess.run(
        command("--output", tmp_path / "killed", *flags, "--resume"), check=True, capture_output=True
    )
    assert values(tmp_path / "killed") == values(tmp_path / "whole")


def refused(capsys, *arguments):
    """The one message of a command that refuses before training, with exit code 2 and no traceback."""
    assert main(["benchmark", *map(str, arguments)]) == 2
    message = capsys.readouterr().err
    assert message.count("keras-ordseg: ") == 1
    assert "Traceback" not in message
    return message


def test_what_happens_to_an_earlier_run(finished, capsys, tmp_path):
    output, _ = finished
    flags = ["--output", output, *TINY]
    assert "--resume" in refused(capsys, *flags)
    assert "--overwrite: expected no resume beside it" in refused(capsys, *flags, "--resume", "--overwrite")
    assert "which has others: epochs was 2, now 3" in refused(capsys, *flags, "--epochs", 3, "--resume")
    assert "--methods: expected all that the run in" in refused(capsys, *flags, "--methods", "hybrid", "--resume")
    assert "none of majority_bce. List the old ones" in refused(capsys, *flags, "--methods", "hybrid", "--resume")
    assert "--seeds: expected all that the run in" in refused(capsys, *flags, "--seeds", "1,2", "--resume")
    assert (output / "results.json").is_file()
    (tmp_path / "thesis.txt").write_text("mine")
    message = refused(capsys, "--output", tmp_path, *TINY, "--overwrite")
    assert "which holds other files. Choose another folder." in message
    assert (tmp_path / "thesis.txt").read_text() == "mine"
    assert "is a file" in refused(capsys, "--output", tmp_path / "thesis.txt", *TINY)


def test_a_run_that_is_resumed_with_more_methods_and_seeds_trains_only_what_is_new(
    finished, tmp_path, steps_without_a_graph
):
    """And an ensemble is made anew of all the seeds of now."""
    output = shutil.copytree(finished[0], tmp_path / "more")
    ensemble = output / "cells/hybrid+ensemble-seed0"
    before = {path: path.stat().st_mtime_ns for path in output.glob("cells/*/*")}
    means = []
    for seeds in ("0,1", "0,1,2"):
        flags = [*TINY, "--methods", "majority_bce,hybrid,hybrid+ensemble", "--seeds", seeds, "--resume"]
        with no_export() if means else numbers_only():
            assert benchmark("--output", output, *flags).returncode == 0
        results = json.loads((output / "results.json").read_text())
        assert [m["key"] for m in results["methods"]] == ["majority_bce", "hybrid", "hybrid+ensemble"]
        assert results["methods"][1]["seeds"] == [int(seed) for seed in seeds.split(",")]
        with np.load(ensemble / "sums.npz") as sums:
            means.append({name: sums[name] for name in sums.files})
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert any((means[0][name] != means[1][name]).any() for name in means[0])
    assert "Hybrid (the paper's) + ensemble" in (output / "report.md").read_text()
    tf.random.get_global_generator()  # which determinism forbids: the benchmark left none behind


def test_changed_data_is_not_resumed(finished, capsys, monkeypatch):
    output, _ = finished
    path = output / "settings.json"
    before = path.read_text()
    path.write_text(before.replace('"fingerprint": "', '"fingerprint": "0'))
    message = refused(capsys, "--output", output, *TINY, "--resume")
    path.write_text(before)
    assert "the data changed" in message


@pytest.mark.parametrize(
    "flags,message",
    [
        (["--methods", "magic"], "methods: expected some of majority_bce"),
        (["--epochs", "0"], "--epochs: expected a whole number of at least 1; got 0"),
        (["--seeds", "1,1"], "seeds: expected different"),
        (["--learning-rate", "0"], "--learning-rate: expected a number above 0 and below 10; got 0.0"),
        (["--dropout", "1"], "dropout: expected"),
        (["--fractions", "0.5,0.5"], "fractions: expected three"),
        (["--size", "17"], "divisible by 8, the network's largest stride; got 17×17. Give --size=16."),
        (["--seeds", "0,2147483648"], "--seeds: expected different whole numbers from 0 to 2147483647; got 0,2147483648"),
        (["--split-seed", "9999999999"], "--split-seed: expected a whole number from 0 to 2147483647"),
        (["--size", "4"], "size: expected a whole number of at least 8"),
        (["--data", "/nowhere/at/all"], "/nowhere/at/all"),
        (["--methods", "hybrid+ensemble"], "--seeds: expected two or more for an ensemble; got 0"),
        (["--train-raters", "0"], "--train-raters: expected a whole number of at least 1"),
        (["--processes", "0"], "processes: expected a whole number of at least 1; got 0"),
        (["--folds", "1"], "folds: expected a whole number of at least 2"),
        (["--folds", "3", "--data", "tfds:lidc_idri"], "--folds: expected none with a test set of its own"),
        (["--data", "tfds:nothing"], "--data: expected one of cocahis"),
        (["--config", "/nowhere.yaml"], "/nowhere.yaml"),
        (["--config", "/nowhere.yaml", "--epochs", "20", "--no-augment"], "got --epochs, --no-augment. Leave it out"),
        (["--train-raters", "6"], "--train-raters: expected at most 5, as there are; got 6"),
    ],
)
def test_bad_flags(flags, message, capsys, tmp_path):
    assert message in refused(capsys, "--output", tmp_path / "run", *flags)
    assert not (tmp_path / "run").exists()  # nothing was begun


def test_a_grid_makes_no_folder_before_all_of_it_is_checked(capsys, tmp_path):
    good, small = folder_of_masks(tmp_path / "good"), folder_of_masks(tmp_path / "small", size=12)
    (tmp_path / "grid.yaml").write_text(f"data: [{good.name}, {small.name}]\nfilters: [4, 8, 8, 8]\nepochs: 1")
    assert "divisible by 8" in refused(capsys, "--output", tmp_path / "runs", "--config", tmp_path / "grid.yaml")
    assert not (tmp_path / "runs").exists()


def test_an_output_that_cannot_be_made(capsys):
    message = refused(capsys, "--output", "/dev/null/run", *TINY)
    assert "--output: expected a folder; got /dev/null/run, which cannot be made (Not a directory). Choose" in message


def test_a_volume_of_labels_in_hounsfield_units(tmp_path, rng):
    """Slices of 16 bits, masks that hold 2 for a mark and 7 for what was not rated; notes on what is cut, and one group."""
    rows = ["id,image,rater1,rater2,group"]
    for i in range(6):
        np.save(tmp_path / f"{i}.npy", rng.integers(-1000, 400, (20, 16)).astype("int16"))
        for r in (1, 2):
            mask = np.zeros((20, 16), "uint8")
            mask[4:8, 4 : 6 + r] = 2
            mask[18:] = 7
            np.save(tmp_path / f"{i}_{r}.npy", mask)
        rows.append(f"c{i},{i}.npy,{i}_1.npy,{i}_2.npy,p{i // 2}")
    (tmp_path / "cases.csv").write_text("\n".join(rows))
    settings = Settings(
        data=tmp_path / "cases.csv", window=(-1000, 400), label=(2,), void=(7,), filters=(4, 8), resamples=20
    )
    train = prepare(settings, progress=False).folds[None].train
    assert (train["ratings"][:, 18:] == -1).all()
    assert train["ratings"][0, :18].sum(axis=(0, 1)).tolist() == [12, 16]
    assert 0 <= train["image"].min() < 0.05 < 0.95 < train["image"].max() <= 1
    prepared = prepare(replace(settings, size=16), progress=False)
    assert any("Of the first image, 20×16 pixels, the middle 80.0% is kept" in note for note in prepared.notes)
    assert any("all of one group" in note for note in prepared.notes)


def test_bad_folders(capsys, tmp_path):
    data, output = folder_of_masks(tmp_path / "data"), tmp_path / "run"
    (tmp_path / "empty").mkdir()
    message = refused(capsys, "--output", output, "--data", tmp_path / "empty")
    assert "*_image.png" in message
    (data / "003_rater2.png").write_bytes(b"not a picture")
    Image.fromarray(np.full((8, 16), 255, "uint8")).save(data / "005_rater1.png")
    Image.fromarray(np.arange(256, dtype="uint8").reshape(16, 16)).save(data / "007_rater3.png")
    message = refused(capsys, "--output", output, "--data", data, "--filters", "4,8")
    for name in ("003_rater2.png", "005_rater1.png", "007_rater3.png"):  # all of them, not the first
        assert name in message
    nan = np.full((16, 16), np.nan, "float32")
    other = folder_of_masks(tmp_path / "nan")
    for f in other.glob("*_image.png"):
        f.unlink()
    for i in range(12):
        Image.fromarray(nan if i == 4 else np.full((16, 16), 0.5, "float32")).save(
            other / f"{i:03d}_image.tif"
        )
    message = refused(capsys, "--output", output, "--data", other, "--image", "*_image.tif")
    assert "004_image.tif" in message
    assert not output.exists()


def test_one_rater_works_and_says_so(tmp_path, steps_without_a_graph):
    data = folder_of_masks(tmp_path / "data", raters=1)
    with no_export():
        done = benchmark("--output", tmp_path / "run", "--data", data, *TINY[4:], "--methods", "hybrid")
    assert done.returncode == 0, done.stderr
    assert "one rater" in done.stderr
    assert "K = 1" in (tmp_path / "run/report.html").read_text()


def test_a_folder_of_masks_with_a_missing_file(tmp_path, steps_without_a_graph):
    data = folder_of_masks(tmp_path / "data")
    (data / "002_rater3.png").unlink()
    with numbers_only():
        done = benchmark("--output", tmp_path / "run", "--data", data, *TINY[4:], "--seeds", "0,1")
    assert done.returncode == 0, done.stderr
    assert "1 rater files are missing" in done.stderr or "1 rater file is missing" in done.stderr
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert len(results["methods"][0]["values"]["brier"]["seeds"]) == 2
    assert results["methods"][1]["values"]["brier"]["difference"]["mean"] is not None
    assert results["dataset"]["num_groups"] == {"train": 4, "validation": 1, "test": 1}


def cross_validated(tmp_path, processes):
    """A run of two folds; what it says on the way."""
    folder_of_masks(tmp_path / "masks", count=12)
    flags = ["--data", tmp_path / "masks", "--folds", "2", *TINY[4:], "--output", tmp_path / "run"]
    with numbers_only():
        assert main(["benchmark", *map(str, [*flags, "--methods", "hybrid", "--processes", processes])]) == 0
    # what comes after training, in this process: another would spend its time on imports
    assert main(["benchmark", *map(str, [*flags, "--methods", "hybrid,hybrid+temperature", "--resume"])]) == 0


def test_cross_validation_in_two_processes(tmp_path, capfd):
    """Every image is in the table, tested once."""
    cross_validated(tmp_path, 2)
    log = capfd.readouterr().err
    output = tmp_path / "run"
    assert "seed 0, fold 1  epoch 2/2" in log
    assert {f.name for f in (output / "cells").iterdir()} == {
        f"{key}-seed0-fold{fold}" for key in ("hybrid", "hybrid+temperature") for fold in range(2)
    }
    results = json.loads((output / "results.json").read_text())
    assert results["export"]["label"].replace(" (collapsed)", "").endswith("seed 0, fold 0 of 2")
    (card,) = output.glob("export/1/**/model_card.json")
    assert json.loads(card.read_text())["training"].endswith("; the metrics are those of the models of all folds")
    assert results["dataset"]["num_images"]["test"] == 12
    with open(output / "cases.csv") as file:
        cases = [row for row in csv.DictReader(file) if row["method"] == "hybrid+temperature"]
    assert sorted(row["id"] for row in cases) == [f"{i:03d}" for i in range(12)]
    for method in results["methods"]:
        parts = []
        for fold in range(2):
            with np.load(output / f"cells/{method['key']}-seed0-fold{fold}/sums.npz") as file:
                parts.append(file["brier"])
        top, bottom = np.concatenate(parts).sum(0)
        assert method["values"]["brier"]["mean"] == pytest.approx(100 * top / bottom, rel=1e-12)


@pytest.mark.slow
def test_two_processes_train_what_one_trains(tmp_path):
    found = []
    for processes in (1, 2):
        (tmp_path / str(processes)).mkdir()
        cross_validated(tmp_path / str(processes), processes)
        found.append(values(tmp_path / str(processes) / "run")[0])
    for one, two in zip(*found, strict=True):
        for key, entry in one.items():
            assert entry["mean"] == pytest.approx(two[key]["mean"], rel=1e-4), key  # threads may sum in another order


@pytest.mark.slow
def test_a_grid_of_variants_on_two_data_sets(tmp_path):
    """From one file: calibrators, an ensemble, links, fused and random targets, fewer raters, another test folder."""
    for name in ("one", "two"):
        folder_of_masks(tmp_path / name)
    folder_of_masks(tmp_path / "shifted", count=4, raters=2)
    grid = tmp_path / "grid.yaml"
    grid.write_text("""
data: [one, two]
test_data: shifted
methods: [soft_bce, soft_bce+isotonic, hybrid+ensemble]
grid: {losses: ["rps(normalization=sum)"], links: [beta_binomial], targets: [union], after: [temperature]}
seeds: [0, 1]
epochs: 1
filters: [4, 8]
train_raters: 2
resamples: 20
""")
    flags = ["--config", grid, "--output", tmp_path / "runs"]
    done = subprocess.run(command(*flags), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in ("one", "two"):
        output = tmp_path / "runs" / name
        results = json.loads((output / "results.json").read_text())
        found = {m["key"]: m for m in results["methods"]}
        assert list(found) == [
            "soft_bce",
            "soft_bce+isotonic",
            "hybrid+ensemble",
            "rps(normalization=sum):beta_binomial@union+temperature",
        ]
        assert results["dataset"]["num_images"]["test"] == 4
        assert found["hybrid+ensemble"]["seeds"] == [0]
        assert all(np.isfinite(m["values"]["brier"]["mean"]) for m in found.values())
        assert found["soft_bce"]["values"]["brier"] != found["soft_bce+isotonic"]["values"]["brier"]
        member = json.loads((output / "cells/hybrid-seed0/cell.json").read_text())
        ensemble = json.loads((output / "cells/hybrid+ensemble-seed0/cell.json").read_text())
        assert ensemble["parameters"] == 2 * member["parameters"]
        assert "curves" in json.loads((output / "cells/soft_bce+isotonic-seed1/cell.json").read_text())["calibrator"]


def test_help_names_the_methods(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["benchmark", "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert all(key in text for key in METHODS)
