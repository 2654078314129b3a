"""STAPLE and Dawid–Skene by patterns, against SimpleITK and crowd-kit on the same masks, as a Markdown table.

    python benchmarks/staple.py             # a minute or two
    python benchmarks/staple.py --quick     # small sizes only

Peers that are not installed are skipped (`pip install SimpleITK crowd-kit`). Each time is processor time, the least of some
repeats after a first one, so that other work on the machine counts little. The peers get their own inputs (SimpleITK images,
a data frame) made beforehand.
"""

import argparse
import importlib.metadata
import platform
import time
import warnings

import numpy as np

from keras_ordseg import datasets, raters

SIZES = [(64, 64), (256, 256), (64, 128, 128)]
RATERS = [3, 5, 7]
STACK = 64  # images of the smallest size that are fused in one call
ITERATIONS = 20  # of Dawid–Skene, for both
ROWS = 2_000_000  # answers that crowd-kit is given at most: its data frame takes minutes above


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="without the volume")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # the cap of Dawid–Skene below is meant
    itk, crowdkit = peer("SimpleITK"), peer("crowdkit.aggregation", "crowd-kit")
    print(
        "| image | K | iterations | SimpleITK ms | ours ms | ratio | largest difference | crowd-kit ms | ours ms | ratio "
        "| largest difference |"
    )
    print("| --- " + "| ---: " * 10 + "|")
    for size in SIZES[: 2 if arguments.quick else 3]:
        for num_raters in RATERS:
            masks = drawn(1, size, num_raters)
            row(itk, crowdkit, "×".join(map(str, size)), masks, arguments.repeats)
    for num_raters in RATERS:
        masks = drawn(STACK, SIZES[0], num_raters)
        row(itk, None, f"{STACK} of {'×'.join(map(str, SIZES[0]))}, each", masks, arguments.repeats)
    names = ("keras-ordseg", "numpy", "SimpleITK", "crowd-kit", "pandas")
    print("\nVersions:", ", ".join(f"{name} {version(name)}" for name in names), end="; ")
    print(f"Python {platform.python_version()}, {platform.machine()}.")


def row(itk, crowdkit, name, masks, repeats):
    """One line of the table: STAPLE against SimpleITK, and Dawid–Skene against crowd-kit."""
    count, num_raters = len(masks), masks.shape[-1]
    cells = [name, num_raters]
    if count == 1:
        ours, result = least(lambda: [raters.staple(masks[0])], repeats)
    else:
        ours, _ = least(lambda: raters.fuse(masks, "staple"), repeats)
        result = [raters.staple(image) for image in masks]
    cells.append(f"{np.mean([r.iterations for r in result]):.0f}")
    if itk:
        images = [[itk.GetImageFromArray(np.uint8(image[..., r])) for r in range(num_raters)] for image in masks]
        theirs, filters = least(lambda: [staple(itk, each) for each in images], max(1, repeats // 2))
        worst = max(
            np.abs(np.subtract(ours_, theirs_)).max()
            for ours_r, theirs_r in zip(result, filters, strict=True)
            for ours_, theirs_ in (
                (ours_r.sensitivity, theirs_r.GetSensitivity()),
                (ours_r.specificity, theirs_r.GetSpecificity()),
            )
        )
        cells += [ms(theirs / count), ms(ours / count), f"{theirs / ours:.0f}", f"{worst:.0e}"]
    else:
        cells += ["", ms(ours / count), "", ""]
    if crowdkit and masks.size <= ROWS:
        limits = {"max_iterations": ITERATIONS, "tolerance": 1e-300}
        ours, result = least(lambda: raters.dawid_skene(masks[0], 2, **limits), repeats)
        frame = answers(masks[0])
        theirs, model = least(
            lambda: crowdkit.DawidSkene(n_iter=ITERATIONS, tol=-np.inf).fit(frame), max(1, repeats // 3)
        )
        errors = model.errors_.reindex(
            [(r, a) for r in range(num_raters) for a in (0, 1)], fill_value=0
        ).to_numpy().reshape(num_raters, 2, 2)  # [rater, answer, true]
        worst = np.abs(np.swapaxes(errors, 1, 2) - result.confusion).max()
        cells += [ms(theirs), ms(ours), f"{theirs / ours:.0f}", f"{worst:.0e}"]
    else:
        cells += [""] * 4
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def drawn(count, size, num_raters):
    """Generated lesions whose raters err as people do: at the borders, and by overlooking some."""
    arrays = datasets.ambiguous_shapes(count, size=size, num_raters=num_raters, dims=len(size), seed=3)
    return arrays["ratings"]


def staple(itk, images):
    done = itk.STAPLEImageFilter()
    done.SetForegroundValue(1)
    done.Execute(images)
    return done


def answers(ratings):
    import pandas

    flat = ratings.reshape(-1, ratings.shape[-1])
    pixels, num_raters = flat.shape
    return pandas.DataFrame(
        {
            "task": np.repeat(np.arange(pixels), num_raters),
            "worker": np.tile(np.arange(num_raters), pixels),
            "label": flat.ravel(),
        }
    )


def least(function, repeats):
    """Seconds of processor time of the fastest of some calls after a first one, and what it returned."""
    result, best = function(), float("inf")
    for _ in range(repeats):
        start = time.process_time()
        result = function()
        best = min(best, time.process_time() - start)
    return best, result


def ms(seconds):
    return f"{1000 * seconds:.3g}"


def peer(module, package=None):
    try:
        return importlib.import_module(module)
    except ImportError:
        print(f"{package or module} is not installed: its columns stay empty")
        return None


def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


if __name__ == "__main__":
    main()
