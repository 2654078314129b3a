"""STAPLE and Dawid–Skene against loops over pixels, SimpleITK, and truths that are known."""

import warnings

import numpy as np
import pytest

from keras_ordseg import raters
from keras_ordseg.raters._patterns import find_patterns


def drawn(rng, shape, sensitivity, specificity, share=0.3):
    """A truth and the ratings of raters who err independently."""
    truth = rng.random(shape) < share
    draws = rng.random((*shape, len(sensitivity)))
    marks = np.where(truth[..., None], draws < sensitivity, draws >= specificity)
    return truth, marks.astype(np.int8)


def by_pixels(labels, num_classes, steps, prior=None):
    """EM pixel by pixel and rater by rater; `prior` of class 1 is kept, or estimated without it."""
    flat = labels.reshape(-1, labels.shape[-1])
    truth = np.zeros((len(flat), num_classes))
    for i, answers in enumerate(flat):
        for c in range(num_classes):
            truth[i, c] = np.mean(answers[answers >= 0] == c)
    for _ in range(steps):
        chance = truth.mean(axis=0) if prior is None else np.array([1 - prior, prior])
        confusion = np.zeros((flat.shape[1], num_classes, num_classes))
        for r in range(flat.shape[1]):
            rated = flat[:, r] >= 0
            for c in range(num_classes):
                for a in range(num_classes):
                    confusion[r, c, a] = truth[rated & (flat[:, r] == a), c].sum() / truth[rated, c].sum()
        for i, answers in enumerate(flat):
            chances = chance.copy()
            for r, a in enumerate(answers):
                chances *= confusion[r, :, a] if a >= 0 else 1
            truth[i] = chances / chances.sum()
    return truth.reshape(*labels.shape[:-1], num_classes), confusion, chance


def staple_by_pixels(ratings, prior=None, steps=400):
    shares = np.where(ratings < 0, np.nan, ratings)
    prior = np.nanmean(shares, axis=-1).mean() if prior is None else prior
    truth, confusion, _ = by_pixels(ratings, 2, steps, prior)
    return truth[..., 1], confusion[:, 1, 1], confusion[:, 0, 0]


