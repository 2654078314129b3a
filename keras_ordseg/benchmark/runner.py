"""Trains and evaluates every cell of a benchmark, into a run folder that can be resumed."""

import contextlib
import json
import os
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import keras
import numpy as np

from keras_ordseg import calibration, data
from keras_ordseg.benchmark._folder import check_folder, check_settings, open_folder
from keras_ordseg.benchmark._workers import check_processes, run_jobs
from keras_ordseg.benchmark.checkpoint import Checkpoint, Progress, write_json
from keras_ordseg.benchmark.evaluation import image_sums
from keras_ordseg.benchmark.methods import cell_folder, select
from keras_ordseg.benchmark.preparation import Fold, Prepared, prepare
from keras_ordseg.benchmark.settings import Settings
from keras_ordseg.benchmark.summary import summarize
from keras_ordseg.metrics import MultiRaterBrier
from keras_ordseg.models import describe_images, small_backbone


class TrainingError(RuntimeError):
    """A training did not come to a usable end."""


def run(settings: Settings, output, overwrite=False, resume=False, stream=None, processes=1) -> dict:
    """Runs a benchmark: trains each method with each seed, evaluates, and writes the report.

    The folder `output` then holds `report.html`, `report.md`, `results.json`, `results.csv` (by method), `cases.csv` (by
    image), `figures/`, `settings.json`, one folder for each cell in `cells/` (model, training log, sums of each test image),
    and `export/` with the first seed's last ordinal model for TensorFlow Serving.

    A run that was interrupted at any moment continues with `resume=True` to the result that it would have had.

    Args:
        settings: A `Settings`.
        output: The run folder.
        overwrite: Delete an earlier run there. A folder that is not a run is never deleted.
        resume: Continue an earlier run of the same settings and data; there may be more `methods` and `seeds`, of which
            only the new ones are trained, and other `resamples` and `citation`.
        stream: Where progress goes. Default: the standard error stream.
        processes: How many trainings run at a time, each in a process of its own with its share of the processors. A
            script that asks for more than one keeps its calls below `if __name__ == "__main__":`.

    Returns:
        The content of `results.json`.

    Raises:
        RunFolderError: If the folder is not empty and neither `overwrite` nor `resume` says what to do, or a run to
            resume has other settings or data.
        DataError: For anything wrong with the data, before training starts.
        ValueError: For settings that do not fit the data, before training starts.
        TrainingError: If a loss is not finite any more, or one of several processes was killed.
    """
    check_processes(processes)
    ((_, _, prepared),) = start({output: settings}, overwrite, resume, stream)
    return finish(settings, prepared, output, stream, processes)


def start(runs: dict, overwrite=False, resume=False, stream=None) -> list:
    """The part of `run` before any training: everything that the user can have got wrong is found here.

    Args:
        runs: `{output: Settings}`. No folder is made or changed before all of them are checked.

    Returns:
        `(output, settings, prepared)` of each.
    """
    stream, started = stream or sys.stderr, []
    for output, settings in runs.items():
        if not isinstance(settings, Settings):
            raise TypeError(f"settings: expected a benchmark.Settings. Received: {settings!r}.")
        check_folder(Path(output), overwrite, resume)
    for output, settings in runs.items():
        prepared = prepare(settings, progress=stream.isatty())
        if resume:
            check_settings(Path(output), settings, prepared)
            if not Path(output).is_dir():
                stream.write(f"note: there is nothing to resume in {output}; the run begins.\n")
        for note in prepared.notes:
            stream.write(f"note: {note}\n")
        started.append((output, settings, prepared))
    for output, settings, prepared in started:
        open_folder(Path(output), settings, prepared, overwrite)
    return started


def finish(settings: Settings, prepared: Prepared, output, stream=None, processes=1) -> dict:
    """The part of `run` after `start`: trainings that are not done yet, evaluation, report."""
    stream, output = stream or sys.stderr, Path(output)
    methods = select(settings.methods)
    trained = list(dict.fromkeys(method.trained for method in methods))
    jobs = [(method, seed, fold) for seed in settings.seeds for fold in prepared.folds for method in trained]
    later = [(m, seed, fold) for m in methods if m.after for seed in m.seeds(settings.seeds) for fold in prepared.folds]
    for part in (jobs, later):  # what comes after training needs all of it
        numbered = [(*job, f"[{i}/{len(part)}] ", len(part) - i) for i, job in enumerate(part, 1)]
        todo = [job for job in numbered if not (cell_folder(output, *job[:3]) / "cell.json").is_file()]
        try:
            run_jobs(run_cell, todo, processes, (settings, prepared, output), stream)
        except BrokenProcessPool as error:
            raise TrainingError(
                "A training process was ended from outside, perhaps for want of memory. Continue with --resume and fewer "
                "--processes; what is trained is kept."
            ) from error
    return summarize(settings, prepared, output)


