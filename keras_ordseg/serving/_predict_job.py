"""What is asked of every image, checked once, and done for one image after the other."""

import hashlib
import json
from numbers import Integral, Real

import keras
import numpy as np

from keras_ordseg._checks import ArgumentError
from keras_ordseg.data import DataError
from keras_ordseg.data._values import checked_reading
from keras_ordseg.models.sliding_window import sliding_window_inference
from keras_ordseg.ops.checks import check_count, check_number
from keras_ordseg.ops.resizing import resize_linear
from keras_ordseg.serving import _predict_images as images
from keras_ordseg.serving import _predict_results as results
from keras_ordseg.serving._checks import same_spacing
from keras_ordseg.serving._client_errors import ServingError

_GONE = ("NOT_FOUND", "UNAVAILABLE")  # no other image will fare better


class Job:
    """The settings of `predict_files` for one model."""

    def __init__(self, predictor, window, sliding_window, overlap, axis, batch_size, quorum, spacing, review_threshold):
        self.predictor, self.rank = predictor, len(predictor.sides)
        self.images = predictor.images
        self.window = _window(checked_reading(None, None, window, None).window, self.images)
        self.sliding_window = _sliding_window(sliding_window, predictor.sides)
        if self.sliding_window is not None and self.images.get("fit") == "resize":
            size = self.images["size"]
            raise ArgumentError(
                "sliding_window",
                f"none, because the model was trained on whole images resized to {size}",
                f"{sliding_window!r}",
                "leave it out",
            )
        if not isinstance(overlap, Real) or not 0 <= overlap < 1:
            raise ValueError(f"overlap: expected a share in [0, 1). Received: {overlap!r}.")
        if not isinstance(axis, Integral) or not -3 <= axis < 3:
            raise ValueError(f"axis: expected an axis of a volume, -3 to 2. Received: {axis!r}.")
        self.overlap, self.axis = float(overlap), int(axis) % 3
        self.batch_size = check_count(batch_size, "batch_size")
        self.quorums = {name: _quorums(quorum, raters) for name, raters in predictor.raters.items()}
        self.spacing = spacing if spacing is None else tuple(
            check_number(s, "spacing", above=0.0) for s in np.ravel(spacing).tolist()
        )
        threshold = predictor.card.get("review_threshold", 0.5) if review_threshold is None else review_threshold
        if not isinstance(threshold, Real) or not 0 <= threshold <= 1:
            raise ValueError(f"review_threshold: expected a share in [0, 1]. Received: {threshold!r}.")
        self.review_threshold = float(threshold)
        settings = [self.images, self.window, self.sliding_window, self.overlap, self.axis, self.quorums, self.spacing]
        described = json.dumps([predictor.identity, predictor.card.get("spacing"), *settings, self.review_threshold])
        self.identity = hashlib.sha256(described.encode()).hexdigest()[:16]

    def run(self, name, file, base, earlier, verbose):
        """The row of one image; an earlier one where nothing has changed."""
        row = results.typed(dict.fromkeys(results.columns(self.predictor), ""))
        row |= {"file": name, "status": "failed", "model": self.identity}
        try:
            with file.open("rb") as stream:
                row["input"] = hashlib.file_digest(stream, "sha256").hexdigest()[:16]
            kind = results.kind_of(file, images.spatial_axes(file, self.rank, self.predictor.channels))
            files = self._files(base, kind)
            if _unchanged(row, earlier) and all(path.exists() for of in files.values() for path in of.values()):
                return earlier
            pixels = images.read_pixels(file, self.rank, self.predictor.channels, self.window)
            spacing = self._spacing(file, pixels.ndim - 1)
            size, unit = images.pixel_size(spacing, pixels.ndim - 1)
            row |= {"size": "x".join(map(str, pixels.shape[:-1])), "unit": unit}
            for structure, at_least in self._probabilities(pixels, spacing, verbose).items():
                raters, binary = self.predictor.raters[structure], structure in self.predictor.binary
                for key, value in results.measure(at_least, size, self.review_threshold, binary).items():
                    # a float32 sum has 7 digits to show
                    row[f"{structure}_{key}".removeprefix("_")] = value if key == "review" else float(f"{value:.7g}")
                results.write_results(files[structure], at_least, raters, self.quorums[structure], file)
            row["status"] = "done"
        except ConnectionError:
            raise
        except ServingError as error:
            if error.status in _GONE:
                raise
            row["error"] = str(error)
        except (ValueError, OSError, MemoryError, ImportError) as error:
            row["error"] = " ".join(str(error).split()) or type(error).__name__
        if row["status"] == "failed" and earlier is not None and earlier["status"] == "done":
            for of in (of for kind in results.KINDS for of in self._files(base, kind).values()):
                for path in of.values():
                    path.unlink(missing_ok=True)  # of what the file was before
        return row

    def _files(self, base, kind):
        return {name: results.result_files(base, name, kind, quorums) for name, quorums in self.quorums.items()}

    def _probabilities(self, pixels, spacing, verbose):
        """`P(k >= t)` of the whole image by structure."""
        own = pixels.shape[:-1]
        sides = self._sides_of_training(own, spacing)
        pixels = _resized(pixels, sides)
        stack = len(sides) > self.rank
        plane = [side for axis, side in enumerate(sides) if not (stack and axis == self.axis)]
        wanted = self.sliding_window or self.predictor.sides
        window = [side if want is None else want for side, want in zip(plane, wanted, strict=True)]
        overlap = [self.overlap] * self.rank
        if stack:
            window.insert(self.axis, 1)
            overlap.insert(self.axis, 0.0)
        along = self.axis + 1

        def ask(batch):
            answer = self.predictor.ask(batch.squeeze(along) if stack else batch)
            return {name: np.expand_dims(p, along) for name, p in answer.items()} if stack else answer

        several = len(sides) > 2 or self.sliding_window is not None
        if verbose and several:
            print()
        found = sliding_window_inference(
            ask, pixels, tuple(window), tuple(overlap), batch_size=self.batch_size, verbose=int(verbose and several)
        )
        return {name: _resized(p, own) for name, p in found.items()}

    def _sides_of_training(self, sides, spacing):
        """The sides that give the image the spacing of the training, its own where that is the same or not known."""
        trained = self.images.get("spacing")
        if trained is None or spacing is None or self.images["fit"] == "resize":
            return sides
        axes = [axis for axis in range(len(sides)) if len(sides) == self.rank or axis != self.axis]
        if same_spacing([spacing[axis] for axis in axes], trained):
            return sides
        wanted = list(sides)
        for axis, millimetres in zip(axes, trained, strict=True):
            wanted[axis] = max(1, round(sides[axis] * spacing[axis] / millimetres))
        return tuple(wanted)

    def _spacing(self, file, rank):
        own = images.geometry(file, rank)
        if own is not None:
            return own
        if self.spacing is not None:
            if len(self.spacing) != rank:
                raise DataError(f"spacing has {len(self.spacing)} numbers, and the image has {rank} axes")
            return self.spacing
        exported = self.predictor.card.get("spacing")
        return exported if exported is not None and len(exported) == rank else None


