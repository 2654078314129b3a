"""Multi-rater calibration error at volume scale: error, time and memory of this package and of others.

    python benchmarks/calibration_metric.py --sizes 18 20 22 --raters 1 3 7 --output table.md

Every measurement runs in a process of its own, on the same made-up volume: probabilities of which most are near 0, and K
raters who mark with that probability. "Error" is the distance to the error that float64 sums of the same float32
probabilities give. "Time" is the least of several runs of update and result; "memory" is what the process needed at its
peak beyond the imported libraries, a first small call and the arrays given to it.

- `keras_ordseg` gets the votes, as a NumPy array; "(ratings)" is the same from all K masks.
- `torchmetrics` (`BinaryCalibrationError`) gets the predictions once for each rater.
- `MONAI` (`CalibrationErrorMetric`) gets predictions repeated for each rater, as one image, which pools the raters.
- "plain Keras sums" is an ordinary metric with three float32 sums a bin, once for each rater.

Packages that are not installed are left out, and so is what would need more memory than is free; both are said.
"""

import argparse
import importlib.metadata
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

NUM_BINS = 15
NEEDS = {"torchmetrics": ("torchmetrics", "torch"), "MONAI": ("monai", "torch")}
LABELS = {
    "ours": "keras_ordseg",
    "ours_ratings": "keras_ordseg (ratings)",
    "torchmetrics": "torchmetrics",
    "MONAI": "MONAI",
    "keras": "plain Keras sums",
}
BYTES = {"torchmetrics": 40, "MONAI": 40, "keras": 16}  # for each answer, roughly, to see beforehand what will not fit


def make(folder, exponent, num_raters):
    """Writes the volume, and returns its exact calibration error."""
    rng, size, bound = np.random.default_rng(exponent), 2**exponent, 2**20
    p = np.lib.format.open_memmap(folder / "p.npy", "w+", "float32", (size,))
    votes = np.lib.format.open_memmap(folder / "votes.npy", "w+", "int8", (size,))
    ratings = np.lib.format.open_memmap(folder / "ratings.npy", "w+", "int8", (size, num_raters))
    gap = np.zeros(NUM_BINS)
    for start in range(0, size, bound):
        part = slice(start, min(start + bound, size))
        p[part] = rng.random(part.stop - start, dtype="float32") ** 4
        truth = p[part] + 0.02 * p[part] * (1 - p[part])
        ratings[part] = rng.random((part.stop - start, num_raters), dtype="float32") < truth[:, None]
        votes[part] = ratings[part].sum(-1)
        exact = p[part].astype("float64")
        which = np.minimum((exact * NUM_BINS).astype("int64"), NUM_BINS - 1)
        gap += np.bincount(which, exact - votes[part] / num_raters, minlength=NUM_BINS)
    return float(np.abs(gap).sum() / size)


def ours(num_raters, arrays):
    from keras_ordseg.metrics import MultiRaterECE

    metric = MultiRaterECE(num_bins=NUM_BINS, from_logits=False, num_raters=num_raters)

    def run(p, y):
        metric.reset_state()
        metric.update_state(y[None], p[None, :, None])
        return float(metric.result())

    return run, (arrays("p"), arrays("votes"))


def ours_ratings(num_raters, arrays):
    run, (p, _) = ours(num_raters, arrays)
    return run, (p, arrays("ratings"))


def torchmetrics(num_raters, arrays):
    import torch
    from torchmetrics.classification import BinaryCalibrationError

    def run(p, y):
        metric = BinaryCalibrationError(n_bins=NUM_BINS, norm="l1")
        for rater in range(num_raters):
            metric.update(p, y[:, rater])
        return float(metric.compute())

    return run, (torch.from_numpy(arrays("p")), torch.from_numpy(arrays("ratings")))


def monai(num_raters, arrays):
    import torch
    from monai.metrics import CalibrationErrorMetric

    def run(p, y):
        metric = CalibrationErrorMetric(num_bins=NUM_BINS, calibration_reduction="expected")
        metric(y_pred=p.repeat(num_raters)[None, None], y=y.T.reshape(1, 1, -1))
        return float(metric.aggregate())

    return run, (torch.from_numpy(arrays("p")), torch.from_numpy(arrays("ratings")))


