"""Serving: a trained model as a versioned TensorFlow SavedModel."""

from keras_ordseg.serving._export import export

__all__ = ["export"]
