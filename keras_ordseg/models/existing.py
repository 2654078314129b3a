"""The ordinal head on a segmentation model that exists already."""

import keras

from keras_ordseg.models._graph import before_last_weights
from keras_ordseg.models.segmenter import OrdinalSegmenter


@keras.saving.register_keras_serializable(package="keras_ordseg")
class SegmenterFeatures(keras.Model):
    """A segmentation model up to the features that its classification layer reads; its layers are shared, not copied.

    Args:
        segmenter: A functional segmentation model of one output.
        name: Name of the model. Default: the segmenter's with `_features`.
    """

    def __init__(self, segmenter, name=None):
        if not isinstance(segmenter, keras.Model) or not getattr(segmenter, "inputs", None):
            raise TypeError(
                "segmenter: expected a functional segmentation model, such as keras_cv.models.DeepLabV3Plus(...). "
                f"Received: {segmenter!r} of type {type(segmenter).__name__}."
            )
        if not isinstance(segmenter.output, keras.KerasTensor):
            raise ValueError(f"segmenter: expected a model of one output. '{segmenter.name}' gives {segmenter.output!r}.")
        features = before_last_weights(segmenter)
        super().__init__(segmenter.inputs[0], [features], name=name or f"{segmenter.name}_features")
        self._segmenter = lambda: segmenter  # not an attribute: the layers left out would count as untrained weights

    @property
    def preprocessor(self):
        """keras-hub's preprocessor of the segmenter, or `None`."""
        return getattr(self._segmenter(), "preprocessor", None)

    def get_config(self):
        return {"segmenter": keras.saving.serialize_keras_object(self._segmenter()), "name": self.name}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        segmenter = keras.saving.deserialize_keras_object(config["segmenter"], custom_objects=custom_objects)
        return cls(segmenter, name=config["name"])


def with_ordinal_head(segmenter, num_raters, decoder_filters=None, name="ordinal_segmenter", **kwargs):
    """Puts an ordinal head on an existing segmentation model, in the place of its classification layer.

    For `keras_cv.models.DeepLabV3Plus` and `SegFormer`, `keras_hub.models.DeepLabV3ImageSegmenter` and
    `SegFormerImageSegmenter`, and any functional model of your own that ends in a classification layer. What comes before
    that layer stays as it is, with its weights, and is shared with the given model; after it come one 3x3 convolution,
    bilinear enlargement to the size of the image, and the head. A classification head of several layers that is one
    layer of the model (that of keras-cv's `DeepLabV3Plus`) goes as a whole.

    Args:
        segmenter: A functional segmentation model of one output.
        num_raters: Number of raters K, or a dict `{structure: K}`.
        decoder_filters: Width of that convolution. Default `None`: that of the features, at most 64.
        name: Name of the model.
        **kwargs: `link`, `structures`, `nested_structures`, `initial_levels`, `dropout`, `preprocessing`, `trainable`,
            `dtype` of `OrdinalSegmenter`.

    Returns:
        An `OrdinalSegmenter`.

    Raises:
        TypeError: If `segmenter` is not a functional Keras model.
        ValueError: If it has several outputs, or no classification layer is found, or an argument is out of range.

    >>> image = keras.Input((None, None, 3))
    >>> x = keras.layers.Conv2D(8, 3, strides=4, padding="same", activation="relu")(image)
    >>> x = keras.layers.UpSampling2D(4)(keras.layers.Conv2D(21, 1)(x))
    >>> with_ordinal_head(keras.Model(image, keras.layers.Softmax()(x)), num_raters=3).output_shape
    (None, None, None, 4)
    """
    features = SegmenterFeatures(segmenter)
    return OrdinalSegmenter(
        features, num_raters, decoder="upsample", decoder_filters=decoder_filters, name=name, **kwargs
    )
