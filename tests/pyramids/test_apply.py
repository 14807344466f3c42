"""The kernel against a float64 product, on every kind of grid, and what it does with NaN."""

import numpy as np
import numpy.testing as npt
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dor_ecco_assets.errors import GridMismatch
from dor_ecco_assets.grids.latlon import LatLonGrid
from dor_ecco_assets.grids.llc_geometry import grid_dataset
from dor_ecco_assets.mapping.cells import source_cells
from dor_ecco_assets.mapping.webmercator import build_webmercator
from dor_ecco_assets.pyramids.apply import FILL, Regridder, month_major, survey
from dor_ecco_assets.samples.llc_grid import sample_grid_fields
from dor_ecco_assets.samples.pop_grid import sample_pop_grid

SIDE = 16
GRIDS = ("pop", "llc", "latlon")


def weights_of(name: str, *, levels=(0, 1), threshold: float = 0.5):
    if name == "pop":
        cells = source_cells(sample_pop_grid(48, 40, 2, undefined_land=True))
    elif name == "llc":
        cells = source_cells(grid_dataset(sample_grid_fields(10)))
    else:
        wet = np.arange(18 * 36).reshape(18, 36) % 7 != 0
        cells = source_cells(LatLonGrid(10.0).to_dataset(), wet=wet)
    return build_webmercator(
        cells.lon,
        cells.lat,
        cells.corner_lon,
        cells.corner_lat,
        cells.wet,
        levels=levels,
        pixels_per_tile=SIDE,
        threshold=threshold,
    )


@pytest.fixture(scope="module")
def weights():
    return {name: weights_of(name) for name in GRIDS}


def fields_on(weights, n: int, seed: int = 0) -> np.ndarray:
    made = np.random.default_rng(seed).normal(size=(n, weights.wet.size)).astype(np.float32)
    return np.where(weights.wet.reshape(-1), made, np.float32(np.nan))


def as_maps(tiles: np.ndarray) -> np.ndarray:
    """(tiles, columns, pixels) as (columns, n, n)."""
    across = int(np.sqrt(len(tiles)))
    side = int(np.sqrt(tiles.shape[-1]))
    split = tiles.reshape(across, across, -1, side, side)
    return split.transpose(2, 0, 3, 1, 4).reshape(-1, across * side, across * side)


def expected_maps(weights, level: int, fields: np.ndarray) -> np.ndarray:
    """A float64 sparse product, NaN where nothing is."""
    of = weights.level(level)
    shape = (of.n * of.n, weights.cells.size)
    matrix = scipy.sparse.csr_matrix((of.data.astype(np.float64), of.indices, of.indptr), shape)
    made = (matrix @ fields[:, weights.cells].astype(np.float64).T).T
    made[:, np.diff(of.indptr) == 0] = np.nan
    return made.reshape(-1, of.n, of.n)


@pytest.mark.parametrize("name", GRIDS)
def test_months_of_a_case_are_regridded_into_the_columns_of_their_month_and_year(weights, name):
    fields = fields_on(weights[name], 26)
    steps = month_major(26)
    for level, tiles in enumerate(Regridder(weights[name], steps).regrid(fields)):
        maps, expected = as_maps(tiles), expected_maps(weights[name], level, fields)
        for column, step in enumerate(steps):
            if step < 0:
                assert (maps[column] == FILL).all()
                continue
            covered = ~np.isnan(expected[step])
            assert (maps[column][~covered] == FILL).all()
            npt.assert_allclose(maps[column][covered], expected[step][covered], atol=1e-6)


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("value", [1.0, -273.15, 3e-7])
def test_a_constant_stays_that_constant_within_one_ulp(weights, name, value):
    constant = np.float32(value)
    fields = np.full((1, weights[name].wet.size), constant)
    for tiles in Regridder(weights[name], np.zeros(1, np.int64)).regrid(fields):
        held = tiles[tiles != FILL]
        assert held.size
        assert np.abs(held - constant).max() <= np.spacing(np.abs(constant))


@pytest.mark.parametrize("name", GRIDS)
def test_what_lies_on_land_does_not_matter(weights, name):
    fields = fields_on(weights[name], 3)
    regridder = Regridder(weights[name], np.arange(3))
    first = [tiles.copy() for tiles in regridder.regrid(fields)]
    for value in (1e6, np.inf):
        other = np.where(np.isnan(fields), np.float32(value), fields)
        for tiles, expected in zip(regridder.regrid(other), first, strict=True):
            npt.assert_array_equal(tiles, expected)


def test_the_integral_is_kept_without_a_threshold():
    made = weights_of("pop", threshold=0.0)
    fields = np.abs(fields_on(made, 2))
    from dor_ecco_assets.mapping.webmercator import pixel_areas

    found = []
    for of, tiles in zip(made.levels, Regridder(made, np.arange(2)).regrid(fields), strict=True):
        maps = np.where(made.mask(of.level), as_maps(tiles), 0).astype(np.float64)
        area = of.share.reshape(of.n, of.n) * pixel_areas(of.n)[:, None]
        found.append((maps * area).sum(axis=(1, 2)))
    npt.assert_allclose(found[0], found[1], rtol=1e-6)


def test_a_coarser_part_of_the_levels_can_be_asked_for(weights):
    fields = fields_on(weights["pop"], 1)
    steps = np.zeros(1, np.int64)
    coarse, _ = Regridder(weights["pop"], steps).regrid(fields)
    (alone,) = Regridder(weights["pop"], steps, 1).regrid(fields)
    npt.assert_array_equal(alone, coarse)


def test_fields_of_another_grid_are_refused(weights):
    with pytest.raises(GridMismatch) as raised:
        Regridder(weights["pop"], np.zeros(1, np.int64)).regrid(np.zeros((1, 7), np.float32))
    assert raised.value.code == "WeightsOfOtherGrid"
    assert "make the weights" in raised.value.message


@pytest.mark.parametrize(
    ("months", "expected"),
    [
        (1, [0] + [-1] * 11),
        (12, list(range(12))),
        (14, [0, 12, 1, 13, *(s for m in range(2, 12) for s in (m, -1))]),
    ],
)
def test_months_come_before_years(months, expected):
    assert month_major(months).tolist() == expected


SPECIAL = st.sampled_from([0.0, -0.0, np.nan, np.inf, -np.inf, 1e-45, -3.5])


@given(
    fields=hnp.arrays(
        np.float32, (3, 8), elements=st.one_of(SPECIAL, st.floats(width=32, allow_nan=False))
    ),
    wet=hnp.arrays(bool, 8),
)
@settings(max_examples=60, deadline=None)
def test_a_survey_gives_range_and_disagreements(fields, wet):
    found = survey(fields, wet)
    numbers = fields[~np.isnan(fields)]
    assert found.nans == np.isnan(fields).sum()
    assert found.unlike.tolist() == (np.isnan(fields) == wet).sum(axis=1).tolist()
    if numbers.size:
        assert (found.smallest, found.largest) == (numbers.min(), numbers.max())
    else:
        assert np.isnan(found.smallest)
        assert np.isnan(found.largest)
