"""An exported signature as a LiteRT or an ONNX file."""

import json
import os
import pathlib

import numpy as np

_FORMATS = (".tflite", ".onnx")
_TOLERANCE = 1e-4
_SIDES = {1: 1024, 2: 32, 3: 16}  # of the images that the result is checked on, where the model takes any size


def convert(version, path, signature="serving_default"):
    """Converts one signature of an exported version to LiteRT or ONNX, and compares the result with the SavedModel.

    The calibrator and the padding of images stay inside; the names of inputs and outputs stay the same, and so do free
    sizes. The checks of the values of an image are left out by both converters. The file is kept only where it gives the
    SavedModel's numbers on two random images: to 1e-4, areas relatively, and masks with at most 0.1 % of the pixels on
    the other side of 1/2.

    Args:
        version: Folder that `export` returned.
        path: The file to write, replaced where it is there: `.tflite` for LiteRT, `.onnx` for ONNX.
        signature: `"serving_default"` (default), `"contours"` or `"summary"`. `encoded` decodes files, which neither
            format can.

    Returns:
        `pathlib.Path` of the file.

    Raises:
        ValueError: For another ending or signature, a folder without a SavedModel, or a model of half precision.
        ImportError: Without the packages of the format: `pip install "keras_ordseg[convert]"`.
        RuntimeError: Where the converter gives up, or its result differs.

    >>> convert("models/1", "model.pb")
    Traceback (most recent call last):
    ValueError: path: expected a file that ends in .tflite or .onnx. Received: 'model.pb'.
    """
    version, path = pathlib.Path(version).expanduser(), pathlib.Path(path).expanduser()
    if path.suffix not in _FORMATS:
        raise ValueError(f"path: expected a file that ends in {' or '.join(_FORMATS)}. Received: '{path}'.")
    if not (version / "saved_model.pb").is_file():
        raise ValueError(
            f"version: expected the folder of an exported version, as serving.export returns it. Received: '{version}'."
        )
    to_bytes, runner = (_litert, _litert_runner) if path.suffix == ".tflite" else (_onnx, _onnx_runner)
    _require_packages(path.suffix)
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(version))
    except Exception as error:  # of damaged files, each in its own kind
        raise ValueError(f"version: '{version}' cannot be loaded. TensorFlow says: {_first_line(error)}") from error
    there = [name for name in loaded.signatures if name != "encoded"]
    if signature not in there:
        raise ValueError(f"signature: expected one of {there}. Received: {signature!r}.")
    serve = loaded.signatures[signature]
    _refuse_graph(serve)
    try:
        content = to_bytes(serve, str(version), signature)
    except Exception as error:  # each converter raises its own kinds
        raise RuntimeError(
            f"The converter to {path.suffix} cannot take the signature '{signature}' of '{version}': {_first_line(error)}"
        ) from error
    spec = serve.structured_input_signature[1]["image"].shape
    sides = [_SIDES[len(spec) - 2] if side is None else side for side in spec[1:-1]]
    low, high = _value_range(version / "model_card.json")
    image = np.random.default_rng(0).uniform(low, high, (2, *sides, spec[-1])).astype("float32")
    wanted = {name: value.numpy() for name, value in serve(image=tf.constant(image)).items()}
    try:
        found = runner(content, signature)(image)
    except Exception as error:  # onnxruntime and LiteRT have their own kinds
        raise RuntimeError(
            f"The {path.suffix} file of the signature '{signature}' cannot be run: {_first_line(error)} Nothing was written."
        ) from error
    _compare(wanted, found, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        unfinished.write_bytes(content)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def _first_line(error):
    """What an outside tool says, on one line of at most 500 characters, with a full stop."""
    text = " ".join(str(error).split())[:500] or type(error).__name__
    return text if text.endswith(".") else f"{text}."


def _value_range(card):
    """The range of values of the export, [0, 1] where its card is not there or does not say."""
    try:
        return json.loads(card.read_text(encoding="utf-8"))["value_range"] or (0, 1)
    except (OSError, ValueError, KeyError, TypeError):
        return 0, 1


def _require_packages(suffix):
    try:
        import tensorflow  # noqa: F401

        if suffix == ".onnx":
            import onnxruntime  # noqa: F401
            import tf2onnx  # noqa: F401
    except ImportError as error:
        raise ImportError(f'{error.name} is needed for {suffix} files: pip install "keras_ordseg[convert]"') from error


def _refuse_graph(serve):
    """What both converters fail at, with a message that neither gives."""
    import tensorflow as tf

    graph = serve.graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    half = {dtype.as_datatype_enum for dtype in (tf.float16, tf.bfloat16)}
    if any(attribute.type in half for node in nodes for attribute in node.attr.values()):
        raise ValueError(
            "version: the model computes in half precision, which the converters do not take. Export it once more with "
            "serving.export(..., dtype='float32')."
        )
    if any(node.op == "XlaCallModule" for node in nodes):
        raise ValueError(
            "version: it was exported under KERAS_BACKEND=jax, whose graphs the converters do not take. Save the model with "
            "model.save('model.keras') and export it in a process with KERAS_BACKEND=tensorflow."
        )


def _litert(serve, version, signature):
    import tensorflow as tf

    return tf.lite.TFLiteConverter.from_saved_model(version, signature_keys=[signature]).convert()


def _litert_runner(content, signature):
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:  # TensorFlow still brings one
        import tensorflow as tf

        Interpreter = tf.lite.Interpreter
    runner = Interpreter(model_content=content).get_signature_runner(signature)
    return lambda image: runner(image=image)


def _onnx(serve, version, signature):
    import tensorflow as tf
    import tf2onnx

    spec = tf.TensorSpec(serve.structured_input_signature[1]["image"].shape, tf.float32, name="image")
    function = tf.function(lambda image: serve(image=image), autograph=False)
    handlers = {"Log1p": (_log1p, []), "Expm1": (_expm1, [])}
    model, _ = tf2onnx.convert.from_function(function, input_signature=[spec], custom_op_handlers=handlers)
    return model.SerializeToString()


def _log1p(graph, node, name, args):
    """`log(1 + x)`: tf2onnx has no rule for it. What the sum rounds off is far below the tolerance."""
    added = graph.make_node("Add", [node.input[0], _one(graph, node)])
    node.type = "Log"
    graph.replace_input(node, node.input[0], added.output[0], 0)
    return node


def _expm1(graph, node, name, args):
    """`exp(x) - 1`, the same."""
    raised = graph.make_node("Exp", [node.input[0]])
    node.type = "Sub"
    graph.replace_inputs(node, [raised.output[0], _one(graph, node)])
    return node


def _one(graph, node):
    from tf2onnx.utils import make_name, map_onnx_to_numpy_type

    kind = map_onnx_to_numpy_type(graph.get_dtype(node.input[0]))
    return graph.make_const(make_name("one"), np.array(1, kind)).output[0]


def _onnx_runner(content, signature):
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda image: dict(zip(names, session.run(names, {"image": image}), strict=True))


def _compare(wanted, found, path):
    if set(wanted) != set(found):
        raise RuntimeError(f"The converter to {path.suffix} changed the outputs from {sorted(wanted)} to {sorted(found)}.")
    for name, want in wanted.items():
        have = np.asarray(found[name])
        good = have.shape == want.shape and have.dtype == want.dtype
        if good and want.dtype.kind == "f":
            good = np.all(np.abs(have - want) <= _TOLERANCE * np.maximum(np.abs(want), 1))
        elif good and want.dtype != bool:  # a share on the very threshold may fall to either side
            good = np.mean(have != want) <= 1e-3
        if not good:
            raise RuntimeError(
                f"The {path.suffix} file would differ from the SavedModel in '{name}' by more than {_TOLERANCE:g}; nothing "
                "was written."
            )
