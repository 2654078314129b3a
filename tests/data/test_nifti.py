"""NIfTI volumes: values, labels, windows, geometry, and every way in which a file may be wrong."""

import gzip
import sys

import numpy as np
import pytest

from keras_ordseg import data

nib = pytest.importorskip("nibabel")

AFFINE = np.array([[-0.7, 0, 0, 90], [0, 0.7, 0, -120], [0, 0, 2.5, 40], [0, 0, 0, 1]])
WINDOW = (-1000, 400)


def save(path, values, affine=AFFINE):
    nib.save(nib.Nifti1Image(values, affine), path)


@pytest.fixture
def ct(tmp_path, rng):
    """Two CT volumes of 6x5x4 and label maps 0, 1, 2 of two readers; reader 2 has not read volume b."""
    hu = {key: rng.integers(-1024, 700, (6, 5, 4)).astype(np.int16) for key in "ab"}
    labels = {key: rng.integers(0, 3, (2, 6, 5, 4)).astype(np.uint8) for key in "ab"}
    for key in "ab":
        save(tmp_path / f"{key}_img.nii.gz", hu[key])
        for r in (1, 2) if key == "a" else (1,):
            save(tmp_path / f"{key}_{r}_tgt.nii.gz", labels[key][r - 1])
    return tmp_path, hu, labels


def table(folder, **options):
    return data.cases(folder, "*_img.nii.gz", "*_{r}_tgt.nii.gz", **options)


def test_volumes(ct):
    folder, hu, labels = ct
    arrays = data.load(table(folder, label=2, window=WINDOW))
    expected = np.clip((np.stack([hu["a"], hu["b"]]) + 1000.0) / 1400, 0, 1)
    np.testing.assert_allclose(arrays["image"][..., 0], expected, atol=1e-6)
    assert (arrays["image"].dtype, arrays["ratings"].dtype) == (np.float32, np.int8)
    np.testing.assert_array_equal(arrays["ratings"][0], np.moveaxis(labels["a"] == 2, 0, -1))
    np.testing.assert_array_equal(arrays["ratings"][1, ..., 0], labels["b"][0] == 2)
    np.testing.assert_array_equal(arrays["ratings"][1, ..., 1], -1)
    data.check_arrays(arrays)


def test_several_labels_and_voids(ct):
    folder, _, labels = ct
    either = data.load(table(folder, label=(1, 2), window=WINDOW))["ratings"][0]
    np.testing.assert_array_equal(either, np.moveaxis(labels["a"] > 0, 0, -1))
    void = data.load(table(folder, label=1, void=2, window=WINDOW))["ratings"][0]
    expected = np.select([labels["a"] == 1, labels["a"] == 2], [1, -1], 0)
    np.testing.assert_array_equal(void, np.moveaxis(expected, 0, -1))


def test_geometry_of_volumes_slices_patches_and_sizes(ct):
    """A voxel of what is returned has the world coordinates of the voxel it came from."""
    folder, hu, _ = ct
    cases = table(folder, label=1, window=("0%", "100%"))[:1]
    whole = data.load(cases)
    np.testing.assert_allclose(whole["affine"][0], AFFINE)
    np.testing.assert_allclose(whole["spacing"][0], [0.7, 0.7, 2.5], rtol=1e-6)
    slices = data.load(cases.slices())
    np.testing.assert_allclose(slices["spacing"], [[0.7, 0.7]] * 4, rtol=1e-6)
    np.testing.assert_allclose(slices["affine"][3] @ [2, 1, 0, 1], AFFINE @ [2, 1, 3, 1])
    patch = data.load(cases.patches((3, 2, 2)))["affine"][-1]
    np.testing.assert_allclose(patch @ [1, 1, 1, 1], AFFINE @ [3 + 1, 3 + 1, 2 + 1, 1])
    cropped = data.load(cases, size=(2, 7, 4))  # 2 rows cut before, 1 column added before
    np.testing.assert_array_equal(cropped["image"][0, 0, 1], whole["image"][0, 2, 0])
    np.testing.assert_allclose(cropped["affine"][0] @ [0, 1, 0, 1], AFFINE @ [2, 0, 0, 1])
    resized = data.load(cases, size=(3, 10, 4), fit="resize")
    np.testing.assert_allclose(resized["spacing"][0], [1.4, 0.35, 2.5], rtol=1e-6)
    np.testing.assert_allclose(resized["affine"][0] @ [-0.5, -0.5, -0.5, 1], AFFINE @ [-0.5, -0.5, -0.5, 1])
    np.testing.assert_allclose(resized["affine"][0] @ [2.5, 9.5, 3.5, 1], AFFINE @ [5.5, 4.5, 3.5, 1])


