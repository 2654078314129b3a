"""From the cells of a run folder to its table, figures, report and exported model."""

import importlib.metadata
import json
import shutil
import subprocess
import time
from pathlib import Path

import keras
import numpy as np

from keras_ordseg import serving
from keras_ordseg.benchmark._figures import draw
from keras_ordseg.benchmark._files import cases_csv, markdown_report, results_csv
from keras_ordseg.benchmark._report import write_report
from keras_ordseg.benchmark.bootstrap import group_weights, tabulate
from keras_ordseg.benchmark.checkpoint import write_atomically, write_json
from keras_ordseg.benchmark.evaluation import collapse, figures
from keras_ordseg.benchmark.methods import cell_folder, select

_PACKAGES = ("keras-ordseg", "keras", "tensorflow", "keras-cv", "numpy", "matplotlib", "scipy")


def summarize(settings, prepared, output) -> dict:
    """Writes table, figures, report and export of a run whose cells are all there; gives `results.json`'s content."""
    output = Path(output)
    methods = select(settings.methods)
    cells = {m.key: [_load_cell(output, m, seed, prepared.folds) for seed in m.seeds(settings.seeds)] for m in methods}
    table = figures("probability" in prepared.test, settings.band)
    weights = group_weights(prepared.test["group"], settings.resamples)
    baseline = methods[0].key
    collapsed = {key: [found for cell in trainings for found in cell["collapsed"]] for key, trainings in cells.items()}
    out = [key for key, found in collapsed.items() if found]
    values = tabulate({k: [c["sums"] for c in v] for k, v in cells.items()}, table, weights, baseline, out)
    warned = [
        f"{m.label}, {_training(cell['seed'], fold)}: {text}."
        for m in methods
        for cell in cells[m.key]
        for fold, texts in cell["warned"].items()
        for text in texts
    ]
    results = {
        "dataset": prepared.info,
        "settings": settings.as_dict(),
        "fingerprint": prepared.fingerprint,
        "versions": _versions(),
        "commit": _commit(),
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "metrics": [
            {
                "key": f.key,
                "label": f.label,
                "lower_is_better": f.lower_is_better,
                "digits": f.digits,
                "description": f.description,
            }
            for f in table
        ],
        "methods": [
            {
                "key": m.key,
                "label": m.label,
                "description": m.description,
                "seeds": list(m.seeds(settings.seeds)),
                "after": m.after,
                "readout": m.readout,
                "collapsed": collapsed[m.key],
                "parameters": cells[m.key][0]["parameters"],
                "seconds_per_step": _median([c["seconds_per_step"] for c in cells[m.key]]),
                "values": values[m.key],
            }
            for m in methods
        ],
        "baseline": baseline,
        "notes": [*prepared.notes, *warned, _explain(prepared, settings)],
    }
    pictures = draw(settings, prepared, output, methods, cells, results)
    write_atomically(output / "report.md", markdown_report(results, pictures))
    write_atomically(output / "results.csv", results_csv(results))
    write_atomically(output / "cases.csv", cases_csv(prepared.test, methods, cells))
    write_report(output, results, pictures)
    results["export"] = _export(output, methods, settings, next(iter(prepared.folds)), results)
    write_json(output / "results.json", results)
    return results


def _explain(prepared, settings):
    groups, seeds = prepared.info["num_groups"]["test"], len(settings.seeds)
    if groups == 1:
        return f"Values are means over {seeds} training(s) of each method."
    if seeds == 1:
        return (
            f"One training of each method; intervals are 95 % of a bootstrap over the {groups} groups of the test images "
            "(patients), and do not hold what another training seed would change."
        )
    return (
        f"Values are means over {seeds} seeds; intervals are 95 % of a bootstrap over the {groups} groups of the test "
        f"images (patients) and over the {seeds} trainings. An ensemble is one training."
    )


def _load_cell(output, method, seed, folds):
    """What a method and a seed came to; of several folds, with the test images of all and the curves of the first."""
    folders = [cell_folder(output, method, seed, fold) for fold in folds]
    cells = [json.loads((folder / "cell.json").read_text()) for folder in folders]
    sums = []
    for folder in folders:
        with np.load(folder / "sums.npz", allow_pickle=False) as file:
            sums.append(dict(file))
    found = {fold: collapse(part["marks"]) for fold, part in zip(folds, sums, strict=True) if "marks" in part}
    return {
        **cells[0],
        "collapsed": [{"seed": seed, "fold": fold, "marks": marks} for fold, marks in found.items() if marks],
        "warned": {fold: cell.get("warnings", []) for fold, cell in zip(folds, cells, strict=True)},
        "seconds_per_step": _median([cell["seconds_per_step"] for cell in cells]),
        # cells of an earlier release lack what came later
        "sums": {n: np.concatenate([part[n] for part in sums]) for n in sums[0] if all(n in part for part in sums)},
    }


def _training(seed, fold):
    return f"seed {seed}" + ("" if fold is None else f", fold {fold}")


def _export(output, methods, settings, fold, results):
    """The last ordinal model of the first seed (a binary one where there is none), for TensorFlow Serving.

    A method of which a model collapsed is taken only where there is no other.
    """
    seed = settings.seeds[0]
    collapsed = {m["key"] for m in results["methods"] if m["collapsed"]}
    some = [m for m in methods if m.key not in collapsed] or methods
    method = ([m for m in some if m.levels] or some)[-1]
    model = keras.saving.load_model(cell_folder(output, method, seed, fold) / "model.keras", compile=False)
    shutil.rmtree(output / "export", ignore_errors=True)
    values = next(m["values"] for m in results["methods"] if m["key"] == method.key)
    trained = f"{method.label}, seed {seed}" + (" (collapsed)" if method.key in collapsed else "")
    if fold is not None:
        trained += f", fold {fold} of {settings.folds}"
    card = {
        "method": method.label,
        "training": trained if fold is None else f"{trained}; the metrics are those of the models of all folds",
        "data": {name: results["dataset"][name] for name in ("name", "source", "num_images", "num_groups", "citation")},
        "metrics": {
            f["label"]: {name: values[f["key"]][name] for name in ("mean", "low", "high")} for f in results["metrics"]
        },
    }
    path = serving.export(model, output / "export", card=card)
    return {"method": method.key, "label": trained, "path": str(Path(path).relative_to(output))}


def _versions():
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _commit():
    """The commit of the source tree that this package runs from, None when it was installed from an archive."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        git = ["git", "-C", str(root)]
        head = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        state = subprocess.run(
            [*git, "status", "--porcelain"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + (" with changes" if state.strip() else "")


def _median(values):
    """Of the values that are there: a training that was resumed at its end has no time."""
    there = [value for value in values if value is not None]
    return float(np.median(there)) if there else None