def _resized(image, sides):
    """`(*spatial, channels)` brought to other sides."""
    if image.shape[:-1] == tuple(sides):
        return image
    return keras.ops.convert_to_numpy(resize_linear(image[None], [int(side) for side in sides]))[0]


def _window(given, trained):
    """The window that files are read in: that of the training; an error where another one is asked for."""
    known = trained.get("window")
    if known is None:
        return given
    if given is not None and list(given) != list(known):
        raise ArgumentError(
            "window",
            f"{tuple(known)}, in which the model was trained",
            f"{given!r}",
            "leave it out, or write the right one into the model with models.describe_images",
        )
    return tuple(known)


def _unchanged(row, earlier):
    done = earlier is not None and earlier["status"] == "done"
    return done and all(earlier[key] == row[key] for key in ("input", "model"))


def _sliding_window(value, sides):
    if value is None:
        return None
    window = tuple(value) if np.ndim(value) else (value,) * len(sides)
    if len(window) != len(sides) or not all(isinstance(w, Integral) and w >= 1 for w in window):
        raise ValueError(
            f"sliding_window: expected a side in pixels, or one for each of the {len(sides)} axes. Received: {value!r}."
        )
    if any(side not in (None, w) for side, w in zip(sides, window, strict=True)):
        raise ValueError(f"sliding_window: the model takes images of {sides} pixels only. Received: {window}.")
    return tuple(int(w) for w in window)


def _quorums(quorum, raters):
    wanted = [quorum] if isinstance(quorum, str | Integral) else list(quorum)
    numbers = {(raters + 1) // 2 if q == "majority" else q for q in wanted}
    if bad := [q for q in numbers if not isinstance(q, Integral) or isinstance(q, bool) or not 1 <= q <= raters]:
        raise ValueError(f"quorum: expected numbers from 1 to {raters}, the raters, or 'majority'. Received: {bad[0]!r}.")
    return sorted(int(q) for q in numbers)
