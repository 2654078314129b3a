"""The images that are asked for: which files, what they hold, and where they lie in the world."""

import math
import os
import re
from pathlib import Path

import numpy as np

from keras_ordseg.data import DataError, _images, _nifti
from keras_ordseg.data._patterns import natural
from keras_ordseg.data._sources import Source
from keras_ordseg.data._values import limits, to_image
from keras_ordseg.serving._encoded import LUMA

_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".npy", ".npz", ".nii", ".nii.gz")
_IMAGE_WORDS = ("image", "img", "im")
_MASK_WORD = re.compile(
    r"((rater|reader|annotator|expert|observer)\w*|(votes?|masks?|seg|segs|segmentations?|labels?|labelmap|gt|truth|groundtruth"
    r"|tgt|targets?|annot|annotations?|staple|consensus|agreement|quorum)\d*)"
)
_MILLIMETRES = {"meter": 1000.0, "micron": 0.001}


def find_images(images):
    """The images by their names below the common folder, `{"sub/0001.png": path}`.

    Args:
        images: A folder, whose images are taken and not those of its subfolders, nor its `rating_files` and `mask_files`; a
            pattern such as `"scans/*_image.png"`; one file; or a list of files.

    Raises:
        FileNotFoundError: If there are none.
        ValueError: If two results would have the same name.
    """
    if isinstance(images, str | os.PathLike):
        path = Path(images).expanduser()
        if path.is_dir():
            root = path
            masks = {*rating_files(path), *mask_files(path)}
            files = [file for file in _files(path) if file not in masks]
        elif path.is_file():
            root, files = path.parent, [path]
        else:
            fixed = len(path.parts) - 1
            fixed = next((i for i, part in enumerate(path.parts) if any(c in part for c in "*?[")), fixed)
            root = Path(*path.parts[:fixed])
            files = [f for f in root.glob(str(Path(*path.parts[fixed:]))) if f.is_file()] if root.is_dir() else []
    else:
        files = [Path(file).expanduser() for file in images]
        root = Path(os.path.commonpath([file.absolute().parent for file in files])) if files else Path()
        files = [file.absolute() for file in files]
    if not files:
        raise FileNotFoundError(f"images: nothing matches {images}; files end in {', '.join(_ENDINGS)}.")
    named = {file.relative_to(root).as_posix(): file for file in sorted(files, key=lambda file: natural(str(file)))}
    stems = {}
    for name in named:
        other = stems.setdefault(without_ending(name), name)
        if other != name:
            raise ValueError(f"images: {other} and {name} would have results of one name; predict them apart.")
    return named


def rating_files(images):
    """The files of a folder that are masks by the names of `data.cases`: `a_rater1.png` beside `a_image.png`.

    Args:
        images: As of `find_images`; there are none where it is no folder.

    Returns:
        List of paths.
    """
    if not isinstance(images, str | os.PathLike) or not Path(images).expanduser().is_dir():
        return []
    stems = {file: without_ending(file.name) for file in _files(Path(images).expanduser())}
    there = set(stems.values())
    return [
        file
        for file, stem in stems.items()
        if not stem.endswith("_image")
        and any(f"{stem[: found.start()]}_image" in there for found in re.finditer("_rater", stem))
    ]


def mask_files(images):
    """The other files of a folder that are masks or maps of an image there: `a_votes.png`, `a_mask.png`, `mask_a.png`.

    By words in the name, and only where the image that the rest of the name gives is there too, as `a.png`, `a_image.png` or
    `img_a.png`. A name that ends in `image` or `img` is none.

    Args:
        images: As of `find_images`; there are none where it is no folder.

    Returns:
        List of paths, without `rating_files`.
    """
    if not isinstance(images, str | os.PathLike) or not Path(images).expanduser().is_dir():
        return []
    rated = set(rating_files(images))
    stems = {file: without_ending(file.name).lower() for file in _files(Path(images).expanduser()) if file not in rated}
    there = set(stems.values())
    return sorted((file for file, stem in stems.items() if _is_mask(stem, there)), key=lambda file: natural(file.name))


