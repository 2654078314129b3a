import keras
import numpy as np
import pytest
from scipy.special import expit, softmax

from keras_ordseg.layers import OrdinalHead
from keras_ordseg.models import OrdinalSegmenter, small_backbone

LINKS = ("softmax", "cumulative", "nested", "beta_binomial")
SHAPES = [(2, 5, 3), (2, 4, 3, 6), (1, 3, 4, 2, 5)]
LEVELS = np.array([0.9, 0.05, 0.02, 0.02, 0.01])


def levels_of(head, x):
    return softmax(np.asarray(head(x), "float64"), axis=-1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("link", LINKS)
def test_levels_are_a_distribution(link, shape, rng):
    head = OrdinalHead(4, link)
    p = levels_of(head, rng.normal(size=shape).astype("float32") * 5)
    assert p.shape == (*shape[:-1], 5)
    assert np.ptp(p, axis=tuple(range(len(shape) - 1))).max() > 0.01  # it does look at the features
    np.testing.assert_allclose(p.sum(-1), 1, atol=1e-6)
    channels = {"softmax": 5, "cumulative": 1, "nested": 4, "beta_binomial": 2}[link]
    assert head.kernel.shape == (shape[-1], channels)


@pytest.mark.parametrize("num_raters", [1, 2, 4])
@pytest.mark.parametrize("link", LINKS)
def test_head_starts_at_the_prior_exactly(link, num_raters, rng):
    levels = LEVELS[: num_raters + 1] / LEVELS[: num_raters + 1].sum()
    p = levels_of(OrdinalHead(num_raters, link, levels), rng.normal(size=(2, 3, 3, 6)) * 100)
    if link != "beta_binomial" or num_raters == 1:
        np.testing.assert_allclose(p, np.broadcast_to(levels, p.shape), atol=1e-6)
        return
    k = np.arange(num_raters + 1)
    for power in (1, 2):  # two numbers keep two moments; LEVELS spread wider than the binomial
        np.testing.assert_allclose(p @ k**power, (levels @ k**power) * np.ones(p.shape[:-1]), rtol=2e-5)


def test_levels_that_never_occur_stay_possible():
    for link in ("softmax", "cumulative", "nested"):
        p = levels_of(OrdinalHead(3, link, [1, 0, 0, 0]), np.zeros((1, 2, 2, 4)))
        np.testing.assert_allclose(p[0, 0, 0], [1 - 3e-6, 1e-6, 1e-6, 1e-6], rtol=0.05)


def test_raters_that_agree_less_than_by_chance_start_at_the_binomial():
    """Levels (0, 1, 0) of two raters: exactly one always marks. The nearest exchangeable panel is the binomial."""
    p = levels_of(OrdinalHead(2, "beta_binomial", [0, 1, 0]), np.zeros((1, 1, 4)))
    np.testing.assert_allclose(p[0, 0], [0.25, 0.5, 0.25], atol=1e-4)


@pytest.mark.parametrize("link", LINKS)
def test_without_a_prior_levels_start_alike(link):
    np.testing.assert_allclose(levels_of(OrdinalHead(5, link), np.zeros((1, 2, 3)))[0], 1 / 6, atol=1e-6)


def test_cumulative_is_one_score_and_shared_cut_points(rng):
    x = rng.normal(size=(2, 6, 3)).astype("float32")
    head = OrdinalHead(3, "cumulative", [0.4, 0.3, 0.2, 0.1])
    head(x)
    head.kernel.assign(rng.normal(size=(3, 1)))
    score = x.astype("float64") @ np.asarray(head.kernel, "float64")
    at_least = np.array([0.6, 0.3, 0.1])
    expected = expit(score + np.log(at_least / (1 - at_least)))
    p = levels_of(head, x)
    np.testing.assert_allclose(p[..., ::-1].cumsum(-1)[..., ::-1][..., 1:], expected, atol=1e-6)


def test_nested_thresholds_are_in_order_and_free(rng):
    """Any level distribution is within reach: a bias fitted to one gives it."""
    for _ in range(5):
        levels = rng.dirichlet(np.ones(6))
        p = levels_of(OrdinalHead(5, "nested", levels), np.zeros((1, 1, 2)))
        np.testing.assert_allclose(p[0, 0], levels, atol=1e-5)
    head = OrdinalHead(5, "nested")
    x = rng.normal(size=(1, 200, 3)) * 50
    assert (levels_of(head, x) >= 0).all()


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("link", LINKS)
def test_the_prior_is_not_rounded_to_half_precision(link, policy, rng):
    keras.config.set_dtype_policy(policy)
    head = OrdinalHead(1, link, [0.999, 0.001])
    z = head(rng.normal(size=(1, 4, 4, 8)))
    assert keras.backend.standardize_dtype(z.dtype) == "float32"
    np.testing.assert_allclose(softmax(np.asarray(z), -1)[0, 0, 0], [0.999, 0.001], atol=1e-6)


@pytest.mark.parametrize("link", LINKS)
def test_gradients_are_finite_for_pre_activations_of_ten_thousand(link):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the tape is TensorFlow's")
    import tensorflow as tf

    from keras_ordseg.losses import LevelCrossEntropy, OrdinalSegmentationLoss

    head = OrdinalHead(4, link)
    x = tf.constant([[[1e4], [-1e4], [30.0], [0.0]]])
    head(x)
    for sign in (1, -1):
        head.kernel.assign(sign * np.array([[1, -1, 1, -1, 1]])[:, : head.kernel.shape[-1]])
        for loss in (OrdinalSegmentationLoss(), LevelCrossEntropy()):
            for votes in ([[0, 4, 2, 1]], [[4, 0, 1, 3]]):
                with tf.GradientTape() as tape:
                    value = loss(np.array(votes), head(x))
                gradients = tape.gradient(value, [head.kernel.value, head.bias.value])
                assert np.isfinite(value)
                assert all(np.isfinite(g).all() for g in gradients)


def test_beta_binomial_head_reads_any_panel(rng):
    """Levels of the small panel are the large one's, thinned: it is one model of exchangeable raters."""
    from keras_ordseg.ops import thin_levels

    x = rng.normal(size=(2, 4, 4, 5)).astype("float32")
    head = OrdinalHead(3, "beta_binomial", [0.7, 0.1, 0.1, 0.1])
    head(x)
    head.kernel.assign(rng.normal(size=(5, 2)))
    large = head.levels_for(num_raters=8)
    assert large.num_raters == 8
    assert large(x).shape == (2, 4, 4, 9)
    np.testing.assert_allclose(thin_levels(levels_of(large, x).astype("float32"), 3), levels_of(head, x), atol=1e-5)


@pytest.mark.dear
def test_a_whole_model_reads_any_panel(rng, tmp_path):
    backbone = small_backbone((None, None, 1), filters=(4, 8))
    model = OrdinalSegmenter(backbone, 3, link="beta_binomial", initial_levels=[0.7, 0.1, 0.1, 0.1])
    x = rng.normal(size=(1, 8, 8, 1)).astype("float32")
    model.set_weights([rng.normal(size=w.shape) * 0.3 + (w.ndim == 1) for w in model.get_weights()])
    other = model.levels_for(num_raters=5)
    assert other.output_shape == (None, None, None, 6)
    p, q = (softmax(np.asarray(m(x), "float64"), -1) for m in (model, other))
    np.testing.assert_allclose(q @ np.arange(6) / 5, p @ np.arange(4) / 3, atol=1e-5)
    other.save(tmp_path / "other.keras")
    np.testing.assert_allclose(keras.models.load_model(tmp_path / "other.keras")(x), other(x), atol=1e-6)


def test_only_two_numbers_can_be_read_for_another_panel():
    head = OrdinalHead(3, "nested")
    head(np.zeros((1, 2, 4)))
    with pytest.raises(ValueError, match="num_raters: a head with link='nested' knows only its own K=3"):
        head.levels_for(num_raters=5)
    with pytest.raises(ValueError, match="levels_for: the head has no weights yet"):
        OrdinalHead(3, "beta_binomial").levels_for(5)
    with pytest.raises(ValueError, match="num_raters: a model with link='softmax'"):
        OrdinalSegmenter(small_backbone((None, None, 1), filters=(4,)), 3).levels_for(5)
