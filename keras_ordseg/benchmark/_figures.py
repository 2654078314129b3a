"""The figures of a report, as PNG files of the run folder; all of the first seed."""

import shutil

import keras
import numpy as np
from keras import ops

from keras_ordseg import plots
from keras_ordseg.benchmark._sensitivity import by_option
from keras_ordseg.benchmark.evaluation import reliability
from keras_ordseg.benchmark.methods import cell_folder
from keras_ordseg.ops import level_probabilities, readout_probability

_TOGETHER = 7  # methods that one figure can tell apart
_SHOWN = 5  # methods beside an image


def draw(settings, prepared, output, methods, cells, results):
    """Draws all figures; gives `[{"title", "caption", "path"}]` in their order.

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

    def keep(figure, name, title, caption):
        figure.savefig(folder / f"{name}.png", dpi=160)
        drawn.append({"title": title, "caption": caption, "path": f"figures/{name}.png"})

    keep(
        plots.calibration_tradeoff(
            {m.label: {"x": _triple(values, m, "band_ece_expected"), "y": _triple(values, m, "soft_dice")} for m in methods},
            x_label=f"ECE {near}, expected read-out, %",
            y_label="soft Dice",
        ),
        "tradeoff",
        "Calibration against accuracy",
        "Means over seeds and test images with 95 % intervals of the bootstrap. A method pays for calibration "
        "with accuracy where it lies left of another and below it.",
    )
    for option, panels in by_option(results).items():
        keep(
            plots.sensitivity_curves(panels, x_label=option),
            f"sensitivity_{option}",
            f"Sensitivity to {option}",
            "Means over seeds and test images with 95 % intervals of the bootstrap.",
        )
    for readout in ("expected", "majority"):
        for name, region, prefix in (("ece", "all pixels", ""), ("band_ece", near, "band_")):
            for part, some in _chunks(methods):
                diagrams = {m.label: reliability(cells[m.key][0]["sums"], f"{name}_{readout}") for m in some}
                keep(
                    plots.reliability_diagram(diagrams, title=f"{readout} read-out, {region}"),
                    f"reliability_{prefix}{readout}{part}",
                    f"Reliability, {readout} read-out, {region}",
                    "Predicted probability against the share of the raters' answers that mark, test images, seed "
                    f"{seed}. A binary model has one read-out, itself.",
                )
    _draw_cases(settings, prepared, output, methods, cells, values, keep)
    counted = [m for m in methods if "band_levels" in cells[m.key][0]["sums"]]
    for part, some in _chunks(counted):
        shares = {m.label: np.split(cells[m.key][0]["sums"]["band_levels"].sum(0), 2) for m in some}
        totals = {label: seen.sum() for label, (_, seen) in shares.items()}
        if min(totals.values()) > 0:
            observed = next(iter(shares.values()))[1] / next(iter(totals.values()))
            keep(
                plots.level_histogram({label: p / totals[label] for label, (p, _) in shares.items()}, observed),
                f"levels_histogram{part}",
                "How often each level occurs",
                f"Share of the pixels {near} that all raters rated, and mean level probabilities there, seed {seed}.",
            )
    for part, some in _chunks([m for m in methods if m.after is None]):
        keep(
            plots.training_curves({m.label: cells[m.key][0]["history"] for m in some}, quantities=("loss", "brier")),
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


def _triple(values, method, figure):
    entry = values[method.key][figure]
    return entry["mean"], entry["low"], entry["high"]


def _draw_cases(settings, prepared, output, methods, cells, values, keep):
    """Best, median and worst image of the ordinal method of the lowest Brier score, and its levels at some pixels."""
    by_brier = sorted(methods, key=lambda m: values[m.key]["brier"]["mean"])
    judge = next((m for m in by_brier if m.levels), by_brier[0])
    shown = telling_cases(cells[judge.key][0]["sums"]["brier"], prepared.test["ratings"])
    beside = [m for m in methods if m in {methods[0], judge, *by_brier[: _SHOWN - 2]}]
    images = [prepared.test["image"][i] for i in shown]
    marks = [prepared.test["ratings"][i] for i in shown]
    of_fold = np.concatenate([[number] * len(fold.test["id"]) for number, fold in prepared.folds.items()])
    logits = {
        m: np.concatenate([_predict(output, m, settings.seeds[0], of_fold[i], prepared.test["image"][i]) for i in shown])
        for m in {*beside, judge}
    }
    maps = {m.label: ops.convert_to_numpy(readout_probability(logits[m])) for m in beside}
    predictions = [{label: found[i] for label, found in maps.items()} for i in range(len(shown))]
    if images[0].shape[-1] not in (1, 3):
        images = [image[..., :1] for image in images]
    names = [f"{word} {prepared.test['id'][i]}" for word, i in zip(("best:", "median:", "worst:"), shown, strict=False)]
    keep(
        plots.agreement_map(images, marks, predictions, row_titles=names, margin=16),
        "agreement",
        "Agreement maps",
        f"The test images with the best, the median and the worst Brier score of {judge.label} among those with a mark, "
        f"and the expected read-outs of the baseline and the methods of the lowest Brier scores, seed {settings.seeds[0]}.",
    )
    if judge.levels:
        worst = len(shown) - 1
        rows, columns = telling_pixels(marks[worst])
        rated = marks[worst][rows, columns]
        keep(
            plots.level_distribution(
                ops.convert_to_numpy(level_probabilities(logits[judge][worst]))[rows, columns],
                (rated == 1).sum(-1),
                counts=(rated >= 0).sum(-1),
                image=images[worst],
                pixels=np.stack([rows, columns], -1),
            ),
            "levels",
            f"Level distributions, {judge.label}",
            f"How many raters mark: pixels of the worst test image ({prepared.test['id'][shown[worst]]}).",
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
    among = marked if len(marked) else np.arange(len(ratings))
    order = among[np.argsort(brier[among, 0] / brier[among, 1], kind="stable")]
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
