import numpy as np
import pytest
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from PIL import Image
from scipy.ndimage import gaussian_filter

from keras_ordseg import plots
from keras_ordseg.serving._signatures import contours, summary


def disc(radii, size=40):
    """Levels of raters who draw discs of these radii, blurred a little."""
    distance = np.hypot(*np.mgrid[: size // 2 * 2, : size // 2 * 2] - size // 2 + 0.5)
    votes = sum((distance < radius).astype(int) for radius in radii)
    levels = np.stack([gaussian_filter((votes == k).astype(float), 0.7) for k in range(len(radii) + 1)], -1)
    return levels / levels.sum(-1, keepdims=True)


def drawn(figure):
    """The band (or None) and the lines."""
    sets = [artist for artist in figure.axes[0].get_children() if isinstance(artist, ContourSet)]
    return next((s for s in sets if s.filled), None), [s for s in sets if not s.filled]


def mean_radius(line):
    return np.hypot(*(np.concatenate([path.vertices for path in line.get_paths()]) - 19.5).T).mean()


def test_every_quorum_has_its_line_and_the_band_lies_between():
    """Radii 15, 10 and 6: the first contour is the largest disc."""
    figure = plots.confidence_ribbon(np.zeros((40, 40)), disc([6, 10, 15]))
    band, lines = drawn(figure)
    assert [mean_radius(line) for line in lines] == pytest.approx([15, 10, 6], abs=0.3)
    radii = np.hypot(*(np.concatenate([path.vertices for path in band.get_paths()]) - 19.5).T)
    assert (radii.min(), radii.max()) == pytest.approx((6, 15), abs=0.6)


def test_the_numbers_are_those_that_are_served(rng):
    levels = rng.dirichlet([1, 1, 1, 1], (30, 20))
    logits = np.log(levels)[None].astype("float32")
    figure = plots.confidence_ribbon(np.zeros((30, 20)), levels, spacing=(0.5, 0.2))
    served = {**contours(logits, 0.1), **summary(logits, 0.1)}
    area, low, high = (float(served[name][0]) for name in ("area", "area_low", "area_high"))
    assert figure.axes[0].get_xlabel() == (
        f"area {area:.4g} ({low:.4g} to {high:.4g}) mm²\ndisputed {100 * float(served['disputed_share'][0]):.0f} %"
    )


def test_nothing_and_no_dispute():
    empty = np.zeros((10, 10, 4))
    empty[..., 0] = 1
    figure = plots.confidence_ribbon(np.zeros((10, 10)), empty)
    assert drawn(figure) == (None, [])
    assert "no pixel that a rater is expected to mark" in figure.axes[0].get_xlabel()
    names = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert names == ["any rater: none", "at least 2: none", "all 3: none", "ribbon"]
    single = np.stack([1 - disc([8])[..., 1], disc([8])[..., 1]], -1)
    figure = plots.confidence_ribbon(np.zeros((40, 40, 3)), single, legend=False, title="K = 1")
    assert drawn(figure)[0] is None
    assert len(drawn(figure)[1]) == 1


def test_structure_at_the_border_and_margin():
    """A structure that leaves the image has a closed line, and the margin stops at the border."""
    levels = np.zeros((20, 30, 3))
    levels[..., 0] = 1
    levels[:6, :9] = [0, 0, 1]
    figure = plots.confidence_ribbon(np.zeros((20, 30)), levels, margin=2)
    ax = figure.axes[0]
    assert (ax.get_xlim(), ax.get_ylim()) == ((-0.5, 10.5), (7.5, -0.5))
    (path,) = drawn(figure)[1][0].get_paths()
    np.testing.assert_array_equal(path.vertices[0], path.vertices[-1])


def test_own_axes_and_a_real_image(real_data):
    folder = real_data("cryonuseg")
    with Image.open(folder / "0001_image.png") as picture:
        image = np.asarray(picture) / 255
    masks = []
    for r in (1, 2, 3):
        with Image.open(folder / f"0001_rater{r}.png") as picture:
            masks.append(np.asarray(picture) > 0)
    votes = np.sum(masks, axis=0)
    levels = np.stack([gaussian_filter((votes == k).astype(float), 0.8) for k in range(4)], -1)
    own = Figure()
    ax = own.subplots()
    assert plots.confidence_ribbon(image, levels / levels.sum(-1, keepdims=True), ax=ax, title="Own") is own
    assert ax.get_title() == "Own"
    assert len(drawn(own)[1]) == 3


@pytest.mark.parametrize(
    "arguments,options,message",
    [
        ((np.zeros((4, 4)), np.zeros((5, 4, 3))), {}, "`levels` must have shape"),
        ((np.zeros((4, 4)), np.ones((4, 4, 1))), {}, "`levels` must have shape"),
        ((np.zeros((4, 4)), np.ones((4, 4, 3))), {}, "sum to 1.*not logits"),
        ((np.zeros((4, 4)), np.full((4, 4, 2), np.nan)), {}, "sum to 1"),
        ((np.full((4, 4), 200), disc([1], 4)), {}, r"\[0, 1\]"),
        ((np.zeros((4, 4)), disc([1], 4)), {"spacing": (1, 0)}, "`spacing` must be two distances"),
        ((np.zeros((4, 4)), disc([1], 4)), {"margin": -1}, "`margin` must be"),
    ],
)
def test_wrong_input(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        plots.confidence_ribbon(*arguments, **options)
