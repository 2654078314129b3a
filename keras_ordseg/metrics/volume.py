"""Is the structure as large as the raters say, given how far they differ?"""

import keras
from keras import ops

from keras_ordseg.metrics.base import MultiRaterMetric
from keras_ordseg.metrics.overlap import require_ratings
from keras_ordseg.ops.checks import check_choice, check_number
from keras_ordseg.ops.levels import check_readout, readout_probability
from keras_ordseg.ops.overlap import image_sums
from keras_ordseg.ops.sums import ExactSum, wide
from keras_ordseg.ops.volumes import crps_ensemble, crps_normal

_DISTRIBUTIONS = ("normal", "empirical")


@keras.saving.register_keras_serializable(package="keras_ordseg")
class VolumeCRPS(MultiRaterMetric):
    """Continuous ranked probability score of the raters' volumes at the predicted volume, averaged over the images.

    The integral over the whole line of `(F(y) - 1[y >= x])^2`. The forecast F is the distribution of the raters'
    volumes, the observation x the predicted volume `sum p` over the pixels, p the read-out: the CURVAS challenge's
    roles. F is the normal distribution with the mean and the standard deviation (over n raters, not n - 1) of the
    raters' volumes, whose score has a closed form, or their empirical distribution. Where all raters agree, or only one
    rated, the score is the absolute error of the volume. It is in the unit of the volume: lower is better, and images
    with large structures weigh more.

    Volumes are taken over the pixels that every rater present in the image rated, so that they can be compared; a rater
    that rated no pixel of an image is left out there. A pixel's weight, relative to the image's heaviest, multiplies
    its volume; an image weighs what its heaviest pixel does.

    The challenge's own script integrates numerically, from mean - 3 std to mean + 3 std only, over a distribution
    function interpolated between 100 points from its 1 % to its 99 % quantile. A prediction outside that range scores
    as if it lay on its edge, 2.44 std, however wrong it is, and a standard deviation of 0 gives no number. Inside the
    range the two agree to 0.02 std.

    Args:
        readout: `"expected"` (default, the mean of the raters' volumes where the model is calibrated), `"majority"` or
            an int quorum; a binary output has one read-out only, itself.
        distribution: `"normal"` (default, the challenge's) or `"empirical"`.
        voxel_volume: Volume of a pixel or voxel, default 1. Where it differs by image, score each image with
            `ops.crps_normal`.
        from_logits, num_raters, name, dtype: As for every metric of the package, see `MultiRaterMetric`.

    Call shapes:
        `y_true` ratings `(batch, *spatial, slots)`; `y_pred` `(batch, *spatial, K+1)` or `(batch, *spatial, 1)`.

    Raises:
        ValueError: If `y_true` is votes (they do not tell the volumes of the raters), for an argument out of range, or
            shapes and values that do not fit.

    Reference: Gneiting and Raftery, *Strictly proper scoring rules, prediction, and estimation*, JASA 102, 2007; the
    CURVAS challenge, MICCAI 2024.

    >>> import numpy as np
    >>> ratings = np.array([[[1, 1], [1, 0], [1, 0]]])                         # volumes 3 and 1: mean 2, std 1
    >>> metric = VolumeCRPS(from_logits=False)
    >>> metric.update_state(ratings, np.array([[[1.0], [0.5], [0.5]]]))        # volume 2
    >>> round(float(metric.result()), 4)
    0.2337
    """

    _direction = "down"

    def __init__(self, readout="expected", distribution="normal", voxel_volume=1.0, **kwargs):
        super().__init__(**kwargs)
        self.readout = check_readout(readout)
        self.distribution = check_choice(distribution, "distribution", _DISTRIBUTIONS)
        self.voxel_volume = check_number(voxel_volume, "voxel_volume", above=0.0)
        self._top = ExactSum(self, 1, "total")
        self._bottom = ExactSum(self, 1, "weight")

    def accumulate(self, panel, y_pred, y_true):
        ratings = require_ratings(y_true, y_pred, self, "Give ratings.")
        axes = tuple(range(1, len(panel.weights.shape)))
        rated = ops.not_equal(ratings, -1)
        seen = ops.logical_and(rated, ops.expand_dims(panel.weights > 0, -1))
        present = ops.any(seen, axis=axes, keepdims=True)
        shared = ops.all(ops.logical_or(rated, ops.logical_not(present)), axis=-1)
        weights = ops.where(shared, panel.weights, ops.zeros_like(panel.weights))
        heaviest = ops.max(weights, axis=axes, keepdims=True)
        weights = ops.divide_no_nan(weights, heaviest) * self.voxel_volume

        p = self.clean(readout_probability(y_pred, self.readout, self.from_logits))
        predicted = image_sums(wide(weights) * wide(p))
        marked = ops.cast(ops.equal(ratings, 1), "float32")
        volumes = ops.sum(wide(ops.expand_dims(weights, -1) * marked), axis=axes)
        here = wide(ops.cast(ops.reshape(present, (-1, ratings.shape[-1])), "float32"))
        if self.distribution == "normal":
            mean = _mean(volumes, here)
            std = ops.sqrt(_mean(ops.square(volumes - ops.expand_dims(mean, -1)), here))
            score = crps_normal(predicted, mean, std)
        else:
            score = crps_ensemble(predicted, volumes, here)
        image = wide(ops.reshape(heaviest, (-1,)))
        self._top.add(image * score)
        self._bottom.add(image)

    def value(self):
        return ops.divide_no_nan(self._top.value(), self._bottom.value())[0]

    def get_config(self):
        return {
            **super().get_config(),
            "readout": self.readout,
            "distribution": self.distribution,
            "voxel_volume": self.voxel_volume,
        }


def _mean(values, weights):
    return ops.divide_no_nan(ops.sum(weights * values, axis=-1), ops.sum(weights, axis=-1))
