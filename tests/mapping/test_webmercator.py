"""Weights to Web Mercator: constants, integrals, land, seams, poles, accuracy, bad input."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.testing as npt
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from dor_ecco_assets.errors import ConfigurationError, DorEccoError, GridMismatch
from dor_ecco_assets.grids.latlon import LatLonGrid
from dor_ecco_assets.grids.pop import spherical_area
from dor_ecco_assets.mapping.bilinear import patches_of
from dor_ecco_assets.mapping.cells import (
    SourceCells,
    complete_corners,
    source_cells,
    unit_vectors,
)
from dor_ecco_assets.mapping.conservative import outlines, overlaps
from dor_ecco_assets.mapping.webmercator import (
    WebMercatorWeights,
    apply_reference,
    check_field,
    check_source,
    from_dataset,
    pixel_areas,
    to_dataset,
    weights_sha256,
)
from dor_ecco_assets.samples.pop_grid import sample_pop_grid
from tests.mapping.webmercator_sources import (
    ALL,
    SMALL,
    all_wet,
    build,
    centres,
    edges,
    grid,
    smooth,
    square,
)

METHODS = ("conservative", "bilinear")


def both(cells: SourceCells, **choices: Any) -> list[WebMercatorWeights]:
    return [build(cells, methods=[method] * 2, **choices) for method in METHODS]


# Constants, rows


@pytest.mark.parametrize("name", ALL)
def test_a_constant_stays_that_constant_within_one_ulp(name: str) -> None:
    for weights in both(grid(name)):
        for value in np.float32([1, 2, 1.9999999, -7e-5, 3.14159e8]):
            field = np.full(weights.source_shape, value, np.float32)
            for level in (0, 1):
                found = apply_reference(weights, level, field)
                covered = weights.mask(level)
                npt.assert_array_equal(np.isnan(found), ~covered)
                assert np.abs(found[covered] - value).max() <= np.spacing(np.abs(value))


@pytest.mark.parametrize("name", ALL)
def test_rows_sum_to_one_where_the_ocean_has_half_a_pixel_and_are_empty_elsewhere(name) -> None:
    for weights in both(grid(name)):
        for level in weights.levels:
            row = np.repeat(np.arange(level.n**2), np.diff(level.indptr))
            sums = np.bincount(row, level.data, level.n**2)
            npt.assert_array_equal(sums > 0, level.share >= 0.5)
            npt.assert_allclose(sums[sums > 0], 1, rtol=0, atol=5e-7)
            assert level.data.min() > 0
            assert (level.data.dtype, level.indices.dtype) == (np.float32, np.int32)
        assert weights.wet.ravel()[weights.cells].all()


@pytest.mark.parametrize("name", ALL)
def test_land_may_hold_anything(name: str) -> None:
    cells = grid(name)
    rng = np.random.default_rng(3)
    field = rng.normal(size=cells.wet.shape).astype(np.float32)
    for weights in both(cells):
        expected = apply_reference(weights, 1, np.where(cells.wet, field, np.float32(0)))
        for land in np.float32([1e6, np.nan, np.inf]):
            found = apply_reference(weights, 1, np.where(cells.wet, field, land))
            assert found.tobytes() == expected.tobytes()


# Integrals and areas


def drawn(cells: SourceCells) -> tuple[np.ndarray, np.ndarray]:
    """Corners with the middles of edges between: on the parallel, else on the great circle."""
    lon, lat = complete_corners(cells)
    here, there = (unit_vectors(np.roll(lon, s, -1), np.roll(lat, s, -1)) for s in (0, -1))
    x, y, z = np.moveaxis(here + there, -1, 0)
    middle_lat = np.degrees(np.arctan2(z, np.hypot(x, y)))
    middle_lat = np.where(np.abs(lat - np.roll(lat, -1, -1)) < 1e-9, lat, middle_lat)
    between = np.degrees(np.arctan2(y, x)), middle_lat
    shape = (*lon.shape[:-1], 8)
    return tuple(
        np.stack([a, b], -1).reshape(shape) for a, b in zip((lon, lat), between, strict=True)
    )


def rhumb_areas(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Area of cells whose edges are straight on the map, by Gauss quadrature along them."""
    y = np.arctanh(np.sin(np.radians(np.clip(lat, -89, 89))))
    nodes, node_weights = np.polynomial.legendre.leggauss(10)
    total = np.zeros(lon.shape[:-1])
    for a in range(lon.shape[-1]):
        b = (a + 1) % lon.shape[-1]
        step = np.radians((lon[..., b] - lon[..., a] + 180) % 360 - 180)
        middle, half = (y[..., a] + y[..., b]) / 2, (y[..., b] - y[..., a]) / 2
        mean = np.tanh(middle[..., None] + half[..., None] * nodes) @ node_weights / 2
        total -= mean * step
    return np.abs(total)


