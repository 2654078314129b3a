"""Distances between the surfaces of two masks: a NumPy function, for whole images after prediction."""

import numpy as np


def surface_distances(prediction, target, spacing=None, tolerance=1.0, percentile=95):
    """Hausdorff distance, its percentile, mean surface distance and surface Dice of two masks.

    The surface of a mask is its pixels with a neighbour across a face (an edge in 2-D) outside the mask or the image.
    With the distances `d(a)` from each surface pixel of one mask to the nearest surface pixel of the other, in both
    directions:

    * `hausdorff`: the largest of all; `hd95`: the larger of the two directions' 95th percentiles;
    * `assd`, average symmetric surface distance: the mean over the pixels of both surfaces together;
    * `nsd`, normalized surface distance (surface Dice): the share of those pixels with `d <= tolerance`.

    Both masks empty: 0, 0, 0 and 1. One of them empty: infinity three times and 0.

    Args:
        prediction: Mask of one image, `(*spatial)`, boolean or 0 and 1; one, two or three axes.
        target: Mask of one rater or of a consensus, same shape.
        spacing: Size of a pixel along each axis, one number for all axes, or None (default) for 1. Distances are in its
            unit.
        tolerance: Distance that `nsd` forgives, in the unit of `spacing`, 0 or more. Default 1.
        percentile: Of `hd95`, in (0, 100]. Default 95.

    Returns:
        A dict of floats: `hausdorff`, `hd95`, `assd`, `nsd`.

    Raises:
        ValueError: For masks that are no masks or differ in shape, or an argument out of range.

    Reference: Maier-Hein et al., *Metrics reloaded*, Nat. Methods 21, 2024; Nikolov et al., J. Med. Internet Res. 23, 2021.

    >>> prediction, target = np.zeros((1, 6)), np.zeros((1, 6))
    >>> prediction[0, 1], target[0, 3] = 1, 1
    >>> surface_distances(prediction, target, spacing=(5.0, 0.5))
    {'hausdorff': 1.0, 'hd95': 1.0, 'assd': 1.0, 'nsd': 1.0}
    """
    from scipy.ndimage import binary_erosion, distance_transform_edt

    prediction, target = _mask(prediction, "prediction"), _mask(target, "target")
    if prediction.shape != target.shape:
        raise ValueError(
            f"target: expected the shape of prediction, {prediction.shape}. Received shape {target.shape}."
        )
    sizes = np.asarray(1.0 if spacing is None else spacing, "float64")
    if sizes.shape not in ((), (prediction.ndim,)) or not (np.isfinite(sizes) & (sizes > 0)).all():
        raise ValueError(
            f"spacing: expected a number above 0, or {prediction.ndim} of them, one for each axis of the masks. "
            f"Received: {spacing!r}."
        )
    if not tolerance >= 0:
        raise ValueError(f"tolerance: expected a number of 0 or more. Received: {tolerance!r}.")
    if not 0 < percentile <= 100:
        raise ValueError(f"percentile: expected a number in (0, 100]. Received: {percentile!r}.")

    if not (prediction.any() and target.any()):
        both_empty = not (prediction.any() or target.any())
        far = 0.0 if both_empty else float("inf")
        return {"hausdorff": far, "hd95": far, "assd": far, "nsd": float(both_empty)}
    # nothing outside the box around both masks is on a surface: whole volumes cost what the structure does
    marked = np.nonzero(prediction | target)
    box = tuple(slice(axis.min(), axis.max() + 1) for axis in marked)
    surfaces = [mask & ~binary_erosion(mask) for mask in (prediction[box], target[box])]
    sizes = np.broadcast_to(sizes, prediction.ndim)
    there = distance_transform_edt(~surfaces[1], sampling=sizes)[surfaces[0]]
    back = distance_transform_edt(~surfaces[0], sampling=sizes)[surfaces[1]]
    every = np.concatenate([there, back])
    return {
        "hausdorff": float(every.max()),
        "hd95": float(max(np.percentile(there, percentile), np.percentile(back, percentile))),
        "assd": float(every.mean()),
        "nsd": float((every <= tolerance * (1 + 1e-9)).mean()),  # 3 pixels of 0.1 are within 0.3
    }


def _mask(x, argument):
    x = np.asarray(x)
    if x.ndim not in (1, 2, 3):
        raise ValueError(
            f"{argument}: expected the mask of one image, with one, two or three axes. Received shape {x.shape}."
        )
    if not ((x == 0) | (x == 1)).all():
        raise ValueError(
            f"{argument}: expected a mask of 0 and 1. Received the value(s) "
            f"{np.unique(x[(x != 0) & (x != 1)])[:5].tolist()}. Compare the probability with a threshold first."
        )
    return x.astype(bool)
