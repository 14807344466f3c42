"""Mapping factors and their application against what plain SciPy would cost."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree  # pyright: ignore[reportAttributeAccessIssue]  # has no stub

from benchmarks.measure import interleaved, median_cpu_seconds, row
from dor_ecco_assets.grids.latlon import LatLonGrid
from dor_ecco_assets.mapping.apply import plan_regrid, regrid
from dor_ecco_assets.mapping.factors import MappingFactors, build_factors, level_weights
from dor_ecco_assets.mapping.search import points_m

Floats = NDArray[np.float64]
Wet = NDArray[np.bool_]


def rows(
    lon: Floats, lat: Floats, wet: Wet, min_len: float, max_len: float, quick: bool
) -> list[dict[str, Any]]:
    """Both rows for a tiled grid: lon, lat (13, L, L), wet (nk, 13, L, L), cell edges in m."""
    grid = (lon, lat, wet, min_len, max_len)
    return [factors_row(*grid, quick=quick), apply_row(*grid)]


def factors_row(
    lon: Floats, lat: Floats, wet: Wet, min_len: float, max_len: float, *, quick: bool
) -> dict[str, Any]:
    """Factors for all depth levels; the baseline makes the same queries on a tree per level."""
    target = LatLonGrid()

    def ours() -> MappingFactors:
        return _build(lon, lat, wet, min_len, max_len)

    factors = ours()
    target_m = points_m(
        np.tile(target.longitude, target.shape[0]), np.repeat(target.latitude, target.shape[1])
    )
    source_m = points_m(lon.ravel(), lat.ravel())
    reach_m = np.minimum(factors.radius_m, factors.manifest["search_radius_m"])
    wet_cells = [np.flatnonzero(level) for level in wet.reshape(len(wet), -1)]
    # Every 17th, of 50 a shallow, a middle and a deep one.
    timed = wet_cells[8::17] if quick and len(wet) > 10 else wet_cells

    def one_level(cells: NDArray[np.int64]) -> NDArray[np.int64]:
        tree = cKDTree(source_m[cells])
        _, nearest = tree.query(target_m)
        tree.query_ball_point(target_m, reach_m)
        return cells[nearest]

    def baseline() -> None:
        for cells in timed:
            if cells.size:
                one_level(cells)

    mask = factors.mask[0]
    assert np.array_equal(one_level(wet_cells[0])[mask], factors.nearest[mask])
    ours_s, baseline_s = interleaved(ours, baseline)
    baseline_s *= len(wet_cells) / len(timed)
    scaled = "" if timed is wet_cells else f" (timed on {len(timed)} levels, scaled)"
    anchor_s = median_cpu_seconds(lambda: cKDTree(source_m).query(target_m))
    return row(
        line="ecco",
        name=f"mapping factors, {len(wet)} depth levels",
        ours=ours_s,
        baseline=baseline_s,
        target=15.0,
        note=(
            f"{lon.size} cells to 0.5 degree; baseline: cKDTree of the wet cells of each level,"
            f" nearest and ball query, no masks, weights or hashes{scaled}; anchor: one tree and"
            f" one nearest query {anchor_s:.3f} s, ours costs {ours_s / anchor_s:.1f} times that"
        ),
    )


def apply_row(lon: Floats, lat: Floats, wet: Wet, min_len: float, max_len: float) -> dict[str, Any]:
    """One 3-D float32 field to half a degree, into an output array that both are given."""
    factors = _build(lon, lat, wet, min_len, max_len)
    plan = plan_regrid(factors)
    field = _temperature_like(lat, wet)
    weights = [level_weights(factors, k) for k in range(len(wet))]
    dry = ~factors.mask.reshape(-1, *factors.target_shape)
    out, expected = (np.empty(dry.shape, np.float32) for _ in range(2))

    def baseline() -> None:
        for k, operator in enumerate(weights):
            level = (operator @ field[k].ravel().astype(np.float64)).reshape(dry[k].shape)
            level[dry[k]] = np.nan
            expected[k] = level

    nearest = np.maximum(factors.nearest, 0).astype(np.intp).reshape(factors.target_shape)
    flat, gathered = field.reshape(len(field), -1), np.empty_like(out)

    def gather() -> None:
        for k, level in enumerate(flat):
            np.take(level, nearest, out=gathered[k], mode="clip")

    # Milliseconds each, so many: what else the machine does then weighs little.
    ours_s, baseline_s = interleaved(lambda: regrid(field, plan, out=out), baseline, runs=25)
    for mapped, product in zip(out, expected, strict=True):
        np.testing.assert_array_max_ulp(np.nan_to_num(mapped), np.nan_to_num(product), maxulp=1)
    anchor_s = median_cpu_seconds(gather, runs=25)
    return row(
        line="ecco",
        name="apply to one 3-D field",
        ours=ours_s,
        baseline=baseline_s,
        target=3.0,
        note=(
            f"{len(wet)} levels of {lon.size} float32 cells; baseline: scipy.sparse float64 product"
            " per level, CSR prebuilt, masked, cast to float32; anchor: one np.take per level,"
            f" unmasked, {anchor_s:.4f} s, ours costs {ours_s / anchor_s:.2f} times that"
        ),
    )


def _build(lon: Floats, lat: Floats, wet: Wet, min_len: float, max_len: float) -> MappingFactors:
    target = LatLonGrid()
    return build_factors(
        lon,
        lat,
        wet,
        min_length_m=min_len,
        max_length_m=max_len,
        latitude=target.latitude,
        longitude=target.longitude,
        resolution_degrees=target.resolution_degrees,
    )


def _temperature_like(lat: Floats, wet: Wet) -> NDArray[np.float32]:
    """Warm at the equator, colder with depth, 0 in dry cells as the model writes it."""
    depth_index = np.arange(len(wet)).reshape(-1, *[1] * lat.ndim)
    field = 28.0 * np.cos(np.radians(lat)) * np.exp(-depth_index / 12.0)
    return np.where(wet, field, 0.0).astype(np.float32)
