"""The client against a server, over REST and gRPC, and the server against the SavedModel itself."""

import http.server
import io
import shutil
import socket
import subprocess
import threading
import time

import numpy as np
import pytest
from PIL import Image

from keras_ordseg.models import BinarySegmenter, OrdinalSegmenter, small_backbone
from keras_ordseg.serving import Client, ServingError, export
from tests.serving.test_export import run, shaken

tf = pytest.importorskip("tensorflow")
StandIn = pytest.importorskip(
    "tests.serving.stand_in", reason="the stand-in server needs pip install 'keras_ordseg[serving]'"
).StandIn
SIGNATURES = ("serving_default", "contours", "summary", "encoded")


@pytest.fixture(autouse=True, scope="module")
def _no_proxy():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("no_proxy", "127.0.0.1,localhost")
        yield


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Two versions of a model of five raters, and a binary one."""
    folder = tmp_path_factory.mktemp("export")
    model = shaken(OrdinalSegmenter(small_backbone((None, None, 1), (4, 8)), 5))
    for version in (1, 2):
        export(shaken(model, seed=version), folder / "segmenter")
    export(shaken(BinarySegmenter(small_backbone((None, None, 1), (4, 8)))), folder / "binary")
    return folder


@pytest.fixture(scope="module")
def direct(exported):
    return tf.saved_model.load(str(exported / "segmenter" / "2")).signatures


@pytest.fixture(scope="module", params=["stand-in", "tensorflow_model_server"])
def ports(request, exported):
    """`{"http": port, "grpc": port}` of a running server."""
    if request.param == "stand-in":
        with StandIn(exported / "segmenter") as server:
            yield {"http": server.rest, "grpc": server.grpc}
        return
    if (binary := shutil.which("tensorflow_model_server")) is None:
        pytest.skip("tensorflow_model_server is not on PATH")
    free = [free_port() for _ in range(2)]
    arguments = [f"--rest_api_port={free[0]}", f"--port={free[1]}", "--model_name=segmenter"]
    process = subprocess.Popen([binary, *arguments, f"--model_base_path={(exported / 'segmenter').resolve()}"])
    try:
        with Client(f"http://127.0.0.1:{free[0]}") as client:
            deadline = time.monotonic() + 60
            while not client.ready():
                assert process.poll() is None, "the server ended"
                assert time.monotonic() < deadline, "the server did not start"
                time.sleep(0.2)
        yield {"http": free[0], "grpc": free[1]}
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(params=["http", "grpc"])
def client(request, ports):
    with Client(f"{request.param}://127.0.0.1:{ports[request.param]}") as client:
        yield client


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def files(images):
    """The images as PNG."""
    result = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(np.rint(255 * image[..., 0]).astype("uint8")).save(file, "PNG")
        result.append(file.getvalue())
    return result


def same(found, wanted):
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        have, want = found[name], value.numpy()
        assert (have.dtype, have.shape) == (want.dtype, want.shape), name
        np.testing.assert_allclose(have.astype("float64"), want.astype("float64"), rtol=1e-6, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("signature", SIGNATURES)
@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 13, 22)])
def test_every_signature_is_that_of_the_saved_model(client, direct, rng, signature, shape):
    """Sides that the stride does not divide too."""
    images = rng.integers(0, 256, (*shape, 1)) / 255
    if signature == "encoded":
        sent = files(images)
        wanted = direct[signature](encoded=tf.constant(sent))
    else:
        sent = images
        wanted = direct[signature](image=tf.constant(images, tf.float32))
    same(client.predict(sent, signature), wanted)


def test_files_by_path(client, direct, rng, tmp_path):
    (content,) = files(rng.random((1, 12, 12, 1)))
    (tmp_path / "a.png").write_bytes(content)
    wanted = direct["encoded"](encoded=tf.constant([content]))
    same(client.predict(tmp_path / "a.png", "encoded"), wanted)
    same(client.predict([str(tmp_path / "a.png")], "encoded"), wanted)
    same(client.predict(content, "encoded"), wanted)


def test_chosen_outputs(client, rng):
    images = rng.random((2, 8, 8, 1))
    every = client.predict(images)
    some = client.predict(images, outputs=["majority", "agreement"])
    assert set(some) == {"majority", "agreement"}
    np.testing.assert_allclose(some["majority"], every["majority"], atol=1e-6)
    with pytest.raises((ValueError, ServingError), match="levles"):
        client.predict(images, outputs="levles")


def test_a_message_larger_than_grpc_allows_by_itself(ports, rng):
    images = rng.random((20, 256, 256, 1))  # 5 MB
    with Client(f"grpc://127.0.0.1:{ports['grpc']}") as client:
        assert client.predict(images)["levels"].shape == (20, 256, 256, 6)


def test_versions(client, ports, exported, rng):
    assert client.ready()
    assert client.versions()[2] == "AVAILABLE"
    assert client.metadata()["serving_default"] == {
        "inputs": {"image": {"dtype": "float32", "shape": [None, None, None, 1]}},
        "outputs": {
            "agreement": {"dtype": "float32", "shape": [None, None, None]},
            "majority": {"dtype": "float32", "shape": [None, None, None]},
            "levels": {"dtype": "float32", "shape": [None, None, None, 6]},
            "at_least": {"dtype": "float32", "shape": [None, None, None, 5]},
        },
    }
    assert client.metadata()["encoded"]["inputs"] == {"encoded": {"dtype": "string", "shape": [None]}}


def test_an_older_version(exported, rng):
    """tensorflow_model_server serves the newest alone unless told, so this is the stand-in's."""
    images = rng.random((1, 8, 8, 1)).astype("float32")
    wanted = tf.saved_model.load(str(exported / "segmenter" / "1")).signatures["summary"](image=tf.constant(images))
    with StandIn(exported / "segmenter") as server:
        for url in (f"http://127.0.0.1:{server.rest}", f"grpc://127.0.0.1:{server.grpc}"):
            with Client(url, version=1) as client:
                same(client.predict(images, "summary"), wanted)
                assert client.versions() == {1: "AVAILABLE"}


