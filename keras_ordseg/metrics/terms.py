"""A loss, or one term of it, as a metric."""

import keras
from keras import ops

from keras_ordseg.metrics.base import MeanMetric


@keras.saving.register_keras_serializable(package="keras_ordseg")
class LossTerm(MeanMetric):
    """Logs a loss of this package, or one term of a hybrid, during `fit`: no model class of one's own is needed.

    ```python
    loss = losses.OrdinalSegmentationLoss()
    model.compile("adam", loss, metrics=[metrics.LossTerm(loss, "binary"), metrics.LossTerm(loss, "ordinal")])
    ```

    The value is the mean over all pixels since the last reset, weighted as in the loss. The term is computed once more for
    it.

    Args:
        loss: A loss of this package.
        term: `"loss"` (default), the whole, or a term: `"binary"` and `"ordinal"` of `losses.OrdinalSegmentationLoss`. Terms
            come without their weights in the sum.
        name: Default: the term.
        dtype: As for any Keras metric. `from_logits` and `num_raters` are the loss's.

    Call shapes:
        Those of the loss.

    Raises:
        ValueError: If `loss` is no loss of this package, or has no such term.

    >>> import numpy as np
    >>> from keras_ordseg import losses
    >>> y, z = np.array([[1]]), np.zeros((1, 1, 3))                            # K = 2, RPS = (1/9 + 1/9) / 3
    >>> metric = LossTerm(losses.OrdinalSegmentationLoss(), "ordinal")
    >>> metric.update_state(y, z)
    >>> round(float(metric.result()), 4)
    0.0741
    """

    _direction = "down"

    def __init__(self, loss, term="loss", name=None, dtype=None):
        if isinstance(loss, dict):
            loss = keras.saving.deserialize_keras_object(loss)
        if not hasattr(loss, "pixel_terms"):
            raise ValueError(
                f"loss: expected a loss of keras_ordseg such as OrdinalSegmentationLoss(). Received: {loss!r}."
            )
        super().__init__(
            from_logits=loss.from_logits, num_raters=loss.num_raters, name=name or term, dtype=dtype
        )
        self.loss = loss
        self.term = term

    def accumulate(self, panel, y_pred, y_true):
        super().accumulate(self.loss.weighted(panel), y_pred, y_true)

    def terms(self, panel, y_pred):
        terms = self.loss.pixel_terms(panel, self.loss.logits(ops.cast(y_pred, panel.weights.dtype)))
        if self.term not in terms:
            raise ValueError(f"term: expected one of {tuple(terms)}. Received: {self.term!r}.")
        return terms[self.term], panel.counts > 0

    def get_config(self):
        config = super().get_config()
        del config["from_logits"], config["num_raters"]
        return {**config, "loss": keras.saving.serialize_keras_object(self.loss), "term": self.term}
