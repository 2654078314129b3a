"""Tiny files of exactly the layouts that the public data sets have on disk."""

import json

import h5py
import nibabel
import numpy as np
from PIL import Image


def save(array, file, **options):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(file, **options)


def write_cocahis(folder, rng, names=("raw", "sn1", "sn2")):
    """Eight images of 6x5 and five patients; the values by dataset."""
    values = {f"HE/{name}": rng.integers(0, 256, (8, 6, 5, 3), dtype=np.uint8) for name in names}
    for rater in range(1, 8):
        values[f"GT/GT{rater}"] = rng.integers(0, 2, (8, 6, 5), dtype=np.uint8)
    values["GT/GT_majority_vote"] = np.zeros((8, 6, 5), np.uint8)
    with h5py.File(folder / "CoCaHis.hdf5", "w") as file:
        for name, array in values.items():
            file[name] = array
        attributes = file["HE"].attrs
        attributes["train_test_split"] = np.array([b"train"] * 6 + [b"test"] * 2)
        attributes["patient_num"] = np.array([b"1", b"1", b"2", b"3", b"4", b"4", b"5", b"5"])
        attributes["image_num"] = np.array([b"1", b"2", b"1", b"1", b"1", b"2", b"1", b"2"])
    return values


def write_refuge(folder, rng, structures=("disc", "cup"), cropped=False, cases=5):
    """Five training and two test cases, sizes differ; the masks by case and structure."""
    masks = {}
    for part, numbers in (("Training-400", range(cases)), ("Test-400", range(cases, cases + 2))):
        for number in numbers:
            case, size = f"g{number:04d}", (16 + number, 24)
            end = "_cropped" if cropped else ""
            coarse = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
            image = np.pad(coarse, ((0, number), (0, 0), (0, 0)))
            save(image, folder / part / case / f"{case}{end}.jpg", quality=90)
            for structure in structures:
                marks = np.zeros((7, *size), np.uint8)
                for rater in range(7):
                    top, left = rng.integers(0, 2, 2) * 8
                    marks[rater, top : top + 8, left : left + 8] = 255
                    name = f"{case}_seg_{structure}_{rater + 1}{end}.{'jpg' if cropped else 'png'}"
                    save(marks[rater], folder / part / case / name)
                masks[case, structure] = np.moveaxis(marks == 255, 0, -1)
    return masks


def write_lidc(folder, rng, patients=8):
    """Eight patients with two nodules of two slices; image and masks by id."""
    values = {}
    for patient in range(patients):
        for nodule in range(2):
            for slice_ in range(2):
                place = folder / "LIDC-IDRI-slices" / f"LIDC-IDRI-{patient:04d}" / f"nodule-{nodule}"
                image = rng.integers(0, 256, (6, 5), dtype=np.uint8)
                masks = rng.integers(0, 2, (4, 6, 5), dtype=np.uint8)
                save(image, place / "images" / f"slice-{slice_}.png")
                for rater, mask in enumerate(masks):
                    save(mask * np.uint8(255), place / f"mask-{rater}" / f"slice-{slice_}.png")
                values[f"{place.parent.name}/{place.name}/slice-{slice_}"] = image, np.moveaxis(masks, 0, -1)
    return values


def write_long_ciu(folder, rng):
    """A volume of 6x5 and nine slices in HU, three raters' labels; the values by file."""
    affine = np.diag([-0.7, -0.7, 5.0, 1.0])
    values = {"longciu_img.nii.gz": rng.integers(-2000, 1500, (6, 5, 9)).astype(np.int16)}
    for rater in (1, 2, 3):
        values[f"longciu_{rater}_tgt.nii.gz"] = rng.integers(0, 3, (6, 5, 9)).astype(np.uint8)
    values["longciu_STAPLE_tgt.nii.gz"] = np.zeros((6, 5, 9), np.uint8)
    folder.mkdir(exist_ok=True)
    for name, array in values.items():
        nibabel.save(nibabel.Nifti1Image(array, affine), folder / name)
    splits = {"train": [0, 3, 4, 7, 8], "val": [1, 6], "test": [2, 5]}
    (folder / "longciu_splits.json").write_text(json.dumps(splits))
    return values
