"""Folders of multi-rater data as Hypothesis draws them, with what they mean.

A folder is drawn as a meaning first (images in [0, 1], ratings, groups), then written in one of the formats and layouts that
users have, then perhaps disturbed as real folders are. `Made.truth` is never read back from the files.
"""

import csv
import io
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
from hypothesis import strategies as st
from PIL import Image

IDS = ("1", "01", "2", "10", "a", "p", "p_1", "Zoë", "x y", "b[1]", "q-é")
RATERS = ("1", "2", "10", "anna", "José")
GROUPS = ("p1", "0", "1", "01", "Ünal", "b c")
PICTURES = ("png", "png16", "rgb", "tif")
ARRAYS = ("npy_u8", "npy_u16", "npy_f32", "npy_f64", "nii_f32", "nii_u8")
MASKS = ("png01", "png255", "png1", "tif", "npy_bool", "npy_u8", "npy_i16", "npy_f32", "nii_u8", "nii_scaled", "nii_near")
HEADERS = ("{},{}", "{}, {}", "{};{}", "{}\t{}", '"{}","{}"', "{} ,{} ")
CASES = ("id group", "ID Group", "Id GROUP")
FAULTS = (
    "none", "none", "none", "upper_image", "upper_mask", "decomposed", "empty_group", "missing_row",
    "two_groups", "other_shape", "stray_value", "other_value", "nan_image", "empty_file", "broken_link",
    "other_files", "chosen", "selection", "channels", "near_one", "no_mask", "text_file", "lost_image",
)  # fmt: skip


@dataclass
class Made:
    """A folder, how to read it, and what it means."""

    root: Path
    source: object
    patterns: dict
    ids: list
    images: list
    ratings: list
    groups: list
    raters: list
    options: dict = field(default_factory=dict)
    select: int | None = None
    culprits: tuple = ()  # words of which an error has to hold one
    fault: str = "none"
    refused: bool = False  # a result without an error or a warning would be wrong


def ending(kind):
    """`nii.gz` of `nii_u8`."""
    form = kind.split("_")[0].rstrip("01256")
    return {"nii": "nii.gz", "rgb": "png"}.get(form, form)


def stored_image(unit, kind):
    """The values that a file of this kind holds for `unit` in [0, 1], and what they mean."""
    if kind in ("npy_f32", "npy_f64", "nii_f32"):
        values = unit.astype(np.float64 if kind == "npy_f64" else np.float32)
        return values, values.astype(np.float32)
    top, dtype = (65535, np.uint16) if kind in ("png16", "npy_u16") else (255, np.uint8)
    values = np.rint(unit * top).astype(dtype)
    return values, values / np.float32(top)


