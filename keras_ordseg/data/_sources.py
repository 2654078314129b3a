"""Where an image or a mask lies: a file, a dataset inside it, a row, a channel."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from keras_ordseg.data import _hdf5, _images, _nifti, _npy
from keras_ordseg.data._errors import DataError

_FORMATS = {".npy": _npy, ".npz": _npy, ".h5": _hdf5, ".hdf5": _hdf5, ".nii": _nifti, ".nii.gz": _nifti}
_ADDRESS = re.compile(r"(?P<file>.+?)(?:::(?P<dataset>[^\[\]]+))?(?:\[(?P<index>[^\[\]/]*)\])?")


@dataclass(frozen=True)
class Source:
    """One array on disk, written `file::dataset[row, ..., channel]`; all but the file may be missing.

    `open` and `Path` take a `Source` for its file.
    """

    file: Path
    dataset: str = ""
    row: int | None = None
    channel: int | None = None

    def __str__(self):
        return address(self.file, self.dataset, self.row, self.channel)

    def __fspath__(self):
        return os.fspath(self.file)

    @property
    def name(self) -> str:
        """The address without the folder."""
        return address(self.file.name, self.dataset, self.row, self.channel)

    def shown(self, root) -> str:
        """The address as messages show it: below `root` where it lies there."""
        inside = root is not None and self.file.is_relative_to(root)
        file = self.file.relative_to(root) if inside else self.file
        return address(file, self.dataset, self.row, self.channel)

    @property
    def format(self):
        """The module that reads the file."""
        return format_of(self.file)

    def shape(self) -> tuple[int, ...]:
        """The shape after row and channel are taken, without reading values."""
        return self.taken(self.format.shape(self.file, self.dataset))

    def taken(self, shape) -> tuple[int, ...]:
        """The same, from the shape of the whole file."""
        return shape[self.row is not None : len(shape) - (self.channel is not None)]

    def mask_shape(self) -> tuple[int, ...]:
        """The spatial axes of a mask."""
        return self.mask_axes(self.shape())

    def mask_axes(self, shape) -> tuple[int, ...]:
        """The same, from the shape that is taken: from the third on, a last axis of 1 is none of them."""
        if self.format is _images:
            return shape[:2]
        while len(shape) > 2 and shape[-1] == 1:
            shape = shape[:-1]
        return shape

    @property
    def order(self) -> str:
        """The order in which the format lists its axes, "" where a file may have either."""
        return {_images: "rows first (y, x)", _nifti: "x first (x, y)"}.get(self.format, "")

    def check_index(self, shape) -> None:
        """Refuse a row or channel that a file of this shape does not have.

        Raises:
            DataError: how many there are.
        """
        if self.row is not None and self.format is _images:
            raise DataError(f"is a picture and no stack: [{self.row}] cannot be taken of it")
        for what, index, axis in (("row", self.row, 0), ("channel", self.channel, -1)):
            if index is not None and (not shape or index >= shape[axis]):
                have = f"{shape[axis]}, 0 to {shape[axis] - 1}" if shape else "none"
                raise DataError(f"has no {what} {index}; there are {have} (its shape is {sides(shape)})")
        if self.row is not None and self.channel is not None and len(shape) < 2:
            raise DataError(f"has shape {sides(shape)}, too few axes for a row and a channel")

    def index(self, part=()):
        """What to take of the whole array for `part` of its spatial axes."""
        row = () if self.row is None else (self.row,)
        channel = () if self.channel is None else (self.channel,)
        return (*row, *part, ..., *channel)


def sides(shape) -> str:
    """A shape as messages show it, in the file's order of axes."""
    return "x".join(map(str, shape))


def address(file, dataset="", row=None, channel=None):
    """`file::dataset[row, ..., channel]`, the one spelling of it."""
    text = Path(file).as_posix() + (f"::{dataset}" if dataset else "")
    if channel is not None:
        return f"{text}[{'' if row is None else f'{row}, '}..., {channel}]"
    return text if row is None else f"{text}[{row}]"


def split_address(text):
    """File, dataset, row and channel of an address or a pattern, as strings (dataset "") or None.

    Raises:
        ValueError: an index that is not `[row]`, `[..., channel]` or `[row, ..., channel]`.
    """
    found = _ADDRESS.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is not a file name")
    file, dataset, index = found["file"], found["dataset"] or "", found["index"]
    if index is None:
        return file, dataset, None, None
    match [token.strip() for token in index.split(",")]:
        case ["...", channel]:
            return file, dataset, None, channel
        case [row, "...", channel]:
            return file, dataset, row, channel
        case [row] if row != "...":
            return file, dataset, row, None
    raise ValueError(f"{text!r}: an index must be [row], [..., channel] or [row, ..., channel]")


def parse(text, root) -> Source:
    """The address of one array, relative to `root`."""
    file, dataset, *index = split_address(str(text))
    for number in index:
        if number is not None and not number.isdecimal():
            raise ValueError(f"{text!r}: row and channel must be numbers from 0")
    return Source(Path(root, file), dataset, *(None if number is None else int(number) for number in index))


def format_of(file):
    name = Path(file).name.lower()
    return next((module for end, module in _FORMATS.items() if name.endswith(end)), _images)
