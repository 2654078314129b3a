"""The models of a benchmark know what their images were, so that their export predicts files as it was trained."""

import numpy as np
import pytest

from keras_ordseg import calibration, models
from keras_ordseg.benchmark.methods import select
from keras_ordseg.benchmark.preparation import Fold
from keras_ordseg.benchmark.runner import build_model
from keras_ordseg.benchmark.settings import Settings
from keras_ordseg.layers import TemperatureScaling


def built(key, **settings):
    part = {
        "image": np.zeros((2, 16, 16, 1), "float32"),
        "ratings": np.array([[0, 1], [1, 1]], "int8").reshape(2, 1, 1, 2) * np.ones((1, 16, 16, 1), "int8"),
    }
    (method,) = select([key])
    return build_model(method, 0, Settings(filters=(4,), **settings), Fold(part, part, part))


@pytest.mark.parametrize("key", ["hybrid", "majority_bce"])
@pytest.mark.parametrize(
    "settings, expected",
    [
        (
            {"data": "x", "size": 16, "fit": "resize", "window": (-1000, 400)},
            {"size": [16, 16], "fit": "resize", "window": [-1000.0, 400.0], "spacing": None},
        ),
        ({"data": "x", "size": 16}, {"size": [16, 16], "fit": "crop", "window": None, "spacing": None}),
        ({"data": "x"}, None),
        ({}, None),  # generated images are of the size that they are asked for
    ],
)
def test_a_trained_model_knows_its_images(key, settings, expected):
    model = built(key, **settings)
    assert models.image_description(model) == expected
    assert models.image_description(models.Ensemble([model])) == expected
    assert models.image_description(calibration.attach(model, TemperatureScaling(2.0))) == expected
