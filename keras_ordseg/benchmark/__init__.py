"""Benchmarks: train several methods on the same data and network, and report what the difference is."""

from keras_ordseg.benchmark._folder import RunFolderError
from keras_ordseg.benchmark.bootstrap import bootstrap_interval
from keras_ordseg.benchmark.grid import read_grid
from keras_ordseg.benchmark.methods import METHODS, Method
from keras_ordseg.benchmark.per_image import PerImage, per_image
from keras_ordseg.benchmark.runner import TrainingError, finish, run, start
from keras_ordseg.benchmark.settings import Settings

__all__ = [
    "METHODS",
    "Method",
    "PerImage",
    "RunFolderError",
    "Settings",
    "TrainingError",
    "bootstrap_interval",
    "finish",
    "per_image",
    "read_grid",
    "run",
    "start",
]
