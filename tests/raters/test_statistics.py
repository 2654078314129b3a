"""Agreement statistics against sums written out."""

import json

import numpy as np
import pytest

from keras_ordseg import data, raters


def test_fleiss_1971():
    """Fleiss' own formula on 10 subjects and 6 raters: P = Σ(v² + (n-v)² - n) / (N n (n-1))."""
    votes = np.array([0, 1, 2, 3, 4, 5, 6, 6, 0, 2])
    ratings = (np.arange(6) < votes[:, None]).astype(np.int8)[None]
    observed = (votes**2 + (6 - votes) ** 2 - 6).sum() / (10 * 6 * 5)
    share = votes.mean() / 6
    chance = share**2 + (1 - share) ** 2
    result = raters.agreement(ratings)
    assert result["fleiss_kappa"] == pytest.approx((observed - chance) / (1 - chance), rel=1e-12)
    assert result["disputed"] == 0.6
    assert result["disputed_of_marked"] == 6 / 8
    np.testing.assert_allclose(result["marked"], [(votes > r).mean() for r in range(6)])


def test_absent_raters_by_loops(rng):
    """Every statistic again, pixel by pixel and pair by pair."""
    ratings = rng.integers(-1, 2, (3, 40, 4)).astype(np.int8)
    ratings[1, :, 2] = -1
    agree, share, dice = [], [], []
    for image in ratings:
        for pixel in image:
            answers = pixel[pixel >= 0]
            pairs = [answers[i] == answers[j] for i in range(len(answers)) for j in range(i)]
            agree += [np.mean(pairs)] if pairs else []
            share += [answers.mean()] if answers.size else []
        values = []
        for i in range(4):
            for j in range(i):
                both = (image[:, i] >= 0) & (image[:, j] >= 0)
                a, b = image[both, i], image[both, j]
                values += [2 * (a & b).sum() / (a.sum() + b.sum())] if a.sum() + b.sum() else []
        dice.append(np.mean(values))
    chance = np.mean(share) ** 2 + (1 - np.mean(share)) ** 2
    result = raters.agreement(ratings)
    assert (result["num_images"], result["num_raters"]) == (3, 4)
    assert result["fleiss_kappa"] == pytest.approx((np.mean(agree) - chance) / (1 - chance), rel=1e-12)
    assert result["pairwise_dice"] == pytest.approx(np.mean(dice), rel=1e-12)
    np.testing.assert_allclose(result["present"], (ratings >= 0).mean((0, 1)))
    np.testing.assert_allclose(result["marked"], [r[r >= 0].mean() for r in ratings.reshape(-1, 4).T])


def alpha_by_coincidences(ratings):
    """Krippendorff's own way: the matrix of the pairs of answers within units, each unit's over n - 1."""
    matrix = np.zeros((2, 2))
    for pixel in ratings.reshape(-1, ratings.shape[-1]):
        answers = pixel[pixel >= 0]
        for i in range(len(answers)):
            for j in range(len(answers)):
                if i != j:
                    matrix[answers[i], answers[j]] += 1 / (len(answers) - 1)
    margins = matrix.sum(axis=0)
    total = margins.sum()
    observed = matrix[0, 1] + matrix[1, 0]
    expected = 2 * margins[0] * margins[1] / (total - 1)
    return 1 - observed / expected


class TestKrippendorff:
    def test_two_observers_of_krippendorffs_example(self):
        """Content Analysis, binary data of Jon and Han: α = 0.095 = 1 - 19·4 / (14·6)."""
        jon = [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
        han = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0]
        result = raters.agreement(np.array([np.stack([jon, han], axis=-1)]))
        assert result["krippendorff_alpha"] == pytest.approx(1 - 19 * 4 / (14 * 6), rel=1e-12)

    def test_absent_raters(self, rng):
        ratings = rng.integers(-1, 2, (3, 40, 4)).astype(np.int8)
        ratings[..., 1] = ratings[..., 0]
        ratings[1, :, 2] = -1
        alpha = raters.agreement(ratings)["krippendorff_alpha"]
        assert alpha == pytest.approx(alpha_by_coincidences(ratings), rel=1e-12)
        assert 0.1 < alpha < 0.9

    def test_ends(self):
        ratings = np.zeros((1, 10, 3), np.int8)
        assert np.isnan(raters.agreement(ratings)["krippendorff_alpha"])
        ratings[0, :5] = 1
        assert raters.agreement(ratings)["krippendorff_alpha"] == 1


