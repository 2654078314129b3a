"""Bits, bands and orientation: what Pillow would cut, turn or scale is read as it is stored, or refused."""

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from keras_ordseg import data
from keras_ordseg.data import _images

SIDES = (6, 5)
MASK = np.zeros(SIDES, np.uint8)
MASK[1:3, 1:4] = 1


def png16(values, kind, interlaced=False, late=b""):
    """A PNG of 16 bits, written anew: each row with another of the five filters."""
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    packed = b""
    for row, column, down, right in passes:
        part = values[row::down, column::right]
        if part.size:
            packed += _filtered(part.astype(">u2").reshape(len(part), -1).view(np.uint8), 2 * values.shape[-1])

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    height, width = values.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, interlaced)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(packed)) + late + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _filtered(rows, step):
    packed, above = b"", np.zeros(rows.shape[1], int)
    for number, row in enumerate(rows.astype(int)):
        left, corner = (np.concatenate([np.zeros(step, int), values[:-step]]) for values in (row, above))
        guess = left + above - corner
        far = [np.abs(guess - one) for one in (left, above, corner)]
        paeth = np.where(
            (far[0] <= far[1]) & (far[0] <= far[2]), left, np.where(far[1] <= far[2], above, corner)
        )
        kind = number % 5
        minus = (0, left, above, (left + above) // 2, paeth)[kind]
        packed += bytes([kind]) + ((row - minus) % 256).astype(np.uint8).tobytes()
        above = row
    return packed


@pytest.fixture
def read(tmp_path):
    """`read(ending, content)` loads an image with a mask beside it; content is bytes or a function of the file."""

    def load(ending, content, **options):
        file = tmp_path / f"a_image.{ending}"
        file.write_bytes(content) if isinstance(content, bytes) else content(file)
        Image.fromarray(MASK).save(tmp_path / "a_rater1.png")
        return data.load(data.cases(tmp_path, image=f"*_image.{ending}", **options))["image"][0]

    return load


class TestPng16:
    @pytest.mark.parametrize("kind, samples, kept", [(2, 3, 3), (4, 2, 1), (6, 4, 3), (0, 1, 1)])
    @pytest.mark.parametrize("interlaced", [False, True])
    def test_every_bit(self, read, rng, kind, samples, kept, interlaced):
        values = rng.integers(0, 2**16, (*SIDES, samples)).astype(np.uint16)
        content = png16(values, kind, interlaced)
        np.testing.assert_array_equal(read("png", content), values[..., :kept] / np.float32(65535))
        windowed = read("png", content, window=(1000, 5095))
        np.testing.assert_allclose(windowed, np.clip((values[..., :kept] - 1000.0) / 4095, 0, 1), atol=1e-6)

    def test_channels_and_masks(self, tmp_path, rng):
        values = rng.integers(0, 2**16, (*SIDES, 4)).astype(np.uint16)
        file = tmp_path / "a.png"
        file.write_bytes(png16(values, 6))
        assert _images.shape(file) == (*SIDES, 4)
        np.testing.assert_array_equal(_images.read_channels(file), values)
        file.write_bytes(png16(values[..., :2], 4))
        assert _images.shape(file) == (*SIDES, 2)
        np.testing.assert_array_equal(_images.read_channels(file), values[..., :2])
        labels = MASK.astype(np.uint16) * 256  # 0 in the lower byte, 1 in the upper
        file.write_bytes(png16(np.stack([labels, labels * 0 + 65535], -1), 4))
        np.testing.assert_array_equal(_images.read_mask(file), labels)
        file.write_bytes(png16(np.stack([labels] * 3, -1), 2))
        np.testing.assert_array_equal(_images.read_mask(file), labels)
        file.write_bytes(png16(np.stack([labels, labels * 0, labels * 0 + 1], -1), 2))
        np.testing.assert_array_equal(_images.read_mask(file), labels.astype(np.int64) * 2**32 + 1)
        file.write_bytes(png16(np.stack([labels, labels], -1), 4))
        with pytest.raises(data.DataError, match="a transparency channel that varies"):
            _images.read_mask(file)

    def test_cut_short(self, tmp_path, rng):
        file = tmp_path / "a.png"
        content = png16(rng.integers(0, 2**16, (40, 40, 3)).astype(np.uint16), 2)
        for length in (30, len(content) // 2):
            file.write_bytes(content[:length])
            with pytest.raises(data.DataError, match="damaged or cut short|cannot be read as an image"):
                _images.read_image(file)


class TestOrientation:
    square = np.arange(64, dtype=np.uint8).reshape(8, 8)

    @pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tif"])
    @pytest.mark.parametrize("orientation", [2, 6, 8])
    def test_refused_in_every_format(self, tmp_path, ending, orientation):
        exif = Image.Exif()
        exif[0x0112] = orientation
        file = tmp_path / f"a.{ending}"
        Image.fromarray(self.square).save(file, exif=exif)
        for reader in (_images.read_image, _images.read_mask, _images.read_channels):
            with pytest.raises(data.DataError, match=f"has EXIF orientation {orientation}, and viewers disagree"):
                reader(file)
        exif[0x0112] = 1
        Image.fromarray(self.square).save(file, exif=exif)
        assert _images.read_image(file).shape[:2] == (8, 8)

    @pytest.mark.parametrize("values", [np.zeros((8, 8, 3), np.uint16), np.zeros((8, 8), np.float16)])
    def test_of_the_other_tiff_reader(self, tmp_path, values):
        colours = "rgb" if values.ndim == 3 else "minisblack"
        tifffile.imwrite(tmp_path / "a.tif", values, photometric=colours, extratags=[(274, 3, 1, 5, True)])
        with pytest.raises(data.DataError, match="has EXIF orientation 5"):
            _images.read_image(tmp_path / "a.tif")

    def test_after_the_pixels_of_a_png(self, tmp_path):
        body = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"[6:]
        late = struct.pack(">I", len(body)) + b"eXIf" + body + struct.pack(">I", zlib.crc32(b"eXIf" + body))
        (tmp_path / "a.png").write_bytes(png16(np.zeros((*SIDES, 3), np.uint16), 2, late=late))
        with pytest.raises(data.DataError, match="has EXIF orientation 6"):
            _images.read_image(tmp_path / "a.png")


class TestTiff:
    @pytest.mark.parametrize("dtype", ["uint16", "float32", "float16", "float64"])
    @pytest.mark.parametrize("options", [{}, {"compression": "zlib", "predictor": True}, {"planarconfig": "separate"}])
    def test_colour(self, read, rng, dtype, options):
        if dtype != "uint16":
            options = {key: value for key, value in options.items() if key != "predictor"}
        values = rng.random((*SIDES, 3))
        stored = (values * 65535).astype(dtype) if dtype == "uint16" else values.astype(dtype)
        wanted = stored / np.float32(65535) if dtype == "uint16" else stored.astype(np.float32)
        written = stored.transpose(2, 0, 1) if "planarconfig" in options else stored
        image = read("tif", lambda file: tifffile.imwrite(file, written, photometric="rgb", **options))
        np.testing.assert_array_equal(image, wanted)

    @pytest.mark.parametrize("bands", [2, 3, 5, 7])
    @pytest.mark.parametrize("planar", ["contig", "separate"])
    @pytest.mark.parametrize("bigtiff", [False, True])
    def test_bands_of_raters(self, tmp_path, rng, bands, planar, bigtiff):
        Image.fromarray(MASK).save(tmp_path / "a_image.png")
        masks = rng.integers(0, 2, (*SIDES, bands)).astype(np.uint8)
        written = masks if planar == "contig" else masks.transpose(2, 0, 1)
        options = {"photometric": "minisblack", "planarconfig": planar, "bigtiff": bigtiff}
        tifffile.imwrite(tmp_path / "a_masks.tif", written * 255, **options)
        cases = data.cases(tmp_path, ratings="*_masks.tif[..., {r}]")
        assert cases.num_raters == bands
        np.testing.assert_array_equal(data.load(cases)["ratings"][0], masks)
        np.testing.assert_array_equal(data.load(cases.patches(3))["ratings"][-1], masks[3:, 2:])

    def test_bands_of_an_image(self, read, rng):
        values = rng.random((*SIDES, 6)).astype(np.float32)
        image = read("tif", lambda file: tifffile.imwrite(file, values, photometric="minisblack", planarconfig="contig"))
        np.testing.assert_array_equal(image, values)

    def test_alpha_of_16_bits(self, read, rng):
        values = rng.integers(0, 2**16, (*SIDES, 4)).astype(np.uint16)
        image = read("tif", lambda file: tifffile.imwrite(file, values, photometric="rgb", extrasamples=["unassalpha"]))
        np.testing.assert_array_equal(image, values[..., :3] / np.float32(65535))

    def test_signed_numbers_of_8_bits(self, tmp_path):
        """-1 stays -1; Pillow reads it as 255."""
        values = np.where(MASK, 1, 0).astype(np.int8)
        values[0] = -1
        tifffile.imwrite(tmp_path / "a_rater1.tif", values, photometric="minisblack")
        Image.fromarray(MASK).save(tmp_path / "a_image.png")
        cases = data.cases(tmp_path, ratings="*_rater{r}.tif")
        np.testing.assert_array_equal(data.load(cases)["ratings"][0, ..., 0], values)

    @pytest.mark.parametrize(
        "options, message",
        [
            ({"imagej": True}, "holds 4 frames where one is expected; .* or the volume as NIfTI or NumPy"),
            ({"imagej": True, "truncate": True}, "is a stack of 4 frames under one page"),
            ({"photometric": "minisblack", "truncate": True}, "is a stack of 4 frames under one page"),
            ({"photometric": "minisblack", "volumetric": True}, "holds 4 planes in one page"),
            ({"photometric": "minisblack", "ome": True}, "holds 4 frames where one is expected"),
        ],
    )
    def test_stacks_are_no_picture(self, read, options, message):
        values = np.zeros((4, *SIDES), np.uint8)
        with pytest.raises(data.DataError, match=message):
            read("tif", lambda file: tifffile.imwrite(file, values, **options))

    def test_frames_of_16_bits_as_raters(self, tmp_path, rng):
        masks = rng.integers(0, 2, (4, *SIDES)).astype(np.uint16)
        tifffile.imwrite(tmp_path / "a_masks.tif", masks * 65535, imagej=True)
        Image.fromarray(MASK).save(tmp_path / "a_image.png")
        ratings = data.load(data.cases(tmp_path, ratings="*_masks.tif[..., {r}]"))["ratings"][0]
        np.testing.assert_array_equal(ratings, masks.transpose(1, 2, 0))

    @pytest.mark.parametrize(
        "options, message",
        [
            ({"photometric": "miniswhite"}, "its colours are MINISWHITE; save it as grey"),
            ({"photometric": "minisblack", "compression": "lzma"}, "its compression LZMA is not read"),
        ],
    )
    def test_what_is_not_read(self, read, options, message):
        values = np.zeros(SIDES, np.uint16 if "compression" not in options else np.float16)
        with pytest.raises(data.DataError, match=message):
            read("tif", lambda file: tifffile.imwrite(file, values, **options))

    def test_compressions_that_pillow_reads(self, read, rng):
        values = rng.integers(0, 2**16, SIDES).astype(np.uint16)
        image = read("tif", lambda file: Image.fromarray(values).save(file, compression="tiff_lzw"))
        np.testing.assert_array_equal(image[..., 0], values / np.float32(65535))

    def test_damaged(self, tmp_path):
        file = tmp_path / "a.tif"
        tifffile.imwrite(file, np.random.default_rng(0).random((40, 40, 3)), photometric="rgb", compression="zlib")
        content = file.read_bytes()
        for broken in (content[:200], content[: len(content) // 2], content[:4] + b"\xff" * 40, b"II*\0"):
            file.write_bytes(broken)
            with pytest.raises(data.DataError, match="damaged|cannot be read"):
                _images.read_image(file)


class TestOtherFormats:
    def test_pgm_of_16_bits(self, read, rng):
        values = rng.integers(0, 2**16, SIDES).astype(">u2")
        image = read("pgm", b"P5 5 6 65535\n" + values.tobytes())
        np.testing.assert_array_equal(image[..., 0], values.astype(np.uint16) / np.float32(65535))

    @pytest.mark.parametrize("kind, count, size", [(5, 4095, 2), (5, 3, 1), (6, 65535, 6), (2, 3, 2), (3, 4095, 6)])
    def test_counts_that_pillow_scales(self, read, kind, count, size):
        body = b"0 " * (15 * size) if kind < 4 else bytes(30 * size)
        with pytest.raises(data.DataError, match=f"counts to {count}, and of this format only files that count to 255"):
            read("ppm", b"P%d 5 6 %d\n" % (kind, count) + body)

    @pytest.mark.parametrize("ending", ["jp2", "j2k"])
    def test_jpeg_2000_of_more_than_8_bits(self, read, ending):
        """Pillow cuts the colours of such files to 8 bits."""
        stream = io.BytesIO()
        Image.fromarray(np.zeros((*SIDES, 3), np.uint8)).save(stream, "JPEG2000", no_jp2=ending == "j2k")
        content = stream.getvalue()
        assert read(ending, content).shape == (*SIDES, 3)
        place = content.index(b"\xff\x4f\xff\x51") + 42
        assert content[place] == 7
        with pytest.raises(data.DataError, match="has more than 8 bits a colour"):
            read(ending, content[:place] + b"\x0b" + content[place + 1 :])
