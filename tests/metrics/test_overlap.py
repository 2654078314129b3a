import math

import numpy as np
import pytest
from sklearn.metrics import f1_score

from keras_ordseg.metrics import ConsensusDice, MultiRaterDice, RankedProbabilityScore, SoftDice
from tests.ops.test_levels import reference_readout, softmax64
from tests.ops.test_scores import reference_rps

SHAPES = [(3, 50), (3, 9, 8), (2, 5, 4, 6)]


def dice64(a, b):
    """scikit-learn's F1 of the flattened masks; both empty is 1."""
    return f1_score(a.ravel(), b.ravel(), zero_division=1.0)


def score(metric, *args):
    metric.update_state(*args)
    return float(metric.result())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("num_raters", [1, 4, 5])
def test_against_scikit_learn(shape, num_raters, rng):
    z = rng.normal(size=(*shape, num_raters + 1)).astype("float32") * 2
    ratings = rng.integers(0, 2, (*shape, num_raters)).astype("int8")
    ratings[0] = 0  # an image that nobody marks
    votes = ratings.sum(-1)
    expected, majority = reference_readout(z, "expected"), reference_readout(z, "majority")
    images = range(shape[0])
    np.testing.assert_allclose(
        score(MultiRaterDice(), ratings, z),
        np.mean(
            [[dice64(expected[i] >= 0.5, ratings[i, ..., r] == 1) for r in range(num_raters)] for i in images]
        ),
        atol=1e-6,
    )
    quorum = math.ceil(num_raters / 2)
    np.testing.assert_allclose(
        score(ConsensusDice(), votes, z),
        np.mean([dice64(majority[i] >= 0.5, votes[i] >= quorum) for i in images]),
        atol=1e-6,
    )
    np.testing.assert_allclose(
        score(ConsensusDice(quorum=1), ratings, z),
        np.mean([dice64(reference_readout(z, 1)[i] >= 0.5, votes[i] >= 1) for i in images]),
        atol=1e-6,
    )
    np.testing.assert_allclose(
        score(ConsensusDice(quorum=1, readout="expected"), ratings, z),
        np.mean([dice64(expected[i] >= 0.5, votes[i] >= 1) for i in images]),
        atol=1e-6,
    )
    thresholds = [k / 10 for k in range(1, 10)]
    np.testing.assert_allclose(
        score(SoftDice(), votes, z),
        np.mean([[dice64(expected[i] > t, votes[i] / num_raters > t) for t in thresholds] for i in images]),
        atol=1e-6,
    )


def test_pooled_over_pixels(rng):
    z = rng.normal(size=(4, 6, 6, 4)).astype("float32")
    ratings = rng.integers(0, 2, (4, 6, 6, 3)).astype("int8")
    p, votes = reference_readout(z, "expected"), ratings.sum(-1)
    for metric, expected in (
        (MultiRaterDice(average="pixels"), dice64(np.repeat(p[..., None] >= 0.5, 3, -1), ratings)),
        (ConsensusDice(average="pixels"), dice64(reference_readout(z, "majority") >= 0.5, votes >= 2)),
        (
            SoftDice((0.2, 0.5), average="pixels"),
            np.mean([dice64(p > t, votes / 3 > t) for t in (0.2, 0.5)]),
        ),
    ):
        for half in (slice(0, 1), slice(1, 4)):
            metric.update_state(ratings[half], z[half])
        np.testing.assert_allclose(float(metric.result()), expected, atol=1e-6)


def test_absent_raters_count_only_where_they_rated():
    """Rater 0 rated both pixels of image 0, rater 1 only the first; image 1 has rater 1 alone; image 2 nobody."""
    ratings = np.array([[[1, 1], [1, -1]], [[-1, 0], [-1, 1]], [[-1, -1], [-1, -1]]], "int8")
    p = np.array([[[0.9], [0.1]], [[0.1], [0.9]], [[0.9], [0.9]]], "float32")
    # image 0: 2/3 with rater 0, 1 with rater 1; image 1: 1; image 2 does not count
    np.testing.assert_allclose(
        score(MultiRaterDice(from_logits=False), ratings, p), (5 / 6 + 1) / 2, atol=1e-6
    )
    # consensus of those present: image 0 (1 of 2, ceil(2/2)=1 -> yes; 1 of 1 -> yes): 2/3; image 1: (no, yes): 1
    np.testing.assert_allclose(
        score(ConsensusDice(from_logits=False), ratings, p), (2 / 3 + 1) / 2, atol=1e-6
    )


def test_weights_of_images_and_pixels(rng):
    p = rng.random((3, 20, 1)).astype("float32")
    ratings = rng.integers(0, 2, (3, 20, 2)).astype("int8")
    each = [score(SoftDice(from_logits=False), ratings[i : i + 1], p[i : i + 1]) for i in range(3)]
    weight = np.array([1.0, 0.0, 3.0])
    np.testing.assert_allclose(
        score(SoftDice(from_logits=False), ratings, p, weight), (each[0] + 3 * each[2]) / 4, atol=1e-6
    )
    region = np.zeros((3, 20))
    region[:, :7] = 1
    np.testing.assert_allclose(
        score(SoftDice(from_logits=False), ratings, p, region),
        score(SoftDice(from_logits=False), ratings[:, :7], p[:, :7]),
        atol=1e-6,
    )


