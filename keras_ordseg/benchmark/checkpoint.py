"""Training that can be killed at any moment and continues to the same result."""

import csv
import hashlib
import json
import os
import shutil
import sys
import time
from io import StringIO
from pathlib import Path

import keras
import numpy as np


def write_atomically(path, text):
    """Writes `text` to a temporary file beside `path`, then renames it: never half a file."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def write_json(path, content):
    """Writes JSON atomically; NaN and infinity, which JSON does not have, become null."""
    write_atomically(path, json.dumps(_finite(content), indent=1, allow_nan=False))


def _finite(x):
    if isinstance(x, dict):
        return {str(key): _finite(value) for key, value in x.items()}
    if isinstance(x, (list, tuple)):
        return [_finite(value) for value in x]
    if isinstance(x, np.generic):
        x = x.item()
    return None if isinstance(x, float) and not np.isfinite(x) else x


class Checkpoint(keras.callbacks.Callback):
    """Saves weights, optimizer and history together after each epoch, and restores the last complete epoch.

    `keras.callbacks.BackupAndRestore` writes weights and epoch number as two files, so that a kill between the two
    repeats an epoch on weights that have seen it. Here an epoch is a folder that appears by a rename. Whatever is random
    within an epoch (dropout) is seeded from `(seed, epoch)`, so that the resumed run draws what the other would have.

    Args:
        directory: Where the epochs are kept; only the last one stays.
        seed: Of this training.

    Attributes:
        epoch: Number of epochs done, after `restore`.
        history: `{name: [value of each epoch]}`.
    """

    def __init__(self, directory, seed):
        super().__init__()
        self.directory = Path(directory)
        self.seed = seed
        self.epoch = 0
        self.history = {}

    def restore(self, model):
        """Puts the last complete epoch, if there is one, into a compiled model; gives the number of epochs done."""
        done = sorted(self.directory.glob("epoch-*"))
        if done:
            if not model.optimizer.built:
                model.optimizer.build(model.trainable_variables)
            model.load_weights(done[-1] / "state.weights.h5")
            state = json.loads((done[-1] / "state.json").read_text())
            self.epoch, self.history = state["epoch"], state["history"]
        return self.epoch

    def on_epoch_begin(self, epoch, logs=None):
        for index, variable in enumerate(v for v in self.model.variables if v.name == "seed_generator_state"):
            digest = hashlib.sha256(f"{self.seed}/{epoch}/{index}".encode()).digest()
            variable.assign(np.frombuffer(digest[: 4 * variable.shape[0]], "uint32") >> 1)

    def on_epoch_end(self, epoch, logs=None):
        self.epoch = epoch + 1
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        temporary = self.directory / ".writing"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        self.model.save_weights(temporary / "state.weights.h5")
        (temporary / "state.json").write_text(json.dumps({"epoch": self.epoch, "history": self.history}))
        before = list(self.directory.glob("epoch-*"))
        os.replace(temporary, self.directory / f"epoch-{self.epoch:06d}")
        for folder in before:
            shutil.rmtree(folder)
        write_atomically(self.directory.parent / "training.csv", _as_csv(self.history))

    def clear(self):
        """Removes the epochs, once what was trained is saved elsewhere."""
        shutil.rmtree(self.directory, ignore_errors=True)


def _as_csv(history):
    text = StringIO()
    writer = csv.writer(text)
    writer.writerow(["epoch", *history])
    writer.writerows([i, *row] for i, row in enumerate(zip(*history.values(), strict=True), 1))
    return text.getvalue()


class Progress(keras.callbacks.Callback):
    """One line for the epoch in progress: where the run is, the losses, and how long the rest takes.

    Args:
        title: What is being trained.
        epochs: Number of epochs.
        rest: Number of trainings that follow this one, for the estimate.
        stream: Where to write. Default: the standard error stream; on a terminal the line rewrites itself.
    """

    def __init__(self, title, epochs, rest, stream=None):
        super().__init__()
        self.title, self.epochs, self.rest = title, epochs, rest
        self.stream = stream or sys.stderr
        self.seconds = []  # of each epoch
        self.steps = 0

    def on_epoch_begin(self, epoch, logs=None):
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(time.perf_counter() - self._start)
        self.steps = self.params.get("steps") or 0
        logs = logs or {}
        each = float(np.median(self.seconds))
        left = each * (self.epochs - epoch - 1 + self.rest * self.epochs)
        line = (
            f"{self.title}  epoch {epoch + 1}/{self.epochs}  loss {logs.get('loss', float('nan')):.4f}  "
            f"validation {logs.get('val_loss', float('nan')):.4f}  {each:.1f} s/epoch, about {_duration(left)} left"
        )
        live = self.stream.isatty()
        if live:
            end = "\n" if epoch + 1 == self.epochs else ""
            self.stream.write(f"\r\033[K{line}{end}")
        elif (epoch + 1) % max(self.epochs // 10, 1) == 0 or epoch + 1 == self.epochs:
            self.stream.write(f"{line}\n")
        self.stream.flush()

    def seconds_per_step(self):
        """Median over the epochs after the first, which also compiles; NaN where there was none."""
        after = self.seconds[1:] or self.seconds
        return float(np.median(after)) / self.steps if after and self.steps else float("nan")


def _duration(seconds):
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