def test_percentiles_are_those_of_the_whole_volume(ct):
    """A slice of a volume is scaled like the volume, not by its own brightest voxel."""
    folder, hu, _ = ct
    cases = table(folder, label=1, window=("5%", "95%"))
    whole, slices = data.load(cases)["image"], data.load(cases.slices())["image"]
    low, high = np.percentile(hu["a"], [5, 95])
    np.testing.assert_allclose(whole[0, ..., 0], np.clip((hu["a"] - low) / (high - low), 0, 1), atol=1e-6)
    np.testing.assert_array_equal(np.moveaxis(slices[:4], 0, 2), whole[0])


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_layouts(tmp_path, rng, ending):
    """A single slice is a picture, and a fourth axis holds channels or raters; packed or not."""
    image, masks = rng.random((6, 5, 1), dtype=np.float32), rng.integers(0, 2, (6, 5, 1, 3)).astype(np.uint8)
    save(tmp_path / f"a_image{ending}", image)
    save(tmp_path / f"a_masks{ending}", masks)
    cases = data.cases(tmp_path, "*_image" + ending, f"*_masks{ending}[..., {{r}}]")
    arrays = data.load(cases)
    assert cases.raters == ("0", "1", "2")
    np.testing.assert_array_equal(arrays["image"][0], image)
    np.testing.assert_array_equal(arrays["ratings"][0], masks[:, :, 0])
    np.testing.assert_allclose(arrays["spacing"], [[0.7, 0.7]], rtol=1e-6)
    patches = data.load(cases.patches(2))
    np.testing.assert_array_equal(patches["ratings"][-1], masks[4:, 3:, 0])
    channels = rng.random((6, 5, 4, 2), dtype=np.float32)
    save(tmp_path / f"a_image{ending}", channels)
    save(tmp_path / f"a_masks{ending}", masks.repeat(4, axis=2))
    arrays = data.load(data.cases(tmp_path, "*_image" + ending, f"*_masks{ending}[..., {{r}}]"))
    np.testing.assert_array_equal(arrays["image"][0], channels)
    first = data.load(data.cases(tmp_path, f"*_image{ending}[..., 1]", f"*_masks{ending}[..., {{r}}]"))
    np.testing.assert_array_equal(first["image"][0, ..., 0], channels[..., 1])


def test_scale_and_intercept(tmp_path):
    image = nib.Nifti1Image(np.arange(8, dtype=np.int16).reshape(2, 2, 2), AFFINE)
    image.header.set_slope_inter(0.1, 0.2)
    nib.save(image, tmp_path / "a_image.nii")
    save(tmp_path / "a_rater1.nii", np.ones((2, 2, 2), np.uint8))
    arrays = data.load(data.cases(tmp_path, "*_image.nii", "*_rater{r}.nii"))
    np.testing.assert_allclose(arrays["image"].ravel(), np.arange(8) * 0.1 + 0.2, atol=1e-6)