def plain_keras(num_raters, arrays):
    import keras
    from keras import ops

    class PlainECE(keras.metrics.Metric):
        def __init__(self):
            super().__init__()
            self.sums = [self.add_variable((NUM_BINS,), "zeros", name=n) for n in ("count", "confidence", "vote")]

        def update_state(self, y, p):
            p, y = ops.convert_to_tensor(p), ops.cast(y, "float32")
            bins = ops.cast(ops.minimum(ops.floor(p * NUM_BINS), NUM_BINS - 1), "int32")
            for total, values in zip(self.sums, (ops.ones_like(p), p, y), strict=True):
                total.assign(total + ops.segment_sum(values, bins, num_segments=NUM_BINS))

        def result(self):
            count, confidence, vote = self.sums
            return ops.sum(ops.abs(confidence - vote)) / ops.sum(count)

    metric = PlainECE()

    def run(p, y):
        metric.reset_state()
        for rater in range(num_raters):
            metric.update_state(y[:, rater], p)
        return float(metric.result())

    return run, (arrays("p"), arrays("ratings"))


METHODS = {
    "ours": ours,
    "ours_ratings": ours_ratings,
    "torchmetrics": torchmetrics,
    "MONAI": monai,
    "keras": plain_keras,
}


def measure(name, folder, num_raters, repeats):
    """What one process measures, as JSON."""
    run, arrays = METHODS[name](num_raters, lambda which: np.load(Path(folder) / f"{which}.npy"))
    run(*(x[:4096] for x in arrays))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for repeat in range(repeats):
        start = time.perf_counter()
        value = run(*arrays)
        seconds.append(time.perf_counter() - start)
        if repeat == 0:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    scale = 1024 if sys.platform == "darwin" else 1  # kilobytes on Linux, bytes on macOS
    print(json.dumps({"value": value, "seconds": min(seconds), "megabytes": (peak - before) / scale / 1024}))


def installed(packages):
    try:
        return [importlib.metadata.version(package) for package in packages]
    except importlib.metadata.PackageNotFoundError:
        return None


def free_bytes():
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):  # not told on this system
        return float("inf")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[18, 20, 22, 24, 25], help="powers of two")
    parser.add_argument("--raters", type=int, nargs="+", default=[1, 3, 7])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, help="write the table here too")
    parser.add_argument("--measure", nargs=3, metavar=("METHOD", "FOLDER", "RATERS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        name, folder, raters = options.measure
        return measure(name, folder, int(raters), options.repeats)
    if min(options.sizes) < 12 or min(options.raters) < 1 or options.repeats < 1:
        parser.error("--sizes are powers of two of at least 12, --raters and --repeats are at least 1")
    names, notes = list(METHODS), []
    for name, packages in NEEDS.items():
        if installed(packages) is None:
            names.remove(name)
            notes.append(f"{name} is not installed: left out.")
    rows = []
    for exponent in options.sizes:
        for num_raters in options.raters:
            with tempfile.TemporaryDirectory() as folder:
                exact = make(Path(folder), exponent, num_raters)
                rows += compare(names, Path(folder), exponent, num_raters, exact, options.repeats, notes)
    versions = {p: installed([p]) for p in ("keras", "tensorflow", "torch", "torchmetrics", "monai", "numpy")}
    versions = ", ".join(f"{p} {v[0]}" for p, v in versions.items() if v)
    header = "| voxels | K | method | ECE | error | time, s | time / ours | memory, MB | memory / ours |"
    table = "\n".join([header, "| ---: " * 2 + "| --- " + "| ---: " * 6 + "|", *rows, "", *notes, "", f"{versions}."])
    print(table)
    if options.output:
        temporary = options.output.with_name(f".writing-{options.output.name}")
        temporary.write_text(table + "\n")
        os.replace(temporary, options.output)


def compare(names, folder, exponent, num_raters, exact, repeats, notes):
    rows, first = [], None
    for name in names:
        print(f"2^{exponent}, K = {num_raters}: {LABELS[name]}", file=sys.stderr, flush=True)
        need = BYTES.get(name, 1) * 2**exponent * num_raters
        if need > 0.8 * free_bytes():
            notes.append(
                f"{LABELS[name]} at 2^{exponent} voxels and K = {num_raters} was left out: it needs about "
                f"{need / 2**30:.0f} GB, and {free_bytes() / 2**30:.0f} GB were free."
            )
            continue
        command = [sys.executable, __file__, "--repeats", str(repeats), "--measure", name, str(folder), str(num_raters)]
        environment = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", **os.environ}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["killed"])[-1]
            notes.append(f"{LABELS[name]} at 2^{exponent} voxels and K = {num_raters} failed: {last}")
            continue
        got = json.loads(done.stdout.splitlines()[-1])
        first = first or got
        rows.append(
            f"| 2^{exponent} | {num_raters} | {LABELS[name]} | {got['value']:.6f} | {abs(got['value'] - exact):.0e} | "
            f"{got['seconds']:.3f} | {got['seconds'] / first['seconds']:.1f} | {got['megabytes']:.0f} | "
            f"{got['megabytes'] / max(first['megabytes'], 0.1):.1f} |"
        )
    return rows


if __name__ == "__main__":
    main()
