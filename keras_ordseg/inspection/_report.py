"""An inspection as a folder of JSON, a page and a picture."""

import base64
import json
from pathlib import Path

import jinja2
import numpy as np

from keras_ordseg._checks import ArgumentError, PathError, Setting
from keras_ordseg._io import in_place
from keras_ordseg.data.readers import read_checked
from keras_ordseg.data.table import Cases
from keras_ordseg.inspection._text import RATER, by_rater, facts, number, overall

_FILES = ("inspection.json", "inspection.html", "contact_sheet.png")


def write(
    result: dict, cases: Cases, output, overwrite: bool = False, shown: int = 24, margin: int | None = None
) -> Path:
    """Write `inspection.json`, `inspection.html` (self-contained) and `contact_sheet.png` into a folder.

    The folder appears whole or not at all: it is written beside its place and then takes its name. Whatever fails, an
    earlier inspection stays.

    Args:
        result: What `inspect` returned.
        cases: The cases it was made of; those on the contact sheet are read again.
        output: The folder.
        overwrite: Whether an earlier inspection there is replaced. Any other folder that is not empty never is.
        shown: How many images the contact sheet has: from the most disputed to the most agreed one, evenly in rank.
        margin: Crop those to their marks with so many pixels around; None shows them whole.

    Returns:
        The folder.

    Raises:
        FileExistsError: If something else is there, or an earlier inspection without `overwrite` (a `PathError`).
        ArgumentError: If `shown` or `margin` is negative.
    """
    output = Path(output)
    check_output(output, overwrite, shown, margin)
    with in_place(output) as unfinished:
        unfinished.mkdir()
        (unfinished / "inspection.json").write_text(json.dumps(result, indent=1, allow_nan=False), encoding="utf-8")
        figure, picture = _contact_sheet(result, cases, shown, margin), None
        if figure is not None:
            figure.savefig(unfinished / "contact_sheet.png")
            picture = base64.b64encode((unfinished / "contact_sheet.png").read_bytes()).decode("ascii")
        (unfinished / "inspection.html").write_text(_page(result, picture), encoding="utf-8")
    return output


def check_output(output, overwrite=False, shown=24, margin=None):
    """Refuse what `write` cannot do, before any work; its arguments and errors are those of `write`."""
    if shown < 1:
        raise ArgumentError("shown", "1 or more", f"{shown}")
    if margin is not None and margin < 0:
        raise ArgumentError("margin", "0 or more", f"{margin}")
    output = Path(output)
    if output.exists() and not output.is_dir():
        raise PathError("output", "a folder", f"{output}, which is a file")
    there = {file.name for file in output.iterdir()} if output.is_dir() else set()
    if there - set(_FILES):
        raise PathError("output", "a new folder or an earlier inspection", f"{output}, a folder with other files")
    if there and not overwrite:
        got = f"{output}, which holds an earlier inspection"
        raise PathError("output", "a new folder", got, ("replace it with ", Setting("overwrite", "True")))


def _contact_sheet(result, cases, shown, margin):
    """A figure of cases evenly spaced in rank of dispute, None where there is nothing to draw in two axes."""
    from keras_ordseg import plots

    rows = result["cases"]
    ranked = sorted((i for i, row in enumerate(rows) if row["union"]), key=lambda i: -rows[i]["disputed_of_marked"])
    ranked = ranked or list(range(len(rows)))
    chosen = [ranked[i] for i in np.unique(np.linspace(0, len(ranked) - 1, shown).round().astype(int))]
    pairs = [_picture(values["image"], values["ratings"]) for values in read_checked(cases[chosen])]
    if any(image.ndim != 3 for image, _ in pairs):
        return None
    captions = []
    for row in (rows[i] for i in chosen):
        share = row["disputed_of_marked"]
        label = row["id"] if len(row["id"]) < 28 else f"…{row['id'][-26:]}"
        captions.append(f"{label}\n{'no mark' if share is None else f'disputed {100 * share:.0f} %'}")
    images, ratings = zip(*pairs, strict=True)
    return plots.contact_sheet(
        images,
        ratings,
        captions=captions,
        raters=None if result["raters"] is None else list(cases.raters),
        counts=result["raters"] is None,
        margin=margin,
        stretch=True,
        title=f"{result['name']}: {len(chosen)} of {len(rows)} images, most disputed first",
    )


def _picture(image, ratings):
    """An image that matplotlib can draw; of a volume the slice along the last axis with most dispute, or most marks."""
    if image.ndim == 4:
        votes, counts = (ratings == 1).sum(axis=-1), (ratings >= 0).sum(axis=-1)
        differ = ((votes > 0) & (votes < counts)).sum(axis=(0, 1))
        index = int((differ if differ.any() else votes.sum(axis=(0, 1))).argmax())
        image, ratings = image[:, :, index], ratings[:, :, index]
    return (image if image.shape[-1] in (1, 3) else image[..., :1]), ratings


def _page(result, picture):
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("inspection.html").render(
        result=result,
        facts=facts(result),
        overall=overall(result),
        heads=[head for head, _ in RATER.values()],
        by_rater=by_rater(result),
        levels=[number(share, "%", 3) for share in result["levels"] or []],
        matrix=[[number(value, 3) for value in row] for row in result["dice_matrix"] or []],
        cases=[
            row | {"disputed": number(row["disputed_of_marked"], "%"), "dice": number(row["pairwise_dice"], 3)}
            for row in result["cases"]
        ],
        picture=picture,
    )
