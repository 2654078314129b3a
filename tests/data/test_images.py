"""Pixel formats of images and masks, each written and read again."""

import numpy as np
import pytest
from PIL import Image

from keras_ordseg import data

SQUARE = np.zeros((6, 5), np.int8)
SQUARE[1:3, 1:4] = 1


def save(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)


class TestPixelFormats:
    """One image in each format; `expected` is what the file holds, scaled."""

    grey = np.array([[0, 51], [102, 255]], np.uint8)
    rgb = np.stack([grey, grey // 2, 255 - grey], -1)

    def read(self, folder, name="a.png"):
        folder(["a_rater1.png"], size=(2, 2))
        return data.load(data.cases(folder([]), image="*" + name[1:]))["image"][0]

    @pytest.mark.parametrize("extension, exact", [("png", True), ("tif", True), ("jpg", False)])
    def test_8_bit(self, folder, tmp_path, extension, exact):
        flat = np.full((2, 2), 51, np.uint8)
        save(tmp_path / f"a.{extension}", self.grey if exact else flat)
        expected = (self.grey if exact else flat) / np.float32(255)
        np.testing.assert_array_equal(self.read(folder, f"a.{extension}")[..., 0], expected)

    def test_rgb_and_alpha(self, folder, tmp_path):
        save(tmp_path / "a.png", np.concatenate([self.rgb, self.grey[..., None]], -1))
        np.testing.assert_array_equal(self.read(folder), self.rgb / np.float32(255))

    @pytest.mark.parametrize("extension", ["png", "tif"])
    def test_16_bit(self, folder, tmp_path, extension):
        pixels = np.array([[0, 1], [40000, 65535]], np.uint16)
        save(tmp_path / f"a.{extension}", pixels)
        np.testing.assert_array_equal(self.read(folder, f"a.{extension}")[..., 0], pixels / np.float32(65535))

    def test_float(self, folder, tmp_path):
        pixels = np.array([[0, 0.25], [0.7, 1]], np.float32)
        save(tmp_path / "a.tif", pixels)
        np.testing.assert_array_equal(self.read(folder, "a.tif")[..., 0], pixels)

    def test_palette(self, folder, tmp_path):
        image = Image.fromarray(self.grey.argsort(axis=None).reshape(2, 2).astype(np.uint8), "P")
        image.putpalette(self.rgb.reshape(-1).tolist())
        image.save(tmp_path / "a.png")
        np.testing.assert_array_equal(self.read(folder), self.rgb / np.float32(255))

    def test_grey_palette_and_one_bit(self, folder, tmp_path):
        image = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), "P")
        image.putpalette([255, 255, 255, 0, 0, 0])
        image.save(tmp_path / "a.png", transparency=1)
        expected = np.array([[1, 0], [0, 1]], np.float32)[..., None]
        np.testing.assert_array_equal(self.read(folder), expected)
        save(tmp_path / "a.png", expected[..., 0] > 0)
        np.testing.assert_array_equal(self.read(folder), expected)


class TestMasks:
    def read(self, folder, name="a_rater1.png"):
        cases = data.cases(folder(["a_image.png"]), ratings="*_rater{r}." + name.split(".")[1])
        return data.load(cases)["ratings"][0, ..., 0]

    @pytest.mark.parametrize(
        "dtype, value", [("uint8", 255), ("uint8", 7), ("uint16", 40000), ("bool", True)]
    )
    def test_one_other_value_is_a_mark(self, folder, tmp_path, dtype, value):
        save(tmp_path / "a_rater1.png", SQUARE.astype(dtype) * np.array(value, dtype))
        np.testing.assert_array_equal(self.read(folder), SQUARE)

    def test_float_and_colour(self, folder, tmp_path):
        save(tmp_path / "a_rater1.tif", SQUARE.astype(np.float32) * 0.5)
        np.testing.assert_array_equal(self.read(folder, "a_rater1.tif"), SQUARE)
        colour = SQUARE[..., None] * np.array([0, 0, 200, 0], np.uint8) + np.array([0, 0, 0, 255], np.uint8)
        save(tmp_path / "a_rater1.png", colour.astype(np.uint8))
        np.testing.assert_array_equal(self.read(folder), SQUARE)

    def test_palette_counts_by_its_colours(self, folder, tmp_path):
        """Index 0 may be the colour of the mark: black is not marked, whatever its index."""
        image = Image.fromarray(1 - SQUARE.astype(np.uint8), "P")
        image.putpalette([200, 0, 0, 0, 0, 0])
        image.save(tmp_path / "a_rater1.png")
        np.testing.assert_array_equal(self.read(folder), SQUARE)

    @pytest.mark.parametrize("value, expected", [(0, 0), (255, 1), (1, 1)])
    def test_constant(self, folder, tmp_path, value, expected):
        save(tmp_path / "a_rater1.png", np.full((6, 5), value, np.uint8))
        np.testing.assert_array_equal(self.read(folder), expected)

    def test_two_values_above_zero(self, folder, tmp_path):
        save(tmp_path / "a_rater1.png", (SQUARE + 1).astype(np.uint8))
        with pytest.raises(
            data.DataError, match=r"a_rater1.png: not a binary mask: it holds 2 values \(1, 2\)"
        ):
            self.read(folder)

    def test_transparency(self, folder, tmp_path):
        save(tmp_path / "a_rater1.png", np.stack([SQUARE * 0, SQUARE * 100], -1).astype(np.uint8))
        with pytest.raises(data.DataError, match="a_rater1.png: the mask has a transparency channel"):
            self.read(folder)

    def test_nan(self, folder, tmp_path):
        save(tmp_path / "a_rater1.tif", np.where(SQUARE, np.nan, 0).astype(np.float32))
        with pytest.raises(data.DataError, match="a_rater1.tif: the mask has values that are not finite"):
            self.read(folder, "a_rater1.tif")
