"""POP grids: the three layouts they come in, areas on the sphere, and what is refused."""

import netCDF4
import numpy as np
import numpy.testing as npt
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from dor_ecco_assets.errors import InputMissing, InputUnusable
from dor_ecco_assets.grids.pop import (
    POP_RADIUS_M,
    PopCells,
    corners_from_u_points,
    parse_levels,
    pop_grid_dataset,
    read_pop_grid,
    spherical_area,
    u_points_from_t,
)
from dor_ecco_assets.grids.products import grid_products
from dor_ecco_assets.lineage.product import by_key
from dor_ecco_assets.lineage.workspace import Workspace
from dor_ecco_assets.samples.pop_grid import sample_pop_grid, write_pop_grid
from dor_ecco_assets.storage import Directory
from tests.support.data import real_data

CMIP = "tos_Omon_CESM2-FV2_historical_r1i1p1f1_gn_200001.nc"
EIGHTH = np.array([0.0, 0.0, 90.0, 90.0]), np.array([0.0, 90.0, 90.0, 0.0])


def gx1v7() -> xr.Dataset:
    return read_pop_grid(
        real_data("pop", CMIP).read_bytes(),
        name="pop_gx1v7",
        shape=(384, 320, 60),
        vertical=real_data("pop", "vert_grid", "gx1v7_vert_grid").read_bytes(),
    )


def gx3v7() -> xr.Dataset:
    return read_pop_grid(
        real_data("pop", "grid_gx3v7", "pop-grid-vars.nc").read_bytes(),
        name="pop_gx3v7",
        shape=(116, 100, 60),
        vertical=real_data("pop", "vert_grid", "gx3v7_vert_grid").read_bytes(),
    )


def test_an_octant_of_the_sphere_has_an_eighth_of_its_area():
    npt.assert_allclose(spherical_area(*EIGHTH), np.pi / 2, rtol=1e-15)


@given(shift=st.floats(-720, 720), lat=st.floats(-80, 70), size=st.floats(1e-3, 10))
def test_an_area_does_not_depend_on_longitude_or_its_jump(shift, lat, size):
    corners = lat + np.array([0, 0, size, size]), np.array([0, size, size, 0])
    here = spherical_area(*corners)
    npt.assert_allclose(spherical_area(corners[0], (corners[1] + shift) % 360), here, rtol=1e-7)
    assert here > 0


def test_corners_follow_from_u_points_but_for_the_southern_edge():
    grid = sample_pop_grid(40, 32, 2)
    lat, lon = corners_from_u_points(grid["ULAT"].values, grid["ULONG"].values)
    npt.assert_array_equal(lat[1:], grid["corner_lat"].values[1:])
    npt.assert_array_equal(lon[1:], grid["corner_lon"].values[1:])
    npt.assert_allclose(lat[0], grid["corner_lat"].values[0], atol=1.0)


def test_u_points_are_near_the_mean_of_the_t_points_around_them():
    grid = sample_pop_grid(192, 160, 2)
    lat, lon = u_points_from_t(grid["TLAT"].values, grid["TLONG"].values)
    cells = slice(2, 170)
    npt.assert_allclose(lat[cells], grid["ULAT"].values[cells], atol=0.05)
    turn = (lon - grid["ULONG"].values + 180) % 360 - 180
    npt.assert_allclose(turn[cells], 0, atol=0.3)


def test_levels_are_the_first_column_of_the_text():
    npt.assert_array_equal(parse_levels(b"1000.0 5.0 10.0\n10.5e+2 1.0\n\n"), [1000.0, 1050.0])
    with pytest.raises(InputUnusable, match="thickness in cm") as caught:
        parse_levels(b"<html>\n", "levels")
    assert caught.value.code == "GridUnreadable"


# Real grids


