"""Structures that lie inside one another: the wiring of their heads, and where they start."""

import numpy as np

from keras_ordseg.layers.head import check_initial_levels
from keras_ordseg.layers.nesting import NestedLevels


def nest(outputs):
    """`{structure: level logits}`, each bounded by the structure before it."""
    nested, outer = {}, None
    for structure, levels in outputs.items():
        outer = nested[structure] = levels if outer is None else NestedLevels(name=structure)([outer, levels])
    return nested


def inside_levels(structures, num_raters, initial_levels):
    """The levels at which each head starts so that the nested outputs start at `initial_levels`.

    `P(own >= t) = P(inner >= t) / P(outer >= t)`, made to fall with t where the frequencies given are not nested.

    Args:
        structures: Names, outermost first.
        num_raters: `{structure: K}`.
        initial_levels: `{structure: K+1 frequencies, or None}`.

    Returns:
        `{structure: K+1 frequencies, or None}`.

    Raises:
        ValueError: For fewer than two structures, or panels of several sizes.
    """
    if len(structures) < 2 or len({num_raters[structure] for structure in structures}) > 1:
        raise ValueError(
            "nested_structures: expected two or more structures, the outermost first, with one number of raters. Received "
            f"structures={structures} with num_raters={[num_raters[structure] for structure in structures]}."
        )
    found, outer = {}, None
    for structure in structures:
        levels = check_initial_levels(initial_levels[structure], num_raters[structure])
        found[structure] = levels
        if levels is None:
            outer = None
            continue
        at_least = np.cumsum(levels[::-1])[::-1]
        if outer is not None:
            own = np.minimum.accumulate(np.minimum(at_least / outer, 1.0))
            found[structure] = (own - np.append(own[1:], 0.0)).tolist()
            at_least = own * outer
        outer = at_least
    return found
