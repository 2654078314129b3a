"""The run folder: when it may be used, and what it remembers of the run that began there."""

import json
import shutil

from keras_ordseg.benchmark.checkpoint import write_json

# What decides which cells there are, and how they are summed up, but nothing within a cell.
_MAY_GROW, _MAY_CHANGE = ("methods", "seeds"), ("resamples", "citation")


class RunFolderError(ValueError):
    """The run folder is in use, or does not fit the settings."""


def check_folder(output, overwrite, resume):
    if overwrite and resume:
        raise RunFolderError(
            "--overwrite and --resume exclude each other: delete the earlier run, or continue it?"
        )
    if output.exists() and not output.is_dir():
        raise RunFolderError(f"output: {output} is a file, a folder is needed.")
    if not output.is_dir() or not any(output.iterdir()):
        return
    if not (output / "settings.json").is_file():
        raise RunFolderError(f"output: {output} is not empty and does not hold a run. Choose another folder.")
    if not (overwrite or resume):
        raise RunFolderError(
            f"output: {output} holds a run already. Continue it with --resume, delete it with --overwrite, or choose "
            "another folder."
        )


def check_settings(output, settings, prepared):
    """Whether the run in a folder, where there is one, can be continued with these settings and data."""
    described, before = _described(settings, prepared), _before(output)
    if before is None:
        return
    if before.get("fingerprint") != described["fingerprint"]:
        raise RunFolderError(
            f"output: the data changed since the run in {output} began. Start it anew (--overwrite)."
        )
    changed = [
        f"{name} was {before['settings'].get(name)!r}, now {value!r}"
        for name, value in described["settings"].items()
        if before["settings"].get(name) != value and name not in (*_MAY_CHANGE, *_MAY_GROW)
    ]
    if changed:
        raise RunFolderError(
            f"output: the run in {output} has other settings: {'; '.join(changed)}. Resume it with the settings it "
            f"began with ({', '.join(_MAY_GROW)} may be more), or choose another folder."
        )
    for name in _MAY_GROW:
        missing = [str(value) for value in before["settings"][name] if value not in described["settings"][name]]
        if missing:
            raise RunFolderError(
                f"{name}: the run in {output} also has {', '.join(missing)}, which its report would lose. List the old "
                "ones as well (what is trained is not trained again), or choose another folder."
            )


def open_folder(output, settings, prepared, overwrite):
    described = _described(settings, prepared)
    if overwrite and output.is_dir():
        shutil.rmtree(output)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"output: {output} cannot be made ({error.strerror}). Choose another folder.") from error
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
