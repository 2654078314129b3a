"""Step time, memory and stability of compiled training in float32, mixed_bfloat16 and mixed_float16, on any device.

    KERAS_BACKEND=jax python benchmarks/gpu.py                                              # or KERAS_BACKEND=tensorflow
    KERAS_BACKEND=jax python benchmarks/gpu.py --size 64 --batch 2 --steps 10 --filters 8,16,32     # a CPU, minutes

Each row is a process of its own: an `OrdinalSegmenter` on `small_backbone`, the paper's loss and `MultiRaterECE`, a fixed
batch, `jit_compile=True`. "Step" is the median after compilation; "peak memory" what the device's allocator counted (n/a
where it does not, as on CPUs); × is to float32. "Loss finite" says whether every step's loss and the weights were; "loss
scale" is the last one under mixed_float16, which starts at 32768 and halves with every step whose gradients were not finite.

The line below the table trains the float32 model and, in turns, the same network with one output, Keras' binary
cross-entropy and no metric: the median ratio of their steps is what head, loss and metric cost.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time

POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")


def build(options, policy):
    """A function that trains one step on a fixed batch and returns the loss, and its model."""
    import keras
    import numpy as np

    from keras_ordseg import losses, metrics, models

    keras.utils.set_random_seed(0)
    binary = policy == "binary"
    keras.config.set_dtype_policy("float32" if binary else policy)
    rng = np.random.default_rng(0)
    image = rng.random((options.batch, *[options.size] * options.rank, 1), dtype="float32")
    votes = np.rint(options.raters * image[..., 0] ** 4).astype("uint8")
    backbone = models.small_backbone((*[None] * options.rank, 1), options.filters)
    optimizer = keras.optimizers.Adam(1e-3)
    if binary:
        y = (votes[..., None] >= options.raters / 2).astype("float32")
        model = models.BinarySegmenter(backbone, options.decoder)
        model.compile(optimizer, keras.losses.BinaryCrossentropy(from_logits=True), jit_compile=True)
    else:
        y = votes
        model = models.OrdinalSegmenter(backbone, options.raters, options.decoder)
        model.compile(optimizer, losses.OrdinalSegmentationLoss(), metrics=[metrics.MultiRaterECE()], jit_compile=True)
    return lambda: float(model.train_on_batch(image, y, return_dict=True)["loss"]), model


def measure(options, policy):
    """What a row needs; of float32 also the ratio to the steps of the binary model, taken in turns."""
    import keras
    import numpy as np

    step, model = build(options, policy)
    values, seconds = zip(*(timed(step) for _ in range(options.steps)), strict=True)
    scale = getattr(model.optimizer, "dynamic_scale", None)
    weights = [keras.ops.convert_to_numpy(w) for w in model.trainable_variables]
    found = {
        "seconds": statistics.median(seconds[2:]),  # the first two compile
        "memory": peak(),
        "finite": bool(np.isfinite(values).all()) and all(np.isfinite(w).all() for w in weights),
        "scale": None if scale is None else float(keras.ops.convert_to_numpy(scale)),
        "device": device(),
    }
    if policy == "float32":
        other, _ = build(options, "binary")
        turns = [(timed(step)[1], timed(other)[1]) for _ in range(options.steps)][2:]
        found["binary"] = statistics.median(seconds for _, seconds in turns)
        found["overhead"] = statistics.median(ours / theirs for ours, theirs in turns)
    return found


def timed(step):
    """`(loss, seconds)`; reading the loss waits for the device."""
    start = time.perf_counter()
    return step(), time.perf_counter() - start


def peak():
    """Peak bytes of the first accelerator, or None."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.config.experimental.get_memory_info("GPU:0")["peak"] if tf.config.list_physical_devices("GPU") else None
    return None


def device():
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return jax.devices()[0].device_kind
    return ", ".join(keras.distribution.list_devices("gpu")) or "cpu"


def child(policy):
    command = [sys.executable, __file__, *sys.argv[1:], "--measure", policy]
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["killed"])[-1])
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--decoder", default="unet")
    parser.add_argument("--policies", nargs="+", default=POLICIES, choices=POLICIES)
    parser.add_argument("--rank", type=int, default=2, choices=(2, 3), help="2-D images or 3-D volumes")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--raters", type=int, default=7)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--filters", type=lambda text: [int(n) for n in text.split(",")], default=[32, 64, 128, 256])
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.steps < 3:
        parser.error("--steps: expected at least 3, because the first two are not counted")
    if options.measure:
        return print(json.dumps(measure(options, options.measure)))
    print("| policy | step, ms | × float32 | peak memory, MB | × float32 | loss finite | loss scale |")
    print("| --- | ---: | ---: | ---: | ---: | --- | ---: |", flush=True)
    first, where = None, "no result"
    for policy in options.policies:
        try:
            got = child(policy)
        except RuntimeError as error:
            print(f"| {policy} | failed: {error} | | | | | |", flush=True)
            continue
        if policy == "float32":
            first = got
        where, finite = got["device"], "yes" if got["finite"] else "NO"
        ratio = f"{got['seconds'] / first['seconds']:.2f}" if first else "n/a"
        memory = f"{got['memory'] / 2**20:.0f}" if got["memory"] else "n/a"
        more = f"{got['memory'] / first['memory']:.2f}" if got["memory"] and first else "n/a"
        scale = "" if got["scale"] is None else f"{got['scale']:.0f}"
        step = f"{1e3 * got['seconds']:.1f}"
        print(f"| {policy} | {step} | {ratio} | {memory} | {more} | {finite} | {scale} |", flush=True)
    if first:
        print(f"\nHead + loss + metric: {first['overhead']:.3f} × the step of the binary model, ", end="")
        print(f"which takes {1e3 * first['binary']:.1f} ms (median of turns, target 1.05).")
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    side = "×".join([str(options.size)] * options.rank)
    versions = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in (backend, "keras"))
    print(f"\n{options.decoder}, {options.batch} of {side}, K = {options.raters}, filters {options.filters}, ", end="")
    print(f"{options.steps} steps; {versions}; {where}, {os.cpu_count()} cores, {platform.machine()}.")


if __name__ == "__main__":
    main()
