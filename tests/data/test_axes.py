"""Which axis of a file is which: one order for all files of a case, channels and raters last."""

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image

from keras_ordseg import data

nib = pytest.importorskip("nibabel")

MASK = np.zeros((6, 5), np.uint8)
MASK[1:3, 1:4] = 1
GREY = np.arange(30, dtype=np.uint8).reshape(6, 5) * 8


def save(file, array):
    if file.name.endswith((".nii", ".nii.gz")):
        nib.save(nib.Nifti1Image(array, np.diag([-1.0, -1, 1, 1])), file)
    elif file.suffix == ".npy":
        np.save(file, array)
    elif file.suffix == ".tif":
        tifffile.imwrite(file, array, photometric="minisblack")
    else:
        Image.fromarray(array).save(file)


@pytest.fixture
def listed(tmp_path):
    """`listed(image, *masks)` writes pairs of an ending and an array, and lists the one case."""

    def write(image, *masks, **options):
        rows = {"id": "a", "image": tmp_path / f"image{image[0]}"}
        save(rows["image"], image[1])
        for rater, (ending, array) in enumerate(masks, 1):
            rows[f"rater{rater}"] = tmp_path / f"rater{rater}{ending}"
            save(rows[f"rater{rater}"], array)
        return data.cases([rows], **options)

    return write


def problems(cases):
    with pytest.raises(data.DataError) as caught:
        data.load(cases)
    return [text.rpartition("/")[2] for text in caught.value.problems]


class TestOrder:
    square = np.pad(MASK, ((0, 2), (0, 3)))

    @pytest.mark.parametrize("picture", [".png", ".tif", ".bmp"])
    @pytest.mark.parametrize("volume", [".nii", ".nii.gz"])
    @pytest.mark.parametrize("slices", [False, True])
    def test_pictures_and_nifti(self, listed, picture, volume, slices):
        """Square or not, a single slice or not, whichever of them is the image."""
        for mask in (self.square, MASK):
            nifti = mask[..., None] if slices else mask
            (text,) = problems(listed((picture, mask), (volume, nifti)))
            assert text.split("; ")[0] == (
                f"rater1{volume}: its axes are x first (x, y), those of its image image{picture} rows first (y, x): one of "
                "them would be read transposed"
            )
            (text,) = problems(listed((volume, nifti / np.float32(1)), (picture, mask), (picture, mask)))
            assert f"those of its image image{volume} x first" in text

    def test_raters_of_two_formats(self, listed):
        """The image is NumPy, which may have either order: the raters contradict each other."""
        (text,) = problems(listed((".npy", self.square), (".nii", self.square), (".png", self.square)))
        assert "x first (x, y), those of another rater's mask rater2.png rows first (y, x)" in text

    def test_votes(self, tmp_path):
        save(tmp_path / "a_image.png", self.square)
        save(tmp_path / "a_votes.nii", self.square)
        with pytest.raises(data.DataError, match="a_votes.nii: its axes are x first"):
            data.load(data.cases(tmp_path, votes="*_votes.nii", num_raters=2))

    def test_patches(self, listed):
        (text, *_) = problems(listed((".png", self.square), (".nii", self.square)).patches(4))
        assert "one of them would be read transposed" in text

    @pytest.mark.parametrize("shape", [(8, 8), (4, 4, 4), (4, 3, 4)])
    def test_numpy_with_nifti_where_the_shape_does_not_tell(self, listed, shape):
        cases = listed((".npy", np.ones(shape, np.float32)), (".nii", np.ones(shape, np.uint8)))
        sides = "x".join(map(str, shape))
        with pytest.warns(UserWarning, match=f"image.npy may list either, and a shape of {sides} does not tell"):
            data.load(cases)

    def test_numpy_with_nifti_where_it_does(self, listed):
        assert data.load(listed((".npy", GREY), (".nii", MASK)))["ratings"].shape == (1, 6, 5, 1)
        (text,) = problems(listed((".npy", GREY.T.copy()), (".nii", MASK)))
        assert text.endswith("transpose one of them (pictures are rows first, NIfTI is x first)")

    def test_images_of_two_formats(self, tmp_path):
        """Each case is right by itself, and a model would see one of them transposed."""
        for name in ("a.png", "a_mask.png", "b.nii", "b_mask.nii"):
            save(tmp_path / name, self.square)
        rows = [
            {"id": key, "image": tmp_path / f"{key}{end}", "rater1": tmp_path / f"{key}_mask{end}"}
            for key, end in (("a", ".png"), ("b", ".nii"))
        ]
        with pytest.warns(UserWarning, match=r"differently \(.*a.png rows first \(y, x\), .*b.nii x first \(x, y\)\)"):
            data.load(data.cases(rows, window=(0, 1)))


