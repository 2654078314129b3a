"""Time and memory of the losses, forward and backward, beside Keras' sparse cross-entropy on the same logits.

    python benchmarks/loss.py                                                  # 1x512x512, K = 7: a few minutes
    python benchmarks/loss.py --size 1x128x128x128 --raters 3 --sections jax tensorflow-xla

Each section is a process of its own: `tensorflow` is `tf.function`, `tensorflow-xla` the same with `jit_compile=True`, `jax`
is `jax.jit`, `torch` runs eagerly. The losses take turns; "× Keras" is the median of the ratios to
`SparseCategoricalCrossentropy(from_logits=True)` in the same turn. "Temporaries" is what JAX' compiler reserves beyond
the logits, the target and the gradient, as a multiple of the logits' bytes.

"Votes" gives the number of raters that marked each pixel as uint8, "ratings" all K answers as int8. dlordinal's `EMDLoss`
gets one row a pixel, MONAI's `DiceLoss` (softmax over the levels, one-hot target) channels first; both run on torch only,
and are left out where they are not installed.
"""

import argparse
import importlib.metadata
import importlib.util
import math
import os
import platform
import statistics
import subprocess
import sys
import time

import numpy as np

SECTIONS = ("tensorflow", "tensorflow-xla", "jax", "torch")


def losses(num_raters):
    """`{name: (what the target is, loss(y_true, logits))}`, Keras' first."""
    import keras

    from keras_ordseg import losses as ours

    found = {
        "Keras SparseCategoricalCrossentropy": ("votes", keras.losses.SparseCategoricalCrossentropy(from_logits=True)),
        "OrdinalSegmentationLoss, votes": ("votes", ours.OrdinalSegmentationLoss()),
        "OrdinalSegmentationLoss, ratings": ("ratings", ours.OrdinalSegmentationLoss()),
        "OrdinalSegmentationLoss('expected'), votes": ("votes", ours.OrdinalSegmentationLoss("expected")),
        "RankedProbabilityLoss, votes": ("votes", ours.RankedProbabilityLoss()),
    }
    if keras.backend.backend() == "torch":
        found.update(peers(num_raters + 1))
    return found


def peers(levels):
    """The losses of other packages, on torch, as functions of our target and logits."""
    found = {}
    if importlib.util.find_spec("dlordinal"):
        from dlordinal.losses import EMDLoss

        emd = EMDLoss(num_classes=levels)
        found["dlordinal EMDLoss"] = ("index", lambda y, z: emd(z.reshape(-1, levels), y.reshape(-1)))
    if importlib.util.find_spec("monai"):
        from monai.losses import DiceLoss

        dice = DiceLoss(softmax=True, to_onehot_y=True)
        found["MONAI DiceLoss"] = ("index", lambda y, z: dice(z.movedim(-1, 1), y[:, None]))
    return found


def make(shape, num_raters):
    """Logits and targets, with most pixels marked by nobody."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(*shape, num_raters + 1)).astype("float32")
    ratings = (rng.random((*shape, num_raters)) < rng.random((*shape, 1)) ** 4).astype("int8")
    votes = ratings.sum(-1)
    return logits, {"ratings": ratings, "votes": votes.astype("uint8"), "index": votes.astype("int64")}


def stepper(section, loss, y, z):
    """`(a function that runs forward and backward once and waits, bytes of temporaries or None)`."""
    if section == "jax":
        import jax

        z, y = jax.device_put((z, y))
        step = jax.jit(jax.value_and_grad(lambda z, y: loss(y, z))).lower(z, y).compile()
        return lambda: jax.block_until_ready(step(z, y)), step.memory_analysis().temp_size_in_bytes
    if section == "torch":
        import torch

        z, y = torch.from_numpy(z).requires_grad_(), torch.from_numpy(y)

        def eager():
            z.grad = None
            loss(y, z).backward()

        return eager, None
    import tensorflow as tf

    z, y = tf.constant(z), tf.constant(y)

    @tf.function(jit_compile=section == "tensorflow-xla")
    def graph(y, z):
        with tf.GradientTape() as tape:
            tape.watch(z)
            value = loss(y, z)
        return value, tape.gradient(value, z)

    return lambda: graph(y, z)[0].numpy(), None


def run_section(section, shape, num_raters, repeats):
    """Prints the rows of one section."""
    z, targets = make(shape, num_raters)
    found = losses(num_raters)
    steps = {name: stepper(section, loss, targets[kind], z) for name, (kind, loss) in found.items()}
    seconds = {name: [] for name in steps}
    for _ in range(repeats + 1):
        for name, (step, _) in steps.items():
            start = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - start)
    keras_times = seconds[next(iter(seconds))]
    for name, times in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(times[1:], keras_times[1:], strict=True))  # the first compiled
        needed = steps[name][1]
        needed = "n/a" if needed is None else f"{needed / (4 * math.prod(shape) * (num_raters + 1)):.2f}"
        print(f"| {section} | {name} | {1e3 * statistics.median(times[1:]):.0f} | {ratio:.2f} | {needed} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sections", nargs="+", default=SECTIONS, choices=SECTIONS)
    parser.add_argument("--size", default="1x512x512", help="4x512x512 is a batch of images, 1x128x128x128 one volume")
    parser.add_argument("--raters", type=int, default=7)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--section", help=argparse.SUPPRESS)
    options = parser.parse_args()
    shape = tuple(int(n) for n in options.size.split("x"))
    if options.section:
        return run_section(options.section, shape, options.raters, options.repeats)
    print("| framework | loss | time, ms | × Keras | temporaries, × logits |")
    print("| --- | --- | ---: | ---: | ---: |", flush=True)
    for section in options.sections:
        backend = section.split("-")[0]
        if not importlib.util.find_spec(backend):
            print(f"| {section} | not installed | | | |", flush=True)
            continue
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu", "TQDM_DISABLE": "1"}
        environment = {**quiet, **os.environ, "KERAS_BACKEND": backend}
        command = [sys.executable, __file__, *sys.argv[1:], "--section", section]
        done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            print(f"| {section} | failed: {(done.stderr.strip().splitlines() or ['killed'])[-1]} | | | |", flush=True)
    packages = ("keras", "tensorflow", "jax", "torch", "dlordinal", "monai", "numpy")
    versions = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in packages if importlib.util.find_spec(p))
    print(f"\n{options.size.replace('x', '×')} pixels, K = {options.raters}, {options.repeats} repetitions; {versions};")
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores.")


if __name__ == "__main__":
    main()