def test_the_real_one_degree_grid_keeps_its_undefined_land_points():
    grid = gx1v7()
    wet = grid["wet"].values
    assert dict(grid.sizes) == {"nlat": 384, "nlon": 320, "corner": 4, "z_t": 60}
    assert int(wet.sum()) == 86_096
    assert int(np.isnan(grid["TLAT"].values).sum()) == 16_016
    assert np.isfinite(grid["TLAT"].values[wet]).all()
    assert np.isfinite(grid["corner_lat"].values).all()
    assert "KMT" not in grid
    assert grid.attrs["kmt_source"].startswith("none at hand")
    npt.assert_allclose(grid["dz"].values.sum(), 549_999.0364, atol=1e-3)
    npt.assert_allclose(grid["z_w_bot"].values[-1], 549_999.0364, atol=1e-3)
    npt.assert_array_equal(grid["z_w"].values[1:], grid["z_w_bot"].values[:-1])


def test_areas_of_the_real_grids_agree_with_what_the_model_says():
    one, three = gx1v7(), gx3v7()
    npt.assert_allclose(one["area_m2"].sum(), three["area_m2"].sum(), rtol=1e-4)
    npt.assert_allclose(three["area_m2"].sum(), 5.0526e14, rtol=1e-4)
    ocean = [float(grid["area_m2"].values[grid["wet"].values].sum()) for grid in (one, three)]
    npt.assert_allclose(ocean, 3.606e14, rtol=1e-3)
    estimated = spherical_area(three["corner_lat"].values, three["corner_lon"].values)
    npt.assert_allclose(
        np.median(estimated * POP_RADIUS_M**2 / three["area_m2"].values), 1, atol=1e-3
    )
    assert three.attrs["corner_source"] == "means of four T points"
    assert three.attrs["area_source"] == "TAREA of the file"
    assert int(three["KMT"].values.max()) == 60


def test_u_points_of_the_real_grid_are_the_north_east_corners():
    grid = gx1v7()
    npt.assert_array_equal(grid["ULAT"].values, grid["corner_lat"].values[..., 2])
    inner = grid["corner_lat"].values[:, :-1]
    npt.assert_array_equal(inner[..., 2], grid["corner_lat"].values[:, 1:, 3])


def test_a_scrip_grid_in_radians_is_read():
    grid = read_pop_grid(
        real_data("pop", "scrip", "remap_grid_POP43.nc").read_bytes(),
        name="pop43",
        shape=(128, 192, 2),
        vertical=b"1000.0\n2000.0\n",
    )
    assert 16_000 < int(grid["wet"].sum()) < 16_500
    assert float(np.abs(grid["TLAT"]).max()) > 75
    npt.assert_allclose(float(grid["area_m2"].sum()), 5.0e14, rtol=2e-3)


# Refused


def sample_bytes(tmp_path, change=None, **sizes) -> bytes:
    grid = sample_pop_grid(**({"nlat": 24, "nlon": 20, "nz": 3} | sizes))
    path = write_pop_grid(tmp_path / "grid.nc", grid)
    if change is not None:
        with netCDF4.Dataset(path, "r+") as file:
            file.set_auto_maskandscale(False)
            change(file)
    return path.read_bytes()


def first_wet(file):
    return tuple(np.argwhere(file["KMT"][:] > 0)[0])


def mask_wet_point(file):
    file["TLAT"][first_wet(file)] = 9.969209968386869e36


def too_far_north(file):
    file["TLAT"][0, 0] = 91.0


def too_many_levels(file):
    file["KMT"][first_wet(file)] = 99


def no_area(file):
    file["TAREA"][first_wet(file)] = 0.0


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        (mask_wet_point, "GridCoordinatesMasked", "1 wet cells have masked coordinates"),
        (too_far_north, "GridValues", "TLAT"),
        (too_many_levels, "GridValues", "KMT"),
        (no_area, "GridValues", "TAREA"),
        (lambda file: file.renameVariable("KMT", "K"), "GridVariableMissing", "no KMT"),
        (lambda file: file.renameVariable("TLONG", "L"), "GridVariableMissing", "no TLONG"),
        (lambda file: file.renameVariable("dz", "d"), "GridVariableMissing", "no dz"),
    ],
)
def test_a_spoilt_grid_file_is_refused(tmp_path, change, code, says):
    with pytest.raises(InputUnusable, match=says) as caught:
        read_pop_grid(
            sample_bytes(tmp_path, change), name="pop_sample", shape=(24, 20, 3), uri="grid.nc"
        )
    assert caught.value.code == code


