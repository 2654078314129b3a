"""Losses of the level distribution, and the paper's hybrid of one with a binary objective."""

import keras
import numpy as np
from keras import ops

from keras_ordseg.losses.base import MultiRaterLoss
from keras_ordseg.ops.levels import check_readout, level_logits
from keras_ordseg.ops.scores import (
    binary_cross_entropy,
    binary_target,
    check_normalization,
    level_cross_entropy,
    panel_readout_logit,
    rps_of_panel,
)

_BINARY = ("bce", "dice", "bce_dice")


@keras.saving.register_keras_serializable(package="keras_ordseg")
class RankedProbabilityLoss(MultiRaterLoss):
    """Ranked probability score of the levels as a loss.

    `c * sum_{j<K} (F_j - 1[v <= j])^2`, averaged over the pixels; strictly proper, so that its minimum is the true
    level distribution. Where only n < K raters rated, the levels are thinned to n raters first
    (`keras_ordseg.ops.thin_levels`): the score then stays proper, strictly only where n = K, as long as a rater's
    absence does not depend on the vote.

    Args:
        normalization: `"levels"` (default, the paper's): `c = 1/(K+1)`; `"thresholds"`: `1/K`; `"sum"`: 1.
        from_logits, num_raters, reduction, name, dtype: As for every loss of the package, see `MultiRaterLoss`.

    Call shapes:
        `y_true` votes `(batch, *spatial)` or ratings `(batch, *spatial, slots)`; `y_pred` `(batch, *spatial, K+1)`.

    Raises:
        ValueError: For an unknown normalization, or shapes and values that do not fit.

    Reference: eq. 3 of Riera-Marín et al., arXiv 2605.02437; Gneiting and Raftery, JASA 102, 2007.

    >>> loss = RankedProbabilityLoss("thresholds")
    >>> round(float(loss(np.array([[0, 2]]), np.zeros((1, 2, 3), "float32"))), 4)      # (4/9 + 1/9) / 2 for both
    0.2778
    """

    def __init__(self, normalization="levels", **kwargs):
        super().__init__(**kwargs)
        self.normalization = check_normalization(normalization)

    def pixel_loss(self, panel, logits):
        return rps_of_panel(panel, level_logits(logits), self.normalization)

    def get_config(self):
        return {**super().get_config(), "normalization": self.normalization}


@keras.saving.register_keras_serializable(package="keras_ordseg")
class LevelCrossEntropy(MultiRaterLoss):
    """Cross-entropy of the level that the raters gave, `-log p_v`: the levels as unordered classes.

    Where only n < K raters rated, the levels are thinned to n raters first, as for `RankedProbabilityLoss`.

    Args:
        from_logits, num_raters, reduction, name, dtype: As for every loss of the package, see `MultiRaterLoss`.

    Call shapes:
        `y_true` votes `(batch, *spatial)` or ratings `(batch, *spatial, slots)`; `y_pred` `(batch, *spatial, K+1)`.

    Raises:
        ValueError: For shapes and values that do not fit.

    Reference: Good, *Rational decisions*, J. R. Stat. Soc. B 14, 1952 (the logarithmic score).

    >>> round(float(LevelCrossEntropy()(np.array([[1]]), np.zeros((1, 1, 4), "float32"))), 4)      # log 4
    1.3863
    """

    def pixel_loss(self, panel, logits):
        return level_cross_entropy(panel, level_logits(logits))


