"""Where volumes lie: affines that are none, and how far a mask may lie from its image."""

import struct

import numpy as np
import pytest

from keras_ordseg import data
from keras_ordseg.data._grids import Grid, checked_grid, compare

nib = pytest.importorskip("nibabel")

SHAPE = (8, 9, 5)
AFFINE = np.diag([0.5, 0.5, 1.0, 1.0])
AFFINE[:3, 3] = -123.456, -100, 1033.333333


@pytest.fixture
def placed(tmp_path, rng):
    """`placed(image, mask)` writes volumes with these affines, or with a pair of qform and sform, and reads them."""

    def save(name, values, affine):
        volume = nib.Nifti1Image(values, affine[1] if isinstance(affine, tuple) else affine)
        if isinstance(affine, tuple):
            volume.set_qform(affine[0], 1)
            volume.set_sform(affine[1], 1)
        nib.save(volume, tmp_path / name)

    def read(image, mask):
        save("a_image.nii", rng.random(SHAPE).astype(np.float32), image)
        save("a_rater1.nii", np.ones(SHAPE, np.uint8), mask)
        return data.load(data.cases(tmp_path, "*_image.nii", "*_rater{r}.nii"))

    return read


def turned(angle):
    change = np.eye(4)
    change[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return AFFINE @ change


class TestDegenerate:
    nan, inf = float("nan"), float("inf")

    @pytest.mark.parametrize("name", ["a_image.nii", "a_rater1.nii"])
    @pytest.mark.parametrize(
        "rows, message",
        [
            ([0] * 12, r"its affine is singular, two voxels lie at one place \(rows 0 0 0 0; 0 0 0 0; 0 0 0 0\)"),
            ([1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], "its affine is singular"),
            ([1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 1, 0], "its affine is singular"),
            ([1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0], "its affine is singular"),
            ([nan] * 12, r"its affine is not finite \(NaN or infinite\); mend its header"),
            ([1, 0, 0, inf, 0, 1, 0, 0, 0, 0, 1, 0], "its affine is not finite"),
        ],
    )
    def test_is_named(self, placed, tmp_path, name, rows, message):
        placed(AFFINE, AFFINE)
        raw = bytearray((tmp_path / name).read_bytes())
        raw[252:254], raw[254:256], raw[280:328] = bytes(2), (1).to_bytes(2, "little"), struct.pack("<12f", *rows)
        (tmp_path / name).write_bytes(raw)
        cases = data.cases(tmp_path, "*_image.nii", "*_rater{r}.nii")
        for part in (cases, cases.slices()):
            with pytest.raises(data.DataError, match=f"{name}: {message}"):
                data.check(part)

    def test_a_single_slice_needs_no_third_side(self):
        flat = np.diag([0.5, 0.5, 0, 1])
        grid = checked_grid(flat, np.array([0.5, 0.5, 0]), (8, 9))
        np.testing.assert_array_equal(grid.spacing, [0.5, 0.5, 1])
        assert compare(grid, checked_grid(flat, np.array([0.5, 0.5, 0]), (8, 9, 1))) is None
        with pytest.raises(data.DataError, match="singular"):
            checked_grid(flat, np.array([0.5, 0.5, 0]), (8, 9, 2))


class TestDistance:
    """A tenth of the smallest side of a voxel, at the farthest corner: 0.05 mm here."""

    def test_what_cannot_be_seen(self, placed):
        shifted = AFFINE.copy()
        shifted[2, 3] += 0.001
        for other in (shifted, turned(0.0025), AFFINE * (1 + 1e-7)):
            placed(AFFINE, other)

    @pytest.mark.parametrize(
        "change, words",
        [
            (turned(0.2), "it is turned by 11.5 degrees; the same voxel lies up to 1.061 mm apart"),
            (turned(0.02), "it is turned by 1.15 degrees; the same voxel lies up to 0.1063 mm apart"),
            (AFFINE @ np.diag([1, 1, 1.05, 1]), "its voxels are 0.5x0.5x1.05, those of its image 0.5x0.5x1; the same voxel"),
            (AFFINE @ np.diag([1.0300001, 1, 1, 1]), "its voxels are 0.515x0.5x1, those of its image 0.5x0.5x1; the same"),
            (AFFINE @ np.diag([-1, 1, 1, 1]), "its axes point LAS, those of its image RAS; the same voxel lies up to 7 mm"),
            (AFFINE + np.eye(4, k=3) * 0.06, "origin (-123.396, -100, 1033.33), that of its image (-123.456, -10"),
        ],
    )
    def test_what_differs_is_shown(self, placed, change, words):
        with pytest.raises(data.DataError) as caught:
            placed(AFFINE, change)
        assert words in caught.value.problems[0]
        assert caught.value.problems[0].startswith("a_rater1.nii: another affine than its image: ")

    def test_the_origin_has_as_many_digits_as_tell_it_apart(self):
        grids = []
        for origin in (10333333, 10333333.06):
            affine = AFFINE.copy()
            affine[2, 3] = origin
            grids.append(Grid(affine, np.array([0.5, 0.5, 1]), SHAPE))
        text = compare(*grids)
        assert "origin (-123.456, -100, 10333333.1), that of its image (-123.456, -100, 10333333); " in text
        assert "lies up to 0.06 mm apart" in text

    def test_a_long_volume_is_judged_at_its_ends(self):
        """0.06 degrees are nothing in the middle, and a third of a voxel at the end of 512 rows."""
        image = Grid(np.eye(4), np.ones(3), (512, 512, 3))
        change = np.eye(4)
        change[0, 0] = change[1, 1] = np.cos(0.001)
        change[0, 1], change[1, 0] = -np.sin(0.001), np.sin(0.001)
        assert "turned by 0.0573 degrees; the same voxel lies up to 0.7227 mm apart" in compare(
            image, Grid(change, np.ones(3), (512, 512, 3))
        )


class TestTwoForms:
    def test_a_mask_that_fits_the_other_form(self, placed):
        far = AFFINE.copy()
        far[0, 3] += 5
        with pytest.raises(data.DataError, match=r"5 mm apart \(its image's qform would fit, and its sform"):
            placed((far, AFFINE), far)
        with pytest.raises(data.DataError, match=r"\(its own qform would fit"):
            placed(AFFINE, (AFFINE, far))

    def test_files_that_agree_on_both(self, placed):
        far = AFFINE.copy()
        far[0, 3] += 5
        with pytest.warns(UserWarning, match=r"qform and sform of 2 files disagree \(as a_image.nii\); the sform"):
            np.testing.assert_allclose(placed((far, AFFINE), (far, AFFINE))["affine"][0], AFFINE, rtol=1e-6)

    def test_a_rounding_is_no_disagreement(self, placed):
        placed((AFFINE + np.eye(4, k=3) * 1e-4, AFFINE), (AFFINE, AFFINE))
