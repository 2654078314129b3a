"""PNG, JPEG and TIFF files to the numbers they hold, with every reason to refuse them."""

import warnings

import numpy as np
from PIL import Image

from keras_ordseg.data import _png16, _tiff
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
    if tiff := _tiff.layout(file):
        return tiff.height, tiff.width, tiff.frames if tiff.frames > 1 else tiff.samples
    with _opened(file, frames=True, load=False) as image:
        frames = _frames(image)
        return image.height, image.width, frames if frames > 1 else _png16.samples(file) or len(image.getbands())


def read_image(path):
    """An image file as it holds its numbers: `(H, W)` or `(H, W, C)`, 8 or 16 bits, int32 or float32.

    Alpha is dropped and palettes are looked up.

    Raises:
        DataError: what is wrong with the file (without its name).
    """
    if (tiff := _tiff.layout(path)) and not tiff.by_pillow:
        pixels = _one_frame(path, tiff)
        pixels = pixels[..., :-1] if tiff.alpha else pixels
        return pixels[..., 0] if pixels.shape[2:] == (1,) else pixels
    with _opened(path) as image:
        if image.mode == "P":
            image = image.convert("RGBA" if "transparency" in image.info else "RGB")
            pixels = np.asarray(image.convert("RGB"))
            return pixels[..., 0] if (pixels[..., :1] == pixels).all() else pixels
        if _png16.samples(path):
            pixels = _png16.read(path, image)
            return pixels[..., 0] if pixels.shape[-1] == 2 else pixels[..., :3]
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
    if (tiff := _tiff.layout(path)) and not tiff.by_pillow:
        return _one_number(_one_frame(path, tiff), tiff.alpha)
    with _opened(path) as image:
        if image.mode not in _MASKS and not image.mode.startswith("I;16"):
            raise DataError(f"pixel format {image.mode!r} is not read for masks; save it as 8-bit greyscale")
        if image.mode in ("P", "PA") and not (labels and image.mode == "P"):
            image = image.convert("RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB")
        pixels = _png16.read(path, image) if _png16.samples(path) else np.asarray(image)
        return _one_number(pixels, pixels.ndim == 3 and image.getbands()[-1].upper() == "A")


def read_channels(path):
    """All channels, or all frames, of a file: `(H, W, channels)` as it is stored."""
    if (tiff := _tiff.layout(path)) and not tiff.by_pillow:
        pixels = _tiff.read(path)
        return pixels[..., None] if pixels.ndim == 2 else pixels
    with _opened(path, frames=True) as image:
        if _frames(image) == 1:
            pixels = _png16.read(path, image) if _png16.samples(path) else np.asarray(image)
            return pixels[..., None] if pixels.ndim == 2 else pixels
        checked_volume((_frames(image), image.height, image.width))
        frames = []
        for number in range(_frames(image)):
            image.seek(number)
            frames.append(np.array(image))
    if len({frame.shape for frame in frames}) > 1 or frames[0].ndim != 2:
        raise DataError(f"its {len(frames)} frames must be of one size and of one channel each")
    return np.stack(frames, axis=-1)


def _one_number(pixels, alpha):
    """One number for each pixel, of colours too; alpha must say nothing."""
    if alpha:
        if (pixels[..., -1] != pixels.flat[pixels.shape[-1] - 1]).any():
            raise DataError("the mask has a transparency channel that varies; save it without transparency")
        pixels = pixels[..., :-1]
    if pixels.ndim == 2:
        return pixels
    if (pixels[..., :1] == pixels).all():
        return pixels[..., 0]
    if pixels.dtype.kind not in "bu" or pixels.dtype.itemsize > 2 or pixels.shape[-1] > 3:
        raise DataError(
            f"holds {pixels.shape[-1]} different channels of {pixels.dtype} where a mask has one number for each pixel; "
            "if each is a rater, name them as [..., {r}]"
        )
    base = 256 ** pixels.dtype.itemsize
    return pixels.astype(np.int64) @ (base ** np.arange(pixels.shape[-1])[::-1])


def _one_frame(path, tiff):
    if tiff.frames > 1:
        raise DataError(_several(tiff.frames))
    return _tiff.read(path)


def _several(frames):
    return (
        f"holds {frames} frames where one is expected; save each slice as its own file, or the volume as NIfTI or NumPy"
    )


def _opened(path, frames=False, load=True):
    """Open and decode with Pillow; whatever it raises becomes a `DataError`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            image = Image.open(path, formats=_FORMATS)
            try:
                _refuse_ambiguous(image, frames)
                if image.format != "PNG":  # where it may come after the pixels
                    _refuse_turned(image)
                if load:
                    image.load()
                    _refuse_turned(image)
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
        raise DataError(_several(_frames(image)))
    if image.format == "PPM" and image.tile[0][0] != "raw" and image.tile[0][3][-1:] != (255,):
        raise DataError(
            f"counts to {image.tile[0][3][-1]}, and of this format only files that count to 255, or 65535 in grey, are read "
            "as they are stored; save it as PNG or TIFF"
        )
    if image.format == "JPEG2000" and image.mode != "I;16" and _is_deep_jpeg2000(image):
        raise DataError("has more than 8 bits a colour, which are not read of JPEG 2000; save it as PNG or TIFF")


def _refuse_turned(image):
    orientation = image.getexif().get(_ORIENTATION, 1)
    if orientation not in (0, 1):
        raise DataError(_tiff.turned(orientation))


def _is_deep_jpeg2000(image):
    image.fp.seek(0)
    head = image.fp.read(1 << 16)
    place = head.find(b"\xff\x4f\xff\x51")  # the start of the codestream and of its table of sizes
    count = int.from_bytes(head[place + 40 : place + 42], "big")
    depths = head[place + 42 : place + 42 + 3 * count : 3]
    return place < 0 or any((depth & 127) + 1 > 8 for depth in depths)


def _is_16_bit(image):
    # Pillow opens 16-bit PGM files in mode "I", and before 11 PNG files too
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
