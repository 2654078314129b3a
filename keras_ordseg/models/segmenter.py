"""The models: an ordinal segmenter, and the binary baseline on the same network."""

import functools

import keras

from keras_ordseg.layers.head import OrdinalHead
from keras_ordseg.models._base import Segmenter, per_structure, structure_names
from keras_ordseg.models._binary_head import BinaryHead


@keras.saving.register_keras_serializable(package="keras_ordseg")
class OrdinalSegmenter(Segmenter):
    """Image to level logits: for each pixel a distribution over how many of the K raters mark it.

    Backbone, decoder, and an `OrdinalHead` on features of the image's size. The model is an ordinary functional
    Keras model: `compile`, `fit`, `.keras` files and freezing work as usual, and no loss or metric is inside.

    Args:
        backbone: A keras-cv or keras-hub backbone or any functional model whose outputs are feature maps (see
            `feature_maps`), of any image size and number of channels. Default `None`: `small_backbone`. Images come
            in [0, 1], so a keras-cv backbone wants `include_rescaling=False`.
        num_raters: Number of raters K, or a dict `{structure: K}`.
        decoder: `"fpn"` (the paper's, default) or `"unet"`.
        link: Link of the head, `"softmax"` (default), `"cumulative"`, `"nested"` or `"beta_binomial"`, see `OrdinalHead`.
        structures: Names such as `("disc", "cup")`: the output is then a dict `{structure: level logits}`, for which
            Keras takes a dict of losses. Default `None`: one output.
        initial_levels: The K+1 level frequencies of the training data (`data.level_frequencies`) at which the model
            starts, or a dict of them by structure. Default `None`: it starts at random.
        decoder_filters: Width of the decoder, see `fpn_decoder` and `unet_decoder`. Default `None`: from the
            backbone's.
        dropout: Rate of spatial dropout (whole channels) before the head. Default 0.
        input_channels: Channels of the image; only for `backbone=None`. Default `None`: 3.
        name: Name of the model.
        trainable: `False` freezes the whole model. Default `True`.
        dtype: Dtype policy of the layers made here. Default `None`: the global policy. The backbone keeps its own; a
            saved model comes back under the policy it was built with.

    Input shape:
        `(batch, *spatial, channels)`, float32, every side divisible by the backbone's largest stride.

    Output shape:
        `(batch, *spatial, K+1)`, float32 under every policy, or a dict of them.

    Raises:
        ValueError: If an argument is out of range, no feature maps are found, or an image does not fit.
        TypeError: If the backbone is not a functional Keras model.

    >>> from keras_ordseg.models import small_backbone
    >>> model = OrdinalSegmenter(small_backbone((None, None, 1), filters=(4, 8)), num_raters=3)
    >>> model.output_shape
    (None, None, None, 4)
    >>> model(keras.ops.zeros((1, 32, 64, 1))).shape == (1, 32, 64, 4)
    True

    Reference: Riera-Marín et al., *Multi-Rater Calibrated Segmentation Models*, arXiv 2605.02437; the decoders'
    references are in `fpn_decoder` and `unet_decoder`.
    """

    def __init__(
        self,
        backbone=None,
        num_raters=None,
        decoder="fpn",
        link="softmax",
        structures=None,
        initial_levels=None,
        decoder_filters=None,
        dropout=0.0,
        input_channels=None,
        name="ordinal_segmenter",
        trainable=True,
        dtype=None,
    ):
        if num_raters is None:
            raise ValueError(
                "num_raters: expected the number of raters K, or a dict {structure: K}. Received: None."
            )
        names = structure_names(structures)
        raters = per_structure(num_raters, "num_raters", names)
        levels = per_structure(initial_levels, "initial_levels", names)
        heads = {
            structure: functools.partial(
                OrdinalHead, raters[structure], link, levels[structure], name=structure or "levels"
            )
            for structure in names
        }
        super().__init__(
            heads, backbone, decoder, decoder_filters, dropout, input_channels, name, trainable, dtype
        )
        self._settings = {
            "num_raters": _plain(num_raters, int),
            "link": link,
            "structures": None if structures is None else list(names),
            "initial_levels": _plain(initial_levels, float),
        }

    def levels_for(self, num_raters):
        """This model for another number of raters: a copy with the same weights. Only for `link="beta_binomial"`.

        Args:
            num_raters: K of the copy, or a dict by structure; it may be larger than this model's.

        Returns:
            A new `OrdinalSegmenter`.

        Raises:
            ValueError: For another link; `ops.thin_levels` reads those for fewer raters.
        """
        link = self._settings["link"]
        if link != "beta_binomial":
            raise ValueError(
                f"num_raters: a model with link={link!r} knows only its own K; expected link='beta_binomial', or use "
                "ops.thin_levels for fewer raters."
            )
        config = {**self.get_config(), "num_raters": num_raters, "initial_levels": None}
        other = type(self).from_config(config)
        other.set_weights(self.get_weights())
        return other

    def get_config(self):
        return {**super().get_config(), **self._settings}


@keras.saving.register_keras_serializable(package="keras_ordseg")
class BinarySegmenter(Segmenter):
    """Image to one foreground logit: the baseline of an `OrdinalSegmenter`, the same network but for its last layer.

    Built after the same `keras.utils.set_random_seed`, both have the same weights in backbone and decoder.

    Args:
        backbone, decoder, structures, decoder_filters, dropout, input_channels, name, trainable, dtype: As for
            `OrdinalSegmenter`.
        initial_probability: Mean vote of the training data, in (0, 1), at which the model starts: the last bias is
            its logit and the last kernel 0; or a dict by structure. Default `None`: it starts at random.

    Output shape:
        `(batch, *spatial, 1)`, float32 under every policy, or a dict of them. Every metric of the package takes it.

    Raises:
        ValueError: As for `OrdinalSegmenter`, or for a probability outside (0, 1).
        TypeError: If the backbone is not a functional Keras model.

    >>> from keras_ordseg.models import small_backbone
    >>> model = BinarySegmenter(small_backbone((None, None, 1), filters=(4, 8)), initial_probability=0.1)
    >>> round(float(keras.ops.sigmoid(model(keras.ops.zeros((1, 8, 8, 1))))[0, 0, 0, 0]), 4)
    0.1
    """

    def __init__(
        self,
        backbone=None,
        decoder="fpn",
        structures=None,
        initial_probability=None,
        decoder_filters=None,
        dropout=0.0,
        input_channels=None,
        name="binary_segmenter",
        trainable=True,
        dtype=None,
    ):
        names = structure_names(structures)
        start = per_structure(initial_probability, "initial_probability", names)
        heads = {
            structure: functools.partial(BinaryHead, start[structure], name=structure or "foreground")
            for structure in names
        }
        super().__init__(
            heads, backbone, decoder, decoder_filters, dropout, input_channels, name, trainable, dtype
        )
        self._settings = {
            "structures": None if structures is None else list(names),
            "initial_probability": _plain(initial_probability, float),
        }

    def get_config(self):
        return {**super().get_config(), **self._settings}


def _plain(value, kind):
    """A number, numbers in a row, or a dict of these by structure, ready for a configuration file."""
    if value is None:
        return None
    if isinstance(value, dict):
        return {name: _plain(item, kind) for name, item in value.items()}
    return [kind(item) for item in value] if hasattr(value, "__len__") else kind(value)
