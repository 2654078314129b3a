"""Packed datasets as arrays: what was packed, at any size, of any split."""

import numpy as np
import pytest

from keras_ordseg import data, datasets
from keras_ordseg.data._sizes import fit_image, fit_ratings


@pytest.fixture
def arrays():
    made = datasets.ambiguous_shapes(6, size=16, num_raters=3)
    made["ratings"][1, ..., 2] = -1
    return {name: made[name] for name in ("image", "ratings", "id", "group")}


def test_what_was_packed_comes_back(arrays, tmp_path):
    found = data.load_packed(data.pack(arrays, tmp_path / "packed"))
    assert found.keys() == arrays.keys()
    np.testing.assert_allclose(found["image"], arrays["image"], atol=1e-6)
    for name in ("ratings", "id", "group"):
        np.testing.assert_array_equal(found[name], arrays[name])
    assert found["ratings"].dtype == np.int8
    data.check_arrays(found)


@pytest.mark.parametrize("fit", ["crop", "resize"])
def test_sizes_are_those_of_the_folder_reader(arrays, tmp_path, fit):
    found = data.load_packed(data.pack(arrays, tmp_path / "packed"), size=(8, 24), fit=fit)
    for row in range(6):
        np.testing.assert_allclose(found["image"][row], fit_image(arrays["image"][row], (8, 24), fit), atol=1e-6)
        np.testing.assert_array_equal(found["ratings"][row], fit_ratings(arrays["ratings"][row], (8, 24), fit))


def test_several_sizes_want_one(tmp_path, rng):
    rows = [
        {"image": np.zeros((side, 6, 1), "float32"), "ratings": rng.integers(0, 2, (side, 6, 2)).astype("int8")}
        for side in (6, 8)
    ]
    directory = data.pack(rows, tmp_path / "packed")
    with pytest.raises(data.DataError, match=r"images of 2 sizes \(6x6, 8x6\); give a size="):
        data.load_packed(directory)
    assert data.load_packed(directory, size=4)["image"].shape == (2, 4, 4, 1)
    with pytest.raises(ValueError, match="fit must be one of"):
        data.load_packed(directory, size=4, fit="stretch")


def test_slots_of_votes_stay_nameless(tmp_path):
    votes = {"image": np.zeros((2, 4, 4, 1), "float32"), "ratings": np.ones((2, 4, 4, 2), "int8")}
    votes |= {"id": np.array(["a", "b"]), "group": np.array(["a", "b"]), "anonymous": np.array([True, True])}
    assert data.load_packed(data.pack(votes, tmp_path / "packed"))["anonymous"].all()
