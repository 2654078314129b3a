"""The client against servers that are none: other answers, redirects, passwords, proxies, and one that trickles."""

import base64
import http.server
import json
import threading
import time

import numpy as np
import pytest

from keras_ordseg.serving import Client, ServingError
from keras_ordseg.serving._client_address import parse, shown

PAGE = "<!DOCTYPE html><html><head><title>t</title><style>b {}</style></head><body><h1>Bad&nbsp;Gateway</h1>\n<p>nginx"
IMAGE = np.zeros((1, 2, 2, 1))


class Server(http.server.ThreadingHTTPServer):
    """Gives one answer to everything, and keeps what it was asked."""

    daemon_threads = True
    code, body, headers, pause = 200, "", {}, 0.0

    def __init__(self):
        server, self.asked = self, []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                server.asked.append((self.path, dict(self.headers)))
                body = server.body.encode()
                self.send_response(server.code)
                for key, value in server.headers.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                for byte in body:
                    self.wfile.write(bytes([byte]))
                    if server.pause:
                        self.wfile.flush()
                        time.sleep(server.pause)

            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                self.do_GET()

            def log_message(self, *args):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *args):
        pass  # of clients that went away


@pytest.fixture
def server():
    with Server() as found:
        yield found
        found.shutdown()


@pytest.mark.parametrize(
    "answer",
    [
        {"error": "backend overloaded"},
        {"predictions": [[1]]},
        {"outputs": None},
        {"message": "moved"},
        [1, 2],
        "text",
        None,
        3,
    ],
)
def test_json_that_is_not_the_servers(server, answer):
    server.body = json.dumps(answer)
    client = Client(server.url, timeout=5)
    for ask in (lambda: client.predict(IMAGE), client.metadata, client.versions, client.ready):
        with pytest.raises(ServingError, match="the answer is not TensorFlow Serving's; it says") as error:
            ask()
        assert error.value.status == "UNKNOWN"
    if isinstance(answer, dict) and "error" in answer:
        assert "it says backend overloaded" in str(error.value)


@pytest.mark.parametrize(
    "states", [[{"version": "one", "state": "AVAILABLE"}], [{"state": "AVAILABLE"}], {"version": 1}, [1], None]
)
def test_states_that_are_none(server, states):
    server.body = json.dumps({"model_version_status": states})
    with pytest.raises(ServingError, match="not TensorFlow Serving's"):
        Client(server.url, timeout=5).versions()


@pytest.mark.parametrize("outputs", [{"a": [[1], [1, 2]]}, {"a": "x"}, {"a": {"b": 1}}])
def test_outputs_that_are_no_arrays(server, outputs, monkeypatch):
    server.body = json.dumps({"outputs": outputs})
    client = Client(server.url, timeout=5)
    client._signatures = {"serving_default": {"outputs": {"a": {"dtype": "float32"}}}}
    with pytest.raises(ServingError, match="not TensorFlow Serving's"):
        client.predict(IMAGE)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(server, code):
    server.code, server.headers = code, {"Location": "http://anna:secret@127.0.0.1:9/login?token=secret"}
    client = Client(server.url.replace("//", "//anna:secret@"), timeout=5)
    for ask in (lambda: client.predict(IMAGE), client.versions):
        with pytest.raises(ServingError, match="HTTP 30") as error:
            ask()
        assert "secret" not in str(error.value)
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    "code, body, words, status",
    [
        (502, PAGE, "Bad Gateway nginx .HTTP 502", "UNKNOWN"),
        (401, '{"detail": "no token"}', "no token .HTTP 401", "UNAUTHENTICATED"),
        (500, '{"error": {"code": 7}}', r'"code": 7. .HTTP 500', "UNKNOWN"),
        (503, "", "Service Unavailable .HTTP 503", "UNAVAILABLE"),
        (400, "[]", r"\[\] .HTTP 400", "INVALID_ARGUMENT"),
        (200, "<html><body>Please <b>log in</b></body></html>", "not JSON, it says Please log in; is this", "UNKNOWN"),
        (200, "", "not JSON, it says nothing; is this", "UNKNOWN"),
    ],
)
def test_pages_of_others(server, code, body, words, status):
    server.code, server.body = code, body
    with pytest.raises(ServingError, match=words) as error:
        Client(server.url, timeout=5).predict(IMAGE)
    assert error.value.status == status
    assert "<" not in str(error.value)


