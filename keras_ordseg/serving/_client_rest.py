"""TensorFlow Serving's REST interface, with the standard library alone."""

import base64
import contextlib
import gc
import http.client
import json
import urllib.error
import urllib.request

import numpy as np

from keras_ordseg.serving._client_errors import ServingError, timed_out, unreachable

_STATUS = {
    400: "INVALID_ARGUMENT",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    412: "FAILED_PRECONDITION",
    413: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_DTYPES = {"DT_FLOAT": "float32", "DT_DOUBLE": "float64", "DT_HALF": "float16", "DT_BOOL": "bool"}


class Rest:
    """The transport of `Client` over `http://` and `https://`.

    Requests and answers are columns (`"inputs"`, `"outputs"`), not rows: no array is taken apart.
    """

    def __init__(self, url, model, version, timeout):
        self.timeout = timeout
        self.url = f"{url}/v1/models/{model}" + (f"/versions/{version}" if version is not None else "")

    def predict(self, signature, name, values, outputs, described):
        if isinstance(values, list):
            values = [{"b64": base64.b64encode(file).decode("ascii")} for file in values]
        with _no_collector():
            values = values if isinstance(values, list) else values.tolist()
            body = json.dumps({"signature_name": signature, "inputs": {name: values}}).encode()
        answer = self._json(":predict", body)["outputs"]
        specs = described()
        if not isinstance(answer, dict):  # the server leaves out the name of a single output
            answer = {next(iter(specs)): answer}
        return {
            key: np.asarray(value, specs[key]["dtype"] if key in specs else None)
            for key, value in answer.items()
            if outputs is None or key in outputs
        }

    def signatures(self):
        signatures = self._json("/metadata")["metadata"]["signature_def"]["signature_def"]
        return {
            key: {side: {name: _spec(tensor) for name, tensor in found[side].items()} for side in ("inputs", "outputs")}
            for key, found in signatures.items()
            if found.get("inputs")
        }

    def states(self):
        found = self._json("")["model_version_status"]
        return {int(entry["version"]): entry["state"] for entry in found}

    def close(self):
        pass

    def _json(self, action, body=None):
        """The answer to a GET, or to the POST of a body."""
        request = urllib.request.Request(self.url + action, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as response:
                text = response.read()
            with _no_collector():
                return json.loads(text)
        except urllib.error.HTTPError as error:
            status = _STATUS.get(error.code, "UNKNOWN")
            raise ServingError(f"{self.url}: {_said(error)} (HTTP {error.code})", status) from None
        except TimeoutError:
            raise timed_out(self.url, self.timeout) from None
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                raise timed_out(self.url, self.timeout) from None
            raise unreachable(self.url, reason or type(error).__name__) from None
        except ValueError:
            message = f"{self.url}: the answer is not JSON; is this TensorFlow Serving's REST port?"
            raise ServingError(message, "UNKNOWN") from None


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
            text = error.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):  # cut off after the status
        return error.reason
    try:
        return json.loads(text)["error"]
    except (ValueError, KeyError, TypeError):
        return text[:500] or error.reason


def _spec(tensor):
    shape = tensor.get("tensor_shape", {})
    sides = [int(dim["size"]) for dim in shape.get("dim", [])]
    kind = tensor["dtype"]
    return {
        "dtype": _DTYPES.get(kind, kind.removeprefix("DT_").lower()),
        "shape": None if shape.get("unknown_rank") else [None if side < 0 else side for side in sides],
    }
