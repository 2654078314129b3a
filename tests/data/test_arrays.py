"""Arrays are checked before anything trains on them."""

import os
import subprocess
import sys

import numpy as np
import pytest

from keras_ordseg import data


def test_good_arrays(arrays):
    assert data.check_arrays(arrays) is None
    volume = {"image": np.zeros((1, 2, 3, 4, 1)), "ratings": np.zeros((1, 2, 3, 4, 2), np.int32)}
    assert data.check_arrays(volume) is None


@pytest.mark.parametrize(
    "name, index, value, message",
    [
        ("image", (3, 0, 0, 0), np.nan, "case case3: the image has 1 values that are not finite"),
        ("image", (3, 0, 0, 0), np.inf, "case case3: the image has 1 values that are not finite"),
        ("image", (3, 0, 0, 0), 255, r"case case3: the image spans \[.*, 255\] where \[0, 1\]"),
        ("image", (3, 0, 0, 0), -0.1, r"case case3: the image spans \[-0.1, "),
        ("ratings", (4, 0, 0, 0), 2, "case case4: ratings span 0 to 2 where -1"),
        ("ratings", (4, 0, 0, 0), -2, "case case4: ratings span -2 to 1 where -1"),
        ("ratings", 6, -1, r"case case6: no rater rated any pixel"),
    ],
)
def test_bad_values(arrays, name, index, value, message):
    arrays[name][index] = value
    for use in (data.check_arrays, data.from_arrays, lambda a: data.batches(a, 2)):
        with pytest.raises(data.DataError, match=message):
            use(arrays)


def test_every_bad_case_is_named(arrays):
    arrays["image"][[0, 2], 1] = np.nan
    arrays["ratings"][2, 0, 0, 0] = 5
    with pytest.raises(
        data.DataError, match=r"(?s)^3 problems.*case0: the image.*case2: the image.*case2: ratings"
    ):
        data.check_arrays(arrays)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda a: a.pop("ratings"), "must hold 'image' and 'ratings', missing: ratings"),
        (lambda a: a.update(ratings=a["ratings"][:, :5]), r"came \(7, 6, 6, 1\) and \(7, 5, 6, 4\)"),
        (lambda a: a.update(ratings=a["ratings"][..., 0]), r"came \(7, 6, 6, 1\) and \(7, 6, 6\)"),
        (lambda a: a.update(id=a["id"][:3]), r"arrays\['id'\] must have one row for each of 7 images, has 3"),
        (lambda a: a.update(image=np.zeros((7, 6, 6, 1), np.uint8)), "must be float in .* came uint8"),
        (lambda a: a.update(ratings=a["ratings"] * 1.0), "ratings must be integers .* came float64"),
        (lambda a: a.update(image=a["image"][:0], ratings=a["ratings"][:0]), "not empty"),
    ],
)
def test_bad_shapes(arrays, change, message):
    change(arrays)
    with pytest.raises(data.DataError, match=message):
        data.check_arrays(arrays)


def test_take(arrays):
    part = data.take(arrays, np.array([5, 0]))
    assert part["id"].tolist() == ["case5", "case0"]
    np.testing.assert_array_equal(part["ratings"], arrays["ratings"][[5, 0]])
    assert len(data.take(arrays, [])["image"]) == 0
    with pytest.raises(ValueError, match="indices must be row numbers, came an array of bool"):
        data.take(arrays, arrays["id"] == "case1")
    with pytest.raises(IndexError):
        data.take(arrays, [7])


def test_from_arrays(arrays):
    dataset = data.from_arrays(arrays | {"probability": arrays["image"][..., 0]})
    assert int(dataset.cardinality()) == 7
    assert dataset.element_spec["ratings"].shape.as_list() == [6, 6, 4]
    third = list(dataset.as_numpy_iterator())[2]
    assert third["id"] == b"case2"
    np.testing.assert_array_equal(third["probability"], arrays["image"][2, ..., 0])


def test_files_and_generator_need_no_tensorflow(panel):
    """On another backend TensorFlow is not imported before a `tf.data.Dataset` is asked for."""
    code = f"""
import sys
from keras_ordseg import data, datasets, raters
arrays = data.load(data.cases({str(panel)!r}))
data.check_arrays(arrays)
data.split(arrays["group"]), data.level_frequencies(arrays), data.mean_vote(arrays), data.Augmentation()
raters.agreement(datasets.ambiguous_shapes(1, size=16)["ratings"])
assert "tensorflow" not in sys.modules
"""
    environment = os.environ | {"KERAS_BACKEND": "jax"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
