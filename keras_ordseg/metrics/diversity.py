"""Do the masks that the model holds possible spread as the raters' masks do?"""

import keras
from keras import ops

from keras_ordseg.metrics.base import MultiRaterMetric
from keras_ordseg.metrics.overlap import require_ratings
from keras_ordseg.ops.checks import check_choice
from keras_ordseg.ops.levels import as_float, level_logits
from keras_ordseg.ops.overlap import generalized_energy_distance, nested_masks
from keras_ordseg.ops.ratings import panel
from keras_ordseg.ops.sums import ExactSum, wide
from keras_ordseg.ops.values import check_single

_PREDICTIONS = ("levels", "samples")


@keras.saving.register_keras_serializable(package="keras_ordseg")
class GeneralizedEnergyDistance(MultiRaterMetric):
    """Squared generalized energy distance of the predicted masks to the raters' masks, averaged over the images.

    `2 E d(s, y) - E d(s, s') - E d(y, y')` with `d = 1 - IoU`: 0 where the predicted masks are the raters' masks, and
    larger the more the two sets differ in place or in spread. Two empty masks have `d = 0`. Each expectation is a mean
    over all ordered pairs, a mask with itself included, as the field reports it. The masks of a level map are its
    nested masks `P(k >= t) > 1/2`, t = 1..K.

    A rater is compared over the pixels that this rater rated, two raters over those that both rated, two predicted
    masks over those that anybody rated. A rater that rated no pixel of an image is left out there.

    Args:
        predictions: `"levels"` (default): `y_pred` is a level map; `"samples"`: its last axis holds S sampled masks,
            as from an ensemble, dropout or a generative model.
        from_logits: Whether `y_pred` holds logits (default) or probabilities. A sample is foreground where its logit
            is above 0, or its probability above 1/2; masks of 0 and 1 read the same either way.
        num_raters, name, dtype: As for every metric of the package, see `MultiRaterMetric`.

    Call shapes:
        `y_true` ratings `(batch, *spatial, slots)`; `y_pred` `(batch, *spatial, K+1)` levels or `(batch, *spatial, S)`
        samples. Weights of pixels count inside the IoU; an image weighs what its heaviest pixel does.

    Raises:
        ValueError: If `y_true` is votes (they do not tell which rater marked what), for a binary output taken as
            levels, an unknown `predictions`, or shapes and values that do not fit.

    Reference: Székely and Rizzo, *Energy statistics*, J. Stat. Plan. Inference 143, 2013; Kohl et al., *A probabilistic
    U-Net for segmentation of ambiguous images*, NeurIPS 2018.

    >>> import numpy as np
    >>> ratings = np.array([[[1, 1], [0, 1]]])                                # two pixels, two raters
    >>> samples = np.array([[[1, 1], [1, 0]]])                                # the same two masks
    >>> metric = GeneralizedEnergyDistance("samples")
    >>> metric.update_state(ratings, samples)
    >>> float(metric.result())
    0.0
    """

    _direction = "down"

    def __init__(self, predictions="levels", **kwargs):
        super().__init__(**kwargs)
        self.predictions = check_choice(predictions, "predictions", _PREDICTIONS)
        self._top = ExactSum(self, 1, "total")
        self._bottom = ExactSum(self, 1, "weight")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch.

        Args:
            y_true: Ratings `(batch, *spatial, slots)`.
            y_pred: Levels `(batch, *spatial, K+1)`, or samples `(batch, *spatial, S)`.
            sample_weight: None, or weights of shape `(batch,)` or `(batch, *spatial)`.
        """
        if self.predictions == "levels":
            super().update_state(y_true, y_pred, sample_weight)
            return
        check_single(y_true=y_true, y_pred=y_pred)
        y_pred = as_float(y_pred)
        read = panel(y_true, y_pred[..., :1], sample_weight, self.num_raters)  # S says nothing of K
        self.accumulate(read._replace(weights=self.clean(read.weights)), y_pred, y_true)

    def accumulate(self, panel, y_pred, y_true):
        ratings = require_ratings(y_true, y_pred, self, "Use RankedProbabilityScore for votes.")
        if self.predictions == "levels":
            masks = nested_masks(self.clean(level_logits(y_pred, self.from_logits)))
        else:
            if not self.from_logits:
                self._note(ops.abs(y_pred - 0.5) > 0.501)  # no probability, and not by rounding
            masks = ops.cast(self.clean(y_pred) > (0.0 if self.from_logits else 0.5), "float32")
        weight = wide(ops.max(panel.weights, axis=tuple(range(1, len(panel.weights.shape)))))
        self._top.add(weight * wide(generalized_energy_distance(masks, ratings, panel.weights)))
        self._bottom.add(weight)

    def value(self):
        return ops.divide_no_nan(self._top.value(), self._bottom.value())[0]

    def get_config(self):
        return {**super().get_config(), "predictions": self.predictions}
