"""What is known of a model however it is wrapped: its layers, whether it gives probabilities, the sizes it takes."""

import math

import keras

_SIDE = 97  # a prime: a multiple of it comes back at its size only where the strides divide the other factor
_LARGEST = 256
_SQUASHED = {"sigmoid", "softmax", "hard_sigmoid"}
# Operations after which probabilities are still probabilities
_KEEPING = {
    "Identity", "Reshape", "Cast", "Permute", "Transpose", "Dropout", "GetItem", "Copy", "Flatten", "Squeeze",
    "ExpandDims", "Concatenate", "Stack", "Average", "Resizing", "Resize", "Flip", "BilinearUpsampling",
    "TemperatureScaling", "VectorScaling", "IsotonicCalibration",
}  # fmt: skip
_KEEPING_KINDS = ("UpSampling", "Cropping", "ZeroPadding", "AveragePooling", "MaxPooling", "SpatialDropout")


def layers_inside(model):
    """All layers of a model, those of models and layers inside it too."""
    return model._flatten_layers(include_self=True, recursive=True)


def gives_probabilities(tensor):
    """The layer or operation that makes probabilities of a symbolic output, `None` where there is none to be seen.

    Followed back through models that are used as layers, and through what keeps probabilities: sizes, axes, means, and
    calibrators, which expect logits.
    """
    operation, node, index = tensor._keras_history
    if isinstance(operation, keras.Model) and getattr(operation, "outputs", None):
        return gives_probabilities(operation.outputs[index])
    kind = type(operation).__name__
    activation = getattr(operation, "activation", None)
    made_by = {kind.lower(), getattr(activation, "__name__", ""), type(activation).__name__.lower()}
    if made_by & _SQUASHED or getattr(operation, "output_type", "") == "probability":
        return operation
    passing = kind in _KEEPING or kind.startswith(_KEEPING_KINDS) or kind == "Activation"
    if not passing or getattr(activation, "__name__", "linear") != "linear":
        return None
    before = operation._inbound_nodes[node].input_tensors
    made = [gives_probabilities(x) if hasattr(x, "_keras_history") else None for x in before]
    return made[0] if made and all(layer is not None for layer in made) else None


def size_multiple(model):
    """What the free sides of an image must be multiples of, so that the output has the image's size.

    Read from the graph, whatever is wrapped around it: the smallest number whose multiples come back at their size. Where a
    layer hides its shapes from the graph, the strides of the segmenters inside are all that is known.

    Args:
        model: A functional Keras model of one image.

    Returns:
        Int, 1 where no side is free; `None` where no size comes back.
    """
    shape = model.inputs[0].shape[1:-1]
    powers = [2**i for i in range(_LARGEST.bit_length())]
    odd = [m for m in range(3, 65) if m not in powers]
    hidden = True
    for multiple in [*powers, *odd] if None in shape else [1]:
        sides = tuple(_SIDE * multiple if side is None else side for side in shape)
        found = output_sides(model, sides)
        if found is None:
            continue
        hidden = any(None in each for each in found)
        if hidden:
            break
        if all(each == sides for each in found):
            return multiple
    strides = (vars(layer).get("strides") for layer in layers_inside(model) if isinstance(layer, keras.Model))
    return math.lcm(*(each[-1] for each in strides if each)) if hidden else None


def output_sides(model, sides):
    """The sides of each output for an image of these sides, by the graph alone; `None` where it cannot be computed."""
    image = keras.KerasTensor((1, *sides, model.inputs[0].shape[-1]), model.inputs[0].dtype)
    try:
        found = keras.tree.flatten(model.compute_output_spec(image))
    except Exception:  # layers and backends have their own ways to refuse a size
        return None
    return [tuple(x.shape[1:-1]) for x in found]
