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
    assert np.isnan(result["fleiss_kappa"])
    assert np.isnan(result["pairwise_dice"])
    assert result["marked"].tolist() == [0.5]


@pytest.mark.parametrize("pack", ["cryonuseg", "chase_db1"])
def test_published_statistics_of_a_pack(real_data, pack):
    """The pack's own `stats.json` was made by other code."""
    folder = real_data(pack)
    expected = json.loads((folder / "stats.json").read_text())
    result = raters.agreement(data.load(data.find_cases(folder))["ratings"])
    assert result["num_images"] == expected["images"]
    assert result["pairwise_dice"] == pytest.approx(expected["mean_pairwise_dice"], abs=1e-4)
    assert result["disputed"] == pytest.approx(expected["share_pixels_disagreement"], abs=1e-4)
    assert result["disputed_of_marked"] == pytest.approx(expected["share_of_union_disputed"], abs=1e-4)


def test_errors():
    with pytest.raises(ValueError, match="ratings must be 1, 0 or -1"):
        raters.agreement(np.full((1, 2, 2), 3))
