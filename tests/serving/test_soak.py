"""A server under many requests, some of them malformed: every good one right, every bad one an error, memory flat."""

import io
import itertools
import json
import os
import pathlib
import re
import subprocess
import sys
import urllib.error
import urllib.request

import numpy as np
import pytest
from PIL import Image

from keras_ordseg.models import OrdinalSegmenter, small_backbone
from keras_ordseg.serving import Client, export
from tests.serving.test_encoded import claims
from tests.serving.test_export import shaken

tf = pytest.importorskip("tensorflow")
grpc = pytest.importorskip("grpc", reason="the stand-in server needs pip install 'keras_ordseg[serving]'")
pytest.importorskip("tensorflow_serving.apis", reason="the stand-in server needs pip install 'keras_ordseg[serving]'")

STAND_IN = pathlib.Path(__file__).with_name("stand_in.py")
SIDES = [(16, 16), (24, 17), (9, 40)]
GROWTH = 64 * 2**20  # bytes that the server may grow by after the first 50 requests; one leaked 5 MB request in 100 is more


def resident(process):
    """Bytes of a process in memory."""
    pages = int(pathlib.Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def png(image):
    file = io.BytesIO()
    Image.fromarray(np.rint(255 * image[..., 0]).astype("uint8")).save(file, "PNG")
    return file.getvalue()


def good_requests(signatures, rng):
    """`(signature, images, what is wanted)`."""
    requests = []
    for sides in SIDES:
        images = rng.integers(0, 256, (2, *sides, 1)).astype("float32") / 255
        for name in ("serving_default", "contours", "summary", "encoded"):
            sent = [png(image) for image in images] if name == "encoded" else images
            wanted = signatures[name](**{"encoded" if name == "encoded" else "image": tf.constant(sent)})
            requests.append((name, sent, {key: value.numpy() for key, value in wanted.items()}))
    return requests


def bad_requests(picture):
    """Name -> (signature, `{input: array}`, words of the answer)."""
    image = np.zeros((1, 8, 8, 1), "float32")
    whole = png(np.random.default_rng(0).random((64, 64, 1)))
    return {
        "dtype": ("serving_default", {"image": np.zeros((1, 8, 8, 1), "complex64")}, "image"),
        "text": ("serving_default", {"image": np.array([[[["x"]]]], object)}, "(?i)string|image|type"),
        "rank": ("serving_default", {"image": image[0]}, "image"),
        "channels": ("contours", {"image": np.zeros((1, 8, 8, 3), "float32")}, "image"),
        "NaN": ("summary", {"image": np.full_like(image, np.nan)}, "not finite"),
        "bytes": ("summary", {"image": np.full_like(image, 255)}, "divide 8-bit images by 255"),
        "signature": ("nothing", {"image": image}, "nothing"),
        "input": ("summary", {"picture": image}, "image"),
        "cut short": ("encoded", {"encoded": np.array([whole[:200]], object)}, "(?i)png|damaged|decode"),
        "header alone": ("encoded", {"encoded": np.array([whole[:20]], object)}, "damaged or cut short"),
        "no picture": ("encoded", {"encoded": np.array([b"hello"], object)}, "PNG or JPEG"),
        "huge": ("encoded", {"encoded": np.array([claims(60_000, 60_000)], object)}, "larger than the limit"),
        "sizes": ("encoded", {"encoded": np.array([whole, picture], object)}, "one size"),
        "no files": ("encoded", {"encoded": np.array([], object)}, "at least one"),
    }


def ask_grpc(port, signature, inputs):
    """The status and message of a raw request."""
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "segmenter", signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=30)
        except grpc.RpcError as error:
            return error.code().name, error.details()
    return "OK", ""


def ask_rest(port, body):
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/models/segmenter:predict", body)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())["error"]


BODIES = {
    "not JSON": b"{",
    "no inputs": b'{"signature_name": "summary"}',
    "ragged": b'{"signature_name": "summary", "inputs": {"image": [[[[0.5], [0.5, 0.5]]]]}}',
    "words": b'{"inputs": {"image": [[[["dark"]]]]}}',
    "not base64": b'{"signature_name": "encoded", "inputs": {"encoded": [{"b64": "%%%"}]}}',
    "rank": b'{"inputs": {"image": [0.5]}}',
    "NaN": b'{"inputs": {"image": [[[[NaN]]]]}}',
}


@pytest.mark.skipif(not pathlib.Path("/proc/self/statm").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("count", [150, pytest.param(2000, marks=pytest.mark.slow)])
def test_soak(tmp_path, rng, monkeypatch, count):
    """Two requests in three are good. The server is a process of its own, whose memory is watched."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    version = export(
        shaken(OrdinalSegmenter(small_backbone((None, None, 1), (4, 8)), 3)), tmp_path / "export", max_pixels=2**20
    )
    signatures = tf.saved_model.load(str(version)).signatures
    good = good_requests(signatures, rng)
    bad = bad_requests(png(rng.random((9, 9, 1))))
    command = [sys.executable, str(STAND_IN), str(version.parent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        ports = json.loads(server.stdout.readline())
        clients = [Client(f"grpc://127.0.0.1:{ports['grpc']}"), Client(f"http://127.0.0.1:{ports['rest']}")]
        try:
            goods, bads = itertools.cycle(good), itertools.cycle([*bad.items(), *BODIES.items()])
            start, served = None, 0
            for number in range(count):
                if number == 50:
                    start = resident(server)
                if number % 3 < 2:
                    name, sent, wanted = next(goods)
                    found = clients[number % 2].predict(sent, name)
                    assert set(found) == set(wanted)
                    for key, value in wanted.items():
                        have = found[key].astype("float64")
                        np.testing.assert_allclose(have, value.astype("float64"), rtol=1e-6, atol=1e-6, err_msg=key)
                    served += 1
                else:
                    name, request = next(bads)
                    if isinstance(request, bytes):
                        status, said = ask_rest(ports["rest"], request)
                        assert status == 400, (name, status, said)
                        assert said
                    else:
                        signature, inputs, words = request
                        status, said = ask_grpc(ports["grpc"], signature, inputs)
                        assert status == "INVALID_ARGUMENT", (name, status, said)
                        assert re.search(words, said), (name, said)
                assert server.poll() is None, "the server ended"
            assert served == sum(number % 3 < 2 for number in range(count))
            assert resident(server) - start < GROWTH
        finally:
            for client in clients:
                client.close()
            server.stdin.close()
            assert server.wait(30) == 0
