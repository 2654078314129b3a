"""What is checked of each case that is read, beside its files: that it fits its row, and that somebody answered."""

import numpy as np

from keras_ordseg._checks import Problem

GEOMETRY = ("affine", "spacing")


def write_row(arrays, row, values):
    """Writes the values of a case into its row, and returns a sentence for each that does not fit there."""
    problems = []
    for name, array in arrays.items():
        value = np.asarray(values[name]) if name in values else None
        if value is None or value.shape != array.shape[1:] or value.dtype != array.dtype:
            have = "none" if value is None else f"{value.dtype} of shape {value.shape}"
            problems.append(f"{name} is {have}, that of the first case {array.dtype} of shape {array.shape[1:]}")
        else:
            array[row] = value
    problems += [f"has {name}, the first case has none" for name in set(values) - set(arrays) - set(GEOMETRY)]
    return problems


def answers(case, ratings, silent):
    """Takes who answered out of `silent`; yields the problem of a whole image that nobody rated."""
    answered = (ratings >= 0).reshape(-1, ratings.shape[-1]).any(axis=0)
    silent.difference_update(np.flatnonzero(answered).tolist())
    if not answered.any() and not case.part:
        yield Problem("no rater rated any pixel: every mask is -1 in every pixel", where=f"case {case.id}")


def mixed_ranks(ranks, cases):
    """A problem for each case that has another number of axes than most: pictures and volumes in one table."""
    usual = max(ranks.values(), key=len, default=())
    for rank, found in ranks.items():
        if found is usual:
            continue
        for case, shape in found:
            sides, most = "x".join(map(str, shape)), "x".join(map(str, usual[0][1]))
            yield Problem(
                f"has {rank} axes ({sides}), most images have {len(usual[0][1])} (as {most})",
                ("keep pictures and volumes in tables of their own, or take .slices() of volumes",),
                where=case.image.shown(cases.path),
            )
