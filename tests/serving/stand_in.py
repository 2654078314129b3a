"""A small server that loads an export and speaks TensorFlow Serving's messages and URLs, for tests and benchmarks.

    python tests/serving/stand_in.py EXPORT --name segmenter    # prints {"rest": port, "grpc": port}; until stdin ends

It knows nothing of this package: TensorFlow, grpcio and `tensorflow-serving-api` are all it uses. It loads every version at
once and never watches the folder, and does not batch.
"""

import argparse
import base64
import gc
import http.server
import json
import os
import pathlib
import re
import sys
import threading
from concurrent import futures

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import any_pb2, json_format
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

_URL = re.compile(r"/v1/models/(?P<name>[^/:]+)(/versions/(?P<version>\d+))?(?P<action>:predict|/metadata)?")
_HTTP = {"INVALID_ARGUMENT": 400, "NOT_FOUND": 404, "INTERNAL": 500}


class Refused(Exception):
    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class Models:
    """The versions of one exported model, and what is asked of them."""

    def __init__(self, directory, name):
        self.name = name
        folders = {int(path.name): path for path in pathlib.Path(directory).iterdir() if path.name.isdecimal()}
        self.loaded = {version: tf.saved_model.load(str(path)) for version, path in folders.items()}
        self.definitions = {
            version: saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
            .meta_graphs[0]
            .signature_def
            for version, path in folders.items()
        }

    def version(self, name, version=None):
        if name != self.name or (version is not None and version not in self.loaded):
            which = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise Refused("NOT_FOUND", f"Servable not found for request: {which}")
        return max(self.loaded) if version is None else version

    def signature(self, version, name):
        signatures = self.loaded[version].signatures
        if name not in signatures:
            raise Refused("INVALID_ARGUMENT", f'Serving signature key "{name}" not found.')
        return signatures[name]

    def run(self, version, name, inputs):
        """`inputs`: arrays by name; gives arrays by name."""
        function = self.signature(version, name)
        specs = function.structured_input_signature[1]
        if set(inputs) != set(specs):
            raise Refused(
                "INVALID_ARGUMENT", f"input keys do not match: expected {sorted(specs)}, received {sorted(inputs)}"
            )
        tensors = {}
        for key, value in inputs.items():
            tensor, spec = tf.constant(value), specs[key]
            if tensor.dtype != spec.dtype:
                raise Refused("INVALID_ARGUMENT", f"{key}: expected {spec.dtype.name}, received {tensor.dtype.name}")
            if not spec.shape.is_compatible_with(tensor.shape):
                raise Refused("INVALID_ARGUMENT", f"{key}: expected shape {spec.shape}, received {tensor.shape}")
            tensors[key] = tensor
        try:
            return {key: value.numpy() for key, value in function(**tensors).items()}
        except tf.errors.OpError as error:
            raise Refused("INVALID_ARGUMENT", error.message) from None

    def metadata(self, version):
        defined = get_model_metadata_pb2.SignatureDefMap(signature_def=dict(self.definitions[version]))
        packed = any_pb2.Any()
        packed.Pack(defined)
        answer = get_model_metadata_pb2.GetModelMetadataResponse(metadata={"signature_def": packed})
        answer.model_spec.name, answer.model_spec.version.value = self.name, version
        return answer

    def status(self, name, version=None):
        wanted = self.loaded if version is None else [version]
        self.version(name, version)
        answer = get_model_status_pb2.GetModelStatusResponse()
        for number in wanted:
            answer.model_version_status.add(version=number, state=30)
        return answer


def _of(spec):
    return spec.name, spec.version.value if spec.HasField("version") else None


