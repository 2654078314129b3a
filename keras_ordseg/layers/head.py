"""The ordinal head: from features to level logits."""

import keras
import numpy as np
from keras import ops

from keras_ordseg.layers.links import LINKS
from keras_ordseg.ops.checks import check_num_raters


def check_initial_levels(initial_levels, num_raters):
    """Level frequencies as a list of `K+1` floats that sum to 1, each at least 1e-6; None stays None.

    Raises:
        ValueError: If there are not K+1 of them, or one is negative or not finite, or all are 0.
    """
    if initial_levels is None:
        return None
    levels = np.asarray(initial_levels, dtype="float64")
    if levels.shape != (num_raters + 1,):
        raise ValueError(
            f"initial_levels: expected {num_raters + 1} frequencies, one for each level 0..K with "
            f"num_raters={num_raters}. Received shape {levels.shape}. data.level_frequencies(dataset) gives them."
        )
    if not np.isfinite(levels).all() or (levels < 0).any() or levels.sum() == 0:
        raise ValueError(
            f"initial_levels: expected finite frequencies of at least 0, not all 0. Received: {levels.tolist()}."
        )
    levels = np.maximum(levels / levels.sum(), 1e-6)
    return (levels / levels.sum()).tolist()


@keras.saving.register_keras_serializable(package="keras_ordseg")
class OrdinalHead(keras.layers.Layer):
    """Turns a feature map into level logits: for each pixel a distribution over 0..K raters.

    A 1×1 convolution, then a link that makes its channels level logits; `softmax` of the output are the level
    probabilities. The output is float32 under every precision policy. Works on any number of spatial axes.

    | link | channels | what a pixel has | level distributions |
    | --- | --- | --- | --- |
    | `"softmax"` | K+1 | K+1 free logits | all; what is learned of one level tells nothing of its neighbours |
    | `"cumulative"` | 1 | a score; K ordered cut-points are shared by all pixels | shifted along one curve |
    | `"nested"` | K | K threshold logits, in order by construction | all, with `P(k >= t)` as the parameters |
    | `"beta_binomial"` | 2 | the chance of a mark, and the correlation of two raters | those of exchangeable raters |

    Args:
        num_raters: Number of raters K, at least 1.
        link: How the channels become levels. Default `"softmax"`, the paper's.
        initial_levels: None, or the K+1 level frequencies of the training data
            (`keras_ordseg.data.level_frequencies`). The head then starts at the prior: its kernel is 0 and its biases
            make its first prediction exactly these frequencies (each at least 1e-6); with `"beta_binomial"`, which has
            two numbers and not K, the distribution of the same mean and variance (variance at least the binomial's).
            Recommended: foreground is rare, and a head that starts uniform stays miscalibrated for long.
        name, dtype, …: As for any Keras layer.

    Input shape:
        `(batch, *spatial, channels)`.

    Output shape:
        `(batch, *spatial, K+1)`, float32.

    Raises:
        ValueError: If an argument is out of range, or the channels of the input are unknown.

    Reference: softmax: Riera-Marín et al., *Multi-Rater Calibrated Segmentation Models*, arXiv 2605.02437; cumulative and
    nested: McCullagh, J. R. Stat. Soc. B 42, 1980; beta-binomial: Skellam, J. R. Stat. Soc. B 10, 1948.

    >>> head = OrdinalHead(num_raters=3, link="nested", initial_levels=[0.7, 0.1, 0.1, 0.1])
    >>> z = head(np.random.default_rng(0).normal(size=(2, 8, 8, 16)))
    >>> tuple(z.shape), [round(float(p), 3) for p in ops.softmax(z)[0, 0, 0]]
    ((2, 8, 8, 4), [0.7, 0.1, 0.1, 0.1])
    """

    def __init__(self, num_raters, link="softmax", initial_levels=None, **kwargs):
        super().__init__(**kwargs)
        self.num_raters = check_num_raters(num_raters)
        if link not in LINKS:
            raise ValueError(f"link: expected one of {tuple(LINKS)}. Received: {link!r}.")
        self.link = link
        self.initial_levels = check_initial_levels(initial_levels, self.num_raters)
        self.supports_masking = True

    def build(self, input_shape):
        channels = input_shape[-1]
        if channels is None:
            raise ValueError(
                f"input: expected features with a known last axis (channels). Received shape {input_shape}."
            )
        link, start = LINKS[self.link], self.initial_levels
        self.kernel = self.add_weight(
            shape=(channels, link.channels(self.num_raters)),
            initializer="glorot_uniform" if start is None else "zeros",
            name="kernel",
        )
        biases = link.biases(np.full(self.num_raters + 1, 1 / (self.num_raters + 1)) if start is None else np.array(start))
        self.bias = self.add_weight(shape=biases.shape, initializer="zeros", dtype="float32", autocast=False, name="bias")
        self.bias.assign(biases.astype("float32"))
        super().build(input_shape)

    def call(self, inputs):
        x = ops.cast(ops.matmul(inputs, self.kernel), "float32")
        return LINKS[self.link].levels(x, ops.convert_to_tensor(self.bias), self.num_raters)

    def levels_for(self, num_raters):
        """This head for another number of raters: a built copy with the same weights.

        Only the beta-binomial link has it: its two numbers, the chance of a mark and the correlation of two raters, do
        not depend on the size of the panel. `OrdinalSegmenter.levels_for` does the same for a whole model.

        Args:
            num_raters: K of the copy, at least 1; it may be larger than this head's.

        Returns:
            A new `OrdinalHead`.

        Raises:
            ValueError: For another link, or a head that was not built.

        >>> x = np.random.default_rng(0).normal(size=(1, 4, 4, 8))
        >>> head = OrdinalHead(3, link="beta_binomial")
        >>> z = head(x)
        >>> tuple(head.levels_for(num_raters=7)(x).shape)
        (1, 4, 4, 8)
        """
        if self.link != "beta_binomial":
            raise ValueError(
                f"num_raters: a head with link={self.link!r} knows only its own K={self.num_raters}; expected "
                "link='beta_binomial', or use ops.thin_levels for fewer raters."
            )
        if not self.built:
            raise ValueError("levels_for: the head has no weights yet; call it on features first.")
        config = {**self.get_config(), "num_raters": check_num_raters(num_raters), "initial_levels": None}
        other = type(self).from_config(config)
        other.build((None, self.kernel.shape[0]))
        other.set_weights(self.get_weights())
        return other

    def compute_output_spec(self, inputs):
        return keras.KerasTensor((*inputs.shape[:-1], self.num_raters + 1), dtype="float32")

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.num_raters + 1)

    def get_config(self):
        return {
            **super().get_config(),
            "num_raters": self.num_raters,
            "link": self.link,
            "initial_levels": self.initial_levels,
        }