class TestAxesOfOne:
    @pytest.mark.parametrize("image", [GREY, GREY[..., None], GREY[..., None, None], np.stack([GREY] * 3, -1)])
    @pytest.mark.parametrize("mask", [MASK, MASK[..., None], MASK[..., None, None]])
    def test_last_axes_of_masks_are_dropped(self, listed, image, mask):
        cases = listed((".npy", image), (".npy", mask))
        arrays = data.load(cases)
        np.testing.assert_array_equal(arrays["ratings"][0, ..., 0], MASK)
        np.testing.assert_array_equal(arrays["image"][0, ..., 0], GREY / np.float32(255))
        np.testing.assert_array_equal(data.load(cases.patches(3))["ratings"][1, ..., 0], MASK[:3, 2:])

    @pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
    @pytest.mark.parametrize("axes", [(3,), (3, 4)])
    def test_of_volumes(self, listed, rng, ending, axes):
        volume, mask = rng.random((6, 5, 4), np.float32), rng.integers(0, 2, (6, 5, 4)).astype(np.uint8)
        cases = listed((ending, np.expand_dims(volume, axes)), (ending, np.expand_dims(mask, axes)))
        np.testing.assert_array_equal(data.load(cases)["ratings"][0, ..., 0], mask)
        slices = data.load(cases.slices())
        np.testing.assert_array_equal(slices["ratings"][2, ..., 0], mask[..., 2])
        np.testing.assert_array_equal(slices["image"][2, ..., 0], volume[..., 2])

    @pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
    def test_channels_on_the_fifth_axis(self, listed, rng, ending):
        """As ITK writes vectors: the fourth is time."""
        volume = rng.random((6, 5, 4, 1, 2), np.float32)
        cases = listed((ending, volume), (ending, np.ones((6, 5, 4), np.uint8)))
        np.testing.assert_array_equal(data.load(cases)["image"][0], volume[:, :, :, 0])
        np.testing.assert_array_equal(data.load(cases.slices(0))["image"][3], volume[3, :, :, 0])

    def test_a_first_axis_of_one(self, listed):
        (text,) = problems(listed((".npy", GREY), (".npy", MASK[None])))
        assert text.endswith("has shape (1, 6, 5), its image image.npy (6, 5); take its one row, rater1.npy[0]")

    def test_votes(self, tmp_path):
        save(tmp_path / "a_image.png", GREY)
        np.save(tmp_path / "a_votes.npy", MASK[..., None])
        cases = data.cases(tmp_path, votes="*_votes.npy", num_raters=2)
        np.testing.assert_array_equal(data.load(cases)["ratings"][0, ..., 0], MASK)


