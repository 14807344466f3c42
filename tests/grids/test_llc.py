"""Tiles, connections and values across tile edges."""

from functools import cache

import hypothesis.extra.numpy as hnp
import numpy as np
import numpy.testing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dor_ecco_assets.errors import GridMismatch
from dor_ecco_assets.grids.llc import (
    CONNECTIONS,
    OWN_AXIS,
    as_tiles,
    compact_from_tiles,
    corner_points,
    facing_values,
    left_values,
    lower_values,
    right_edge_values,
    tiles_from_compact,
    upper_edge_values,
)
from dor_ecco_assets.grids.llc_geometry import corner_bounds, xyz_from_lonlat
from dor_ecco_assets.samples.llc_grid import (
    cell_corners,
    index_field,
    sample_grid_fields,
    solid_body_flow,
)
from tests.support.data import llc90_fields

EARTH_RADIUS_KM = 6371.0
SIDES = (1, 2, 3, 6, 7, 30)
OPPOSITE = {"left": "right", "right": "left", "below": "above", "above": "below"}

sides = st.integers(1, 7)


@cache
def sample_tiles(side):
    return {
        name: as_tiles(field) for name, field in sample_grid_fields(side).items() if field.ndim == 2
    }


def real_tiles():
    return {name: as_tiles(field) for name, field in llc90_fields().items() if field.ndim == 2}


def arc_km(a, b):
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.minimum(np.linalg.norm(a - b, axis=0) / 2, 1))


@st.composite
def compact_fields(draw):
    side = draw(sides)
    lead = draw(hnp.array_shapes(min_dims=0, max_dims=2, max_side=3))
    dtype = draw(st.sampled_from([">f4", ">f8", "<f4", "<f8", "<i4", "|u1"]))
    shape = (*lead, 13 * side, side)
    raw = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return np.frombuffer(raw.bytes(int(np.prod(shape)) * np.dtype(dtype).itemsize), dtype).reshape(
        shape
    )


@given(compact=compact_fields())
def test_compact_to_tiles_and_back_returns_the_same_bytes(compact):
    back = compact_from_tiles(tiles_from_compact(compact))
    assert back.dtype == compact.dtype
    assert back.tobytes() == compact.tobytes()


@given(compact=compact_fields())
def test_tiles_to_compact_and_back_returns_the_same_bytes(compact):
    tiles = compact.reshape(*compact.shape[:-2], 13, compact.shape[-1], compact.shape[-1])
    assert tiles_from_compact(compact_from_tiles(tiles)).tobytes() == tiles.tobytes()


@given(side=sides)
def test_every_tile_reads_the_compact_rows_that_the_layout_names(side):
    compact = np.arange(13 * side * side).reshape(13 * side, side)
    tiles = tiles_from_compact(compact)
    for tile, j, i in np.ndindex(13, side, side):
        if tile <= 6:
            row = tile * side + j
        elif tile <= 9:
            row = 7 * side + 3 * j + (tile - 7)
        else:
            row = 10 * side + 3 * j + (tile - 10)
        assert tiles[tile, j, i] == compact[row, i]
    npt.assert_array_equal(tiles, index_field(side))


@given(compact=compact_fields())
def test_either_layout_is_recognised_by_its_shape(compact):
    tiles = tiles_from_compact(compact)
    assert as_tiles(tiles) is tiles
    assert as_tiles(compact).tobytes() == tiles.tobytes()


@pytest.mark.parametrize("shape", [(4,), (13, 4, 5), (12, 4, 4), (1170, 91), (52, 5)])
@pytest.mark.parametrize(
    "function", [as_tiles, tiles_from_compact, compact_from_tiles, left_values, corner_points]
)
def test_a_shape_that_is_no_lat_lon_cap_grid_is_refused(function, shape):
    with pytest.raises(GridMismatch, match="expected") as caught:
        function(np.zeros(shape))
    assert caught.value.code == "ShapeMismatch"


def test_components_of_different_shape_are_refused():
    with pytest.raises(GridMismatch, match="must be equal"):
        right_edge_values(np.zeros((13, 4, 4)), np.zeros((2, 13, 4, 4)))


