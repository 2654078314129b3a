"""PNG, JPEG and TIFF files to the numbers they hold, with every reason to refuse them."""

import warnings

import numpy as np
from PIL import Image

from keras_ordseg.data._errors import DataError, checked_volume

_COLOUR = {
    "1": "L",
    "L": "L",
    "LA": "L",
    "La": "L",
    "RGB": "RGB",
    "RGBA": "RGB",
    "RGBa": "RGB",
    "RGBX": "RGB",
}
_COLOUR |= {"CMYK": "RGB", "YCbCr": "RGB"}
_MASKS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "I", "F")
_ORIENTATION = 0x0112
# Pillow knows more, and starts another program for some of them (EPS)
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "PPM", "WEBP", "JPEG2000")


def lazy(file):
    """Whether a part can be read without the rest."""
    return False


def datasets(file):
    return []


def shape(file, dataset=""):
    """`(H, W, channels)`, from the header alone; the frames of a file of several are its channels."""
    if dataset:
        raise DataError("is one image without names; leave out ::" + dataset)
    with _opened(file, frames=True, load=False) as image:
        frames = _frames(image)
        return image.height, image.width, frames if frames > 1 else len(image.getbands())


def read_image(path):
    """An image file as it holds its numbers: `(H, W)` or `(H, W, 3)`, 8 or 16 bits, int32 or float32.

    Alpha is dropped and palettes are looked up.

    Raises:
        DataError: what is wrong with the file (without its name).
    """
    with _opened(path) as image:
        if image.mode == "P":
            image = image.convert("RGBA" if "transparency" in image.info else "RGB")
            pixels = np.asarray(image.convert("RGB"))
            return pixels[..., 0] if (pixels[..., :1] == pixels).all() else pixels
        if image.mode in _COLOUR:
            return np.asarray(image.convert(_COLOUR[image.mode]))
        if _is_16_bit(image):
            return np.asarray(image).astype(np.uint16)
        if image.mode in ("I", "F"):
            return np.array(image)
        raise DataError(
            f"pixel format {image.mode!r} is not read; save 8 or 16 bits, or float TIFF in [0, 1]"
        )


def read_mask(path, labels=False):
    """A mask file as one number for each pixel, `(H, W)`: black is 0, each colour a number of its own.

    Args:
        path: the file.
        labels: whether the numbers of a palette are the mask's labels, whatever their colours.

    Raises:
        DataError: what is wrong with the file (without its name).
    """
    with _opened(path) as image:
        if image.mode not in _MASKS and not image.mode.startswith("I;16"):
            raise DataError(f"pixel format {image.mode!r} is not read for masks; save it as 8-bit greyscale")
        if image.mode in ("P", "PA") and not (labels and image.mode == "P"):
            image = image.convert("RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB")
        pixels = np.asarray(image)
        bands = image.getbands()
    if bands[-1].upper() == "A":
        if (pixels[..., -1] != pixels.flat[pixels.shape[-1] - 1]).any():
            raise DataError("the mask has a transparency channel that varies; save it without transparency")
        pixels = pixels[..., :-1]
    if pixels.ndim == 3:
        if (pixels[..., :1] == pixels).all():
            pixels = pixels[..., 0]
        else:
            pixels = pixels.astype(np.int64) @ (256 ** np.arange(pixels.shape[-1])[::-1])
    return pixels


def read_channels(path):
    """All channels, or all frames, of a file: `(H, W, channels)` as it is stored."""
    with _opened(path, frames=True) as image:
        if _frames(image) == 1:
            pixels = np.asarray(image)
            return pixels[..., None] if pixels.ndim == 2 else pixels
        checked_volume((_frames(image), image.height, image.width))
        frames = []
        for number in range(_frames(image)):
            image.seek(number)
            frames.append(np.array(image))
    if len({frame.shape for frame in frames}) > 1 or frames[0].ndim != 2:
        raise DataError(f"its {len(frames)} frames must be of one size and of one channel each")
    return np.stack(frames, axis=-1)


def _opened(path, frames=False, load=True):
    """Open and decode with Pillow; whatever it raises becomes a `DataError`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            image = Image.open(path, formats=_FORMATS)
            try:
                _refuse_ambiguous(image, frames)
                if load:
                    image.load()
            except BaseException:
                image.close()
                raise
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            limit = Image.MAX_IMAGE_PIXELS
            raise DataError(
                f"larger than Pillow's limit of {limit} pixels; cut the image into tiles"
            ) from None
        except DataError:
            raise
        except Image.UnidentifiedImageError:
            raise DataError(
                "cannot be read as an image; is it a PNG, JPEG or TIFF file? "
                "(.npy, .npz, .h5, .hdf5, .nii and .nii.gz are known by their endings)"
            ) from None
        except Exception as error:  # Pillow's decoders raise a dozen kinds for broken files
            raise DataError(f"cannot be read ({error}); the file is damaged or cut short") from None
    return image


def _frames(image):
    return 1 if image.format == "MPO" else getattr(image, "n_frames", 1)


def _refuse_ambiguous(image, frames):
    if _frames(image) > 1 and not frames:
        raise DataError(
            f"holds {_frames(image)} frames where one is expected; save each slice as its own file"
        )
    if image.format in ("JPEG", "MPO"):
        orientation = image.getexif().get(_ORIENTATION, 1)
        if orientation not in (0, 1):
            raise DataError(
                f"has EXIF orientation {orientation}, and viewers disagree which way is up; save it without"
            )


def _is_16_bit(image):
    # Pillow before 11 opens 16-bit PNG files in mode "I"
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG")
