"""Granules from the real LLC90 grid and real time-mean fields: what a user gets from `--data`."""

import numpy as np
import numpy.testing as npt
import pytest
import xarray as xr
from scipy.spatial import cKDTree

from dor_ecco_assets.ecco.vectors import to_centres, to_east_north
from dor_ecco_assets.ecco.verification import verify_granule
from dor_ecco_assets.grids.llc import as_tiles, left_values, lower_values, tiles_from_compact
from dor_ecco_assets.grids.mds import write_mds
from dor_ecco_assets.lineage.workspace import Policy
from dor_ecco_assets.samples.demo_inputs import REAL_MONTH, prepare
from dor_ecco_assets.samples.ecco_output import open_on_all_sides
from dor_ecco_assets.samples.llc_grid import solid_body_flow
from dor_ecco_assets.storage import Directory
from tests.ecco.production import (
    MONTHLY,
    SSH_LATLON,
    SSH_NATIVE,
    STRESS_LATLON,
    STRESS_NATIVE,
    granule_of,
    production,
    record_of,
    root_of,
)
from tests.support.data import llc90_fields, real_data

#: Two targets of three at the surface are wet; the same in every field.
WET_TARGETS = 169_137


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """What ``demo --data`` makes of the real files."""
    folder = tmp_path_factory.mktemp("real")
    allow_partial, partitions = prepare(folder / "inputs", real_data(), folder / "configs")
    assert (allow_partial, partitions) == (True, [(REAL_MONTH,)])
    made = production(folder / "root", folder / "inputs")
    space = made.workspace()
    for key in MONTHLY:
        space.make(key, REAL_MONTH, Policy(allow_partial=True))
    return made


@pytest.fixture(scope="module")
def grid():
    return {name: as_tiles(field) for name, field in llc90_fields().items() if field.ndim == 2}


def real_field(name):
    values = np.fromfile(real_data("llc90", name), ">f4").reshape(1170, 90)
    return tiles_from_compact(values).astype(np.float32)


def opened(made, key):
    with xr.open_dataset(granule_of(made, key, REAL_MONTH)) as granule:
        return granule.load()


def nearest_cells(grid, granule):
    """Flat index of the nearest cell of every target, and whether it averages several cells."""
    lon, lat = np.radians(grid["XC"].reshape(-1)), np.radians(grid["YC"].reshape(-1))
    latitude = np.radians(granule["latitude"].values.astype(float))
    at = np.meshgrid(np.radians(granule["longitude"].values.astype(float)), latitude)
    tree = cKDTree(np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], 1))
    target = np.stack(
        [np.cos(at[1]) * np.cos(at[0]), np.cos(at[1]) * np.sin(at[0]), np.sin(at[1])], -1
    )
    distance, index = tree.query(target, k=2)
    quarter = np.radians(0.25)
    height = np.sin(latitude + quarter) - np.sin(latitude - quarter)
    radius = np.sqrt(np.radians(0.5) * height / np.pi)
    return index[..., 0], distance[..., 1] <= 1.001 * radius[:, np.newaxis]


def test_the_granules_are_named_and_labelled_for_the_production_grid(real):
    name = record_of(real, SSH_NATIVE, REAL_MONTH).uri.rpartition("/")[2]
    assert name == "SEA_SURFACE_HEIGHT_mon_mean_1992-01_ECCO_V4r4_native_llc0090.nc"
    granule = opened(real, SSH_NATIVE)
    assert granule.attrs["source"].startswith("ECCO V4r4")
    assert dict(granule.sizes) == {
        **dict.fromkeys(("i", "j", "i_g", "j_g"), 90),
        "tile": 13,
        "time": 1,
        "nb": 4,
        "nv": 2,
    }
    for key in MONTHLY:
        assert verify_granule(Directory(root_of(real)), key, REAL_MONTH) == []


@pytest.mark.parametrize(
    ("key", "variables", "missing"),
    [
        (SSH_NATIVE, ["SSH"], ["SSHIBC", "SSHNOIBC", "ETAN"]),
        (SSH_LATLON, ["SSH"], ["SSHIBC", "SSHNOIBC"]),
        (STRESS_NATIVE, ["oceTAUX", "oceTAUY"], ["EXFtaux", "EXFtauy"]),
        (STRESS_LATLON, ["oceTAUE", "oceTAUN"], ["EXFtaue", "EXFtaun"]),
    ],
)
def test_a_partial_granule_records_which_variables_it_lacks(real, key, variables, missing):
    details = record_of(real, key, REAL_MONTH).details
    assert details["variables"] == variables == list(opened(real, key).data_vars)
    assert details["missing_variables"] == missing


def test_native_heights_are_the_real_ones_in_every_wet_cell(real, grid):
    wet = grid["Depth"] > 0
    assert np.count_nonzero(wet) == 60_646
    found = opened(real, SSH_NATIVE)["SSH"].values[0]
    npt.assert_array_equal(found, np.where(wet, real_field("SSH.bin"), np.nan))
    mean = np.average(found[wet].astype(float), weights=grid["RAC"][wet])
    assert mean == pytest.approx(0.078, abs=5e-4)
    details = record_of(real, SSH_NATIVE, REAL_MONTH).details
    assert details["mean_SSH_m"] == pytest.approx(mean, abs=1e-6)
    assert details["wet_cells"] == 60_646


def test_native_stresses_are_the_real_ones_at_every_open_edge(real, grid):
    wet = grid["Depth"] > 0
    granule = opened(real, STRESS_NATIVE)
    for name, file, neighbour in (
        ("oceTAUX", "TauX.bin", left_values),
        ("oceTAUY", "TauY.bin", lower_values),
    ):
        at = wet & neighbour(wet)
        expected = np.where(at, real_field(file), np.nan)
        npt.assert_array_equal(granule[name].values[0], expected)


