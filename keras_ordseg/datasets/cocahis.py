"""CoCaHis: metastatic colon cancer in the liver, seven raters."""

import numpy as np
import tensorflow_datasets as tfds

from keras_ordseg.data import DataError, _hdf5
from keras_ordseg.data._values import Reading, to_mask
from keras_ordseg.datasets._base import MultiRaterBuilder, manual_folder, stacked, train_and_validation

_FILE = "CoCaHis.hdf5"
_ATTRIBUTES = ("train_test_split", "patient_num", "image_num")


class Cocahis(MultiRaterBuilder):
    """CoCaHis: 82 H&E-stained frozen sections of 19 patients, tumour marked by seven raters.

    Splits: `test` as shipped; the shipped training images are `train` and `validation`, 80 % and 20 %, by patient
    and always the same. Configurations: `raw`, and the stain-normalised `sn1` and `sn2`. A case's `id` is its
    number of patient and image, its `group` the patient. An image of the file has its rows first.
    """

    NUM_RATERS = 7
    CHANNELS = 3
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name="raw", description="The images as they were taken."),
        tfds.core.BuilderConfig(name="sn1", description="Stain-normalised, `HE/sn1`."),
        tfds.core.BuilderConfig(name="sn2", description="Stain-normalised, `HE/sn2`."),
    ]
    DESCRIPTION = (
        "82 images of H&E-stained frozen sections of colon cancer metastasised in the liver, 19 patients, each marked "
        "by seven raters."
    )
    HOMEPAGE = "https://cocahis.irb.hr/"
    LICENSE = "Set by the authors; see the home page."
    CITATION = """\
@article{sitnik2021cocahis,
  title = {A dataset and a methodology for intraoperative computer-aided diagnosis of a metastatic colon cancer in a
           liver},
  author = {Sitnik, Dario and others},
  journal = {Biomedical Signal Processing and Control}, volume = {66}, pages = {102402}, year = {2021},
}"""
    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
Fetch CoCaHis.hdf5 from https://cocahis.irb.hr/ and put it into the manual directory, under that name:
  CoCaHis.hdf5"""

    def _split_generators(self, dl_manager):
        file = manual_folder(dl_manager) / _FILE
        if not file.is_file():
            raise DataError(f"{file}: there is no such file.\n{self.MANUAL_DOWNLOAD_INSTRUCTIONS}")
        try:
            part, patients, ids = self._table(file)
        except DataError as error:
            raise DataError(f"{file}: {error}") from None
        self._path = file
        cases = list(zip(range(len(ids)), ids, patients, strict=True))
        shipped = [case for case, name in zip(cases, part, strict=True) if name == "train"]
        train, validation = train_and_validation(shipped, [patient for *_, patient in shipped])
        test = [case for case, name in zip(cases, part, strict=True) if name == "test"]
        parts = {"train": train, "validation": validation, "test": test}
        return {name: self._generate_examples(part, self._read, file) for name, part in parts.items()}

    def _table(self, file):
        """Split, patient and id of every image, once the file's layout is certain."""
        there = _hdf5.datasets(file)
        wanted = [self._images, *self._masks]
        problems = [f"no dataset {name}" for name in wanted if name not in there]
        shapes = {name: _hdf5.shape(file, name) for name in wanted if name in there}
        shape = shapes.get(self._images, ())
        if shape and (len(shape) != 4 or shape[-1] != self.CHANNELS):
            problems.append(f"{self._images} has shape {shape}, (images, height, width, 3) is expected")
        elif shape:
            for name in self._masks:
                have = shapes.get(name, shape[:-1])
                if have not in (shape[:-1], (*shape[:-1], 1)):
                    problems.append(f"{name} has shape {have}, {shape[:-1]} is expected, as {self._images}")
        with _hdf5._opened(file) as content:
            attributes = dict(content["HE"].attrs) if "HE" in content else {}
        columns = {}
        for name in _ATTRIBUTES:
            if name not in attributes:
                problems.append(f"group HE has no attribute {name}")
                continue
            columns[name] = [_text(value) for value in np.ravel(attributes[name])]
            if shape and len(columns[name]) != shape[0]:
                problems.append(f"attribute {name} names {len(columns[name])} images of {shape[0]}")
        parts = set(columns.get("train_test_split", ("train", "test")))
        if parts != {"train", "test"}:
            problems.append(f"attribute train_test_split holds {sorted(parts)}, 'train' and 'test' are expected")
        if problems:
            raise DataError.listing(problems, "the file, which is not laid out as cocahis expects")
        part, patients, images = (columns[name] for name in _ATTRIBUTES)
        ids = [f"{patient}_{image}" for patient, image in zip(patients, images, strict=True)]
        if twice := sorted({name for name in ids if ids.count(name) > 1}):
            raise DataError(f"patient and image number come twice: {', '.join(twice)}")
        return part, patients, ids

    @property
    def _images(self):
        return f"HE/{self.builder_config.name}"

    @property
    def _masks(self):
        return [f"GT/GT{rater}" for rater in range(1, self.NUM_RATERS + 1)]

    def _read(self, case):
        row, name, patient = case
        image = self._values(self._images, row, name)
        if image.dtype != np.uint8:
            raise DataError(f"{self._images}, image {name}: holds {image.dtype}, uint8 is expected")
        masks = []
        for dataset in self._masks:
            values = self._values(dataset, row, name).reshape(image.shape[:2])
            try:
                masks.append(to_mask(values, Reading())[0])
            except DataError as error:
                raise DataError(f"{dataset}, image {name}: {error}") from None
        return {"image": image, "ratings": stacked(masks), "id": name, "group": patient}

    def _values(self, dataset, row, name):
        try:
            return _hdf5.read(self._path, dataset, (row,))
        except DataError as error:
            raise DataError(f"{dataset}, image {name}: {error}") from None


def _text(value):
    """An attribute's value: byte strings, strings or numbers."""
    return value.decode().strip() if isinstance(value, bytes) else str(value).strip()
