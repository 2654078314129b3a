"""A client of a served model: images in, NumPy arrays out."""

import os
import re
from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path

import numpy as np

from keras_ordseg.serving._client_address import parse
from keras_ordseg.serving._client_errors import ServingError
from keras_ordseg.serving._client_grpc import Grpc
from keras_ordseg.serving._client_rest import Rest


class Client:
    """A model served by TensorFlow Serving, over REST or gRPC.

    REST needs nothing but the standard library, and sends numbers as text; gRPC
    (`pip install "keras_ordseg[serving]"`) sends them as they are, many times faster for maps. Over REST the signature
    `encoded` shortens what is sent: it takes PNG and JPEG files.

    Args:
        url: `"http://host:8501"` or `"https://..."` for REST, `"grpc://host:8500"` for gRPC without encryption. REST takes
            `"https://user:password@host"`, sent as basic authentication and never shown. The proxies of the environment
            are used, except for this machine (`localhost`, `127.0.0.1`).
        model: Name under which the model is served. Default `"segmenter"`.
        version: Version of the model. Default `None`: the newest.
        timeout: Seconds to wait for one whole answer. Default 30.

    Raises:
        ValueError: If an argument is not of this kind.
        ImportError: For gRPC where `tensorflow-serving-api` is missing.

    >>> client = Client("http://localhost:8501", timeout=0.5)
    >>> client
    Client('http://localhost:8501', model='segmenter')
    >>> client.predict([[0.5]], "summary")
    Traceback (most recent call last):
        ...
    ValueError: images: expected a batch (batch, *spatial, channels), one image as image[None]. Received shape (1, 1).
    """

    def __init__(self, url, model="segmenter", version=None, timeout=30.0):
        address = parse(url)
        if not isinstance(model, str) or not re.fullmatch(r"[\w.-]+", model):
            raise ValueError(f"model: expected the name of a served model, as 'segmenter'. Received: {model!r}.")
        if version is not None and (not isinstance(version, Integral) or isinstance(version, bool) or version < 0):
            raise ValueError(f"version: expected a number such as 1, or None. Received: {version!r}.")
        if not isinstance(timeout, Real) or not 0 < timeout < float("inf"):
            raise ValueError(f"timeout: expected seconds, above 0. Received: {timeout!r}.")
        self.url, self.model, self.version = address.url, model, version
        transport = Grpc if address.scheme == "grpc" else Rest
        self._transport = transport(address, model, None if version is None else int(version), timeout)
        self._signatures = None

    def predict(self, images, signature="serving_default", outputs=None):
        """What the model says of a batch of images.

        Args:
            images: A batch `(batch, *spatial, channels)` of numbers in [0, 1], as in training; a single image is
                `image[None]`. For the signature `encoded`: the bytes of a PNG or JPEG file, its path, or a list of them.
            signature: `"serving_default"` (default), `"contours"`, `"summary"` or `"encoded"`; see `export`.
            outputs: Names of the outputs that are wanted. Default `None`: all. Over gRPC the others are not sent.

        Returns:
            Dict of NumPy arrays by output.

        Raises:
            ValueError: If `images` does not fit the signature.
            ConnectionError: If no server answers.
            TimeoutError: If the answer takes longer than `timeout`.
            ServingError: If the server refuses the request, with its message; if it sends elsewhere, or the answer is not
                TensorFlow Serving's.
        """
        files = _files(images)
        if (files is not None) != (signature == "encoded"):
            raise ValueError(
                "images: the signature 'encoded' takes the bytes or paths of PNG and JPEG files, the others take arrays. "
                f"Received {'files' if files is not None else 'an array'} for {signature!r}."
            )
        if files is not None:
            name, values = "encoded", files
        else:
            name, values = "image", _batch(images)
        if outputs is not None:
            outputs = [outputs] if isinstance(outputs, str) else list(outputs)
        try:
            answer = self._transport.predict(signature, name, values, outputs, lambda: self._outputs(signature))
        except ServingError as error:
            if files is None and error.status == "INVALID_ARGUMENT" and self._without_batch(signature, values):
                raise ServingError(
                    f"images: expected a batch (batch, *spatial, channels), one image as image[None]. Received shape "
                    f"{values.shape}, one axis less than {signature!r} takes. {error}",
                    error.status,
                ) from None
            raise
        if outputs is not None and (missing := [key for key in outputs if key not in answer]):
            raise ValueError(f"outputs: {signature!r} gives no {missing}. There are: {list(self._outputs(signature))}.")
        return answer

    def metadata(self):
        """Inputs and outputs of each signature, `{signature: {"inputs": {name: {"dtype", "shape"}}, "outputs": ...}}`."""
        self._signatures = self._transport.signatures()
        return self._signatures

    def versions(self):
        """`{version: state}` of what the server holds of the model; `"AVAILABLE"` versions answer."""
        return self._transport.states()

    def ready(self):
        """Whether the server is there and the model answers. An address that is wrong looks like a server that is late."""
        try:
            return "AVAILABLE" in self.versions().values()
        except (ConnectionError, TimeoutError):
            return False
        except ServingError as error:
            if error.status in ("NOT_FOUND", "UNAVAILABLE"):
                return False
            raise

    def close(self):
        """Closes the connection; also at the end of `with Client(...) as client:`."""
        self._transport.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def __repr__(self):
        version = "" if self.version is None else f", version={self.version}"
        return f"Client({self.url!r}, model={self.model!r}{version})"

    def _without_batch(self, signature, values):
        """Whether the server refused a single image; asked of it only then. False where it does not say."""
        try:
            shape = (self._signatures or self.metadata())[signature]["inputs"]["image"]["shape"]
        except (ServingError, OSError, KeyError):
            return False
        return shape is not None and len(shape) == values.ndim + 1

    def _outputs(self, signature):
        if self._signatures is None or signature not in self._signatures:
            self.metadata()
        if signature not in self._signatures:
            raise ServingError(f"{self.url}: answers {signature!r} and does not describe it.", "UNKNOWN")
        return self._signatures[signature]["outputs"]


def _files(images):
    """The bytes of one or several encoded files, or None where `images` are numbers."""
    if isinstance(images, bytes | str | os.PathLike):
        images = [images]
    if not isinstance(images, Sequence) or not images or not all(isinstance(x, bytes | str | os.PathLike) for x in images):
        return None
    return [x if isinstance(x, bytes) else Path(x).read_bytes() for x in images]


def _batch(images):
    try:
        array = np.asarray(images)
    except ValueError as error:
        raise ValueError(f"images: expected images of one size, one request for each size ({error}).") from None
    if array.dtype.kind not in "fiub":
        raise ValueError(f"images: expected numbers in [0, 1]. Received an array of {array.dtype}.")
    if array.ndim < 3:
        raise ValueError(
            "images: expected a batch (batch, *spatial, channels), one image as image[None]. "
            f"Received shape {array.shape}."
        )
    if not array.size:
        raise ValueError(f"images: expected at least one image with pixels. Received shape {array.shape}.")
    return array.astype(np.float32)
