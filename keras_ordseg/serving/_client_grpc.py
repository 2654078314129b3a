"""TensorFlow Serving's gRPC interface, with the messages of `tensorflow-serving-api`."""

import contextlib

from keras_ordseg.serving._client_errors import ServingError, timed_out, unreachable

# gRPC's own limit of 4 MB is 16 images of 256 x 256 pixels
_OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
_STATES = {0: "UNKNOWN", 10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}


class Grpc:
    """The transport of `Client` over `grpc://`."""

    def __init__(self, address, model, version, timeout):
        try:
            import grpc
            from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc
        except ImportError as error:
            raise ImportError(
                "grpc:// needs grpcio and tensorflow-serving-api, and these TensorFlow: pip install "
                '"keras_ordseg[serving]". The REST interface (http://...:8501) needs neither.'
            ) from error
        self.url, self.model, self.version, self.timeout = address.url, model, version, timeout
        options = [*_OPTIONS, *([("grpc.enable_http_proxy", 0)] if address.local else [])]
        self._channel = grpc.insecure_channel(address.url.removeprefix("grpc://"), options=options)
        self._prediction = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._status = model_service_pb2_grpc.ModelServiceStub(self._channel)

    def predict(self, signature, name, values, outputs, described):
        import tensorflow as tf
        from tensorflow_serving.apis.predict_pb2 import PredictRequest

        request = PredictRequest(output_filter=outputs or ())
        self._name(request, signature)
        request.inputs[name].CopyFrom(tf.make_tensor_proto(values, tf.string if isinstance(values, list) else None))
        answer = self._ask(self._prediction.Predict, request)
        try:
            return {key: tf.make_ndarray(tensor) for key, tensor in answer.outputs.items()}
        except (ValueError, TypeError) as error:
            raise ServingError(f"{self.url}: the answer is not TensorFlow Serving's: {error}", "UNKNOWN") from None

    def signatures(self):
        import tensorflow as tf
        from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest, SignatureDefMap

        request = GetModelMetadataRequest(metadata_field=["signature_def"])
        self._name(request)
        found = SignatureDefMap()
        self._ask(self._prediction.GetModelMetadata, request).metadata["signature_def"].Unpack(found)

        def spec(info):
            shape = tf.TensorShape(info.tensor_shape)
            return {
                "dtype": tf.as_dtype(info.dtype).name,
                "shape": None if shape.rank is None else shape.as_list(),
            }

        def described(infos):
            return {name: spec(info) for name, info in infos.items()}

        return {
            key: {"inputs": described(signature.inputs), "outputs": described(signature.outputs)}
            for key, signature in found.signature_def.items()
            if signature.inputs
        }

    def states(self):
        from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest

        request = GetModelStatusRequest()
        self._name(request)
        found = self._ask(self._status.GetModelStatus, request).model_version_status
        return {entry.version: _STATES.get(entry.state, "UNKNOWN") for entry in found}

    def close(self):
        self._channel.close()

    def _name(self, request, signature=None):
        request.model_spec.name = self.model
        if self.version is not None:
            request.model_spec.version.value = self.version
        if signature is not None:
            request.model_spec.signature_name = signature

    def _ask(self, method, request):
        import grpc

        try:
            return method(request, timeout=self.timeout)
        except grpc.RpcError as error:
            said, status = error.details(), error.code().name
        if status == "DEADLINE_EXCEEDED":
            raise timed_out(self.url, self.timeout)
        # the server says UNAVAILABLE too, of a model that is still loading
        if status == "UNAVAILABLE" and not self._connected():
            raise unreachable(self.url, said)
        raise ServingError(f"{self.url}: {said}", status)

    def _connected(self):
        import grpc

        with contextlib.suppress(grpc.FutureTimeoutError):
            grpc.channel_ready_future(self._channel).result(timeout=min(self.timeout, 0.2))
            return True
        return False
