"""Folders of images of one size from the packs of real masks: `python docs/evidence/prepare.py PACKS FOLDERS`.

* `lidc`: the 900 images of `lidc_crops` and the 1500 of `lidc_crops_more`, cut to the middle 64 pixels, grouped by patient.
* `cfos_brain`, `cfos_multilab`, `cryonuseg`, `chase_db1`: halved, then cut into tiles of 128 pixels (CHASE: 120 × 128) that
  keep the group of their image. A border too narrow for a tile is left out.
* `bubil_phase`: halved to 128 pixels. Neighbouring files can be frames of one film, so eight that follow one
  another in a set are a group.
* `bubil_fluo`: `bubil_fluo_crowd`, padded with their edge or cut to 96 pixels, grouped as `bubil_phase`.
"""

import csv
import sys
from pathlib import Path

import numpy as np
from PIL import Image

TILES = {"cfos_brain": (128, 128), "cfos_multilab": (128, 128), "cryonuseg": (128, 128), "chase_db1": (120, 128)}


def cases(pack):
    """`(id, group, image, masks)` of a pack."""
    with open(pack / "index.csv", newline="") as file:
        for row in csv.DictReader(file):
            masks = sorted(pack.glob(f"{row['id']}_rater*.png"))
            image = np.asarray(Image.open(pack / f"{row['id']}_image.png"))
            yield row["id"], row["group"], image, [np.asarray(Image.open(m).convert("L")) > 127 for m in masks]


def more_lidc(path):
    with np.load(path) as file:
        masks = np.unpackbits(file["masks_packed"], axis=-1).astype(bool)
        for i, (image, patient) in enumerate(zip(file["images"], file["patient"], strict=True)):
            yield f"more{i:04d}", str(patient), image, list(masks[i])


def centre(array, side):
    y, x = ((n - side) // 2 for n in array.shape[:2])
    return array[y : y + side, x : x + side]


def tiles(array, shape):
    rows, columns = (n // t for n, t in zip(array.shape, shape, strict=False))
    y, x = ((n - k * t) // 2 for n, k, t in zip(array.shape, (rows, columns), shape, strict=False))
    for r in range(rows):
        for c in range(columns):
            top, left = y + r * shape[0], x + c * shape[1]
            yield f"{r}{c}", array[top : top + shape[0], left : left + shape[1]]


def padded(array, side):
    extra = [(max(side - n, 0) // 2, (max(side - n, 0) + 1) // 2) for n in array.shape[:2]]
    array = np.pad(array, extra + [(0, 0)] * (array.ndim - 2), mode="edge")
    return centre(array, side)


def halved(entries):
    """Images as means of four pixels; masks where at least half of the four are marked."""
    for name, group, image, masks in entries:
        yield name, group, half(image), [half(mask * np.uint8(255)) > 127 for mask in masks]


def half(array):
    picture = Image.fromarray(array)
    return np.asarray(picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BOX))


def write(folder, entries):
    folder.mkdir(parents=True)
    rows = []
    for name, group, image, masks in entries:
        Image.fromarray(image).save(folder / f"{name}_image.png")
        for r, mask in enumerate(masks, 1):
            Image.fromarray(mask.astype("uint8") * 255).save(folder / f"{name}_rater{r}.png")
        rows.append((name, group))
    with open(folder / "index.csv", "w", newline="") as file:
        csv.writer(file).writerows([("id", "group"), *rows])
    print(f"{folder.name:14s} {len(rows):5d} images of {len({group for _, group in rows}):4d} groups")


def by_eight(entries):
    """Eight files that follow one another in a set are a group."""
    seen = {}
    for name, group, image, masks in entries:
        seen[group] = seen.get(group, -1) + 1
        yield name, f"{group}, block {seen[group] // 8 + 1}", image, masks


def main(packs, folders):
    packs, folders = Path(packs), Path(folders)
    for name, shape in TILES.items():
        cut = (
            (f"{case}_{place}", group, tile, [dict(tiles(mask, shape))[place] for mask in masks])
            for case, group, image, masks in halved(cases(packs / name))
            for place, tile in tiles(image, shape)
        )
        write(folders / name, cut)
    lidc = [*cases(packs / "lidc_crops"), *more_lidc(packs / "lidc_crops_more" / "lidc_crops_more.npz")]
    write(folders / "lidc", ((n, g, centre(i, 64), [centre(m, 64) for m in masks]) for n, g, i, masks in lidc))
    write(folders / "bubil_phase", by_eight(halved(cases(packs / "bubil_phase"))))
    fluo = by_eight(cases(packs / "bubil_fluo_crowd"))
    write(folders / "bubil_fluo", ((n, g, padded(i, 96), [padded(m, 96) for m in masks]) for n, g, i, masks in fluo))


if __name__ == "__main__":
    main(*sys.argv[1:])
