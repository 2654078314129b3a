"""`keras-ordseg inspect`: say what a data set holds and how far its raters agree."""

import sys
from functools import partial

from keras_ordseg._commands import flags, numbers, refuse, window


def add(commands):
    """Adds the command to the parser."""
    inspect = commands.add_parser(
        "inspect",
        help="say what a data set holds and how far its raters agree",
        description="Checks every file of a data set and says what is there: sizes, raters, who is absent, and how far they "
        "agree. With --output also as JSON, a page and a contact sheet of images with every rater's outline.",
    )
    add = inspect.add_argument
    add("path", metavar="PATH", help="a folder of images and masks, or a CSV file; see data.cases")
    add("--image", metavar="PATTERN", help='image files of a folder, default "*_image.png"')
    add("--ratings", metavar="PATTERN", help='mask files of a folder, default "*_rater{r}.png"')
    add("--votes", metavar="PATTERN", help="instead of masks, images that count the votes of --num-raters raters")
    add("--num-raters", type=int, metavar="K", help="of --votes")
    add("--label", type=numbers(int), metavar="A,B", help="values of the masks that are a mark")
    add("--void", type=numbers(int), metavar="A,B", help="values of the masks that mean: did not rate")
    add("--window", type=window, metavar="LO,HI", help="values of the images that become 0 and 1, or 1%%,99%%")
    add("--outside", action="store_true", help="the files of a CSV may lie outside its folder")
    add("--output", metavar="FOLDER", help="write inspection.html, inspection.json and contact_sheet.png there")
    add("--overwrite", action="store_true", help="replace an earlier inspection there")
    add("--shown", type=int, default=24, metavar="N", help="images on the contact sheet, default %(default)s")
    add("--margin", type=int, metavar="PIXELS", help="crop those to their marks and so many pixels around")
    add("--json", action="store_true", help="print JSON instead of text")
    inspect.set_defaults(command=partial(_run, flags(inspect, source="path")))


def _run(spelling, arguments) -> int:
    import json

    from keras_ordseg import data, inspection

    names = ("image", "ratings", "votes", "num_raters", "label", "void", "window", "outside")
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    try:
        if arguments.output is not None:
            inspection.check_output(
                arguments.output, arguments.overwrite, arguments.shown, arguments.margin
            )
        cases = data.cases(arguments.path, **given)
        result = inspection.inspect(cases, progress=sys.stderr.isatty())
        print(json.dumps(result, indent=1, allow_nan=False) if arguments.json else inspection.text(result))
        if arguments.output is not None:
            folder = inspection.write(
                result, cases, arguments.output, arguments.overwrite, arguments.shown, arguments.margin
            )
            print(f"\nReport: {folder / 'inspection.html'}", file=sys.stderr if arguments.json else sys.stdout)
    except (ValueError, OSError, ImportError) as error:  # everything here is the user's to mend
        return refuse(error, spelling)
    return 0
