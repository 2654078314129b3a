"""Split by patient, so that no patient is on both sides."""

from collections.abc import Sequence

import numpy as np


def split(
    groups: Sequence, fractions: Sequence[float] = (0.7, 0.15, 0.15), seed: int = 0
) -> tuple[np.ndarray, ...]:
    """Split images into parts by group: all images of a group (a patient) land in one part.

    The groups are shuffled, then the largest are placed first, each into the part that lacks most
    images. The same groups and seed give the same split on every machine; the order of the images does not
    matter for where a group lands.

    Args:
        groups: the group of each image, `(N,)`.
        fractions: share of the images in each part. What is missing to 1 is in no part.
        seed: another seed gives another split.

    Returns:
        For each part the ascending indices of its images.

    Raises:
        ValueError: fewer groups than parts, or fractions that are not positive or above 1 in sum.

    >>> from keras_ordseg import data
    >>> train, test = data.split(["ann", "ann", "bob", "cy", "cy", "dee"], (0.5, 0.5))
    >>> train.tolist(), test.tolist()
    ([2, 3, 4], [0, 1, 5])
    """
    groups = np.asarray(groups)
    fractions = [float(fraction) for fraction in fractions]
    if groups.ndim != 1:
        raise ValueError(f"groups must be one name for each image, came an array of shape {groups.shape}")
    if not fractions or not all(0 < fraction <= 1 for fraction in fractions) or sum(fractions) > 1 + 1e-9:
        raise ValueError(f"fractions must be positive and at most 1 in sum, came {tuple(fractions)}")
    names, member, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    parts = len(fractions)
    if len(names) < parts:
        raise ValueError(
            f"{parts} parts need at least {parts} groups, came {len(names)} "
            f"({', '.join(map(str, names[:5]))}); use fewer parts, or give finer groups"
        )
    rest = 1 - sum(fractions)
    lacking = len(groups) * np.array(fractions + [rest] * (rest > 1e-9))
    filled = np.zeros(len(lacking), dtype=bool)
    filled[parts:] = True  # the rest may stay empty
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-sizes[order], kind="stable")]
    part_of = np.empty(len(names), dtype=np.int64)
    for done, group in enumerate(order):
        forced = (~filled).sum() >= len(names) - done
        part = int(np.argmax(np.where(filled & forced, -np.inf, lacking)))
        part_of[group] = part
        lacking[part] -= sizes[group]
        filled[part] = True
    return tuple(np.flatnonzero(part_of[member] == part) for part in range(parts))