def test_a_single_output(exported, rng):
    """REST leaves out the name of it."""
    images = rng.random((2, 8, 8, 1)).astype("float32")
    direct = tf.saved_model.load(str(exported / "binary" / "1")).signatures
    with StandIn(exported / "binary", "binary") as server:
        for url in (f"http://127.0.0.1:{server.rest}", f"grpc://127.0.0.1:{server.grpc}"):
            with Client(url, "binary") as client:
                same(client.predict(images), direct["serving_default"](image=tf.constant(images)))
                same(client.predict(images, "summary"), direct["summary"](image=tf.constant(images)))


@pytest.mark.parametrize(
    "images, signature, status, words",
    [
        (np.zeros((8, 8, 1)), "serving_default", "INVALID_ARGUMENT", "image"),
        (np.zeros((1, 8, 8, 3)), "summary", "INVALID_ARGUMENT", "image"),
        (np.full((1, 8, 8, 1), np.nan), "serving_default", "INVALID_ARGUMENT", "not finite"),
        (np.full((1, 8, 8, 1), 200), "serving_default", "INVALID_ARGUMENT", "divide 8-bit images by 255"),
        (b"\x89PNG\r\n\x1a\n and no more", "encoded", "INVALID_ARGUMENT", "damaged or cut short"),
        (b"GIF89a", "encoded", "INVALID_ARGUMENT", "PNG or JPEG"),
        (np.zeros((1, 8, 8, 1)), "sumary", None, "sumary"),
    ],
)
def test_the_server_says_what_is_wrong(client, images, signature, status, words):
    with pytest.raises(ServingError, match=words) as error:
        client.predict(images, signature)
    assert status in (None, error.value.status)
    assert "127.0.0.1" in str(error.value)
    assert client.ready()