def test_each_rater_against_staple(rng):
    """Sums over images of `staple`'s probability; an image of two raters does not count, nor do void pixels."""
    truth = rng.random((4, 20, 20)) < 0.3
    ratings = np.where(rng.random((4, 20, 20, 4)) < 0.1, ~truth[..., None], truth[..., None]).astype(np.int8)
    ratings[..., 3] = 0
    ratings[1, ..., 2] = ratings[2, ..., 1:3] = ratings[3, :5, :, 0] = -1
    result = raters.agreement(ratings)
    sums = np.zeros((5, 4))
    for image in ratings[[0, 1, 3]]:
        weight = raters.staple(image).probability.astype(np.float64)
        for r in range(4):
            rated, marked = image[..., r] >= 0, image[..., r] == 1
            sums[:, r] += [
                weight[marked].sum(),
                weight[rated].sum(),
                (1 - weight)[rated & ~marked].sum(),
                (1 - weight)[rated].sum(),
                marked.sum(),
            ]
    np.testing.assert_allclose(result["sensitivity"], sums[0] / sums[1], atol=1e-6)
    np.testing.assert_allclose(result["specificity"], sums[2] / sums[3], atol=1e-6)
    np.testing.assert_allclose(result["volume_ratio"], sums[4] / sums[1], atol=1e-6)
    assert result["images"].tolist() == [4, 3, 2, 4]
    np.testing.assert_allclose(result["volume"], (ratings == 1).sum((0, 1, 2)) / [4, 3, 2, 4])
    assert result["sensitivity"][3] == result["volume_ratio"][3] == 0


def test_dice_of_each_pair(rng):
    """Mean over the images in which a pair has marks; the third marks nothing in the first image."""
    ratings = rng.integers(0, 2, (3, 30, 3)).astype(np.int8)
    ratings[0, ..., 1:] = 0
    matrix = raters.agreement(ratings)["dice_matrix"]
    for i, j, images in ((0, 1, [0, 1, 2]), (0, 2, [0, 1, 2]), (1, 2, [1, 2])):
        values = []
        for image in ratings[images]:
            a, b = image[:, i], image[:, j]
            values.append(2 * (a & b).sum() / (a.sum() + b.sum()))
        assert matrix[i, j] == matrix[j, i] == pytest.approx(np.mean(values), rel=1e-12)
    np.testing.assert_array_equal(np.diag(matrix), 1)


def test_images_one_by_one(rng):
    """A generator of images of several sizes and numbers of axes counts as their pixels together do."""
    images = [rng.integers(-1, 2, shape).astype(np.int8) for shape in ((7, 3), (5, 4, 3), (2, 3, 4, 3))]
    result = raters.agreement(image for image in images)
    pooled = raters.agreement([np.concatenate([image.reshape(-1, 3) for image in images])])
    assert result["num_images"] == 3
    for name in ("fleiss_kappa", "krippendorff_alpha", "disputed", "disputed_of_marked", "marked", "present"):
        np.testing.assert_allclose(result[name], pooled[name], rtol=1e-12)


def test_full_and_no_agreement():
    ratings = np.zeros((1, 10, 3), np.int8)
    result = raters.agreement(ratings)
    assert np.isnan(result["pairwise_dice"])
    assert np.isnan(result["fleiss_kappa"])
    assert np.isnan(result["disputed_of_marked"])
    assert result["disputed"] == 0
    ratings[0, :5] = 1
    assert raters.agreement(ratings)["fleiss_kappa"] == pytest.approx(1)
    opposed = np.stack([ratings[..., 0], 1 - ratings[..., 0]], -1)
    assert raters.agreement(opposed)["fleiss_kappa"] == pytest.approx(-1)
    assert raters.agreement(opposed)["pairwise_dice"] == 0


def test_one_rater():
    result = raters.agreement(np.array([[[1], [0]]], np.int8))
    assert np.isnan([result["krippendorff_alpha"], *result["sensitivity"], *result["specificity"]]).all()
    assert np.isnan(result["fleiss_kappa"])
    assert np.isnan(result["pairwise_dice"])
    assert result["marked"].tolist() == [0.5]


@pytest.mark.parametrize("pack", ["cryonuseg", "chase_db1"])
def test_published_statistics_of_a_pack(real_data, pack):
    """The pack's own `stats.json` was made by other code."""
    folder = real_data(pack)
    expected = json.loads((folder / "stats.json").read_text())
    result = raters.agreement(data.load(data.cases(folder))["ratings"])
    assert result["num_images"] == expected["images"]
    assert result["pairwise_dice"] == pytest.approx(expected["mean_pairwise_dice"], abs=1e-4)
    assert result["disputed"] == pytest.approx(expected["share_pixels_disagreement"], abs=1e-4)
    assert result["disputed_of_marked"] == pytest.approx(expected["share_of_union_disputed"], abs=1e-4)


def test_errors():
    with pytest.raises(ValueError, match="ratings must be 1, 0 or -1"):
        raters.agreement(np.full((1, 2, 2), 3))
    with pytest.raises(ValueError, match=r"ratings must have the same K in all images, came \[2, 3\]"):
        raters.agreement([np.zeros((4, 2), int), np.zeros((4, 3), int)])
    with pytest.raises(ValueError, match="at least one image"):
        raters.agreement([])
    with pytest.raises(ValueError, match="an array or an iterable of arrays, came int"):
        raters.agreement(3)
