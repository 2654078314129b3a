"""Segmentation models: backbones and decoders under an ordinal head, and the binary baseline."""

from keras_ordseg.models.backbones import feature_maps, small_backbone
from keras_ordseg.models.binary import BinarySegmenter
from keras_ordseg.models.decoders import fpn_decoder, unet_decoder, upsample_decoder
from keras_ordseg.models.deeplab import deeplab_decoder
from keras_ordseg.models.described import describe_images, image_description
from keras_ordseg.models.ensemble import Ensemble
from keras_ordseg.models.existing import with_ordinal_head
from keras_ordseg.models.preprocessing import input_scaling
from keras_ordseg.models.segmenter import OrdinalSegmenter
from keras_ordseg.models.sliding_window import sliding_window_inference

__all__ = [
    "BinarySegmenter",
    "Ensemble",
    "OrdinalSegmenter",
    "deeplab_decoder",
    "describe_images",
    "feature_maps",
    "fpn_decoder",
    "image_description",
    "input_scaling",
    "sliding_window_inference",
    "small_backbone",
    "unet_decoder",
    "upsample_decoder",
    "with_ordinal_head",
]