@pytest.mark.parametrize("pause", [0.05, 0.15])
def test_the_time_out_is_for_the_whole_answer(server, pause):
    """Each byte comes in time, all of them do not."""
    server.body, server.pause = json.dumps({"outputs": {"a": [[1]]}, "padding": "x" * 200}), pause
    start = time.monotonic()
    with pytest.raises(TimeoutError, match="no answer within 0.3 seconds"):
        Client(server.url, timeout=0.3).predict(IMAGE)
    assert time.monotonic() - start < 2


def test_a_user_and_a_password_are_sent_and_never_shown(server):
    server.body = json.dumps({"model_version_status": [{"version": "1", "state": "AVAILABLE"}]})
    client = Client(server.url.replace("//", "//anna:s%40cret%2F@"), timeout=5)
    assert client.versions() == {1: "AVAILABLE"}
    sent = server.asked[0][1]["Authorization"]
    assert base64.b64decode(sent.removeprefix("Basic ")) == b"anna:s@cret/"
    assert "anna" not in repr(client) + client.url
    server.code, server.body = 500, "broken"
    with pytest.raises(ServingError, match="broken") as error:
        client.versions()
    assert "anna" not in str(error.value)
    assert Client(server.url, timeout=5)._transport._headers == {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    "url",
    [
        "grpc://anna:secret@host:8500",
        "GRPC://anna:secret@host",
        "ftp://anna:secret@host",
        "anna:secret@host:8501",
        "anna:secret@http://host",
        "http://anna:se/secret@host:8501",
        "http://anna:se?secret@host:8501",
        "http://anna:se#secret@host:8501",
        "http://anna:secret@host:port",
        "http://anna:secret@",
        "http://anna:secret@host:8501/?token=secret",
        "http://host:8501?token=secret",
        b"http://anna:secret@host",
    ],
)
def test_a_refused_address_keeps_its_password(url):
    with pytest.raises(ValueError, match="url: expected") as error:
        Client(url)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("url", ["http://host:0x1", "http://host:99999", "http://:8501", "http://[::1", "https://", "grpc://:1"])
def test_addresses_that_are_none(url):
    with pytest.raises(ValueError, match="url: expected"):
        Client(url)


@pytest.mark.parametrize(
    "url, scheme, local",
    [
        ("HTTP://LocalHost:8501/", "http", True),
        ("GRPC://127.0.0.1:8500", "grpc", True),
        ("https://[::1]:8501", "https", True),
        ("http://127.8.0.1", "http", True),
        ("http://models.example.org/a/", "http", False),
        ("http://10.0.0.1:8501", "http", False),
    ],
)
def test_addresses(url, scheme, local):
    address = parse(url)
    assert (address.scheme, address.local, address.authorization) == (scheme, local, None)
    assert address.url == scheme + url[len(scheme) :].rstrip("/")
    assert shown(url) == repr(url)


def test_proxies_of_the_environment_are_for_other_machines(server, monkeypatch):
    with Server() as proxy:
        proxy.body = server.body = json.dumps({"model_version_status": [{"version": "1", "state": "AVAILABLE"}]})
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert Client(server.url, timeout=5).ready()
        assert (len(server.asked), len(proxy.asked)) == (1, 0)
        assert Client("http://models.example.org", timeout=5).ready()
        assert proxy.asked[0][0] == "http://models.example.org/v1/models/segmenter"
        proxy.shutdown()


def test_an_answer_cut_short(server):
    server.body, server.headers = "{}", {"Content-Length": "500"}
    with pytest.raises((ConnectionError, ServingError)):
        Client(server.url, timeout=2).versions()
