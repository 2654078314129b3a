"""One way to ask any model, an export, a `.keras` file or a server, for `P(k >= t)`."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np

from keras_ordseg.models.described import image_description
from keras_ordseg.ops.resizing import resize_linear
from keras_ordseg.serving._checks import check_model, check_multiples
from keras_ordseg.serving._client import Client
from keras_ordseg.serving._load import load_keras
from keras_ordseg.serving._signatures import readouts, resized_logits

_NAMES = ("at_least", "probability")  # of levels, and of a binary logit


@dataclass(frozen=True)
class Predictor:
    """A model as `predict_files` sees it.

    `ask` takes float32 `(batch, *spatial, channels)` and gives `P(k >= t)`, `(batch, *spatial, K)`, of each output, a single
    one under `""`; of a binary model its probability, K = 1.
    """

    ask: callable
    sides: tuple  # of the image, None where any
    channels: int
    raters: dict  # K of each structure
    binary: frozenset  # structures without levels
    identity: str  # changes when the model does
    card: dict = field(default_factory=dict)
    images: dict = field(default_factory=dict)  # of the training, as models.describe_images has it


def load_predictor(model):
    """The `Predictor` of a `Client`, of an export (its newest version), of one version, or of a `.keras` file.

    Raises:
        FileNotFoundError: If nothing is there.
        ValueError: If it is none of these, or its images are not in [0, 1].
    """
    if isinstance(model, Client):
        return _of_client(model)
    path = Path(model).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"model: there is no {path}.")
    if path.is_file():
        if path.suffix != ".keras":
            raise ValueError(f"model: expected a .keras file, a folder of serving.export, or a URL. Received: {path}.")
        return _of_keras(path)
    if not (path / "saved_model.pb").is_file():
        versions = [int(entry.name) for entry in path.iterdir() if entry.name.isdecimal()]
        if not versions or not (path / str(max(versions)) / "saved_model.pb").is_file():
            raise ValueError(f"model: {path} holds no version of a model; is it the folder that serving.export wrote to?")
        path = path / str(max(versions))
    return _of_saved_model(path)


def _of_client(client):
    signature = client.metadata().get("serving_default")
    if signature is None:
        raise ValueError(f"model: {client} serves no 'serving_default'; was it exported with serving.export?")
    names, shape, raters = _described(signature)
    states = client.versions()
    served = max((version for version, state in states.items() if state == "AVAILABLE"), default=None)
    if served is None:
        raise ValueError(f"model: expected a version that answers; got {states} from {client}. Wait until one is AVAILABLE.")
    return Predictor(
        lambda batch: _maps(client.predict(batch, outputs=list(names)), names),
        *shape,
        raters,
        frozenset(names[name] for name in names if name.endswith(_NAMES[1])),
        f"{client.url} {client.model} {served}",
    )


def _of_saved_model(path):
    import tensorflow as tf

    function = tf.saved_model.load(str(path)).signatures["serving_default"]
    (image,) = function.structured_input_signature[1].values()
    outputs = {name: {"shape": x.shape.as_list()} for name, x in function.structured_outputs.items()}
    names, shape, raters = _described({"inputs": {"image": {"shape": image.shape.as_list()}}, "outputs": outputs})
    card = path / "model_card.json"
    card = json.loads(card.read_text(encoding="utf-8")) if card.is_file() else {}
    if (wanted := card.get("value_range")) not in (None, [0, 1]):
        raise ValueError(f"model: {path} takes images in {wanted}, and files are read into [0, 1].")

    def ask(batch):
        try:
            answer = function(**{image.name: tf.constant(batch)})
        except tf.errors.OpError as error:  # its first line says what is wrong, the others where in the graph
            raise ValueError(str(error.message).splitlines()[0]) from None
        return _maps({name: answer[name].numpy() for name in names}, names)

    binary = frozenset(names[name] for name in names if name.endswith(_NAMES[1]))
    return Predictor(ask, *shape, raters, binary, _digest(path), card, card.get("trained_images") or {})


def _of_keras(path):
    model = load_keras(path, "model")
    shape, outputs = check_model(model)
    multiples = check_multiples(None, model, shape)
    raters = {name or "": max(tensor.shape[-1] - 1, 1) for name, tensor in outputs.items()}
    images = image_description(model) or {}
    size = images["size"] if images.get("fit") == "resize" else None

    def ask(batch):
        own = batch.shape[1:-1]
        if size is not None:
            batch = keras.ops.convert_to_numpy(resize_linear(batch, size))
        sides = batch.shape[1:-1]
        pad = [(0, -side % multiple) for side, multiple in zip(sides, multiples, strict=True)]
        logits = model.predict_on_batch(np.pad(batch, [(0, 0), *pad, (0, 0)], mode="edge"))
        named = logits if isinstance(logits, dict) else {"": logits}
        cut = (slice(None), *(slice(0, side) for side in sides))
        maps = {}
        for name, z in named.items():
            z = keras.ops.convert_to_tensor(z[cut], "float32")
            found = readouts(z if size is None else resized_logits(z, own))
            p = keras.ops.convert_to_numpy(found[_NAMES[0] if _NAMES[0] in found else _NAMES[1]])
            maps[name] = p if z.shape[-1] > 1 else p[..., None]
        return maps

    binary = frozenset(name or "" for name, tensor in outputs.items() if tensor.shape[-1] == 1)
    sides = shape[1:-1] if size is None else (None,) * len(size)
    return Predictor(ask, sides, shape[-1], raters, binary, _digest(path), images=images)


def _described(signature):
    """`{output: structure}` of the maps that are wanted, sides and channels of the image, and K by structure."""
    names = {}
    for name in signature["outputs"]:
        for ending in _NAMES:
            if name == ending or name.endswith(f"_{ending}"):
                names[name] = name.removesuffix(ending).removesuffix("_")
    shape = signature["inputs"].get("image", {}).get("shape")
    if not names or shape is None:
        raise ValueError("model: 'serving_default' gives no 'at_least'; was it exported with serving.export?")
    raters = {
        structure: 1 if name.endswith(_NAMES[1]) else signature["outputs"][name]["shape"][-1]
        for name, structure in names.items()
    }
    return names, (tuple(shape[1:-1]), shape[-1]), raters


def _maps(answer, names):
    return {
        structure: answer[name][..., None] if name.endswith(_NAMES[1]) else answer[name]
        for name, structure in names.items()
    }


def _digest(path):
    """Of a file, or of what a version computes."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    whole = hashlib.sha256()
    for file in files:
        if file.name != "model_card.json" and file.parent.name != "assets.extra":
            with file.open("rb") as stream:
                whole.update(hashlib.file_digest(stream, "sha256").digest())
    return whole.hexdigest()