class TestLast:
    @pytest.mark.parametrize("shape", [(3, 6, 5), (1, 6, 5), (7, 6, 5), (3, 4, 6, 5)])
    def test_channels(self, listed, shape):
        mask = np.broadcast_to(MASK, shape[1:]).copy()
        cases = listed((".npy", np.zeros(shape, np.uint8)), (".npy", mask))
        for part in (cases, cases.patches(1)[:1]):
            text = problems(part)[0]
            assert f"its image image.npy {shape}; channels go last; move the first axis of the image" in text

    def test_raters_of_one_file(self, tmp_path):
        """Said once, not once for each of the five that the last axis seems to hold; in patches too."""
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["image"], file["masks"] = GREY, np.stack([MASK] * 3)
        cases = data.cases(tmp_path, "*.h5::image", "*.h5::masks[..., {r}]")
        assert cases.num_raters == 5
        for part in (cases, cases.patches(3)):
            (text,) = problems(part)
            assert "has shape (3, 6, 5), its image a.h5::image (6, 5); raters go last" in text

    def test_raters_of_a_volume_and_of_a_colour_image(self, tmp_path, rng):
        for image in (rng.random((6, 5, 4)), np.stack([GREY] * 3, -1)):
            masks = np.zeros((2, *(image.shape if image.dtype.kind == "f" else image.shape[:2])), np.uint8)
            np.savez(tmp_path / "a.npz", image=image, masks=masks)
            (text,) = problems(data.cases(tmp_path, "*.npz::image", "*.npz::masks[..., {r}]"))
            assert "raters go last" in text

    @pytest.mark.parametrize("shape", [(6, 5, 3), (3, 6, 5)])
    def test_a_mask_in_colour(self, listed, shape):
        mask = np.zeros(shape, np.uint8)
        (text,) = problems(listed((".png", GREY), (".npy", mask)))
        assert f"the mask has shape {shape}, its image image.png (6, 5); a mask has one number for each pixel" in text

    @pytest.mark.parametrize("axis", [-1, 0])
    def test_image_and_mask_in_colour(self, listed, axis):
        """Both may as well be volumes of three slices."""
        cases = listed((".npy", np.stack([GREY] * 3, axis)), (".npy", np.stack([MASK] * 3, axis)))
        with pytest.warns(UserWarning, match="read as volumes of three axes; if one of them is for colours"):
            data.load(cases)

    def test_raters_of_two_ranks(self, listed):
        cases = listed((".npy", np.zeros((6, 5, 3), np.uint8)), (".npy", MASK), (".npy", np.stack([MASK] * 3, -1)))
        assert problems(cases)[0].startswith("rater2.npy: the mask has shape (6, 5, 3), its image image.npy (6, 5, 3)")

    def test_a_part_that_fits_by_chance(self, listed):
        """A mask of fewer rows: its patches lie inside the image, and not where they belong."""
        cases = listed((".npy", GREY), (".npy", MASK[2:]))
        assert problems(cases.patches(3)) == problems(cases)


class TestIndex:
    @pytest.fixture
    def files(self, tmp_path):
        stack = np.stack([MASK] * 3, -1)
        Image.fromarray(stack).save(tmp_path / "m.png")
        tifffile.imwrite(tmp_path / "m.tif", stack.transpose(2, 0, 1), photometric="minisblack")
        np.savez(tmp_path / "m.npz", m=stack)
        np.save(tmp_path / "m.npy", stack)
        nib.save(nib.Nifti1Image(stack[:, :, None], np.eye(4)), tmp_path / "m.nii.gz")
        with h5py.File(tmp_path / "m.h5", "w") as file:
            file["m"] = stack
        return tmp_path

    @pytest.mark.parametrize("file", ["m.png", "m.tif", "m.npz::m", "m.npy", "m.nii.gz", "m.h5::m"])
    def test_a_channel_or_row_that_is_not_there(self, files, file):
        save(files / "a.npy", GREY)
        (text,) = problems(data.cases([{"id": 1, "image": files / "a.npy", "rater1": files / f"{file}[..., 3]"}]))
        assert text == f"{file}[..., 3]: has no channel 3; there are 3, 0 to 2 (its shape is 6x5x3)"
        (text,) = problems(data.cases([{"id": 1, "image": files / f"{file}[..., 9]", "rater1": files / "a.npy"}], label=8))
        assert text.startswith(f"{file}[..., 9]: has no channel 9; there are 3")
        (text,) = problems(data.cases([{"id": 1, "image": files / "a.npy", "rater1": files / f"{file}[6]"}]))
        if file in ("m.png", "m.tif"):
            assert text == f"{file}[6]: is a picture and no stack: [6] cannot be taken of it"
        else:
            assert text == f"{file}[6]: has no row 6; there are 6, 0 to 5 (its shape is 6x5x3)"

    def test_the_last_that_is_there(self, files):
        save(files / "a.npy", GREY)
        for file in ("m.png", "m.tif", "m.npz::m", "m.npy", "m.h5::m"):
            cases = data.cases([{"id": 1, "image": files / "a.npy", "rater1": files / f"{file}[..., 2]"}])
            np.testing.assert_array_equal(data.load(cases)["ratings"][0, ..., 0], MASK)
