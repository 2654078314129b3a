"""Segmentation models: backbones and decoders under an ordinal head, and the binary baseline."""

from keras_ordseg.models.backbones import feature_maps, small_backbone
from keras_ordseg.models.decoders import fpn_decoder, unet_decoder
from keras_ordseg.models.segmenter import BinarySegmenter, OrdinalSegmenter

__all__ = [
    "BinarySegmenter",
    "OrdinalSegmenter",
    "feature_maps",
    "fpn_decoder",
    "small_backbone",
    "unet_decoder",
]