def test_one_image_without_its_batch_axis(client, rng):
    """16 x 16 x 1 could be a batch of 16 signals: the server knows better, and the error says what to do."""
    image = rng.random((16, 16, 1))
    for signature in ("serving_default", "contours", "summary"):
        with pytest.raises(ServingError, match=r"one image as image\[None\]. Received shape \(16, 16, 1\)") as error:
            client.predict(image, signature)
        assert error.value.status == "INVALID_ARGUMENT"
        assert len(client.predict(image[None], signature)) > 2
    with pytest.raises(ServingError, match="image") as error:
        client.predict(rng.random((1, 8, 8, 3)))
    assert "image[None]" not in str(error.value)


def test_a_model_that_is_not_served(ports):
    for scheme, port in ports.items():
        for arguments in ({"model": "other"}, {"version": 9}):
            with Client(f"{scheme}://127.0.0.1:{port}", **arguments) as client:
                with pytest.raises(ServingError, match="not found") as error:
                    client.predict(np.zeros((1, 8, 8, 1)))
                assert error.value.status == "NOT_FOUND"
                assert not client.ready()


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_nobody_there(scheme):
    with socket.socket() as held:  # bound, so that nobody else takes the port, and not listening
        held.bind(("127.0.0.1", 0))
        url = f"{scheme}://127.0.0.1:{held.getsockname()[1]}"
        client = Client(url, timeout=5)
        assert not client.ready()
        with client, pytest.raises(ConnectionError, match=f"{url}.*no server answers there"):
            client.predict(np.zeros((1, 8, 8, 1)))


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_nobody_answers(scheme):
    """A port that takes connections and is silent."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}"
        with Client(url, timeout=0.3) as client, pytest.raises(TimeoutError, match="no answer within 0.3 seconds"):
            client.predict(np.zeros((1, 8, 8, 1)))


@pytest.mark.parametrize("code, words", [(200, "not JSON"), (503, "all busy"), (502, "all busy")])
def test_something_else_answers(code, words):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(code)
            self.end_headers()
            self.wfile.write(b"<html>all busy</html>")

        def log_message(self, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        with pytest.raises(ServingError, match=words):
            Client(f"http://127.0.0.1:{server.server_address[1]}").predict(np.zeros((1, 8, 8, 1)))
        thread.join()


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"url": "localhost:8501"}, "url: expected 'http://host:8501'"),
        ({"url": "file:///etc/passwd"}, "url: expected"),
        ({"url": "grpc://host:8500/models"}, "url: expected"),
        ({"model": "../x"}, "model: expected"),
        ({"version": "1"}, "version: expected"),
        ({"timeout": 0}, "timeout: expected"),
    ],
)
def test_arguments(arguments, words):
    with pytest.raises(ValueError, match=words):
        Client(**{"url": "http://localhost:1", **arguments})


@pytest.mark.parametrize(
    "images, signature, words",
    [
        (np.zeros((8, 8)), "serving_default", "one image as image\\[None\\]"),
        (np.zeros((0, 8, 8, 1)), "serving_default", "at least one image"),
        ([np.zeros((8, 8, 1)), np.zeros((9, 8, 1))], "summary", "images of one size"),
        (np.array([[["a"]]]), "serving_default", "numbers"),
        (b"png", "summary", "Received files for 'summary'"),
        (np.zeros((1, 8, 8, 1)), "encoded", "Received an array for 'encoded'"),
    ],
)
def test_images(images, signature, words):
    with pytest.raises(ValueError, match=words):
        Client("http://localhost:1").predict(images, signature)


REST = """
import sys
sys.modules["tensorflow"] = sys.modules["grpc"] = None
import json
import numpy as np
from keras_ordseg.serving import Client
try:
    Client("grpc://127.0.0.1:1")
except ImportError as error:
    said = str(error)
found = Client("http://127.0.0.1:" + sys.argv[1]).predict(np.zeros((1, 8, 8, 1)), "summary")
print(json.dumps([said, sorted(found)]))
"""


def test_rest_needs_no_tensorflow(exported, tmp_path):
    pytest.importorskip("jax")
    with StandIn(exported / "segmenter") as server:
        said, outputs = run(REST, tmp_path, str(server.rest), KERAS_BACKEND="jax")
    assert 'pip install "keras_ordseg[serving]"' in said
    assert outputs == ["area_sd", "disputed_share", "expected_area", "review"]