def connections():
    """Every directed connection of the 13 tiles."""
    for tile, sides in enumerate(CONNECTIONS):
        for side, neighbour in sides.items():
            if neighbour is not None:
                yield tile, side, neighbour


def test_there_are_48_connections_and_each_has_its_way_back():
    edges = list(connections())
    assert len(edges) == 48
    for tile, side, neighbour in edges:
        back = "right" if side in ("left", "below") else "left"
        back = back if neighbour.axis == "X" else {"right": "above", "left": "below"}[back]
        returned = CONNECTIONS[neighbour.tile][back]
        assert returned is not None
        assert returned.tile == tile
        assert returned.axis == OWN_AXIS[side]


def edge_lines(points, tile, edge):
    at = 0 if edge in ("left", "below") else -1
    return points[..., tile, :, at] if OWN_AXIS[edge] == "X" else points[..., tile, at, :]


@pytest.mark.parametrize("side", SIDES)
def test_connected_tiles_of_the_sample_grid_share_the_corners_of_their_edge(side):
    corners = xyz_from_lonlat(*cell_corners(side))
    for tile, edge, _ in connections():
        theirs = facing_values(corners, tile, edge)
        assert theirs is not None
        assert arc_km(edge_lines(corners, tile, edge), theirs).max() < 1e-3


def largest_gap_in_cells(fields, tile, edge):
    """Distance of facing centres over the sum of both cells' reach, the largest on one edge."""
    position = (fields["XC"], fields["YC"], fields["XG"], fields["YG"])
    bounds = corner_bounds(*position)
    centres = xyz_from_lonlat(*position[:2])
    corners = xyz_from_lonlat(bounds.longitude, bounds.latitude)
    reach = np.max([arc_km(centres, corners[..., c]) for c in range(4)], axis=0)
    gap = arc_km(edge_lines(centres, tile, edge), facing_values(centres, tile, edge))
    return (gap / (edge_lines(reach, tile, edge) + facing_values(reach, tile, edge))).max()


@pytest.mark.parametrize("side", [3, 6, 7, 30])
def test_facing_cells_of_the_sample_grid_touch_on_all_connections(side):
    fields = sample_tiles(side)
    for tile, edge, _ in connections():
        assert largest_gap_in_cells(fields, tile, edge) < 1.05


def test_facing_centres_of_the_real_grid_are_at_most_111_2_km_apart():
    fields = real_tiles()
    centres = xyz_from_lonlat(fields["XC"], fields["YC"])
    gaps = {
        (tile, edge): arc_km(edge_lines(centres, tile, edge), facing_values(centres, tile, edge))
        for tile, edge, _ in connections()
    }
    assert len(gaps) == 48
    assert max(gap.max() for gap in gaps.values()) < 111.2


def test_reading_a_real_edge_the_wrong_way_round_tears_it_apart():
    fields = real_tiles()
    centres = xyz_from_lonlat(fields["XC"], fields["YC"])
    for tile, edge, _ in connections():
        reversed_order = facing_values(centres, tile, edge)[..., ::-1]
        assert arc_km(edge_lines(centres, tile, edge), reversed_order).max() > 1500


@given(side=sides, seed=st.integers(0, 2**32 - 1))
def test_neighbours_to_the_left_and_below_are_the_facing_cells(side, seed):
    tiles = np.random.default_rng(seed).normal(size=(2, 13, side, side))
    for shifted, edge, inner in (
        (left_values(tiles), "left", (np.s_[..., :, 1:], np.s_[..., :, :-1])),
        (lower_values(tiles), "below", (np.s_[..., 1:, :], np.s_[..., :-1, :])),
    ):
        npt.assert_array_equal(shifted[inner[0]], tiles[inner[1]])
        for tile in range(13):
            facing = facing_values(tiles, tile, edge)
            expected = np.zeros((2, side)) if facing is None else facing
            npt.assert_array_equal(edge_lines(shifted, tile, edge), expected)


@given(side=sides)
def test_each_cell_is_the_left_or_lower_neighbour_of_two_cells_save_at_closed_edges(side):
    numbers = index_field(side) + 1
    entered = np.concatenate([left_values(numbers).ravel(), lower_values(numbers).ravel()])
    counts = np.bincount(entered, minlength=13 * side * side + 1)
    assert counts[0] == 2 * side  # below tiles 0 and 3
    expected = np.full((13, side, side), 2)
    expected[(9, 12), :, -1] -= 1  # nothing lies right of tiles 9 and 12
    npt.assert_array_equal(counts[numbers], expected)


