"""The single-GPU training script, as a user starts it: on generated images, killed and started again, on a folder."""

import csv
import json
import os
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ordseg  # noqa: F401  (for load_model)
from tests.notebooks import ROOT, write_folder

SCRIPT = ROOT / "examples" / "train_mixed_precision_gpu.py"
SMALL = ["--size", "32", "--batch-size", "4", "--no-jit", "--band", "2"]


def start(output, *options):
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, SCRIPT, "--output", output, *SMALL, *map(str, options)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )


def finish(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-3000:]
    return out


def logged(output):
    with (output / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def check_output(output, raters, channels):
    """Results are numbers, and the exported graph says what the calibrated model says."""
    results = json.loads((output / "results.json").read_text())
    assert sorted(results) == ["as trained", "calibrated"]
    assert np.isfinite([value for row in results.values() for value in row.values()]).all()
    model = keras.models.load_model(output / "model.keras")
    image = np.random.default_rng(0).random((2, 32, 32, channels), "float32")
    served = tf.saved_model.load(str(output / "serving" / "1")).signatures["serving_default"](image=image)
    assert served["levels"].shape == (2, 32, 32, raters + 1)
    np.testing.assert_allclose(served["levels"], keras.ops.softmax(model(image)), atol=0.01)  # half precision
    return results


@pytest.mark.slow
def test_a_killed_run_goes_on(tmp_path):
    """Under mixed_float16, whose loss scale has to come back as well."""
    options = ["--images", "30", "--epochs", "4", "--small-backbone", "--filters", "4", "8"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = start(killed, *options)
    backup = killed / "backup" / "training_metadata.json"
    while process.poll() is None and not backup.exists():  # the end of the first epoch
        time.sleep(0.05)
    process.kill()
    process.communicate()
    done = json.loads(backup.read_text())["epoch"]
    assert 1 <= done < 4
    out = finish(start(killed, *options))
    assert f"continuing after epoch {done}" in out
    finish(start(whole, *options))
    again, once = check_output(killed, 5, 1), check_output(whole, 5, 1)
    for name, value in once["as trained"].items():
        assert again["as trained"][name] == pytest.approx(value, abs=1e-4), name
    assert float(logged(killed)[-1]["val_loss"]) == pytest.approx(float(logged(whole)[-1]["val_loss"]), abs=1e-5)
    assert [row["epoch"] for row in logged(whole)] == ["0", "1", "2", "3"]
    assert [row["epoch"] for row in logged(killed)][-1] == "3"
    refused = start(killed, *options, "--seed", "7")
    assert "other settings of seed" in refused.communicate(timeout=300)[1]
    assert refused.returncode == 1


@pytest.mark.slow
def test_a_folder_on_a_keras_cv_backbone_from_packed_records(tmp_path, rng):
    write_folder(tmp_path / "masks", rng)
    options = ["--data", tmp_path / "masks", "--packed", "--epochs", "1", "--filters", "4", "8", "--tensorboard"]
    output = tmp_path / "run"
    out = finish(start(output, *options, "--precision", "mixed_bfloat16"))
    assert "3 raters" in out
    assert (output / "packed" / "dataset_info.json").is_file()
    assert any((output / "tensorboard").rglob("events.*"))
    assert np.isfinite(float(logged(output)[0]["val_brier"]))
    check_output(output, 3, 3)
