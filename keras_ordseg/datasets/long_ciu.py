"""LongCIU: pulmonary opacities in chest CT of long COVID, three raters."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from keras_ordseg.data import DataError, _nifti
from keras_ordseg.data._grids import compare
from keras_ordseg.data._numbers import shown
from keras_ordseg.data._values import Reading, to_image, to_mask
from keras_ordseg.data.features import UnitImage
from keras_ordseg.datasets._base import MultiRaterBuilder, manual_folder, stacked

_URL = (
    "https://iro.uiowa.edu/view/fileRedirect?instCode=01IOWA_INST&download=true&filePid=1393139{}0002771"
)
# the file: what differs in its address, and its SHA-256. TensorFlow Datasets' own checksums want sizes as well,
# which are not published.
FILES = {
    "longciu_img.nii.gz": (
        "526",
        "af54aff713e7054d204b5e5e2aa0598c856006229901eea791ece8ae2efe8ab8",
    ),
    "longciu_1_tgt.nii.gz": (
        "530",
        "f9cd0e605f6fcd701a64a262ba15d43a46fe2f1b62a4045e83195e4962f022ed",
    ),
    "longciu_2_tgt.nii.gz": (
        "529",
        "4e54ec5add75b2ee48f34be6bd25c74f23d550a96430ff10c04e711383f9647f",
    ),
    "longciu_3_tgt.nii.gz": (
        "528",
        "aee04feddb18cbbe717418ce8b6838b58fc415f0b5b13b97b1c682faed1bb7cd",
    ),
    "longciu_splits.json": (
        "524",
        "7f4d62f33f68a16cd2df10cc320e087d43802970de63e6e459885f5c7e5604bf",
    ),
}
_WINDOW = (-1024.0, 600.0)
_LABELS = {"infection": (1, 2), "ggo": (1,), "consolidation": (2,)}
_SPLITS = {"train": "train", "validation": "val", "test": "test"}


class LongCIU(MultiRaterBuilder):
    """LongCIU: 90 axial slices of chest CT after COVID-19, opacities marked by three raters.

    Splits as shipped. Configurations: `infection` (ground glass or consolidation), `ggo`, `consolidation`. Images are
    the Hounsfield units clipped to -1024 … 600 and scaled to [0, 1]. A case is one slice, `id` its number on the last
    axis of the file; the files name no patients, so each case is its own `group`. Orientation: `image[i, j, 0]` is
    voxel `[i, j, slice]` of the file as nibabel reads it, nothing is flipped or turned.

    The files are downloaded and checked against the published checksums, or taken from the manual directory.
    """

    NUM_RATERS = 3
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name="infection", description="Ground glass or consolidation."),
        tfds.core.BuilderConfig(name="ggo", description="Ground-glass opacity."),
        tfds.core.BuilderConfig(name="consolidation", description="Consolidation."),
    ]
    DESCRIPTION = "90 axial slices of chest CT of long COVID, ground glass and consolidation, marked by three raters."
    HOMEPAGE = "https://doi.org/10.25820/data.007301"
    LICENSE = "ODC-By 1.0"
    CITATION = """\
