"""Overlap of the prediction with the raters' masks."""

import keras
import numpy as np
from keras import ops

from keras_ordseg.metrics.base import MultiRaterMetric
from keras_ordseg.ops.checks import check_choice
from keras_ordseg.ops.levels import check_readout, readout_probability
from keras_ordseg.ops.overlap import dice_terms, ratio
from keras_ordseg.ops.sums import ExactSum, wide
from keras_ordseg.ops.thinning import scaled_quorum

_AVERAGES = ("images", "pixels")


def require_ratings(y_true, y_pred, metric, advice):
    """`y_true` as a tensor, or a ValueError where it is votes and the metric has to tell the raters apart."""
    y_true = ops.convert_to_tensor(y_true)
    if len(y_true.shape) != len(y_pred.shape):
        raise ValueError(
            f"y_true: {type(metric).__name__} expects ratings (batch, *spatial, raters), because votes do not tell "
            f"which rater marked what. Received votes of shape {tuple(y_true.shape)}. {advice}"
        )
    return y_true


class _DiceMetric(MultiRaterMetric):
    """Mean of one or more Dice comparisons for each image; a subclass yields `comparisons(panel, y_pred, y_true)`."""

    _direction = "up"

    def __init__(self, average, size, **kwargs):
        super().__init__(**kwargs)
        self.average = check_choice(average, "average", _AVERAGES)
        self._top = ExactSum(self, size, "total")
        self._bottom = ExactSum(self, size, "weight")

    def comparisons(self, panel, y_pred, y_true):
        """Triples `(prediction, target, weights)` of masks `(batch, *spatial)`."""
        raise TypeError(f"{type(self).__name__} must define comparisons(panel, y_pred, y_true).")

    def probability(self, y_pred):
        return self.clean(readout_probability(y_pred, self.readout, self.from_logits))

    def accumulate(self, panel, y_pred, y_true):
        axes = tuple(range(1, len(panel.weights.shape)))
        total, present = 0.0, 0.0
        for index, (prediction, target, weights) in enumerate(self.comparisons(panel, y_pred, y_true)):
            top, bottom = dice_terms(prediction, target, weights)
            if self.average == "pixels":
                segment = ops.full_like(top, index % self._top.variable.shape[1], dtype="int32")
                self._top.add(top, segment)
                self._bottom.add(bottom, segment)
                continue
            here = wide(ops.cast(ops.any(weights > 0, axis=axes), "float32"))
            total, present = total + here * ratio(top, bottom), present + here
        if self.average == "images":
            weight = wide(ops.max(panel.weights, axis=axes))  # an image weighs what its heaviest pixel does
            self._top.add(weight * ops.divide_no_nan(total, present))
            self._bottom.add(weight * wide(ops.cast(present > 0, "float32")))

    def value(self):
        top, bottom = self._top.value(), self._bottom.value()
        return ops.divide_no_nan(top, bottom)[0] if self.average == "images" else ops.mean(ratio(top, bottom))

    def get_config(self):
        return {**super().get_config(), "average": self.average}


@keras.saving.register_keras_serializable(package="keras_ordseg")
class MultiRaterDice(_DiceMetric):
    """Dice coefficient of the predicted mask with each rater's mask, averaged over the raters, then the images.

    The predicted mask is `read-out >= 1/2`. Each rater is compared over the pixels that this rater rated; a rater that
    rated no pixel of an image does not count there. Both masks empty is 1.

    For the value of every rater pass one metric for each, as in
    `metrics=[MultiRaterDice(rater=r, name=f"dice_{r}") for r in range(K)]`.

    Args:
        readout: `"expected"` (default), `"majority"` or an int quorum; a binary output has one read-out only, itself.
        average: `"images"` (default): a mean over images, each weighing what its heaviest pixel does; `"pixels"`: one
            coefficient from the sums over all pixels and raters.
        rater: None (default): the mean over the raters; or the place of one rater on the last axis of the ratings,
            0 first: that rater alone, over the images with an answer of this rater.
        from_logits, num_raters, name, dtype: As for every metric of the package, see `MultiRaterMetric`.

    Call shapes:
        `y_true` ratings `(batch, *spatial, slots)`; `y_pred` `(batch, *spatial, K+1)` or `(batch, *spatial, 1)`.

    Raises:
        ValueError: If `y_true` is votes (they do not tell which rater marked what), for an argument out of range, or
            shapes and values that do not fit.

    Reference: Dice, Ecology 26, 1945.

    >>> ratings = np.array([[[1, 1], [0, 1]]])                          # two pixels, two raters
    >>> metric = MultiRaterDice(from_logits=False)
    >>> metric.update_state(ratings, np.array([[[0.9], [0.2]]]))        # 1 with the first, 2/3 with the second
    >>> round(float(metric.result()), 4)
    0.8333
    """

    def __init__(self, readout="expected", average="images", rater=None, **kwargs):
        super().__init__(average, 1, **kwargs)
        self.readout = check_readout(readout)
        if rater is not None and (
            isinstance(rater, bool) or not isinstance(rater, (int, np.integer)) or rater < 0
        ):
            raise ValueError(
                "rater: expected None (the mean over the raters) or a place on the last axis of the ratings, an int "
                f"of 0 or more. Received: {rater!r}."
            )
        self.rater = None if rater is None else int(rater)

    def comparisons(self, panel, y_pred, y_true):
        y_true = require_ratings(y_true, y_pred, self, "Use ConsensusDice or SoftDice.")
        slots = y_true.shape[-1]
        if self.rater is not None and self.rater >= slots:
            raise ValueError(
                f"rater: expected a place in 0..{slots - 1}, because y_true has {slots} raters. Received: {self.rater}."
            )
        mask = ops.cast(self.probability(y_pred) >= 0.5, "float32")
        for rater in range(slots) if self.rater is None else [self.rater]:
            answer = y_true[..., rater]
            rated = ops.cast(ops.not_equal(answer, -1), "float32")
            yield mask, ops.cast(ops.equal(answer, 1), "float32"), panel.weights * rated

    def get_config(self):
        return {**super().get_config(), "readout": self.readout, "rater": self.rater}


