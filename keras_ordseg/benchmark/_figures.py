"""The figures of a report, as PNG files of the run folder; all of the first seed."""

import shutil
from functools import partial

import keras
import numpy as np
from keras import ops

from keras_ordseg import plots
from keras_ordseg.benchmark._sensitivity import by_option
from keras_ordseg.benchmark.evaluation import reliability
from keras_ordseg.benchmark.methods import cell_folder
from keras_ordseg.ops import level_probabilities, readout_probability

_FLATTERING = " Where few pixels are marked, even a model that marks nothing looks calibrated here."
_TOGETHER = 7  # methods that one figure can tell apart
_SHOWN = 5  # methods beside an image


def draw(settings, prepared, output, methods, cells, results):
    """Draws all figures; gives `[{"title", "caption", "path"}]` in their order; the path is None where one cannot be drawn.

    Args:
        methods: In their order; the first is the baseline.
        cells: `{key: [cell of each seed]}`.
        results: Of `summarize`, without the figures.
    """
    values = {m["key"]: m["values"] for m in results["methods"]}
    folder = output / "figures"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    drawn, seed, near = [], settings.seeds[0], f"within {settings.band} pixels of any mark"
    collapsed = {m["key"] for m in results["methods"] if m.get("collapsed")}
    label = {m: f"{m.label} (collapsed)" if m.key in collapsed else m.label for m in methods}

    def keep(make, name, title, caption):
        """Draws a figure, or says why it cannot be drawn: a report of hours of training does not end with one figure."""
        try:
            figure = make()
        except ValueError as error:
            drawn.append({"title": title, "caption": f"Not drawn: {error}", "path": None})
            return
        figure.savefig(folder / f"{name}.png", dpi=160)
        drawn.append({"title": title, "caption": caption, "path": f"figures/{name}.png"})

    keep(
        lambda: _tradeoff(methods, label, values, near),
        "tradeoff",
        "Calibration against accuracy",
        "Means over seeds and test images with 95 % intervals of the bootstrap. A method pays for calibration "
        "with accuracy where it lies left of another and below it.",
    )
    for option, panels in by_option(results).items():
        keep(
            partial(plots.sensitivity_curves, panels, x_label=option),
            f"sensitivity_{option}",
            f"Sensitivity to {option}",
            "Means over seeds and test images with 95 % intervals of the bootstrap.",
        )
    for name, region, prefix in (("band_ece", near, "band_"), ("ece", "all pixels", "")):
        for readout in ("expected", "majority"):
            for part, some in _chunks(methods):
                keep(
                    partial(_reliability, some, label, cells, f"{name}_{readout}", f"{readout} readout, {region}"),
                    f"reliability_{prefix}{readout}{part}",
                    f"Reliability, {readout} readout, {region}",
                    "Predicted probability against the share of the raters' answers that mark, test images, seed "
                    f"{seed}. A binary model has one readout, itself.{'' if prefix else _FLATTERING}",
                )
    _draw_cases(settings, prepared, output, methods, cells, values, label, collapsed, keep)
    for part, some in _chunks([m for m in methods if "band_levels" in cells[m.key][0]["sums"]]):
        keep(
            partial(_histogram, some, label, cells, near),
            f"levels_histogram{part}",
            "How often each level occurs",
            f"Share of the pixels {near} that all raters rated, and mean level probabilities there, seed {seed}.",
        )
    for part, some in _chunks([m for m in methods if m.after is None]):
        histories = {label[m]: cells[m.key][0]["history"] for m in some}
        keep(
            partial(plots.training_curves, histories, quantities=("loss", "brier")),
            f"training{part}",
            "Training",
            f"Loss and multi-rater Brier score by epoch, seed {seed}. A loss against fused masks has its Brier score "
            "against them in training, and against all raters in validation.",
        )
    return drawn


def _chunks(methods):
    """`(suffix of the file's name, at most seven methods)`, the baseline first in each."""
    if len(methods) <= _TOGETHER:
        return [("", methods)] if methods else []
    first, rest, step = methods[0], methods[1:], _TOGETHER - 1
    return [(f"_{i // step + 1}", [first, *rest[i : i + step]]) for i in range(0, len(rest), step)]


def _tradeoff(methods, label, values, near):
    """A point for each method that has both numbers."""
    axes = {"x": "band_ece_expected", "y": "soft_dice"}
    points = {label[m]: {axis: _triple(values, m, metric) for axis, metric in axes.items()} for m in methods}
    points = {name: point for name, point in points.items() if None not in (point["x"][0], point["y"][0])}
    if not points:
        raise ValueError(f"no test pixel lies {near}.")
    return plots.calibration_tradeoff(points, x_label=f"ECE {near}, expected readout, %", y_label="soft Dice")


def _triple(values, method, figure):
    entry = values[method.key][figure]
    return entry["mean"], entry["low"], entry["high"]


