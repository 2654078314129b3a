"""Trains and evaluates every cell of a benchmark, into a run folder that can be resumed."""

import json
import os
import shutil
import sys
from pathlib import Path

import keras
import numpy as np

from keras_ordseg import data
from keras_ordseg.benchmark.checkpoint import Checkpoint, Progress, write_json
from keras_ordseg.benchmark.evaluation import image_sums
from keras_ordseg.benchmark.methods import select
from keras_ordseg.benchmark.settings import Prepared, Settings, prepare
from keras_ordseg.benchmark.summary import summarize
from keras_ordseg.metrics import MultiRaterBrier
from keras_ordseg.models import small_backbone


class RunFolderError(ValueError):
    """The run folder is in use, or does not fit the settings."""


class TrainingError(RuntimeError):
    """A training did not come to a usable end."""


def run(settings: Settings, output, overwrite=False, resume=False, stream=None) -> dict:
    """Runs a benchmark: trains each method with each seed, evaluates, and writes the report.

    The folder `output` then holds `report.html`, `results.json`, `table.md`, `figures/`, `settings.json`, one folder
    for each training in `cells/` (model, training log, sums of each test image), and `export/` with the first ordinal
    model for TensorFlow Serving.

    A run that was interrupted at any moment continues with `resume=True` to the result that it would have had.

    Args:
        settings: A `Settings`.
        output: The run folder.
        overwrite: Delete an earlier run there. A folder that is not a run is never deleted.
        resume: Continue an earlier run of the same settings and data.
        stream: Where progress goes. Default: the standard error stream.

    Returns:
        The content of `results.json`.

    Raises:
        RunFolderError: If the folder is not empty and neither `overwrite` nor `resume` says what to do, or a run to
            resume has other settings or data.
        DataError: For anything wrong with the data, before training starts.
        ValueError: For settings that do not fit the data, before training starts.
        TrainingError: If a loss is not finite any more.
    """
    prepared = start(settings, output, overwrite, resume, stream)
    return finish(settings, prepared, output, stream)


def start(settings: Settings, output, overwrite=False, resume=False, stream=None) -> Prepared:
    """The part of `run` before any training: everything that the user can have got wrong is found here."""
    stream, output = stream or sys.stderr, Path(output)
    _check_folder(output, overwrite, resume)
    prepared = prepare(settings, progress=stream.isatty())
    for note in prepared.notes:
        stream.write(f"note: {note}\n")
    _open_folder(output, settings, prepared, overwrite, resume)
    return prepared


def finish(settings: Settings, prepared: Prepared, output, stream=None) -> dict:
    """The part of `run` after `start`: trainings that are not done yet, evaluation, report."""
    stream, output = stream or sys.stderr, Path(output)
    methods, total = select(settings.methods), len(settings.methods) * len(settings.seeds)
    _be_deterministic()
    number = 0
    for seed in settings.seeds:
        for method in methods:
            number += 1
            folder = output / "cells" / f"{method.key}-seed{seed}"
            if not (folder / "cell.json").is_file():
                title = f"[{number}/{total}] {method.label}, seed {seed}"
                _run_cell(method, seed, settings, prepared, folder, title, total - number, stream)
            keras.utils.clear_session()
    return summarize(settings, prepared, output)


