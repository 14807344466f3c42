"""The analytic lat-lon-cap grid and the fields on it."""

import numpy as np
import numpy.testing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dor_ecco_assets.errors import ConfigurationError
from dor_ecco_assets.grids.latlon import EARTH_RADIUS_M, LatLonGrid
from dor_ecco_assets.grids.llc import (
    as_tiles,
    right_edge_values,
    tiles_from_compact,
    upper_edge_values,
)
from dor_ecco_assets.grids.llc_geometry import REQUIRED_FIELDS, grid_dataset, hfac_from_depth
from dor_ecco_assets.samples.llc_grid import (
    SOUTHERN_LATITUDE,
    cell_centres,
    cell_corners,
    checkerboard,
    index_field,
    sample_depth_m,
    sample_grid_fields,
    sample_levels,
    sample_salinity,
    sample_sea_surface_height_m,
    sample_temperature_degc,
    solid_body_flow,
)
from tests.support.data import llc90_fields


def east_and_north(u, v, fields):
    """Rotate face velocities to east and north at the centres, straight from the definition."""
    along_i = np.concatenate([u, right_edge_values(u, v)[..., None]], axis=-1)
    along_j = np.concatenate([v, upper_edge_values(u, v)[..., None, :]], axis=-2)
    i = (along_i[..., 1:] + along_i[..., :-1]) / 2
    j = (along_j[..., 1:, :] + along_j[..., :-1, :]) / 2
    cosine, sine = as_tiles(fields["AngleCS"]), as_tiles(fields["AngleSN"])
    return cosine * i - sine * j, sine * i + cosine * j


def largest_errors(fields, where, **axis):
    flow = solid_body_flow(fields, **axis)
    east, north = east_and_north(flow.u, flow.v, fields)
    return np.abs(east - flow.east)[where].max(), np.abs(north - flow.north)[where].max()


def wet(fields):
    return as_tiles(fields["Depth"]) > 0


@pytest.mark.parametrize("side", [1, 2, 5, 30])
def test_the_sample_has_every_required_field_in_compact_layout(side):
    fields = sample_grid_fields(side)
    assert set(fields) == set(REQUIRED_FIELDS)
    profiles = {"RC": (50,), "RF": (51,), "DRF": (50,)}
    for name, field in fields.items():
        assert field.shape == profiles.get(name, (13 * side, side))
        assert field.dtype == np.float64
        assert np.isfinite(field).all()
    assert (fields["RAC"] > 0).all()
    assert (fields["DXG"] > 0).all()
    assert (fields["DYG"] > 0).all()


def test_two_samples_are_equal_byte_for_byte():
    first, second = sample_grid_fields(7), sample_grid_fields(7)
    assert {n: f.tobytes() for n, f in first.items()} == {n: f.tobytes() for n, f in second.items()}


def test_a_side_below_one_is_refused():
    with pytest.raises(ConfigurationError, match="side 0") as caught:
        sample_grid_fields(0)
    assert caught.value.code == "SampleSideInvalid"


@pytest.mark.parametrize("side", [10, 30, 90])
def test_cells_tile_the_sphere_down_to_the_southern_edge(side):
    expected = 2 * np.pi * EARTH_RADIUS_M**2 * (1 - np.sin(np.radians(SOUTHERN_LATITUDE)))
    # Great circles between corners cut the southern parallel; the error falls with the side.
    assert sample_grid_fields(side)["RAC"].sum() == pytest.approx(expected, rel=3e-4)


@pytest.mark.parametrize("side", [10, 30, 90])
def test_between_60_and_75_percent_of_the_sample_is_water(side):
    fields = sample_grid_fields(side)
    assert 0.60 < wet(fields).mean() < 0.75
    assert 0.60 < np.average(fields["Depth"] > 0, weights=fields["RAC"]) < 0.75


@settings(max_examples=10, deadline=None)
@given(side=st.integers(1, 20))
def test_cap_vertices_and_closed_edges_are_land(side):
    water = wet(sample_grid_fields(side))
    assert not water[(0, 3), 0, :].any()
    assert not water[(9, 12), :, -1].any()
    assert not water[6, (0, 0, -1, -1), (0, -1, 0, -1)].any()
    assert not water[(2, 2, 5, 5), -1, (0, -1, 0, -1)].any()
    assert not water[(7, 7, 10, 10), (0, -1, 0, -1), 0].any()