@keras.saving.register_keras_serializable(package="keras_ordseg")
class OrdinalSegmentationLoss(MultiRaterLoss):
    """A binary objective on the read-out plus the ranked probability score of the levels.

    `binary(P_readout, target) + rps_weight * RPS`. By default the paper's loss: the cross-entropy of the majority
    read-out with the majority label, plus 0.8 times the RPS. The target of the binary term is `1[v >= quorum]` for
    `readout="majority"` or an int quorum, and the raters' mean `v/n` for `readout="expected"`. Where raters are absent,
    the levels are thinned to those present and the quorum scales with them (`ceil(n/2)`, `ceil(q n / K)`).

    Args:
        readout: `"majority"` (default), `"expected"` or an int quorum in 1..K.
        binary: `"bce"` (default), `"dice"` (soft Dice of each image, `1 - (2 sum w p t + 1) / (sum w p + sum w t + 1)`),
            `"bce_dice"` (their sum), or a Keras loss (an instance, or a name such as `"binary_focal_crossentropy"`),
            which is called on the read-out probability and the target, each with a last axis of 1.
        rps_weight: Weight of the ranked probability score, at least 0. Default 0.8, the paper's.
        normalization: Of the ranked probability score, see `RankedProbabilityLoss`.
        from_logits, num_raters, reduction, name, dtype: As for every loss of the package, see `MultiRaterLoss`.

    Call shapes:
        `y_true` votes `(batch, *spatial)` or ratings `(batch, *spatial, slots)`; `y_pred` `(batch, *spatial, K+1)`.

    Raises:
        ValueError: For an argument out of range, or shapes and values that do not fit.

    Reference: Riera-Marín et al., *Multi-Rater Calibrated Segmentation Models*, arXiv 2605.02437.

    >>> y = np.array([[0, 1, 2, 3]])
    >>> loss = OrdinalSegmentationLoss()
    >>> round(float(loss(y, np.zeros((1, 4, 4), "float32"))), 4)       # log 2 + 0.8 * (14/16 + 6/16) / 2 / 4
    0.8181
    """

    def __init__(self, readout="majority", binary="bce", rps_weight=0.8, normalization="levels", **kwargs):
        super().__init__(**kwargs)
        self.readout = check_readout(readout)
        self.binary, self._binary_function = _resolve_binary(binary)
        if not np.isfinite(rps_weight) or rps_weight < 0:
            raise ValueError(f"rps_weight: expected a finite number of at least 0. Received: {rps_weight!r}.")
        self.rps_weight = float(rps_weight)
        self.normalization = check_normalization(normalization)

    def pixel_loss(self, panel, logits):
        logits = level_logits(logits)
        logit = panel_readout_logit(panel, logits, self.readout)
        target = binary_target(panel, self.readout)
        if self.binary == "bce":
            value = binary_cross_entropy(target, logit)
        elif self.binary == "dice":
            value = _dice_loss(target, ops.sigmoid(logit), panel.weights)
        elif self.binary == "bce_dice":
            value = binary_cross_entropy(target, logit) + _dice_loss(
                target, ops.sigmoid(logit), panel.weights
            )
        else:
            value = _keras_loss(self._binary_function, target, ops.sigmoid(logit), panel.weights)
        return value + self.rps_weight * rps_of_panel(panel, logits, self.normalization)

    def get_config(self):
        binary = (
            self.binary if isinstance(self.binary, str) else keras.saving.serialize_keras_object(self.binary)
        )
        return {
            **super().get_config(),
            "readout": self.readout,
            "binary": binary,
            "rps_weight": self.rps_weight,
            "normalization": self.normalization,
        }


def _resolve_binary(binary):
    """The term as given, and the function of `(target, probability)` behind a Keras loss (None for our own terms)."""
    if isinstance(binary, str) and binary in _BINARY:
        return binary, None
    if isinstance(binary, dict):
        binary = keras.saving.deserialize_keras_object(binary)
    try:
        loss = keras.losses.get(binary)
    except ValueError:
        loss = None
    if loss is None:
        raise ValueError(f"binary: expected one of {_BINARY} or a Keras loss. Received: {binary!r}.")
    if isinstance(loss, keras.losses.Loss) and loss.get_config().get("from_logits"):
        raise ValueError(
            "binary: expected a Keras loss with from_logits=False, because it is called on the read-out probability. "
            f"Received: {binary!r} with from_logits=True."
        )
    return binary, loss.call if isinstance(loss, keras.losses.Loss) else loss


def _dice_loss(target, probability, weights):
    """Soft Dice loss of each image, spread over its pixels so that Keras reduces and scales it like any other."""
    axes = tuple(range(1, len(target.shape)))
    top = 2.0 * ops.sum(weights * target * probability, axis=axes, keepdims=True) + 1.0
    bottom = ops.sum(weights * (target + probability), axis=axes, keepdims=True) + 1.0
    return 1.0 - top / bottom + ops.zeros_like(target)


def _keras_loss(function, target, probability, weights):
    """A Keras loss on `(batch, *spatial, 1)`; pixels of no weight are empty in both, so that overlaps ignore them."""
    keep = ops.not_equal(weights, 0)
    target = ops.where(keep, target, ops.zeros_like(target))
    probability = ops.where(keep, probability, ops.zeros_like(probability))
    value = function(ops.expand_dims(target, -1), ops.expand_dims(probability, -1))
    rank, full = len(value.shape), len(target.shape)
    if rank not in (0, 1, full):
        raise ValueError(
            f"binary: expected a Keras loss that gives a scalar, one value for each image or one for each pixel. "
            f"Received values of shape {tuple(value.shape)} for pixels of shape {tuple(target.shape)}."
        )
    return value if rank == full else ops.reshape(value, (-1,) + (1,) * (full - 1)) + ops.zeros_like(target)
