"""Executes the notebooks of `examples/` by parameters, looks at what they show, and writes small files for them."""

import base64
import io
import json
import pathlib

import h5py
import nbclient
import nbformat
import nibabel
import numpy as np
from PIL import Image, ImageDraw

ROOT = pathlib.Path(__file__).resolve().parent.parent


def read(name):
    return nbformat.read(ROOT / "examples" / f"{name}.ipynb", as_version=4)


def runner(tmp_path, monkeypatch):
    """`run("volumes", PROBE, EPOCHS=1)` executes a notebook in an empty folder: the probe's answers, pictures."""
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("MPLBACKEND", "agg")
    work = tmp_path / "work"
    work.mkdir()

    def execute(name, probe, **parameters):
        book = read(name)
        place = 1 + [is_parameters(cell) for cell in book.cells].index(True)
        lines = [f"{name} = {value!r}" for name, value in parameters.items()]
        book.cells.insert(place, nbformat.v4.new_code_cell("\n".join(lines)))
        book.cells.append(nbformat.v4.new_code_cell(probe))
        nbclient.NotebookClient(
            book,
            timeout=900,
            startup_timeout=300,
            kernel_name="python3",
            resources={"metadata": {"path": str(work)}},
        ).execute()  # raises CellExecutionError with the traceback of the cell
        *cells, probe = [cell for cell in book.cells if cell.cell_type == "code"]
        for cell in cells:
            assert cell.execution_count, cell.id
            warned = text(cell, "stderr").replace("TqdmWarning:", "")  # of a widget that not every Jupyter has
            assert "Warning:" not in warned, warned
        answers = json.loads(text(probe).splitlines()[-1])  # TensorFlow may warn of retracing above it
        return answers, {cell.id: pictures(cell) for cell in cells if "plots." in cell.source}

    return execute


def is_parameters(cell):
    return "parameters" in cell.metadata.get("tags", [])


def text(cell, name="stdout"):
    return "".join(out.text for out in cell.outputs if out.output_type == "stream" and out.name == name)


def pictures(cell):
    found = [out.data["image/png"] for out in cell.outputs if "image/png" in out.get("data", {})]
    return [Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB") for png in found]


def check_pictures(figures, count=5):
    """One picture for each figure cell, neither tiny nor blank."""
    assert len(figures) == count
    for name, found in figures.items():
        assert len(found) == 1, name
        assert min(found[0].size) >= 150, name
        pixels = np.asarray(found[0]).reshape(-1, 3)
        assert len(np.unique(pixels, axis=0)) > 50, name
        assert (pixels.min(axis=-1) < 128).mean() > 0.005, name


def write_folder(folder, rng):
    """14 colour images of 40 × 36 pixels of a disc, three raters' masks, two masks missing, two images a patient."""
    folder.mkdir()
    for case in range(14):
        pixels = rng.integers(60, 90, (40, 36, 3), dtype=np.uint8)
        centre, radius = rng.integers(14, 22, 2), int(rng.integers(6, 10))
        image = Image.fromarray(pixels)
        disc(image, centre, radius, (190, 120, 110))
        image.save(folder / f"{case:02d}_image.png")
        for rater in range(3):
            if (case, rater) not in ((2, 0), (9, 1)):
                mask = Image.new("L", image.size)
                disc(mask, centre, radius + rater - 1, 255)
                mask.save(folder / f"{case:02d}_rater{rater + 1}.png")
    rows = "".join(f"{case:02d},patient{case // 2}\n" for case in range(14))
    (folder / "index.csv").write_text("id,group\n" + rows)


def disc(image, centre, radius, fill):
    x, y = map(int, centre)
    ImageDraw.Draw(image).ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)


def magnify(folder, times):
    """The same files with pixels `times` as large, for networks with strides."""
    for file in folder.rglob("*"):
        if file.suffix in (".png", ".jpg"):
            with Image.open(file) as image:
                large = image.resize([times * side for side in image.size], Image.Resampling.NEAREST)
            large.save(file)
        elif file.suffix == ".hdf5":
            with h5py.File(file, "a") as content:
                for name in [f"{group}/{name}" for group in content for name in content[group]]:
                    values = content[name][()].repeat(times, axis=1).repeat(times, axis=2)
                    del content[name]
                    content[name] = values
        elif file.suffix == ".gz":
            volume = nibabel.load(file)
            values = np.asarray(volume.dataobj).repeat(times, axis=0).repeat(times, axis=1)
            nibabel.save(nibabel.Nifti1Image(values, volume.affine), file)
