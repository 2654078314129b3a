"""`keras-ordseg prepare`, and what `import keras_ordseg.datasets` brings in."""

import os
import subprocess
import sys

import numpy as np
import pytest

from keras_ordseg import data, datasets
from keras_ordseg.cli import main
from tests.conftest import ROOT
from tests.datasets.raw import write_lidc


@pytest.fixture
def raw(rng, tmp_path):
    write_lidc(tmp_path / "raw", rng)
    return tmp_path / "raw"


def test_what_there_is(capsys):
    assert main(["prepare"]) == 0
    text = capsys.readouterr().out
    for name in ("cocahis", "refuge_disc", "refuge_cup", "long_ciu", "lidc_idri", "ambiguous_shapes"):
        assert f"\n{name} " in f"\n{text}"
    assert "configurations: infection, ggo, consolidation" in text
    assert "licence: ODC-By 1.0" in text


def test_prepare(raw, tmp_path, capsys):
    """It says where it is, how large, whom to cite and how to go on, and what it says works."""
    out = tmp_path / "out"
    arguments = ["prepare", "lidc_idri", "--data-dir", str(out), "--manual-dir", str(raw)]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert "Generating train examples..." in captured.err
    lines = captured.out.splitlines()
    assert "lidc_idri/1.0.0: train 24, validation 4, test 4 cases, 4 raters, " in captured.out
    assert f"Where:    {out}/lidc_idri/1.0.0" in lines
    assert "Licence:  CC BY 3.0" in lines
    assert any("Armato" in line for line in lines)
    steps = [line.strip() for line in lines[lines.index("Next:") + 1 :] if line != "or:"]
    found = {}
    for end in (2, 4):
        exec("\n".join(steps[end - 2 : end]), names := {})
        cases = list(names["train"].as_numpy_iterator())
        found[end] = {case["id"]: case for case in cases}
        assert len(cases) == 24
    assert sorted(found[2]) == sorted(found[4])
    for name, case in found[2].items():
        np.testing.assert_array_equal(case["ratings"], found[4][name]["ratings"])
    files = {file: file.stat().st_mtime_ns for file in out.rglob("*.tfrecord*")}
    assert main(arguments) == 0  # it is there already
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*.tfrecord*")} == files
    assert main([*arguments, "--overwrite", "--format", "array_record"]) == 0
    assert not list(out.rglob("*.tfrecord*"))
    assert len(datasets.prepare("lidc_idri", out).as_data_source("train")) == 24


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["cocahis"], "Fetch CoCaHis.hdf5 from https://cocahis.irb.hr/ and put it into the manual directory"),
        (["refuge_cup/cropped"], "Training-400/<case>/<case>.jpg"),
        (["lidc_idri", "--manual-dir", "nowhere"], "nowhere: there is no such folder.\nLIDC-IDRI ("),
        (["mnist"], "NAME: expected one of cocahis, refuge_disc, refuge_cup, "),
        (["long_ciu/lung"], "NAME: expected long_ciu with one of its configurations infection, ggo, consolidation; got"),
        (["lidc_idri/big"], "NAME: expected lidc_idri alone; got 'lidc_idri/big'"),
    ],
)
def test_errors_have_no_traceback(arguments, message, tmp_path, capsys):
    assert main(["prepare", *arguments, "--data-dir", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "keras-ordseg: " in error
    assert "Traceback" not in error
    assert message in error


def test_no_network(tmp_path, monkeypatch, capsys):
    """What a download that fails says: the manual way."""
    import tensorflow_datasets as tfds

    def unreachable(self, urls):
        raise ConnectionError("the server cannot be reached")

    monkeypatch.setattr(tfds.download.DownloadManager, "download", unreachable)
    assert main(["prepare", "long_ciu", "--data-dir", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "long_ciu could not be prepared (the server cannot be reached)" in error
    assert "fetch these files from https://doi.org/10.25820/data.007301" in error


SCRIPT = """
import sys
{before}
import keras_ordseg.datasets
assert "tensorflow" not in sys.modules and "nibabel" not in sys.modules
assert keras_ordseg.datasets.ambiguous_shapes(1, 16)["ratings"].shape == (1, 16, 16, 5)
{after}
"""
KNOWN = """
import tensorflow_datasets as tfds
assert tfds.builder_cls("long_ciu") is keras_ordseg.datasets.LongCIU
assert "tensorflow" not in sys.modules
"""
UNKNOWN = """
try:
    keras_ordseg.datasets.LongCIU
except ImportError as error:
    assert "tensorflow_datasets" in str(error)
else:
    raise AssertionError
import keras_ordseg
assert keras_ordseg.data.pack
"""


@pytest.mark.parametrize(
    "before, after",
    [("", KNOWN), ("sys.modules['tensorflow_datasets'] = None  # as if it were not installed", UNKNOWN)],
    ids=["lazy", "without TensorFlow"],
)
def test_imports(before, after):
    environment = os.environ | {"KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT)}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    code = SCRIPT.format(before=before, after=after)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_earlier_one_stays_when_preparing_anew_fails(raw, tmp_path):
    out = tmp_path / "out"
    datasets.prepare("lidc_idri", out, raw)
    before = {file.relative_to(out) for file in out.rglob("*")}
    next(raw.rglob("slice-0.png")).unlink()
    with pytest.raises(data.DataError, match="1 problem"):
        datasets.prepare("lidc_idri", out, raw, overwrite=True)
    assert {file.relative_to(out) for file in out.rglob("*")} == before
    assert len(list(datasets.prepare("lidc_idri", out).as_dataset("train"))) == 24


def test_data_error_is_what_prepare_raises(tmp_path):
    with pytest.raises(data.DataError, match="Manual directory .* does not exist or is empty"):
        datasets.prepare("cocahis", tmp_path)