@pytest.mark.parametrize("name", ALL)
def test_integrals_are_kept(name: str) -> None:
    cells = grid(name)
    lon, lat = drawn(cells)
    on_the_map = cells.wet & (np.nan_to_num(np.abs(lat), nan=90).max(axis=-1) < 85)
    field = np.where(on_the_map, np.random.default_rng(1).uniform(1, 2, cells.wet.shape), 0)
    area = np.where(on_the_map, rhumb_areas(lon, lat), 0)
    expected = (field * area).sum()
    whole = spherical_area(*complete_corners(cells)[::-1])
    assert area.sum() == pytest.approx(whole[on_the_map].sum(), rel=1e-3)
    for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 1e-6)):
        weights = build(cells, threshold=0.0, methods=["conservative"] * 2, dtype=dtype)
        for level in weights.levels:
            row = np.repeat(np.arange(level.n**2), np.diff(level.indptr))
            entries = level.data * field.ravel()[weights.cells][level.indices].astype(dtype)
            values = np.bincount(row, entries, level.n**2)
            covered = level.share * np.repeat(pixel_areas(level.n), level.n)
            npt.assert_allclose((values * covered).sum(), expected, rtol=tolerance)


def test_pixels_of_the_square_have_the_area_of_the_sphere_below_its_edge() -> None:
    for n in (1, 16, 256):
        assert pixel_areas(n).sum() * n == pytest.approx(4 * np.pi * np.tanh(np.pi), rel=1e-14)


corner = st.tuples(st.floats(0.5, 3), st.floats(0.5, 3))


@settings(deadline=None, max_examples=150)
@given(st.floats(-180, 180), st.floats(-78, 76), st.lists(corner, min_size=4, max_size=4))
def test_pieces_of_any_cell_add_up_to_it(lon: float, lat: float, away: list) -> None:
    signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    corners = np.array([lon, lat]) + signs * np.array(away)
    corner_lon, corner_lat = corners[None, :, 0], corners[None, :, 1]
    expected = rhumb_areas(corner_lon, corner_lat)[0]
    for shift in (0, 360, -360):
        *_, area = overlaps(outlines(corner_lon + shift, corner_lat), 64)
        assert area.sum() == pytest.approx(expected, rel=1e-10)


