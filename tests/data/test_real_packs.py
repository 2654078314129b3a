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
    cases = data.find_cases(folder)
    assert (cases.num_raters, len(cases), cases.num_absent, cases.unmatched) == (num_raters, images, 0, ())
    with (folder / "index.csv").open(newline="") as file:
        index = {row["id"]: row for row in csv.DictReader(file)}
    assert [case.group for case in cases] == [index[case.id]["group"] for case in cases]
    assert len({case.group for case in cases}) == groups
    items = cases if images < 100 else data.Cases(cases.path, cases.raters, cases[:60])
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
        data.load(data.find_cases(real_data("bubil_fluo_crowd")))


def test_resized_sets_of_mixed_sizes_are_rated_everywhere(real_data):
    arrays = data.load(data.find_cases(real_data("bubil_fluo_crowd")), size=48, fit="resize")
    assert arrays["ratings"].shape == (72, 48, 48, 7)
    assert arrays["ratings"].min() == 0


def test_split_by_patient(real_data):
    cases = data.find_cases(real_data("lidc_crops"))
    groups = np.array([case.group for case in cases])
    parts = data.split(groups)
    assert [len(part) for part in parts] == [630, 135, 135]
    assert len(set.union(*(set(groups[part]) for part in parts))) == sum(
        len(set(groups[part])) for part in parts
    )