def write(path, values):
    """Values of an image or a mask, rows first; a NIfTI file has them in this order too, see `draw`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.lower().endswith(".npy"):
        with path.open("wb") as file:
            np.save(file, values)
    elif path.name.lower().endswith(".nii.gz"):
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    else:
        Image.fromarray(values).save(path, format="TIFF" if path.suffix.lower() == ".tif" else "PNG")


def write_mask(path, rating, kind, mark, void):
    """A rating as a mask whose mark is `mark`, and -1 as `void`."""
    if kind == "png1":
        return write(path, rating == 1)
    values = np.where(rating == 1, mark, 0).astype(np.int16)
    if void is not None:
        values[rating < 0] = void
    if kind == "npy_bool":
        return write(path, values > 0)
    if kind in ("nii_scaled", "nii_near"):  # 255 times 1/255, and a float that is not quite the mark
        factor, slope = (255, 1 / 255) if kind == "nii_scaled" else (1, 1 + 1e-7)
        image = nibabel.Nifti1Image((values * factor).astype(np.uint8), np.eye(4))
        image.header.set_slope_inter(slope, 0)
        path.parent.mkdir(parents=True, exist_ok=True)
        return nibabel.save(image, path)
    return write(path, values.astype({"i16": np.int16, "f32": np.float32}.get(kind.partition("_")[2], np.uint8)))


def _table(rows, style, delimiter_of):
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter_of)
    writer.writerows(rows)
    return style + "\n" + text.getvalue()


@st.composite
def made(draw, root):
    """A folder below `root`."""
    root = Path(root)
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    layout = draw(st.sampled_from(("suffix", "folders", "csv", "rows")))
    kind = draw(st.sampled_from(PICTURES + ARRAYS))
    mask_kind = draw(st.sampled_from(MASKS))
    volume = kind.startswith(("npy", "nii")) and mask_kind.startswith(("npy", "nii")) and draw(st.booleans())
    shape = (4, 5, 3) if volume else draw(st.sampled_from(((5, 7), (6, 6))))
    channels = 3 if kind == "rgb" else 1
    ids = draw(st.lists(st.sampled_from(IDS), min_size=1, max_size=4, unique=True))
    raters = draw(st.lists(st.sampled_from(RATERS), min_size=1, max_size=3, unique=True))
    fault = draw(st.sampled_from(FAULTS))
    if fault in ("missing_row", "empty_group", "two_groups") and layout != "rows":
        grouped = True
    else:
        grouped = draw(st.booleans())
    plain = mask_kind in ("npy_bool", "nii_scaled", "png1")
    label = None if plain else draw(st.sampled_from((None, 1, 3, 255)))
    if mask_kind in ("png255",):
        label = None if label is None else 255
    mark = 1 if plain else label or (255 if mask_kind == "png255" else draw(st.sampled_from((1, 2, 255))))
    void = None if plain or mask_kind == "nii_near" else draw(st.sampled_from((None, None, 7)))

    images, means, ratings = [], [], []
    for _ in ids:
        unit = rng.random((*shape, channels))
        unit.flat[0], unit.flat[-1] = 0, 1
        values, meaning = stored_image(unit, kind)
        images.append(values if channels > 1 else values[..., 0])
        means.append(meaning)
        rating = (rng.random((*shape, len(raters))) > 0.6).astype(np.int8)
        rating[(0,) * len(shape)], rating[(-1,) * len(shape)] = 1, 0
        if void is not None:
            rating[(1,) * len(shape)] = -1
        ratings.append(rating)
    there = [[draw(st.integers(0, 4)) > 0 for _ in raters] for _ in ids]
    for row in there:
        row[draw(st.integers(0, len(raters) - 1))] = True
    groups = [draw(st.sampled_from(GROUPS)) for _ in ids] if grouped else list(ids)

    result = Made(root, root, {}, list(ids), means, ratings, groups, list(raters), fault=fault)
    if label is not None:
        result.options["label"] = label
    if void is not None:
        result.options["void"] = void
    victim, loser = draw(st.integers(0, len(ids) - 1)), draw(st.integers(0, len(raters) - 1))
    there[victim][loser] = True
    name = {"suffix": "{}_image.", "folders": "images/{}."}.get(layout, "i-{}.")
    mask = {"suffix": "{}_rater{}.", "folders": "masks/{1}/{0}."}.get(layout, "m-{}-{}.")
    files = {key: name.format(key) + ending(kind) for key in ids}
    masks = {(key, r): mask.format(key, r) + ending(mask_kind) for key in ids for r in raters}

    # NIfTI has x first and pictures have rows first; a tool that saves a picture's mask as NIfTI writes it turned
    nifti, nifti_mask = kind.startswith("nii"), mask_kind.startswith("nii")
    picture, picture_mask = kind in PICTURES, mask_kind.startswith(("png", "tif"))
    turn_image, turn_mask = nifti and picture_mask, nifti_mask and picture

    upper = lambda text: text[: text.index(".", -8)] + text[text.index(".", -8) :].upper()  # noqa: E731
    if fault == "upper_image":
        files[ids[victim]] = upper(files[ids[victim]])
        result.culprits = (files[ids[victim]],)
    if fault == "upper_mask":
        spot = ids[victim], raters[loser]
        masks[spot] = upper(masks[spot])
        result.culprits = (Path(masks[spot]).name,)
    if fault == "decomposed":
        spot = ids[victim], raters[loser]
        masks[spot] = unicodedata.normalize("NFD", masks[spot])
        result.culprits = (ids[victim], raters[loser])
    if fault == "no_mask":
        there[victim] = [False] * len(raters)
        words = (ids[victim], Path(files[ids[victim]]).name, "no mask of any image", "no column of a rater")
        result.culprits, result.refused = words, True

    for row, key in enumerate(ids):
        values = images[row]
        if fault == "channels" and row == victim and len(ids) > 2 and not nifti and kind != "tif":
            values = values[..., 0] if channels > 1 else np.stack([values] * 3, -1)
            if kind == "png16" or (volume and not kind.startswith("npy")):
                values = images[row]
            else:
                result.culprits, result.refused = (Path(files[key]).name,), True
        if fault == "nan_image" and row == victim and values.dtype.kind == "f":
            values = values.copy()
            values.flat[1] = np.nan
            result.culprits, result.refused = (Path(files[key]).name,), True
        if turn_image:
            values = np.swapaxes(values, 0, 1)
        if not (fault == "lost_image" and row == victim):
            write(root / files[key], values)
        else:
            words = (key, *(f"rater {r}" for r in raters), "no image matches")
            result.culprits, result.refused = words, layout in ("csv", "rows")
        for r, rater in enumerate(raters):
            path = root / masks[key, rater]
            if not there[row][r]:
                result.ratings[row][..., r] = -1
                continue
            spot, hit = result.ratings[row][..., r], row == victim and r == loser
            written = np.swapaxes(spot, 0, 1) if turn_mask else spot
            bad_mark = mark
            if hit and fault == "other_shape":
                written = np.concatenate([written, written], 0)
                result.culprits, result.refused = (path.name,), True
            write_mask(path, written, mask_kind, bad_mark, void)
            if hit and fault == "stray_value" and label is None and not plain:
                values = np.where(written == 1, mark, 0).astype(np.int16)
                values.flat[1:3] = 5, 6
                write_mask(path, np.ones_like(written), mask_kind, values, None)
                result.culprits, result.refused = (path.name,), True
            if hit and fault == "near_one" and mask_kind == "npy_f32":
                write(path, np.where(written == 1, np.float32(mark * 0.9999999), np.float32(0)))
                if void is not None:
                    result.ratings[row][..., r][spot < 0] = 0
                result.culprits = (path.name,)
            if hit and fault in ("empty_file", "text_file"):
                path.write_bytes(b"" if fault == "empty_file" else b"see the other folder\n")
                result.culprits, result.refused = (path.name,), True
            if hit and fault == "broken_link":
                path.unlink()
                path.symlink_to(root / "annex" / path.name)
                result.culprits, result.refused = (path.name,), True
        if fault == "other_value" and label is not None:
            # one rater's tool wrote another number for every mark
            path = root / masks[key, raters[loser]]
            if there[row][loser]:
                spot = result.ratings[row][..., loser]
                write_mask(path, np.swapaxes(spot, 0, 1) if turn_mask else spot, mask_kind, 2, void)
                result.culprits, result.refused = (path.name, f"rater {raters[loser]}", "label"), True
    if fault == "other_files":
        for other in ("Thumbs.db", "notes.txt", "._1_image.png"):
            (root / other).write_bytes(b"\0")

    # the table, or the groups beside a folder
    head = draw(st.sampled_from(HEADERS))
    words = draw(st.sampled_from(CASES)).split()
    delimiter = {"{};{}": ";", "{}\t{}": "\t"}.get(head, ",")
    head = head.format(*words)
    cells = [[key, group] for key, group in zip(ids, groups, strict=True)]
    if grouped and layout != "rows":
        if fault == "empty_group":
            cells[victim][1] = draw(st.sampled_from(("", " ", "  ")))
            result.culprits, result.refused = (ids[victim],), True
        if fault == "missing_row" and layout in ("suffix", "folders"):
            del cells[victim]
            result.culprits, result.refused = (ids[victim],), True
        if fault == "two_groups" and layout in ("suffix", "folders"):
            cells.append([ids[victim], "another"])
            result.culprits, result.refused = (ids[victim],), True
    if layout == "rows":
        result.source = [
            {"id": key, "image": root / files[key], **({"group": group} if grouped else {})}
            | {f"rater{r}": root / masks[key, r] for r, is_there in zip(raters, has, strict=True) if is_there}
            for key, group, has in zip(ids, groups, there, strict=True)
        ]
        order = [r for r in raters if any(has[raters.index(r)] for has in there)]
        if order:
            result.options["raters"] = order
            _keep(result, order)
    elif layout == "csv":
        if not grouped:
            head, cells = words[0], [[key] for key in ids]
        head += "".join(delimiter + column for column in ["image", *(f"rater{r}" for r in raters)])
        for row, (cell, has) in enumerate(zip(cells, there, strict=True)):
            cell += [files[ids[row]], *(masks[ids[row], r] * ok for r, ok in zip(raters, has, strict=True))]
        text = _table(cells, head, delimiter)
        result.source = root / "table.csv"
        result.source.write_text(text, encoding=draw(st.sampled_from(("utf-8", "utf-8-sig"))))
    else:
        if grouped:
            (root / "index.csv").write_text(_table(cells, head, delimiter), encoding="utf-8")
        star = {"suffix": ("*_image.", "*_rater{r}."), "folders": ("images/*.", "masks/{r}/*.")}[layout]
        result.patterns = {"image": star[0] + ending(kind), "ratings": star[1] + ending(mask_kind)}
    if layout != "rows":
        order = [r for r in raters if any(has[raters.index(r)] for has in there)]
        if fault == "chosen":
            order = order[:1]
            bare = [key for key, has in zip(ids, there, strict=True) if not has[raters.index(order[0])]]
            if bare:
                result.culprits, result.refused = (*bare, order[0]), True
        if order:
            result.options["raters"] = order
            _keep(result, order)
    if fault == "selection" and len(ids) > 1:
        result.select = draw(st.integers(1, len(ids) - 1))
    if turn_image or turn_mask:  # may be refused for that
        result.culprits += tuple(Path(file).name for file in (*files.values(), *masks.values()))
    return result


def _keep(result, order):
    places = [result.raters.index(r) for r in order]
    result.raters, result.ratings = order, [rating[..., places] for rating in result.ratings]
