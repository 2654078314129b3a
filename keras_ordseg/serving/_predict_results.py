"""What is written of a prediction: maps, masks, and one row of the summary."""

import csv
import os

import numpy as np
from PIL import Image

from keras_ordseg.data import _nifti
from keras_ordseg.data._sources import Source

KINDS = (".nii.gz", ".png", ".npy")
_MEASURES = ("expected_area", "area_sd", "disputed_share", "review")


def columns(predictor):
    """The columns of `summary.csv`."""
    measured = [
        f"{structure}_{name}".removeprefix("_")
        for structure in predictor.raters
        for name in (_MEASURES[:1] if structure in predictor.binary else _MEASURES)
    ]
    return ["file", "size", "unit", *measured, "status", "error", "input", "model"]


def measure(at_least, pixel_size, review_threshold, binary):
    """The numbers of the signature `summary` for one image of any size, from `P(k >= t)` `(*spatial, K)`.

    >>> p = np.array([[0.9, 0.6], [0.7, 0.3]], "float32")                      # two pixels, K = 2: A_t = 1.6, 0.9
    >>> {name: round(float(value), 4) for name, value in measure(p, 1.0, 0.5, False).items()}
    {'expected_area': 1.25, 'area_sd': 0.35, 'disputed_share': 0.35, 'review': 0.0}
    """
    axes = tuple(range(at_least.ndim - 1))
    areas = pixel_size * at_least.sum(axes, dtype="float64")
    found = {"expected_area": float(areas.mean())}
    if not binary:
        inside = at_least[..., 0] > 0.5
        differ = at_least[..., 0][inside].astype("float64") - at_least[..., -1][inside]
        share = float(np.maximum(differ, 0).mean()) if differ.size else 0.0
        found |= {"area_sd": float(areas.std()), "disputed_share": share, "review": not share <= review_threshold}
    return found


def agreeing(at_least):
    """How many raters are expected to mark each pixel: of the nested masks `P(k >= t) > 1/2`, how many hold it, uint8."""
    nested = np.minimum.accumulate(at_least > 0.5, axis=-1)
    return nested.sum(axis=-1, dtype="uint8")


def result_files(base, structure, kind, quorums):
    """`{result: path}` of one structure: the agreement, the nested masks, and each quorum's."""
    stem = f"{base.name}_{structure}" if structure else base.name
    names = ("agreement", "masks", *(f"quorum{q}" for q in quorums))
    return {name: base.with_name(f"{stem}_{name}{kind}") for name in names}


def kind_of(file, rank):
    """The ending of results: NIfTI for NIfTI, which keeps the place in the world, PNG for pictures, else NumPy."""
    if Source(file).format is _nifti:
        return KINDS[0]
    return KINDS[1] if rank == 2 else KINDS[2]


def write_results(files, at_least, raters, quorums, like):
    """Writes each file beside its place and renames it. `like`: the image, for its geometry."""
    levels = agreeing(at_least)
    arrays = {"agreement": at_least.mean(axis=-1), "masks": levels}
    arrays |= {f"quorum{q}": (levels >= q).astype("uint8") for q in quorums}
    for name, path in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".part-{path.name}")
        try:
            if path.name.endswith(".png"):
                _write_png(scratch, arrays[name], name, raters)
            elif path.name.endswith(".npy"):
                np.save(scratch, arrays[name])
            else:
                _write_nifti(scratch, arrays[name], like, raters if name == "masks" else 1)
            os.replace(scratch, path)
        finally:
            scratch.unlink(missing_ok=True)


def _write_png(path, array, name, raters):
    """16 bits for a probability; a label map in grey steps that one can see; 0 and 255 for a mask."""
    if name == "agreement":
        Image.fromarray(np.rint(65535.0 * array).astype("uint16")).save(path)
    elif name == "masks":
        image = Image.fromarray(array)
        image.putpalette(np.repeat(np.rint(np.arange(raters + 1) * 255 / raters).astype("uint8"), 3).tobytes())
        image.save(path)
    else:
        Image.fromarray(255 * array).save(path)


def _write_nifti(path, array, like, top):
    """With the header of the image: affine, orientation, size and unit of the voxels, and its third axis of 1."""
    import nibabel

    image = nibabel.load(like)
    shape = (*array.shape, 1) if array.ndim == 2 and len(image.shape) > 2 else array.shape
    header = image.header.copy()
    header.set_data_dtype(array.dtype)
    header["cal_min"], header["cal_max"] = 0, top
    nibabel.save(type(image)(array.reshape(shape), image.affine, header), path)


def read_summary(path, names):
    """The rows of an earlier `summary.csv` by file, with their types; None where it has other columns."""
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    if reader.fieldnames != list(names):
        return None
    return {row["file"]: typed(row) for row in rows}


def write_summary(path, names, rows):
    """The whole table anew, beside its place and renamed."""
    scratch = path.with_name(f".part-{path.name}")
    with scratch.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows({name: "" if row.get(name) is None else row[name] for name in names} for row in rows)
    os.replace(scratch, path)


def typed(row):
    """A row of texts, with numbers and answers where there are any, else None."""
    return {name: _typed(name, text) for name, text in row.items()}


def _typed(name, text):
    if not name.endswith(_MEASURES):
        return text
    if text == "":
        return None
    return text == "True" if name.endswith("review") else float(text)
