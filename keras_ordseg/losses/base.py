"""What every loss of the package shares: reading `y_true`, the weight of every pixel, the reduction."""

import keras
import numpy as np
from keras import ops

from keras_ordseg.losses._replicas import mean_over_replicas
from keras_ordseg.ops.levels import as_float, constant, level_logits
from keras_ordseg.ops.ratings import Panel, panel
from keras_ordseg.ops.values import check_scores, check_single, impossible_probabilities


class MultiRaterLoss(keras.losses.Loss):
    """Base of the losses: `call` gives one value for each pixel, `__call__` weighs and reduces them.

    The mean is over the weight present: a pixel that nobody rated weighs nothing, and a `sample_weight` of shape
    `(batch,)` or `(batch, *spatial)` multiplies in. Reduction and the scaling under `tf.distribute` are Keras' own; under
    the default reduction the mean is then over the weight present on all replicas.
    A subclass writes `pixel_loss(panel, logits)`.

    Args:
        from_logits: Whether `y_pred` holds logits (default) or probabilities.
        num_raters: K; needed only where `y_true` is votes and `y_pred` a binary output.
        level_weights: None, or weights of the pixels by their level, to lift rare ones: K+1 numbers for the levels
            0..K, or two, for "nobody marks" and "all mark". In between, and where only n of K raters rated, the weight
            is interpolated at `v/n`.
        reduction: `"mean_with_sample_weight"` (default) or another of Keras' reductions.
        name, dtype: As for any Keras loss.
    """

    def __init__(
        self,
        from_logits=True,
        num_raters=None,
        level_weights=None,
        reduction="mean_with_sample_weight",
        name=None,
        dtype=None,
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.from_logits = bool(from_logits)
        self.num_raters = num_raters
        self.level_weights = _check_level_weights(level_weights)

    def __call__(self, y_true, y_pred, sample_weight=None):
        y_pred, read = self._read(y_true, y_pred, sample_weight)
        read = self.weighted(read)
        parts = (read.votes, read.counts, read.weights)
        if read.complete is not True:
            parts = (*parts, read.complete)
        loss = super().__call__(parts, y_pred, sample_weight=read.weights)
        if self.reduction != "mean_with_sample_weight":
            return loss
        return mean_over_replicas(loss, lambda: ops.sum(read.weights))

    def call(self, y_true, y_pred):
        if isinstance(y_true, tuple):  # read by __call__, and cast by Keras
            y_pred = ops.cast(y_pred, self.dtype)
            complete = y_true[3] > 0.5 if len(y_true) == 4 else True
            levels = y_pred.shape[-1] - 1
            read = Panel(*y_true[:3], complete, levels or self.num_raters)
        else:
            y_pred, read = self._read(y_true, y_pred)
            y_pred = ops.cast(y_pred, self.dtype)
        return self.pixel_loss(read, self.logits(y_pred))

    def _read(self, y_true, y_pred, sample_weight=None):
        """`y_pred` as a float tensor, and the `Panel`, whose weights are NaN where either is impossible."""
        check_single(y_true=y_true, y_pred=y_pred)
        check_scores(y_pred, self.from_logits)
        y_pred = as_float(y_pred)
        read = panel(y_true, y_pred, sample_weight, self.num_raters, self.dtype)
        if not self.from_logits:
            bad = impossible_probabilities(y_pred)
            read = read._replace(weights=ops.where(bad, ops.full_like(read.weights, float("nan")), read.weights))
        return y_pred, read

    def pixel_loss(self, panel, logits):
        """One value for each pixel, `(batch, *spatial)`, finite where nobody rated."""
        raise TypeError(f"{type(self).__name__} must define pixel_loss(panel, logits).")

    def pixel_terms(self, panel, logits):
        """The loss and its terms by name, one value for each pixel: what `metrics.LossTerm` reads."""
        return {"loss": self.pixel_loss(panel, logits)}

    def weighted(self, panel):
        """The panel with the level weights in its pixel weights."""
        if self.level_weights is None:
            return panel
        last = len(self.level_weights) - 1
        if panel.num_raters is not None and last not in (1, panel.num_raters):
            raise ValueError(
                f"level_weights: expected {panel.num_raters + 1} numbers, one for each level 0..{panel.num_raters}, or "
                f"two. Received {last + 1}: {self.level_weights}."
            )
        table = constant(np.array(self.level_weights), panel.weights)
        place = ops.clip(last * panel.votes / ops.maximum(panel.counts, 1.0), 0.0, float(last))
        lower = ops.minimum(ops.floor(place), last - 1.0)
        index, part = ops.cast(lower, "int32"), place - lower
        weight = (1.0 - part) * ops.take(table, index) + part * ops.take(table, index + 1)
        return panel._replace(weights=panel.weights * weight)

    def logits(self, y_pred):
        """`y_pred` as logits."""
        if self.from_logits:
            return y_pred
        if y_pred.shape[-1] == 1:
            p = ops.clip(y_pred, 1e-7, 1 - 1e-7)
            return ops.log(p) - ops.log1p(-p)
        return level_logits(y_pred, from_logits=False)

    def get_config(self):
        return {
            **super().get_config(),
            "from_logits": self.from_logits,
            "num_raters": self.num_raters,
            "level_weights": self.level_weights,
            "dtype": self.dtype,
        }


def _check_level_weights(level_weights):
    if level_weights is None:
        return None
    weights = np.asarray(level_weights, "float64")
    if weights.ndim != 1 or len(weights) < 2 or not np.isfinite(weights).all() or weights.min() < 0 or not weights.any():
        raise ValueError(
            "level_weights: expected K+1 finite numbers of at least 0, not all 0, one for each level, or two, for "
            f"background and foreground. Received: {level_weights!r}."
        )
    return weights.tolist()