def test_turning_the_real_stress_keeps_its_magnitude_in_every_wet_cell(grid):
    x, y = real_field("TauX.bin").astype(float), real_field("TauY.bin").astype(float)
    east, north = to_east_north(
        x, y, grid["AngleCS"], grid["AngleSN"], location="faces", dtype=float
    )
    wet = grid["Depth"] > 0
    centred = np.square(to_centres(x, y)).sum(axis=0)
    npt.assert_allclose((east**2 + north**2)[wet], centred[wet], rtol=1e-6)


def test_latlon_values_are_those_of_the_nearest_cell(real, grid):
    wet = grid["Depth"].reshape(-1) > 0
    granule = opened(real, SSH_LATLON)
    nearest, averaged = nearest_cells(grid, granule)
    assert np.count_nonzero(averaged & wet[nearest]) < 200
    found = granule["SSH"].values[0]
    assert np.count_nonzero(np.isfinite(found)) == WET_TARGETS
    lone = np.isfinite(found) & ~averaged
    npt.assert_array_equal(found[lone], real_field("SSH.bin").reshape(-1)[nearest][lone])
    x, y = real_field("TauX.bin"), real_field("TauY.bin")
    turned = to_east_north(x, y, grid["AngleCS"], grid["AngleSN"], location="faces")
    stress = opened(real, STRESS_LATLON)
    for name, component in zip(("oceTAUE", "oceTAUN"), turned, strict=True):
        npt.assert_array_equal(
            stress[name].values[0][lone], component.reshape(-1)[nearest][lone], name
        )


def test_the_published_stress_blows_westward_in_the_trades_and_eastward_in_the_westerlies(real):
    east = opened(real, STRESS_LATLON)["oceTAUE"][0]
    weight = np.cos(np.radians(east["latitude"]))

    def mean(south: float, north: float) -> float:
        band = east.sel(latitude=slice(south, north))
        return float(band.weighted(weight.sel(latitude=slice(south, north))).mean())

    assert mean(10, 20) < -0.02
    assert mean(-20, -10) < -0.02
    assert mean(-55, -45) > 0.08
    assert mean(40, 50) > 0.02
    # The strongest belt on Earth is the one around Antarctica.
    zonal = east.mean("longitude")
    assert -58 < float(zonal["latitude"][int(np.nanargmax(zonal.values))]) < -45


def test_the_fill_pattern_is_that_of_the_published_granule(real):
    path = real_data(
        "ecco_granules",
        "ATM_SURFACE_TEMP_HUM_WIND_PRES_day_mean_1992-01-01_ECCO_V4r4_latlon_0p50deg.nc",
    )
    with xr.open_dataset(path, decode_times=False) as published:
        dry = np.isnan(published["EXFatemp"].values[0])
        latitude, longitude = published["latitude"].values, published["longitude"].values
    assert np.count_nonzero(dry) == 90_063
    for key in (SSH_LATLON, STRESS_LATLON):
        granule = opened(real, key)
        npt.assert_array_equal(granule["latitude"], latitude)
        npt.assert_array_equal(granule["longitude"], longitude)
        for name, variable in granule.data_vars.items():
            npt.assert_array_equal(np.isnan(variable.values[0]), dry, str(name))


@pytest.mark.parametrize(
    ("axis", "north_of", "near_the_pole"), [((0.0, 90.0), 90.0, 1e-3), ((30.0, 60.0), 88.0, 1.1e-2)]
)
def test_a_solid_body_rotation_on_the_real_grid_is_published_as_itself(
    real, grid, tmp_path, axis, north_of, near_the_pole
):
    """Written as model output of oceTAUX and oceTAUY, 1 N m⁻² a quarter turn from its axis.

    Within 2° of the pole the angles in the grid's own files, one to a cell, tell a flow across
    it to 1.1e-2 only; everywhere else, and for a flow around it, the limit is 1e-3.
    """
    fields = llc90_fields()
    flow = solid_body_flow(fields, axis_lon=axis[0], axis_lat=axis[1])
    wet = grid["Depth"] > 0
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    (inputs / "llc90").symlink_to(root_of(real).parent / "inputs" / "llc90")
    for name, values, neighbour in (
        ("oceTAUX", flow.u, left_values),
        ("oceTAUY", flow.v, lower_values),
    ):
        write_mds(
            inputs / "V4r4" / "diags_monthly" / f"{name}_mon_mean",
            name,
            "mon_mean",
            732,
            np.where(wet & neighbour(wet), values, 0.0),
            time_interval_s=(3600.0, 2635200.0),
        )
    made = production(tmp_path / "root", inputs)
    made.workspace().make(STRESS_LATLON, REAL_MONTH, Policy(allow_partial=True))
    granule = opened(made, STRESS_LATLON)
    nearest, averaged = nearest_cells(grid, granule)
    away = open_on_all_sides(fields).reshape(-1)
    for name, exact in (("oceTAUE", flow.east), ("oceTAUN", flow.north)):
        found = granule[name].values[0]
        inside = away[nearest] & np.isfinite(found) & ~averaged
        assert np.count_nonzero(inside) > 0.85 * WET_TARGETS
        assert np.count_nonzero(inside & (nearest // 8100 == 6)) > 5000
        off = np.abs(found - exact.reshape(-1)[nearest])
        near = grid["YC"].reshape(-1)[nearest] > north_of
        assert off[inside & ~near].max() < 1e-3, name
        assert off[inside].max() < near_the_pole, name
