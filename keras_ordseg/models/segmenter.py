"""The ordinal segmenter."""

import functools

import keras

from keras_ordseg.layers.head import OrdinalHead
from keras_ordseg.models._arguments import per_structure, plain, structure_names
from keras_ordseg.models._base import Segmenter
from keras_ordseg.models._nesting import inside_levels, nest


@keras.saving.register_keras_serializable(package="keras_ordseg")
class OrdinalSegmenter(Segmenter):
    """Image to level logits: for each pixel a distribution over how many of the K raters mark it.

    Backbone, decoder, and an `OrdinalHead` on features of the image's size. The model is an ordinary functional
    Keras model: `compile`, `fit`, `.keras` files and freezing work as usual, and no loss or metric is inside.

    Args:
        backbone: A backbone of keras-cv, keras-hub or `keras.applications`, or any functional model in which feature
            maps are found (see `feature_maps`), of any image size and number of channels. Default `None`:
            `small_backbone`.
        num_raters: Number of raters K, or a dict `{structure: K}`.
        decoder: `"fpn"` (the paper's, default), `"unet"`, `"attention_unet"`, `"deeplabv3plus"`, or `"upsample"` for a
            backbone of one scale.
        link: Link of the head, `"softmax"` (default), `"cumulative"`, `"nested"` or `"beta_binomial"`, see `OrdinalHead`.
        structures: Names such as `("disc", "cup")`: the output is then a dict `{structure: level logits}`, for which
            Keras takes a dict of losses. Default `None`: one output.
        nested_structures: Whether each structure lies inside the one before it, as the cup in the disc. Its level is
            then the smaller of the outer one's and one of its own (`layers.NestedLevels`), so that no read-out of the inner
            structure can exceed that of the outer. The panels must be of one size. Default `False`.
        initial_levels: The K+1 level frequencies of the training data (`data.level_frequencies`) at which the model
            starts, or a dict of them by structure. Default `None`: it starts at random.
        decoder_filters: Width of the decoder, see `fpn_decoder` and `unet_decoder`. Default `None`: from the
            backbone's.
        dropout: Rate of spatial dropout (whole channels) before the head. Default 0.
        input_channels: Channels of the image, for `backbone=None`; or 1 for grey images on a backbone of three channels,
            which sees them three times. Default `None`: the backbone's, 3 without one.
        preprocessing: What is done inside the model to images in [0, 1] before the backbone sees them, so that serving and
            training agree: `"auto"` (default) knows keras-cv, `keras.applications` and keras-hub segmenters; `None`,
            `"0-255"`, `"tf"`, `"torch"`, `"caffe"`, a keras-hub `ImageConverter` or any Keras layer, see `input_scaling`.
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
        preprocessing="auto",
        nested_structures=False,
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
        labels = {structure: structure or "levels" for structure in names}
        if nested_structures:
            levels = inside_levels(names, raters, levels)
            labels = {structure: f"{structure}_inside" if i else structure for i, structure in enumerate(names)}
        heads = {
            structure: functools.partial(OrdinalHead, raters[structure], link, levels[structure], name=labels[structure])
            for structure in names
        }
        super().__init__(
            heads,
            backbone,
            decoder,
            decoder_filters,
            dropout,
            input_channels,
            preprocessing,
            name,
            trainable,
            dtype,
            join=nest if nested_structures else None,
        )
        self._settings = {
            "num_raters": plain(num_raters, int),
            "link": link,
            "structures": None if structures is None else list(names),
            "nested_structures": bool(nested_structures),
            "initial_levels": plain(initial_levels, float),
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
