"""TensorFlow Serving's REST interface, with the standard library alone."""

import base64
import contextlib
import gc
import html
import http.client
import json
import queue
import re
import threading
import time
import urllib.error
import urllib.request

import numpy as np

from keras_ordseg.serving._client_address import shown
from keras_ordseg.serving._client_errors import ServingError, timed_out, unreachable

_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    407: "UNAUTHENTICATED",
    412: "FAILED_PRECONDITION",
    413: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_DTYPES = {"DT_FLOAT": "float32", "DT_DOUBLE": "float64", "DT_HALF": "float16", "DT_BOOL": "bool"}
_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError, StopIteration, OverflowError)


class Rest:
    """The transport of `Client` over `http://` and `https://`.

    Requests and answers are columns (`"inputs"`, `"outputs"`), not rows: no array is taken apart.
    """

    def __init__(self, address, model, version, timeout):
        self.timeout = timeout
        self.url = f"{address.url}/v1/models/{model}" + (f"/versions/{version}" if version is not None else "")
        self._headers = {"Content-Type": "application/json"}
        if address.authorization is not None:
            self._headers["Authorization"] = address.authorization
        proxies = [urllib.request.ProxyHandler({})] if address.local else []
        self._opener = urllib.request.build_opener(_NoRedirect, *proxies)

    def predict(self, signature, name, values, outputs, described):
        if isinstance(values, list):
            values = [{"b64": base64.b64encode(file).decode("ascii")} for file in values]
        with _no_collector():
            values = values if isinstance(values, list) else values.tolist()
            body = json.dumps({"signature_name": signature, "inputs": {name: values}}).encode()
        found = self._json(":predict", body)
        with self._reading(found):
            answer = found["outputs"]
            if answer is None:
                raise TypeError
        specs = described()
        with self._reading(found):
            if not isinstance(answer, dict):  # the server leaves out the name of a single output
                answer = {next(iter(specs)): answer}
            return {
                key: np.asarray(value, specs[key]["dtype"] if key in specs else None)
                for key, value in answer.items()
                if outputs is None or key in outputs
            }

    def signatures(self):
        found = self._json("/metadata")
        with self._reading(found):
            return {
                key: {side: {name: _spec(tensor) for name, tensor in each[side].items()} for side in ("inputs", "outputs")}
                for key, each in found["metadata"]["signature_def"]["signature_def"].items()
                if each.get("inputs")
            }

    def states(self):
        found = self._json("")
        with self._reading(found):
            return {int(entry["version"]): str(entry["state"]) for entry in found["model_version_status"]}

    def close(self):
        pass

    @contextlib.contextmanager
    def _reading(self, found):
        """Taking an answer apart; a ServingError where it is not TensorFlow Serving's."""
        try:
            yield
        except _MALFORMED:
            said = _message(found) or json.dumps(found)[:200]
            message = f"{self.url}: the answer is not TensorFlow Serving's; it says {said}"
            raise ServingError(message, "UNKNOWN") from None

    def _json(self, action, body=None):
        """The answer to a GET, or to the POST of a body."""
        text = self._within_time(urllib.request.Request(self.url + action, body, self._headers))
        try:
            with _no_collector():
                return json.loads(text)
        except ValueError:
            said = _plain(text.decode("utf-8", "replace"))[:200] or "nothing"
            message = f"{self.url}: the answer is not JSON, it says {said}; is this TensorFlow Serving's REST port?"
            raise ServingError(message, "UNKNOWN") from None

    def _within_time(self, request):
        """The bytes of an answer, or what went wrong; asked in a thread, since a server that trickles never times out."""
        answers, deadline = queue.SimpleQueue(), time.monotonic() + self.timeout

        def ask():
            try:
                answers.put((self._read(request, deadline), None))
            except Exception as error:  # raised again where somebody waits
                answers.put((None, error))

        threading.Thread(target=ask, daemon=True).start()
        try:
            text, error = answers.get(timeout=self.timeout)
        except queue.Empty:
            raise timed_out(self.url, self.timeout) from None
        if error is not None:
            raise error
        return text

    def _read(self, request, deadline):
        try:
            with self._opener.open(request, timeout=self.timeout) as response:
                parts = []
                while part := response.read1(2**16):
                    parts.append(part)
                    if time.monotonic() > deadline:  # nobody waits any more
                        raise timed_out(self.url, self.timeout)
                if response.length:
                    raise http.client.IncompleteRead(b"", response.length)
                return b"".join(parts)
        except urllib.error.HTTPError as error:
            said, status = _said(error), _STATUS.get(error.code, "UNKNOWN")
            raise ServingError(f"{self.url}: {said} (HTTP {error.code})", status) from None
        except TimeoutError:
            raise timed_out(self.url, self.timeout) from None
        except (urllib.error.URLError, http.client.HTTPException, OSError, UnicodeError) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                raise timed_out(self.url, self.timeout) from None
            raise unreachable(self.url, str(reason) or type(error).__name__) from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: followed, a POST would become a GET, and a password would be sent elsewhere."""

    def redirect_request(self, request, fp, code, msg, headers, newurl):
        fp.close()
        where = shown(newurl)
        reason = f"the server sends elsewhere, to {where}; give Client that address if it is the model's"
        raise urllib.error.HTTPError(request.full_url, code, reason, {}, None)


@contextlib.contextmanager
def _no_collector():
    """A list for each pixel sets off Python's collector, which looks through all of TensorFlow each time, for seconds."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _said(error):
    """The server's own message."""
    try:
        with error:
            text = error.read(2**16).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException, AttributeError, KeyError, ValueError):  # cut off after the status
        return error.reason
    try:
        return _message(json.loads(text)) or _plain(text) or error.reason
    except ValueError:
        return _plain(text) or error.reason


def _message(answer):
    """What a JSON answer says went wrong; None where it says nothing."""
    if not isinstance(answer, dict):
        return None
    said = next((answer[key] for key in ("error", "message", "detail") if answer.get(key)), None)
    return said if isinstance(said, str | None) else json.dumps(said)[:500]


def _plain(text):
    """A text, or the words of an HTML page, on one line of at most 500 characters."""
    if re.match(r"\s*(<!doctype|<html|<head|<body|<\?xml)", text, re.IGNORECASE):
        text = re.sub(r"(?is)<(script|style|title)\b.*?</\1>|<!--.*?-->|<[^>]*>", " ", text)
    return " ".join(html.unescape(text).split())[:500]


def _spec(tensor):
    shape = tensor.get("tensor_shape", {})
    sides = [int(dim["size"]) for dim in shape.get("dim", [])]
    kind = tensor["dtype"]
    return {
        "dtype": _DTYPES.get(kind, kind.removeprefix("DT_").lower()),
        "shape": None if shape.get("unknown_rank") else [None if side < 0 else side for side in sides],
    }
