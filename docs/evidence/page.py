"""Makes docs/evidence.md of finished runs: `python docs/evidence/page.py RUNS`, with `text.md` for what a person wrote.

`text.md` holds the page; a line `{{table lidc}}` becomes the table of that run, `{{figure lidc tradeoff | caption}}` one of
its figures, which is copied beside this script, `{{sensitivity shapes_raters}}` the curves and table of several runs, and
`{{data}}` the table of the runs. `results.csv` of every run named is copied as well.
"""

import json
import re
import shutil
import sys
from pathlib import Path

from keras_ordseg.benchmark._report_tables import arrow, comparison, label_of

HERE = Path(__file__).resolve().parent
COLUMNS = ("band_ece_expected", "band_ece_majority", "ece_expected", "brier", "consensus_dice", "soft_dice", "rps", "truth")


def load(runs, name):
    """Results of a run, wherever the grid put it."""
    found = [*(runs / name).glob("results.json"), *(runs / name).glob("*/results.json")]
    if not found:
        sys.exit(f"{runs / name} holds no finished run; the grid is docs/evidence/grids/{name}.yaml")
    folder = found[0].parent
    return folder, json.loads((folder / "results.json").read_text())


def table(runs, name):
    folder, results = load(runs, name)
    shutil.copy(folder / "results.csv", HERE / f"{name}.csv")
    metrics = [m for m in results["metrics"] if m["key"] in COLUMNS]
    places = [results["metrics"].index(m) for m in metrics]
    lines = [f"| method | {' | '.join(f'{label_of(m)} {arrow(m)}' for m in metrics)} |"]
    lines.append("| --- |" + " ---: |" * len(metrics))
    for row in comparison(results):
        cells = [row["cells"][place] for place in places]
        marked = [{"better": "▲", "worse": "▼"}.get(cell["verdict"], "") for cell in cells]
        texts = [f"**{c['mean']}**" if c["best"] else ("≈" if c["tied"] else "") + c["mean"] for c in cells]
        lines.append(f"| {row['label']} | {' | '.join(f'{t} {m}'.strip() for t, m in zip(texts, marked, strict=True))} |")
    images, groups = (results["dataset"][f"num_{what}"]["test"] for what in ("images", "groups"))
    lines += ["", f"{images} test images of {groups} groups; all intervals: [{name}.csv](evidence/{name}.csv)."]
    return "\n".join(lines)


def figure(runs, text):
    words, caption = text.split(" | ")
    name, picture = words.split()
    folder, _ = load(runs, name)
    shutil.copy(folder / "figures" / f"{picture}.png", HERE / f"{name}_{picture}.png")
    return f"![{caption}](evidence/{name}_{picture}.png)"


def sensitivity(runs, names):
    """Curves and table across the runs of several grids: numbers of raters or images."""
    from keras_ordseg import plots
    from keras_ordseg.benchmark import Settings
    from keras_ordseg.benchmark._sensitivity import by_number, table

    found = []
    for path in (path for name in names for path in sorted((runs / name).glob("**/results.json"))):
        results = json.loads(path.read_text())
        settings = Settings(**results["settings"])
        found.append((results, settings))
    shared = set.intersection(*({m["key"] for m in results["methods"]} for results, _ in found))
    same = [
        (_narrowed(settings, shared), {**results, "methods": [m for m in results["methods"] if m["key"] in shared]})
        for results, settings in found
    ]
    ((axis, _), panels), *_ = by_number(same).items()
    what, file = f"{axis.removeprefix('train_')} in training", f"{names[0]}_sensitivity.png"
    plots.sensitivity_curves(panels, x_label=what).savefig(HERE / file, dpi=160)
    return "\n".join([f"![Scores against the number of {what}](evidence/{file})", "", *table(panels, what)])


def _narrowed(settings, keys):
    from dataclasses import replace

    return replace(settings, methods=tuple(key for key in settings.methods if key in keys))


def data(runs):
    lines = ["| run | K | images in training, validation, test | groups in test | size | disputed share of marked pixels |"]
    lines.append("| --- | ---: | ---: | ---: | ---: | ---: |")
    for path in sorted(runs.glob("*/results.json")):
        name = path.parent.name
        d = json.loads(path.read_text())["dataset"]
        images = ", ".join(str(d["num_images"][part]) for part in ("train", "validation", "test"))
        if json.loads(path.read_text())["settings"]["folds"]:
            images += " (folds)"
        size = "×".join(map(str, d["image_shape"][:2]))
        disputed = d["statistics"]["disputed share of marked pixels"]
        lines.append(f"| {name} | {d['num_raters']} | {images} | {d['num_groups']['test']} | {size} | {disputed:.0%} |")
    return "\n".join(lines)


def main(runs):
    runs = Path(runs)
    kinds = {
        "table": lambda text: table(runs, text),
        "figure": lambda text: figure(runs, text),
        "sensitivity": lambda text: sensitivity(runs, text.split()),
        "data": lambda text: data(runs),
    }
    text = (HERE / "text.md").read_text()
    page = re.sub(r"\{\{(\w+) ?([^}]*)\}\}", lambda match: kinds[match[1]](match[2]), text)
    (HERE.parent / "evidence.md").write_text(page)


if __name__ == "__main__":
    main(sys.argv[1])
