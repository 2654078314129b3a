"""What cannot be stored without a change is refused when it is encoded."""

import numpy as np
import pytest

from keras_ordseg.data.features import Ratings, UnitImage


@pytest.mark.parametrize(
    "image", [[1.5], [-0.1], [np.nan], [np.inf], np.array([300], np.uint16), np.array([-1], np.int16)]
)
def test_images_that_would_wrap_around(image):
    feature = UnitImage(shape=(1, 1), stored="uint8", encoding="bytes")
    with pytest.raises(ValueError, match=r"image: expected floats in \[0, 1\], or integers of 0 to 255"):
        feature.encode_example(np.asarray(image)[:, None])


def test_a_rounding_is_stored():
    feature = UnitImage(shape=(1, 2), stored="uint16", encoding="bytes")
    assert feature.encode_example(np.array([[-6e-8, 1.00000006]])) == b"\0\0\xff\xff"


@pytest.mark.parametrize("value", [2, -2, 255])
def test_ratings_that_are_none(value):
    feature = Ratings(shape=(1, 3), encoding="bytes")
    with pytest.raises(ValueError, match=r"ratings: expected 1 \(marked\), 0 \(not marked\) and -1"):
        feature.encode_example(np.array([[0, 1, value]]))
