"""Which file of a folder is an image, which a mask of which image, and which is neither."""

import re

from keras_ordseg._checks import Problem, Setting
from keras_ordseg.data._cells import nfc
from keras_ordseg.data._errors import DataError
from keras_ordseg.data._folder import Unmatched, leftovers, pattern_regex
from keras_ordseg.data._patterns import candidates, regex_of
from keras_ordseg.data._sources import address, split_address


def match(root, image, ratings, raters=None):
    """Images by id, masks by id and rater, and what is left over.

    Raises:
        DataError: Broken links, files whose header cannot be read, two files for one image or mask, and files that may
            be an image as well as a mask.
    """
    problems, datasets = {}, {}
    pictures, others = (list(candidates(root, pattern, problems, datasets)) for pattern in (image, ratings))
    if problems:
        raise DataError.listing([problem.at(file) for file, problem in problems.items()], str(root))
    doubles, images = [], {}
    for name, source in pictures:
        if hit := regex_of(image).fullmatch(name):
            _keep(images, hit["id"], source, doubles, root)
    if doubles:
        raise DataError.listing(doubles, str(root))
    claims, alone = _claims(others, image, ratings, images, raters)
    _decide(claims, images, raters, root)
    masks, used = {}, set(claims)
    for source, (key, rater) in claims.items():
        _keep(masks.setdefault(key, {}), rater, source, doubles, root)
    if doubles:
        raise DataError.listing(doubles, str(root))
    images = {key: source for key, source in images.items() if source not in used}
    alone += _other_datasets(datasets, used | set(images.values()) | set(alone))
    return images, masks, alone


def left_over(root, image, ratings, images, masks, alone, index):
    """Returns every file of the folder that is neither an image, a mask nor the index, with its reason."""
    used = {source.file for found in (images, *masks.values()) for source in found.values()}
    used |= {source.file for source in alone} | ({index} if index else set())
    loose = [re.compile(pattern_regex(split_address(text)[0]), re.IGNORECASE) for text in (image, ratings)]
    names = [re.compile(pattern_regex(split_address(text)[0].split("/")[-1])) for text in (image, ratings)]

    def reason_of(file):
        if any(regex.fullmatch(nfc(file.relative_to(root).as_posix())) for regex in loose):
            return "fits a pattern but for capitals"
        if any(regex.fullmatch(nfc(file.name)) for regex in names):
            return "fits a pattern but for its folder"
        return "fits no pattern"

    return [*alone, *leftovers(root, used, reason_of)]


def _keep(table, key, source, problems, root):
    """Enters a source, or the problem that its place is taken: capitals or Unicode forms differ alone."""
    if (there := table.setdefault(key, source)) != source:
        names = f"{there.shown(root)} and {source.shown(root)}"
        problems.append(Problem(f"{names}: two files for one", ("remove or rename one of them",)))


def _claims(others, image, ratings, images, raters):
    """The image and the rater that each mask claims by its name, and the masks of no image."""
    claims, alone = {}, []
    # where everything called like an image may be called like a mask, only the name of the image tells them apart
    special = _fits(ratings, image) and not _fits(image, ratings)
    for name, source in others:
        is_image = regex_of(image).fullmatch(name) is not None
        if is_image and special:
            continue
        hits = list(_mask_hits(name, source, ratings, images))
        chosen = [hit for hit in hits if raters is not None and hit[1] in raters]
        if hits:
            claims[source] = (chosen or hits)[0]
        elif not is_image:
            alone.append(Unmatched(source.file, source.dataset, source.row, source.channel, "a mask of no image"))
    return claims, alone


def _decide(claims, images, raters, root):
    """Leaves out the claims of images, where other masks claim them.

    Raises:
        DataError: A file that may be either.
    """
    claimed, problems = {}, []
    for source, (key, _) in claims.items():
        claimed.setdefault(key, source)
    for key, source in images.items():
        if source not in claims or key not in claimed:
            continue
        whose, rater = claims[source]
        if raters is not None and rater not in raters:
            del claims[source]
            continue
        problems.append(
            Problem(
                f"{source.shown(root)} may be the image of {claimed[key].shown(root)} as well as rater {rater}'s mask of "
                f"{images[whose].shown(root)}",
                (
                    ("say which names are images with ", Setting("image")),
                    ("name the raters with ", Setting("raters")),
                    "list the files in a CSV table",
                ),
            )
        )
    if problems:
        raise DataError.listing(problems, str(root))


def _mask_hits(name, source, ratings, images):
    """The id and rater of a mask for each id that has an image other than this file, the longest first."""
    longest = len(name)
    while longest and (hit := regex_of(ratings, longest).fullmatch(name)):
        if images.get(hit["id"], source) != source:
            yield hit["id"], hit.groupdict().get("r", "")
        longest = len(hit["id"]) - 1


def _fits(pattern, other):
    """Whether a name made from `other` fits `pattern`."""
    name = address(*split_address(other)).replace("*", "0").replace("{r}", "1")
    return regex_of(pattern).fullmatch(nfc(name)) is not None


def _other_datasets(datasets, used):
    """Datasets that no pattern names, of files of which others are used."""
    known = {(source.file, source.dataset) for source in used}
    files = {file for file, _ in known}
    return [
        Unmatched(file, name, reason="a dataset that fits no pattern")
        for file, names in datasets.items() if file in files
        for name in sorted(names) if (file, name) not in known
    ]  # fmt: skip