def test_soft_dice_at_a_vote_that_equals_the_threshold():
    """3 of 10 does not exceed 0.3, whatever 0.3 rounds to."""
    ratings = np.zeros((1, 1, 10), "int8")
    ratings[..., :3] = 1
    assert score(SoftDice((0.3,), from_logits=False), ratings, np.array([[[0.2]]], "float32")) == 1.0
    assert score(SoftDice((0.29,), from_logits=False), ratings, np.array([[[0.2]]], "float32")) == 0.0


@pytest.mark.parametrize("num_raters", [2, 3, 5, 7, 10])
def test_soft_dice_of_a_model_that_is_certain_of_the_votes(num_raters):
    """1 of 5 is no more than 0.2, neither as a vote nor as the read-out of a model that says so."""
    votes = np.arange(num_raters + 1)[None]
    z = np.where(votes[..., None] == np.arange(num_raters + 1), 60.0, 0.0).astype("float32")
    for thresholds in ([k / 10 for k in range(1, 10)], (0.1, 0.3, 0.5, 0.7, 0.9)):
        assert score(SoftDice(thresholds), votes, z) == 1.0
        p = (votes / num_raters)[..., None].astype("float32")
        assert score(SoftDice(thresholds, from_logits=False, num_raters=num_raters), votes, p) == 1.0


@pytest.mark.parametrize("average", ["images", "pixels"])
@pytest.mark.parametrize("shape", SHAPES)
def test_one_rater(shape, average, rng):
    """A rater's own value; their mean over raters and images is the metric without `rater` where all rated all."""
    z = rng.normal(size=(*shape, 5)).astype("float32")
    ratings = rng.integers(0, 2, (*shape, 4)).astype("int8")
    mask = reference_readout(z, "expected") >= 0.5
    values = [score(MultiRaterDice(rater=r, average=average), ratings, z) for r in range(4)]
    for r, value in enumerate(values):
        if average == "images":
            expected = np.mean([dice64(mask[i], ratings[i, ..., r]) for i in range(shape[0])])
        else:
            expected = dice64(mask, ratings[..., r])
        np.testing.assert_allclose(value, expected, atol=1e-6)
    if average == "images":
        np.testing.assert_allclose(np.mean(values), score(MultiRaterDice(), ratings, z), atol=1e-6)


def test_one_rater_counts_only_where_it_rated():
    """Rater 1 rated half of image 0 and nothing of image 1."""
    ratings = np.array([[[1, 1], [1, -1]], [[0, -1], [1, -1]]], "int8")
    p = np.array([[[0.9], [0.1]], [[0.1], [0.9]]], "float32")
    np.testing.assert_allclose(
        score(MultiRaterDice(rater=0, from_logits=False), ratings, p), (2 / 3 + 1) / 2, atol=1e-6
    )
    assert score(MultiRaterDice(rater=1, from_logits=False), ratings, p) == 1.0
    with pytest.raises(ValueError, match=r"rater: expected a place in 0\.\.1, because y_true has 2 raters"):
        MultiRaterDice(rater=2, from_logits=False).update_state(ratings, p)


def test_votes_do_not_tell_the_raters_apart():
    with pytest.raises(ValueError, match="y_true: MultiRaterDice expects ratings"):
        MultiRaterDice().update_state(np.zeros((1, 4)), np.zeros((1, 4, 3)))


@pytest.mark.parametrize(
    "build,message",
    [
        (lambda: ConsensusDice(quorum="expected"), "quorum: expected 'majority' or an int"),
        (lambda: ConsensusDice(average="image"), "average: expected one of"),
        (lambda: SoftDice(thresholds=()), "thresholds: expected one or more"),
        (lambda: SoftDice(thresholds=(0.5, 1.0)), "thresholds: expected one or more"),
        (lambda: MultiRaterDice(readout="vote"), "readout: expected"),
        (lambda: MultiRaterDice(rater="mean"), "rater: expected None"),
        (lambda: MultiRaterDice(rater=-1), "rater: expected None"),
    ],
)
def test_arguments(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_ranked_probability_score(rng):
    z = rng.normal(size=(4, 30, 6)).astype("float32")
    votes = rng.integers(0, 6, (4, 30))
    expected = reference_rps(votes, softmax64(z), "levels")
    metric = RankedProbabilityScore()
    for part in (slice(0, 1), slice(1, 4)):
        metric.update_state(votes[part], z[part])
    np.testing.assert_allclose(float(metric.result()), expected.mean(), atol=1e-7)
    weight = rng.random(4)
    np.testing.assert_allclose(
        score(RankedProbabilityScore(), votes, z, weight),
        np.average(expected.mean(-1), weights=weight),
        atol=1e-6,
    )
    probabilities = softmax64(z).astype("float32")
    np.testing.assert_allclose(
        score(RankedProbabilityScore(from_logits=False), votes, probabilities), expected.mean(), atol=1e-6
    )