def run_cell(settings, prepared, output, stream, method, seed, fold, number, rest):
    """Trains and evaluates one cell, or calibrates one that is trained, into its folder."""
    folder = cell_folder(output, method, seed, fold)
    title = f"{number}{method.label}, seed {seed}{'' if fold is None else f', fold {fold}'}"
    with _deterministic():
        if method.after:
            stream.write(f"{title}\n")
            _run_after(method, seed, fold, settings, prepared.folds[fold], output, folder)
        else:
            _run_training(method, seed, settings, prepared.folds[fold], folder, title, rest, stream)
    keras.utils.clear_session()


@contextlib.contextmanager
def _deterministic():
    """The same operations in the same order: what makes a resumed run equal an uninterrupted one.

    Afterwards it is as it was, since XLA and random layers of the caller's own code do not work with it.
    """
    if keras.backend.backend() != "tensorflow":
        yield
        return
    from tensorflow.python.framework import config  # the public API can only turn it on

    before = config.is_op_determinism_enabled()
    config.enable_op_determinism()
    try:
        yield
    finally:
        if not before:
            config.disable_op_determinism()


def build_model(method, seed, settings, images: Fold):
    """The compiled model of a cell: the same backbone and decoder weights for every method of a seed."""
    keras.utils.set_random_seed(seed)
    channels = images.train["image"].shape[-1]
    network = {
        "backbone": small_backbone((None, None, channels), filters=settings.filters),
        "decoder": settings.decoder,
        "dropout": settings.dropout,
    }
    seen = method.training_arrays(images.train)["ratings"]  # the prior of levels is that of the panel
    model = method.build(network, data.level_frequencies(images.train["ratings"]), data.mean_vote(seen))
    if settings.data is not None and (settings.size is not None or settings.window is not None):
        fit = None if settings.size is None else settings.fit
        describe_images(model, size=settings.size, fit=fit, window=settings.window)
    steps = data.steps_per_epoch(images.train, settings.batch_size)
    schedule = keras.optimizers.schedules.CosineDecay(settings.learning_rate, steps * settings.epochs)
    model.compile(keras.optimizers.Adam(schedule), method.loss(), metrics=[MultiRaterBrier(name="brier")])
    return model


def _run_training(method, seed, settings, images: Fold, folder, title, rest, stream):
    folder.mkdir(parents=True, exist_ok=True)
    model = build_model(method, seed, settings, images)
    checkpoint, progress = Checkpoint(folder / "epochs", seed), Progress(title, settings.epochs, rest, stream)
    start = checkpoint.restore(model)
    if start < settings.epochs:
        train = method.batches(
            method.training_arrays(images.train),
            settings.batch_size,
            augment=_augmentation(settings),
            seed=seed,
            epochs=settings.epochs,
            first_epoch=start,
        )
        model.fit(
            train,
            steps_per_epoch=data.steps_per_epoch(images.train, settings.batch_size),
            validation_data=data.batches(images.validation, settings.batch_size, shuffle=False),
            epochs=settings.epochs,
            initial_epoch=start,
            shuffle=False,  # the batches come shuffled
            verbose=0,
            callbacks=[checkpoint, progress, keras.callbacks.TerminateOnNaN()],
        )
    if checkpoint.epoch < settings.epochs or not np.isfinite(checkpoint.history["loss"][-1]):
        raise TrainingError(f"{title}: the loss is not finite any more. Try a smaller --learning-rate.")
    _evaluate(model, settings, images.test, folder)
    cell = {
        "method": method.key,
        "seed": seed,
        "parameters": int(model.count_params()),
        "seconds_per_step": progress.seconds_per_step(),
        "history": checkpoint.history,
    }
    write_json(folder / "cell.json", cell)
    checkpoint.clear()


def _run_after(method, seed, fold, settings, images: Fold, output, folder):
    """What is done with trained models: a calibrator fitted on the validation images, or the seeds' ensemble."""
    folder.mkdir(parents=True, exist_ok=True)
    seeds = settings.seeds if method.after == "ensemble" else (seed,)
    folders = [cell_folder(output, method.trained, s, fold) for s in seeds]
    members = [keras.saving.load_model(f / "model.keras", compile=False) for f in folders]
    before = [json.loads((f / "cell.json").read_text()) for f in folders]
    cell = {"method": method.key, "seed": seed, "seconds_per_step": None, "history": before[0]["history"]}
    if method.after == "ensemble":
        from keras_ordseg.models import Ensemble

        model = Ensemble(members)
    else:
        y_pred = members[0].predict(images.validation["image"], batch_size=settings.batch_size, verbose=0)
        calibrator = calibration.fit(images.validation["ratings"], y_pred, method.after)
        model = calibration.attach(members[0], calibrator)
        cell["calibrator"] = calibrator.get_config()
    _evaluate(model, settings, images.test, folder)
    write_json(folder / "cell.json", {**cell, "parameters": sum(b["parameters"] for b in before)})


def _evaluate(model, settings, test, folder):
    """Saves the model and the sums of each test image."""
    _save_model(model, folder / "model.keras")
    y_pred = model.predict(test["image"], batch_size=settings.batch_size, verbose=0)
    y_pred = np.asarray(y_pred, "float32")
    sums = image_sums(y_pred, test["ratings"], settings.band, test.get("probability"))
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
