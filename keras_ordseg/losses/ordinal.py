"""Losses of the level distribution."""

import keras

from keras_ordseg.losses.base import MultiRaterLoss
from keras_ordseg.ops.checks import check_choice, check_number
from keras_ordseg.ops.levels import level_logits
from keras_ordseg.ops.ordinal_scores import earth_mover, soft_ordinal_cross_entropy, threshold_cross_entropy
from keras_ordseg.ops.scores import check_normalization, level_cross_entropy, rps_of_panel


@keras.saving.register_keras_serializable(package="keras_ordseg")
class RankedProbabilityLoss(MultiRaterLoss):
    """Ranked probability score of the levels as a loss.

    `c * sum_{j<K} (F_j - 1[v <= j])^2`, averaged over the pixels; strictly proper, so that its minimum is the true
    level distribution. Where only n < K raters rated, the levels are thinned to n raters first
    (`keras_ordseg.ops.thin_levels`): the score then stays proper, strictly only where n = K, as long as a rater's
    absence does not depend on the vote.

    Args:
        normalization: `"levels"` (default, the paper's): `c = 1/(K+1)`; `"thresholds"`: `1/K`; `"sum"`: 1.
        from_logits, num_raters, level_weights, reduction, name, dtype: As for every loss, see `MultiRaterLoss`.

    Call shapes:
        `y_true` votes `(batch, *spatial)` or ratings `(batch, *spatial, slots)`; `y_pred` `(batch, *spatial, K+1)`.

    Raises:
        ValueError: For an unknown normalization, or shapes and values that do not fit.

    Reference: eq. 3 of Riera-Marín et al., arXiv 2605.02437; Gneiting and Raftery, JASA 102, 2007.

    >>> import numpy as np
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
        from_logits, num_raters, level_weights, reduction, name, dtype: As for every loss, see `MultiRaterLoss`.

    Call shapes:
        `y_true` votes `(batch, *spatial)` or ratings `(batch, *spatial, slots)`; `y_pred` `(batch, *spatial, K+1)`.

    Raises:
        ValueError: For shapes and values that do not fit.

    Reference: Good, *Rational decisions*, J. R. Stat. Soc. B 14, 1952 (the logarithmic score).

    >>> import numpy as np
    >>> round(float(LevelCrossEntropy()(np.array([[1]]), np.zeros((1, 1, 4), "float32"))), 4)      # log 4
    1.3863
    """

    def pixel_loss(self, panel, logits):
        return level_cross_entropy(panel, level_logits(logits))


@keras.saving.register_keras_serializable(package="keras_ordseg")
class EarthMoverLoss(MultiRaterLoss):
    """Absolute earth mover's distance of the levels to the votes, `c * sum_{j<K} |F_j - 1[v <= j]| = c * E|k - v|`.

    Not a proper score: where raters' counts vary at alike pixels its minimum is all mass on their median, so it trains
    sharp levels, not calibrated ones. `RankedProbabilityLoss` is its squared form, which is proper. Where only n < K raters
    rated, the levels are thinned to n raters first.

    Args:
        normalization: `"levels"` (default): `c = 1/(K+1)`; `"thresholds"`: `1/K`; `"sum"`: 1.
        from_logits, num_raters, level_weights, reduction, name, dtype: As for every loss, see `MultiRaterLoss`.

    Call shapes:
        `y_true` votes `(batch, *spatial)` or ratings `(batch, *spatial, slots)`; `y_pred` `(batch, *spatial, K+1)`.

    Raises:
        ValueError: For an unknown normalization, or shapes and values that do not fit.

    Reference: Rubner, Tomasi and Guibas, *The earth mover's distance as a metric for image retrieval*, IJCV 40, 2000; as a
    loss of ordered classes Hou, Yu and Samaras, arXiv 1611.05916.

    >>> import numpy as np
    >>> loss = EarthMoverLoss("sum")
    >>> round(float(loss(np.array([[0]]), np.zeros((1, 1, 3), "float32"))), 4)      # (0 + 1 + 2) / 3
    1.0
    """

    def __init__(self, normalization="levels", **kwargs):
        super().__init__(**kwargs)
        self.normalization = check_normalization(normalization)

    def pixel_loss(self, panel, logits):
        return earth_mover(panel, level_logits(logits), self.normalization)

    def get_config(self):
        return {**super().get_config(), "normalization": self.normalization}


@keras.saving.register_keras_serializable(package="keras_ordseg")
class CoralLoss(MultiRaterLoss):
    """Sum of the K binary cross-entropies of "at least t raters mark", `-sum_t log P(1[k >= t] = 1[v >= t])`.

    What the ranked probability score is in Brier scores, this is in log scores; strictly proper. With
    `OrdinalHead(link="cumulative")`, one score and K shared cut-points, it is the published CORAL, dense; with the other
    links the same loss of their `P(k >= t)`. Where only n < K raters rated, the levels are thinned to n raters first.

    Args:
        from_logits, num_raters, level_weights, reduction, name, dtype: As for every loss, see `MultiRaterLoss`.

    Call shapes:
        `y_true` votes `(batch, *spatial)` or ratings `(batch, *spatial, slots)`; `y_pred` `(batch, *spatial, K+1)`.

    Raises:
        ValueError: For shapes and values that do not fit.

    Reference: Cao, Mirjalili and Raschka, *Rank consistent ordinal regression for neural networks*, Pattern Recognition
    Letters 140, 2020.

    >>> import numpy as np
    >>> z = np.log([[[0.5, 0.25, 0.25]]])                                      # P(k >= 1) = .5, P(k >= 2) = .25
    >>> round(float(CoralLoss()(np.array([[1]]), z)), 4)                       # -log .5 - log .75
    0.9808
    """

    def pixel_loss(self, panel, logits):
        return threshold_cross_entropy(panel, level_logits(logits))


@keras.saving.register_keras_serializable(package="keras_ordseg")
class SORDLoss(MultiRaterLoss):
    """Soft ordinal labels: cross-entropy with the target `q_k ~ exp(-sharpness * phi(k, v))`.

    The target spreads over the levels beside the votes, so its minimum is blurred: not a proper score. Where only n < K
    raters rated, the levels are thinned to n raters first and the target is over 0..n.

    Args:
        distance: `phi` is `(k - v)^2` for `"squared"` (default) or `|k - v|` for `"absolute"`.
        sharpness: Factor of the distance, above 0; the larger, the nearer to `LevelCrossEntropy`. Default 1.
        from_logits, num_raters, level_weights, reduction, name, dtype: As for every loss, see `MultiRaterLoss`.

    Call shapes:
        `y_true` votes `(batch, *spatial)` or ratings `(batch, *spatial, slots)`; `y_pred` `(batch, *spatial, K+1)`.

    Raises:
        ValueError: For an argument out of range, or shapes and values that do not fit.

    Reference: Díaz and Marathe, *Soft labels for ordinal regression*, CVPR 2019.

    >>> import numpy as np
    >>> round(float(SORDLoss()(np.array([[1]]), np.zeros((1, 1, 4), "float32"))), 4)      # log 4: the target sums to 1
    1.3863
    """

    def __init__(self, distance="squared", sharpness=1.0, **kwargs):
        super().__init__(**kwargs)
        self.distance = check_choice(distance, "distance", ("squared", "absolute"))
        self.sharpness = check_number(sharpness, "sharpness", above=0.0)

    def pixel_loss(self, panel, logits):
        return soft_ordinal_cross_entropy(panel, level_logits(logits), self.distance, self.sharpness)

    def get_config(self):
        return {**super().get_config(), "distance": self.distance, "sharpness": self.sharpness}
