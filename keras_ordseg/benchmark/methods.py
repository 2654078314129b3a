"""The methods that a benchmark compares: what is trained on what, on the same network."""

from collections.abc import Callable
from dataclasses import dataclass

from keras_ordseg.losses import (
    LevelCrossEntropy,
    MajorityCrossEntropy,
    OrdinalSegmentationLoss,
    SoftLabelCrossEntropy,
)
from keras_ordseg.models import BinarySegmenter, OrdinalSegmenter


@dataclass(frozen=True)
class Method:
    """One way to train: a name, a sentence, the loss, and whether the network puts out levels."""

    key: str
    label: str
    description: str
    loss: Callable
    levels: bool = True

    def build(self, network, levels, mean_vote):
        """The model, started at the prior of the training data.

        Args:
            network: Keyword arguments of `OrdinalSegmenter` and `BinarySegmenter` alike.
            levels: Level frequencies `(K+1,)`.
            mean_vote: Mean vote, in (0, 1).
        """
        if self.levels:
            return OrdinalSegmenter(num_raters=len(levels) - 1, initial_levels=levels, **network)
        return BinarySegmenter(initial_probability=mean_vote, **network)


METHODS = {
    method.key: method
    for method in (
        Method(
            "majority_bce",
            "Majority-vote BCE",
            "Binary cross-entropy with the majority label: ordinary training on one fused mask.",
            MajorityCrossEntropy,
            levels=False,
        ),
        Method(
            "soft_bce",
            "Soft-label BCE",
            "Binary cross-entropy with the raters' mean vote.",
            SoftLabelCrossEntropy,
            levels=False,
        ),
        Method(
            "level_ce",
            "Level cross-entropy",
            "Cross-entropy over the K+1 levels as unordered classes.",
            LevelCrossEntropy,
        ),
        Method(
            "hybrid",
            "Hybrid (the paper's)",
            "Cross-entropy of the majority read-out plus 0.8 times the ranked probability score.",
            OrdinalSegmentationLoss,
        ),
        Method(
            "hybrid_expected",
            "Hybrid, expected read-out",
            "Cross-entropy of the expected read-out with the mean vote plus 0.8 times the ranked probability score.",
            lambda: OrdinalSegmentationLoss(readout="expected"),
        ),
    )
}


def select(keys) -> list[Method]:
    """The methods of these keys, in their order.

    Raises:
        ValueError: For an unknown, doubled or missing key.

    >>> [m.label for m in select(["hybrid", "soft_bce"])]
    ["Hybrid (the paper's)", 'Soft-label BCE']
    """
    keys = list(keys)
    unknown = [key for key in keys if key not in METHODS]
    if unknown or not keys or len(set(keys)) != len(keys):
        raise ValueError(
            f"methods: expected some of {', '.join(METHODS)}, each once. Received: {', '.join(keys)}."
        )
    return [METHODS[key] for key in keys]
