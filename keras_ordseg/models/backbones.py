"""Feature maps of any backbone, and the small default one."""

import keras

from keras_ordseg.models._blocks import conv_norm_relu, pool

_PROBE = 256  # image side at which the strides of a backbone for images of any size are read


def feature_maps(backbone):
    """The feature maps of a backbone by their true stride, finest first.

    Looked for in this order: `backbone.pyramid_outputs` (keras-hub), `backbone.pyramid_level_inputs` (keras-cv: names
    of layers), the outputs of a functional model that gives a dict or a list. The stride is the ratio of the image's
    side to the map's side, never read from a key: libraries number their levels differently. Where several maps
    share a stride the last one, the deepest, is taken.

    Args:
        backbone: A functional `keras.Model` with one input `(batch, *spatial, channels)`, channels last.

    Returns:
        A dict `{stride: KerasTensor}` in ascending order of the strides, which are powers of two.

    Raises:
        TypeError: If `backbone` is not a functional Keras model.
        ValueError: If no feature maps are found, or their sides do not divide the image's.

    >>> list(feature_maps(small_backbone((None, None, 3), filters=(4, 8, 16))))
    [1, 2, 4]
    """
    image = _single_input(backbone)
    taps = _find_taps(backbone)
    misfits = {name: tuple(tap.shape) for name, tap in taps.items() if len(tap.shape) != len(image.shape)}
    if misfits:
        raise ValueError(
            f"backbone: every feature map of '{backbone.name}' must have the rank of the image, {len(image.shape)}. "
            f"Received also {misfits}. Pass keras.Model(backbone.input, [feature maps]) without these."
        )
    side = tuple(_PROBE if size is None else size for size in image.shape[1:-1])
    shapes = {name: tap.shape for name, tap in taps.items()}
    if None in image.shape[1:-1]:
        shapes = keras.Model(image, taps).compute_output_shape((1, *side, image.shape[-1]))
    strides = {name: _stride(side, shapes[name][1:-1], name, backbone.name) for name in taps}
    return dict(sorted({strides[name]: taps[name] for name in taps}.items()))


def _single_input(backbone):
    """The backbone's input tensor; errors name what is wrong with it."""
    if not isinstance(backbone, keras.Model):
        raise TypeError(
            "backbone: expected a keras.Model such as keras_cv.models.ResNetV2Backbone(...) or "
            f"models.small_backbone(), or None for the default. Received: {backbone!r} of type {type(backbone).__name__}."
        )
    inputs = getattr(backbone, "inputs", None)
    if not inputs:
        raise TypeError(
            f"backbone: '{backbone.name}' is not a functional model, so its feature maps cannot be reached. "
            "Build it as keras.Model(inputs, outputs)."
        )
    if len(inputs) != 1 or not 3 <= len(inputs[0].shape) <= 5 or inputs[0].shape[-1] is None:
        raise ValueError(
            "backbone: expected one input (batch, *spatial, channels) with one to three spatial axes and a known "
            f"number of channels. '{backbone.name}' takes {[tuple(x.shape) for x in inputs]}."
        )
    return inputs[0]


def _find_taps(backbone):
    """`{name: KerasTensor}` of the feature maps, in the backbone's own order."""
    pyramid = getattr(backbone, "pyramid_outputs", None)
    if pyramid:
        return {str(name): tap for name, tap in pyramid.items()}
    try:
        names = getattr(backbone, "pyramid_level_inputs", None)
    except NotImplementedError:  # keras-cv's answer for backbones of one scale
        names = None
    if names:
        return {str(key): backbone.get_layer(name).output for key, name in names.items()}
    output = backbone.output
    if isinstance(output, dict):
        return {str(name): tap for name, tap in output.items()}
    if isinstance(output, (list, tuple)):
        return {str(index): tap for index, tap in enumerate(output)}
    raise ValueError(
        f"backbone: found no feature maps in '{backbone.name}': it has no pyramid_outputs (keras-hub), its "
        "pyramid_level_inputs (keras-cv) are missing or empty, and its output is a single tensor "
        f"of shape {tuple(output.shape)}. Pass keras.Model(backbone.input, [backbone.get_layer(name).output, ...]) "
        "with one layer for each scale."
    )


def _stride(image, tap, name, backbone):
    """The common ratio of the sides of `image` to those of `tap`."""
    ratios = {side / size if size else None for side, size in zip(image, tap, strict=True)}
    ratio = ratios.pop()
    if ratios or ratio is None or ratio != int(ratio) or int(ratio) & (int(ratio) - 1):
        raise ValueError(
            f"backbone: feature map {name!r} of '{backbone}' is {tap} for an image of {image}; expected every side "
            "to be the image's divided by the same power of two. Build the backbone with an input size divisible by "
            "its largest stride (often 32), or with None for any size."
        )
    return int(ratio)


def small_backbone(input_shape=(None, None, 1), filters=(16, 32, 64, 128), name="small_backbone"):
    """A small convolutional encoder that trains on a laptop.

    One level for each entry of `filters`, at strides 1, 2, 4, 8, ...: two times convolution 3, batch normalisation
    and ReLU, then max pooling to the next level: the contracting path of the U-Net.

    Args:
        input_shape: `(*spatial, channels)` with one, two or three spatial axes; `None` for any size.
            Default `(None, None, 1)`.
        filters: Filters of each level, finest first. Default `(16, 32, 64, 128)`.
        name: Name of the model.

    Returns:
        A functional `keras.Model` whose output is a dict of feature maps, `"stride_1"`, `"stride_2"`, ...

    Raises:
        ValueError: If `input_shape` or `filters` cannot be used.

    Reference: Ronneberger, Fischer and Brox, *U-Net*, MICCAI 2015.

    >>> small_backbone((64, 64, 3), filters=(8, 16)).output["stride_2"].shape
    (None, 32, 32, 16)
    """
    rank = len(input_shape) - 1
    if not 1 <= rank <= 3 or input_shape[-1] is None:
        raise ValueError(
            "input_shape: expected (*spatial, channels) with one to three spatial axes and a known number of "
            f"channels. Received: {input_shape}."
        )
    if not filters or any(f < 1 for f in filters):
        raise ValueError(f"filters: expected one positive number for each level. Received: {filters}.")
    image = x = keras.Input(input_shape, name="image")
    outputs = {}
    for level, width in enumerate(filters):
        if level:
            x = pool(x, name=f"level{level}_pool")
        for step in (1, 2):
            x = conv_norm_relu(x, width, name=f"level{level}_{step}")
        outputs[f"stride_{2**level}"] = x
    return keras.Model(image, outputs, name=name)