@keras.saving.register_keras_serializable(package="keras_ordseg")
class ConsensusDice(_DiceMetric):
    """Dice coefficient of the predicted mask with the consensus `v >= quorum`, averaged over the images.

    The predicted mask is `P(k >= quorum) >= 1/2` of the levels (or `readout >= 1/2` where one is named), or the
    binary output's own. Where only n raters rated a pixel, the quorum is `ceil(n/2)` for a majority and `ceil(q n / K)`
    for an int. Both masks empty is 1.

    Args:
        quorum: `"majority"` (default, ties are foreground) or an int in 1..K.
        readout: None (default): the quorum itself; or `"expected"`, `"majority"`, an int.
        average: `"images"` (default): a mean over images, each weighing what its heaviest pixel does; `"pixels"`: one
            coefficient from the sums over all pixels.
        from_logits, num_raters, name, dtype: As for every metric of the package, see `MultiRaterMetric`.

    Call shapes:
        `y_true` votes `(batch, *spatial)` or ratings `(batch, *spatial, slots)`; `y_pred` `(batch, *spatial, K+1)` or
        `(batch, *spatial, 1)`.

    Raises:
        ValueError: For an argument out of range, or shapes and values that do not fit.

    Reference: Dice, Ecology 26, 1945.

    >>> metric = ConsensusDice(from_logits=False, num_raters=3)
    >>> metric.update_state(np.array([[0, 2, 3, 1]]), np.array([[[0.1], [0.8], [0.3], [0.6]]]))
    >>> float(metric.result())
    0.5
    """

    def __init__(self, quorum="majority", readout=None, average="images", **kwargs):
        super().__init__(average, 1, **kwargs)
        if quorum == "expected":
            raise ValueError("quorum: expected 'majority' or an int in 1..K. Received: 'expected'.")
        self.quorum = check_readout(quorum)
        self.consensus_readout = None if readout is None else check_readout(readout)
        self.readout = self.quorum if readout is None else self.consensus_readout

    def comparisons(self, panel, y_pred, y_true):
        mask = ops.cast(self.probability(y_pred) >= 0.5, "float32")
        target = panel.votes >= scaled_quorum(self.quorum, panel.counts, panel.num_raters)
        yield mask, ops.cast(target, "float32"), panel.weights

    def get_config(self):
        return {**super().get_config(), "quorum": self.quorum, "readout": self.consensus_readout}


@keras.saving.register_keras_serializable(package="keras_ordseg")
class SoftDice(_DiceMetric):
    """Mean over thresholds t of the Dice coefficient of `p > t` with `v/n > t`, averaged over the images.

    It compares the whole agreement map with the raters', not one mask with another. Both masks empty is 1. A vote or a
    probability that equals a threshold, to 1e-6, does not exceed it.

    Args:
        thresholds: In (0, 1). Default 0.1, 0.2, …, 0.9 as in the QUBIQ challenge; MRNet and D-Persona use
            0.1, 0.3, 0.5, 0.7, 0.9.
        readout: `"expected"` (default), `"majority"` or an int quorum; a binary output has one read-out only, itself.
        average: `"images"` (default): a mean over images, each weighing what its heaviest pixel does; `"pixels"`: the
            mean over thresholds of coefficients from the sums over all pixels.
        from_logits, num_raters, name, dtype: As for every metric of the package, see `MultiRaterMetric`.

    Call shapes:
        `y_true` votes `(batch, *spatial)` or ratings `(batch, *spatial, slots)`; `y_pred` `(batch, *spatial, K+1)` or
        `(batch, *spatial, 1)`.

    Raises:
        ValueError: For thresholds outside (0, 1) or none, or shapes and values that do not fit.

    Reference: Ji et al., *Learning calibrated medical image segmentation via multi-rater agreement modeling*, CVPR 2021;
    the QUBIQ challenge, MICCAI 2020 and 2021.

    >>> metric = SoftDice(thresholds=(0.25, 0.75), from_logits=False, num_raters=2)
    >>> metric.update_state(np.array([[1, 2, 0]]), np.array([[[0.6], [0.7], [0.1]]]))      # 1 at 0.25, 0 at 0.75
    >>> float(metric.result())
    0.5
    """

    def __init__(
        self,
        thresholds=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
        readout="expected",
        average="images",
        **kwargs,
    ):
        self.thresholds = tuple(float(t) for t in np.atleast_1d(np.asarray(thresholds, dtype="float64")))
        if not self.thresholds or not all(0 < t < 1 for t in self.thresholds):
            raise ValueError(f"thresholds: expected one or more numbers in (0, 1). Received: {thresholds!r}.")
        super().__init__(average, 1 if average == "images" else len(self.thresholds), **kwargs)
        self.readout = check_readout(readout)

    def comparisons(self, panel, y_pred, y_true):
        p = self.probability(y_pred)
        for t in self.thresholds:
            # v > t n, with room for the rounding of t n: votes are whole, so 3 of 10 does not exceed 0.3
            target = panel.votes - t * panel.counts > 1e-4
            # the same room for p: a model that is certain of 1 rater in 5 does not exceed 0.2 by a rounding of the sigmoid
            yield ops.cast(p - t > 1e-6, "float32"), ops.cast(target, "float32"), panel.weights

    def get_config(self):
        return {**super().get_config(), "thresholds": self.thresholds, "readout": self.readout}