def test_a_cell_around_a_pole_fills_the_map_beyond_it() -> None:
    lon = np.array([[0.0, 90.0, 180.0, -90.0]])
    for lat, turned in ((80.0, lon), (-80.0, lon), (80.0, lon[:, ::-1])):
        pixel, _, area = overlaps(outlines(turned, np.full((1, 4), lat)), 64)
        expected = 2 * np.pi * (np.tanh(np.pi) - np.sin(np.radians(80)))
        assert area.sum() == pytest.approx(expected, rel=1e-12)
        assert ((pixel // 64 < 32) == (lat > 0)).all()


# Seams, poles, the date line


@pytest.mark.parametrize(
    ("name", "south", "north"),
    [
        *(("latlon", -90, 90), ("latlon from Greenwich", -90, 90), ("llc", -76, 90)),
        *(("llc90", -79, 90), ("pop", -70, 60), ("pop tiny", -60, 50), ("tripolar", 16, 90)),
    ],
)
def test_a_world_without_land_has_neither_holes_nor_overlaps(name, south, north) -> None:
    for weights in both(all_wet(grid(name)), dtype=np.float64):
        for level in weights.levels:
            _, latitude = centres(level.n)
            inside = ((latitude > south) & (latitude < north)).ravel()
            npt.assert_allclose(level.share[inside], 1, rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", ["gx1v7", "pop of gx1v7's size", "llc90"])
def test_no_open_ocean_is_missing_at_the_seam_or_the_date_line(name: str) -> None:
    cells = grid(name)
    points = unit_vectors(cells.lon, cells.lat)
    land = cKDTree(points[~cells.wet & np.isfinite(cells.lon)])
    ocean = cKDTree(points[cells.wet])
    every = both(cells, pixels_per_tile=128)
    for level in (0, 1):
        lon, lat = centres(128 << level)
        targets = unit_vectors(lon, lat)
        # Half the diagonal of the widest pixel, and of the cell that is land.
        here = (land.query(targets)[0] > np.radians(3)) & (ocean.query(targets)[0] < 0.03)
        here &= np.abs(lat) < 50
        assert here.sum() > 3000 * 4**level
        for weights in every:
            assert weights.mask(level)[here].all()
            npt.assert_allclose(weights.level(level).share[here.ravel()], 1, atol=1e-6)


@pytest.mark.parametrize("name", ["pop", "pop with undefined land"])
def test_where_the_columns_start_does_not_matter(name: str) -> None:
    cells = grid(name)
    turned = SourceCells(
        np.roll(cells.lon, 31, 1) - 360,
        np.roll(cells.lat, 31, 1),
        np.roll(cells.corner_lon, 31, 1) + 720,
        np.roll(cells.corner_lat, 31, 1),
        np.roll(cells.wet, 31, 1),
    )
    field = np.random.default_rng(2).normal(size=cells.wet.shape)
    for one, two in zip(both(cells), both(turned), strict=True):
        expected = apply_reference(one, 1, field)
        npt.assert_allclose(apply_reference(two, 1, np.roll(field, 31, 1)), expected, atol=1e-6)


@pytest.mark.parametrize(("name", "side"), [("llc", 24), ("llc90", 90)])
def test_the_three_cells_at_a_vertex_of_the_cap_make_a_triangle(name: str, side: int) -> None:
    patches = patches_of(all_wet(grid(name)))
    triangles = patches[patches[:, 2] == patches[:, 3], :3]
    tiles = sorted(map(sorted, (triangles // side**2).tolist()))
    assert tiles == [[2, 5, 6], [2, 6, 10], [5, 6, 7], [6, 7, 10]]
    # Euler's formula for the inner vertices of 13 L² squares in a disc of 4 L edges around.
    assert len(patches) == 13 * side**2 - 2 * side + 1


def test_a_triangle_beside_undefined_land_interpolates() -> None:
    cells = all_wet(grid("pop with undefined land"))
    weights = build(cells, levels=[2], methods=["bilinear"])
    level = weights.levels[0]
    three = (np.diff(level.indptr) == 3).reshape(level.n, level.n)
    found = apply_reference(weights, 2, smooth(cells.lon, cells.lat))
    error = np.abs(found - smooth(*centres(level.n)))
    assert three.sum() > 50
    assert error[three].max() < 1e-2


def test_across_a_fold_neighbours_interpolate() -> None:
    cells = all_wet(grid("tripolar"))
    weights = build(cells, levels=[4], methods=["bilinear"])
    level = weights.levels[0]
    error = np.abs(
        apply_reference(weights, 4, smooth(cells.lon, cells.lat)) - smooth(*centres(512))
    )
    assert error[:130].max() < 1e-3
    rows = weights.cells[level.indices] // 90 == 59
    last = np.add.reduceat(np.append(rows, False), level.indptr[:-1]) * (np.diff(level.indptr) > 0)
    assert np.count_nonzero(last == 4) > 200


def test_patches_of_wide_cells_reach_as_far_as_their_arcs() -> None:
    cells = all_wet(source_cells(LatLonGrid(30.0).to_dataset()))
    level = build(cells, levels=[4], methods=["bilinear"]).levels[0]
    # Arcs between the points at 75 degrees bulge towards the pole, those of other rows as well.
    between = (np.diff(level.indptr) > 1).reshape(level.n, level.n)
    assert between[np.abs(centres(level.n)[1]) < 74].all()


# What comes out


def test_the_pixels_themselves_come_back() -> None:
    cells = square(32)
    field = np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32)
    for weights in both(cells, levels=[0, 1], dtype=np.float64):
        npt.assert_allclose(apply_reference(weights, 0, field), field, rtol=2e-7)
        assert weights.mask(0).all()
    fine = build(cells, methods=["conservative"] * 2)
    expected = field.repeat(2, axis=0).repeat(2, axis=1)
    npt.assert_allclose(apply_reference(fine, 1, field), expected, rtol=2e-7)


def test_a_coarser_level_is_the_mean_of_the_finer_one() -> None:
    weights = build(grid("pop"), threshold=0.0, dtype=np.float64)
    field = np.random.default_rng(0).normal(size=weights.source_shape)
    amounts = []
    for level in weights.levels:
        value = np.nan_to_num(apply_reference(weights, level.level, field).astype(float))
        area = pixel_areas(level.n)[:, None] * level.share.reshape(level.n, level.n)
        amounts.append(value * area)
    coarse, fine = amounts
    n = len(coarse)
    npt.assert_allclose(fine.reshape(n, 2, n, 2).sum(axis=(1, 3)), coarse, atol=1e-8)


@pytest.mark.parametrize("name", ["pop of gx1v7's size", "gx1v7", "llc90"])
def test_bilinear_values_are_near_the_field_they_sample(name: str) -> None:
    cells = all_wet(grid(name))
    weights = build(cells, methods=["bilinear"] * 2, pixels_per_tile=128)
    field = smooth(cells.lon, cells.lat)
    for level in weights.levels:
        found = apply_reference(weights, level.level, field)
        error = np.abs(found - smooth(*centres(level.n)))
        between = np.diff(level.indptr).reshape(level.n, level.n) > 1
        assert error[between].max() < 3e-4
        assert error[between].mean() < 5e-5
        assert np.nanmax(error) < 2e-2
        assert between.sum() > 0.98 * np.count_nonzero(weights.mask(level.level))


@pytest.mark.parametrize("name", ["pop of gx1v7's size", "gx1v7", "llc90"])
def test_conservative_values_are_near_the_mean_of_the_field(name: str) -> None:
    cells = all_wet(grid(name))
    weights = build(cells, pixels_per_tile=64, threshold=0.999)
    fine = smooth(*centres(1024))
    for level in weights.levels:
        found = apply_reference(weights, level.level, smooth(cells.lon, cells.lat))
        per = 1024 // level.n
        area = pixel_areas(1024)[:, None] + np.zeros(1024)
        whole = (level.n, per, level.n, per)
        mean = (fine * area).reshape(whole).sum(axis=(1, 3)) / area.reshape(whole).sum(axis=(1, 3))
        error = np.abs(found - mean)
        assert np.nanmax(error) < 1e-2
        assert np.nanmean(error) < 1e-3


def test_a_plume_in_the_open_ocean_keeps_its_amount() -> None:
    cells = all_wet(grid("pop of gx1v7's size"))
    weights = build(cells, pixels_per_tile=128)
    area = rhumb_areas(*drawn(cells))
    points = unit_vectors(cells.lon, cells.lat)
    for lon, lat in ((200.0, 0.0), (180.0, -40.0), (-40.0, 30.0), (321.0, 50.0)):
        middle = unit_vectors(np.array(lon), np.array(lat))
        plume = np.exp(-((6371 * np.arccos(np.clip(points @ middle, -1, 1)) / 100) ** 2))
        for level in (0, 1):
            value = np.nan_to_num(apply_reference(weights, level, plume))
            amount = (value * pixel_areas(128 << level)[:, None]).sum()
            assert amount == pytest.approx((plume * area).sum(), rel=1e-5)


def test_values_at_t_points_are_not_taken_for_values_at_u_points() -> None:
    dataset = sample_pop_grid(96, 80, 1)
    t = all_wet(source_cells(dataset))
    u = all_wet(source_cells(dataset, points="U"))
    field, errors = smooth(t.lon, t.lat), []
    for cells in (t, u):
        weights = build(cells, methods=["bilinear"] * 2)
        found = apply_reference(weights, 1, field)
        inside = np.abs(centres(64)[1]) < 60
        errors.append(np.abs(found - smooth(*centres(64)))[inside].mean())
    assert errors[1] > 20 * errors[0]


# Unknown corners and points


@pytest.mark.parametrize("name", ["pop", "tripolar", "llc", "latlon", "gx1v7", "llc90"])
def test_unknown_corners_follow_from_the_points_around_them(name: str) -> None:
    cells = grid(name)
    known = np.random.default_rng(0).random(cells.corner_lon.shape) < 0.7
    some = replace(cells, corner_lon=np.where(known, cells.corner_lon, np.nan))
    lon, lat = complete_corners(some)
    npt.assert_array_equal(lon[known], cells.corner_lon[known])
    off = unit_vectors(lon, lat) - unit_vectors(cells.corner_lon, cells.corner_lat)
    side = np.linalg.norm(
        unit_vectors(cells.corner_lon[..., 0], cells.corner_lat[..., 0])
        - unit_vectors(cells.corner_lon[..., 2], cells.corner_lat[..., 2]),
        axis=-1,
    )
    assert np.nanmax((np.linalg.norm(off, axis=-1) / side[..., None])[cells.wet]) < 0.1


@pytest.mark.parametrize("name", ["pop with undefined land", "llc", "latlon", "gx1v7"])
def test_weights_without_any_corner_are_nearly_those_with_them(name: str) -> None:
    cells = grid(name)
    bare = replace(cells, corner_lon=None, corner_lat=None)
    for one, two in zip(build(cells).levels, build(bare).levels, strict=True):
        assert np.abs(one.share - two.share).mean() < 5e-3
        assert np.abs(one.share - two.share).max() < 0.2


def test_a_wet_cell_whose_corners_nothing_gives_is_refused() -> None:
    cells = grid("pop tiny")
    lon, lat = cells.lon.copy(), cells.lat.copy()
    corner_lon = cells.corner_lon.copy()
    around = np.s_[6:11, 6:11]
    corner_lon[around] = lon[around] = lat[around] = np.nan
    lon[8, 8], lat[8, 8] = cells.lon[8, 8], cells.lat[8, 8]
    wet = np.zeros(lon.shape, np.bool_)
    wet[8, 8] = True
    with pytest.raises(GridMismatch, match=r"1 wet cells .*\(8, 8\)") as refusal:
        build(SourceCells(lon, lat, corner_lon, cells.corner_lat, wet))
    assert refusal.value.code == "CornersMissing"


# Refusals


def test_a_grid_without_ocean_covers_nothing() -> None:
    cells = grid("pop tiny")
    for weights in both(replace(cells, wet=np.zeros_like(cells.wet))):
        assert weights.cells.size == 0
        assert not weights.mask(1).any()
        assert np.isnan(apply_reference(weights, 0, cells.lon)).all()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"lat": np.zeros((3, 3))}, "ShapeMismatch"),
        ({"wet": np.ones((24, 20))}, "ShapeMismatch"),
        ({"corner_lat": None}, "ShapeMismatch"),
        ({"corner_lon": np.zeros((24, 20, 3))}, "ShapeMismatch"),
        ({"lon": np.full((24, 20), np.nan)}, "CoordinatesNotFinite"),
        ({"lat": np.full((24, 20), 91.0)}, "LatitudeOutOfRange"),
    ],
)
def test_arrays_that_are_no_grid_are_refused(change: dict[str, Any], code: str) -> None:
    with pytest.raises(GridMismatch) as refusal:
        build(replace(grid("pop tiny"), **change))
    assert refusal.value.code == code


@pytest.mark.parametrize(
    ("choices", "code"),
    [
        ({"levels": []}, "LevelsInvalid"),
        ({"levels": [1, 1]}, "LevelsInvalid"),
        ({"levels": [-1]}, "LevelsInvalid"),
        ({"pixels_per_tile": 0}, "LevelsInvalid"),
        ({"methods": ["bilinear"]}, "MethodUnknown"),
        ({"methods": ["bilinear", "cubic"]}, "MethodUnknown"),
        ({"threshold": 1.5}, "ThresholdInvalid"),
        ({"threshold": float("nan")}, "ThresholdInvalid"),
    ],
)
def test_choices_that_make_no_sense_are_refused(choices: dict[str, Any], code: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        build(grid("pop tiny"), **choices)
    assert refusal.value.code == code


def code_of(check: Any, *arguments: Any) -> str:
    with pytest.raises(DorEccoError) as refusal:
        check(*arguments)
    return refusal.value.code


def test_a_grid_or_mask_that_has_changed_since_is_found() -> None:
    dataset = sample_pop_grid(24, 20, 2)
    cells = source_cells(dataset)
    weights = build(cells)
    check_source(weights, dataset)
    moved = cells.lon.copy()
    moved[3, 4] += 1e-9
    assert code_of(check_source, weights, replace(cells, lon=moved)) == "SourceChanged"
    assert code_of(check_source, weights, replace(cells, corner_lon=None, corner_lat=None)) == (
        "SourceChanged"
    )
    drained = dataset.assign(wet=dataset["wet"] & (dataset["TLAT"] > -60))
    with pytest.raises(GridMismatch, match=r"differs .* in \d+ cells") as refusal:
        check_source(weights, drained)
    assert refusal.value.code == "MaskChanged"
    assert code_of(check_source, weights, sample_pop_grid(20, 24, 2)) == "SourceChanged"
    assert code_of(source_cells, xr.Dataset({"a": 1})) == "GridUnknown"


def test_a_field_whose_gaps_are_not_the_land_is_found() -> None:
    cells = grid("pop tiny")
    weights = build(cells)
    field = np.where(cells.wet, 1.0, np.nan)
    check_field(weights, np.stack([field, field]))
    lost, found = field.copy(), field.copy()
    lost[tuple(np.argwhere(cells.wet)[0])] = np.nan
    found[tuple(np.argwhere(~cells.wet)[0])] = 0.0
    with pytest.raises(GridMismatch, match="1 values are missing in the ocean and 0") as refusal:
        check_field(weights, lost)
    assert refusal.value.code == "MaskDataMismatch"
    assert code_of(check_field, weights, np.stack([field, found])) == "MaskDataMismatch"
    assert code_of(check_field, weights, field.T) == "ShapeMismatch"
    assert code_of(apply_reference, weights, 0, field[1:]) == "ShapeMismatch"
    assert code_of(apply_reference, weights, 7, field) == "LevelUnknown"


# Portable form


def test_weights_survive_a_zarr_store(tmp_path: Path) -> None:
    for name in ("pop tiny", "llc"):
        weights = build(grid(name))
        to_dataset(weights).to_zarr(tmp_path / name, zarr_format=3, consolidated=False)
        with xr.open_zarr(tmp_path / name, consolidated=False) as dataset:
            found = from_dataset(dataset)
        assert weights_sha256(found) == weights_sha256(weights)
        assert found.sha256 == weights.sha256
        check_source(found, grid(name))
        field = np.random.default_rng(0).normal(size=weights.source_shape)
        npt.assert_array_equal(apply_reference(found, 1, field), apply_reference(weights, 1, field))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda ds: ds.drop_vars("indptr_0"), "indptr_0"),
        (lambda ds: ds.drop_attrs(), "lacks something"),
        (lambda ds: ds.assign_attrs(manifest='{"format": 0}'), "format 0, expected 1"),
        (lambda ds: ds.assign(data_1=ds["data_1"] * np.float32(2)), "they have sha256"),
        (lambda ds: ds.assign(wet=1 - ds["wet"]), "they have sha256"),
    ],
)
def test_damaged_weights_are_refused(damage: Any, message: str) -> None:
    dataset = to_dataset(build(grid("pop tiny")))
    with pytest.raises(GridMismatch, match=message) as refusal:
        from_dataset(damage(dataset))
    assert refusal.value.code == "WeightsDamaged"


