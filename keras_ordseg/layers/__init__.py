"""Keras layers: the ordinal head, nested structures, the read-out, augmentation, and exact bilinear upsampling."""

from keras_ordseg.layers.augmentation import RatingsAugmentation
from keras_ordseg.layers.calibrators import IsotonicCalibration, TemperatureScaling, VectorScaling
from keras_ordseg.layers.head import OrdinalHead
from keras_ordseg.layers.nesting import NestedLevels
from keras_ordseg.layers.readout import AgreementReadout
from keras_ordseg.layers.upsample import BilinearUpsampling

__all__ = [
    "AgreementReadout",
    "BilinearUpsampling",
    "IsotonicCalibration",
    "NestedLevels",
    "OrdinalHead",
    "RatingsAugmentation",
    "TemperatureScaling",
    "VectorScaling",
]
