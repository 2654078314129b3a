"""Serving: a trained model as a versioned TensorFlow SavedModel, and what asks it."""

from keras_ordseg.serving._client import Client
from keras_ordseg.serving._client_errors import ServingError
from keras_ordseg.serving._convert import convert
from keras_ordseg.serving._export import export
from keras_ordseg.serving._predict import predict_files

__all__ = ["Client", "ServingError", "convert", "export", "predict_files"]
