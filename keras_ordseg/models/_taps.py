"""Where the feature maps of a backbone are, and at which strides."""

import math

import keras

from keras_ordseg.models._graph import bottlenecks
from keras_ordseg.models._tokens import token_grid, tokens_to_map

_PROBE = 512  # image side at which the strides of a backbone for images of any size are read
_SHORTEST = 0.8  # of the side that its stride promises, what unpadded convolutions may leave of a map


def named_taps(backbone):
    """`{name: KerasTensor}` of the feature maps that the backbone itself names, in its order; None if there are none."""
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
    return None


def named_maps(backbone, image, taps):
    """The maps that the backbone names: `{stride: (tensor, whether its size is exact)}`."""
    patch = getattr(backbone, "patch_size", None)
    grids = {name: token_grid(tap.shape, image.shape, patch) for name, tap in taps.items()}
    taps = {
        name: tokens_to_map(tap, image, grids[name], f"{backbone.name}_{name}") if grids[name] else tap
        for name, tap in taps.items()
    }
    misfits = {name: tuple(tap.shape) for name, tap in taps.items() if len(tap.shape) != len(image.shape)}
    if misfits:
        raise ValueError(
            f"backbone: every feature map of '{backbone.name}' must have the rank of the image, {len(image.shape)}. "
            f"Received also {misfits}. Pass keras.Model(backbone.input, [feature maps]) without these."
        )
    side, sizes = _probe(image, taps)
    found = {}
    for name, tap in taps.items():
        stride = grids[name][0] if grids[name] else _stride(side, sizes[name])
        if stride is None:
            raise ValueError(
                f"backbone: feature map {name!r} of '{backbone.name}' is {sizes[name]} for an image of {side}; expected "
                "every side to be the image's divided by the same power of two. Build the backbone with an input size "
                "divisible by its largest stride (often 32), or with None for any size."
            )
        found[stride] = (tap, _is_exact(side, sizes[name], stride))
    return found


def scanned_maps(backbone, image):
    """The maps found in the graph of a model with a single output: `{stride: (tensor, whether its size is exact)}`."""
    if not isinstance(backbone.output, keras.KerasTensor):
        raise ValueError(f"backbone: expected feature maps as outputs of '{backbone.name}'. Received: {backbone.output!r}.")
    names, tensors = bottlenecks(backbone)
    maps = {name: x for name, x in tensors.items() if len(x.shape) == len(image.shape) and x.shape[-1] is not None}
    side, sizes = _probe(image, maps)
    found, sure = {}, set()
    for name, tensor in maps.items():
        stride = _stride(side, sizes[name])
        prepared = stride == 1 and tensor.shape[-1] == image.shape[-1]  # rescaled, normalised: still the image
        if stride is None or prepared or min(sizes[name]) == 1:
            continue
        if name in names or stride not in sure:
            found[stride] = (tensor, _is_exact(side, sizes[name], stride))
        if name in names:
            sure.add(stride)
    if found:
        coarsest = max(sure, default=max(found))
        return {stride: item for stride, item in found.items() if stride <= coarsest}
    grid = token_grid(backbone.output.shape, image.shape, getattr(backbone, "patch_size", None))
    if grid is None:
        raise ValueError(
            f"backbone: found no feature maps in '{backbone.name}': it has no pyramid_outputs (keras-hub), its "
            "pyramid_level_inputs (keras-cv) are missing or empty, and no tensor of its graph has the image's sides "
            f"divided by a power of two; its output has shape {tuple(backbone.output.shape)}. Pass "
            "keras.Model(backbone.input, [map, ...]) with one map (batch, *spatial, channels) for each scale, and an "
            "input size divisible by the largest stride (often 32), or None for any size."
        )
    return {grid[0]: (tokens_to_map(backbone.output, image, grid, backbone.name), True)}


def _probe(image, taps):
    """The sides of an image, and those of every map for it."""
    side = tuple(_PROBE if size is None else size for size in image.shape[1:-1])
    if None not in image.shape[1:-1]:
        return side, {name: tuple(tap.shape[1:-1]) for name, tap in taps.items()}
    try:
        shapes = keras.Model(image, taps).compute_output_shape((1, *side, image.shape[-1]))
    except ValueError as error:
        raise ValueError(
            f"backbone: its graph, built for images of any size, cannot be computed for {side}. Build the backbone with a "
            f"fixed input size divisible by its largest stride (often 32). Keras says: {error}"
        ) from error
    return side, {name: tuple(shape[1:-1]) for name, shape in shapes.items()}


def _stride(image, tap):
    """The power of two that divides every side of the image into that of the map, or almost; None if there is none."""
    ratio = min(side / size if size else 0 for side, size in zip(image, tap, strict=True))
    if ratio < 1:
        return None
    stride = 2 ** round(math.log2(ratio))
    fits = all(
        side % stride == 0 and _SHORTEST * (side // stride) <= size <= side // stride
        for side, size in zip(image, tap, strict=True)
    )
    return stride if fits else None


def _is_exact(image, tap, stride):
    return all(size * stride == side for side, size in zip(image, tap, strict=True))
