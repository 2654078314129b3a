"""Benchmarks: train several methods on the same data and network, and report what the difference is."""

from keras_ordseg.benchmark.methods import METHODS, Method
from keras_ordseg.benchmark.runner import RunFolderError, TrainingError, finish, run, start
from keras_ordseg.benchmark.settings import Settings

__all__ = ["METHODS", "Method", "RunFolderError", "Settings", "TrainingError", "finish", "run", "start"]
