"""The tables of a run as text and Markdown, and the formatted numbers all tables share.

Every number may be missing (absent, None or NaN): it is shown as "n/a".
"""

import math
import numbers
import textwrap

MISSING = "n/a"
FEWEST_GROUPS = 5  # of the test images, for a verdict


def comparison(results):
    """One row for each method, one cell for each metric, every number formatted.

    A cell is best where its formatted mean equals the best one of the metric, so ties at the digits shown are
    all marked, and none is where only one method has a number. A cell is tied where the interval of its paired
    difference to the best holds 0. A difference is "better" or "worse" than the baseline where its whole interval lies on
    that side of 0. Of fewer than five groups of test images nothing is said of ties or differences. A method of which a
    model collapsed is named so, is never the best, and is not compared, nor is anything with it as the baseline.
    """
    metrics = results.get("metrics") or []
    groups = ((results.get("dataset") or {}).get("num_groups") or {}).get("test")
    few = groups is not None and groups < FEWEST_GROUPS
    out = {method["key"] for method in results.get("methods") or [] if method.get("collapsed")}
    rows = []
    for method in results.get("methods") or []:
        values = method.get("values") or {}
        cells = [_cell(values.get(metric["key"]) or {}, metric) for metric in metrics]
        differs = method["key"] != results.get("baseline") and any(
            cell["difference"] != MISSING for cell in cells
        )
        label = label_of(method) + (" (collapsed)" if method["key"] in out else "")
        rows.append({"key": method["key"], "label": label, "cells": cells, "differs": differs})
        for cell in cells:
            if few or out & {method["key"], results.get("baseline")}:
                cell["verdict"] = ""
            if few or method["key"] in out:
                cell["tied"] = False
    for i, metric in enumerate(metrics):
        found = [row["cells"][i] for row in rows if row["cells"][i]["value"] is not None and row["key"] not in out]
        if len(found) > 1 and metric.get("lower_is_better") is not None:
            pick = min if metric["lower_is_better"] else max
            best = pick(found, key=lambda cell: cell["value"])["mean"]
            for cell in found:
                cell["best"] = cell["mean"] == best
    return rows


def text_table(results, width=110):
    """The tables of means and of paired differences as aligned text of at most `width` columns.

    A star marks the best mean of a metric. Metrics that do not fit beside each other go into further tables.

    >>> def method(key, mean, low, high):
    ...     return {"key": key, "values": {"dice": {"mean": mean, "low": low, "high": high}}}
    >>> print(text_table({
    ...     "metrics": [{"key": "dice", "label": "Dice", "lower_is_better": False, "digits": 3}],
    ...     "methods": [method("majority", 0.64, 0.6, 0.68), method("hybrid", 0.7, 0.66, 0.73)],
    ... }))
    Mean [95 % interval]; * is the best mean
    <BLANKLINE>
                               Dice
                      higher better
    --------  ---------------------
    majority   0.640 [0.600, 0.680]
    hybrid    *0.700 [0.660, 0.730]
    """
    metrics, rows = results.get("metrics") or [], comparison(results)
    parts = []
    for name in ("mean", "difference"):
        shown = [row for row in rows if name == "mean" or row["differs"]]
        if not shown or not metrics:
            continue
        columns = []
        for i, metric in enumerate(metrics):
            head = [*_wrapped(label_of(metric), 20), *filter(None, [_direction(metric)])]
            columns.append((head, _text_cells([row["cells"][i] for row in shown], name)))
        heading = "Mean [95 % interval]; * is the best mean"
        if any(cell["tied"] for row in rows for cell in row["cells"]):
            heading += ", ≈ within noise of it (the paired difference's interval holds 0)"
        if name == "difference":
            heading = (
                f"Difference to {_printable(baseline_label(results))}, same images and seeds [95 % interval]"
            )
        parts.append("\n".join(textwrap.wrap(heading, width)))
        parts.extend(_blocks([_printable(row["label"]) for row in shown], columns, width))
    sentences = "\n".join(line for text in collapsed(results) for line in textwrap.wrap(_printable(text), width))
    return "\n\n".join(filter(None, [*parts, sentences]))


def collapsed(results):
    """A sentence for each method of which a model marks nothing, or everything, in the test images."""
    sentences = []
    for method in results.get("methods") or []:
        for marks in dict.fromkeys(found["marks"] for found in method.get("collapsed") or []):
            which = [_training(found) for found in method["collapsed"] if found["marks"] == marks]
            text = f"Collapsed: {label_of(method)} marks {marks} in the test images ({'; '.join(which)})"
            sentences.append(f"{text}. It is in no comparison.")
    return sentences


def _training(found):
    fold = found.get("fold")
    return f"seed {found['seed']}" + ("" if fold is None else f", fold {fold}")