class _Service(prediction_service_pb2_grpc.PredictionServiceServicer, model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, models):
        self.models = models

    def _guarded(self, context, work):
        try:
            return work()
        except Refused as error:
            context.abort(grpc.StatusCode[error.status], str(error))

    def Predict(self, request, context):
        def work():
            version = self.models.version(*_of(request.model_spec))
            try:
                inputs = {key: tf.make_ndarray(tensor) for key, tensor in request.inputs.items()}
            except (ValueError, TypeError) as error:
                raise Refused("INVALID_ARGUMENT", f"a tensor is damaged: {error}") from None
            signature = request.model_spec.signature_name or "serving_default"
            outputs = self.models.run(version, signature, inputs)
            wanted = request.output_filter or outputs
            if missing := [key for key in wanted if key not in outputs]:
                raise Refused("INVALID_ARGUMENT", f"output tensor alias not found in signature: {missing[0]}")
            answer = predict_pb2.PredictResponse(outputs={key: tf.make_tensor_proto(outputs[key]) for key in wanted})
            answer.model_spec.name, answer.model_spec.version.value = self.models.name, version
            return answer

        return self._guarded(context, work)

    def GetModelMetadata(self, request, context):
        return self._guarded(context, lambda: self.models.metadata(self.models.version(*_of(request.model_spec))))

    def GetModelStatus(self, request, context):
        return self._guarded(context, lambda: self.models.status(*_of(request.model_spec)))


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._answer("GET")

    def do_POST(self):
        self._answer("POST")

    def log_message(self, *args):
        pass

    def _answer(self, method):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            code, answer = 200, self._work(method, body)
        except Refused as error:
            code, answer = _HTTP[error.status], {"error": str(error)}
        content = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _work(self, method, body):
        models, found = self.server.models, _URL.fullmatch(self.path)
        if not found or (method == "POST") != (found["action"] == ":predict"):
            raise Refused("INVALID_ARGUMENT", f"Malformed request: {method} {self.path}")
        version = int(found["version"]) if found["version"] else None
        if found["action"] is None:
            return _plain(models.status(found["name"], version))
        version = models.version(found["name"], version)
        if found["action"] == "/metadata":
            return _plain(models.metadata(version))
        try:
            request = json.loads(body)
            signature, given = request.get("signature_name", "serving_default"), request["inputs"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Refused("INVALID_ARGUMENT", f"JSON Parse error: {error}") from None
        specs = models.signature(version, signature).structured_input_signature[1]
        given = given if isinstance(given, dict) and "b64" not in given else {next(iter(specs)): given}
        inputs = {key: _parsed(value, specs[key].dtype) if key in specs else value for key, value in given.items()}
        outputs = {key: value.tolist() for key, value in models.run(version, signature, inputs).items()}
        return {"outputs": outputs if len(outputs) > 1 else next(iter(outputs.values()))}


def _parsed(value, dtype):
    """JSON as an array of the signature's type."""
    try:
        if dtype == tf.string:
            return np.array([base64.b64decode(entry["b64"], validate=True) for entry in value], object)
        array = np.array(value)
        if array.dtype.kind not in "fiu":
            raise ValueError(f"JSON Value: {str(value)[:60]} Type: {array.dtype} is not of expected type: {dtype.name}")
        return array.astype(dtype.as_numpy_dtype)
    except (ValueError, TypeError, KeyError) as error:
        raise Refused("INVALID_ARGUMENT", f"Failed to process element: {error}") from None


def _plain(message):
    return json_format.MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


class StandIn:
    """Serves `directory/<version>/` under `name` on two free ports of this machine, from a thread of this process."""

    def __init__(self, directory, name="segmenter"):
        models = Models(directory, name)
        limits = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        self._grpc = grpc.server(futures.ThreadPoolExecutor(4), options=limits)
        service = _Service(models)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, self._grpc)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(service, self._grpc)
        self.grpc = self._grpc.add_insecure_port("127.0.0.1:0")
        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._http.daemon_threads, self._http.models = True, models
        self.rest = self._http.server_address[1]
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)

    def __enter__(self):
        self._grpc.start()
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._grpc.stop(None).wait()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory")
    parser.add_argument("--name", default="segmenter")
    arguments = parser.parse_args()
    with StandIn(arguments.directory, arguments.name) as server:
        gc.freeze()  # or each request as text sets off a collection of all of TensorFlow
        print(json.dumps({"rest": server.rest, "grpc": server.grpc}), flush=True)
        sys.stdin.read()