@pytest.mark.parametrize("shape", [(25, 20, 3), (24, 21, 3), (24, 20, 4)])
def test_a_grid_of_another_size_is_refused(tmp_path, shape):
    with pytest.raises(InputUnusable, match="belongs to this grid") as caught:
        read_pop_grid(sample_bytes(tmp_path), name="pop_sample", shape=shape)
    assert caught.value.code == "GridSizes"


@pytest.mark.parametrize("data", [b"", b"<html>", b"CDF\x02\x00"])
def test_bytes_that_are_no_netcdf_are_refused(data):
    with pytest.raises(InputUnusable) as caught:
        read_pop_grid(data, name="pop_sample", shape=(24, 20, 3), uri="grid.nc")
    assert caught.value.code == "GridUnreadable"


@settings(max_examples=20, deadline=None)
@given(cut=st.integers(8, 4000))
def test_a_truncated_grid_file_is_refused(tmp_path_factory, cut):
    whole = sample_bytes(tmp_path_factory.mktemp("grid"))
    with pytest.raises(InputUnusable):
        read_pop_grid(whole[:-cut], name="pop_sample", shape=(24, 20, 3))


def test_a_written_grid_reads_back_with_its_undefined_points(tmp_path):
    grid = sample_pop_grid(24, 20, 3, undefined_land=True)
    data = write_pop_grid(tmp_path / "grid.nc", grid).read_bytes()
    back = read_pop_grid(data, name="pop_sample", shape=(24, 20, 3))
    assert np.isnan(grid["TLAT"].values).any()
    for name in ("TLAT", "TLONG", "ULAT", "ULONG", "TAREA", "dz", "z_t", "KMT", "REGION_MASK"):
        npt.assert_array_equal(back[name].values, grid[name].values)
    npt.assert_array_equal(back["wet"].values, grid["wet"].values)


def test_a_grid_of_u_points_alone_gets_its_areas_from_corners():
    sample = sample_pop_grid(24, 20, 3)
    cells = PopCells(
        tlat=sample["TLAT"].values,
        tlong=sample["TLONG"].values,
        wet=sample["wet"].values,
        ulat=sample["ULAT"].values,
        ulong=sample["ULONG"].values,
    )
    grid = pop_grid_dataset(cells, sample["dz"].values, name="bare")
    npt.assert_allclose(grid["TAREA"].values[1:], sample["TAREA"].values[1:], rtol=1e-14)
    assert "solid angle" in grid.attrs["area_source"]


# As products


def workspace(tmp_path) -> Workspace:
    inputs = Directory(tmp_path / "inputs")
    return Workspace(Directory(tmp_path / "data"), inputs, by_key(grid_products()))


def test_a_configured_grid_is_a_product_of_its_files(tmp_path):
    place = workspace(tmp_path)
    path = tmp_path / "inputs/pop/grid_sample/pop-grid-vars.nc"
    write_pop_grid(path, sample_pop_grid(48, 40, 6))
    first = place.fingerprint("grids/pop_sample")
    assert place.make("grids/pop_sample", "").record is not None
    with xr.open_zarr(tmp_path / "data/grids/pop_sample.zarr", consolidated=False) as made:
        npt.assert_array_equal(made["KMT"].values, sample_pop_grid(48, 40, 6)["KMT"].values)
    assert place.refreshed().state("grids/pop_sample", "").standing == "up to date"
    write_pop_grid(path, sample_pop_grid(48, 40, 6, undefined_land=True))
    again = place.refreshed()
    assert again.fingerprint("grids/pop_sample") != first
    assert again.state("grids/pop_sample", "").standing == "stale"


def test_a_grid_without_files_says_which_it_looked_for(tmp_path):
    (tmp_path / "inputs").mkdir()
    with pytest.raises(InputMissing, match="grid_gx1v7/pop-grid-vars.nc, pop/tos_Omon"):
        workspace(tmp_path).make("grids/pop_gx1v7", "")


def test_every_configured_grid_is_read_from_real_data(tmp_path):
    place = Workspace(Directory(tmp_path / "data"), Directory(real_data()), by_key(grid_products()))
    for name in ("pop_gx1v7", "pop_gx3v7"):
        assert place.make(f"grids/{name}", "").record.details["wet_columns"] > 7000
