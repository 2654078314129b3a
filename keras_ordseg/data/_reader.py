"""One case after the other from its files, with everything that is wrong with it."""

from collections import Counter

import numpy as np

from keras_ordseg.data import _images, _nifti
from keras_ordseg.data._errors import DataError
from keras_ordseg.data._parts import offsets
from keras_ordseg.data._values import limits, shown, to_image, to_mask, to_slots


class CaseReader:
    """Reads cases of one table, and remembers what has to agree between them.

    Files that can only be unpacked whole are kept until a case does not use them.
    """

    def __init__(self, cases, limits_of=None):
        self.cases, self.reading = cases, cases.reading
        self.limits_of = {} if limits_of is None else limits_of  # percentiles of a whole image, by source
        self._whole, self._kept = {}, {}
        self._marks, self._geometry = {}, {}
        self._labels, self._other = set(), {}
        self._channels, self._sizes = {}, {}

    def read(self, case):
        """`(image, ratings, problems)` of a case.

        Returns:
            float32 `(*spatial, C)` in [0, 1] and int8 `(*spatial, K)`, None where there are problems; and
            `(source, sentence)` for each problem.
        """
        self._whole, self._kept = self._kept, {}
        problems = []
        pixels = self._try(problems, case.image, self._pixels, case)
        if case.votes is not None:
            masks = [self._try(problems, case.votes, self._votes, case)]
        else:
            masks = [
                None if source is None else self._try(problems, source, self._mask, source, case.part)
                for source in case.ratings
            ]
        given = [
            (source, mask)
            for source, mask in zip(case.ratings or (case.votes,), masks, strict=True)
            if mask is not None
        ]
        if pixels is not None and given:
            rank = given[0][1].ndim - (case.votes is not None)
            pixels = pixels[..., None] if pixels.ndim == rank else pixels
            for source, mask in given:
                problems += self._misfits(case, source, mask.shape[:rank], pixels.shape, rank)
            self._channels[case.image] = pixels.shape[-1]
            self._sizes.setdefault(pixels.shape[:-1], case.image)
        if problems or pixels is None:
            return None, None, problems
        if case.votes is not None:
            return pixels, masks[0], problems
        absent = np.full(pixels.shape[:-1], -1, np.int8)
        return pixels, np.stack([absent if mask is None else mask for mask in masks], axis=-1), problems

    def geometry(self, case):
        """The affine and spacing of a NIfTI image, of the part that is read, or None; and the axes kept."""
        if case.image.format is not _nifti:
            return None
        affine, spacing = self._geometry_of(case.image)
        rank = len((case.votes or next(filter(None, case.ratings))).mask_shape())
        kept, start = offsets(case.part, rank)
        affine = affine.copy()
        affine[:3, 3] += affine[:3, :rank] @ start
        return affine, spacing[kept], kept

    def closing_problems(self, one_size):
        """What is wrong with the set as a whole, as sentences."""
        problems = []
        usual = Counter(self._channels.values()).most_common(1)
        for source, count in self._channels.items():
            if count != usual[0][0]:
                text = f"has {count} channel{'s' * (count > 1)}, most images have {usual[0][0]}"
                problems.append(f"{source.shown(self.cases.path)}: {text}")
        if one_size and len(self._sizes) > 1:
            one, other = (
                f"{source.shown(self.cases.path)} with {_sides(size)}"
                for size, source in list(self._sizes.items())[:2]
            )
            problems.append(
                f"images of {len(self._sizes)} sizes, as {one} and {other} pixels: give size=, with "
                'fit="crop" (crop and pad) or fit="resize"'
            )
        for label in self.reading.label or ():
            # a selection may well lack a label that the table has
            if self.cases.whole and label not in self._labels and (self._other or self._labels):
                there = next(iter(self._other.values()), f"{sorted(self._labels)}")
                problems.append(f"no mask holds label={label}; one holds {there}")
        return problems

    def _try(self, problems, source, function, *args):
        try:
            return function(*args)
        except DataError as error:
            problems.append((source, str(error)))

    def _pixels(self, case):
        ends = self.reading.window
        if ends is not None:
            if case.image not in self.limits_of:
                whole = self._stored(case.image, (), "image") if isinstance(ends[0], str) else None
                self.limits_of[case.image] = limits(ends, whole)
            ends = self.limits_of[case.image]
        return to_image(self._stored(case.image, case.part, "image"), ends)

    def _mask(self, source, part):
        values = self._stored(source, part, "mask")
        mask, found = to_mask(values, self.reading)
        if self.reading.label is not None:
            self._labels.update(found)
            if not found and source not in self._other:
                self._other[source] = shown(values)
        elif found:
            key = source.file, source.dataset, source.row, source.channel
            before = self._marks.setdefault(key, found[0])
            if before != found[0]:
                raise DataError(
                    f"its slices or patches are marked by {before:g} in one and {found[0]:g} in another; "
                    "say which is the mark with label="
                )
        return mask

    def _votes(self, case):
        return to_slots(self._stored(case.votes, case.part, "votes"), self.reading.num_raters)

    def _stored(self, source, part, role):
        """The numbers of a source as they are stored."""
        if not source.file.is_file():
            raise DataError("is not there any more")
        if source.format.lazy(source.file):
            return source.format.read(source.file, source.dataset, source.index(part))
        key = source.file, source.dataset, source.channel is not None, role
        whole = self._whole.get(key)
        if whole is None:
            whole = self._kept.get(key)
        if whole is None:
            whole = self._unpacked(source, role)
        self._kept[key] = whole
        return whole[source.index(part)]

    def _unpacked(self, source, role):
        if source.format is not _images:
            return source.format.read(source.file, source.dataset)
        if source.channel is not None:
            return _images.read_channels(source.file)
        if role == "image":
            return _images.read_image(source.file)
        return _images.read_mask(source.file, labels=role == "votes" or self.reading.label is not None)

    def _geometry_of(self, source):
        if source.file not in self._geometry:
            self._geometry[source.file] = _nifti.geometry(source.file)
        return self._geometry[source.file]

    def _misfits(self, case, source, mask, image, rank):
        if mask != image[:-1]:
            unit = "pixels, its image" if rank == 2 else "voxels, its image"
            have = f"the mask has {_sides(mask)} {unit} {case.image.name} has {_sides(image[:rank])}"
            if len(image) > rank + 1:
                have = f"the mask has shape {mask}, its image {case.image.name} {image}; channels go last"
            yield source, have
        elif source.format is case.image.format is _nifti and (
            text := _nifti.compare(self._geometry_of(case.image), self._geometry_of(source))
        ):
            yield source, text


def _sides(shape):
    """Width and height of a picture, as everyone says it; the axes of a volume in the file's order."""
    return "x".join(map(str, shape[::-1] if len(shape) == 2 else shape))
