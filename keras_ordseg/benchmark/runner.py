"""Trains and evaluates every cell of a benchmark, into a run folder that can be resumed."""

import json
import os
import sys
from pathlib import Path

import keras
import numpy as np

from keras_ordseg import calibration, data
from keras_ordseg.benchmark._folder import check_folder, open_folder
from keras_ordseg.benchmark.checkpoint import Checkpoint, Progress, write_json
from keras_ordseg.benchmark.evaluation import image_sums
from keras_ordseg.benchmark.methods import cell_folder, select
from keras_ordseg.benchmark.settings import Prepared, Settings, prepare
from keras_ordseg.benchmark.summary import summarize
from keras_ordseg.metrics import MultiRaterBrier
from keras_ordseg.models import small_backbone


class TrainingError(RuntimeError):
    """A training did not come to a usable end."""


def run(settings: Settings, output, overwrite=False, resume=False, stream=None) -> dict:
    """Runs a benchmark: trains each method with each seed, evaluates, and writes the report.

    The folder `output` then holds `report.html`, `report.md`, `results.json`, `results.csv` (by method), `cases.csv` (by
    image), `figures/`, `settings.json`, one folder for each cell in `cells/` (model, training log, sums of each test image),
    and `export/` with the first seed's last ordinal model for TensorFlow Serving.

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
    check_folder(output, overwrite, resume)
    prepared = prepare(settings, progress=stream.isatty())
    for note in prepared.notes:
        stream.write(f"note: {note}\n")
    open_folder(output, settings, prepared, overwrite, resume)
    return prepared


def finish(settings: Settings, prepared: Prepared, output, stream=None) -> dict:
    """The part of `run` after `start`: trainings that are not done yet, evaluation, report."""
    stream, output = stream or sys.stderr, Path(output)
    methods = select(settings.methods)
    trained = list(dict.fromkeys(method.trained for method in methods))
    _be_deterministic()
    number, total = 0, len(trained) * len(settings.seeds)
    for seed in settings.seeds:
        for method in trained:
            number += 1
            folder = cell_folder(output, method, seed)
            if not (folder / "cell.json").is_file():
                title = f"[{number}/{total}] {method.label}, seed {seed}"
                _run_cell(method, seed, settings, prepared, folder, title, total - number, stream)
            keras.utils.clear_session()
    for method in methods:
        for seed in method.seeds(settings.seeds) if method.after else ():
            folder = cell_folder(output, method, seed)
            if not (folder / "cell.json").is_file():
                stream.write(f"{method.label}, seed {seed}\n")
                _run_after(method, seed, settings, prepared, output, folder)
            keras.utils.clear_session()
    return summarize(settings, prepared, output)


def _be_deterministic():
    """The same operations in the same order: what makes a resumed run equal an uninterrupted one."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


def build_model(method, seed, settings, prepared):
    """The compiled model of a cell: the same backbone and decoder weights for every method of a seed."""
    keras.utils.set_random_seed(seed)
    channels = prepared.train["image"].shape[-1]
    network = {
        "backbone": small_backbone((None, None, channels), filters=settings.filters),
        "decoder": settings.decoder,
        "dropout": settings.dropout,
    }
    seen = method.training_arrays(prepared.train)["ratings"]  # the prior of levels is that of the panel
    model = method.build(network, data.level_frequencies(prepared.train["ratings"]), data.mean_vote(seen))
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
        train = method.batches(
            method.training_arrays(prepared.train),
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
    _evaluate(model, settings, prepared, folder)
    cell = {
        "method": method.key,
        "seed": seed,
        "parameters": int(model.count_params()),
        "seconds_per_step": progress.seconds_per_step(),
        "history": checkpoint.history,
    }
    write_json(folder / "cell.json", cell)
    checkpoint.clear()


def _run_after(method, seed, settings, prepared: Prepared, output, folder):
    """What is done with trained models: a calibrator fitted on the validation images, or the seeds' ensemble."""
    folder.mkdir(parents=True, exist_ok=True)
    seeds = settings.seeds if method.after == "ensemble" else (seed,)
    folders = [cell_folder(output, method.trained, s) for s in seeds]
    members = [keras.saving.load_model(f / "model.keras", compile=False) for f in folders]
    before = [json.loads((f / "cell.json").read_text()) for f in folders]
    cell = {"method": method.key, "seed": seed, "seconds_per_step": None, "history": before[0]["history"]}
    if method.after == "ensemble":
        from keras_ordseg.models import Ensemble

        model = Ensemble(members)
    else:
        images = prepared.validation["image"]
        y_pred = members[0].predict(images, batch_size=settings.batch_size, verbose=0)
        calibrator = calibration.fit(prepared.validation["ratings"], y_pred, method.after)
        model = calibration.attach(members[0], calibrator)
        cell["calibrator"] = calibrator.get_config()
    _evaluate(model, settings, prepared, folder)
    write_json(folder / "cell.json", {**cell, "parameters": sum(b["parameters"] for b in before)})


def _evaluate(model, settings, prepared, folder):
    """Saves the model and the sums of each test image."""
    _save_model(model, folder / "model.keras")
    y_pred = model.predict(prepared.test["image"], batch_size=settings.batch_size, verbose=0)
    y_pred = np.asarray(y_pred, "float32")
    sums = image_sums(y_pred, prepared.test["ratings"], settings.band, prepared.test.get("probability"))
    _save_arrays(folder / "sums.npz", sums)


def _augmentation(settings):
    return data.Augmentation(brightness=0.1, contrast=0.2) if settings.augment else None


def _save_model(model, path):
    temporary = path.with_name(f".writing-{path.name}")
    model.save(temporary)
    os.replace(temporary, path)


def _save_arrays(path, arrays):
    temporary = path.with_name(f".writing-{path.name}")
    with open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)
    os.replace(temporary, path)
