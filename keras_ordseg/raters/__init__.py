"""Fusing raters and measuring their agreement, in NumPy."""

from keras_ordseg.raters.fusion import fuse
from keras_ordseg.raters.statistics import agreement

__all__ = ["agreement", "fuse"]
