"""Mapping against a plain second implementation, in every target cell of the real grid.

The second one takes nothing from the package but the grid's fields: its own coordinates, radii,
mask and trees, one level at a time, means added up source by source.
"""

from functools import cache

import numpy as np
import numpy.testing as npt
import pytest
from scipy.spatial import cKDTree

from dor_ecco_assets.mapping.apply import plan_regrid, regrid
from dor_ecco_assets.mapping.factors import level_mask, level_weights
from tests.mapping.sources import llc90
from tests.support.data import llc90_fields

#: Spheres of distances and of areas, m.
DISTANCES_M, AREAS_M = 6_370_997.0, 6_371_008.8
LATITUDES, LONGITUDES = np.arange(-89.75, 90, 0.5), np.arange(-179.75, 180, 0.5)


def tiles(compact):
    """Faces 1 to 3 as they lie, of faces 4 and 5 every third row to a tile."""
    side = compact.shape[-1]
    upright = compact[: 7 * side].reshape(7, side, side)
    lying = [compact[face * side :][m : 3 * side : 3] for face in (7, 10) for m in range(3)]
    return np.concatenate([upright, lying])


def on_sphere(longitude, latitude):
    lam, phi = np.radians(longitude), np.radians(latitude)
    x, y = np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam)
    return DISTANCES_M * np.stack([x, y, np.sin(phi)], axis=-1)


@cache
def geometry():
    """Source points, target points, radius of every target and the longest edge."""
    fields = llc90_fields()
    sources = on_sphere(tiles(fields["XC"]).ravel(), tiles(fields["YC"]).ravel())
    lon, lat = np.meshgrid(LONGITUDES, LATITUDES)
    targets = on_sphere(lon.ravel(), lat.ravel())
    band = np.sin(np.radians(lat + 0.25)) - np.sin(np.radians(lat - 0.25))
    radius = np.sqrt(AREAS_M**2 * np.radians(0.5) * band / np.pi).ravel()
    longest = np.floor(max(fields["DXG"].max(), fields["DYG"].max()))
    distance, nearest = cKDTree(sources).query(targets)
    assert distance.max() <= longest
    return sources, targets, np.minimum(radius, np.floor(radius.max())), nearest


def wet_cells(level):
    fields = llc90_fields()
    open_part = (tiles(fields["Depth"]) + fields["RF"][level]) / fields["DRF"][level]
    return (np.clip(open_part, 0, 1) >= 1e-6).ravel()


def sources_of_targets(level):
    """Per target the wet sources that it averages, ascending; none where it is dry."""
    sources, targets, radius, nearest = geometry()
    wet = wet_cells(level)
    cells = np.flatnonzero(wet)
    tree = cKDTree(sources[cells])
    shown = np.flatnonzero(wet[nearest])
    _, closest = tree.query(targets[shown])
    within = tree.query_ball_point(targets[shown], radius[shown], return_sorted=True)
    found = [[] for _ in range(len(targets))]
    for target, ball, one in zip(shown, within, closest, strict=True):
        found[target] = cells[ball if ball else [one]].tolist()
    return found


ORDINARY = (0, 49)
LEVELS = [
    pytest.param(level, marks=[] if level in ORDINARY else pytest.mark.slow) for level in range(50)
]


@pytest.mark.parametrize("level", LEVELS)
def test_indices_and_values_are_those_of_a_plain_implementation_in_every_target(level):
    expected = sources_of_targets(level)
    factors = llc90().factors()
    weights = level_weights(factors, level)
    weights.sort_indices()
    sizes = np.array([len(cells) for cells in expected])
    npt.assert_array_equal(np.diff(weights.indptr), sizes)
    flat = np.concatenate([np.array(cells, int) for cells in expected])
    npt.assert_array_equal(weights.indices, flat)
    npt.assert_array_equal(level_mask(factors, level), sizes > 0)

    field = np.random.default_rng(level).normal(size=factors.n_source)
    field = field.astype(np.float32)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    values = np.full(sizes.size, np.nan, np.float32)
    for target in np.flatnonzero(sizes):
        own = field[flat[starts[target] : starts[target + 1]]].astype(np.float64)
        values[target] = own.sum() / own.size
    found = regrid(field.reshape(llc90().lon.shape), plan_regrid(factors), level=level)
    npt.assert_array_equal(found.ravel(), values)