class TestStaple:
    @pytest.mark.parametrize("prior", ["global", 0.15])
    def test_absent_raters_by_pixels(self, rng, prior):
        """One rater is absent, and others are for some pixels: their factors and sums leave those out."""
        _, ratings = drawn(rng, (9, 11), [0.9, 0.8, 0.7, 0.85], [0.95, 0.9, 0.8, 0.85])
        ratings[rng.random(ratings.shape) < 0.15] = -1
        ratings[..., 0] = np.abs(ratings[..., 0])  # every pixel is rated
        alone = raters.staple(ratings, prior, tolerance=1e-12)
        probability, sensitivity, specificity = staple_by_pixels(ratings, None if prior == "global" else prior)
        assert alone.converged
        assert alone.probability.dtype == np.float32
        np.testing.assert_allclose(alone.probability, probability, atol=1e-6)
        np.testing.assert_allclose(alone.sensitivity, sensitivity, atol=1e-9)
        np.testing.assert_allclose(alone.specificity, specificity, atol=1e-9)
        more = raters.staple(np.insert(ratings, 2, -1, axis=-1), prior, tolerance=1e-12)
        np.testing.assert_array_equal(more.probability, alone.probability)
        assert np.isnan([more.sensitivity[2], more.specificity[2]]).all()
        np.testing.assert_allclose(np.delete(more.sensitivity, 2), alone.sensitivity, rtol=1e-12)

    @pytest.mark.parametrize("shape", [(50,), (40, 30), (12, 14, 10)])
    @pytest.mark.parametrize("num_raters", [3, 5, 7])
    def test_equals_simpleitk(self, rng, shape, num_raters):
        sitk = pytest.importorskip("SimpleITK")
        truth = np.zeros(shape, bool)
        truth[tuple(slice(side // 4, side // 2) for side in shape)] = True
        p, q = rng.uniform(0.7, 0.95, num_raters), rng.uniform(0.85, 0.98, num_raters)
        draws = rng.random((*shape, num_raters))
        ratings = np.where(truth[..., None], draws < p, draws >= q).astype(np.int8)
        reference = sitk.STAPLEImageFilter()
        reference.SetForegroundValue(1)
        volume = ratings[None] if len(shape) == 1 else ratings  # ITK has no lines
        masks = [sitk.GetImageFromArray(volume[..., r].astype(np.uint8)) for r in range(num_raters)]
        expected = sitk.GetArrayFromImage(reference.Execute(masks)).reshape(shape)
        result = raters.staple(ratings)
        np.testing.assert_allclose(result.probability, expected, atol=1e-6)
        np.testing.assert_allclose(result.sensitivity, reference.GetSensitivity(), atol=1e-9)
        np.testing.assert_allclose(result.specificity, reference.GetSpecificity(), atol=1e-9)

    def test_equals_simpleitk_on_a_real_slice(self, real_data):
        """Raters who disagree as people do."""
        sitk = pytest.importorskip("SimpleITK")
        from PIL import Image as image

        folder = real_data("lidc_crops")
        for case in ("0001", "0061"):
            masks = [np.asarray(image.open(folder / f"{case}_rater{r}.png")) > 0 for r in (1, 2, 3, 4)]
            reference = sitk.STAPLEImageFilter()
            reference.SetForegroundValue(1)
            output = reference.Execute([sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in masks])
            result = raters.staple(np.stack(masks, axis=-1).astype(np.int8))
            np.testing.assert_allclose(result.probability, sitk.GetArrayFromImage(output), atol=1e-6)
            np.testing.assert_allclose(result.sensitivity, reference.GetSensitivity(), atol=1e-6)

    def test_finds_the_errors_of_the_raters(self, rng):
        """20 000 pixels: the standard error of a share of 6 000 is at most 0.0065."""
        p, q = np.array([0.95, 0.8, 0.6, 0.9]), np.array([0.97, 0.9, 0.99, 0.8])
        truth, ratings = drawn(rng, (100, 200), p, q)
        result = raters.staple(ratings, prior=0.3)
        np.testing.assert_allclose(result.sensitivity, p, atol=0.025)
        np.testing.assert_allclose(result.specificity, q, atol=0.025)
        majority = raters.fuse(ratings[None], "majority")[0, ..., 0] == 1
        assert ((result.probability > 0.5) != truth).mean() < 0.8 * (majority != truth).mean()

    def test_pixels_and_raters_in_any_order(self, rng):
        _, ratings = drawn(rng, (60,), [0.9, 0.8, 0.7], [0.9, 0.95, 0.8])
        pixels, who = rng.permutation(60), [2, 0, 1]
        result, moved = raters.staple(ratings), raters.staple(ratings[pixels][:, who])
        np.testing.assert_allclose(moved.probability, result.probability[pixels], rtol=1e-5)
        np.testing.assert_allclose(moved.sensitivity, result.sensitivity[who], rtol=1e-9)

    def test_restricted_to_a_box(self, rng):
        """The same as the crop alone; outside is the consensus."""
        _, ratings = drawn(rng, (8, 9), [0.9, 0.8, 0.7], [0.9, 0.9, 0.8])
        ratings[0, 0] = ratings[-1, -1] = 1  # the box is the whole crop
        padded = np.pad(ratings, ((3, 4), (5, 2), (0, 0)))
        padded[0, 0] = -1
        result, crop = raters.staple(padded, restrict="box"), raters.staple(ratings)
        np.testing.assert_allclose(result.probability[3:11, 5:14], crop.probability, rtol=1e-6)
        np.testing.assert_allclose(result.sensitivity, crop.sensitivity, rtol=1e-12)
        np.testing.assert_allclose(result.specificity, crop.specificity, rtol=1e-12)
        assert result.prior == pytest.approx(crop.prior, rel=1e-12)
        outside = result.probability.copy()
        outside[3:11, 5:14] = 0
        assert np.isnan(outside[0, 0])
        assert np.nansum(outside) == 0
        array = np.zeros((15, 16), bool)
        array[3:11, 5:14] = True
        same = raters.staple(padded, restrict=array)
        np.testing.assert_array_equal(same.probability, result.probability)

    def test_restricted_to_disputed_pixels(self, rng):
        _, ratings = drawn(rng, (20, 20), [0.9, 0.8, 0.7], [0.9, 0.9, 0.8])
        votes = ratings.sum(axis=-1)
        differ = (votes > 0) & (votes < 3)
        result, part = raters.staple(ratings, restrict="disputed"), raters.staple(ratings[differ])
        np.testing.assert_allclose(result.probability[differ], part.probability, rtol=1e-5)
        np.testing.assert_array_equal(result.probability[~differ], votes[~differ] / 3)
        np.testing.assert_allclose(result.sensitivity, part.sensitivity, rtol=1e-9)
        # where an array leaves out disputed pixels, they keep their vote share
        none = raters.staple(ratings, restrict=np.zeros(differ.shape, bool))
        np.testing.assert_array_equal(none.probability, (votes / 3).astype(np.float32))

    @pytest.mark.parametrize("prior", ["global", 0.2])
    @pytest.mark.parametrize("restrict", [None, "box", "disputed"])
    def test_empty_full_and_unanimous(self, prior, restrict):
        """Nothing is iterated, no NaN comes but for raters without a chance, no warning is raised."""
        empty = np.zeros((4, 5, 3), np.int8)
        result = raters.staple(empty, prior, restrict)
        assert (result.probability == 0).all()
        assert np.isnan(result.sensitivity).all()
        assert (result.iterations, result.converged) == (0, True)
        full = raters.staple(empty + 1, prior, restrict)
        assert (full.probability == 1).all()
        assert np.isnan(full.specificity).all()
        half = empty.copy()
        half[:2] = 1
        half[3, 3, 1:] = half[0, 0] = -1
        result = raters.staple(half, prior, restrict)
        expected = half[..., 0].astype(float)
        expected[0, 0] = np.nan
        np.testing.assert_array_equal(result.probability, expected)
        if restrict is None:
            np.testing.assert_array_equal([result.sensitivity, result.specificity], np.ones((2, 3)))

    def test_one_rater_and_two(self, rng):
        ratings = rng.integers(0, 2, (6, 6, 2)).astype(np.int8)
        np.testing.assert_array_equal(raters.staple(ratings[..., :1]).probability, ratings[..., 0])
        with pytest.warns(UserWarning, match="staple: the image has two raters who differ.*not identifiable"):
            raters.staple(ratings)
        with pytest.warns(UserWarning, match="two raters"):
            raters.staple(np.insert(ratings, 1, -1, axis=-1))
        raters.staple(ratings[..., [0, 0]])  # they do not differ

    def test_the_cap_is_said(self, rng):
        _, ratings = drawn(rng, (30, 30), [0.7, 0.6, 0.7], [0.9, 0.8, 0.7])
        with pytest.warns(UserWarning, match="staple: the image has reached max_iterations"):
            result = raters.staple(ratings, max_iterations=4)
        assert (result.iterations, result.converged) == (4, False)
        probability, sensitivity, _ = staple_by_pixels(ratings, steps=4)
        np.testing.assert_allclose(result.probability, probability, atol=1e-6)
        np.testing.assert_allclose(result.sensitivity, sensitivity, rtol=1e-12)

    @pytest.mark.parametrize(
        "kwargs, message",
        [
            ({"prior": "spatial"}, "prior must be 'global' or a number between 0 and 1, came 'spatial'"),
            ({"prior": 1}, "prior must be between 0 and 1, came 1"),
            ({"restrict": "union"}, "restrict must be None, 'disputed', 'box' or a boolean array.* came 'union'"),
            ({"restrict": np.ones((4, 4))}, r"a boolean array \(1, 4, 4\) like the pixels, came float64"),
            ({"tolerance": 0}, "tolerance must be above 0, came 0"),
            ({"max_iterations": 0}, "max_iterations must be 1 or more, came 0"),
        ],
    )
    def test_arguments(self, kwargs, message):
        with pytest.raises(ValueError, match=message):
            raters.staple(np.zeros((4, 4, 3), np.int8), **kwargs)


class TestDawidSkene:
    def test_classes_by_pixels(self, rng):
        """Three classes, absent raters, a rater who confuses two classes."""
        truth = rng.integers(0, 3, 300)
        labels = np.stack([np.where(rng.random(300) < 0.25, rng.integers(0, 3, 300), truth) for _ in range(4)], -1)
        labels[:, 3] = np.where(truth == 2, 1, labels[:, 3])
        labels[rng.random(labels.shape) < 0.1] = -1
        labels[:, 0] = np.maximum(labels[:, 0], 0)
        result = raters.dawid_skene(labels.reshape(20, 15, 4), 3, tolerance=1e-12)
        probability, confusion, prior = by_pixels(labels, 3, 300)
        assert result.probability.shape == (20, 15, 3)
        np.testing.assert_allclose(result.probability.reshape(-1, 3), probability, atol=1e-5)
        np.testing.assert_allclose(result.confusion, confusion, atol=1e-7)
        np.testing.assert_allclose(result.prior, prior, atol=1e-7)
        assert result.confusion[3, 2, 1] > 0.9
        assert (result.probability.argmax(-1).ravel() == truth).mean() > 0.9

    def test_two_classes_are_staple_with_a_prior_that_moves(self, rng):
        _, ratings = drawn(rng, (50, 40), [0.9, 0.8, 0.85], [0.9, 0.95, 0.8])
        result = raters.dawid_skene(ratings, 2)
        same = raters.staple(ratings, prior=float(result.prior[1]), tolerance=1e-10)
        np.testing.assert_allclose(result.probability[..., 1], same.probability, atol=1e-4)
        fused = raters.fuse(ratings[None], "dawid_skene")
        np.testing.assert_allclose(fused[0, ..., 0], result.probability[..., 1], atol=1e-6)

    def test_a_class_that_nobody_names_and_pixels_without_answer(self):
        labels = np.array([[0, 0, 0], [3, 3, 1], [3, 3, 3], [-1, -1, -1]], np.int8)
        result = raters.dawid_skene(labels, 5)
        assert (result.probability[:3, [2, 4]] == 0).all()
        assert np.isnan(result.probability[3]).all()
        # the vote shares 2/3 and 1/3 stay: with W = 1/3, class 1 has weight ρ₁ · 1 = 1/9 there, and class 3 has
        # ρ₃ π₃[3, 1] = (5/9) (2/3) / (5/3) = 2/9
        np.testing.assert_allclose(result.probability[1], [0, 1 / 3, 0, 2 / 3, 0], atol=1e-7)
        assert np.isnan(result.confusion[:, 2]).all()
        assert result.prior.sum() == pytest.approx(1)

    @pytest.mark.parametrize(
        "labels, num_classes, message",
        [
            (np.zeros((3, 2), int), 1, "num_classes must be 2 or more, came 1"),
            (np.full((3, 2), 4), 4, "labels must be 0 to 3, or -1 .did not rate., came values from 4 to 4"),
            (np.zeros((3, 2)), 4, "labels must be integers of 0 to 3, and -1, came float64"),
        ],
    )
    def test_arguments(self, labels, num_classes, message):
        with pytest.raises(ValueError, match=message):
            raters.dawid_skene(labels, num_classes)


class TestManyImages:
    def test_each_image_is_fitted_alone(self, rng):
        """Images of one stack iterate together and stop on their own, as each alone."""
        _, ratings = drawn(rng, (6, 12, 12), [0.9, 0.8, 0.7, 0.8], [0.9, 0.95, 0.8, 0.85])
        ratings[1], ratings[2, ..., 3], ratings[3, :4] = 0, -1, -1
        fused = raters.fuse(ratings, "staple")
        assert (fused.shape, fused.dtype) == ((6, 12, 12, 1), np.float32)
        alone = [raters.staple(image) for image in ratings]
        assert len({result.iterations for result in alone}) > 3
        for image, result in zip(fused[..., 0], alone, strict=True):
            np.testing.assert_allclose(image, result.probability, atol=1e-7)
        boxes = raters.fuse(ratings, "staple", restrict="box", prior=0.4)
        for image, marks in zip(boxes[..., 0], ratings, strict=True):
            np.testing.assert_allclose(image, raters.staple(marks, 0.4, "box").probability, atol=1e-7)

    def test_a_warning_counts_the_images(self, rng):
        ratings = rng.integers(0, 2, (4, 30, 3)).astype(np.int8)
        ratings[:2, :, 1] = -1
        with pytest.warns(UserWarning, match="staple: 2 of 4 images have two raters who differ"):
            raters.fuse(ratings, "staple")

    @pytest.mark.parametrize("num_raters, low", [(14, 0), (11, -1), (45, -1)])
    def test_many_raters(self, rng, num_raters, low):
        """So many patterns that they are numbered anew, and more than a 64-bit code holds."""
        ratings = rng.integers(low, 2, (2, 8, 8, num_raters)).astype(np.int8)
        ratings[0, 0, 0] = ratings[0, 0, 1]
        patterns = find_patterns(ratings)
        found = patterns.by_code(patterns.rows)[patterns.codes]
        np.testing.assert_array_equal(found, ratings.reshape(-1, num_raters))
        assert len(patterns.rows) == len(np.unique(ratings.reshape(-1, num_raters), axis=0))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fused = raters.fuse(ratings, "staple", max_iterations=20)[0, ..., 0]
        if low == 0:
            np.testing.assert_allclose(fused, staple_by_pixels(ratings[0], steps=20)[0], atol=1e-6)
        assert np.isfinite(fused).all()

    def test_progress(self, rng, capsys):
        raters.fuse(rng.integers(0, 2, (3, 20, 3)).astype(np.int8), "staple", progress=True)
        assert capsys.readouterr().err == "\rstaple: 3/3\n"