def test_the_wet_mask_shrinks_with_depth_and_has_partial_cells():
    fields = sample_grid_fields(30)
    fraction = hfac_from_depth(as_tiles(fields["Depth"]), fields["RF"], fields["DRF"])
    count = (fraction > 0).sum(axis=(1, 2, 3))
    assert (np.diff(count) <= 0).all()
    assert count[0] > count[10] > count[25] > count[40] > count[49] > 0
    partial = fraction[(fraction > 0) & (fraction < 1)]
    assert partial.size > 0.5 * count[0]
    assert partial.min() >= np.float32(0.2)
    thinnest = np.where(fraction > 0, fraction * fields["DRF"][:, None, None, None], np.inf).min()
    assert thinnest >= 5.0 - 1e-5


def test_the_levels_reach_from_10_m_cells_to_6112_m():
    rc, rf, drf = sample_levels()
    assert drf[0] == 10.0
    assert drf[-1] == 450.0
    assert -rf[-1] == pytest.approx(6112.245, abs=1e-3)
    npt.assert_allclose(-np.diff(rf), drf, rtol=1e-12)
    npt.assert_allclose(rc, rf[:-1] - drf / 2, rtol=1e-12)


def test_sectors_are_latitude_longitude_cells_and_later_faces_are_turned():
    fields = sample_grid_fields(6)
    cosine, sine = as_tiles(fields["AngleCS"]), as_tiles(fields["AngleSN"])
    npt.assert_allclose(cosine**2 + sine**2, 1.0, rtol=1e-14)
    npt.assert_allclose(cosine[:6], 1.0, rtol=1e-14)
    npt.assert_allclose(sine[7:], -1.0, rtol=1e-14)
    lon, lat = cell_centres(6)
    npt.assert_array_equal(lat[:6], np.broadcast_to(lat[:6, :, :1], (6, 6, 6)))
    npt.assert_array_equal(lon[7:], np.broadcast_to(lon[7:, :, :1], (6, 6, 6)))
    assert (np.diff(lat[:6], axis=1) > 0).all()
    assert (np.diff(lat[7:], axis=2) < 0).all()


def test_grid_lines_of_the_cap_meet_at_right_angles():
    """A conformal map keeps angles: both directions of a small cell agree on its orientation."""
    fields = sample_grid_fields(31)
    lon, lat = (np.radians(corner[6]) for corner in cell_corners(31))
    points = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    along_i = points[:, :-1, 1:] + points[:, 1:, 1:] - points[:, :-1, :-1] - points[:, 1:, :-1]
    along_j = points[:, 1:, :-1] + points[:, 1:, 1:] - points[:, :-1, :-1] - points[:, :-1, 1:]
    lengths = np.linalg.norm(along_i, axis=0), np.linalg.norm(along_j, axis=0)
    cosine = (along_i * along_j).sum(axis=0) / (lengths[0] * lengths[1])
    assert np.abs(cosine[1:-1, 1:-1]).max() < 0.01
    # And cells are square: the map stretches both ways alike.
    assert np.abs(lengths[0] / lengths[1] - 1)[1:-1, 1:-1].max() < 0.02
    assert np.abs(as_tiles(fields["YC"])[6, 15, 15] - 90.0) < 1e-6


def test_positions_lie_between_minus_180_and_180_degrees():
    for lon, lat in (cell_centres(9), cell_corners(9)):
        assert ((lon >= -180) & (lon <= 180)).all()
        assert ((lat >= SOUTHERN_LATITUDE - 1e-9) & (lat <= 90)).all()


@settings(max_examples=10, deadline=None)
@given(axis_lon=st.floats(-180, 180), axis_lat=st.floats(-90, 90))
def test_rotation_recovers_solid_body_flow_on_the_sample_grid(axis_lon, axis_lat):
    fields = sample_grid_fields(30)
    errors = largest_errors(fields, wet(fields), axis_lon=axis_lon, axis_lat=axis_lat)
    assert max(errors) < 2e-3


