"""Files decoded in the graph, against Pillow and the package's own reader."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from keras_ordseg.data._images import read_image
from keras_ordseg.data._values import to_image
from keras_ordseg.models import OrdinalSegmenter, small_backbone
from keras_ordseg.serving import export
from keras_ordseg.serving._encoded import decode
from tests.conftest import peak_memory

tf = pytest.importorskip("tensorflow")
SIDES = (37, 52)
LIMIT = 10_000


@pytest.fixture(scope="module")
def decoders():
    """Compiled as a server runs it: order and asserts of eager TensorFlow are not those of a graph."""
    spec = [tf.TensorSpec([None], tf.string)]
    return {
        channels: tf.function(lambda x, c=channels: decode(x, c, LIMIT), input_signature=spec, autograph=False)
        for channels in (1, 3)
    }


def picture(channels, rng):
    """A picture with edges and slopes, uint8."""
    noise = rng.integers(0, 256, (5, 7, channels), dtype="uint8")
    planes = [Image.fromarray(noise[..., c]).resize(SIDES[::-1]) for c in range(channels)]
    return np.stack([np.asarray(plane) for plane in planes], -1)


def saved(image, format="PNG", **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def files(rng):
    """Name -> bytes, one of each kind of pixel."""
    rgb, grey = Image.fromarray(picture(3, rng)), Image.fromarray(picture(1, rng)[..., 0])
    deep = Image.fromarray(rng.integers(0, 2**16, SIDES).astype("uint16"))
    palette = rgb.quantize(40)
    sampled = {f"jpeg_{n}": saved(rgb, "JPEG", quality=80, subsampling=n) for n in (0, 1, 2)}
    return {
        "rgb": saved(rgb),
        "rgba": saved(Image.merge("RGBA", [*rgb.split(), grey])),
        "grey": saved(grey),
        "grey_alpha": saved(Image.merge("LA", [grey, grey.rotate(180)])),
        "grey_16": saved(deep),
        "one_bit": saved(grey.convert("1")),
        "palette": saved(palette),
        "palette_transparent": saved(palette, transparency=3),
        "palette_2_bits": saved(rgb.quantize(4), bits=2),
        "palette_grey": saved(grey.quantize(30)),
        "jpeg_grey": saved(grey, "JPEG"),
        "jpeg_progressive": saved(rgb, "JPEG", progressive=True),
        "jpeg_cmyk": saved(rgb.convert("CMYK"), "JPEG"),
        **sampled,
    }


def test_the_readers_own_numbers(rng, tmp_path, decoders):
    for name, content in files(rng).items():
        file = tmp_path / f"{name}.{'jpg' if 'jpeg' in name else 'png'}"
        file.write_bytes(content)
        wanted = to_image(read_image(file))
        for channels, decoder in decoders.items():
            found = decoder([content]).numpy()
            assert found.shape == (1, *SIDES, channels), name
            if wanted.ndim == 3 and channels == 1:  # the reader keeps the colours; Pillow rounds its luma to 8 bits
                with Image.open(file) as opened:
                    grey = np.asarray(opened.convert("RGB").convert("L"), "float32") / 255
                np.testing.assert_allclose(found[0, ..., 0], grey, atol=0.51 / 255, err_msg=name)
            else:
                own = wanted if wanted.ndim == 3 else wanted[..., None]
                np.testing.assert_allclose(found[0], np.broadcast_to(own, found[0].shape), atol=1e-6, err_msg=name)


def test_16_bit_colour(rng, decoders):
    """Pillow reads no 16-bit colour; the bytes of this file are written by TensorFlow."""
    values = rng.integers(0, 2**16, (*SIDES, 3)).astype("uint16")
    found = decoders[3]([tf.io.encode_png(values).numpy()]).numpy()
    np.testing.assert_allclose(found[0], values / 65535, atol=1e-7)


def test_grey_stays_exact(decoders):
    values = np.arange(256, dtype="uint8").reshape(16, 16)
    found = decoders[1]([saved(Image.merge("RGB", [Image.fromarray(values)] * 3))]).numpy()
    np.testing.assert_allclose(found[0, ..., 0] * 255, values, atol=1e-4)


def test_a_batch_in_order(rng, decoders):
    images = [Image.fromarray(picture(1, rng)[..., 0]) for _ in range(3)]
    contents = [saved(images[0]), saved(images[1], "JPEG", quality=100), saved(images[2])]
    found = decoders[1](contents).numpy()
    for image, values in zip(images, found, strict=True):
        np.testing.assert_allclose(values[..., 0], np.asarray(image) / 255, atol=4 / 255)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def claims(width, height, rows=10):
    """A grey PNG whose header claims these sides, with so many rows of black."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    packer = zlib.compressobj()
    data = b"".join(packer.compress(bytes(min(width, 2**14) + 1)) for _ in range(rows)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(Image.new("RGB", SIDES[::-1]), "JPEG", exif=exif)


PNG = saved(Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype="uint8")))
JPEG = saved(Image.open(io.BytesIO(PNG)), "JPEG")
REFUSED = {
    "nothing": ([], "at least one file"),
    "empty": ([b""], "PNG or JPEG"),
    "text": ([b"<html>not found</html>"], "PNG or JPEG"),
    "gif": ([saved(Image.new("L", (4, 4)), "GIF")], "PNG or JPEG"),
    "second_is_none": ([PNG, b"x"], "PNG or JPEG"),
    "png_8": ([PNG[:8]], "damaged or cut short"),
    "png_20": ([PNG[:20]], "damaged or cut short"),
    "png_half": ([PNG[: len(PNG) // 2]], "Invalid PNG"),
    "png_end": ([PNG[:-16]], "Invalid PNG"),
    "jpeg_10": ([JPEG[:10]], "Invalid JPEG"),
    "jpeg_half": ([JPEG[: len(JPEG) // 2]], "Invalid JPEG"),
    "jpeg_in_png": ([b"\x89PNG\r\n\x1a\n" + JPEG], "limit|Invalid PNG"),
    "turned": ([turned(6)], "EXIF orientation"),
    "sizes": ([PNG, saved(Image.new("RGB", (50, 41)))], "must have one size"),
    "bomb": ([claims(60_000, 60_000)], f"limit of {LIMIT} pixels"),
    "bomb_overflow": ([claims(2**31 - 1, 2**31 - 1)] * 3, f"limit of {LIMIT} pixels"),
    "no_sides": ([claims(0, 5)], "damaged"),
    "many": ([PNG] * 6, f"limit of {LIMIT} pixels"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, decoders):
    contents, message = REFUSED[name]
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        decoders[3](tf.constant(contents, tf.string))


def test_upright_exif_is_taken(decoders):
    assert decoders[3]([turned(1)]).shape == (1, *SIDES, 3)
    assert decoders[3]([PNG] * 5).shape[0] == 5  # 10,000 pixels: the limit itself


def test_a_bomb_takes_no_memory(decoders):
    """62 kB that decode to 384 MB, which a graph that checks and decodes side by side would fill."""
    bomb = claims(8000, 8000, rows=8000)
    assert len(bomb) < 100_000
    with Image.open(io.BytesIO(bomb)) as opened:
        assert opened.size == (8000, 8000)
    decoders[3]([PNG])
    before = peak_memory()
    for contents in ([bomb], [PNG, bomb], [claims(60_000, 60_000)]):
        with pytest.raises(tf.errors.InvalidArgumentError, match="limit of"):
            decoders[3](contents)
    assert peak_memory() - before < 50 * 2**20


def test_a_model_of_one_size_answers_at_the_size_of_the_file(tmp_path, rng):
    """Resized as Pillow does it, and the probabilities back: they stay probabilities."""
    model = OrdinalSegmenter(small_backbone((16, 24, 1), filters=(4, 8)), num_raters=3)
    for variable in model.trainable_variables:
        variable.assign(variable + rng.normal(0, 0.3, variable.shape))
    served = tf.saved_model.load(str(export(model, tmp_path))).signatures
    image = picture(1, rng)[..., 0]
    outputs = served["encoded"](encoded=tf.constant([saved(Image.fromarray(image))]))
    small = Image.fromarray((image / np.float32(255)).astype("float32")).resize((24, 16), Image.Resampling.BILINEAR)
    wanted = served["serving_default"](image=tf.constant(np.asarray(small)[None, ..., None]))
    assert outputs["levels"].shape == (1, *SIDES, 4)
    assert outputs["agreement"].shape == (1, *SIDES)
    levels = outputs["levels"].numpy()
    np.testing.assert_allclose(levels.sum(-1), 1, atol=1e-5)
    np.testing.assert_allclose(levels @ np.arange(4) / 3, outputs["agreement"], atol=1e-5)
    assert np.ptp(wanted["agreement"]) > 0.1
    enlarged = Image.fromarray(wanted["agreement"].numpy()[0]).resize(SIDES[::-1], Image.Resampling.BILINEAR)
    np.testing.assert_allclose(outputs["agreement"][0], np.asarray(enlarged), atol=1e-4)
