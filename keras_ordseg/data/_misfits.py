"""Why a mask does not belong to its image by its axes: their order, their number, their lengths."""

from keras_ordseg._checks import Problem
from keras_ordseg.data._sources import sides


def misfits(case, masks, image, rank, stored_shape):
    """Yields a source and a problem for each mask whose axes are not those of its image.

    Args:
        case: The case.
        masks: Pairs of a source and the spatial axes of its mask.
        image: The shape of the image as it is stored.
        rank: How many axes of the image are spatial.
        stored_shape: A function from a source to the shape of its whole file.
    """
    named, spatial = set(), with_channels(image, rank)[:-1]
    orders = {source.order: source for source, _ in [*reversed(masks), (case.image, None)] if source.order}
    for source, mask in masks:
        other = next((seen for order, seen in orders.items() if source.order and order != source.order), None)
        if other is not None:
            key = frozenset([source.order, other.order])
        else:  # the raters of one file are wrong together
            key = source.channel is None or (source.file, source.dataset)
        if (other is not None or mask != spatial) and (key is True or key not in named):
            named.add(key)
            yield source, _orders(case, source, other) if other else _lengths(case.image, source, mask, image, stored_shape)


def with_channels(shape, rank):
    """Returns the shape of an image `(*spatial, C)` with `rank` spatial axes, without further axes of 1."""
    shape = list(shape)
    for axis in (rank, -1):
        while len(shape) > rank + 1 and shape[axis] == 1:
            del shape[axis]
    return (*shape, 1) if len(shape) == rank else tuple(shape)


def unsure(case, masks):
    """Returns a sentence where shape and formats leave open which axis comes first, or None."""
    for source, mask in masks:
        if bool(source.order) != bool(case.image.order) and len(mask) > 1 and mask == mask[::-1]:
            ordered, free = (source, case.image) if source.order else (case.image, source)
            if ordered.order.startswith("x"):
                return (
                    f"{ordered.name} lists {ordered.order}, {free.name} may list either, and a shape of {sides(mask)} does "
                    "not tell: it is read as if it listed x first too"
                )
    return None


def colours(case, mask_source, mask, image):
    """Returns a sentence where a mask of equal slices, and its image, are read as a volume of 3 or 4 slices, or None."""
    if case.part or mask_source.order or case.image.order or mask.ndim != 3 or mask.shape != image:
        return None
    repeated = [(mask[..., :1], -1), (mask[:1], 0)]
    if not (mask == 1).any() or not any(mask.shape[a] in (3, 4) and (mask == first).all() for first, a in repeated):
        return None
    return (
        f"{case.image.name} and {mask_source.name} have shape {sides(image)}, read as volumes of three axes; if one of them "
        "is for colours, give the mask one number for each pixel"
    )


def picture_sides(shape):
    """Returns width and height of a picture, as everyone says it; the axes of a volume in the file's order."""
    return sides(shape[::-1] if len(shape) == 2 else shape)


def _orders(case, source, other):
    whose = "its image" if other == case.image else "another rater's mask"
    text = f"its axes are {source.order}, those of {whose} {other.name} {other.order}: one of them would be read transposed"
    return Problem(text, ("save both in one format (pictures are rows first, NIfTI is x first)",))


def _lengths(picture, source, mask, image, stored_shape):
    name, fits = picture.name, [image] if len(image) < 3 else [image, image[:-1]]  # without and with channels
    coloured = len(image) < 4 and image[-1] in (1, 3, 4) and not picture.order.startswith("x")
    whole = stored_shape(source)[source.row is not None :]
    if source.channel is not None and whole[1:] in fits:
        text = f"has shape {whole}, its image {name} {image}; raters go last"
        return Problem(text, ("move the first axis to the end",))
    if image[1:] == mask:
        text = f"the mask has shape {mask}, its image {name} {image}; channels go last"
        return Problem(text, ("move the first axis of the image to the end",))
    if mask[1:] in fits and mask[0] == 1:
        return Problem(f"the mask has shape {mask}, its image {name} {image}", (f"take its one row, {source.name}[0]",))
    if mask[1:] in fits:
        text = f"the mask has shape {mask}, its image {name} {image}; a mask has one number for each pixel"
        return Problem(text, ("if these are raters, move the first axis to the end and name them as [..., {r}]",))
    if mask[:-1] == image or (mask[:-1] in fits and coloured):
        text = f"the mask has shape {mask}, its image {name} {image}; a mask has one number for each pixel"
        return Problem(text, ("if these are raters, name them as [..., {r}]",))
    if not len(mask) <= len(image) <= len(mask) + 1:
        return Problem(f"the mask has shape {mask}, its image {name} {image}; channels go last")
    unit = "pixels, its image" if len(mask) == 2 else "voxels, its image"
    spatial = image[: len(mask)]
    text = f"the mask has {picture_sides(mask)} {unit} {name} has {picture_sides(spatial)}"
    turned = mask == spatial[::-1] and bool(source.order) != bool(picture.order)
    return Problem(text, ("transpose one of them (pictures are rows first, NIfTI is x first)",) if turned else ())
