"""The way from real files to a batch."""

import csv

import numpy as np
import pytest

from keras_ordseg import data

# pack, raters, images, groups (counted from index.csv), channels, size
PACKS = [
    ("lidc_crops", 4, 900, 393, 1, None),
    ("cryonuseg", 3, 18, 10, 3, 128),
    ("cfos_multilab", 4, 9, 3, 1, (256, 384)),
    ("chase_db1", 2, 16, 8, 3, None),
    ("bubil_fluo_crowd", 7, 72, 2, 1, 96),
]


@pytest.mark.parametrize(
    "pack, num_raters, images, groups, channels, size", PACKS, ids=[pack[0] for pack in PACKS]
)
def test_pack(real_data, pack, num_raters, images, groups, channels, size):
    folder = real_data(pack)
    cases = data.cases(folder)
    assert (cases.num_raters, len(cases), cases.num_absent) == (num_raters, images, 0)
    assert {source.name for source in cases.unmatched} <= {"README.md", "LICENSE.txt", "stats.json"}
    with (folder / "index.csv").open(newline="") as file:
        index = {row["id"]: row for row in csv.DictReader(file)}
    assert [case.group for case in cases] == [index[case.id]["group"] for case in cases]
    assert len({case.group for case in cases}) == groups
    items = cases[:60]
    arrays = data.load(items, size)
    data.check_arrays(arrays)
    assert arrays["image"].shape[-1] == channels
    assert arrays["ratings"].shape == (*arrays["image"].shape[:-1], num_raters)
    for case, marks in zip(items, arrays["ratings"], strict=True):
        whole = (
            size is None
            or (np.array(marks.shape[:2]) >= [int(index[case.id][k]) for k in ("height", "width")]).all()
        )
        areas = [int(index[case.id][f"area_rater{r}"]) for r in cases.raters]
        found = (marks == 1).sum((0, 1))
        assert (found == areas).all() if whole else (found <= areas).all()
    assert (arrays["ratings"] >= 0).all() == (pack != "bubil_fluo_crowd")
    method = "ratings" if pack == "bubil_fluo_crowd" else "votes"
    images, targets = next(data.batches(arrays, 4, method).as_numpy_iterator())
    assert images.shape == (4, *arrays["image"].shape[1:])
    assert targets.ndim == (4 if method == "ratings" else 3)


def test_mixed_sizes_are_named(real_data):
    with pytest.raises(
        data.DataError,
        match=r"^1 problem .*\n  images of \d+ sizes, as 0001_image.png with 53x88 .*: give size=",
    ):
        data.load(data.cases(real_data("bubil_fluo_crowd")))


def test_resized_sets_of_mixed_sizes_are_rated_everywhere(real_data):
    arrays = data.load(data.cases(real_data("bubil_fluo_crowd")), size=48, fit="resize")
    assert arrays["ratings"].shape == (72, 48, 48, 7)
    assert arrays["ratings"].min() == 0


def test_split_by_patient(real_data):
    cases = data.cases(real_data("lidc_crops"))
    groups = np.array([case.group for case in cases])
    parts = data.split(groups)
    assert [len(part) for part in parts] == [630, 135, 135]
    assert len(set.union(*(set(groups[part]) for part in parts))) == sum(
        len(set(groups[part])) for part in parts
    )


def test_other_formats_and_layouts_give_the_same_arrays(real_data, tmp_path):
    """Slices of LIDC as pictures, NIfTI, HDF5 and NumPy, one file a rater or one file for all."""
    nib, h5py = pytest.importorskip("nibabel"), pytest.importorskip("h5py")
    arrays = data.load(data.cases(real_data("lidc_crops"))[:6])
    image, ratings = np.round(arrays["image"] * 255).astype(np.uint8), arrays["ratings"].astype(np.uint8)
    np.savez_compressed(tmp_path / "all.npz", image=image, ratings=ratings)
    for key, picture, marks in zip(arrays["id"], image, ratings, strict=True):
        nib.save(nib.Nifti1Image(picture[:, :, None, 0], np.eye(4)), tmp_path / f"{key}_image.nii.gz")
        for r in range(4):
            nib.save(nib.Nifti1Image(marks[:, :, None, r], np.eye(4)), tmp_path / f"{key}_rater{r}.nii.gz")
        with h5py.File(tmp_path / f"{key}.h5", "w") as file:
            file["image"], file["ratings"] = picture, marks
        np.save(tmp_path / f"{key}_votes.npy", marks.sum(-1))
    layouts = {
        "nifti": data.cases(tmp_path, "*_image.nii.gz", "*_rater{r}.nii.gz"),
        "hdf5": data.cases(tmp_path, "*.h5::image", "*.h5::ratings[..., {r}]"),
        "numpy": data.cases(tmp_path, "all.npz::image[*]", "all.npz::ratings[*, ..., {r}]"),
    }
    for cases in layouts.values():
        found = data.load(cases)
        for name in ("image", "ratings"):
            np.testing.assert_array_equal(found[name], arrays[name])
    with pytest.warns(UserWarning, match="_image.nii.gz lists x first"):  # NIfTI beside an array of a square
        counted = data.load(data.cases(tmp_path, "*_image.nii.gz", votes="*_votes.npy", num_raters=4))
    np.testing.assert_array_equal((counted["ratings"] == 1).sum(-1), ratings.sum(-1))


def test_from_the_files_to_a_model(real_data):
    """Mixed sizes and absent pixels, read batch by batch."""
    cases = data.cases(real_data("bubil_fluo_crowd"))
    train, _ = data.split(cases.groups, (0.5, 0.5))
    cases = cases[train][:10]
    batches = data.PyDataset(cases, 4, "soft", size=64, epochs=2)
    arrays = data.load(cases, size=64)
    pixels = np.concatenate([data.load(cases[[row]])["ratings"].reshape(-1, 7) for row in range(10)])
    np.testing.assert_allclose(data.level_frequencies(cases), data.level_frequencies(pixels[None]), atol=1e-9)
    expected = data.batches(arrays, 4, "soft", epochs=2).as_numpy_iterator()
    for found, wanted in zip(batches, expected, strict=True):
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(a, b)


def test_near_the_marks(real_data):
    """Five pixels around the nodules are a small part of a slice, and hold every mark and dispute."""
    arrays = data.load(data.cases(real_data("lidc_crops"))[:20])
    near = data.region(arrays, "union", margin=5)
    assert 0.01 < near.mean() < 0.3
    inside = data.restrict(arrays, near)["ratings"]
    assert (inside == 1).sum() == (arrays["ratings"] == 1).sum()
