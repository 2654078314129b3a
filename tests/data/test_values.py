"""What the numbers of masks, votes and images mean: a rounding is none, another label is never nothing."""

import warnings

import numpy as np
import pytest
from PIL import Image

from keras_ordseg import data
from keras_ordseg.data._numbers import differing, integers, number, shown
from keras_ordseg.data._values import Reading, to_image, to_mask, to_slots

nib = pytest.importorskip("nibabel")

SQUARE = np.zeros((6, 5), np.uint8)
SQUARE[1:3, 1:4] = 1


@pytest.fixture
def panel(tmp_path, rng):
    """`panel(first, second)` writes masks of two raters for each of `cases` images, and lists the cases."""

    def write(first, second, cases=3, **options):
        for case in range(cases):
            np.save(tmp_path / f"{case}_image.npy", rng.random((6, 5), np.float32))
            for rater, masks in ((1, first), (2, second)):
                np.save(tmp_path / f"{case}_rater{rater}.npy", masks[case] if isinstance(masks, list) else masks)
        return data.cases(tmp_path, "*_image.npy", "*_rater{r}.npy", **options)

    return write


def marks(cases):
    return (data.load(cases)["ratings"] == 1).sum((0, 1, 2)).tolist()


class TestRounding:
    """Labels and votes that a scale has moved by a rounding are these labels; anything else is shown with its digits."""

    @pytest.mark.parametrize("slope", [1 / 255, 3 / 255, 1 / 3, 0.1, 7.3e-5])
    @pytest.mark.parametrize("intercept", [0, -1, 1])
    def test_integers_through_float32_scales(self, slope, intercept):
        wanted = np.arange(-1, 5)
        raw = (wanted - intercept) / np.float64(np.float32(slope))
        values = raw * np.float32(slope) * (1 + 6e-8) + intercept
        np.testing.assert_array_equal(integers(values), wanted)
        np.testing.assert_array_equal(integers(values.astype(np.float32)), wanted)

    @pytest.mark.parametrize("value", [0.999, 1.00001, 0.5, 1 - 1e-5, 2.9999])
    def test_more_than_a_rounding(self, value):
        assert integers(np.array([value]))[0] == value
        with pytest.raises(data.DataError, match=rf"no label map: it holds 2 values \(0, {value}\) where integers"):
            to_mask(np.array([0, value]), Reading(label=(1,)))
        with pytest.raises(data.DataError, match=rf"no votes: it holds 2 values \(0, {value}\)"):
            to_slots(np.array([0, value]), 3)

    def test_a_mask_of_one_value_may_be_any(self):
        for value in (0.5, np.float32(0.9999999), 3.0, 7.25):
            mask, found = to_mask(SQUARE * value, Reading())
            np.testing.assert_array_equal(mask, SQUARE)
        mask, _ = to_mask(np.array([0, 0.5, 0.50000006, 1e-9]), Reading())
        assert mask.tolist() == [0, 1, 1, 0]

    def test_marks_that_vanish_by_rounding_are_refused(self):
        with pytest.raises(data.DataError, match="its largest number 1e-08 is a rounding of 0"):
            to_mask(SQUARE * 1e-8, Reading())

    def test_votes_and_voids(self):
        slots = to_slots(np.array([0, 1.00000004, 3.0000001, 254.99999, -1]), 3, (255,))
        assert slots.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 1], [-1] * 3, [-1] * 3]
        assert to_slots(np.array([0, 255], np.uint8), 2, (255,)).tolist() == [[0, 0], [-1, -1]]
        with pytest.raises(data.DataError, match="if 255 means that nobody rated, give void=255$"):
            to_slots(np.array([0, 255], np.uint8), 2)
        with pytest.raises(data.DataError, match=r"2 values \(0, nan\)"):
            to_slots(np.array([0, np.nan]), 2)

    def test_images(self):
        image = to_image(np.array([-6e-8, 0.5, 1.00000006]))
        assert (image.dtype, image.tolist()) == (np.float32, [0, 0.5, 1])
        for value in (1.00001, -1e-5):
            with pytest.raises(data.DataError, match=rf"spans \[{min(value, 0)}, {max(value, 0)}\] where \[0, 1\]"):
                to_image(np.array([0, value]))

    def test_nibabel_saves_floats_in_8_bits(self, tmp_path, rng):
        """Label maps, votes and images that nibabel scales when it stores them: what comes back is what was there."""
        values, votes = rng.random((6, 5, 4)), rng.integers(0, 4, (6, 5, 4))
        values[0, 0, 0], values[1, 1, 1], votes[0, 0, 0] = 0, 1, 3
        for name, array in (("image", values), ("votes", votes), ("rater1", votes)):
            file = nib.Nifti1Image(array.astype(float), np.eye(4))
            file.set_data_dtype(np.uint8)
            nib.save(file, tmp_path / f"a_{name}.nii.gz")
        counted = data.load(data.cases(tmp_path, "*_image.nii.gz", votes="*_votes.nii.gz", num_raters=3))
        np.testing.assert_array_equal((counted["ratings"][0] == 1).sum(-1), votes)
        np.testing.assert_allclose(counted["image"][0, ..., 0], values, atol=1 / 255)
        labelled = data.load(data.cases(tmp_path, "*_image.nii.gz", "*_rater{r}.nii.gz", label=(1, 3)))
        np.testing.assert_array_equal(labelled["ratings"][0, ..., 0], votes % 2)