@given(side=sides, seed=st.integers(0, 2**32 - 1))
def test_edge_values_follow_the_rotation_rule_letter_by_letter(side, seed):
    u, v = np.random.default_rng(seed).normal(size=(2, 13, side, side))
    right, upper = right_edge_values(u, v), upper_edge_values(u, v)
    for tile, n in np.ndindex(13, side):
        neighbour = CONNECTIONS[tile]["right"]
        if neighbour is None:
            expected = 0.0
        elif neighbour.axis == "X":
            expected = u[neighbour.tile, n, 0]
        else:
            expected = v[neighbour.tile, 0, side - 1 - n]
        assert right[tile, n] == expected
        neighbour = CONNECTIONS[tile]["above"]
        assert neighbour is not None
        if neighbour.axis == "Y":
            expected = v[neighbour.tile, 0, n]
        else:
            expected = u[neighbour.tile, side - 1 - n, 0]
        assert upper[tile, n] == expected


def test_edge_values_are_zero_at_the_two_closed_right_edges_only():
    ones = np.ones((13, 4, 4), np.float32)
    right = right_edge_values(ones, ones)
    assert right.dtype == np.float32
    npt.assert_array_equal(np.flatnonzero((right == 0).all(axis=-1)), [9, 12])
    assert (upper_edge_values(ones, ones) == 1).all()


def test_leading_axes_are_carried_through_unchanged():
    u, v = np.random.default_rng(7).normal(size=(2, 3, 5, 13, 4, 4))
    for function in (right_edge_values, upper_edge_values):
        assert function(u, v).shape == (3, 5, 13, 4)
        npt.assert_array_equal(function(u, v)[2, 1], function(u[2, 1], v[2, 1]))
    npt.assert_array_equal(corner_points(u)[1, 4], corner_points(u[1, 4]))


@settings(max_examples=20, deadline=None)
@given(
    side=st.sampled_from(SIDES),
    axis_lon=st.floats(-180, 180),
    axis_lat=st.floats(-90, 90),
)
def test_what_flows_out_of_a_tile_flows_into_the_next(side, axis_lon, axis_lat):
    fields = sample_tiles(side)
    flow = solid_body_flow(sample_grid_fields(side), axis_lon=axis_lon, axis_lat=axis_lat)
    across_west, across_south = flow.u * fields["DYG"], flow.v * fields["DXG"]
    east = np.concatenate(
        [across_west, right_edge_values(across_west, across_south)[..., None]], axis=-1
    )
    north = np.concatenate(
        [across_south, upper_edge_values(across_west, across_south)[..., None, :]], axis=-2
    )
    outflow = np.diff(east, axis=-1) + np.diff(north, axis=-2)
    outflow[(9, 12), :, -1] = 0  # their right edge is closed
    outflow[3, 0, -1] = 0  # its lower-right corner belongs to no tile
    assert np.abs(outflow).max() < 1e-8 * max(np.abs(across_west).max(), np.abs(across_south).max())


@pytest.mark.parametrize("side", SIDES)
def test_corner_points_of_the_sample_grid_are_the_analytic_ones(side):
    lon, lat = cell_corners(side)
    found = corner_points(xyz_from_lonlat(lon[:, :-1, :-1], lat[:, :-1, :-1]))
    unknown = np.isnan(found).any(axis=0)
    # Two closed edges of L + 1 points, less the last of tile 12 which tile 0 owns; tile 3's
    # lower-right; the cap vertex seen from three tiles.
    assert unknown.sum() == 2 * (side + 1) - 1 + 1 + 3
    truth = xyz_from_lonlat(lon, lat)
    assert arc_km(found[:, ~unknown], truth[:, ~unknown]).max() < 1e-3


def test_a_third_pass_over_the_corners_adds_nothing():
    lower_left = np.ones((13, 6, 6))
    npt.assert_array_equal(corner_points(lower_left, passes=3), corner_points(lower_left))
