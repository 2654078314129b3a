"""What a served model answers, as functions of its logits."""

from keras import ops

from keras_ordseg.ops import consensus_probability, level_probabilities, readout_probability
from keras_ordseg.ops.resizing import resize_linear

_TINY = 1e-30  # of a probability before its logarithm


def readouts(logits):
    """The probabilities of `serving_default`, by name.

    Args:
        logits: Level logits `(batch, *spatial, K+1)` or a binary logit `(batch, *spatial, 1)`.

    Returns:
        Dict of float32: `"agreement"`, `"majority"`, `"levels"` and `"at_least"`; of a binary logit `"probability"`.

    >>> sorted(readouts(ops.zeros((1, 4, 4, 3))))
    ['agreement', 'at_least', 'levels', 'majority']
    """
    if logits.shape[-1] == 1:
        return {"probability": readout_probability(logits)}
    return {
        "agreement": readout_probability(logits, "expected"),
        "majority": readout_probability(logits, "majority"),
        "levels": level_probabilities(logits),
        "at_least": ops.stack(_at_least(logits), axis=-1),
    }


def contours(logits, pixel_size=1.0):
    """The nested masks of every quorum, the band between them, and the area with its interval over the levels.

    `masks[..., t-1]` is `P(k >= t) > 1/2`; the ribbon is what the first mask holds and the last one does not: marked by
    some rater, but not by all. `A_t = pixel_size * sum P(k >= t)` is the expected area that at least t raters mark.
    `area = mean_t A_t = pixel_size * sum E[k]/K` is the expected area of a rater drawn at random, the predicted volume of
    `metrics.VolumeCRPS`; `area_low = A_K` is what all raters mark and `area_high = A_1` what any of them marks. The
    expected area of every rater lies between them.

    Args:
        logits: Level logits `(batch, *spatial, K+1)` or a binary logit `(batch, *spatial, 1)`.
        pixel_size: Length, area or volume of one pixel or voxel. Default 1, so that areas are in pixels.

    Returns:
        Dict: `"masks"` uint8 `(batch, *spatial, K)`, `"ribbon"` uint8 `(batch, *spatial)`, `"area"`, `"area_low"` and
        `"area_high"` float32 `(batch,)`. Of a binary logit `"masks"` `(batch, *spatial, 1)` and `"area"`.

    >>> found = contours(ops.log(ops.convert_to_tensor([[[0.1, 0.3, 0.6]], [[0.3, 0.4, 0.3]]])))    # K = 2, two images
    >>> found["masks"][:, 0].tolist() if hasattr(found["masks"], "tolist") else found["masks"][:, 0].numpy().tolist()
    [[1, 1], [1, 0]]
    >>> [int(x) for x in found["ribbon"][:, 0]]
    [0, 1]
    """
    at_least = _at_least(logits)
    areas = _areas(at_least, pixel_size)
    masks = [at_least[0] > 0.5]
    for probability in at_least[1:]:  # nested also where rounding takes neighbours to either side of 1/2
        masks.append(ops.logical_and(masks[-1], probability > 0.5))
    result = {"masks": ops.cast(ops.stack(masks, axis=-1), "uint8"), "area": ops.mean(areas, axis=-1)}
    if logits.shape[-1] > 1:
        ribbon = ops.logical_and(masks[0], ops.logical_not(masks[-1]))
        result |= {
            "ribbon": ops.cast(ribbon, "uint8"),
            "area_low": areas[:, -1],
            "area_high": areas[:, 0],
        }
    return result


