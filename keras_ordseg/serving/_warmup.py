"""Requests that TensorFlow Serving answers for itself before it takes others, so that the first client does not wait."""

import io

import numpy as np
from PIL import Image


def write_warmup(path, name, requests):
    """Writes `assets.extra/tf_serving_warmup_requests` of a SavedModel: a TFRecord of `PredictionLog` messages.

    The few nested fields are written in the wire format of protocol buffers here, so that `tensorflow-serving-api` is
    not needed for it: `PredictionLog.predict_log = 6`, `PredictLog.request = 1`, `PredictRequest.model_spec = 1` and
    `.inputs = 2`, `ModelSpec.name = 1` and `.signature_name = 3`.

    Args:
        path: Folder of the SavedModel.
        name: Name of the model.
        requests: List of `(signature, {input: array})`.

    Reference: TensorFlow Serving, *SavedModel Warmup*.
    """
    import tensorflow as tf

    folder = path / "assets.extra"
    folder.mkdir()
    with tf.io.TFRecordWriter(str(folder / "tf_serving_warmup_requests")) as writer:
        for signature, inputs in requests:
            request = _field(1, _field(1, name.encode()) + _field(3, signature.encode()))
            for key, array in inputs.items():
                tensor = tf.make_tensor_proto(array).SerializeToString()
                request += _field(2, _field(1, key.encode()) + _field(2, tensor))
            writer.write(_field(6, _field(1, request)))


def warmup_requests(signatures, sample):
    """One request for each of the named signatures, of a batch of images in [0, 1]."""
    return [
        (name, {"encoded": [_png(image) for image in sample]} if name == "encoded" else {"image": sample})
        for name in signatures
    ]


def _png(image):
    pixels = np.rint(255 * np.clip(image, 0, 1)).astype("uint8")
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, "PNG")
    return file.getvalue()


def _field(number, payload):
    """A length-delimited field."""
    return bytes([number << 3 | 2]) + _varint(len(payload)) + payload


def _varint(value):
    parts = []
    while True:
        value, low = value >> 7, value & 0x7F
        parts.append(low | (0x80 if value else 0))
        if not value:
            return bytes(parts)
