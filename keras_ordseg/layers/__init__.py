"""Keras layers: the ordinal head, the read-out, and the exact bilinear upsampling that the decoders use."""

from keras_ordseg.layers.augmentation import RatingsAugmentation
from keras_ordseg.layers.head import OrdinalHead
from keras_ordseg.layers.readout import AgreementReadout
from keras_ordseg.layers.upsample import BilinearUpsampling

__all__ = ["AgreementReadout", "BilinearUpsampling", "OrdinalHead", "RatingsAugmentation"]