def summary(logits, pixel_size=1.0, review_threshold=0.5):
    """Numbers for each image: the expected area, its spread, how much of it is disputed, and whether to look again.

    `expected_area` is the `area` of `contours`, and `area_sd = sqrt(mean_t (A_t - area)^2)` over t = 1..K: the spread of
    the raters' expected areas if their masks lie inside one another, and the largest that it can be. `disputed_share` is
    the mean of `P(0 < k < K)` over the first contour, the pixels with `P(k >= 1) > 1/2`: of what some rater is expected
    to mark, the share on which they differ, as `raters.agreement` counts it (`"disputed_of_marked"`). It is 0 where that
    contour is empty. `review` is `disputed_share > review_threshold`, and true where the result is not a number.

    Args:
        logits: Level logits `(batch, *spatial, K+1)` or a binary logit `(batch, *spatial, 1)`.
        pixel_size: Length, area or volume of one pixel or voxel. Default 1.
        review_threshold: Default 0.5: the raters are expected to differ on more of the structure than they agree on.

    Returns:
        Dict: `"expected_area"`, `"area_sd"` and `"disputed_share"` float32 `(batch,)`, `"review"` bool `(batch,)`. Of a
        binary logit `"expected_area"`.

    >>> found = summary(ops.log(ops.convert_to_tensor([[[0.1, 0.3, 0.6], [0.3, 0.4, 0.3]]])))        # A_t = 1.6, 0.9
    >>> {name: round(float(value[0]), 4) for name, value in found.items()}
    {'expected_area': 1.25, 'area_sd': 0.35, 'disputed_share': 0.35, 'review': 0.0}
    """
    at_least = _at_least(logits)
    areas = _areas(at_least, pixel_size)
    area = ops.mean(areas, axis=-1)
    result = {"expected_area": area}
    if logits.shape[-1] > 1:
        inside = at_least[0] > 0.5
        differ = ops.where(inside, ops.maximum(at_least[0] - at_least[-1], 0.0), ops.zeros_like(at_least[0]))
        share = ops.divide_no_nan(_sums(differ), _sums(ops.cast(inside, "float32")))
        share = share + 0.0 * area  # not a number where the area is none, however few pixels are inside
        spread = ops.sqrt(ops.mean(ops.square(areas - ops.expand_dims(area, -1)), axis=-1))
        result |= {
            "area_sd": spread,
            "disputed_share": share,
            "review": ops.logical_not(share <= review_threshold),
        }
    return result


def by_structure(function, logits):
    """`function` of one output, or of each in a dict, its results named `<structure>_<name>`."""
    if not isinstance(logits, dict):
        return function(logits)
    return {f"{key}_{name}": x for key, output in logits.items() for name, x in function(output).items()}


def pad_to_multiples(image, multiples):
    """`image` `(batch, *spatial, channels)`, its last row, column … repeated up to the next multiple on each axis."""
    for axis, multiple in enumerate(multiples, 1):
        if multiple > 1:
            side = ops.shape(image)[axis]
            places = ops.arange((side + multiple - 1) // multiple * multiple, dtype="int32")
            image = ops.take(image, ops.minimum(places, side - 1), axis=axis)
    return image


def cut_to(values, image):
    """`values` `(batch, *spatial, ...)` cut to the sides of `image`."""
    for axis in range(1, len(image.shape) - 1):
        places = ops.arange(ops.shape(image)[axis], dtype="int32")
        values = ops.take(values, places, axis=axis)
    return values


def resized_logits(logits, sides):
    """Logits whose probabilities are those of `logits`, brought to other sides linearly: they are linear in the levels.

    >>> z = ops.log(ops.convert_to_tensor([[[0.2, 0.8], [0.6, 0.4]]]))                    # a row of two pixels
    >>> [round(float(p), 3) for p in ops.softmax(resized_logits(z, (1,)))[0, 0]]
    [0.4, 0.6]
    """
    if logits.shape[-1] > 1:
        return ops.log(ops.maximum(resize_linear(level_probabilities(logits), sides), _TINY))
    both = ops.concatenate([ops.sigmoid(logits), ops.sigmoid(-logits)], axis=-1)
    both = ops.log(ops.maximum(resize_linear(both, sides), _TINY))
    return both[..., :1] - both[..., 1:]


def _at_least(logits):
    """`P(k >= t)` for t = 1..K, a list; of a binary logit its probability."""
    return [consensus_probability(logits, t) for t in range(1, max(logits.shape[-1], 2))]


def _areas(at_least, pixel_size):
    """`A_t`, `(batch, K)`."""
    return pixel_size * ops.stack([_sums(probability) for probability in at_least], axis=-1)


def _sums(x):
    """`(batch, *spatial)` to `(batch,)`, axis by axis: right to 1e-6 at any size without float64, which LiteRT lacks."""
    while len(x.shape) > 1:
        x = ops.sum(x, axis=-1)
    return x
