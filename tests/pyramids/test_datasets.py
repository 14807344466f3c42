"""Pyramids of ECCO granules, regular and native: time in the place of cases."""

import json

import numpy as np
import numpy.testing as npt
import pytest
import xarray as xr

from dor_ecco_assets.errors import ConfigurationError, GridMismatch
from dor_ecco_assets.mapping.webmercator import from_dataset
from dor_ecco_assets.products import Production, all_products
from dor_ecco_assets.pyramids.assess import (
    conservation_breaches,
    fill_breaches,
    map_stores,
    reader_breaches,
    status_breaches,
    statuses,
)
from dor_ecco_assets.pyramids.configuration import dataset_maps
from dor_ecco_assets.pyramids.products import places_of
from dor_ecco_assets.settings import Place
from tests.cli.production import make_project
from tests.pyramids.test_apply import expected_maps

REGULAR, NATIVE = "ECCO_L4_SSH_05DEG_MONTHLY_V4R4", "ECCO_L4_SSH_LLC0090GRID_MONTHLY_V4R4"
MONTHS = ("1992-01", "1992-02")
CONFIG = """
title: SSH
source: ecco/{name}
mapping: mapping/{grid}_to_webmercator
pixels_per_tile: 16
variables:
  SSH: {{long_name: height, units: m, clim: {{value: [-1, 1]}}, colormap: {{value: RdBu_r}}}}
"""


def write_configs(folder, **files: str) -> str:
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(folder)


@pytest.fixture(scope="module")
def production(tmp_path_factory) -> Production:
    folder = make_project(tmp_path_factory.mktemp("granules"), days=())
    sources = {REGULAR: "latlon_0p50deg", NATIVE: "llc90"}
    files = {
        f"pyramids__{name}": CONFIG.format(name=name, grid=grid) for name, grid in sources.items()
    }
    files["grids__latlon_0p50deg"] = "resolution_degrees: 5.0\n"
    files["mapping__llc90_to_webmercator"] = "source: grids/llc90\npixels_per_tile: 16\n"
    files["mapping__latlon_0p50deg_to_webmercator"] = (
        "source: grids/latlon_0p50deg\nmask: mapping/llc90_to_latlon_0p50deg\npixels_per_tile: 16\n"
    )
    configs = write_configs(folder / "configs", **files)
    root, inputs = str(folder / "root"), str(folder / "data/inputs")
    return Production(Place(root=root), Place(root=inputs), configs)


@pytest.fixture(scope="module", params=[REGULAR, NATIVE])
def made(production, request):
    """One pyramid with the first two months; its name and a workspace."""
    workspace = production.workspace()
    for month in MONTHS:
        workspace.make(f"ecco/{request.param}", month)
        workspace.make(f"pyramids/{request.param}", month)
    workspace.make(f"pyramids/{request.param}_index", "")
    return request.param, workspace


@pytest.mark.parametrize("zarr_format", ["v2", "v3"])
def test_every_step_is_its_granule_regridded(made, zarr_format):
    name, workspace = made
    maps = dataset_maps(production_configs(workspace))[name]
    weights = from_dataset(workspace.open_upstream(maps.mapping))
    path = workspace.storage.locate(f"pyramids/{name}/{zarr_format}.zarr")
    opened = xr.open_datatree(path, engine="zarr", chunks=None)
    import dor_ecco_assets.stores.opening as opening

    for month in MONTHS:
        with opening.open_product(workspace.storage, f"ecco/{name}", [month]) as granule:
            field = granule["SSH"].values.reshape(1, -1)
        for level in (0, 1):
            found = opened[f"{level}/SSH"].sel(time=f"{month}-01").values
            npt.assert_allclose(found, expected_maps(weights, level, field)[0], atol=1e-6)
    assert np.isnan(opened["0/SSH"].sel(time="2000-01-01")).all()


def production_configs(workspace) -> str:
    return str(workspace.inputs.root.parent.parent / "configs")


def test_what_was_made_passes_every_check(made):
    name, workspace = made
    key = f"pyramids/{name}"
    assert reader_breaches(workspace.storage, key) == []
    stores = list(map_stores(workspace.storage, key))
    assert len(stores) == 2
    for store in stores:
        assert fill_breaches(store, (1,)) == []
        assert conservation_breaches(store, (1,)) == []
        assert fill_breaches(store, (2,)) != []
    places = places_of(workspace.product(key))
    assert status_breaches(workspace.storage, key, places, MONTHS) == []
    assert statuses(workspace.storage, key, (312,)).sum() == 2


def test_the_index_lists_the_steps_that_are_there(made):
    name, workspace = made
    index = json.loads(workspace.storage.read(f"pyramids/{name}/index.json"))
    assert index["kind"] == "dataset"
    assert index["times"] == {"dimension": "time", "values": [8035, 8066], "labels": list(MONTHS)}
    assert index["bands"] == ["value"]
    assert index["cases"] is None


def test_maps_follow_their_granule(made):
    name, workspace = made
    member = ("ecco/" + name, MONTHS[0])
    assert workspace.product(f"pyramids/{name}").members(MONTHS[0]) == [member]
    assert workspace.state(f"pyramids/{name}", MONTHS[0]).standing == "up to date"
    assert workspace.state(f"pyramids/{name}", "1992-03").standing == "waiting"


def test_a_source_that_is_not_there_is_named(tmp_path):
    text = CONFIG.format(name="nothing", grid="llc90")
    with pytest.raises(ConfigurationError, match="source ecco/nothing; there is none"):
        all_products(write_configs(tmp_path, pyramids__mine=text))


def test_a_depth_level_must_be_chosen_and_a_variable_must_be_there(production, tmp_path):
    folder = tmp_path / "configs"
    changed = CONFIG.format(name=NATIVE, grid="latlon_0p50deg")
    other = CONFIG.format(name=NATIVE, grid="llc90").replace("  SSH:", "  THETA:")
    unit = CONFIG.format(name=NATIVE, grid="llc90").replace("units: m,", "units: cm,")
    files = {"pyramids__grid": changed, "pyramids__variable": other, "pyramids__unit": unit}
    import shutil

    shutil.copytree(production.configs, folder)
    configs = write_configs(folder, **files)
    workspace = Production(production.root, production.inputs, configs).workspace()
    workspace.make(f"ecco/{NATIVE}", MONTHS[0])
    for name, code in (
        ("grid", "WeightsOfOtherGrid"),
        ("variable", "OtherVariables"),
        ("unit", "OtherUnits"),
    ):
        with pytest.raises(GridMismatch) as raised:
            workspace.make(f"pyramids/{name}", MONTHS[0])
        assert raised.value.code == code
