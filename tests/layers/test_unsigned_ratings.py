"""Ratings of a dtype without -1 move, too: what comes in from outside is "did not rate" in int8."""

import keras
import numpy as np
import pytest

from keras_ordseg import layers


@pytest.mark.parametrize("dtype", ["uint8", "bool", "uint16"])
def test_what_comes_in_is_absent(dtype):
    image, ratings = np.ones((1, 8, 8, 1), "float32"), np.ones((1, 8, 8, 2), dtype)
    ratings[:, :4] = 0
    found = []
    for given in (ratings, ratings.astype("int8")):
        augment = layers.RatingsAugmentation(keras.layers.RandomTranslation(0.5, 0.5, fill_mode="constant", seed=1))
        found.append(augment((image, given))[1])
        assert keras.backend.standardize_dtype(found[-1].dtype) == "int8"
    first, second = map(keras.ops.convert_to_numpy, found)
    assert set(np.unique(first)) == {-1, 0, 1}
    np.testing.assert_array_equal(first, second)
