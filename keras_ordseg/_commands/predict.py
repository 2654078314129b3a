"""`keras-ordseg predict`: maps, masks and a table of images, from an export, a `.keras` file or a server."""

import re
import sys

from keras_ordseg._commands import numbers, window, words


def add(commands):
    """Adds the command to the parser."""
    predict = commands.add_parser(
        "predict",
        help="predict images: agreement maps, nested masks and a table",
        description="Predicts image files. Writes for each the agreement map, the nested masks of all quorums and a row of "
        "summary.csv: area with its spread over the raters, disputed share, and whether to look again. NIfTI keeps its "
        "place in the world. Run it again to go on: what is done and unchanged is left out.",
    )
    add = predict.add_argument
    add("--model", required=True, help="a folder that export wrote, a version of it, a .keras file, http://… or grpc://…")
    where = "a folder (less the masks and maps beside its images), a pattern in quotes, or files"
    add("--images", required=True, nargs="+", metavar="PATH", help=where)
    add("--output", required=True, metavar="FOLDER", help="of the results")
    add("--window", type=window, metavar="LO,HI", help="values of the images that become 0 and 1, or 1%%,99%%")
    add("--sliding-window", type=numbers(int), metavar="A,B", help="predict in overlapping windows of these sides")
    add("--overlap", type=float, default=0.5, metavar="SHARE", help="of the windows, default %(default)s")
    add("--axis", type=int, default=-1, help="of the slices that a 2-D model takes of a volume, default the last")
    add("--batch-size", type=int, default=4, metavar="N", help="slices or windows at once, default %(default)s")
    add("--quorum", type=words, default=(), metavar="A,B", help="write these masks too: 1 to K, majority")
    add("--spacing", type=numbers(float), metavar="A,B", help="mm between pixels, where files do not say")
    add("--review-threshold", type=float, metavar="SHARE", help="disputed share that flags an image")
    add("--served-model", default="segmenter", metavar="NAME", help="on a server, default %(default)s")
    add("--served-version", type=int, metavar="N", help="on a server, default the newest")
    add("--timeout", type=float, default=30.0, metavar="SECONDS", help="for an answer of a server, default %(default)s")
    add("--overwrite", action="store_true", help="do everything anew")
    predict.set_defaults(command=_run, interrupted="run the same command again to go on")


def _run(arguments) -> int:
    import warnings
    from pathlib import Path

    from keras_ordseg import serving
    from keras_ordseg.serving._predict_images import mask_files, rating_files

    names = ("overlap", "axis", "batch_size", "spacing", "review_threshold", "overwrite", "window")
    given = {name: getattr(arguments, name) for name in names}
    images = arguments.images[0] if len(arguments.images) == 1 else arguments.images
    model = arguments.model
    try:
        if (sides := arguments.sliding_window) is not None:
            given["sliding_window"] = sides[0] if len(sides) == 1 else sides
        given["quorum"] = [int(q) if q.isdecimal() else q for q in arguments.quorum]
        if "://" in model:
            model = serving.Client(model, arguments.served_model, arguments.served_version, arguments.timeout)
        others = mask_files(images)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="images: .* left out")  # said below
            rows = serving.predict_files(model, images, arguments.output, progress=sys.stderr.isatty(), **given)
    except (ValueError, TypeError, OSError, RuntimeError, ImportError) as error:
        print(f"keras-ordseg: {re.sub('^output:', '--output:', str(error))}", file=sys.stderr)
        return 2
    failed = [row for row in rows if row["status"] != "done"]
    review = sum(value is True for row in rows for name, value in row.items() if name.endswith("review"))
    for row in failed:
        print(f"keras-ordseg: {row['file']}: {row['error']}", file=sys.stderr)
    print(f"{len(rows) - len(failed)} of {len(rows)} images predicted, {review} to look at again")
    if masks := len(rating_files(images)):
        print(f"Left out: {masks} files of raters, *_rater* beside *_image (a pattern in quotes takes any)")
    if others:
        names = ", ".join(file.name for file in others)
        print(f"Left out: {names} (masks and maps beside their image; a pattern in quotes takes any)")
    print(f"Summary: {Path(arguments.output) / 'summary.csv'}")
    return 1 if failed else 0
