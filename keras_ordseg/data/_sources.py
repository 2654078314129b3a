"""Where an image or a mask lies: a file, a dataset inside it, a row, a channel."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from keras_ordseg.data import _hdf5, _images, _nifti, _npy

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
        shape = self.format.shape(self.file, self.dataset)
        return shape[self.row is not None : len(shape) - (self.channel is not None)]

    def mask_shape(self) -> tuple[int, ...]:
        """The spatial axes of a mask."""
        shape = self.shape()
        return shape[:2] if self.format is _images else shape

    def index(self, part=()):
        """What to take of the whole array for `part` of its spatial axes."""
        row = () if self.row is None else (self.row,)
        channel = () if self.channel is None else (self.channel,)
        return (*row, *part, ..., *channel)


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
