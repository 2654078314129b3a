"""The graph of a functional model: the maps that everything passes through, and what stands before the last layer."""

import keras


def history(tensor):
    """The operation that made a symbolic tensor, and the tensors it was made of."""
    operation, node, _ = tensor._keras_history
    return operation, operation._inbound_nodes[node].input_tensors


def bottlenecks(model):
    """The tensors that every path from the image to the output runs through, and all others, in the order of the graph.

    Of the maps of one size, such a tensor is what the later layers really see: the sum of a residual block or the
    concatenation of an inception block, not one of its branches.

    Args:
        model: A functional Keras model with one input and one output.

    Returns:
        `(names, tensors)`: the names of the bottlenecks as a set, and a dict `{name: tensor}` of all tensors.
    """
    order, stack, opened = {}, [model.output], set()
    while stack:  # depth first, inputs before what is made of them
        tensor = stack[-1]
        before = [x for x in history(tensor)[1] if id(x) not in order]
        if id(tensor) in order or id(tensor) in opened or not before:
            order.setdefault(id(tensor), tensor)
            stack.pop()
        else:
            opened.add(id(tensor))
            stack.extend(before)
    place = {key: index for index, key in enumerate(order)}
    furthest, names, tensors = 0, set(), {}
    reach = dict.fromkeys(order, 0)  # the last tensor that each one is used for
    for key, tensor in order.items():
        for x in history(tensor)[1]:
            reach[id(x)] = max(reach[id(x)], place[key])
    for index, (key, tensor) in enumerate(order.items()):
        name = f"{index}_{history(tensor)[0].name}"
        tensors[name] = tensor
        if furthest <= index:
            names.add(name)
        furthest = max(furthest, reach[key])
    return names, tensors


def before_last_weights(model):
    """What enters the last layer with weights: the features under the classification of a segmentation model.

    Raises:
        ValueError: If no such layer is found on the way back from the output.
    """
    tensor = model.output
    while isinstance(tensor, keras.KerasTensor):
        operation, inputs = history(tensor)
        tensor = inputs[0] if len(inputs) == 1 else None
        if getattr(operation, "weights", None):
            break
    if tensor is None or not history(tensor)[1]:
        raise ValueError(
            f"segmenter: found no classification layer in '{model.name}': going back from its output, the first layer "
            "with weights must have one input, a feature map. Use OrdinalSegmenter on its backbone, or on "
            "keras.Model(segmenter.input, [feature map])."
        )
    return tensor


def first_layers(model, count=2):
    """The first layers after the input of a functional model, seen through models that are used as layers."""
    found = []
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        if isinstance(layer, keras.Model) and not found:
            return first_layers(layer, count)
        found.append(layer)
        if len(found) == count:
            break
    return found