@article{carmo2025longciu,
  title = {{LongCIU}},
  author = {Carmo, Diedre and others},
  journal = {Scientific Data}, year = {2025}, note = {Data: doi 10.25820/data.007301},
}"""
    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
LongCIU downloads itself. Where it cannot, fetch these files from https://doi.org/10.25820/data.007301 into the manual
directory:
  longciu_img.nii.gz longciu_1_tgt.nii.gz longciu_2_tgt.nii.gz longciu_3_tgt.nii.gz longciu_splits.json"""

    def _image_feature(self):
        return UnitImage(shape=(None, None, 1), stored="float32")

    def _split_generators(self, dl_manager):
        folder = _fetched(dl_manager)
        image, masks, slices = self._volumes(folder)
        ends, label = _WINDOW, Reading(label=_LABELS[self.builder_config.name])

        def read(number):
            return {
                "image": to_image(image[:, :, number], ends)[..., None],
                "ratings": stacked([to_mask(mask[:, :, number], label)[0] for mask in masks]),
                "id": f"{number:03d}",
                "group": f"{number:03d}",
            }

        return {name: self._generate_examples(slices[name], read, folder) for name in _SPLITS}

    def _volumes(self, folder):
        """The image, the masks and the slices of each split, once it is certain that they belong together."""
        problems, volumes, geometry = [], {}, {}
        for name in FILES:
            try:
                if name.endswith(".json"):
                    splits = _splits(folder / name)
                    continue
                volumes[name] = _nifti.read(folder / name)
                geometry[name] = _nifti.geometry(folder / name)
                problems += [f"{name}: {text}" for text in _wrong(name, volumes[name])]
            except DataError as error:
                problems.append(f"{name}: {error}")
        if problems:
            raise DataError.listing(problems, str(folder))
        image, *masks = volumes
        for name in masks:
            if volumes[name].shape != volumes[image].shape:
                problems.append(f"{name}: has shape {volumes[name].shape}, its image {volumes[image].shape}")
            elif text := compare(geometry[image], geometry[name]):
                problems.append(f"{name}: {text}")
        depth = volumes[image].shape[2]
        for name, numbers in splits.items():
            if beyond := [number for number in numbers if not 0 <= number < depth]:
                problems.append(f"longciu_splits.json: {name} names slices {beyond} of {depth}")
        if problems:
            raise DataError.listing(problems, str(folder))
        return volumes[image], [volumes[name] for name in masks], splits


def _fetched(dl_manager) -> Path:
    """A folder with all files, checked: the manual one where it holds any of them, or what was downloaded."""
    try:
        manual = manual_folder(dl_manager)
    except DataError:  # none, or empty
        manual = None
    if manual is not None and any((manual / name).exists() for name in FILES):
        problems = [f"{name}: there is no such file" for name in FILES if not (manual / name).is_file()]
        problems += [
            f"{name}: is not the published file (SHA-256 {found}, published {FILES[name][1]}); fetch it again, "
            "and see that nothing unpacks it"
            for name in FILES
            if (manual / name).is_file() and (found := _sha256(manual / name)) != FILES[name][1]
        ]
        if problems:
            instructions = LongCIU.MANUAL_DOWNLOAD_INSTRUCTIONS
            raise DataError(f"{DataError.listing(problems, str(manual))}\n{instructions}")
        return manual
    folder = Path(dl_manager.download_dir) / "long_ciu" / "files"  # under the names that nibabel knows formats by
    lacking = [name for name in FILES if not (folder / name).is_file() or _sha256(folder / name) != FILES[name][1]]
    if lacking:
        folder.mkdir(parents=True, exist_ok=True)
        downloaded = dl_manager.download({name: _URL.format(FILES[name][0]) for name in lacking})
        problems = []
        for name, file in downloaded.items():
            if (found := _sha256(file)) == FILES[name][1]:
                shutil.copyfile(file, folder / f".{name}")
                (folder / f".{name}").replace(folder / name)
            else:
                Path(file).unlink()  # or the next run would find it in the cache
                problems.append(f"{name}: is not the published file (SHA-256 {found}, published {FILES[name][1]})")
        if problems:
            text = "They have been deleted; run it again, or see the manual way:"
            raise DataError(
                f"{DataError.listing(problems, 'the download')}\n{text}\n{LongCIU.MANUAL_DOWNLOAD_INSTRUCTIONS}"
            )
    return folder


def _sha256(file):
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _splits(file):
    """The numbers of the slices by split."""
    try:
        content = json.loads(file.read_text())
        lists = {name: [int(number) for number in content[key]] for name, key in _SPLITS.items()}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f'must hold "train", "val" and "test", lists of slice numbers ({type(error).__name__}: {error})'
        ) from None
    numbers = sum(lists.values(), [])
    if len(set(numbers)) < len(numbers) or not all(lists.values()):
        raise DataError("a split is empty, or a slice is in two splits")
    return lists


def _wrong(name, volume):
    """Why these are not the values of LongCIU."""
    if volume.ndim != 3:
        return [f"has shape {volume.shape}, (x, y, slices) is expected"]
    if "_tgt" in name and not np.isin(volume, (0, 1, 2)).all():
        return [f"must hold the labels 0, 1 and 2, holds {shown(volume)}"]
    if "_img" in name and not np.isfinite(volume).all():
        return ["has values that are not finite"]
    return []
