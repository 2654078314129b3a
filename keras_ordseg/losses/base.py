"""What every loss of the package shares: reading `y_true`, the weight of every pixel, the reduction."""

import keras
from keras import ops

from keras_ordseg.ops.levels import as_float, level_logits
from keras_ordseg.ops.ratings import Panel, panel


class MultiRaterLoss(keras.losses.Loss):
    """Base of the losses: `call` gives one value for each pixel, `__call__` weighs and reduces them.

    The mean is over the weight present: a pixel that nobody rated weighs nothing, and a `sample_weight` of shape
    `(batch,)` or `(batch, *spatial)` multiplies in. Reduction and the scaling under `tf.distribute` are Keras' own.
    A subclass writes `pixel_loss(panel, logits)`.

    Args:
        from_logits: Whether `y_pred` holds logits (default) or probabilities.
        num_raters: K; needed only where `y_true` is votes and `y_pred` a binary output.
        reduction: `"mean_with_sample_weight"` (default) or another of Keras' reductions.
        name, dtype: As for any Keras loss.
    """

    def __init__(
        self, from_logits=True, num_raters=None, reduction="mean_with_sample_weight", name=None, dtype=None
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.from_logits = bool(from_logits)
        self.num_raters = num_raters

    def __call__(self, y_true, y_pred, sample_weight=None):
        y_pred = as_float(y_pred)
        read = panel(y_true, y_pred, sample_weight, self.num_raters, self.dtype)
        parts = (read.votes, read.counts, read.weights)
        if read.complete is not True:
            parts = (*parts, read.complete)
        return super().__call__(parts, y_pred, sample_weight=read.weights)

    def call(self, y_true, y_pred):
        y_pred = as_float(y_pred)
        if isinstance(y_true, tuple):  # read by __call__, and cast by Keras
            complete = y_true[3] > 0.5 if len(y_true) == 4 else True
            levels = y_pred.shape[-1] - 1
            read = Panel(*y_true[:3], complete, levels or self.num_raters)
        else:
            read = panel(y_true, y_pred, None, self.num_raters, self.dtype)
        return self.pixel_loss(read, self._logits(y_pred))

    def pixel_loss(self, panel, logits):
        """One value for each pixel, `(batch, *spatial)`, finite where nobody rated."""
        raise TypeError(f"{type(self).__name__} must define pixel_loss(panel, logits).")

    def _logits(self, y_pred):
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
            "dtype": self.dtype,
        }
