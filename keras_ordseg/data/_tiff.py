"""TIFF files whose numbers Pillow cuts, turns or cannot open: 16-bit colour, several bands, signed and odd floats."""

import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod

import numpy as np
from PIL import Image

from keras_ordseg.data._errors import DataError, checked_numbers, checked_volume

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_UNCOMPRESSED, _DEFLATE = (1,), (8, 32946)
_GREY, _RGB = 1, 2
_ALPHA = (1, 2)  # of ExtraSamples: associated and not; 0 is one more band


@dataclass(frozen=True)
class Layout:
    """What the directories of a TIFF file say."""

    frames: int
    height: int
    width: int
    samples: int
    alpha: bool  # whether the last sample is transparency
    by_pillow: bool  # whether Pillow gives the numbers that are stored


def layout(path):
    """Returns the `Layout` of a TIFF file, None for any other file; no pixel is read.

    Raises:
        DataError: What is wrong with the file.
    """
    with open(path, "rb") as file:
        if file.read(4) not in _MAGIC:
            return None
    with _opened(path) as tiff:
        return _layout(tiff)


def read(path):
    """Returns the numbers of a file as they are stored, `(H, W)`, `(H, W, samples)` or `(H, W, frames)`.

    Raises:
        DataError: What is wrong with the file.
    """
    with _opened(path) as tiff:
        found = _layout(tiff)
        checked_volume((found.frames, found.height, found.width, found.samples))
        frames = [_pixels(page) for page in tiff.pages]
    if len(frames) == 1:
        return frames[0]
    if len({frame.shape for frame in frames}) > 1 or frames[0].ndim != 2:
        raise DataError(f"its {len(frames)} frames must be of one size and of one channel each")
    return np.stack(frames, axis=-1)


@contextmanager
def _opened(path):
    import tifffile

    try:
        # an OME or MicroManager file may name other files of this machine, and they are not read
        with tifffile.TiffFile(path, is_ome=False, is_mmstack=False, is_ndtiff=False) as tiff:
            yield tiff
    except (DataError, MemoryError):
        raise
    except Exception as error:  # tifffile, zlib and NumPy each raise their own for broken files
        raise DataError(f"cannot be read as TIFF ({error}); the file is damaged or cut short") from None


def _layout(tiff):
    page = tiff.pages.first
    _check_size(page)
    if page.imagedepth > 1:
        raise DataError(f"holds {page.imagedepth} planes in one page; save each as a page, or as NIfTI or NumPy")
    _refuse_hidden_frames(tiff)
    orientation = int(page.tags.valueof(274, 1) or 1)
    if orientation != 1:
        raise DataError(turned(orientation))
    samples = page.samplesperpixel
    extra = [int(kind) for kind in page.extrasamples]
    return Layout(
        len(tiff.pages), page.imagelength, page.imagewidth, samples, bool(extra) and extra[-1] in _ALPHA, _by_pillow(page)
    )


def _check_size(page):
    limit = Image.MAX_IMAGE_PIXELS
    if limit and page.imagewidth * page.imagelength > limit:
        raise DataError(f"larger than Pillow's limit of {limit} pixels; cut the image into tiles")


def turned(orientation):
    """Returns the sentence about a file with an EXIF orientation, of any format."""
    return f"has EXIF orientation {orientation}, and viewers disagree which way is up; save it without"


def _refuse_hidden_frames(tiff):
    """ImageJ and tifffile may describe a stack by its first page alone; other readers see one picture."""
    said = [(tiff.imagej_metadata or {}).get("images", 1)]
    for shaped in tiff.shaped_metadata or ():
        if shaped.get("truncated"):
            said.append(prod(shaped["shape"]) // max(1, prod(tiff.pages.first.shape)))
    if max(said) > len(tiff.pages):
        raise DataError(f"is a stack of {max(said)} frames under one page; save a page for each frame")


def _by_pillow(page):
    kinds, samples, colours = page.sampleformat, page.samplesperpixel, int(page.photometric)
    if page.dtype is None or page.dtype.kind == "c" or kinds not in (1, 2, 3):
        return False
    bits = max(page.bitspersample) if isinstance(page.bitspersample, tuple) else page.bitspersample
    if samples == 1:
        known = {1: (1, 2, 4, 8), 2: (16, 32), 3: (32,)}[kinds]
        return bits in known or (kinds == 1 and bits in (12, 16) and colours == _GREY)
    extra = [int(kind) for kind in page.extrasamples]
    plain = (samples == 2 and extra in ([1], [2])) or (2 < samples <= 4 and colours != _GREY and extra != [0])
    return kinds == 1 and bits <= 8 and plain


def _pixels(page):
    _check_size(page)
    if page.dtype is None:
        raise DataError(f"its numbers of {page.bitspersample} bits are not read; save 8 or 16 bits, or float32")
    checked_numbers(page.dtype)
    if int(page.photometric) not in (_GREY, _RGB):
        raise DataError(f"its colours are {page.photometric.name}; save it as grey (black is zero) or RGB")
    if int(page.compression) not in (*_UNCOMPRESSED, *_DEFLATE):
        raise DataError(
            f"its compression {page.compression.name} is not read for {page.samplesperpixel} samples of {page.dtype}; save "
            "it without compression, or with deflate (zip)"
        )
    if int(page.predictor) not in (1, 2):
        raise DataError(f"its predictor {page.predictor.name} is not read; save it without")
    if int(page.compression) in _DEFLATE:
        _check_unpacked(page)
    pixels = page.asarray()
    return np.moveaxis(pixels, 0, -1) if page.axes == "SYX" else pixels


def _check_unpacked(page):
    """Refuses segments that unpack to more than the page says: the library has no limit of its own."""
    largest = prod(page.chunks) * page.dtype.itemsize
    file = page.parent.filehandle
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        file.seek(offset)
        unpacker = zlib.decompressobj()
        unpacker.decompress(file.read(count), largest)
        if unpacker.unconsumed_tail and unpacker.decompress(unpacker.unconsumed_tail, 1):
            raise DataError(f"a part of it unpacks to more than its {largest} bytes; the file is damaged")