def markdown_table(results):
    """The table of means with 95 % intervals as Markdown; the best mean is bold, "≈" is within noise of it."""
    metrics = results.get("metrics") or []
    lines = [["method", *(f"{_markdown(label_of(m))} {arrow(m)}".strip() for m in metrics)]]
    lines.append(["---", *["---:"] * len(metrics)])
    for row in comparison(results):
        cells = [f"**{cell['mean']}**" if cell["best"] else _mark(cell, "") + cell["mean"] for cell in row["cells"]]
        cells = [f"{text} {cell['interval']}".strip() for text, cell in zip(cells, row["cells"], strict=True)]
        lines.append([_markdown(row["label"]), *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def label_of(entry):
    """The label of a method or a metric; its key where it has none."""
    return str(entry.get("label") or entry["key"])


def baseline_label(results):
    """The label of the method that differences are against, None where there is none."""
    found = [label_of(m) for m in results.get("methods") or [] if m["key"] == results.get("baseline")]
    return found[0] if found else None


def number(value, digits=2, *, signed=False, group=""):
    """A number with so many digits after the point, or "n/a"."""
    if not _is_number(value):
        return MISSING
    text = f"{value:{'+' if signed else ''}{group}.{digits}f}"
    return text if float(text.replace(",", "")) else text.lstrip("+-")


def arrow(metric):
    """An arrow down where lower is better, up where higher is."""
    return {True: "↓", False: "↑"}.get(metric.get("lower_is_better"), "")


def _is_number(value):
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def _interval(entry, digits, signed=False):
    if not (_is_number(entry.get("low")) and _is_number(entry.get("high"))):
        return ""
    return f"[{number(entry['low'], digits, signed=signed)}, {number(entry['high'], digits, signed=signed)}]"


def _cell(entry, metric):
    digits = int(metric.get("digits", 2))
    difference = entry.get("difference") or {}
    verdict = ""
    if _interval(difference, digits) and metric.get("lower_is_better") is not None:
        if difference["high"] < 0:
            verdict = "better" if metric["lower_is_better"] else "worse"
        elif difference["low"] > 0:
            verdict = "worse" if metric["lower_is_better"] else "better"
    return {
        "value": entry["mean"] if _is_number(entry.get("mean")) else None,
        "mean": number(entry.get("mean"), digits),
        "interval": _interval(entry, digits),
        "difference": number(difference.get("mean"), digits, signed=True),
        "difference_interval": _interval(difference, digits, signed=True),
        "verdict": verdict,
        "seeds": [number(value, digits) for value in entry.get("seeds") or []],
        "best": False,
        "tied": _is_tied(entry.get("to_best") or {}),
    }


def _is_tied(difference):
    return _is_number(difference.get("low")) and _is_number(difference.get("high")) and (
        difference["low"] <= 0 <= difference["high"]
    )


def _mark(cell, best):
    """What stands before a mean: `best` where it is the best, "≈" where it is within noise of the best."""
    return best if cell["best"] else "≈" if cell["tied"] else ""


def _text_cells(cells, name):
    if name == "mean":
        return [f"{_mark(cell, '*')}{cell['mean']} {cell['interval']}".strip() for cell in cells]
    verdicts = max(len(cell["verdict"]) for cell in cells)
    texts = [f"{cell['difference']} {cell['difference_interval']}".strip() for cell in cells]
    if not verdicts:
        return texts
    return [f"{text} {cell['verdict']:<{verdicts}}" for text, cell in zip(texts, cells, strict=True)]


def _direction(metric):
    return {True: "lower better", False: "higher better"}.get(metric.get("lower_is_better"), "")


def _blocks(labels, columns, width):
    """Aligned tables that share the column of labels and hold as many columns each as the width allows."""
    first = min(max(map(len, labels)), 30)
    widths = [max(map(len, [*head, *cells])) for head, cells in columns]
    groups, used = [], width + 1
    for i, size in enumerate(widths):
        if used + 2 + size > width:
            groups.append([])
            used = first
        groups[-1].append(i)
        used += 2 + size
    for group in groups:
        rows = max(len(columns[i][0]) for i in group)
        heads = {i: [""] * (rows - len(columns[i][0])) + columns[i][0] for i in group}
        lines = [["", *(heads[i][r] for i in group)] for r in range(rows)]
        lines.append(["-" * first, *("-" * widths[i] for i in group)])
        for r, label in enumerate(labels):
            start, *more = textwrap.wrap(label, first) or [""]
            lines.append([start, *(columns[i][1][r] for i in group)])
            lines.extend([rest, *("" for _ in group)] for rest in more)
        yield "\n".join(
            "  ".join(
                [line[0].ljust(first), *(c.rjust(widths[i]) for c, i in zip(line[1:], group, strict=True))]
            ).rstrip()
            for line in lines
        )


def _wrapped(text, width):
    """Lines of `text`; a unit stays with the word before it."""
    text = _printable(text).replace(" %", "\N{NO-BREAK SPACE}%")
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in textwrap.wrap(text, width)]


def _printable(text):
    """`text` without characters that would move a terminal's cursor."""
    return "".join(c if c.isprintable() else "?" for c in str(text))


def _markdown(text):
    """`text` as Markdown shows it literally inside a table."""
    text = " ".join(_printable(str(text).replace("\n", " ")).split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{c}" if c in "\\|*_`[]" else c for c in text)
