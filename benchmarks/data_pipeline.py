"""Images a second from K+1 PNG files, packed and cached, against a plain Keras PyDataset and a torch DataLoader.

    python benchmarks/data_pipeline.py             # a minute or two
    python benchmarks/data_pipeline.py --quick     # the smallest size only

Every way gives shuffled batches of 16, images float32 in [0, 1] and ratings int8 (or votes int32), of the same generated
cases, four epochs long, as a training takes them; counted from the second batch on, because every pipeline needs 30 to 60 ms
to start. The ways take turns, and each counts its best round, so that other work on the machine counts little. The files are
in the system's cache. Peers that are not installed are skipped (`pip install torch`).
"""

import argparse
import importlib.metadata
import itertools
import os
import platform
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from keras_ordseg import data, datasets

SETS = [(128, 128, 4), (64, 256, 7), (16, 512, 7)]  # images, side, raters
BATCH, WORKERS, EPOCHS = 16, 2, 4


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the smallest size only")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    print("| images | K | way | images/s | × K+1 PNG files | MB on disk |")
    print("| --- | ---: | --- | ---: | ---: | ---: |")
    for num, side, num_raters in SETS[: 1 if arguments.quick else None]:
        with tempfile.TemporaryDirectory() as folder:
            table(Path(folder), num, side, num_raters, arguments.repeats)
    names = ("keras-ordseg", "tensorflow", "keras", "torch", "pillow")
    print("\nVersions:", ", ".join(f"{name} {version(name)}" for name in names), end="; ")
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores.")


def table(folder, num, side, num_raters, repeats):
    """The rows of one size."""
    write(folder / "png", num, side, num_raters)
    found = data.cases(folder / "png")
    files = [[str(case.image.file), *(str(mask.file) for mask in case.ratings)] for case in found]
    data.pack(found, folder / "packed")
    data.pack(found, folder / "compressed", compress=True)
    ways = {
        "tf.data, K+1 PNG files": (decoded(files), "png"),
        "packed": (lambda: packed(folder / "packed"), "packed"),
        "packed, votes": (lambda: packed(folder / "packed", "votes"), "packed"),
        "packed, compressed": (lambda: packed(folder / "compressed"), "compressed"),
        "packed, then cached in memory": (cached(packed(folder / "packed", epochs=1)), "packed"),
        "Keras PyDataset, 2 threads": (py_dataset(files), "png"),
    }
    if (loader := torch_loader(files)) is not None:
        ways["torch DataLoader, 2 processes"] = loader, "png"
    seconds = {way: [] for way in ways}
    for _ in range(repeats + 1):  # the first epoch warms up
        for way, (start, _) in ways.items():
            batches = iter(start())
            next(batches)
            begin = time.perf_counter()
            count = sum(len(image) for image, *_ in batches)
            seconds[way].append(time.perf_counter() - begin)
            assert count == EPOCHS * num - BATCH, (way, count)
    speed = {way: (EPOCHS * num - BATCH) / min(times[1:]) for way, times in seconds.items()}
    for way, (_, place) in ways.items():
        size = sum(file.stat().st_size for file in (folder / place).iterdir()) / 1e6
        ratio = speed[way] / speed["tf.data, K+1 PNG files"]
        print(f"| {num} of {side}² | {num_raters} | {way} | {speed[way]:.0f} | {ratio:.1f} | {size:.1f} |", flush=True)


def write(folder, num, side, num_raters):
    """8-bit PNG files of generated cases."""
    folder.mkdir()
    arrays = datasets.ambiguous_shapes(num, side, num_raters)
    for name, image, ratings in zip(arrays["id"], arrays["image"], arrays["ratings"], strict=True):
        Image.fromarray(np.rint(image[..., 0] * 255).astype(np.uint8)).save(folder / f"{name}_image.png")
        for rater in range(num_raters):
            mask = (ratings[..., rater] == 1) * np.uint8(255)
            Image.fromarray(mask).save(folder / f"{name}_rater{rater + 1}.png")


def decoded(files):
    """K+1 PNG files of each case, decoded in tf.data on all cores."""

    def read(names):
        image = tf.io.decode_png(tf.io.read_file(names[0]), channels=1)
        masks = [
            tf.io.decode_png(tf.io.read_file(names[r]), channels=1)[..., 0] for r in range(1, len(files[0]))
        ]
        return tf.cast(image, tf.float32) / 255, tf.cast(tf.stack(masks, axis=-1) > 0, tf.int8)

    dataset = tf.data.Dataset.from_tensor_slices(files).shuffle(len(files))
    dataset = dataset.map(read, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH).repeat(EPOCHS)
    dataset = dataset.prefetch(tf.data.AUTOTUNE)
    return lambda: dataset


def packed(directory, target="ratings", epochs=EPOCHS):
    dataset = data.from_packed(directory, target=target, shuffle_seed=0, batch_size=BATCH, epochs=epochs)
    return dataset.map(lambda case: (case["image"], case[target])).prefetch(tf.data.AUTOTUNE)


def cached(dataset):
    dataset = dataset.unbatch().cache().shuffle(1024).batch(BATCH).repeat(EPOCHS).prefetch(tf.data.AUTOTUNE)
    return lambda: dataset


def opened(names):
    """One case with Pillow."""
    image, *masks = (np.asarray(Image.open(name)) for name in names)
    return image[..., None] / np.float32(255), (np.stack(masks, axis=-1) > 0).astype(np.int8)


def py_dataset(files):
    class Plain(keras.utils.PyDataset):
        def __len__(self):
            return -(-len(files) // BATCH)

        def __getitem__(self, index):
            cases = [opened(files[i]) for i in order[index * BATCH : (index + 1) * BATCH]]
            return tuple(np.stack(parts) for parts in zip(*cases, strict=True))

    order = np.random.default_rng(0).permutation(len(files))
    dataset, pool = Plain(), ThreadPoolExecutor(WORKERS)  # threads, as Keras' workers=2
    return lambda: pool.map(dataset.__getitem__, EPOCHS * list(range(len(dataset))))


class Files:
    """A torch dataset; at module level, so that worker processes can have it."""

    def __init__(self, files):
        self.files = files

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        return opened(self.files[index])


def torch_loader(files):
    """None where torch is missing."""
    try:
        from torch.utils.data import DataLoader
    except ImportError:
        print("torch is not installed; skipped")
        return None
    loader = DataLoader(
        Files(files), BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=True, multiprocessing_context="spawn"
    )
    return lambda: itertools.chain.from_iterable(itertools.repeat(loader, EPOCHS))


def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


if __name__ == "__main__":
    main()