def test_numbers_are_shown_with_the_digits_that_matter():
    assert number(np.float32(0.9999999)) == "0.9999999"
    assert [number(v) for v in (1.0, np.uint8(255), 16711680, 0.1, np.float32(0.1), np.True_)] == [
        *("1", "255", "16711680", "0.1", "0.1", "1")
    ]
    assert shown(np.array([1, 0.9999999])) == "2 values (0.9999999, 1)"
    assert differing(np.array([1033.333, 2]), np.array([1033.3331, 2])) == ["(1033.333, 2)", "(1033.3331, 2)"]


class TestLabels:
    """A label that a rater's files do not hold: refused where the numbers prove a misreading, else said."""

    @pytest.mark.parametrize("other, text", [(1, "1"), (254, "254"), (True, "1"), (-2, "-2")])
    def test_a_rater_who_writes_another_value(self, panel, other, text):
        first = SQUARE > 0 if other is True else SQUARE.astype(np.int16) * other
        cases = panel(first, SQUARE * np.uint8(255), label=255)
        message = (
            rf"rater 1 marks nothing: none of their 3 masks holds label=255, and beside 0 they hold {text} \(as "
            rf"0_rater1.npy\); if that is their mark, give label=\(255, {text}\), or save all masks"
        )
        for part in (cases, cases[:1], cases[1:]):  # proven in a selection too
            with pytest.raises(data.DataError, match=r"rater 1 marks nothing: none of their \d masks? holds label=255"):
                data.load(part)
        with pytest.raises(data.DataError, match=message):
            data.check(cases)

    def test_both_values_as_labels(self, panel):
        assert marks(panel(SQUARE, SQUARE * np.uint8(255), label=(1, 255))) == [18, 18]

    def test_a_label_map_without_this_structure_is_legitimate(self, panel):
        """Rater 2 marks structure 2 alone, which rater 1 knows too: said, and read."""
        both = SQUARE.copy()
        both[5] = 2
        cases = panel(both, np.where(both == 2, 2, 0), label=1)
        with pytest.warns(UserWarning, match=r"rater 2 marks nothing: none of their 3 masks holds label=1, .* they hold 2"):
            assert marks(cases) == [18, 0]

    def test_nothing_found_is_legitimate(self, panel):
        """A rater, or all in a selection, without any mark: no error and no warning."""
        assert marks(panel(SQUARE * 0, SQUARE, label=1)) == [0, 18]
        assert marks(panel([SQUARE * 0, SQUARE, SQUARE], SQUARE * 0, label=1)[:1]) == [0, 0]
        assert marks(panel(SQUARE * 0, SQUARE * 0)) == [0, 0]

    def test_a_selection_on_which_nobody_has_the_label(self, panel):
        two = SQUARE * np.uint8(2)
        cases = panel([SQUARE, two, two], two, label=1)
        with pytest.warns(UserWarning, match="no mask of these cases holds label=1; beside 0 they hold 2"):
            assert marks(cases[1:]) == [0, 0]
        with pytest.raises(data.DataError, match="no mask holds label=7; beside 0 they hold 1, 2"):
            data.check(panel([SQUARE, two, two], two, label=7))

    def test_ignored_pixels_of_8_bits(self, panel):
        """-1 is 255 in 8 bits: background if nobody says otherwise."""
        masks = SQUARE.copy()
        masks[0] = 255
        with pytest.warns(UserWarning, match="255 is read as not marked by label=1; .* give void=255"):
            data.load(panel(masks, masks, label=1))
        assert (data.load(panel(masks, masks, label=1, void=255))["ratings"][0, 0] == -1).all()
        grey = np.where(SQUARE, 128, 255).astype(np.uint8)  # as REFUGE has it: 255 is the background
        assert marks(panel(grey, grey, label=128)) == [18, 18]

    def test_arguments_that_contradict(self, panel):
        for options, message in (
            ({"label": -1}, r"label: expected values other than -1, .*; got -1\. Store marks as 1\."),
            ({"label": (1, -1)}, "label: expected values other than -1"),
        ):
            with pytest.raises(ValueError, match=message):
                panel(SQUARE, SQUARE, **options)
        for options, message in (
            ({"label": 2}, r"label: expected no label with votes, .*; got 2\. Leave it out\."),
            ({"void": 2}, r"void: expected .* no counts of 0 to 3; got \[2\]"),
        ):
            with pytest.raises(ValueError, match=message):
                data.cases(".", votes="*_votes.png", num_raters=3, **options)


