"""From the cells of a run folder to its table, figures, report and exported model."""

import importlib.metadata
import json
import shutil
import subprocess
import time
from pathlib import Path

import keras
import numpy as np
from keras import ops

from keras_ordseg import plots, serving
from keras_ordseg.benchmark._report import markdown_table, write_report
from keras_ordseg.benchmark.bootstrap import group_weights, tabulate
from keras_ordseg.benchmark.checkpoint import write_atomically, write_json
from keras_ordseg.benchmark.evaluation import figures, reliability
from keras_ordseg.benchmark.methods import select
from keras_ordseg.ops import level_probabilities, readout_probability

_PACKAGES = ("keras-ordseg", "keras", "tensorflow", "keras-cv", "numpy", "matplotlib", "scipy")


def summarize(settings, prepared, output) -> dict:
    """Writes table, figures, report and export of a run whose cells are all there; gives `results.json`'s content."""
    output = Path(output)
    methods = select(settings.methods)
    cells = {m.key: [_load_cell(output, m, seed) for seed in settings.seeds] for m in methods}
    table = figures("probability" in prepared.test, settings.band)
    weights = group_weights(prepared.test["group"], settings.resamples)
    baseline = methods[0].key
    values = tabulate({k: [c["sums"] for c in v] for k, v in cells.items()}, table, weights, baseline)
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
                "seeds": list(settings.seeds),
                "parameters": cells[m.key][0]["parameters"],
                "seconds_per_step": _median([c["seconds_per_step"] for c in cells[m.key]]),
                "values": values[m.key],
            }
            for m in methods
        ],
        "baseline": baseline,
        "notes": [*prepared.notes, _explain(prepared, settings)],
    }
    pictures = _draw(settings, prepared, output, methods, cells)
    write_atomically(output / "table.md", markdown_table(results))
    write_report(output, results, pictures)
    results["export"] = _export(output, methods, settings.seeds[0])
    write_json(output / "results.json", results)
    return results


def _explain(prepared, settings):
    groups = prepared.info["num_groups"]["test"]
    return (
        f"Values are means over {len(settings.seeds)} seed(s); intervals are 95 % of a bootstrap over the {groups} groups "
        "of the test images (patients), and do not hold what another training seed would change."
    )


def _load_cell(output, method, seed):
    folder = output / "cells" / f"{method.key}-seed{seed}"
    cell = json.loads((folder / "cell.json").read_text())
    for name in ("sums", "pictures"):
        with np.load(folder / f"{name}.npz", allow_pickle=False) as file:
            cell[name] = dict(file)
    return cell


def _draw(settings, prepared, output, methods, cells):
    """The figures of the report, as PNG files of the run folder; all of the first seed."""
    from keras_ordseg.benchmark.runner import picture_cases

    folder = output / "figures"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    drawn, seed = [], settings.seeds[0]

    def keep(figure, name, title, caption):
        figure.savefig(folder / f"{name}.png", dpi=160)
        drawn.append({"title": title, "caption": caption, "path": f"figures/{name}.png"})

    regions = (
        ("ece", "all pixels", ""),
        ("band_ece", f"within {settings.band} pixels of any mark", "band_"),
    )
    for readout in ("expected", "majority"):
        for name, region, prefix in regions:
            diagrams = {m.label: reliability(cells[m.key][0]["sums"], f"{name}_{readout}") for m in methods}
            keep(
                plots.reliability_diagram(diagrams, title=f"{readout} read-out, {region}"),
                f"reliability_{prefix}{readout}",
                f"Reliability, {readout} read-out, {region}",
                "Predicted probability against the share of the raters' answers that mark, test images, seed "
                f"{seed}. A binary model has one read-out, itself.",
            )
    shown = picture_cases(prepared.test["ratings"])
    predictions = [
        {
            m.label: ops.convert_to_numpy(readout_probability(cells[m.key][0]["pictures"]["y_pred"][i]))
            for m in methods
        }
        for i in range(len(shown))
    ]
    images = [prepared.test["image"][i] for i in shown]
    if images[0].shape[-1] not in (1, 3):
        images = [image[..., :1] for image in images]
    marks = [prepared.test["ratings"][i] for i in shown]
    keep(
        plots.agreement_map(
            images, marks, predictions, row_titles=[str(prepared.test["id"][i]) for i in shown], margin=16
        ),
        "agreement",
        "Agreement maps",
        f"Test images, from the most disputed to the median of the disputed, and the expected read-outs, seed {seed}.",
    )
    ordinal = [m for m in methods if m.levels]
    if ordinal:
        m, (rows, columns) = ordinal[-1], _telling_pixels(marks[0])
        levels = ops.convert_to_numpy(level_probabilities(cells[m.key][0]["pictures"]["y_pred"][0]))[
            rows, columns
        ]
        rated = marks[0][rows, columns]
        keep(
            plots.level_distribution(
                levels,
                (rated == 1).sum(-1),
                counts=(rated >= 0).sum(-1),
                image=images[0],
                pixels=np.stack([rows, columns], -1),
            ),
            "levels",
            f"Level distributions, {m.label}",
            f"How many raters mark: pixels of the most disputed test image ({prepared.test['id'][shown[0]]}).",
        )
    keep(
        plots.training_curves(
            {m.label: cells[m.key][0]["history"] for m in methods}, quantities=("loss", "brier")
        ),
        "training",
        "Training",
        f"Loss and multi-rater Brier score by epoch, seed {seed}.",
    )
    return drawn


def _telling_pixels(ratings):
    """Up to three pixels of one image whose votes are low, middling and high, each as near the marks' middle as can be."""
    votes, counts = (ratings == 1).sum(-1), (ratings >= 0).sum(-1)
    share = np.where(counts > 0, votes / np.maximum(counts, 1), -1.0)
    places = np.stack(np.meshgrid(*map(np.arange, share.shape), indexing="ij"), -1)
    middle = np.average(places.reshape(-1, 2), axis=0, weights=votes.ravel() if votes.any() else None)
    distance = np.linalg.norm(places - middle, axis=-1)
    chosen = []
    for wanted in (0.2, 0.5, 0.8):
        gap = np.abs(share - wanted)
        nearest = np.where(gap <= gap.min() + 1e-9, distance, np.inf)
        place = np.unravel_index(np.argmin(nearest), share.shape)
        if place not in chosen:
            chosen.append(place)
    return tuple(np.array(chosen).T)


def _export(output, methods, seed):
    """The last ordinal model of the first seed (a binary one where there is none), for TensorFlow Serving."""
    method = ([m for m in methods if m.levels] or methods)[-1]
    model = keras.saving.load_model(
        output / "cells" / f"{method.key}-seed{seed}" / "model.keras", compile=False
    )
    shutil.rmtree(output / "export", ignore_errors=True)
    return {
        "method": method.key,
        "path": str(Path(serving.export(model, output / "export")).relative_to(output)),
    }


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
