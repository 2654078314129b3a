"""Reads a table of cases once and counts."""

from collections import Counter

import numpy as np

from keras_ordseg import __version__
from keras_ordseg.data.readers import read_checked
from keras_ordseg.data.table import Cases
from keras_ordseg.raters.statistics import image_counts, summarise

_BY_RATER = ("images", "marked", "volume", "sensitivity", "specificity", "volume_ratio")
_OVERALL = ("fleiss_kappa", "krippendorff_alpha", "pairwise_dice", "disputed", "disputed_of_marked")
_NARROW = 0.2  # of [0, 1]: 12 bits in a file of 16 span 0.06


def inspect(cases: Cases, progress: bool = False) -> dict:
    """Read all cases, one after the other, and describe them. Every file is checked as by `data.check`.

    Images may be of several sizes and volumes; the memory holds one at a time.

    Args:
        cases: As `data.cases` returns them.
        progress: Whether to count on the standard error stream.

    Returns:
        A dict that JSON can hold (None where a number does not exist): `"name"`, `"num_images"`, `"num_groups"`,
        `"num_raters"`, `"sizes"` and `"channels"` (how many images have each), `"intensities"` (the lowest and highest
        of all images, and how many span little of [0, 1]), `"absent_masks"`,
        `"images_with_absent_raters"`, `"void"` (share of pixels that nobody rated), `"images_without_marks"`,
        `"levels"` (share of the pixels rated by all that 0, …, K raters mark), `"agreement"`, `"raters"` (a dict
        each) and `"dice_matrix"` (see `raters.agreement`; None where the table has only votes), `"notes"`, and
        `"cases"` (a dict each).

    Raises:
        DataError: Lists everything that is wrong with any file.

    >>> import tempfile
    >>> from PIL import Image
    >>> from keras_ordseg import data
    >>> folder = tempfile.mkdtemp()
    >>> for name in ("01_image", "01_rater1", "01_rater2", "02_image", "02_rater2"):
    ...     Image.new("L", (8, 6), 255).save(f"{folder}/{name}.png")
    >>> result = inspect(data.cases(folder))
    >>> result["num_images"], result["num_raters"], result["sizes"], result["absent_masks"]
    (2, 2, {'8x6': 2}, 1)
    """
    rows, counts, spans, remarks, anonymous = [], [], [], [], False
    for case, values in zip(cases, read_checked(cases, progress=progress, remarks=remarks), strict=True):
        spans.append(np.percentile(values["image"], (0, 0.1, 99.9, 100)))
        one = image_counts(values["ratings"])
        anonymous = anonymous or bool(values.get("anonymous", False))
        counts.append(one)
        rows.append(_row(case, values["image"].shape, one, anonymous))
    statistics = summarise(counts)
    table, num_raters = sum(one["table"] for one in counts), cases.num_raters
    complete = table[num_raters].sum()
    if anonymous:
        statistics["pairwise_dice"] = float("nan")
    result = {
        "name": "the table" if cases.path is None else cases.path.resolve().name,
        "version": __version__,
        "num_images": len(rows),
        "num_groups": len(set(cases.groups)),
        "num_raters": num_raters,
        "sizes": dict(Counter(row["size"] for row in rows).most_common()),
        "channels": dict(Counter(row["channels"] for row in rows).most_common()),
        "intensities": _intensities(spans),
        "absent_masks": cases.num_absent,
        "images_with_absent_raters": sum(row["raters"] < num_raters for row in rows),
        "void": float(table[0].sum() / table.sum()),
        "images_without_marks": sum(not row["union"] for row in rows),
        "levels": [float(share) for share in table[num_raters] / complete] if complete else None,
        "agreement": {name: statistics[name] for name in _OVERALL},
        "raters": None
        if anonymous
        else [
            {"name": name, **{key: statistics[key][r] for key in _BY_RATER}}
            for r, name in enumerate(cases.raters)
        ],
        "dice_matrix": None if anonymous else statistics["dice_matrix"].tolist(),
    }
    result["notes"] = _notes(cases, result, anonymous) + [f"{text[0].upper()}{text[1:]}." for text in remarks]
    return _plain(result | {"cases": rows})


def _row(case, shape, one, anonymous):
    """What is said of one case."""
    table, present = one["table"], one["rated"] > 0
    answers, votes = np.indices(table.shape)
    union = table[votes > 0].sum()
    differ = table[(votes > 0) & (votes < answers)].sum()
    pairs = one["dice"][np.triu_indices(len(present), 1)]
    known = pairs[~np.isnan(pairs)]
    return {
        "id": case.id,
        "group": case.group,
        "size": "x".join(map(str, shape[1::-1] if len(shape) == 3 else shape[:-1])),
        "channels": shape[-1],
        "raters": int(present.sum()),
        "marked": None if anonymous else [int(m) if p else None for m, p in zip(one["marked"], present, strict=True)],
        "union": int(union),
        "disputed_of_marked": differ / union if union else None,
        "pairwise_dice": known.mean() if known.size and not anonymous else None,
    }


def _intensities(spans):
    """What `spans`, the 0, 0.1, 99.9 and 100 percentiles of each image, say of all."""
    spans = np.array(spans)
    return {
        "lowest": spans[:, 0].min(),
        "highest": spans[:, 3].max(),
        "narrow_images": int((spans[:, 2] - spans[:, 1] < _NARROW).sum()),
        "constant_images": int((spans[:, 0] == spans[:, 3]).sum()),
    }


def _contrast(found, count, window):
    """The note on images of little contrast: the way they are read may not fit them."""
    if not found["narrow_images"]:
        return []
    advice = "see whether the window fits" if window else "12 bits in 16 want a window (window=, --window) of 0 to 4095"
    return [
        f"Intensities of {found['narrow_images']} of {count} images span less than {_NARROW} of 0 to 1 (in "
        f"{found['constant_images']} there is one alone); all images span {found['lowest']:.4g} to {found['highest']:.4g}: "
        f"{advice}."
    ]


def _notes(cases, result, anonymous):
    notes = _contrast(result["intensities"], len(cases), cases.reading.window)
    for title, kept in (("Masks of no image", True), ("Files that were not read, as they fit no pattern", False)):
        found = [source for source in cases.unmatched if (source.reason == "a mask of no image") == kept]
        if found:
            shown = ", ".join(source.shown(cases.path) + ("" if kept else f" ({source.reason})") for source in found[:3])
            notes.append(f"{title}: {len(found)}, as {shown}{' …' if len(found) > 3 else ''}")
    if result["absent_masks"]:
        notes.append(
            f"Masks that are not there: {result['absent_masks']}. Those raters count as absent (-1) for those images."
        )
    if len(result["sizes"]) > 1:
        notes.append(f"Images of {len(result['sizes'])} sizes: training needs --size, or size= of data.load.")
    if cases.group_note:
        notes.append(cases.group_note)
    if result["images_without_marks"]:
        notes.append(f"Images without a mark of any rater: {result['images_without_marks']}.")
    for row in result["raters"] or ():
        if row["images"] and not row["marked"]:
            notes.append(f"Rater {row['name']} marks nothing in any of their {row['images']} images.")
    if anonymous:
        notes.append("Only votes are known: nothing is said of single raters or pairs.")
    elif all(row["sensitivity"] is None or np.isnan(row["sensitivity"]) for row in result["raters"]):
        notes.append("Fewer than three raters an image: STAPLE cannot tell their errors apart.")
    return notes


def _plain(value):
    """Numbers of Python's own, None for NaN."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