def _is_mask(stem, there):
    parts = re.split(r"([_\-. ])", stem)  # words and what separates them, by turns
    if parts[-1] in _IMAGE_WORDS:
        return False
    for cut in range(1, len(parts), 2):
        first, last = "".join(parts[:cut]), "".join(parts[cut + 1 :])
        separator = parts[cut]
        for name, words in ((first, parts[cut + 1 :: 2]), (last, parts[:cut:2])):
            partners = {name, *(f"{name}{separator}{image}" for image in _IMAGE_WORDS)}
            partners |= {f"{image}{separator}{name}" for image in _IMAGE_WORDS}
            if any(_MASK_WORD.fullmatch(word) for word in words) and partners & (there - {stem}):
                return True
    return False


def _files(folder):
    return [file for file in folder.iterdir() if file.name.lower().endswith(_ENDINGS) and not file.name.startswith(".")]


def without_ending(name):
    """`"sub/0001"` of `"sub/0001.nii.gz"`."""
    return re.sub(r"(?i)(?<=[^/])(\.nii\.gz|\.[^./]+)$", "", name)


def read_pixels(file, rank, channels, window):
    """float32 `(*spatial, channels)` in [0, 1], `spatial` one axis more than the model's for a stack of its images.

    Raises:
        DataError: If the file cannot be read, or holds something else than the model takes.
    """
    source, taken = Source(file), spatial_axes(file, rank, channels)
    values = _images.read_image(file) if source.format is _images else source.format.read(file, "", ())
    pixels = to_image(np.asarray(values), window if window is None else limits(window, values))
    if pixels.ndim == taken:
        pixels = pixels[..., None]
    if source.format is _images:
        pixels = _in_channels(pixels, channels)
    if pixels.shape[-1] != channels:  # a palette's colours are known when they are looked up
        raise DataError(_misfit(pixels.shape, rank, channels))
    return pixels


def _in_channels(picture, channels):
    """A picture as the signature `encoded` gives it to a model of one or three channels; others stay as they are."""
    if channels == 1 and picture.shape[-1] == 3:
        grey = (picture == picture[..., :1]).all(axis=-1)
        return np.where(grey, picture[..., 0], picture @ np.array(LUMA, "float32"))[..., None]
    return np.repeat(picture, 3, axis=-1) if channels == 3 and picture.shape[-1] == 1 else picture


def geometry(file, rank):
    """Millimetres between pixels on each of the axes, None where the file does not say."""
    if Source(file).format is not _nifti:
        return None
    import nibabel

    unit = nibabel.load(file).header.get_xyzt_units()[0]
    return tuple(float(s) * _MILLIMETRES.get(unit, 1.0) for s in _nifti.geometry(file).spacing[:rank])


def pixel_size(spacing, rank):
    """The size of a pixel and its unit."""
    if spacing is None:
        return 1.0, "voxel" if rank == 3 else "pixel"
    return math.prod(spacing), ("mm", "mm²", "mm³")[rank - 1]


def spatial_axes(file, rank, channels):
    """How many axes of the image are spatial, from its header: the model's, or one more for a stack of its images."""
    source = Source(file)
    shape = source.shape()
    if source.format is _images:  # Pillow knows which axis is the channels
        if rank == 2:
            return 2
        raise DataError(f"is a picture, and the model takes images of {rank} axes")
    if len(shape) == rank + 1 and shape[-1] == channels:
        return rank
    if len(shape) == rank and channels == 1:
        return rank
    if rank == 2 and (shape[3:] == (channels,) or (len(shape) == 3 and channels == 1)):
        return 3
    raise DataError(_misfit(shape, rank, channels))


def _misfit(shape, rank, channels):
    several = f"{channels} channels" if channels > 1 else "1 channel"
    stack = ", or stacks of them" if rank == 2 else ""
    return f"has shape {'x'.join(map(str, shape))}, and the model takes images of {rank} axes and {several}{stack}"
