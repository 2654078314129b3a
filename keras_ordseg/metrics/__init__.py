"""Metrics of calibration, of the levels, and of overlap, exact at volume scale."""

from keras_ordseg.metrics.base import MultiRaterMetric
from keras_ordseg.metrics.calibration import MultiRaterECE
from keras_ordseg.metrics.ordinal import RankedProbabilityScore
from keras_ordseg.metrics.overlap import ConsensusDice, MultiRaterDice, SoftDice
from keras_ordseg.metrics.probability import MultiRaterBrier
from keras_ordseg.metrics.terms import LossTerm

__all__ = [
    "ConsensusDice",
    "LossTerm",
    "MultiRaterBrier",
    "MultiRaterDice",
    "MultiRaterECE",
    "MultiRaterMetric",
    "RankedProbabilityScore",
    "SoftDice",
]
