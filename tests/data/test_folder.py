"""Files to arrays: values, sizes, and every reason to refuse a file."""

import numpy as np
import pytest
from PIL import Image

from keras_ordseg import data

SQUARE = np.zeros((6, 5), np.int8)
SQUARE[1:3, 1:4] = 1


def save(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)


def test_arrays(panel):
    arrays = data.load(data.cases(panel))
    assert {name: (array.shape, array.dtype.name) for name, array in arrays.items() if array.ndim > 1} == {
        "image": ((3, 6, 5, 1), "float32"),
        "ratings": ((3, 6, 5, 2), "int8"),
    }
    assert arrays["id"].tolist() == arrays["group"].tolist() == ["a", "b", "c"]
    for case, row in enumerate(arrays["ratings"]):
        np.testing.assert_array_equal(row[..., 0], SQUARE)
        np.testing.assert_array_equal(row[..., 1], -1 if case == 1 else SQUARE)
    np.testing.assert_array_equal(arrays["image"][0, ..., 0], SQUARE)


def test_progress_is_shown_on_standard_error(panel, capsys):
    data.load(data.cases(panel), progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("reading 3/3\n")


class TestRefused:
    """Each bad file is named, with what is wrong; `check` and `load` say the same."""

    def refused(self, path, message, **kwargs):
        cases = data.cases(path, **kwargs)
        with pytest.raises(data.DataError, match=message):
            data.check(cases)
        with pytest.raises(data.DataError, match=message):
            data.load(cases, size=4)

    def test_not_an_image(self, panel):
        (panel / "a_rater1.png").write_text("hello")
        self.refused(panel, r"a_rater1.png: cannot be read as an image; is it a PNG, JPEG or TIFF")

    def test_cut_short(self, panel, rng):
        save(panel / "c_image.png", rng.integers(0, 255, (6, 5), dtype=np.uint8))
        whole = (panel / "c_image.png").read_bytes()
        (panel / "c_image.png").write_bytes(whole[: len(whole) // 2 + 5])
        self.refused(panel, r"c_image.png: cannot be read \(.*\); the file is damaged or cut short")

    def test_mask_of_another_size(self, panel, folder):
        folder(["c_rater2.png"], size=(5, 6))
        self.refused(panel, r"c_rater2.png: the mask has 6x5 pixels, its image c_image.png has 5x6")

    def test_mask_that_is_not_binary(self, panel):
        save(panel / "b_rater1.png", np.arange(30, dtype=np.uint8).reshape(6, 5))
        self.refused(panel, r"b_rater1.png: not a binary mask: it holds 30 values \(0, 1, 2, 3, 4, 5, …\)")

    @pytest.mark.parametrize(
        "value, message",
        [
            (np.nan, "1 values that are not finite"),
            (np.inf, "1 values that are not finite"),
            (-0.5, r"spans \[-0.5, 0\] where \[0, 1\]"),
            (200, r"spans \[0, 200\]"),
        ],
    )
    def test_float_images(self, folder, tmp_path, value, message):
        pixels = np.zeros((6, 5), np.float32)
        pixels[2, 2] = value
        save(tmp_path / "a.tif", pixels)
        self.refused(folder(["a_rater1.png"]), f"a.tif: the (float )?image (has )?{message}", image="*.tif")

    def test_channels(self, panel):
        save(panel / "b_image.png", np.zeros((6, 5, 3), np.uint8))
        self.refused(panel, r"1 problem in .*\n  b_image.png: has 3 channels, most images have 1$")

    def test_too_large(self, panel, monkeypatch):
        for limit in (20, 10):  # a warning and an error of Pillow's
            monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
            self.refused(panel, f"a_image.png: larger than Pillow's limit of {limit} pixels; cut the image")

    def test_several_frames(self, folder, tmp_path):
        frame = Image.new("L", (5, 6))
        frame.save(tmp_path / "a.tif", save_all=True, append_images=[frame])
        self.refused(folder(["a_rater1.png"]), "a.tif: holds 2 frames", image="*.tif")

    def test_orientation(self, folder, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = 3
        Image.new("L", (5, 6)).save(tmp_path / "a.jpg", exif=exif)
        self.refused(folder(["a_rater1.png"]), "a.jpg: has EXIF orientation 3", image="*.jpg")

    def test_other_pixels(self, folder, tmp_path):
        Image.new("LAB", (5, 6)).save(tmp_path / "a.tif")
        self.refused(folder(["a_rater1.png"]), "a.tif: pixel format 'LAB' is not read", image="*.tif")
        save(tmp_path / "a.tif", np.full((6, 5), 300, np.int32))
        self.refused(tmp_path, r"a.tif: the int32 image spans \[300, 300\] .* give window", image="*.tif")

    def test_all_problems_at_once_and_twenty_shown(self, folder):
        path = folder([f"{i}_{kind}.png" for i in range(30) for kind in ("image", "rater1")])
        for i in range(25):
            (path / f"{i}_rater1.png").write_bytes(b"no image")
        with pytest.raises(data.DataError) as caught:
            data.check(data.cases(path))
        lines = str(caught.value).splitlines()
        assert lines[0].startswith("25 problems in ")
        assert len(lines) == 22
        assert lines[20].startswith("  19_rater1.png: ")
        assert lines[21] == "  … and 5 more (all of them in .problems)"
        assert len(caught.value.problems) == 25


class TestSizes:
    @pytest.fixture
    def mixed(self, folder):
        folder(["a_image.png", "a_rater1.png", "c_image.png", "c_rater1.png"], size=(6, 5))
        return data.cases(folder(["b_image.png", "b_rater1.png"], size=(3, 8)))

    def test_several_sizes_need_a_size(self, mixed):
        with pytest.raises(
            data.DataError,
            match=r"images of 2 sizes, as a_image.png with 5x6 and b_image.png with 8x3 pixels: give size=",
        ):
            data.load(mixed)
        data.check(mixed)

    def test_crop_and_pad(self, mixed):
        """Case b, 3 high and 8 wide, in 5 by 4: a row is added above and below, two columns cut each side."""
        arrays = data.load(mixed, size=(5, 4))
        assert arrays["image"].shape == (3, 5, 4, 1)
        expected = np.zeros((3, 8))
        expected[1:3, 1:4] = 1
        np.testing.assert_array_equal(arrays["ratings"][1, 1:4, :, 0], expected[:, 2:6])
        np.testing.assert_array_equal(arrays["image"][1, 1:4, :, 0], expected[:, 2:6])
        np.testing.assert_array_equal(arrays["ratings"][1, [0, 4]], -1)
        np.testing.assert_array_equal(arrays["image"][1, [0, 4]], 0)

    def test_resize(self, folder, tmp_path):
        """Twice as large repeats mask pixels; half as large keeps the image's mean."""
        pixels = np.zeros((4, 4), np.uint8)
        pixels[:, 2:] = 255
        for name in ("a_image.png", "a_rater1.png"):
            save(tmp_path / name, pixels)
        cases = data.cases(tmp_path)
        double = data.load(cases, size=8, fit="resize")
        np.testing.assert_array_equal(double["ratings"][0, ..., 0], np.kron(pixels > 0, np.ones((2, 2))))
        assert 0 < double["image"][0, 0, 3, 0] < double["image"][0, 0, 4, 0] < 1
        half = data.load(cases, size=(2, 2), fit="resize")["image"]
        assert half.mean() == pytest.approx(0.5)

    @pytest.mark.parametrize(
        "kwargs, message",
        [
            ({"size": 0}, "size must be"),
            ({"size": (4, 4, 4)}, "size must be"),
            ({"size": 4.0}, "size must be"),
            ({"fit": "stretch"}, "fit must be one of 'crop', 'resize', came 'stretch'"),
        ],
    )
    def test_errors(self, mixed, kwargs, message):
        with pytest.raises(ValueError, match=message):
            data.load(mixed, **kwargs)


def test_from_folder(panel):
    dataset = data.from_folder(panel, groups=lambda key: "p" + key)
    assert int(dataset.cardinality()) == 3
    assert dataset.element_spec["ratings"].shape.as_list() == [6, 5, 2]
    elements = list(dataset.as_numpy_iterator())
    assert [element["id"] for element in elements] == [b"a", b"b", b"c"]
    assert elements[2]["group"] == b"pc"
    np.testing.assert_array_equal(elements[1]["ratings"][..., 1], -1)
