"""Segmentation models whose probability means what several experts would mark.

`ops`, `layers`, `losses`, `metrics` and `models` are there after `import keras_ordseg`, so that `.keras` files load; the
other rooms (`data`, `datasets`, `raters`, `inspection`, `calibration`, `callbacks`, `serving`, `plots`, `benchmark`) come
on first use.
"""

import importlib as _importlib
import os as _os
import sys as _sys

if _os.path.basename(_sys.argv[0]) == "keras-ordseg" or _sys.orig_argv[1:3] == ["-m", "keras_ordseg"]:
    # the command shows its own progress; TensorFlow reads this when Keras imports it, just below
    _os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from keras_ordseg import layers, losses, metrics, models, ops

__version__ = "0.1.0"
_LAZY = ("benchmark", "calibration", "callbacks", "data", "datasets", "inspection", "plots", "raters", "serving")
__all__ = ["layers", "losses", "metrics", "models", "ops", *_LAZY]


def __getattr__(name):
    if name in _LAZY:
        return _importlib.import_module(f"keras_ordseg.{name}")
    raise AttributeError(f"module 'keras_ordseg' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *_LAZY])
