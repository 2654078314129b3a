"""What is trained without levels: losses of one foreground probability, for comparison."""

import keras
from keras import ops

from keras_ordseg.losses.base import MultiRaterLoss
from keras_ordseg.ops.checks import check_number
from keras_ordseg.ops.levels import check_readout
from keras_ordseg.ops.scores import binary_target, cross_entropy, panel_readout_logit


class ReadoutLoss(MultiRaterLoss):
    """Base of the losses of a read-out: a subclass writes `readout_loss(target, logit, panel)`.

    Args:
        readout: What is trained and on which target: `"majority"` (default): the majority label `v >= ceil(n/2)`; an int
            quorum: `v >= q` (scaled to the raters present); `"expected"`: the raters' mean `v/n`. A binary output
            `(batch, *spatial, 1)` is the probability of that; of level scores its read-out is taken.
        from_logits, num_raters, level_weights, reduction, name, dtype: As for every loss, see `MultiRaterLoss`.
    """

    def __init__(self, readout="majority", **kwargs):
        super().__init__(**kwargs)
        self.readout = check_readout(readout)

    def pixel_loss(self, panel, logits):
        target = binary_target(panel, self.readout)
        return self.readout_loss(target, panel_readout_logit(panel, logits, self.readout), panel)

    def readout_loss(self, target, logit, panel):
        """Values `(batch, *spatial)` of a target in [0, 1] and a logit; the panel tells weights and who rated."""
        return cross_entropy(target, logit)

    def get_config(self):
        return {**super().get_config(), "readout": self.readout}


class _FixedReadout(ReadoutLoss):
    def get_config(self):
        config = super().get_config()
        del config["readout"]
        return config


@keras.saving.register_keras_serializable(package="keras_ordseg")
class MajorityCrossEntropy(_FixedReadout):
    """Binary cross-entropy with the majority label, `1[v >= ceil(n/2)]`: ordinary training on one fused mask.

    Args:
        from_logits, num_raters, level_weights, reduction, name, dtype: As for every loss, see `MultiRaterLoss`.
            `num_raters` is needed when `y_true` is votes and `y_pred` a binary output.

    Call shapes:
        `y_true` votes `(batch, *spatial)` or ratings `(batch, *spatial, slots)`; `y_pred` `(batch, *spatial, 1)`, or
        level scores `(batch, *spatial, K+1)`, of which the majority read-out is scored.

    Raises:
        ValueError: For shapes and values that do not fit.

    Reference: Lemay, Gros and Cohen-Adad, *Label fusion and training methods for reliable representation of
    inter-rater uncertainty*, MELBA 2022, compare it with soft labels and random raters.

    >>> import numpy as np
    >>> loss = MajorityCrossEntropy()
    >>> round(float(loss(np.array([[[1, 1, 0]]]), np.array([[[0.0]]]))), 4)      # log 2
    0.6931
    """

    def __init__(self, **kwargs):
        super().__init__("majority", **kwargs)


@keras.saving.register_keras_serializable(package="keras_ordseg")
class SoftLabelCrossEntropy(_FixedReadout):
    """Binary cross-entropy with the raters' mean `v/n`: the soft label of the panel.

    Its minimum is the chance that a rater drawn at random marks the pixel, so it is calibrated to the raters without
    levels; it knows nothing of how the raters' answers hang together.

    Args:
        from_logits, num_raters, level_weights, reduction, name, dtype: As for every loss, see `MultiRaterLoss`.
            `num_raters` is needed when `y_true` is votes and `y_pred` a binary output.

    Call shapes:
        `y_true` votes `(batch, *spatial)` or ratings `(batch, *spatial, slots)`; `y_pred` `(batch, *spatial, 1)`, or
        level scores `(batch, *spatial, K+1)`, of which the expected read-out is scored.

    Raises:
        ValueError: For shapes and values that do not fit.

    Reference: Lemay, Gros and Cohen-Adad, *Label fusion and training methods for reliable representation of
    inter-rater uncertainty*, MELBA 2022.

    >>> import math, numpy as np
    >>> loss = SoftLabelCrossEntropy(num_raters=4)
    >>> round(float(loss(np.array([[1]]), np.array([[[math.log(1 / 3)]]]))), 4)      # entropy of 1 in 4
    0.5623
    """

    def __init__(self, **kwargs):
        super().__init__("expected", **kwargs)


@keras.saving.register_keras_serializable(package="keras_ordseg")
class LabelSmoothingCrossEntropy(ReadoutLoss):
    """Binary cross-entropy with the target moved towards one half, `(1 - s) t + s/2`.

    Args:
        smoothing: `s` in [0, 1). Default 0.1.
        readout, from_logits, num_raters, level_weights, reduction, name, dtype: See `ReadoutLoss`.

    Call shapes:
        `y_true` votes or ratings; `y_pred` `(batch, *spatial, 1)` or level scores `(batch, *spatial, K+1)`.

    Raises:
        ValueError: For an argument out of range, or shapes and values that do not fit.

    Reference: Szegedy et al., *Rethinking the Inception architecture*, CVPR 2016; Müller, Kornblith and Hinton, *When does
    label smoothing help?*, NeurIPS 2019.

    >>> import numpy as np
    >>> loss = LabelSmoothingCrossEntropy(0.2)
    >>> round(float(loss(np.array([[[1]]]), np.array([[[np.log(9.0)]]]))), 4)      # t = .9: the entropy of .9
    0.3251
    """

    def __init__(self, smoothing=0.1, readout="majority", **kwargs):
        super().__init__(readout, **kwargs)
        self.smoothing = check_number(smoothing, "smoothing")
        if self.smoothing >= 1:
            raise ValueError(f"smoothing: expected a number in [0, 1). Received: {smoothing!r}.")

    def readout_loss(self, target, logit, panel):
        return cross_entropy((1.0 - self.smoothing) * target + self.smoothing / 2, logit)

    def get_config(self):
        return {**super().get_config(), "smoothing": self.smoothing}


@keras.saving.register_keras_serializable(package="keras_ordseg")
class FocalLoss(ReadoutLoss):
    """Cross-entropy that passes over what is already right, `-t (1-p)^g log p - (1-t) p^g log(1-p)`.

    Args:
        gamma: `g`, at least 0; 0 is the cross-entropy. Default 2.
        readout, from_logits, num_raters, level_weights, reduction, name, dtype: See `ReadoutLoss`; the published
            `alpha` is `level_weights=(1 - alpha, alpha)`.

    Call shapes:
        `y_true` votes or ratings; `y_pred` `(batch, *spatial, 1)` or level scores `(batch, *spatial, K+1)`.

    Raises:
        ValueError: For an argument out of range, or shapes and values that do not fit.

    Reference: Lin et al., *Focal loss for dense object detection*, ICCV 2017; for calibration Mukhoti et al., NeurIPS 2020.

    >>> import numpy as np
    >>> round(float(FocalLoss()(np.array([[[1]]]), np.array([[[0.0]]]))), 4)      # log 2 / 4
    0.1733
    """

    def __init__(self, gamma=2.0, readout="majority", **kwargs):
        super().__init__(readout, **kwargs)
        self.gamma = check_number(gamma, "gamma")

    def readout_loss(self, target, logit, panel):
        miss, hit = ops.softplus(-logit), ops.softplus(logit)  # -log p, -log(1 - p)
        return target * ops.exp(-self.gamma * hit) * miss + (1.0 - target) * ops.exp(-self.gamma * miss) * hit

    def get_config(self):
        return {**super().get_config(), "gamma": self.gamma}
