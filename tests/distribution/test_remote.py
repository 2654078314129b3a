"""Packed and prepared datasets on a file system of TensorFlow's own: `ram://`, in memory, stands in for a bucket."""

import json

import numpy as np
import pytest
from etils.epath import gpath, register

from keras_ordseg import data, datasets
from keras_ordseg.data.packed import INFO
from tests.distribution.shared import K, arrays


@pytest.fixture
def bucket(monkeypatch):
    """A folder of `ram://`, which TensorFlow knows and TensorFlow Datasets is told of, as it knows `gs://`."""
    tf = pytest.importorskip("tensorflow")
    monkeypatch.setitem(gpath._URI_MAP_ROOT, "ram://", "/ram/")
    monkeypatch.setitem(gpath._PREFIX_TO_BACKEND, "ram", gpath._PREFIX_TO_BACKEND["gs"])
    monkeypatch.setattr(gpath, "_URI_SCHEMES", gpath._URI_SCHEMES | {"ram"})
    monkeypatch.setattr(gpath, "_URI_PREFIXES", (*gpath._URI_PREFIXES, "ram://"))
    monkeypatch.setitem(register._URI_PREFIXES_TO_CLS, "ram://", gpath.PosixGPath)
    tf.io.gfile.makedirs("ram://bucket")
    yield "ram://bucket"
    tf.io.gfile.rmtree("ram://bucket")


def check(cases, made):
    found = {case["id"].decode(): case for case in cases.as_numpy_iterator()}
    assert sorted(found) == sorted(made["id"])
    for row, name in enumerate(made["id"]):
        np.testing.assert_array_equal(found[name]["image"], made["image"][row])
        np.testing.assert_array_equal(found[name]["ratings"], made["ratings"][row])


def test_packing_into_a_bucket(bucket, tmp_path, monkeypatch):
    import tensorflow as tf

    made, there = arrays(5), f"{bucket}/deep/packed"
    assert str(data.pack(made, there, shards=2)) == there
    check(data.from_packed(there), made)
    check(data.from_packed(there, shuffle_seed=3, batch_size=None), made)
    with pytest.raises(FileExistsError, match=f"{there} exists"):
        data.pack(made, there)
    other = arrays(3, seed=1)
    data.pack(other, there, overwrite=True, shards=1)
    check(data.from_packed(there), other)
    # a copy that is cut short is no dataset
    copy = gpath.PosixGPath.copy
    monkeypatch.setattr(gpath.PosixGPath, "copy", lambda self, to: 1 / 0 if self.name == INFO else copy(self, to))
    with pytest.raises(ZeroDivisionError):
        data.pack(made, f"{bucket}/cut short")
    assert len(tf.io.gfile.listdir(f"{bucket}/cut short")) > 2
    with pytest.raises(data.DataError, match="no packed dataset"):
        data.from_packed(f"{bucket}/cut short")


def test_a_missing_shard_is_named(bucket):
    import tensorflow as tf

    there = data.pack(arrays(4), f"{bucket}/packed", shards=2)
    tf.io.gfile.remove(f"{there}/packed-cases.tfrecord-00001")
    with pytest.raises(data.DataError, match="packed-cases.tfrecord-00001 is missing"):
        data.from_packed(there)


def test_preparing_a_builder_in_a_bucket(bucket, monkeypatch):
    """TensorFlow's `ram://` renames a folder without its files; a bucket, which has no folders, renames each of them."""
    from keras_ordseg.datasets import shapes

    rename = gpath.PosixGPath.rename

    def of_each_file(self, target):
        if not self.is_dir():
            return rename(self, target)
        target = type(self)(target)
        target.mkdir(parents=True, exist_ok=True)
        for file in list(self.iterdir()):
            file.rename(target / file.name)
        self.rmtree()
        return target

    monkeypatch.setattr(gpath.PosixGPath, "rename", of_each_file)
    tiny = shapes.AmbiguousShapesConfig(name="2d", num_images=(4, 4, 4), size=16, num_raters=K)
    monkeypatch.setattr(shapes.AmbiguousShapes, "BUILDER_CONFIGS", [tiny])
    monkeypatch.setattr(shapes.AmbiguousShapes, "builder_configs", {"2d": tiny})
    for overwrite in (False, True):
        builder = datasets.prepare("ambiguous_shapes/2d", data_dir=bucket, overwrite=overwrite)
    assert str(builder.data_path).startswith("ram://bucket/ambiguous_shapes")
    made = data.take(datasets.ambiguous_shapes(12, size=16, num_raters=K), range(4))
    check(data.from_packed(builder.data_path, split="train"), made)
    assert json.loads((builder.data_path / INFO).read_text())["name"] == "ambiguous_shapes"
