"""The run folder: when it may be used, and what it remembers of the run that began there."""

import json
import shutil

from keras_ordseg._checks import ArgumentError, Setting
from keras_ordseg.benchmark.checkpoint import write_json

# What decides which cells there are, and how they are summed up, but nothing within a cell.
_MAY_GROW, _MAY_CHANGE = ("methods", "seeds"), ("resamples", "citation")


_RESUME, _ANEW = ("continue it with ", Setting("resume", "True")), ("start it anew with ", Setting("overwrite", "True"))
_ELSEWHERE = "choose another folder"


class RunFolderError(ArgumentError):
    """The run folder is in use, or does not fit the settings."""


def check_folder(output, overwrite, resume):
    if overwrite and resume:
        delete = ("delete the earlier run with ", Setting("overwrite", "True"))
        raise RunFolderError("overwrite", "no resume beside it", "both", delete, _RESUME)
    if output.exists() and not output.is_dir():
        raise RunFolderError("output", "a folder", f"{output}, which is a file", _ELSEWHERE)
    if not output.is_dir() or not any(output.iterdir()):
        return
    if not (output / "settings.json").is_file():
        raise RunFolderError("output", "a new folder or an empty one", f"{output}, which holds other files", _ELSEWHERE)
    if not (overwrite or resume):
        got = f"{output}, which holds a run already"
        raise RunFolderError("output", "a new folder or an empty one", got, _RESUME, _ANEW, _ELSEWHERE)


def check_settings(output, settings, prepared):
    """Whether the run in a folder, where there is one, can be continued with these settings and data."""
    described, before = _described(settings, prepared), _before(output)
    if before is None:
        return
    if before.get("fingerprint") != described["fingerprint"]:
        raise RunFolderError("output", "a run of the same data", f"{output}: the data changed since it began", _ANEW)
    changed = [
        f"{name} was {before['settings'][name]!r}, now {value!r}"
        for name, value in described["settings"].items()
        if before["settings"].setdefault(name, value) != value and name not in (*_MAY_CHANGE, *_MAY_GROW)
    ]  # a setting that an earlier release did not have is no change
    if changed:
        resume = f"resume it with the settings it began with ({' and '.join(_MAY_GROW)} may be more)"
        got = f"{output}, which has others: {'; '.join(changed)}"
        raise RunFolderError("output", "a run of the same settings", got, resume, _ELSEWHERE)
    for name in _MAY_GROW:
        missing = [str(value) for value in before["settings"][name] if value not in described["settings"][name]]
        if missing:
            expected = f"all that the run in {output} has, or its report would lose some"
            old = "list the old ones as well (what is trained is not trained again)"
            raise RunFolderError(name, expected, f"none of {', '.join(missing)}", old, _ELSEWHERE)


def open_folder(output, settings, prepared, overwrite):
    described = _described(settings, prepared)
    if overwrite and output.is_dir():
        shutil.rmtree(output)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        got = f"{output}, which cannot be made ({error.strerror})"
        raise RunFolderError("output", "a folder", got, _ELSEWHERE) from error
    before = _before(output)
    if before is not None and before["settings"]["seeds"] != described["settings"]["seeds"]:
        for cell in output.glob("cells/*+ensemble-seed*"):  # of other models than those of now
            shutil.rmtree(cell)
    write_json(output / "settings.json", described)


def _described(settings, prepared):
    return json.loads(json.dumps({"settings": settings.as_dict(), "fingerprint": prepared.fingerprint}))


def _before(output):
    path = output / "settings.json"
    return json.loads(path.read_text()) if path.is_file() else None
