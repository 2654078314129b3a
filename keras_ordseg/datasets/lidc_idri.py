"""LIDC-IDRI as slices: lung nodules in thoracic CT, four radiologists."""

from pathlib import Path

import numpy as np

from keras_ordseg.data import DataError, _images, split
from keras_ordseg.data._values import Reading, to_mask
from keras_ordseg.datasets._base import MultiRaterBuilder, folders_in, manual_folder, stacked

_FOLDER = "LIDC-IDRI-slices"
_SHARES = (0.7, 0.15, 0.15)


class LidcIdri(MultiRaterBuilder):
    """LIDC-IDRI: slices around lung nodules with the masks of four radiologists.

    The set has no official split: `train`, `validation` and `test` are 70, 15 and 15 % of the slices, by patient,
    and always the same (`data.split` of the patients' folders, seed 0). The radiologists are slots, not persons:
    `mask-0` of two nodules may be two radiologists. A case's `id` is `<patient>/nodule-<i>/slice-<j>`.
    """

    NUM_RATERS = 4
    DESCRIPTION = "Slices of thoracic CT around lung nodules, each marked by four radiologists."
    HOMEPAGE = "https://www.cancerimagingarchive.net/collection/lidc-idri/"
    LICENSE = "CC BY 3.0"
    CITATION = """\
@article{armato2011lidc,
  title = {The Lung Image Database Consortium ({LIDC}) and Image Database Resource Initiative ({IDRI}): a completed
           reference database of lung nodules on {CT} scans},
  author = {Armato, Samuel G. and others},
  journal = {Medical Physics}, volume = {38}, number = {2}, pages = {915--931}, year = {2011},
}"""
    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
LIDC-IDRI (https://www.cancerimagingarchive.net/collection/lidc-idri/) cut into slices, as research code passes it
around. Put it into the manual directory so that it holds
  LIDC-IDRI-slices/<patient>/nodule-<i>/images/slice-<j>.png
  LIDC-IDRI-slices/<patient>/nodule-<i>/mask-0/slice-<j>.png … mask-3/slice-<j>.png"""

    def _split_generators(self, dl_manager):
        manual = manual_folder(dl_manager)
        root = manual if manual.name == _FOLDER else manual / _FOLDER
        if not root.is_dir():
            raise DataError(f"{root}: there is no such folder.\n{self.MANUAL_DOWNLOAD_INSTRUCTIONS}")
        cases, problems = [], []
        for patient in folders_in(root):
            nodules = [folder for folder in folders_in(patient) if folder.name.startswith("nodule-")]
            if not nodules:
                problems.append(f"{patient.name}: holds no folder nodule-<i>")
            for nodule in nodules:
                found, missing = _slices(nodule, self.NUM_RATERS)
                cases += [(root, nodule, name) for name in found]
                problems += [f"{patient.name}/{nodule.name}: {text}" for text in missing]
        if not cases and not problems:
            problems = ["no patient's folder is there"]
        if problems:
            raise DataError.listing(problems, f"{root}, which is not laid out as lidc_idri expects")
        parts = split([nodule.parent.name for _, nodule, _ in cases], _SHARES)
        return {
            name: self._generate_examples([cases[i] for i in part], self._read, root)
            for name, part in zip(("train", "validation", "test"), parts, strict=True)
        }

    def _read(self, case):
        root, nodule, name = case
        image = _image(root, nodule / "images" / name)
        masks = []
        for rater in range(self.NUM_RATERS):
            file = nodule / f"mask-{rater}" / name
            try:
                masks.append(to_mask(_images.read_mask(file), Reading())[0])
                if masks[-1].shape != image.shape[:2]:
                    have, want = (f"{shape[1]}x{shape[0]}" for shape in (masks[-1].shape, image.shape))
                    raise DataError(f"the mask has {have} pixels, its image {want}")
            except DataError as error:
                raise DataError(f"{file.relative_to(root)}: {error}") from None
        key = f"{nodule.parent.name}/{nodule.name}/{Path(name).stem}"
        return {"image": image, "ratings": stacked(masks), "id": key, "group": nodule.parent.name}


def _slices(nodule, num_raters):
    """The files of the slices, and what is missing beside them."""
    folders = ["images", *(f"mask-{rater}" for rater in range(num_raters))]
    there = {
        folder: {file.name for file in (nodule / folder).glob("slice-*.png")}
        for folder in folders
        if (nodule / folder).is_dir()
    }
    missing = [f"no folder {folder}" for folder in folders if folder not in there]
    names = sorted(set().union(*there.values()))
    missing += [f"no {folder}/{name}" for folder in there for name in names if name not in there[folder]]
    return names, missing or ([] if names else ["no slice-<j>.png"])


def _image(root, file):
    """An 8-bit grey image `(H, W, 1)`; one in colour must be grey all the same."""
    try:
        pixels = _images.read_image(file)
        if pixels.ndim == 3 and (pixels[..., :1] == pixels).all():
            pixels = pixels[..., 0]
        if pixels.ndim == 3 or pixels.dtype != np.uint8:
            raise DataError("is not an 8-bit grey image")
    except DataError as error:
        raise DataError(f"{file.relative_to(root)}: {error}") from None
    return pixels[..., None]
