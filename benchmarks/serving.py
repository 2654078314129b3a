"""Requests a second and latency of an exported model, in process and served, against the bare Keras model.

    python benchmarks/serving.py                   # a few minutes
    python benchmarks/serving.py --quick           # the smallest size only, a few requests

One `OrdinalSegmenter` (K = 4, U-Net, 8 to 32 filters), its export by `serving.export`, and a server of that export in a
process of its own: the stand-in of the tests, over gRPC and REST. The stand-in is Python; TensorFlow Serving itself
(`tensorflow_model_server`, measured too where it is on PATH) does the work around the graph in C++. Every way answers the
same images, one request after the other; the ways take turns, so that other work on the machine meets all of them. The
ratio is of the median latency, to `model.predict_on_batch`. Maps over REST are measured at the smallest size only: a million
numbers as text take seconds.
"""

import argparse
import contextlib
import importlib.metadata
import json
import os
import pathlib
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["no_proxy"] = "127.0.0.1"

import keras
import numpy as np
import tensorflow as tf

from keras_ordseg import models, serving

STAND_IN = pathlib.Path(__file__).resolve().parent.parent / "tests" / "serving" / "stand_in.py"
SIZES = [(1, 128), (8, 128), (1, 256)]  # images in a request, side


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the smallest size only")
    parser.add_argument("--requests", type=int, default=60, help="for each way and size, default %(default)s")
    arguments = parser.parse_args()
    model = models.OrdinalSegmenter(
        models.small_backbone((None, None, 1), filters=(8, 16, 32)), num_raters=4, decoder="unet"
    )
    with tempfile.TemporaryDirectory() as folder:
        version = serving.export(model, pathlib.Path(folder) / "segmenter")
        with servers(version.parent) as clients:
            print("| images | way | images/s | p50, ms | p95, ms | p99, ms | × `predict_on_batch` |")
            print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
            for batch, side in SIZES[: 1 if arguments.quick else None]:
                table(model, version, clients, batch, side, 10 if arguments.quick else arguments.requests)
    names = ("keras-ordseg", "tensorflow", "keras", "grpcio", "tensorflow-serving-api", "numpy")
    print("\nVersions:", ", ".join(f"{name} {installed(name)}" for name in names), end="; ")
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores.")


def table(model, version, clients, batch, side, requests):
    """The rows of one size."""
    images = np.random.default_rng(0).integers(0, 256, (batch, side, side, 1)).astype("float32") / 255
    compiled = tf.function(lambda x: model(x, training=False), reduce_retracing=True)
    signatures = tf.saved_model.load(str(version)).signatures

    def served(name):
        return {key: value.numpy() for key, value in signatures[name](image=tf.constant(images)).items()}

    files = [tf.io.encode_png(tf.constant(np.rint(255 * image).astype("uint8"))).numpy() for image in images]
    ways = {
        "`model.predict_on_batch`": lambda: model.predict_on_batch(images),
        "`tf.function` of the model": lambda: compiled(tf.constant(images)).numpy(),
        "export, `serving_default`": lambda: served("serving_default"),
        "export, `summary`": lambda: served("summary"),
    }
    for name, client in clients.items():
        ways[f"{name}, `summary`"] = lambda client=client: client.predict(images, "summary")
        if "REST" in name and images.size > 2**14:
            continue  # the maps as text take seconds
        ways[f"{name}, `serving_default`"] = lambda client=client: client.predict(images)
        ways[f"{name}, `encoded`"] = lambda client=client: client.predict(files, "encoded", "agreement")
    seconds = {way: [] for way in ways}
    for number in range(requests + 3):  # the first three warm up
        for way, ask in ways.items():
            begin = time.perf_counter()
            ask()
            if number >= 3:
                seconds[way].append(time.perf_counter() - begin)
    base = np.median(seconds["`model.predict_on_batch`"])
    for way, times in seconds.items():
        p50, p95, p99 = 1e3 * np.percentile(times, [50, 95, 99])
        rate = batch * len(times) / sum(times)
        print(
            f"| {batch} of {side}² | {way} | {rate:.0f} | {p50:.1f} | {p95:.1f} | {p99:.1f} | {p50 / 1e3 / base:.2f} |",
            flush=True,
        )


@contextlib.contextmanager
def servers(directory):
    """Clients of the servers of an export, by name."""
    with contextlib.ExitStack() as stack:
        command = [sys.executable, str(STAND_IN), str(directory)]
        process = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        stack.callback(process.stdin.close)  # which ends it
        found = {"stand-in": json.loads(process.stdout.readline())}
        if (binary := shutil.which("tensorflow_model_server")) is None:
            print("tensorflow_model_server is not on PATH: left out\n", file=sys.stderr)
        else:
            ports = {"rest": free_port(), "grpc": free_port()}
            command = [binary, f"--rest_api_port={ports['rest']}", f"--port={ports['grpc']}", "--model_name=segmenter"]
            process = stack.enter_context(subprocess.Popen([*command, f"--model_base_path={directory}"]))
            stack.callback(process.terminate)
            found["TensorFlow Serving"] = ports
        clients = {}
        for name, ports in found.items():
            for kind, address in (("gRPC", f"grpc://127.0.0.1:{ports['grpc']}"), ("REST", f"http://127.0.0.1:{ports['rest']}")):
                client = stack.enter_context(serving.Client(address))
                while not client.ready():
                    time.sleep(0.1)
                clients[f"{name}, {kind}"] = client
        yield clients


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def installed(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


if __name__ == "__main__":
    keras.utils.set_random_seed(0)
    main()
