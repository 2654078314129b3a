"""What a run leaves besides its page: Markdown and CSV."""

import csv
import io

import numpy as np

from keras_ordseg.benchmark._report import headline
from keras_ordseg.benchmark._report_tables import label_of, markdown_table


def markdown_report(results, figures):
    """The report as Markdown: what the page says, without its details, with the figures as links."""
    dataset = results["dataset"]
    counts = ", ".join(f"{count} {part}" for part, count in dataset["num_images"].items())
    lines = [f"# {dataset['name']}", "", f"K = {dataset['num_raters']} raters; images: {counts}.", ""]
    lines += [sentence + "\n" for sentence in headline(results)]
    lines += [markdown_table(results), "The best mean is bold; ≈ is within noise of it (the interval of the paired", ]
    lines += ["difference to the best holds 0).", ""]
    lines += [f"* {label_of(m)}: {m['description']}" for m in results["metrics"] if m.get("description")]
    lines += ["", *(f"* {note}" for note in results["notes"]), ""]
    for figure in figures:
        picture = f"![{figure['title']}]({figure['path']})" if figure["path"] else f"{figure['title']}:"
        lines += [picture, "", figure["caption"], ""]
    if dataset.get("citation"):
        lines += [f"Data: {dataset['citation']}", ""]
    return "\n".join(lines)


def results_csv(results):
    """One row for each method and metric: mean, 95 % interval, paired differences, seeds' values, what a collapse marks."""
    rows = [["method", "label", "metric", "mean", "low", "high", *_NAMES, "seeds", "collapsed"]]
    for method in results["methods"]:
        for metric in results["metrics"]:
            entry = method["values"][metric["key"]]
            limits = [entry.get(part, {}).get(name) for part in _PARTS for name in _INTERVAL]
            seeds = " ".join("" if value is None else repr(value) for value in entry["seeds"])
            row = [method["key"], method["label"], metric["key"], *(entry[name] for name in _INTERVAL)]
            marks = " ".join(dict.fromkeys(found["marks"] for found in method.get("collapsed") or []))
            rows.append([*row, *limits, seeds, marks])
    return _csv(rows)


_PARTS, _INTERVAL = ("difference", "to_best"), ("mean", "low", "high")
_NAMES = [f"{part}_{name}" for part in _PARTS for name in _INTERVAL]
_OF_AN_IMAGE = {"brier": ("brier", 100.0), "soft_dice": ("soft_dice", 1.0), "consensus_dice": ("consensus_dice", 1.0)}


def cases_csv(test, methods, cells):
    """One row for each test image, method and seed: Brier score ×100, soft Dice, consensus Dice of the image."""
    rows = [["id", "group", "method", "seed", *_OF_AN_IMAGE]]
    for method in methods:
        for cell in cells[method.key]:
            with np.errstate(invalid="ignore", divide="ignore"):
                columns = [
                    scale * cell["sums"][name][:, 0] / cell["sums"][name][:, 1] for name, scale in _OF_AN_IMAGE.values()
                ]
            for i, (name, group) in enumerate(zip(test["id"], test["group"], strict=True)):
                found = [float(column[i]) if np.isfinite(column[i]) else None for column in columns]
                rows.append([name, group, method.key, cell["seed"], *found])
    return _csv(rows)


def _csv(rows):
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()
