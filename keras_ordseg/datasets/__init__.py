"""Data sets; `ambiguous_shapes` is generated and needs no files."""

from keras_ordseg.datasets.ambiguous_shapes import ambiguous_shapes

__all__ = ["ambiguous_shapes"]
