"""A grid of experiments from one YAML file."""

from dataclasses import fields
from itertools import product
from pathlib import Path

import yaml

from keras_ordseg.benchmark.methods import METHODS
from keras_ordseg.benchmark.settings import AXES, TFDS, Settings

_AXES = {"losses": None, "links": "softmax", "targets": "ratings", "after": "none"}


def read_grid(path) -> dict[str, Settings]:
    """The runs that a YAML file describes, one for each data set and each number of training raters and images.

    The file holds arguments of `Settings` by name. `data` may be a list of folders (`null` is the embedded data, `tfds:NAME`
    a prepared dataset), `train_raters` and `train_images` lists of numbers: each combination is a run of its own. In the
    place of `methods`, or beside it, `grid` multiplies out: `losses` (with their options), `links`, `targets` and what is
    done `after` training (`none` for nothing). Losses of a binary output take no link, and a loss with a target of its own
    no other; those combinations are left out.

    ```yaml
    data: [masks/brain, masks/lung]
    methods: [majority_bce, soft_bce, "soft_bce+temperature"]
    grid:
      losses: [hybrid, hybrid(readout=expected), rps]
      links: [softmax, cumulative]
      after: [none, isotonic]
    seeds: [0, 1, 2]
    epochs: 40
    size: 128
    ```

    Args:
        path: The YAML file. Relative folders in it are relative to the file, and `~` is the home folder.

    Returns:
        `{name: Settings}`, named after the data set, and `-raters2`, `-images40` where there are several numbers.

    Raises:
        ValueError: For anything that does not fit, naming it.
        OSError: If the file cannot be read.

    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "grid.yaml"
    >>> _ = file.write_text("grid: {losses: [soft_bce, rps], links: [softmax, nested], after: [none, temperature]}")
    >>> read_grid(file)["ambiguous_shapes"].methods
    ('soft_bce', 'soft_bce+temperature', 'rps', 'rps+temperature', 'rps:nested', 'rps:nested+temperature')
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: expected YAML. {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected names with values, such as 'epochs: 40'; got {content!r}.")
    known = {field.name for field in fields(Settings)} | {"grid"}
    unknown = [name for name in content if name not in known]
    if unknown:
        raise ValueError(
            f"{path}: {', '.join(map(str, unknown))}: no such setting; expected some of {', '.join(sorted(known))}."
        )
    methods = [*_listed(path, "methods", content.pop("methods", ())), *_multiplied(path, content.pop("grid", None))]
    if methods:
        content["methods"] = tuple(dict.fromkeys(methods))
    sources = content.pop("data", None)
    sources = sources if isinstance(sources, list) else [sources]
    for name in ("test_data", "data_dir"):
        if isinstance(content.get(name), str):
            content[name] = _placed(path, content[name])
    numbers = {name: content.pop(name, None) for name in AXES}
    numbers = {name: value if isinstance(value, list) else [value] for name, value in numbers.items()}
    runs = {}
    for source, *chosen in product(sources, *numbers.values()):
        if not isinstance(source, str | None):
            raise ValueError(f"{path}: data: expected a folder, tfds:NAME or null, or a list of them; got {source!r}.")
        folder = source if source is None or source.startswith(TFDS) else _placed(path, source)
        name = "ambiguous_shapes" if source is None else Path(source).name
        if str(source).startswith(TFDS):
            name = source.removeprefix(TFDS).replace("/", "-")
        for (axis, values), value in zip(numbers.items(), chosen, strict=True):
            if len(values) > 1:
                name += f"-{axis.removeprefix('train_')}{'_all' if value is None else value}"
        if name in runs:
            raise ValueError(f"{path}: two runs are called {name!r}; each is named after its folder and its numbers.")
        runs[name] = Settings(**content, **dict(zip(numbers, chosen, strict=True)), data=folder)
    if not runs:
        raise ValueError(f"{path}: data, {', '.join(AXES)}: expected a value or a list that is not empty.")
    return runs


def _placed(path, folder):
    return str(path.parent / Path(folder).expanduser())


def _multiplied(path, grid):
    if grid is None:
        return []
    if not isinstance(grid, dict) or "losses" not in grid or not set(grid) <= set(_AXES):
        raise ValueError(f"{path}: grid: expected losses, and some of links, targets and after; got {grid!r}.")
    axes = {name: _listed(path, f"grid: {name}", grid.get(name, [none])) for name, none in _AXES.items()}
    keys = []
    for loss, link, target, after in product(*axes.values()):
        base = METHODS.get(str(loss).partition("(")[0].strip())
        if base is not None and (not base.levels and link != "softmax" or base.target != "ratings" != target):
            continue
        parts = [loss, "" if link == "softmax" else f":{link}", "" if target == "ratings" else f"@{target}"]
        keys.append("".join([*parts, "" if after in ("none", None) else f"+{after}"]))
    return keys


def _listed(path, name, value):
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{path}: {name}: expected a list; got {value!r}.")
    return value
