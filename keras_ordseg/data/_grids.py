"""Where the voxels of a volume lie in the world: whether that is known, and whether a mask lies on its image."""

from dataclasses import dataclass
from itertools import product

import numpy as np

from keras_ordseg.data._errors import DataError
from keras_ordseg.data._numbers import differing

_APART = 0.1  # of the smallest side of a voxel: below it, two grids are one grid with another rounding


@dataclass(frozen=True)
class Grid:
    """The voxels of a file.

    Args:
        affine: `(4, 4)`, from voxel to world in mm.
        spacing: Sides of a voxel in mm, `(3,)`.
        shape: Voxels along the first three axes.
        other: The affine of the qform, if it is stored too and is another one than that of the sform.
    """

    affine: np.ndarray
    spacing: np.ndarray
    shape: tuple[int, ...]
    other: np.ndarray | None = None

    def apart(self, affine):
        """Returns how far the same voxel lies from where another affine puts it, in mm: the largest of all corners."""
        corners = [(*corner, 1) for corner in product(*((0, max(side - 1, 0)) for side in self.shape))]
        return float(np.linalg.norm((np.array(corners) @ (self.affine - affine).T)[:, :3], axis=1).max())

    @property
    def limit(self):
        return _APART * self.spacing[: len(self.shape)].min()


def checked_grid(affine, spacing, shape, other=None):
    """Returns a `Grid`.

    Raises:
        DataError: An affine that is not finite, or maps two voxels onto one place.
    """
    shape = tuple(shape[:3]) + (1,) * (3 - len(shape))
    used = [axis for axis in range(3) if shape[axis] > 1]  # a single slice often has no third side
    affine = np.array(affine, np.float64)
    if not (np.isfinite(affine).all() and np.isfinite(spacing).all()):
        raise DataError("its affine is not finite (NaN or infinite); mend its header")
    columns = affine[:3, used]
    sides = np.linalg.norm(columns, axis=0)
    if not (sides > 0).all() or np.linalg.matrix_rank(columns / sides, 1e-6) < len(used):
        rows = "; ".join(" ".join(f"{number:g}" for number in row) for row in affine[:3])
        raise DataError(f"its affine is singular, two voxels lie at one place (rows {rows}); mend its header")
    spacing = np.where(np.array(spacing) > 0, spacing, 1.0)
    spacing[used] = np.where(np.array(spacing)[used] > 0, np.array(spacing)[used], sides)
    return Grid(affine, spacing, shape, other)


def compare(image, mask):
    """Returns why a mask does not lie on its image, or None."""
    far = image.apart(mask.affine)
    if far <= image.limit:
        return None
    text = f"another affine than its image: {_difference(image, mask)}; the same voxel lies up to {far:.4g} mm apart"
    for name, grid, theirs in (("its image's", image, mask.affine), ("its own", mask, image.affine)):
        if grid.other is not None and Grid(theirs, grid.spacing, grid.shape).apart(grid.other) <= image.limit:
            text += f" ({name} qform would fit, and its sform, which is read, does not)"
    return text + "; resample the mask to the image, or mend its header"


def _difference(image, mask):
    import nibabel

    codes = ["".join(code or "?" for code in nibabel.aff2axcodes(grid.affine)) for grid in (mask, image)]
    if codes[0] != codes[1]:
        return f"its axes point {codes[0]}, those of its image {codes[1]}"
    if (np.abs(image.spacing - mask.spacing) * np.array(image.shape)).max() > image.limit:
        theirs, own = (text[1:-1].replace(", ", "x") for text in differing(mask.spacing, image.spacing))
        return f"its voxels are {theirs}, those of its image {own}"
    degrees = _turn(image.affine, mask.affine)
    if degrees > 1e-3:
        return f"it is turned by {degrees:.3g} degrees"
    theirs, own = differing(mask.affine[:3, 3], image.affine[:3, 3])
    return f"it lies elsewhere: origin {theirs}, that of its image {own}"


def _turn(one, other):
    """The angle between two affines, in degrees."""
    one, other = (np.linalg.svd(affine[:3, :3]) for affine in (one, other))
    turn = (one[0] @ one[2]).T @ (other[0] @ other[2])
    sine = np.linalg.norm(turn - turn.T) / np.sqrt(8)
    return float(np.degrees(np.arctan2(sine, (np.trace(turn) - 1) / 2)))
