"""Applying mapping factors: constants, dry cells, layouts, then real fields and a granule."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.testing as npt
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from dor_ecco_assets.errors import ConfigurationError, GridMismatch
from dor_ecco_assets.grids.latlon import LatLonGrid
from dor_ecco_assets.mapping import apply
from dor_ecco_assets.mapping.apply import RegridPlan, plan_regrid, regrid
from dor_ecco_assets.mapping.factors import MappingFactors, level_mask, level_weights
from tests.mapping.sources import METHODS, Source, llc90, synthetic_source
from tests.support.data import real_data

COARSE = LatLonGrid(5.0)
CHOICES: tuple[dict[str, Any], ...] = (
    {"method": "fixed", "radius_m": 700_000.0},
    {"method": "area"},
    {"weights": "nearest"},
)
GRANULE = "ATM_SURFACE_TEMP_HUM_WIND_PRES_day_mean_1992-01-01_ECCO_V4r4_latlon_0p50deg.nc"


@pytest.fixture(scope="module", params=CHOICES, ids=lambda c: "-".join(map(str, c.values())))
def factors(request: pytest.FixtureRequest) -> MappingFactors:
    return synthetic_source().factors(COARSE, **request.param)


@pytest.fixture(scope="module")
def plan(factors: MappingFactors) -> RegridPlan:
    return plan_regrid(factors)


def _field(source: Source, dtype: Any = np.float32, seed: int = 5) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(size=source.wet.shape).astype(dtype)


def _by_sparse_products(field: np.ndarray[Any, Any], factors: MappingFactors) -> Any:
    """The same by scipy.sparse in float64, dry cells zeroed first."""
    mapped = np.empty(factors.mask.shape, np.float32)
    for k, level in enumerate(field.reshape(factors.n_levels, -1).astype(np.float64)):
        values = level_weights(factors, k) @ np.where(factors.wet[k], level, 0.0)
        mapped[k] = np.where(factors.mask[k], values, np.nan)
    return mapped.reshape(-1, *factors.target_shape)


@settings(deadline=None, max_examples=25)
@given(value=st.floats(-1e6, 1e6, width=32))
def test_a_constant_stays_that_constant(value: float) -> None:
    for choices in CHOICES:
        factors = synthetic_source().factors(COARSE, **choices)
        plan = plan_regrid(factors)
        mapped = regrid(np.full(synthetic_source().wet.shape, value, np.float32), plan)
        mask = factors.mask.reshape(mapped.shape)
        assert (mapped[mask] == np.float32(value)).all()
        assert np.isnan(mapped[~mask]).all()


@pytest.mark.parametrize(
    ("dtype", "poison"),
    [
        *((np.float32, value) for value in (np.nan, np.inf, -np.inf, 3e38)),
        *((np.float64, value) for value in (np.nan, np.inf, -np.inf, 1e300)),
    ],
)
def test_dry_cells_never_leak(plan: RegridPlan, dtype: Any, poison: float) -> None:
    wet, field = synthetic_source().wet, _field(synthetic_source(), dtype)
    poisoned = np.where(wet, field, dtype(poison))
    clean = regrid(np.where(wet, field, dtype(0)), plan)
    npt.assert_array_equal(regrid(poisoned, plan), clean)
    npt.assert_array_equal(regrid(poisoned[0], plan, level=0), clean[0])


def test_a_missing_value_in_a_wet_cell_is_shown(factors: MappingFactors, plan: RegridPlan) -> None:
    field = _field(synthetic_source())
    whole = regrid(field, plan)
    cell = np.flatnonzero(factors.wet[0] & (np.arange(factors.n_source) == factors.nearest[:, None])
                          .any(axis=0))[3]  # fmt: skip
    field.reshape(len(field), -1)[0, cell] = np.nan
    touched = level_weights(factors, 0)[:, [cell]].toarray().ravel() > 0
    mapped = regrid(field, plan)
    assert touched.any()
    assert np.isnan(mapped[0].ravel()[touched]).all()
    npt.assert_array_equal(mapped[0].ravel()[~touched], whole[0].ravel()[~touched])
    npt.assert_array_equal(mapped[1:], whole[1:])


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8"])
def test_sparse_products_in_float64_agree(
    factors: MappingFactors, plan: RegridPlan, dtype: str
) -> None:
    field = _field(synthetic_source(), dtype)
    mapped, expected = regrid(field, plan), _by_sparse_products(field, factors)
    npt.assert_array_equal(np.isnan(mapped), np.isnan(expected))
    npt.assert_array_max_ulp(np.nan_to_num(mapped), np.nan_to_num(expected), maxulp=1)
    assert mapped.dtype == np.float32
    assert mapped.dtype.isnative


def test_compiled_and_interpreted_kernels_agree(plan: RegridPlan) -> None:
    field = _field(synthetic_source(), np.float64)[0].ravel()
    bins, results = plan.bins, []
    for kernel in (apply.map_level, apply._compiled_kernel()):
        buffer, out = np.empty(field.size + 1, np.float32), np.empty(plan.nearest.size, np.float32)
        kernel(
            *(field, plan.wet[0], plan.nearest, plan.wet_block[0]),
            *(bins.target, bins.start, bins.source, buffer, out),
        )
        results.append(out)
    npt.assert_array_equal(*results)


def test_order_of_the_source_cells_does_not_matter() -> None:
    source, field = synthetic_source(), _field(synthetic_source())
    order = np.random.default_rng(3).permutation(source.lon.size)
    flat = Source(
        source.lon.ravel()[order],
        source.lat.ravel()[order],
        source.wet.reshape(len(field), -1)[:, order],
        source.min_length_m,
        source.max_length_m,
    )
    one = regrid(field, plan_regrid(source.factors(COARSE, **CHOICES[0])))
    two = regrid(
        field.reshape(len(field), -1)[:, order], plan_regrid(flat.factors(COARSE, **CHOICES[0]))
    )
    npt.assert_array_max_ulp(np.nan_to_num(one), np.nan_to_num(two), maxulp=1)
    npt.assert_array_equal(np.isnan(one), np.isnan(two))


def test_levels_one_by_one_give_what_all_together_give(plan: RegridPlan) -> None:
    field = _field(synthetic_source())
    whole, streamed = regrid(field, plan), np.empty((plan.n_levels, *plan.target_shape), np.float32)
    for k in range(plan.n_levels):
        assert regrid(field[k], plan, level=k, out=streamed[k]).base is streamed
    npt.assert_array_equal(streamed, whole)


def test_threads_share_a_plan(plan: RegridPlan) -> None:
    fields = [_field(synthetic_source(), seed=seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        parallel = list(pool.map(lambda field: regrid(field, plan), fields))
    for field, mapped in zip(fields, parallel, strict=True):
        npt.assert_array_equal(mapped, regrid(field, plan))


def test_leading_axes_are_kept(plan: RegridPlan) -> None:
    fields = np.stack([_field(synthetic_source(), seed=seed) for seed in range(6)])
    fields = fields.reshape(2, 3, *fields.shape[1:])
    mapped = regrid(fields, plan)
    assert mapped.shape == (2, 3, plan.n_levels, *plan.target_shape)
    npt.assert_array_equal(mapped[1, 2], regrid(fields[1, 2], plan))
    npt.assert_array_equal(mapped[:, :, 1], regrid(fields[:, :, 1], plan, level=1))


def test_a_field_without_depth_is_at_the_surface(plan: RegridPlan) -> None:
    field = _field(synthetic_source())
    npt.assert_array_equal(regrid(field[0], plan), regrid(field, plan)[0])


def test_any_wet_maps_columns_that_are_closed_at_the_top(
    factors: MappingFactors, plan: RegridPlan
) -> None:
    mapped = regrid(np.ones(plan.source_shape, np.float32), plan, level="any_wet")
    mask = level_mask(factors, "any_wet").reshape(plan.target_shape)
    npt.assert_array_equal(mapped == 1, mask)
    assert mask.sum() > factors.mask[0].sum()


def test_out_may_have_any_layout_and_input_may_be_a_memory_map(
    plan: RegridPlan, tmp_path: Path
) -> None:
    field = _field(synthetic_source(), ">f4")
    field.tofile(tmp_path / "field.data")
    mapped = np.memmap(tmp_path / "field.data", ">f4", mode="r", shape=field.shape)
    expected = regrid(field, plan)
    reversed_rows = np.zeros(expected.shape, np.float32)[:, ::-1, ::2]
    wide = np.zeros((*expected.shape[:-1], 2 * expected.shape[-1]), np.float32)[..., ::2]
    assert regrid(mapped, plan, out=wide) is wide
    npt.assert_array_equal(wide, expected)
    with pytest.raises(GridMismatch, match="out is float32"):
        regrid(field, plan, out=reversed_rows)
    with pytest.raises(GridMismatch, match="out is float64"):
        regrid(field, plan, out=np.zeros(expected.shape))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("shape", [(13 * 14, 14), (5, 13 * 14, 14), (4, 13, 14, 14), (2,), (13,)])
def test_fields_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    plan = plan_regrid(synthetic_source().factors(COARSE, **CHOICES[0]))
    with pytest.raises(GridMismatch, match=r"expected \(\.\.\., 5, 13, 14, 14\)") as refusal:
        regrid(np.zeros(shape, np.float32), plan)
    assert refusal.value.code == "ShapeMismatch"


@pytest.mark.parametrize("level", [-1, 5, "any"])
def test_levels_that_do_not_exist_are_refused(level: Any) -> None:
    plan = plan_regrid(synthetic_source().factors(COARSE, **CHOICES[0]))
    with pytest.raises(ConfigurationError, match="expected 0 to 4") as refusal:
        regrid(np.zeros(plan.source_shape, np.float32), plan, level=level)
    assert refusal.value.code == "LevelUnknown"


# The real LLC90 grid


@pytest.mark.parametrize("choices", METHODS, ids=lambda c: "-".join(map(str, c.values())))
def test_llc90_plan_stays_small(choices: dict[str, Any]) -> None:
    assert plan_regrid(llc90().factors(**choices)).nbytes < 12e6


def test_llc90_latitude_is_mapped_to_within_a_cell() -> None:
    source, factors = llc90(), llc90().factors()
    mapped = regrid(source.lat, plan_regrid(factors), level=0).astype(np.float64)
    error = np.abs(mapped - factors.latitude[:, None])[~np.isnan(mapped)]
    reach = np.maximum(factors.nearest_distance_m, factors.radius_m).astype(np.float64)
    chord = reach.reshape(mapped.shape)[~np.isnan(mapped)]
    assert (error <= np.degrees(2 * np.arcsin(chord / 2 / 6_370_997.0)) + 1e-5).all()
    assert error.max() < 0.6


def test_llc90_three_dimensional_field_equals_sparse_products() -> None:
    source, factors = llc90(), llc90().factors()
    field = np.where(source.wet, _field(source), np.float32(np.nan))
    mapped, expected = regrid(field, plan_regrid(factors)), _by_sparse_products(field, factors)
    npt.assert_array_equal(np.isnan(mapped), ~factors.mask.reshape(mapped.shape))
    npt.assert_array_equal(mapped, expected)


def test_published_granule_has_our_mask_and_our_nearest_sources() -> None:
    source, factors = llc90(), llc90().factors(weights="nearest")
    plan = plan_regrid(factors)
    with xr.open_dataset(real_data("ecco_granules", GRANULE), decode_times=False) as granule:
        assert len(granule.data_vars) == 6
        npt.assert_array_equal(granule.latitude, factors.latitude.astype(np.float32))
        npt.assert_array_equal(granule.longitude, factors.longitude.astype(np.float32))
        for name, variable in granule.data_vars.items():
            published = variable.to_numpy()[0]
            mask = ~np.isnan(published).ravel()
            npt.assert_array_equal(mask, factors.mask[0], err_msg=str(name))
            # Whatever one target says of its source must be what all its other targets say.
            native = np.full(factors.n_source, np.nan, np.float32)
            native[factors.nearest[mask]] = published.ravel()[mask]
            shared = mask.sum() - np.unique(factors.nearest[mask]).size
            assert shared == 111_562
            mapped = regrid(native.reshape(source.lon.shape), plan, level=0)
            npt.assert_array_equal(mapped, published, err_msg=str(name))
