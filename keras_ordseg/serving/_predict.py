"""Predictions of files: maps, masks and a table."""

import sys
import time
import warnings
from pathlib import Path

from keras_ordseg.serving._folder import writable
from keras_ordseg.serving._predict_images import find_images, mask_files, without_ending
from keras_ordseg.serving._predict_job import Job
from keras_ordseg.serving._predict_models import load_predictor
from keras_ordseg.serving._predict_results import columns, read_summary, write_summary

_EVERY = 5.0  # seconds between two tables


def predict_files(
    model,
    images,
    output,
    *,
    window=None,
    sliding_window=None,
    overlap=0.5,
    axis=-1,
    batch_size=4,
    quorum=(),
    spacing=None,
    review_threshold=None,
    overwrite=False,
    progress=False,
):
    """Predicts image files, and writes maps, masks and a table.

    For each image `scans/0001.png`, or of each structure of it:

    - `0001_agreement`: the chance that a rater drawn at random marks the pixel, `E[k]/K`: PNG of 16 bits (65535 is 1), or
      float32;
    - `0001_masks`: the number of raters, 0..K, that are expected to mark it: the mask of quorum q is where it is q or more
      (`P(k >= t) > 1/2` for all t up to q). A palette PNG whose indices are these numbers, in grey steps that one can see;
    - `0001_quorum<q>` for each quorum asked for: that mask, 0 and 255 in PNG, 0 and 1 else.

    NIfTI gives NIfTI with the header of the image (affine, orientation, voxels), other images of two axes give PNG,
    all else `.npy`. `summary.csv` has a row for each image: its size, the numbers of the signature `summary` (`export`) in
    the unit of the row, and what went wrong. An image that cannot be read or predicted has `status` "failed", and the rest
    goes on.

    What is done is not done again: an image is left out if the table has it as done, its results are there, and neither the
    bytes of the file, nor the model, nor the settings have changed (of a server: its address, name and version). The table
    is written anew every few seconds and at the end; rows of images that are not asked for now stay.

    Args:
        model: Folder of `export` (its newest version) or of one version; a `.keras` file, loaded in safe mode; a `Client`.
        images: A folder (without its subfolders, and without masks and maps such as `case7_rater1.png`, `case7_votes.png`
            or `case7_mask.png` where `case7_image.png` or `case7.png` is there), a pattern such as `"scans/*_image.png"`,
            one file or a list of files: PNG, JPEG, TIFF, BMP, NIfTI, `.npy`, `.npz` with one array. With a 2-D model,
            volumes are predicted slice by slice. Of a colour picture a model of one channel gets the luma, and of a grey
            one a model of three channels three times the same, as the signature `encoded` does it.
        output: Folder of the results; made where it is missing.
        window: `(lo, hi)`, the values of the images that become 0 and 1, as in `data.cases`. Default `None`: the window that
            the model was trained in (`models.describe_images`); where that is not known, 8 and 16 bits over their largest
            value, floats as they are in [0, 1].
        sliding_window: Side of overlapping windows, one number or one for each axis of the model; see
            `models.sliding_window_inference`. Default `None`: the image as a whole, or the size that the model fixes.
        overlap: Of the windows. Default 0.5.
        axis: Along which a 2-D model takes the slices of a volume. Default -1, the last, as `Cases.slices`.
        batch_size: Slices or windows in a batch. Default 4.
        quorum: Numbers of raters, and `"majority"`, whose masks are written. Default: none.
        spacing: Millimetres between pixels on each axis, for images that do not say so themselves. Default `None`: that of
            the export, else areas are in pixels.
        review_threshold: Disputed share above which an image is flagged. Default `None`: that of the export, else 0.5.
        overwrite: Whether everything is done anew, and the table there replaced. Default `False`.
        progress: Whether to count on the standard error stream. Default `False`.

    A model that knows what images were when it was trained (`models.describe_images`; `keras-ordseg benchmark` writes it)
    is given them like that: resized to the size of training where they were, and the maps brought back; in the window of
    training; and resampled where the spacing of the file is known and differs by 5 % or more.

    Returns:
        The rows of the table for these images, a list of dicts.

    Raises:
        ValueError: If an argument is out of range or not that of the training, or `output` holds the table of a model with
            other outputs.
        FileNotFoundError: If there is no model or no image.
        OSError: If nothing can be written to `output`.
        ConnectionError: If the server cannot be reached any more; run it again to go on.

    >>> import tempfile, keras_ordseg
    >>> from PIL import Image
    >>> model = keras_ordseg.models.OrdinalSegmenter(
    ...     keras_ordseg.models.small_backbone((None, None, 1), filters=(4, 8)), num_raters=3)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save(f"{folder}/model.keras")
    ...     Image.new("L", (13, 8)).save(f"{folder}/scan.png")
    ...     (row,) = predict_files(f"{folder}/model.keras", f"{folder}/*.png", f"{folder}/out", quorum=["majority"])
    ...     sorted(path.name for path in Path(folder, "out").iterdir())
    ['scan_agreement.png', 'scan_masks.png', 'scan_quorum2.png', 'summary.csv']
    >>> row["size"], row["unit"], row["status"]
    ('8x13', 'pixel', 'done')
    """
    files, output = find_images(images), Path(output).expanduser()
    if output.exists() and not output.is_dir():
        raise NotADirectoryError(f"output: expected a folder. '{output}' is a file.")
    if any(file.parent.resolve() == output.resolve() for file in files.values()):
        raise ValueError(f"output: {output} is the folder of the images; results there would be taken for images.")
    if others := mask_files(images):
        warnings.warn(
            f"images: {', '.join(file.name for file in others)} left out, masks and maps beside their image by their names. "
            "Give a pattern or a list of files to predict them.",
            stacklevel=2,
        )
    predictor = load_predictor(model)
    settings = (window, sliding_window, overlap, axis, batch_size, quorum, spacing, review_threshold)
    job, names, table = Job(predictor, *settings), columns(predictor), output / "summary.csv"
    rows = {} if overwrite else read_summary(table, names)
    if rows is None:
        raise ValueError(f"output: {table} is the table of a model with other outputs; take another folder, or overwrite.")
    writable(output, "output")
    written = time.monotonic()
    try:
        for number, (name, file) in enumerate(files.items(), 1):
            if progress:
                print(f"\r\033[K{number}/{len(files)} {name}", end="", file=sys.stderr, flush=True)
            rows[name] = job.run(name, file, output / without_ending(name), rows.get(name), progress)
            if time.monotonic() - written > _EVERY:
                write_summary(table, names, rows.values())
                written = time.monotonic()
    finally:
        write_summary(table, names, rows.values())
        if progress:
            print(file=sys.stderr)
    return [rows[name] for name in files]
