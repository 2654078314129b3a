"""REFUGE with the outlines of seven ophthalmologists: optic disc, and optic cup."""

from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from keras_ordseg.data import DataError, _images
from keras_ordseg.data._numbers import shown
from keras_ordseg.data._values import Reading, to_mask
from keras_ordseg.data.features import UnitImage
from keras_ordseg.datasets._base import (
    MultiRaterBuilder,
    folders_in,
    manual_folder,
    stacked,
    train_and_validation,
)

_FOLDERS = {"train": "Training-400", "test": "Test-400"}
_BETWEEN = 0.02  # of the pixels of a mask may be grey, as JPEG and smooth borders leave them


class _Refuge(MultiRaterBuilder, skip_registration=True):
    STRUCTURE: str
    NUM_RATERS = 7
    CHANNELS = 3
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name="full", description="Whole photographs, masks as PNG."),
        tfds.core.BuilderConfig(name="cropped", description="The `_cropped` files around the disc, all JPEG."),
    ]
    HOMEPAGE = "https://refuge.grand-challenge.org/"
    LICENSE = "Set by the REFUGE challenge, for research; see its terms of use."
    CITATION = """\
@article{orlando2020refuge,
  title = {{REFUGE} Challenge: A unified framework for evaluating automated methods for glaucoma assessment from
           fundus photographs},
  author = {Orlando, Jos{\\'e} Ignacio and others},
  journal = {Medical Image Analysis}, volume = {59}, pages = {101570}, year = {2020},
}
@inproceedings{ji2021mrnet,
  title = {Learning Calibrated Medical Image Segmentation via Multi-rater Agreement Modeling},
  author = {Ji, Wei and others},
  booktitle = {CVPR}, year = {2021},
}"""
    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
REFUGE with the masks of all seven raters is given to registered users of https://refuge.grand-challenge.org/.
Unpack it so that the manual directory holds
  Training-400/<case>/<case>.jpg
  Training-400/<case>/<case>_seg_disc_1.png … <case>_seg_disc_7.png (and <case>_seg_cup_1.png … 7)
  Test-400/<case>/…, the same
For the configuration `cropped` the files are <case>_cropped.jpg and <case>_seg_disc_1_cropped.jpg … 7."""

    def _image_feature(self):
        return UnitImage(shape=(None, None, self.CHANNELS), encoding="jpeg")

    def _split_generators(self, dl_manager):
        root = manual_folder(dl_manager)
        cases, problems = {}, []
        for name, folder in _FOLDERS.items():
            if not (root / folder).is_dir():
                problems.append(f"{folder}: there is no such folder")
                continue
            cases[name] = folders_in(root / folder)
            if len(cases[name]) < (2 if name == "train" else 1):
                problems.append(f"{folder}: holds {len(cases[name])} cases, too few")
            for case in cases[name]:
                there = {file.name for file in case.iterdir()}
                image, masks = self._files(case)
                problems += [f"{folder}/{case.name}: no {f.name}" for f in (image, *masks) if f.name not in there]
        if problems:
            raise DataError.listing(problems, f"{root}, which is not laid out as {self.name} expects")
        train, validation = train_and_validation(cases["train"], [case.name for case in cases["train"]])
        parts = {"train": train, "validation": validation, "test": cases["test"]}
        return {
            name: self._generate_examples(part, self._read, root / _FOLDERS.get(name, _FOLDERS["train"]))
            for name, part in parts.items()
        }

    def _files(self, case: Path):
        end = "_cropped.jpg" if self.builder_config.name == "cropped" else None
        image = case / f"{case.name}{end or '.jpg'}"
        masks = [
            case / f"{case.name}_seg_{self.STRUCTURE}_{rater}{end or '.png'}"
            for rater in range(1, self.NUM_RATERS + 1)
        ]
        return image, masks

    def _read(self, case):
        image, files = self._files(case)
        problems, masks, shape = [], [], None
        try:
            shape = _jpeg_shape(image)
        except DataError as error:
            problems.append(f"{case.name}/{image.name}: {error}")
        for file in files:
            try:
                mask = _marks(_images.read_mask(file))
                if shape and mask.shape != shape:
                    have, want = (f"{width}x{height}" for height, width in (mask.shape, shape))
                    raise DataError(f"the mask has {have} pixels, its image {want}")
                masks.append(mask)
            except DataError as error:
                problems.append(f"{case.name}/{file.name}: {error}")
        if problems:
            raise DataError("\n  ".join(problems))
        return {"image": str(image), "ratings": stacked(masks), "id": case.name, "group": case.name}


class RefugeDisc(_Refuge):
    """The optic disc in 800 colour photographs of the fundus, outlined by seven ophthalmologists.

    Splits: `train` and `validation` are `Training-400` (80 % and 20 % of the cases, always the same), `test` is
    `Test-400`. Configurations: `full`, `cropped`. The bytes of the JPEG files are kept and decoded as Pillow does.
    """

    STRUCTURE = "disc"
    DESCRIPTION = "Optic disc in fundus photographs of the REFUGE challenge, seven ophthalmologists' masks."


class RefugeCup(_Refuge):
    """The optic cup in the photographs of `RefugeDisc`; the same splits and configurations."""

    STRUCTURE = "cup"
    DESCRIPTION = "Optic cup in fundus photographs of the REFUGE challenge, seven ophthalmologists' masks."


def _jpeg_shape(file):
    """Height and width, once the whole file has been decoded."""
    with _images._opened(file) as image:
        if image.format != "JPEG" or image.mode != "RGB":
            raise DataError(f"is {image.format} in mode {image.mode}, where a JPEG in RGB is expected")
        return image.height, image.width


def _marks(values):
    """A mask of 0 and one other value; or of black and white with few greys between, cut in the middle."""
    try:
        return to_mask(values, Reading())[0]
    except DataError:
        grey = ((values > 63) & (values < 192)).mean()
        if values.dtype != np.uint8 or values.max() < 192 or grey > _BETWEEN:
            raise DataError(f"not a mask in black and white: it holds {shown(values)}") from None
        return (values > 127).astype(np.int8)
