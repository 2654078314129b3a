"""Keras callbacks: watching calibration and agreement during `fit`."""

from keras_ordseg.callbacks.monitor import AgreementMonitor

__all__ = ["AgreementMonitor"]