def _be_deterministic():
    """The same operations in the same order: what makes a resumed run equal an uninterrupted one."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


def _check_folder(output, overwrite, resume):
    if overwrite and resume:
        raise RunFolderError(
            "--overwrite and --resume exclude each other: delete the earlier run, or continue it?"
        )
    if output.exists() and not output.is_dir():
        raise RunFolderError(f"output: {output} is a file, a folder is needed.")
    if not output.is_dir() or not any(output.iterdir()):
        return
    if not (output / "settings.json").is_file():
        raise RunFolderError(f"output: {output} is not empty and does not hold a run. Choose another folder.")
    if not (overwrite or resume):
        raise RunFolderError(
            f"output: {output} holds a run already. Continue it with --resume, delete it with --overwrite, or choose "
            "another folder."
        )


def _open_folder(output, settings, prepared, overwrite, resume):
    described = {"settings": settings.as_dict(), "fingerprint": prepared.fingerprint}
    described = json.loads(json.dumps(described))
    if overwrite and output.is_dir():
        shutil.rmtree(output)
    output.mkdir(parents=True, exist_ok=True)
    path = output / "settings.json"
    if resume and path.is_file():
        before = json.loads(path.read_text())
        if before.get("fingerprint") != described["fingerprint"]:
            raise RunFolderError(
                f"output: the data changed since the run in {output} began. Start it anew (--overwrite)."
            )
        changed = [
            f"{name} was {before['settings'].get(name)!r}, now {value!r}"
            for name, value in described["settings"].items()
            if before["settings"].get(name) != value
        ]
        if changed:
            raise RunFolderError(
                f"output: the run in {output} has other settings: {'; '.join(changed)}. Resume it with the settings it "
                "began with, or choose another folder."
            )
    write_json(path, described)


def build_model(method, seed, settings, prepared):
    """The compiled model of a cell: the same backbone and decoder weights for every method of a seed."""
    keras.utils.set_random_seed(seed)
    channels = prepared.train["image"].shape[-1]
    network = {
        "backbone": small_backbone((None, None, channels), filters=settings.filters),
        "decoder": settings.decoder,
        "dropout": settings.dropout,
    }
    model = method.build(
        network, data.level_frequencies(prepared.train["ratings"]), data.mean_vote(prepared.train["ratings"])
    )
    steps = data.steps_per_epoch(prepared.train, settings.batch_size)
    schedule = keras.optimizers.schedules.CosineDecay(settings.learning_rate, steps * settings.epochs)
    model.compile(keras.optimizers.Adam(schedule), method.loss(), metrics=[MultiRaterBrier(name="brier")])
    return model


def _run_cell(method, seed, settings, prepared: Prepared, folder, title, rest, stream):
    folder.mkdir(parents=True, exist_ok=True)
    model = build_model(method, seed, settings, prepared)
    checkpoint, progress = Checkpoint(folder / "epochs", seed), Progress(title, settings.epochs, rest, stream)
    start = checkpoint.restore(model)
    if start < settings.epochs:
        train = data.batches(
            prepared.train,
            settings.batch_size,
            augment=_augmentation(settings),
            seed=seed,
            epochs=settings.epochs,
            first_epoch=start,
        )
        model.fit(
            train,
            steps_per_epoch=data.steps_per_epoch(prepared.train, settings.batch_size),
            validation_data=data.batches(prepared.validation, settings.batch_size, shuffle=False),
            epochs=settings.epochs,
            initial_epoch=start,
            shuffle=False,  # the batches come shuffled
            verbose=0,
            callbacks=[checkpoint, progress, keras.callbacks.TerminateOnNaN()],
        )
    if checkpoint.epoch < settings.epochs or not np.isfinite(checkpoint.history["loss"][-1]):
        raise TrainingError(f"{title}: the loss is not finite any more. Try a smaller --learning-rate.")
    _save_model(model, folder / "model.keras")
    y_pred = model.predict(prepared.test["image"], batch_size=settings.batch_size, verbose=0)
    y_pred = np.asarray(y_pred, "float32")
    sums = image_sums(y_pred, prepared.test["ratings"], settings.band, prepared.test.get("probability"))
    _save_arrays(folder / "sums.npz", sums)
    _save_arrays(folder / "pictures.npz", {"y_pred": y_pred[picture_cases(prepared.test["ratings"])]})
    cell = {
        "method": method.key,
        "seed": seed,
        "parameters": int(model.count_params()),
        "seconds_per_step": progress.seconds_per_step(),
        "history": checkpoint.history,
    }
    write_json(folder / "cell.json", cell)
    checkpoint.clear()


def _augmentation(settings):
    return data.Augmentation(brightness=0.1, contrast=0.2) if settings.augment else None


def picture_cases(ratings, count=3):
    """Test images to show, chosen by the ratings alone: the most disputed, then towards the median of the disputed.

    >>> ratings = np.zeros((3, 4, 2), "int8")
    >>> ratings[0, 0, 0] = ratings[2, :2, 1] = 1
    >>> picture_cases(ratings).tolist()
    [2, 0]
    """
    marked, unmarked = (ratings == 1).any(-1), (ratings == 0).any(-1)
    disputed = (marked & unmarked).reshape(len(ratings), -1).sum(-1)
    order = np.argsort(-disputed, kind="stable")[: max(int((disputed > 0).sum()), 1)]
    places = np.unique(np.floor(np.linspace(0, len(order) // 2, count)).astype(int))
    return order[places]


def _save_model(model, path):
    temporary = path.with_name(f".writing-{path.name}")
    model.save(temporary)
    os.replace(temporary, path)


def _save_arrays(path, arrays):
    temporary = path.with_name(f".writing-{path.name}")
    with open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)
    os.replace(temporary, path)
