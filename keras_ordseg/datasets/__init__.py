"""Data sets with several experts' masks: generated ones, and builders for TensorFlow Datasets.

`ambiguous_shapes` is NumPy and needs no files. After `import keras_ordseg.datasets`, `tfds.load` knows `cocahis`,
`refuge_disc`, `refuge_cup`, `long_ciu`, `lidc_idri` and `ambiguous_shapes`. Where TensorFlow Datasets is not
installed, everything else works; TensorFlow itself is not imported before a dataset is built.
"""

import contextlib as _contextlib
import importlib as _importlib

from keras_ordseg.datasets.ambiguous_shapes import ambiguous_shapes

_BUILDERS = {
    "AmbiguousShapes": "shapes",
    "AmbiguousShapesConfig": "shapes",
    "Cocahis": "cocahis",
    "LidcIdri": "lidc_idri",
    "LongCIU": "long_ciu",
    "RefugeCup": "refuge",
    "RefugeDisc": "refuge",
    "prepare": "_prepare",
}
__all__ = ["ambiguous_shapes", *_BUILDERS]


def __getattr__(name):
    if name in _BUILDERS:
        return getattr(_importlib.import_module(f"keras_ordseg.datasets.{_BUILDERS[name]}"), name)
    raise AttributeError(f"module 'keras_ordseg.datasets' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *_BUILDERS])


with _contextlib.suppress(ImportError):  # a builder is known to tfds.load once its class exists
    for _name in _BUILDERS:
        __getattr__(_name)
