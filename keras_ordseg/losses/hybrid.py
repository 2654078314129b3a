"""The paper's loss: a binary objective on the read-out plus an ordinal one on the levels."""

import keras
from keras import ops

from keras_ordseg.losses.base import MultiRaterLoss
from keras_ordseg.losses.ordinal import RankedProbabilityLoss
from keras_ordseg.ops.checks import check_number
from keras_ordseg.ops.levels import check_readout, level_logits
from keras_ordseg.ops.scores import (
    binary_target,
    check_normalization,
    cross_entropy,
    joint_score_of_panel,
    panel_readout_logit,
)

_BINARY = ("bce", "dice", "bce_dice")


@keras.saving.register_keras_serializable(package="keras_ordseg")
class OrdinalSegmentationLoss(MultiRaterLoss):
    """A binary objective on the read-out plus the ranked probability score, or another ordinal loss, of the levels.

    `binary_weight * binary(P_readout, target) + rps_weight * RPS`. By default the paper's loss: the cross-entropy of the
    majority read-out with the majority label, plus 0.8 times the RPS. The target of the binary term is `1[v >= quorum]`
    for `readout="majority"` or an int quorum, and the raters' mean `v/n` for `readout="expected"`. Where raters are absent,
    the levels are thinned to those present and the quorum scales with them (`ceil(n/2)`, `ceil(q n / K)`).

    Args:
        readout: `"majority"` (default), `"expected"` or an int quorum in 1..K.
        binary: `"bce"` (default), `"dice"` (soft Dice of each image, `1 - (2 sum w p t + 1) / (sum w p + sum w t + 1)`),
            `"bce_dice"` (their sum); a Keras loss (an instance, or a name such as `"binary_focal_crossentropy"`), which is
            called on the read-out probability and the target, each with a last axis of 1; or a loss of this package with
            the same read-out, such as `FocalLoss(readout="majority")`.
        rps_weight: Weight of the ordinal term, at least 0. Default 0.8, the paper's.
        normalization: Of the ranked probability score, see `RankedProbabilityLoss`.
        ordinal: `"rps"` (default), or a loss of this package of the levels, such as `LevelCrossEntropy()`.
        binary_weight: Weight of the binary term, at least 0. Default 1.
        from_logits, num_raters, level_weights, reduction, name, dtype: As for every loss, see `MultiRaterLoss`. Losses
            given as terms keep their defaults of these.

    Each term is logged by `metrics.LossTerm(loss, "binary")` and `metrics.LossTerm(loss, "ordinal")`.

    Call shapes:
        `y_true` votes `(batch, *spatial)` or ratings `(batch, *spatial, slots)`; `y_pred` `(batch, *spatial, K+1)`.

    Raises:
        ValueError: For an argument out of range, or shapes and values that do not fit.

    Reference: Riera-Marín et al., *Multi-Rater Calibrated Segmentation Models*, arXiv 2605.02437.

    >>> import numpy as np
    >>> y = np.array([[0, 1, 2, 3]])
    >>> loss = OrdinalSegmentationLoss()
    >>> round(float(loss(y, np.zeros((1, 4, 4), "float32"))), 4)       # log 2 + 0.8 * (14/16 + 6/16) / 2 / 4
    0.8181
    """

    def __init__(
        self,
        readout="majority",
        binary="bce",
        rps_weight=0.8,
        normalization="levels",
        ordinal="rps",
        binary_weight=1.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.readout = check_readout(readout)
        self.binary, self._binary_function = _resolve_binary(binary, self.readout)
        self.rps_weight = check_number(rps_weight, "rps_weight")
        self.binary_weight = check_number(binary_weight, "binary_weight")
        self.normalization = check_normalization(normalization)
        self.ordinal, self._ordinal_loss = _resolve_ordinal(ordinal, normalization)

    def pixel_terms(self, panel, logits):
        logits = level_logits(logits)
        terms = {"binary": self._binary_term(panel, logits), "ordinal": self._ordinal_loss.pixel_loss(panel, logits)}
        total = self.binary_weight * terms["binary"] + self.rps_weight * terms["ordinal"]
        return {"loss": total, **terms}

    def pixel_loss(self, panel, logits):
        if self.binary != "bce" or self.ordinal != "rps":
            return self.pixel_terms(panel, logits)["loss"]
        weights = {"binary_weight": self.binary_weight, "rps_weight": self.rps_weight}
        return joint_score_of_panel(panel, level_logits(logits), self.readout, self.normalization, **weights)

    def _binary_term(self, panel, logits):
        if isinstance(self._binary_function, MultiRaterLoss):
            return self._binary_function.pixel_loss(panel, logits)
        logit = panel_readout_logit(panel, logits, self.readout)
        target = binary_target(panel, self.readout)
        if self.binary == "bce":
            return cross_entropy(target, logit)
        if self.binary == "dice":
            return _dice_loss(target, ops.sigmoid(logit), panel.weights)
        if self.binary == "bce_dice":
            return cross_entropy(target, logit) + _dice_loss(target, ops.sigmoid(logit), panel.weights)
        return _keras_loss(self._binary_function, target, ops.sigmoid(logit), panel.weights)

    def get_config(self):
        return {
            **super().get_config(),
            "readout": self.readout,
            "binary": _plain(self.binary),
            "rps_weight": self.rps_weight,
            "normalization": self.normalization,
            "ordinal": _plain(self.ordinal),
            "binary_weight": self.binary_weight,
        }


def _plain(term):
    return term if isinstance(term, str) else keras.saving.serialize_keras_object(term)


def _resolve_ordinal(ordinal, normalization):
    """The term as given, and the loss behind it."""
    if ordinal == "rps":
        return ordinal, RankedProbabilityLoss(normalization)
    if isinstance(ordinal, dict):
        ordinal = keras.saving.deserialize_keras_object(ordinal)
    if not isinstance(ordinal, MultiRaterLoss) or hasattr(ordinal, "readout"):
        raise ValueError(
            "ordinal: expected 'rps' or a loss of the levels such as keras_ordseg.losses.LevelCrossEntropy(). "
            f"Received: {ordinal!r}."
        )
    _check_term(ordinal, "ordinal")
    return ordinal, ordinal


def _check_term(loss, argument):
    """A term is read with the arguments of the whole: its own would be ignored."""
    default = MultiRaterLoss()
    for name in ("from_logits", "num_raters", "level_weights", "reduction"):
        if getattr(loss, name) != getattr(default, name):
            raise ValueError(
                f"{argument}: expected a loss without {name}; give {name} to OrdinalSegmentationLoss itself. "
                f"Received: {name}={getattr(loss, name)!r}."
            )


def _resolve_binary(binary, readout):
    """The term as given, and what computes it (None for our own names)."""
    if isinstance(binary, str) and binary in _BINARY:
        return binary, None
    if isinstance(binary, dict):
        binary = keras.saving.deserialize_keras_object(binary)
    if isinstance(binary, MultiRaterLoss):
        if getattr(binary, "readout", None) != readout:
            raise ValueError(
                f"binary: expected a loss with readout={readout!r}, that of the whole. Received: {type(binary).__name__} "
                f"with readout={getattr(binary, 'readout', None)!r}."
            )
        _check_term(binary, "binary")
        return binary, binary
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