class TestMarks:
    """Masks without label=: the one value that is not 0, over all files of a rater."""

    def test_full_values_of_several_tools_are_one_mark(self, panel):
        masks = [SQUARE, SQUARE * np.uint8(255), SQUARE * np.uint16(65535)]
        assert marks(panel(masks, [SQUARE > 0, SQUARE, SQUARE * 1.0])) == [18, 18]

    @pytest.mark.parametrize("other", [2, 254, 0.5])
    def test_two_values_of_one_rater(self, panel, other):
        cases = panel([SQUARE, SQUARE * other, SQUARE], SQUARE)
        message = rf"masks of rater 1 are marked by different values: 0_rater1.npy by 1, 1_rater1.npy by {other}; say which"
        with pytest.raises(data.DataError, match=message):
            data.check(cases)
        with pytest.warns(UserWarning, match=rf"different values \(rater 1 by {other}, rater 2 by 1\)"):
            assert marks(cases[1:2]) == [6, 6]

    def test_raters_with_a_value_each(self, panel):
        with pytest.warns(UserWarning, match=r"different values \(rater 1 by 1, rater 2 by 2\).* give label="):
            assert marks(panel(SQUARE, SQUARE * np.uint8(2))) == [18, 18]

    def test_full_and_inverted_masks(self, panel):
        assert marks(panel(np.full((6, 5), 255, np.uint8), (1 - SQUARE) * np.uint8(255))) == [90, 72]

    @pytest.mark.parametrize("dtype", ["int8", "int16", "float32"])
    def test_nothing_but_0_and_minus_1(self, panel, dtype):
        """255 read as int8; or a rater who left some pixels out and marked nothing."""
        masks = -SQUARE.astype(dtype)
        for label in (None, 1):
            with pytest.warns(UserWarning, match=r"rater 1 marks nothing: their 3 masks hold 0 and -1 .* alone"):
                assert marks(panel(masks, SQUARE, label=label)) == [0, 18]

    def test_negative_marks(self, panel):
        with pytest.raises(data.DataError, match="0_rater1.npy: it is marked by -2, .* means with label= or void="):
            data.check(panel(SQUARE * np.int8(-2), SQUARE))
        assert (data.load(panel(SQUARE * np.int8(-2), SQUARE, void=-2))["ratings"][..., 0] == -1).sum() == 18

    def test_colours_of_16_bits_are_not_cut(self, tmp_path):
        """300 and 44 differ in their upper byte alone."""
        Image.fromarray(SQUARE).save(tmp_path / "a_image.png")
        Image.fromarray(SQUARE.astype(np.uint16) * 300 + np.uint16(44) * (SQUARE == 0)).save(tmp_path / "a_rater1.png")
        with pytest.raises(data.DataError, match=r"not a binary mask: it holds 2 values \(44, 300\)"):
            data.load(data.cases(tmp_path))
        assert marks(data.cases(tmp_path, label=300)) == [6]

    def test_every_problem_at_once(self, panel):
        """A damaged case does not hide what is wrong with a rater."""
        cases = panel([SQUARE, SQUARE * np.uint8(2), SQUARE * np.nan], SQUARE)
        with pytest.raises(data.DataError) as caught:
            data.check(cases)
        assert [text.partition(":")[0] for text in caught.value.problems] == [
            "2_rater1.npy",
            "the masks of rater 1 are marked by different values",
        ]


def test_a_batch_that_lacks_the_label_is_no_news(panel):
    """What was judged over all cases is not judged again for every batch."""
    cases = panel([SQUARE, SQUARE * np.uint8(2), SQUARE * np.uint8(2)], SQUARE, label=1)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        sequence = data.PyDataset(cases, 1, "ratings", shuffle=False, ahead=0)
        for index in range(len(sequence)):
            sequence[index]
    assert [str(one.message) for one in seen if "keras" not in one.filename] == []


class TestJpeg:
    def save(self, folder, name, array):
        Image.fromarray(array).save(folder / name, quality=60)

    def test_labels_blur(self, tmp_path):
        mask = np.zeros((32, 32), np.uint8)
        mask[5:20, 3:17] = 255
        self.save(tmp_path, "a_image.png", mask)
        self.save(tmp_path, "a_rater1.jpg", mask)
        with pytest.warns(UserWarning, match="a_rater1.jpg is a JPEG, which blurs labels: beside label=255 it holds other"):
            data.load(data.cases(tmp_path, ratings="*_rater{r}.jpg", label=255))

    def test_counts_are_not_read_of_it(self, tmp_path):
        self.save(tmp_path, "a_image.png", SQUARE)
        self.save(tmp_path, "a_votes.jpg", SQUARE)
        with pytest.raises(data.DataError, match="a_votes.jpg: is a JPEG, which changes counts; save votes as PNG"):
            data.load(data.cases(tmp_path, votes="*_votes.jpg", num_raters=2))


def test_arrays_too_show_what_is_too_much():
    image = np.ones((1, 4, 4, 1))
    image[0, 0, 0] = 1.0000001
    with pytest.raises(data.DataError, match=r"the image spans \[1, 1.0000001\] where \[0, 1\] is expected"):
        data.check_arrays({"image": image, "ratings": np.zeros((1, 4, 4, 2), np.int8)})
