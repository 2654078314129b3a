"""The losses that a benchmark compares, by key."""

from collections.abc import Callable
from dataclasses import dataclass

from keras_ordseg import losses


@dataclass(frozen=True)
class Entry:
    """A loss to train with: how it reads, and whether the network puts out levels."""

    label: str
    description: str
    loss: Callable
    levels: bool = True
    target: str = "ratings"


def _binary(label, description, loss, target="ratings"):
    return Entry(label, description, loss, levels=False, target=target)


ENTRIES = {
    "majority_bce": _binary(
        "Majority-vote BCE",
        "Binary cross-entropy with the majority label: ordinary training on one fused mask.",
        losses.MajorityCrossEntropy,
    ),
    "soft_bce": _binary(
        "Soft-label BCE",
        "Binary cross-entropy with the raters' mean vote.",
        losses.SoftLabelCrossEntropy,
    ),
    "bce_dice": Entry(
        "BCE + Dice",
        "Binary cross-entropy and soft Dice of the majority readout, no ordinal term.",
        lambda **kw: losses.OrdinalSegmentationLoss(**{"binary": "bce_dice", "rps_weight": 0.0, **kw}),
    ),
    "random_rater": _binary(
        "Random rater",
        "Binary cross-entropy with one rater's mask, drawn anew for each image and epoch.",
        losses.MajorityCrossEntropy,
        "random",
    ),
    "staple_bce": _binary(
        "STAPLE BCE",
        "Binary cross-entropy with the mask that STAPLE estimates from all raters.",
        losses.MajorityCrossEntropy,
        "staple",
    ),
    "label_smoothing": _binary(
        "Label smoothing",
        "Binary cross-entropy with the majority label, moved towards 1/2.",
        losses.LabelSmoothingCrossEntropy,
    ),
    "focal": _binary("Focal loss", "Focal loss of the majority label.", losses.FocalLoss),
    "svls": _binary(
        "SVLS",
        "Spatially varying label smoothing of the majority label.",
        losses.SpatiallyVaryingLabelSmoothing,
    ),
    "mbls": _binary(
        "MbLS", "Margin-based label smoothing: logits beyond a margin are penalised.", losses.MarginLabelSmoothing
    ),
    "nacl": _binary(
        "NACL",
        "Neighbour-aware calibration: logits are drawn to the label's mean over the neighbours.",
        losses.NeighborAwareCalibrationLoss,
    ),
    "l1_ace": _binary(
        "L1-ACE", "Cross-entropy plus the marginal L1 calibration error, binned within each image.", losses.MarginalL1ACELoss
    ),
    "level_ce": Entry(
        "Level cross-entropy", "Cross-entropy over the K+1 levels as unordered classes.", losses.LevelCrossEntropy
    ),
    "rps": Entry("RPS alone", "The ranked probability score of the levels.", losses.RankedProbabilityLoss),
    "emd": Entry("EMD", "The earth mover's distance of the levels.", losses.EarthMoverLoss),
    "coral": Entry("CORAL", "Cross-entropy of each of the K thresholds.", losses.CoralLoss),
    "sord": Entry("SORD", "Cross-entropy with soft ordinal labels.", losses.SORDLoss),
    "hybrid": Entry(
        "Hybrid (the paper's)",
        "Cross-entropy of the majority readout plus 0.8 times the ranked probability score.",
        losses.OrdinalSegmentationLoss,
    ),
    "hybrid_expected": Entry(
        "Hybrid, expected readout",
        "Cross-entropy of the expected readout with the mean vote plus 0.8 times the ranked probability score.",
        lambda **kw: losses.OrdinalSegmentationLoss(**{"readout": "expected", **kw}),
    ),
}
