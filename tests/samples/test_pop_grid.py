"""The analytic displaced-pole grid: closed areas, closed edges, land where poles are."""

import numpy as np
import numpy.testing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dor_ecco_assets.errors import ConfigurationError
from dor_ecco_assets.grids.pop import POP_RADIUS_M, spherical_area
from dor_ecco_assets.samples.pop_grid import (
    grid_vertices,
    sample_levels_cm,
    sample_polygons,
    sample_pop_grid,
)

SIZES = [(8, 8, 1), (36, 30, 2), (48, 40, 6), (96, 80, 12)]


def outline_area(lat, lon, pole_lat, pole_lon) -> float:
    """Solid angle between a closed row of vertices and a point inside it, as a fan of triangles."""
    a, b, c = (
        np.stack(
            [
                np.cos(np.deg2rad(p)) * np.cos(np.deg2rad(m)),
                np.cos(np.deg2rad(p)) * np.sin(np.deg2rad(m)),
                np.sin(np.deg2rad(p)),
            ],
            axis=-1,
        )
        for p, m in ((lat[:-1], lon[:-1]), (lat[1:], lon[1:]), (pole_lat, pole_lon))
    )
    # L'Huilier's theorem, from the three sides
    sides = [np.arccos(np.clip((p * q).sum(-1), -1, 1)) for p, q in ((a, b), (b, c), (c, a))]
    half = sum(sides) / 2
    product = np.tan(half / 2)
    for side in sides:
        product = product * np.tan((half - side) / 2)
    return float((4 * np.arctan(np.sqrt(np.maximum(product, 0)))).sum())


@pytest.mark.parametrize("size", SIZES)
def test_areas_add_up_to_the_sphere_without_the_hole_and_the_southern_cap(size):
    grid = sample_pop_grid(*size)
    lat, lon = (v[::2, ::2] for v in grid_vertices(*size[:2]))
    missing = outline_area(lat[0], lon[0], -90.0, 0.0)
    missing += outline_area(lat[-1], lon[-1], 76.25, 320.0)
    total = float(grid["area_m2"].sum()) / POP_RADIUS_M**2
    npt.assert_allclose(total + missing, 4 * np.pi, rtol=1e-9)


@pytest.mark.parametrize("size", SIZES)
def test_a_sample_grid_is_a_whole_ocean_with_closed_edges(size):
    grid = sample_pop_grid(*size)
    kmt = grid["KMT"].values
    assert not kmt[[0, -1]].any()
    assert kmt.max() <= size[2]
    npt.assert_array_equal(grid["wet"].values, kmt > 0)
    assert 0.4 < grid["wet"].values.mean() < 0.8
    assert (spherical_area(grid["corner_lat"].values, grid["corner_lon"].values) > 0).all()
    assert set(np.unique(grid["REGION_MASK"].values[kmt == 0])) == {0}
    # The displaced pole: the last row of corners circles Greenland, not the pole
    assert float(grid["corner_lat"].values[-1, :, 2:].max()) < 82
    assert grid.attrs["source"] == "analytic sample"


@settings(max_examples=15, deadline=None)
@given(nlat=st.integers(8, 60), nlon=st.integers(8, 60), nz=st.integers(1, 60))
def test_any_size_gives_the_same_grid_twice(nlat, nlon, nz):
    grid = sample_pop_grid(nlat, nlon, nz)
    assert grid.identical(sample_pop_grid(nlat, nlon, nz))
    assert np.isfinite(grid["TLAT"].values).all()
    assert (grid["TLAT"].values[0] < -60).all()
    assert (grid["area_m2"].values > 0).all()


@given(nz=st.integers(1, 100))
def test_levels_are_exact_in_float32(nz):
    levels = sample_levels_cm(nz)
    npt.assert_array_equal(levels.astype(np.float32).astype(np.float64), levels)
    npt.assert_allclose(levels.sum(), 550_000, atol=nz / 16)
    assert (np.diff(levels) >= 0).all()


def test_undefined_land_hides_no_cell_beside_water():
    grid = sample_pop_grid(48, 40, 3, undefined_land=True)
    hidden = np.isnan(grid["TLAT"].values)
    wet = grid["wet"].values
    assert hidden.sum() > 100
    for dj in (-1, 0, 1):
        for di in (-1, 0, 1):
            near = np.roll(np.roll(wet, dj, 0), di, 1)
            assert not (hidden & near)[1:-1].any()


def test_polygons_are_disjoint_clusters_of_wet_cells():
    grid = sample_pop_grid(36, 30, 2)
    mask = sample_polygons(grid, 690)
    assert np.unique(mask[mask >= 0]).tolist() == list(range(690))
    assert not (mask >= 0)[~grid["wet"].values].any()


@pytest.mark.parametrize(
    "call", [lambda: sample_pop_grid(7, 8, 1), lambda: sample_pop_grid(8, 8, 0)]
)
def test_too_small_a_grid_is_refused(call):
    with pytest.raises(ConfigurationError, match="at least 8 x 8 x 1"):
        call()


def test_more_polygons_than_wet_cells_are_refused():
    with pytest.raises(ConfigurationError, match="take a larger sample grid"):
        sample_polygons(sample_pop_grid(8, 8, 1), 690)
