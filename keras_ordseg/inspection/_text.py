"""An inspection as text, and the formatted numbers that the page shows too."""

_OVERALL = {
    "fleiss_kappa": ("Fleiss' kappa", 3),
    "krippendorff_alpha": ("Krippendorff's alpha", 3),
    "pairwise_dice": ("pairwise Dice", 3),
    "disputed": ("disputed, of all pixels", "%"),
    "disputed_of_marked": ("disputed, of marked pixels", "%"),
}
RATER = {
    "images": ("images", 0),
    "marked": ("marked", "%"),
    "volume": ("pixels an image", 1),
    "sensitivity": ("sensitivity", 3),
    "specificity": ("specificity", 4),
    "volume_ratio": ("volume / STAPLE", 2),
}


def text(result: dict) -> str:
    """What `inspect` found, as text for a terminal."""
    lines = [
        "{name}: {num_images} images, {num_raters} raters, {num_groups} groups".format_map(result).translate(_VISIBLE)
    ]
    lines += [f"  {name:28s}{value}" for name, value in facts(result)]
    lines += ["", "agreement", *(f"  {name:28s}{value}" for name, value in overall(result))]
    if result["raters"]:
        rows = [["rater", *(head for head, _ in RATER.values())], *by_rater(result)]
        lines += ["", *_aligned(rows), "  (sensitivity, specificity and volume against STAPLE)"]
        names = [row["name"] for row in result["raters"]]
        matrix = [[number(value, 3) for value in row] for row in result["dice_matrix"]]
        rows = [[name, *row] for name, row in zip(names, matrix, strict=True)]
        lines += ["", *_aligned([["Dice", *names], *rows])]
    lines += ["", *(f"note: {note.translate(_VISIBLE)}" for note in result["notes"])] if result["notes"] else []
    return "\n".join(line.rstrip() for line in lines)


def facts(result):
    sizes = ", ".join(f"{size} ({count})" for size, count in result["sizes"].items())
    if len(result["sizes"]) > 6:
        axes = zip(*(map(int, size.split("x")) for size in result["sizes"]), strict=False)
        sizes = f"{len(result['sizes'])} different, " + " x ".join(f"{min(a)}–{max(a)}" for a in map(list, axes))
    found = [
        ("sizes", sizes),
        ("channels", ", ".join(f"{channels} ({count})" for channels, count in result["channels"].items())),
        ("intensities", "{lowest:.3g} to {highest:.3g} of 0 to 1".format_map(result["intensities"])),
        ("images with absent raters", str(result["images_with_absent_raters"])),
        ("pixels nobody rated", number(result["void"], "%")),
        ("images without marks", str(result["images_without_marks"])),
    ]
    if result["levels"]:
        found.append(("pixels with 0, 1, … marks", ", ".join(number(share, "%") for share in result["levels"])))
    return found


def overall(result):
    return [(label, number(result["agreement"][key], digits)) for key, (label, digits) in _OVERALL.items()]


def by_rater(result):
    return [
        [row["name"], *(number(row[key], digits) for key, (_, digits) in RATER.items())]
        for row in result["raters"] or []
    ]


def number(value, digits, percent_digits=2):
    if value is None:
        return "n/a"
    return f"{100 * value:.{percent_digits}f} %" if digits == "%" else f"{value:.{digits}f}"


def _aligned(rows):
    rows = [[cell.translate(_VISIBLE) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  " + "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )


# names of files may hold characters that move a terminal's cursor
_VISIBLE = dict.fromkeys((*range(32), *range(127, 160)), "?")
