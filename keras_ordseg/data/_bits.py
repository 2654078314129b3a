"""Ratings as bits: one number a pixel says who marked it, and a second one who did not rate it."""

import numpy as np

MAX_RATERS = 16


def plane_dtype(num_raters):
    """uint8 for up to eight raters, uint16 for up to sixteen."""
    if not 1 <= num_raters <= MAX_RATERS:
        raise ValueError(f"ratings must be those of 1 to {MAX_RATERS} raters to be packed, came {num_raters}")
    return np.uint8 if num_raters <= 8 else np.uint16


def to_planes(ratings):
    """Ratings `(*spatial, K)` as `(planes, *spatial)`: bit r of the first plane is 1 where rater r marked.

    The second plane has bit r set where rater r did not rate, pixel by pixel; a complete panel has no such
    plane. So nothing is lost, and absence costs nothing where there is none.
    """
    dtype = plane_dtype(ratings.shape[-1])
    planes = [ratings == 1]
    if ratings.min(initial=0) < 0:
        planes.append(ratings < 0)
    packed = [np.packbits(plane, axis=-1, bitorder="little") for plane in planes]
    return np.stack(packed).view(np.dtype(dtype).newbyteorder("<"))[..., 0].astype(dtype, copy=False)


def answers(num_raters):
    """int8 `(2^K, K)`: the bits of every number, to look them up."""
    return (np.arange(2**num_raters)[:, None] >> np.arange(num_raters) & 1).astype(np.int8)


def from_planes(planes, num_raters):
    """The ratings again, int8 `(*spatial, K)`."""
    table = answers(num_raters)
    marked = table[planes[0]]
    return marked - table[planes[1]] if len(planes) > 1 else marked
