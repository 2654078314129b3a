"""One case after the other from its files, with everything that is wrong with it."""

from collections import Counter

import numpy as np

from keras_ordseg._checks import Problem
from keras_ordseg.data import _images, _nifti
from keras_ordseg.data._errors import DataError
from keras_ordseg.data._grids import compare
from keras_ordseg.data._judgement import Judgement, is_lossy
from keras_ordseg.data._misfits import colours, misfits, picture_sides, unsure, with_channels
from keras_ordseg.data._numbers import number
from keras_ordseg.data._parts import offsets
from keras_ordseg.data._values import limits, to_image, to_mask, to_slots


class CaseReader:
    """Reads cases of one table, and remembers what has to agree between them.

    Files that can only be unpacked whole are kept until a case does not use them.
    """

    def __init__(self, cases, limits_of=None):
        self.cases, self.reading = cases, cases.reading
        self.limits_of = {} if limits_of is None else limits_of  # percentiles of a whole image, by source
        self._whole, self._kept = {}, {}
        self._marks, self._geometry, self._shapes = {}, {}, {}
        self._judgement, self._unsure, self._two_forms = Judgement(cases), None, {}
        self._channels, self._sizes, self._orders = {}, {}, {}

    def read(self, case):
        """`(image, ratings, problems)` of a case.

        Returns:
            float32 `(*spatial, C)` in [0, 1] and int8 `(*spatial, K)`, None where there are problems; and
            `(source, problem)` for each problem.
        """
        self._whole, self._kept = self._kept, {}
        problems = []
        pixels = self._try(problems, case.image, self._pixels, case)
        if case.votes is not None:
            masks = [self._try(problems, case.votes, self._votes, case)]
        else:
            masks = [
                None if source is None else self._try(problems, source, self._mask, rater, source, case.part)
                for rater, source in enumerate(case.ratings)
            ]
        given = [
            (source, mask)
            for source, mask in zip(case.ratings or (case.votes,), masks, strict=True)
            if mask is not None
        ]
        if pixels is not None and given:
            slots = case.votes is not None
            shapes = [(source, mask.shape[: mask.ndim - slots]) for source, mask in given]
            rank = len(shapes[0][1])
            problems += self._misfits(case, pixels.shape, shapes, rank)
            self._unsure = self._unsure or colours(case, *given[0], pixels.shape)
            pixels = pixels.reshape(with_channels(pixels.shape, rank))
            self._channels[case.image] = pixels.shape[-1]
            self._orders.setdefault(case.image.order, case.image.shown(self.cases.path))
            if not problems:
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
        grid = self._geometry_of(case.image)
        rank = len((case.votes or next(filter(None, case.ratings))).mask_shape())
        kept, start = offsets(case.part, rank)
        affine = grid.affine.copy()
        affine[:3, 3] += affine[:3, :rank] @ start
        return affine, grid.spacing[kept], kept

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
                f"{source.shown(self.cases.path)} with {picture_sides(size)}"
                for size, source in list(self._sizes.items())[:2]
            )
            problems.append(
                f"images of {len(self._sizes)} sizes, as {one} and {other} pixels: give size=, with "
                'fit="crop" (crop and pad) or fit="resize"'
            )
        return problems + self._judgement.problems()

    def remarks(self):
        """What is suspicious about the set as a whole, and may be right, as sentences."""
        found = self._judgement.remarks() + ([self._unsure] if self._unsure else [])
        orders = [f"{image} {order}" for order, image in self._orders.items() if order]
        if len(orders) > 1:
            found.append(f"images list their axes differently ({', '.join(orders)}): one is transposed against the other")
        if self._two_forms:
            count, first = len(self._two_forms), next(iter(self._two_forms.values()))
            found.append(f"the qform and sform of {count} files disagree (as {first}); the sform is read, others may not")
        return found

    def _try(self, problems, source, function, *args):
        try:
            return function(*args)
        except DataError as error:
            problems += [(source, problem) for problem in error.found]

    def _pixels(self, case):
        ends = self.reading.window
        if ends is not None:
            if case.image not in self.limits_of:
                whole = self._stored(case.image, (), "image") if isinstance(ends[0], str) else None
                self.limits_of[case.image] = limits(ends, whole)
            ends = self.limits_of[case.image]
        return to_image(self._stored(case.image, case.part, "image"), ends)

    def _mask(self, rater, source, part):
        values = self._stored(source, part, "mask")
        mask, found = to_mask(values, self.reading)
        if self.reading.label is None and found.marks:
            key = source.file, source.dataset, source.row, source.channel
            before = self._marks.setdefault(key, found.marks[0])
            if before != found.marks[0]:
                raise DataError(
                    f"its slices or patches are marked by {number(before)} in one and {number(found.marks[0])} in "
                    "another; say which is the mark with label="
                )
        self._judgement.add(rater, source, found)
        return mask

    def _votes(self, case):
        if is_lossy(case.votes):
            raise DataError("is a JPEG, which changes counts; save votes as PNG")
        return to_slots(self._stored(case.votes, case.part, "votes"), self.reading.num_raters, self.reading.void)

    def _stored(self, source, part, role):
        """The numbers of a source as they are stored."""
        if not source.file.is_file():
            raise DataError("is not there any more")
        if source.row is not None or source.channel is not None:
            source.check_index(self._stored_shape(source))
        values = self._taken(source, part, role)
        if role != "image" and source.format is not _images and values.shape[-1:] == (1,):  # perhaps none of a mask's axes
            taken = sum(not isinstance(piece, slice) for piece in part)
            values = values.reshape(values.shape[: len(self._mask_axes(source)) - taken])
        return values

    def _stored_shape(self, source):
        """The shape of a file, before row and channel are taken."""
        key = source.file, source.dataset
        if key not in self._shapes:
            self._shapes[key] = source.format.shape(*key)
        return self._shapes[key]

    def _mask_axes(self, source):
        return source.mask_axes(source.taken(self._stored_shape(source)))

    def _taken(self, source, part, role):
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

    def _misfits(self, case, image, masks, rank):
        """What is wrong with the axes of image and masks, or with where they lie in the world."""
        if case.part:  # parts may fit each other where the whole does not
            image = case.image.taken(self._stored_shape(case.image))
            masks = [(source, self._mask_axes(source)) for source, _ in masks]
            rank = len(case.part)
        found = list(misfits(case, masks, image, rank, self._stored_shape))
        wrong = {source for source, _ in found}
        fitting = [(source, mask) for source, mask in masks if source not in wrong]
        self._unsure = self._unsure or unsure(case, fitting)
        return found + self._placed(case, [source for source, _ in fitting])

    def _placed(self, case, masks):
        """What is wrong with where a NIfTI image and its masks lie in the world."""
        if case.image.format is not _nifti:
            return []
        problems, grids = [], {}
        for source in dict.fromkeys((case.image, *masks)):
            if source.format is _nifti:
                grids[source] = self._try(problems, source, self._geometry_of, source)
        image = grids.pop(case.image, None)
        if problems:
            return problems
        for source, grid in grids.items():
            if text := compare(image, grid):
                problems.append((source, Problem(text)))
        for source in (case.image, *grids):
            if self._geometry_of(source).other is not None:
                self._two_forms[source.file] = source.shown(self.cases.path)
        return problems