class TestRefused:
    def problems(self, folder, **options):
        cases = table(folder, **{"label": 1, "window": WINDOW} | options)
        with pytest.raises(data.DataError) as caught:
            data.check(cases)
        with pytest.raises(data.DataError) as loaded:
            data.load(cases.slices() if options.pop("slices", False) else cases)
        assert caught.value.problems == loaded.value.problems
        return caught.value.problems

    def test_no_window(self, ct):
        first, second = self.problems(ct[0], window=None)
        assert first.startswith("a_img.nii.gz: the int16 image spans [")
        assert "give window=(lo, hi), as (-1000, 400)" in second

    def test_no_label(self, ct):
        (first, *rest) = self.problems(ct[0], label=None)
        assert first.startswith("a_1_tgt.nii.gz: not a binary mask: it holds 3 values (0, 1, 2)")
        assert len(rest) == 2
        assert self.problems(ct[0], label=7) == ("no mask holds label=7; beside 0 they hold 1, 2",)
        assert self.problems(ct[0], label=(1, 7)) == ("no mask holds label=7; beside 0 they hold 1, 2",)
        with pytest.warns(UserWarning, match="no mask of these cases holds label=7; beside 0 they hold 1, 2"):
            data.check(table(ct[0], label=7, window=WINDOW)[:1])  # a part may lack what the table has

    def test_geometry(self, ct):
        folder, _, labels = ct
        save(folder / "a_1_tgt.nii.gz", labels["a"][0][:, :, :3])
        save(folder / "a_2_tgt.nii.gz", labels["a"][1], np.diag([1, -1, 1, 1]) @ AFFINE)
        far = AFFINE.copy()
        far[0, 3] = 91
        save(folder / "b_1_tgt.nii.gz", labels["b"][0], far)
        save(folder / "b_2_tgt.nii.gz", labels["b"][1], AFFINE @ np.diag([1, 1, 2, 1]))
        assert self.problems(folder) == (
            "a_1_tgt.nii.gz: the mask has 6x5x3 voxels, its image a_img.nii.gz has 6x5x4",
            "a_2_tgt.nii.gz: another affine than its image: its axes point LPS, those of its image LAS; the same voxel "
            "lies up to 240 mm apart; resample the mask to the image, or mend its header",
            "b_1_tgt.nii.gz: another affine than its image: it lies elsewhere: origin (91, -120, 40), that of its image "
            "(90, -120, 40); the same voxel lies up to 1 mm apart; resample the mask to the image, or mend its header",
            "b_2_tgt.nii.gz: another affine than its image: its voxels are 0.7x0.7x5, those of its image 0.7x0.7x2.5; "
            "the same voxel lies up to 7.5 mm apart; resample the mask to the image, or mend its header",
        )

    def test_rounding_of_the_header_is_not_another_place(self, ct):
        folder, _, labels = ct
        save(folder / "a_1_tgt.nii.gz", labels["a"][0], AFFINE + 1e-5)
        data.check(table(folder, label=1, window=WINDOW))

    def test_damaged(self, ct, rng):
        folder, hu, labels = ct
        noise = rng.integers(-1024, 700, (40, 40, 4)).astype(np.int16)
        save(folder / "a_img.nii.gz", noise)
        whole = (folder / "a_img.nii.gz").read_bytes()
        (folder / "a_img.nii.gz").write_bytes(whole[: len(whole) // 2])
        (folder / "a_1_tgt.nii.gz").write_bytes(b"hello")
        bad = hu["b"].astype(np.float32)
        bad[0, 0, :2] = np.nan
        save(folder / "b_img.nii.gz", bad)
        save(folder / "b_1_tgt.nii.gz", bad)
        image, mask, bad_mask, bad_image = sorted(self.problems(folder), key=lambda text: "b_img" in text)
        assert image.startswith("a_img.nii.gz: cannot be read (")
        assert image.endswith("; the file is damaged or cut short")
        assert mask.startswith("a_1_tgt.nii.gz: cannot be read as NIfTI (")
        assert bad_image == "b_img.nii.gz: the image has 2 values that are not finite (NaN or infinite)"
        assert bad_mask == "b_1_tgt.nii.gz: the mask has values that are not finite"

    def test_a_header_that_claims_too_much(self, ct):
        """100 GB in 400 bytes: refused before anything is unpacked."""
        folder = ct[0]
        header = bytearray(gzip.decompress((folder / "a_img.nii.gz").read_bytes()))
        header[42:48] = np.array([4000, 4000, 4000], "<i2").tobytes()
        (folder / "a_img.nii.gz").write_bytes(gzip.compress(bytes(header)))
        (problem,) = self.problems(folder)
        assert problem.startswith("a_img.nii.gz: its header speaks of 4000x4000x4000 voxels, more than the file can hold")

    def test_a_volume_above_the_limit(self, ct, monkeypatch):
        monkeypatch.setattr("keras_ordseg.data._errors._LIMIT", 100)
        assert self.problems(ct[0])[0] == "a_img.nii.gz: has 6x5x4 values, above the limit of 100; cut it into parts"

    def test_slices_that_are_each_binary(self, tmp_path):
        """Value 1 in one slice and 2 in another is a label map, though no slice shows it."""
        labels = np.zeros((4, 4, 2), np.uint8)
        labels[:2, :, 0], labels[:2, :, 1] = 1, 2
        save(tmp_path / "a_img.nii.gz", labels / np.float32(2))
        save(tmp_path / "a_1_tgt.nii.gz", labels)
        with pytest.raises(data.DataError, match="its slices or patches are marked by 1 in one and 2 in another"):
            data.load(table(tmp_path).slices())

    def test_without_nibabel(self, ct, monkeypatch):
        monkeypatch.setitem(sys.modules, "nibabel", None)
        with pytest.raises(ImportError, match=r'NIfTI files need nibabel: pip install "keras_ordseg\[medical\]"'):
            data.load(table(ct[0], label=1, window=WINDOW))
