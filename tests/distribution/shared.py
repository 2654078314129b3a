"""What the processes of these tests train: small images, voids in unequal parts, a model without batch statistics."""

import importlib.util

import keras
import numpy as np

from keras_ordseg import datasets, losses, metrics, models
from tests.conftest import ROOT

K, SIZE = 3, 16
FILTERS = (4, 8)


def arrays(count=9, seed=0):
    """Raters absent from images, and half of the first images void: the parts of a batch differ in weight."""
    made = datasets.ambiguous_shapes(count, size=SIZE, num_raters=K, absent=0.3, seed=seed)
    made["ratings"][: count // 2, : SIZE // 2] = -1
    return made


def backbone(normalization=None, filters=FILTERS):
    x = image = keras.Input((SIZE, SIZE, 1), name="image")
    maps = {}
    for level, width in enumerate(filters):
        x = keras.layers.Conv2D(width, 3, strides=2, padding="same")(x)
        x = normalization()(x) if normalization else x
        x = keras.layers.ReLU()(x)
        maps[f"stride_{2 ** (level + 1)}"] = x
    return keras.Model(image, maps)


def compiled(normalization=None, **options):
    """An `OrdinalSegmenter` that every process starts at the same weights."""
    keras.utils.set_random_seed(7)
    model = models.OrdinalSegmenter(backbone(normalization), K)
    scores = [metrics.MultiRaterECE(name="ece"), metrics.MultiRaterDice(name="dice")]
    model.compile(keras.optimizers.SGD(0.3, momentum=0.9), losses.OrdinalSegmentationLoss(), metrics=scores, **options)
    return model


def assert_close(found, expected, tolerance=1e-5):
    """Histories `{name: values}`, or lists of weights."""
    if isinstance(expected, dict):
        assert sorted(found) == sorted(expected)
        found, expected = ([values[name] for name in sorted(expected)] for values in (found, expected))
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        # beside the tolerance a few steps of float32, which a loss of hundreds needs
        np.testing.assert_allclose(a, b, rtol=5e-7, atol=tolerance)


def example(name):
    """A script of `examples/` as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
