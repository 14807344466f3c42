"""Known answers on the real gx1v7 grid and the published polygons, from history to the stores."""

import shutil

import numpy as np
import numpy.testing as npt
import pytest
import xarray as xr

from dor_ecco_assets.dor.configuration import load_line
from dor_ecco_assets.dor.products import CASE_ROWS, EFFICIENCY_STORE, UPTAKE_STORE
from dor_ecco_assets.samples.dor_inputs import sample_atlas
from dor_ecco_assets.samples.pop_grid import with_sample_kmt, write_pop_grid
from tests.dor.atlas import production
from tests.dor.test_stores import within_one_ulp
from tests.grids.test_pop import gx1v7
from tests.support.data import real_data

LEVELS, MONTHS = 3, 3
#: One case per injection month: the polygon without an id of its own, one across the meridian of
#: Greenwich, the northernmost one, one in the Southern Ocean.
CASES = ("01|000", "04|145", "07|147", "10|689")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gx1v7")
    inputs, configs = folder / "inputs", folder / "configs"
    shutil.copytree(real_data("pop", "oae_atlas"), inputs / "pop/oae_atlas")
    # Real coordinates, areas of their real corners, fewer levels.
    grid = with_sample_kmt(gx1v7().isel(z_t=slice(LEVELS)))
    grid["REGION_MASK"] = grid["KMT"]
    write_pop_grid(inputs / "pop/grid_gx1v7/pop-grid-vars.nc", grid)
    for name, text in {
        "dor.yaml": "atlas: real\nhistory: pop/cases\n",
        "atlases/real.yaml": "title: Real grid\nforcing: DOR\ngrid: pop_gx1v7\n"
        f"polygons: atlas_v0\nmonths: {MONTHS}\n",
        "grids/pop_gx1v7.yaml": f"nlat: 384\nnlon: 320\nnz: {LEVELS}\n"
        "horizontal: [pop/grid_gx1v7/pop-grid-vars.nc]\n",
    }.items():
        (configs / name).parent.mkdir(parents=True, exist_ok=True)
        (configs / name).write_text(text)
    sample = sample_atlas(inputs, load_line(str(configs)), str(configs))
    sample.write(CASES)
    workspace = production(folder).workspace()
    for case in CASES:
        workspace.make(CASE_ROWS, case)
        shutil.rmtree(inputs / "pop/cases" / sample.case(case).case.name)
        for key in (EFFICIENCY_STORE, UPTAKE_STORE):
            workspace.make(key, case[:2])
    yield folder / "root/dor", {case: sample.case(case).oracle() for case in CASES}, sample
    shutil.rmtree(folder)


@pytest.mark.parametrize("case", CASES)
def test_rows_are_exact(made, case):
    root, oracles, sample = made
    path = root / f"case_rows/{case.replace('|', '/')}.zarr"
    with xr.open_zarr(path, consolidated=False, decode_timedelta=False) as rows:
        for name in ("efficiency", "uptake_percent", "ring_uptake_mmol"):
            npt.assert_allclose(rows[name], getattr(oracles[case], name), rtol=1e-13, err_msg=name)
        assert rows.attrs["grid"] == "pop_gx1v7"
    assert int(np.isnan(sample.ocean.grid["TLAT"]).sum()) == 16_016
    assert int(sample.ocean.wet.sum()) == 86_096
    assert sample.ocean.grid.attrs["area_source"] == "TAREA of the file"


@pytest.mark.parametrize("case", CASES)
def test_stores_are_exact_to_one_unit_in_the_last_place(made, case):
    root, oracles, _ = made
    place = {"polygon_id": int(case[3:]), "intervention_month": (1, 4, 7, 10).index(int(case[:2]))}
    for key, name, expected in (
        ("efficiency_store", "DOR_efficiency", oracles[case].efficiency),
        ("uptake_by_distance", "FG_CO2_percent_cumulative", oracles[case].uptake_percent),
    ):
        with xr.open_zarr(root / f"{key}.zarr", decode_timedelta=False) as store:
            assert store[name].shape[:3] == (MONTHS, 690, 4)
            within_one_ulp(store[name][place].values, expected)
            assert int(store["case_status"].sum()) == len(CASES)


def test_the_cells_that_take_the_forcing_are_those_of_the_polygon(made):
    _, _, sample = made
    forced = sample.case(CASES[0]).forcing_flux(0) != 0
    assert forced.sum() == 53  # found by the outline of polygon 0, not by its id
    assert (sample.polygons["polygon"].values[forced] == 0).all()
    lon = sample.ocean.grid["TLONG"].values[sample.case(CASES[1]).cells]
    assert lon.min() < 3
    assert lon.max() > 357
