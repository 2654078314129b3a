"""docs/backbones.md holds what docs/backbones.py finds, and every backbone of the libraries is in it."""

import importlib.util
import inspect

import keras
import pytest

from tests.conftest import ROOT

spec = importlib.util.spec_from_file_location("tried_backbones", ROOT / "docs" / "backbones.py")
tried = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tried)
PAGE = (ROOT / "docs" / "backbones.md").read_text()
QUICK = {("own", "a functional encoder of one output")}
ROWS = [(library, name) for library, entries in tried.BACKBONES.items() for name in entries]


def row_of(library, name):
    section = PAGE.split(f"## {library}\n")[1].split("\n## ")[0]
    line = next(line for line in section.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.strip("|").split(" |")][1:]


@pytest.mark.parametrize(
    "library,name", [pytest.param(*row, marks=[] if row in QUICK else pytest.mark.slow) for row in ROWS]
)
@pytest.mark.filterwarnings("ignore")  # the libraries' own
def test_the_page_says_what_is_found(library, name):
    for module in ("keras_cv", "keras_hub"):
        if module in (library.replace("-", "_"), name.split()[0]):
            pytest.importorskip(module)
    found = tried.attempt(tried.BACKBONES[library][name], existing=library.startswith("segmenters"))
    assert [found.get(column, "") for column in tried.COLUMNS] == row_of(library, name)


def test_every_row_is_on_the_page():
    for library, name in ROWS:
        assert len(row_of(library, name)) == len(tried.COLUMNS)


def test_every_backbone_of_keras_cv_is_tried():
    keras_cv = pytest.importorskip("keras_cv")
    base, point_clouds = keras_cv.models.Backbone, {"CenterPillarBackbone"}
    public = {n: getattr(keras_cv.models, n) for n in dir(keras_cv.models) if n.endswith("Backbone")}
    direct = {n for n, cls in public.items() if inspect.isclass(cls) and base in cls.__bases__} - point_clouds
    assert len(direct) > 10
    assert direct <= set(tried.BACKBONES["keras-cv"])


def test_every_feature_pyramid_of_keras_hub_is_tried():
    hub = pytest.importorskip("keras_hub")
    base = hub.models.FeaturePyramidBackbone
    public = {n: getattr(hub.models, n) for n in dir(hub.models) if n.endswith("Backbone")}
    pyramids = {n for n, cls in public.items() if inspect.isclass(cls) and issubclass(cls, base) and cls is not base}
    assert len(pyramids) > 5
    assert pyramids <= set(tried.BACKBONES["keras-hub"])


def test_every_family_of_keras_applications_is_tried():
    modules = {name for name in dir(keras.applications) if inspect.ismodule(getattr(keras.applications, name))}
    same_graph = {"resnet50", "vgg19", "imagenet_utils"}  # of resnet, of vgg16, no models
    tried_names = {name.lower().replace("50", "") for name in tried.BACKBONES["keras.applications"]}
    for module in modules - same_graph:
        assert any(name.startswith(module.replace("_", "")) for name in tried_names), module
