"""The report of a run: one HTML page that needs nothing else."""

import base64
import io
import math
import numbers
import os
import pathlib

import jinja2
from PIL import Image

from keras_ordseg.benchmark._report_tables import (
    FEWEST_GROUPS,
    MISSING,
    arrow,
    baseline_label,
    collapsed,
    comparison,
    label_of,
    markdown_table,
    number,
    text_table,
)

__all__ = ["headline", "markdown_table", "text_table", "write_report"]

_PIXELS_PER_INCH = 115  # a figure's 9-point letters then are as large as the page's small print
_TEMPLATES = pathlib.Path(__file__).parent / "templates"


def write_report(directory, results, figures=()):
    """Writes `report.html` into the run folder, with every figure inside the page.

    The page appears whole or not at all: a file beside it is written first and then takes its name.

    Args:
        directory: The run folder.
        results: Content of `results.json`. Means, intervals and differences are in the unit that their
            metric's label names, shown with the metric's `digits`. Every number may be missing, None or NaN:
            it is shown as "n/a".
        figures: List of `{"title", "caption", "path"}`, each a PNG file by its path relative to the run
            folder; None as the path of a figure that could not be drawn, for the reason in its caption.

    Returns:
        The `pathlib.Path` of the page.

    Raises:
        FileNotFoundError: If a figure's file is not there.
        ValueError: If a figure's file is not a PNG image.
    """
    directory = pathlib.Path(directory)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["minus"] = lambda text: text.replace("-", "\N{MINUS SIGN}")
    pictures = [_embedded(directory, figure) if figure.get("path") else {**figure, "data": None} for figure in figures]
    page = environment.get_template("report.html").render(**_context(results), figures=pictures)
    path = directory / "report.html"
    unfinished = directory / f".report.html.{os.getpid()}.tmp"
    try:
        unfinished.write_text(page, encoding="utf-8")
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def headline(results):
    """Sentences that say what the first metric and the count of best means show, whoever wins.

    >>> headline({
    ...     "metrics": [{"key": "dice", "label": "Dice", "lower_is_better": False, "digits": 2}],
    ...     "methods": [
    ...         {"key": "a", "label": "Majority", "values": {"dice": {"mean": 0.71}}},
    ...         {"key": "b", "label": "Hybrid", "values": {"dice": {"mean": 0.64}}},
    ...     ],
    ...     "baseline": "a",
    ... })
    ['Highest Dice: Majority with 0.71. That is the baseline.']
    """
    metrics, rows, baseline = results.get("metrics") or [], comparison(results), results.get("baseline")
    sentences = collapsed(results)
    winners = [row for row in rows if metrics and row["cells"][0]["best"]]
    if winners:
        word = "Lowest" if metrics[0]["lower_is_better"] else "Highest"
        names = " and ".join(row["label"] for row in winners)
        sentence = f"{word} {label_of(metrics[0])}: {names} with {_with_interval(winners[0]['cells'][0])}."
        if baseline in [row["key"] for row in winners]:
            sentence += " That is the baseline." if len(winners) == 1 else " One of them is the baseline."
        else:
            sentence += "".join(_against(row, results) for row in winners[:1])
        sentences.append(sentence)
    judged = sum(any(row["cells"][i]["best"] for row in rows) for i in range(len(metrics)))
    if judged > 1:
        counts = {row["label"]: sum(cell["best"] for cell in row["cells"]) for row in rows}
        won = "; ".join(f"{n} by {label}" for label, n in sorted(counts.items(), key=lambda c: -c[1]) if n)
        sentences.append(f"Best means among {judged} metrics, ties counted for each: {won}.")
    return sentences


def _with_interval(cell):
    return f"{cell['mean']}{' (95 % interval ' + cell['interval'] + ')' if cell['interval'] else ''}"


def _against(row, results):
    """What the paired difference of the first metric says, nothing where there is none."""
    cell, baseline = row["cells"][0], baseline_label(results)
    if cell["difference"] == MISSING or baseline is None:
        return ""
    text = f" Difference to the baseline, {baseline}: {cell['difference']}"
    if not cell["difference_interval"]:
        return f"{text}."
    text = f"{text} {cell['difference_interval']}"
    groups = ((results.get("dataset") or {}).get("num_groups") or {}).get("test")
    if groups is not None and groups < FEWEST_GROUPS:
        return f"{text}; {groups} groups of test images are too few for a verdict."
    if any(m["key"] == results.get("baseline") and m.get("collapsed") for m in results["methods"]):
        return f"{text}; the baseline collapsed."
    if cell["verdict"]:
        return f"{text}; the interval excludes 0."
    return f"{text}; the interval includes 0, so this run does not tell the two apart."


def _context(results):
    """Everything the template shows, formatted; the template only places it."""
    dataset = results.get("dataset") or {}
    methods = [
        {
            **row,
            "description": method.get("description") or "",
            "readout": method.get("readout") or MISSING,
            "seeds": _text(method.get("seeds")),
            "parameters": number(method.get("parameters"), 0, group=","),
            "seconds_per_step": number(method.get("seconds_per_step"), 3),
            "is_baseline": method["key"] == results.get("baseline"),
        }
        for method, row in zip(results.get("methods") or [], comparison(results), strict=True)
    ]
    groups, shape = dataset.get("num_groups") or {}, dataset.get("image_shape")
    images = [
        (f"images, {split}", _text(count) + (f" (groups: {groups[split]})" if groups.get(split) else ""))
        for split, count in (dataset.get("num_images") or {}).items()
    ]
    facts = [
        ("source", _text(dataset.get("source"))),
        ("raters", _text(dataset.get("num_raters"))),
        *images,
        ("image shape", " × ".join(map(str, shape)) if isinstance(shape, list | tuple) else _text(shape)),
        *_pairs(dataset.get("statistics")),
    ]
    frequencies = [None if f is None else 100 * f for f in dataset.get("level_frequencies") or []]
    return {
        "name": _text(dataset.get("name")),
        "citation": dataset.get("citation"),
        "headline": headline(results),
        "metrics": [
            {
                "label": label_of(metric),
                "arrow": arrow(metric),
                "description": metric.get("description") or "",
            }
            for metric in results.get("metrics") or []
        ],
        "methods": methods,
        "baseline": baseline_label(results),
        "facts": facts,
        "levels": [(k, number(share, 3)) for k, share in enumerate(frequencies)],
        "settings": _pairs(results.get("settings")),
        "versions": _pairs(results.get("versions")),
        "seconds": [(key, _duration(value)) for key, value in (results.get("seconds") or {}).items()],
        "commit": _text(results.get("commit")),
        "created": _text(results.get("created")),
        "notes": results.get("notes") or [],
    }


def _pairs(mapping):
    return [(key, _text(value)) for key, value in (mapping or {}).items()]


def _text(value):
    """A value of any JSON type as a reader would write it."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral):
        return f"{value:.4g}" if math.isfinite(value) else MISSING
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_text(entry)}" for key, entry in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "none"
    return str(value)


def _duration(seconds):
    if number(seconds) == MISSING:
        return MISSING
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


def _embedded(directory, figure):
    content = (directory / figure["path"]).read_bytes()
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        raise ValueError(
            f"The figure {figure['path']!r} is not a PNG image; save it with `figure.savefig('….png')`."
        )
    with Image.open(io.BytesIO(content)) as picture:
        inches = picture.width / (picture.info.get("dpi") or (150,))[0]
    return {
        "title": figure.get("title") or "",
        "caption": figure.get("caption") or "",
        "data": base64.b64encode(content).decode("ascii"),
        "width": round(_PIXELS_PER_INCH * inches),
    }