def test_interpreted_kernels_give_the_same_weights() -> None:
    code = (
        "from tests.mapping.webmercator_sources import build, grid\n"
        "from dor_ecco_assets.mapping.webmercator import weights_sha256\n"
        "for m in ('conservative', 'bilinear'):\n"
        "    print(weights_sha256(build(grid('pop tiny'), levels=[0], methods=[m],\n"
        "        pixels_per_tile=16)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
    )
    compiled = [
        weights_sha256(build(grid("pop tiny"), levels=[0], methods=[method], pixels_per_tile=16))
        for method in METHODS
    ]
    assert done.stdout.split() == compiled


def test_a_region_covers_itself_alone() -> None:
    weights = build(grid("region"), levels=[2], methods=["bilinear"])
    lon, lat = centres(128)
    west, east = edges(128)[0][[0, -1]]
    assert (west, east) == (-180, 180)
    inside = (lat > -40) & (lat < 50) & ((lon > 150) | (lon < -130))
    npt.assert_array_equal(weights.mask(2), inside)
    assert LatLonGrid(1.0, -40, 50, 150, 230).shape == grid("region").wet.shape


@pytest.mark.parametrize("name", SMALL)
def test_two_builds_are_the_same_bytes(name: str) -> None:
    for one, two in zip(both(grid(name)), both(grid(name)), strict=True):
        assert weights_sha256(one) == weights_sha256(two)
