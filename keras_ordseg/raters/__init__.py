"""Fusing raters and measuring their agreement, in NumPy."""

from keras_ordseg.raters.fusion import fuse
from keras_ordseg.raters.statistics import agreement
from keras_ordseg.raters.truth import DawidSkene, Staple, dawid_skene, staple

__all__ = ["DawidSkene", "Staple", "agreement", "dawid_skene", "fuse", "staple"]
