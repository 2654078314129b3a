"""Split by patient, so that no patient is on both sides."""

from collections.abc import Mapping, Sequence

import numpy as np

from keras_ordseg._checks import ArgumentError, checked_integer
from keras_ordseg.data._cells import cell_text, is_missing, shown_list
from keras_ordseg.data.table import Cases


def split(
    groups: Sequence, fractions: Sequence[float] = (0.7, 0.15, 0.15), seed: int = 0
) -> tuple[np.ndarray, ...]:
    """Split images into parts by group: all images of a group (a patient) land in one part.

    The groups are shuffled, then the largest are placed first, each into the part that lacks most
    images. The same groups and seed give the same split on every machine; the order of the images does not
    matter for where a group lands.

    Args:
        groups: the group of each image, `(N,)`: texts or numbers, none of them missing (None, NaN, NaT or blank).
        fractions: share of the images in each part. What is missing to 1 is in no part.
        seed: 0 or above, of any size; another seed gives another split.

    Returns:
        For each part the ascending indices of its images.

    Raises:
        ValueError: images without a group, fewer groups than parts, or fractions that are not positive or above 1
            in sum.

    >>> from keras_ordseg import data
    >>> train, test = data.split(["ann", "ann", "bob", "cy", "cy", "dee"], (0.5, 0.5))
    >>> train.tolist(), test.tolist()
    ([2, 3, 4], [0, 1, 5])
    """
    groups, fractions = _names(groups), _shares(fractions)
    seed = checked_integer("seed", seed)
    names, member, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    parts = len(fractions)
    if len(names) < parts:
        raise ArgumentError(
            "groups", f"at least {parts} groups for {parts} parts", f"{len(names)} ({shown_list(names)})",
            "use fewer parts", "give finer groups",
        )  # fmt: skip
    rest = 1 - sum(fractions)
    lacking = len(groups) * np.array(fractions + [rest] * (rest > 1e-9))
    filled = np.zeros(len(lacking), dtype=bool)
    filled[parts:] = True  # the rest may stay empty
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-sizes[order], kind="stable")]
    part_of = np.full(len(names), -1)
    for done, group in enumerate(order):
        forced = (~filled).sum() >= len(names) - done
        part = int(np.argmax(np.where(filled & forced, -np.inf, lacking)))
        part_of[group] = part
        lacking[part] -= sizes[group]
        filled[part] = True
    return tuple(np.flatnonzero(part_of[member] == part) for part in range(parts))


def _names(groups):
    """The groups as an array that sorts; texts have one spelling each."""
    if isinstance(groups, str | bytes | Mapping | Cases) or not hasattr(groups, "__iter__"):
        hint = ("give cases.groups",) if isinstance(groups, Cases) else ()
        raise ArgumentError("groups", "one name for each image", type(groups).__name__, *hint)
    # item by item, because an array of ["a", nan] holds the text "nan"
    given = list(groups) if not isinstance(groups, np.ndarray) or groups.ndim == 1 else groups
    names = np.asarray(groups) if isinstance(groups, np.ndarray) else _array(given)
    if names.ndim != 1:
        raise ArgumentError("groups", "one name for each image", f"an array of shape {names.shape}")
    if missing := [row for row, name in enumerate(given) if is_missing(name)]:
        raise ValueError(
            f"groups: expected a group for every image; got none (None, NaN or blank) for {len(missing)} of {len(given)} "
            f"images, at {shown_list(missing)}. Say which group these are of, or leave them out."
        )
    if names.dtype.kind in "biufmM":
        return names
    try:
        return np.array([cell_text(name) for name in given])
    except TypeError as error:
        raise ArgumentError("groups", "one name for each image", str(error)) from None


def _array(given):
    try:
        return np.asarray(given)
    except ValueError:  # rows of several lengths
        raise ArgumentError("groups", "one name for each image", "lists of several lengths") from None


def _shares(fractions):
    try:
        shares = [float(fraction) for fraction in fractions]
    except (TypeError, ValueError):
        raise ArgumentError("fractions", "a list of numbers", repr(fractions)) from None
    if not shares or not all(0 < share <= 1 for share in shares) or sum(shares) > 1 + 1e-9:
        raise ArgumentError("fractions", "positive numbers, at most 1 in sum", repr(tuple(shares)))
    return shares
