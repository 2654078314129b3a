"""Metrics of calibration, of the levels, and of overlap, exact at volume scale."""

from keras_ordseg.metrics.base import MultiRaterMetric
from keras_ordseg.metrics.calibration import MultiRaterECE
from keras_ordseg.metrics.ordinal import RankedProbabilityScore
from keras_ordseg.metrics.overlap import ConsensusDice, MultiRaterDice, SoftDice
from keras_ordseg.metrics.probability import MultiRaterBrier

__all__ = [
    "ConsensusDice",
    "MultiRaterBrier",
    "MultiRaterDice",
    "MultiRaterECE",
    "MultiRaterMetric",
    "RankedProbabilityScore",
    "SoftDice",
]