def test_the_error_of_the_recovered_flow_falls_with_the_square_of_the_side():
    coarse, fine = (
        max(largest_errors(f, wet(f), axis_lon=30.0, axis_lat=40.0))
        for f in (sample_grid_fields(20), sample_grid_fields(60))
    )
    assert fine < coarse / 6


def test_rotation_recovers_solid_body_flow_on_the_real_grid():
    fields = llc90_fields()
    eastward, northward = largest_errors(fields, wet(fields))
    assert eastward < 5e-4
    assert northward < 2.2e-4


@pytest.mark.parametrize(("axis_lon", "axis_lat"), [(0, 0), (90, 0), (30, 40), (-120, -70)])
def test_any_axis_is_recovered_on_the_real_grid_away_from_the_pole(axis_lon, axis_lat):
    fields = llc90_fields()
    # Within five cells of the pole the angles of LLC90 itself are off by up to 0.02 radian.
    away = wet(fields) & (as_tiles(fields["YC"]) < 85)
    assert max(largest_errors(fields, away, axis_lon=axis_lon, axis_lat=axis_lat)) < 1e-3


def test_solid_body_flow_about_the_pole_is_eastward_with_the_cosine_of_latitude():
    fields = sample_grid_fields(6)
    flow = solid_body_flow(fields, speed_m_s=0.3)
    npt.assert_allclose(flow.east, 0.3 * np.cos(np.radians(as_tiles(fields["YC"]))), atol=1e-15)
    npt.assert_allclose(flow.north, 0.0, atol=1e-15)
    assert (flow.u[:6] > 0).all()
    assert (flow.v[7:] > 0).all()


def test_opposite_axes_give_opposite_flows():
    fields = sample_grid_fields(5)
    there = solid_body_flow(fields, axis_lon=20.0, axis_lat=35.0)
    back = solid_body_flow(fields, axis_lon=-160.0, axis_lat=-35.0)
    for name in ("u", "v", "east", "north"):
        npt.assert_allclose(getattr(there, name), -getattr(back, name), atol=1e-12)


@given(month=st.floats(1, 13))
def test_the_area_mean_of_sea_surface_height_is_zero_in_every_month(month):
    grid = LatLonGrid(2.0)
    height = sample_sea_surface_height_m(grid.longitude, grid.latitude[:, None], month)
    assert height.shape == grid.shape
    assert abs(height).max() <= 0.8 + 1e-12
    # The mid-point rule on two-degree rows leaves 2e-4 of the amplitude.
    assert abs(np.average(height, weights=grid.cell_area_m2())) < 5e-4


def test_fields_repeat_after_a_year_and_stay_within_their_ranges():
    lon, lat = cell_centres(10)
    depth = np.array([0.0, 100.0, 1000.0, 6000.0])[:, None, None, None]
    for month in (1, 4, 7, 10):
        temperature = sample_temperature_degc(lon, lat, depth, month)
        again = sample_temperature_degc(lon, lat, depth, month + 12)
        npt.assert_allclose(temperature, again, atol=1e-12)
        assert temperature.min() > -0.3
        assert temperature.max() < 28.0
    salinity = sample_salinity(lat, depth)
    assert salinity.min() >= 34.7
    assert salinity.max() <= 36.2


@given(longitude=st.floats(-180, 180), latitude=st.floats(-90, 90))
def test_depth_is_a_function_of_position_alone(longitude, latitude):
    depth = sample_depth_m(longitude, latitude)
    assert 0 <= depth < 6112
    npt.assert_allclose(depth, sample_depth_m(longitude + 360, latitude), atol=1e-6)
    npt.assert_allclose(sample_depth_m(longitude, 90.0), sample_depth_m(0.0, 90.0), atol=1e-6)


def test_fields_for_layout_tests_have_their_pattern():
    npt.assert_array_equal(index_field(4), tiles_from_compact(np.arange(208).reshape(52, 4)))
    board = checkerboard(4)
    assert board.sum() == 0
    assert (board[:, 1:] == -board[:, :-1]).all()
    assert (board[:, :, 1:] == -board[:, :, :-1]).all()


def test_the_sample_makes_a_whole_dataset():
    dataset = grid_dataset(sample_grid_fields(4), source="analytic sample")
    assert dataset.sizes["tile"] == 13
    assert dataset.attrs["side"] == 4
    assert bool(dataset["maskW"].any())
