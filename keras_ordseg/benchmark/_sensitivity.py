"""What a result depends on: an option of the loss within a run, the number of training raters or images across runs."""

import json
import numbers
from dataclasses import replace

from keras_ordseg import plots
from keras_ordseg.benchmark.checkpoint import write_atomically
from keras_ordseg.benchmark.methods import select
from keras_ordseg.benchmark.settings import AXES

_SCORES = ("band_ece_expected", "brier", "soft_dice", "truth")
_FEWEST = 3  # points that make a curve


def by_option(results):
    """`{option: panels}` of the options of losses that a run varied over three numbers or more, for `sensitivity_curves`.

    The default belongs to the curve: with `hybrid`, `hybrid(rps_weight=0.2)` and `hybrid(rps_weight=2)` the first is at 0.8.
    """
    methods = select(m["key"] for m in results["methods"])
    found = {}
    for option in dict.fromkeys(name for method in methods for name, _ in method.options):
        curves = {}
        for method in methods:
            value = method.loss().get_config().get(option)
            if isinstance(value, numbers.Real) and not isinstance(value, bool):
                rest = tuple(pair for pair in method.options if pair[0] != option)
                curves.setdefault(replace(method, options=rest), []).append((value, method.key))
        curves = {m.label: points for m, points in curves.items() if len({x for x, _ in points}) >= _FEWEST}
        if curves:
            found[option] = _panels({label: [(x, results, key) for x, key in points] for label, points in curves.items()})
    return found


def by_number(runs):
    """`{(axis, data): panels}` of the numbers of training raters and images that several runs differ in.

    Args:
        runs: `[(settings, results)]`. What is None in the settings is read from the results: all there were.
    """
    found = {}
    for axis, known in AXES.items():
        alike = {}
        for settings, results in runs:
            number = getattr(settings, axis) or known(results["dataset"])
            alike.setdefault(replace(settings, **{axis: None}), []).append((number, results))
        for settings, points in alike.items():
            if len({number for number, _ in points}) >= _FEWEST:
                labels = {m["key"]: m["label"] for m in points[0][1]["methods"]}
                curves = {label: [(x, results, key) for x, results in points] for key, label in labels.items()}
                found[axis, settings.data] = _panels(curves)
    return found


def _panels(curves):
    """Scores of `{label: [(x, results, key of the method)]}` as `sensitivity_curves` wants them."""
    some = next(iter(curves.values()))[0][1]
    return {
        metric["label"]: {label: [_point(*p, metric["key"]) for p in points] for label, points in curves.items()}
        for metric in some["metrics"]
        if metric["key"] in _SCORES
    }


def _point(x, results, key, metric):
    entry = next(m["values"][metric] for m in results["methods"] if m["key"] == key)
    return x, entry["mean"], entry["low"], entry["high"]


def write_sensitivity(output, runs):
    """Writes `sensitivity.md` and its figures into `output`, where runs of one grid differ in a number.

    Args:
        output: The folder that holds the run folders.
        runs: `{folder of the run: settings}`.

    Returns:
        The path of the page, None where no three runs differ in a number only.
    """
    done = [(settings, json.loads((folder / "results.json").read_text())) for folder, settings in runs.items()]
    lines = ["# Sensitivity", ""]
    for (axis, source), panels in by_number(done).items():
        name = next(r["dataset"]["name"] for s, r in done if s.data == source)
        what = f"{axis.removeprefix('train_')} in training"
        file = f"sensitivity_{name}_{axis.removeprefix('train_')}.png"
        plots.sensitivity_curves(panels, x_label=what, title=name).savefig(output / file, dpi=160)
        lines += [f"## {name}: {what}", "", f"![{name}: {what}](<{file}>)", "", *table(panels, what), ""]
    if len(lines) == 2:
        return None
    write_atomically(output / "sensitivity.md", "\n".join(lines))
    return output / "sensitivity.md"


def table(panels, what):
    """Lines of a Markdown table: a row for each method and value, the mean and interval of each score."""
    lines = [f"| method | {what} | {' | '.join(panels)} |", f"| --- | ---: {'| ---: ' * len(panels)}|"]
    first = next(iter(panels.values()))
    for label, points in first.items():
        for i in sorted(range(len(points)), key=lambda i: points[i][0]):
            cells = [_cell(*panel[label][i][1:]) for panel in panels.values()]
            lines.append(f"| {label} | {points[i][0]:g} | {' | '.join(cells)} |")
    return lines


def _cell(mean, low, high):
    if mean is None:
        return "n/a"
    return f"{mean:.3f}" + ("" if low is None or high is None else f" [{low:.3f}, {high:.3f}]")