def _reliability(methods, label, cells, name, title):
    diagrams = {label[m]: reliability(cells[m.key][0]["sums"], name) for m in methods}
    if not any(diagram["counts"].any() for diagram in diagrams.values()):
        raise ValueError(f"no rater's answer lies there ({title}).")
    return plots.reliability_diagram(diagrams, title=title)


def _histogram(methods, label, cells, near):
    shares = {label[m]: np.split(cells[m.key][0]["sums"]["band_levels"].sum(0), 2) for m in methods}
    totals = {name: seen.sum() for name, (_, seen) in shares.items()}
    if not min(totals.values()):
        raise ValueError(f"no test pixel {near} was rated by all raters.")
    observed = next(iter(shares.values()))[1] / next(iter(totals.values()))
    return plots.level_histogram({name: p / totals[name] for name, (p, _) in shares.items()}, observed)


def _draw_cases(settings, prepared, output, methods, cells, values, label, collapsed, keep):
    """Best, median and worst image of the ordinal method of the lowest Brier score, and its levels at some pixels."""
    known = [m for m in methods if values[m.key]["brier"]["mean"] is not None]
    by_brier = sorted(known or methods, key=lambda m: (m.key in collapsed, values[m.key]["brier"]["mean"] or 0.0))
    judge = next((m for m in by_brier if m.levels and m.key not in collapsed), by_brier[0])
    shown = telling_cases(cells[judge.key][0]["sums"]["brier"], prepared.test["ratings"])
    beside = [m for m in methods if m in {methods[0], judge, *by_brier[: _SHOWN - 2]}]
    images = [prepared.test["image"][i] for i in shown]
    marks = [prepared.test["ratings"][i] for i in shown]
    of_fold = np.concatenate([[number] * len(fold.test["id"]) for number, fold in prepared.folds.items()])
    logits = {
        m: [_predict(output, m, settings.seeds[0], of_fold[i], prepared.test["image"][i])[0] for i in shown]
        for m in {*beside, judge}
    }
    maps = {label[m]: [ops.convert_to_numpy(readout_probability(z)) for z in logits[m]] for m in beside}
    predictions = [{name: found[i] for name, found in maps.items()} for i in range(len(shown))]
    if images[0].shape[-1] not in (1, 3):
        images = [image[..., :1] for image in images]
    words = {1: ("",), 2: ("best: ", "worst: "), 3: ("best: ", "median: ", "worst: ")}[len(shown)]
    names = [f"{word}{prepared.test['id'][i]}" for word, i in zip(words, shown, strict=True)]
    among = " among those with a mark" if any((image == 1).any() for image in marks) else ""
    counts = bool(np.any(prepared.test.get("anonymous", False)))
    keep(
        partial(plots.agreement_map, images, marks, predictions, row_titles=names, margin=16, counts=counts),
        "agreement",
        "Agreement maps",
        f"The test images with the best, the median and the worst Brier score of {label[judge]}{among}, and the expected "
        f"readouts of the baseline and the methods of the lowest Brier scores, seed {settings.seeds[0]}.",
    )
    if judge.levels:
        keep(
            partial(_levels, logits[judge][-1], marks[-1], images[-1]),
            "levels",
            f"Level distributions, {label[judge]}",
            f"How many raters mark: pixels of the worst test image ({prepared.test['id'][shown[-1]]}).",
        )


def _levels(logits, marks, image):
    rows, columns = telling_pixels(marks)
    rated = marks[rows, columns]
    return plots.level_distribution(
        ops.convert_to_numpy(level_probabilities(logits))[rows, columns],
        (rated == 1).sum(-1),
        counts=(rated >= 0).sum(-1),
        image=image,
        pixels=np.stack([rows, columns], -1),
    )


def _predict(output, method, seed, fold, image):
    """Logits `(1, *spatial, outputs)` of an image, from the model of the fold that tests it."""
    model = keras.saving.load_model(cell_folder(output, method, seed, fold) / "model.keras", compile=False)
    return np.asarray(model.predict(image[None], verbose=0), "float32")


def telling_cases(brier, ratings):
    """The images of the lowest, the median and the highest Brier score among those with a mark, in this order.

    >>> telling_cases(np.array([[4.0, 2.0], [1.0, 2.0], [9.0, 2.0], [5.0, 2.0]]), np.array([[[1]], [[1]], [[0]], [[1]]]))
    [1, 0, 3]
    """
    marked = np.flatnonzero((ratings == 1).reshape(len(ratings), -1).any(-1))
    rated = np.flatnonzero(brier[:, 1] > 0)
    among = marked if len(marked) else rated if len(rated) else np.arange(len(ratings))
    order = among[np.argsort(brier[among, 0] / np.maximum(brier[among, 1], 1), kind="stable")]
    return list(dict.fromkeys(int(order[place]) for place in (0, (len(order) - 1) // 2, len(order) - 1)))


def telling_pixels(ratings):
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
