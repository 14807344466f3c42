"""Mapping factors: what must hold for any source, then the numbers of the real LLC90 grid."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.testing as npt
import pytest
import xarray as xr
from scipy.sparse import csr_array
from scipy.spatial import cKDTree

from dor_ecco_assets.errors import ConfigurationError, GridMismatch
from dor_ecco_assets.grids.latlon import LatLonGrid
from dor_ecco_assets.mapping import search
from dor_ecco_assets.mapping.factors import (
    Level,
    MappingFactors,
    build_factors,
    check_grid,
    from_dataset,
    level_mask,
    level_weights,
    level_wet,
    target_radius_m,
    to_dataset,
)
from tests.mapping.sources import METHODS, Oracle, Source, llc90, synthetic_source

COARSE = LatLonGrid(5.0)
SMALL = {"method": "fixed", "radius_m": 700_000.0}


def _ids(choices: dict[str, Any]) -> str:
    return "-".join(str(value) for value in choices.values())


def _assert_same_weights(a: csr_array, b: csr_array) -> None:
    for one in (a, b):
        one.sort_indices()
    npt.assert_array_equal(a.indptr, b.indptr)
    npt.assert_array_equal(a.indices, b.indices)
    npt.assert_allclose(a.data, b.data, rtol=0, atol=1e-12)


def _assert_same_factors(a: MappingFactors, b: MappingFactors) -> None:
    arrays = [f.name for f in dataclasses.fields(MappingFactors) if f.name != "manifest"]
    for name in arrays:
        npt.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    assert a.manifest == b.manifest


def _oracle_agrees(
    source: Source, target: LatLonGrid, choices: dict[str, Any], levels: list[Level], n: int
) -> None:
    factors, oracle = source.factors(target, **choices), Oracle(source, target, choices)
    rng = np.random.default_rng(11)
    chosen = rng.choice(factors.n_target, min(n, factors.n_target), replace=False)
    near = {}
    for t in chosen:
        row, column = divmod(int(t), target.shape[1])
        near[t] = oracle.near(float(target.latitude[row]), float(target.longitude[column]))
    for level in levels:
        wet, weights = level_wet(factors, level), level_weights(factors, level)
        mask = level_mask(factors, level)
        for t, cells in near.items():
            lat = float(target.latitude[t // target.shape[1]])
            expected = oracle.weights(lat, wet, cells)
            row = slice(weights.indptr[t], weights.indptr[t + 1])
            found = dict(
                zip(weights.indices[row].tolist(), weights.data[row].tolist(), strict=True)
            )
            assert found == pytest.approx(expected, abs=1e-12), (level, t)
            assert mask[t] == bool(expected)


# What holds for any source


@pytest.mark.parametrize("choices", [*METHODS, SMALL], ids=_ids)
def test_rows_of_wet_targets_sum_to_one_and_the_others_are_empty(choices: dict[str, Any]) -> None:
    factors = synthetic_source().factors(COARSE, **choices)
    levels: list[Level] = [*range(factors.n_levels), "any_wet"]
    for level in levels:
        sums = np.asarray(level_weights(factors, level).sum(axis=1)).ravel()
        npt.assert_allclose(sums, level_mask(factors, level).astype(float), rtol=0, atol=1e-12)


@pytest.mark.parametrize("choices", [*METHODS, SMALL], ids=_ids)
def test_no_weight_stands_on_a_dry_cell(choices: dict[str, Any]) -> None:
    factors = synthetic_source().factors(COARSE, **choices)
    for level in range(factors.n_levels):
        used = np.unique(level_weights(factors, level).indices)
        assert level_wet(factors, level)[used].all()


@pytest.mark.parametrize("choices", [*METHODS, SMALL], ids=_ids)
def test_brute_force_over_all_sources_agrees(choices: dict[str, Any]) -> None:
    _oracle_agrees(synthetic_source(), COARSE, choices, [0, 1, 4, "any_wet"], n=2000)


def test_a_target_is_wet_where_its_nearest_source_is() -> None:
    factors = synthetic_source().factors(COARSE, **SMALL)
    npt.assert_array_equal(factors.mask, factors.wet[:, factors.nearest])


def test_any_wet_takes_columns_that_are_closed_at_the_top() -> None:
    factors = synthetic_source().factors(COARSE, **SMALL)
    assert level_wet(factors, "any_wet").sum() > level_wet(factors, 0).sum()
    npt.assert_array_equal(
        level_mask(factors, "any_wet"), level_wet(factors, "any_wet")[factors.nearest]
    )


def test_order_of_the_source_cells_does_not_matter() -> None:
    source = synthetic_source()
    order = np.random.default_rng(3).permutation(source.lon.size)

    def shuffled(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        lead = array.shape[:-3]
        return array.reshape(*lead, -1)[..., order].reshape(array.shape)

    other = Source(
        shuffled(source.lon),
        shuffled(source.lat),
        shuffled(source.wet),
        source.min_length_m,
        source.max_length_m,
    )
    one, two = source.factors(COARSE, **SMALL), other.factors(COARSE, **SMALL)
    npt.assert_array_equal(order[two.nearest], one.nearest)
    npt.assert_array_equal(two.mask, one.mask)
    for level in range(one.n_levels):
        moved = level_weights(two, level)
        back = csr_array(
            (moved.data, order[moved.indices].astype(np.int32), moved.indptr), moved.shape
        )
        _assert_same_weights(back, level_weights(one, level))


def test_each_level_alone_gives_what_all_levels_together_give() -> None:
    source, together = synthetic_source(), synthetic_source().factors(COARSE, **SMALL)
    for k in range(together.n_levels):
        wet = source.wet[k : k + 1]
        alone = Source(source.lon, source.lat, wet, source.min_length_m, source.max_length_m)
        factors = alone.factors(COARSE, **SMALL)
        npt.assert_array_equal(factors.mask[0], together.mask[k])
        _assert_same_weights(level_weights(factors, 0), level_weights(together, k))


def test_size_of_the_query_chunks_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    source = synthetic_source()
    whole = source.factors(COARSE, **SMALL)
    monkeypatch.setattr(search, "_BALL_CHUNK", 7)
    again = Source(source.lon, source.lat, source.wet, source.min_length_m, source.max_length_m)
    _assert_same_factors(again.factors(COARSE, **SMALL), whole)


@pytest.mark.parametrize("choices", [{"method": "area"}, SMALL], ids=_ids)
def test_a_tree_per_level_gives_the_same_weights(choices: dict[str, Any]) -> None:
    factors = synthetic_source().factors(COARSE, **choices)
    for level in range(factors.n_levels):
        _assert_same_weights(
            level_weights(factors, level), _weights_of_own_tree(synthetic_source(), factors, level)
        )


def _weights_of_own_tree(source: Source, factors: MappingFactors, level: int) -> csr_array:
    """Weights of a level from a tree over its wet cells and a mask from a tree over all cells."""
    points = search.points_m(source.lon.ravel(), source.lat.ravel())
    n_longitude = factors.longitude.size
    targets = search.points_m(
        np.tile(factors.longitude, factors.latitude.size),
        np.repeat(factors.latitude, n_longitude),
    )
    cells = np.flatnonzero(source.wet[level])
    _, of_all = cKDTree(points).query(targets)
    wet_target = np.flatnonzero(source.wet[level].ravel()[of_all])
    radius = np.repeat(
        target_radius_m(
            factors.latitude,
            resolution_degrees=factors.manifest["resolution_degrees"],
            method=factors.manifest["method"],
            radius_m=SMALL["radius_m"] if factors.manifest["method"] == "fixed" else None,
        ),
        n_longitude,
    )
    reach = np.minimum(radius, np.floor(radius.max()))
    tree = cKDTree(points[cells])
    _, nearest = tree.query(targets[wet_target])
    balls = tree.query_ball_point(targets[wet_target], reach[wet_target])
    found = [ball or [one] for ball, one in zip(balls, nearest, strict=True)]
    sizes = np.array([len(ball) for ball in found])
    return csr_array(
        (
            np.repeat(1 / sizes, sizes),
            (np.repeat(wet_target, sizes), cells[np.concatenate(found).astype(int)]),
        ),
        shape=(factors.n_target, factors.n_source),
    )


def test_bins_at_the_edge_include_sources_at_exactly_the_radius() -> None:
    lon, lat = np.array([0.0, 1.0]), np.array([0.0, 0.0])
    chord = float(np.linalg.norm(np.diff(search.points_m(lon, lat), axis=0)))
    radius = np.ceil(chord)
    counts = []
    for radius_m in (radius, np.floor(chord) - 1):
        factors = build_factors(
            lon,
            lat,
            np.ones((1, 2), bool),
            min_length_m=1e5,
            max_length_m=2e5,
            latitude=np.array([0.0]),
            longitude=np.array([0.0]),
            resolution_degrees=1.0,
            method="fixed",
            radius_m=float(radius_m),
        )
        counts.append(factors.manifest["levels"]["largest_bin"][0])
    assert counts == [2, 1]


def test_the_radius_of_a_bin_ends_at_whole_metres() -> None:
    lon, lat = np.array([0.0, 0.0]), np.array([0.0, 0.1])
    chord = float(np.linalg.norm(np.diff(search.points_m(lon, lat), axis=0)))
    assert chord % 1 > 0.01
    factors = build_factors(
        lon,
        lat,
        np.ones((1, 2), bool),
        min_length_m=1e3,
        max_length_m=2e4,
        latitude=np.array([0.0]),
        longitude=np.array([0.0]),
        resolution_degrees=0.2,
        method="fixed",
        radius_m=chord + 1e-3,
    )
    assert factors.manifest["search_radius_m"] == np.floor(chord)
    assert factors.manifest["pairs"] == 1


def test_equal_distances_go_to_the_lowest_flat_index_and_are_counted() -> None:
    # Both sources lie 1 degree from the target on the equator, the dry one comes first.
    lon, lat = np.array([40.0, 1.0, -1.0]), np.zeros(3)
    for wet_at, wet_target in ((1, True), (2, False)):
        wet = np.zeros((1, 3), bool)
        wet[0, wet_at] = True
        factors = build_factors(
            lon,
            lat,
            wet,
            min_length_m=1e5,
            max_length_m=2e5,
            latitude=np.array([0.0]),
            longitude=np.array([0.0]),
            resolution_degrees=0.5,
        )
        assert factors.nearest.tolist() == [1]
        assert factors.manifest["ties"] == 1
        assert factors.mask.tolist() == [[wet_target]]


def test_targets_beyond_the_longest_cell_have_no_source() -> None:
    source = synthetic_source()
    short = Source(source.lon, source.lat, source.wet, 1e4, 1.5e5)
    factors = short.factors(COARSE, method="fixed", radius_m=4e5)
    unreached = factors.nearest < 0
    assert 0 < factors.manifest["unreached_targets"] == unreached.sum()
    assert not factors.mask[:, unreached].any()
    assert (factors.nearest_distance_m[unreached] > 1.5e5).all()
    assert np.diff(level_weights(factors, 0).indptr)[unreached].sum() == 0


def test_a_limit_of_a_hundred_neighbours_that_would_matter_is_reported() -> None:
    rng = np.random.default_rng(0)
    lon, lat = rng.uniform(-0.1, 0.1, (2, 150))
    with pytest.warns(UserWarning, match="1 targets .* more than 100 sources"):
        factors = build_factors(
            lon,
            lat,
            np.ones((1, 150), bool),
            min_length_m=100.0,
            max_length_m=2e5,
            latitude=np.array([0.0]),
            longitude=np.array([0.0]),
            resolution_degrees=0.5,
        )
    assert factors.manifest["levels"]["over_cap"] == [1]
    assert factors.manifest["levels"]["largest_bin"] == [150]


def test_a_region_across_the_date_line_is_cut_from_the_globe() -> None:
    source = synthetic_source()
    globe = source.factors(COARSE, **SMALL)
    region = source.factors(LatLonGrid(5.0, south=-20, north=30, west=160, east=200), **SMALL)
    rows = (globe.latitude > -20) & (globe.latitude < 30)
    columns = [(np.round(globe.longitude * 2) % 720).tolist().index(2 * x % 720)
               for x in region.longitude]  # fmt: skip

    def cut(flat: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return flat.reshape(*flat.shape[:-1], *globe.target_shape)[..., rows, :][..., columns]

    npt.assert_array_equal(region.nearest.reshape(region.target_shape), cut(globe.nearest))
    npt.assert_array_equal(region.mask.reshape(-1, *region.target_shape), cut(globe.mask))
    assert region.manifest["extent"] == {"south": -20, "north": 30, "west": 160, "east": 200}


def test_radius_is_that_of_the_named_method() -> None:
    def area(lat: float) -> float:
        return target_radius_m(np.array([lat]), resolution_degrees=0.5, method="area").item()

    for lat, metres in ((0.25, 31367), (45.25, 26319), (60.25, 22096), (80.25, 12908)):
        assert area(lat) == pytest.approx(metres, abs=0.6)
    assert area(89.75) == pytest.approx(2072, abs=0.6)
    one = np.zeros(1)
    assert target_radius_m(one, resolution_degrees=0.5, method="constant") == pytest.approx(
        39244, abs=0.5
    )
    assert target_radius_m(one, resolution_degrees=0.5, method="constant_1p1") == pytest.approx(
        43169, abs=0.5
    )


# Refusals


@pytest.mark.parametrize(
    ("choices", "code"),
    [
        ({"method": "fixed"}, "RadiusInvalid"),
        ({"method": "fixed", "radius_m": -1.0}, "RadiusInvalid"),
        ({"method": "area", "radius_m": 5.0}, "RadiusInvalid"),
        ({"method": "disc"}, "RadiusMethodUnknown"),
        ({"weights": "median"}, "WeightMethodUnknown"),
    ],
)
def test_choices_that_make_no_sense_are_refused(choices: dict[str, Any], code: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        synthetic_source().factors(COARSE, **choices)
    assert refusal.value.code == code


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"lat": np.zeros((13, 2, 2))}, "ShapeMismatch"),
        ({"wet": np.zeros((4, 13, 2, 2), bool)}, "ShapeMismatch"),
        ({"wet": np.ones((5, 13, 14, 14))}, "ShapeMismatch"),
        ({"lon": np.full((13, 14, 14), np.nan)}, "CoordinatesNotFinite"),
        ({"lat": np.full((13, 14, 14), 91.0)}, "LatitudeOutOfRange"),
    ],
)
def test_arrays_that_are_no_grid_are_refused(change: dict[str, Any], code: str) -> None:
    source = synthetic_source()
    parts = {"lon": source.lon, "lat": source.lat, "wet": source.wet} | change
    with pytest.raises(GridMismatch) as refusal:
        Source(**parts, min_length_m=1e4, max_length_m=1e6).factors(COARSE)
    assert refusal.value.code == code


@pytest.mark.parametrize(("part", "name"), [("lon", "XC"), ("lat", "YC"), ("wet", "wet")])
def test_factors_of_another_grid_are_refused_by_name(part: str, name: str) -> None:
    source = synthetic_source()
    factors = source.factors(COARSE, **SMALL)
    check_grid(factors, source.lon, source.lat, source.wet)
    parts = {"lon": source.lon.copy(), "lat": source.lat.copy(), "wet": source.wet.copy()}
    changed = parts[part].reshape(-1)
    changed[5] = ~changed[5] if part == "wet" else changed[5] + 1e-9
    with pytest.raises(GridMismatch, match=rf"{name} has sha256 .*dor-ecco ecco factors") as error:
        check_grid(factors, **parts)
    assert error.value.code == "FactorsMismatch"
    assert factors.manifest["sha256"][name] in error.value.message


# Portable form


def test_factors_survive_a_zarr_store(tmp_path: Path) -> None:
    for choices in (SMALL, {"weights": "nearest"}):
        factors = synthetic_source().factors(COARSE, **choices)
        store = tmp_path / _ids(choices)
        to_dataset(factors).to_zarr(store, zarr_format=3, consolidated=False)
        with xr.open_zarr(store, consolidated=False) as dataset:
            _assert_same_factors(from_dataset(dataset), factors)


def test_stored_factors_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    source = synthetic_source()
    again = Source(source.lon, source.lat, source.wet, source.min_length_m, source.max_length_m)
    trees = []
    for name, one in (("one", source), ("two", again)):
        factors = one.factors(COARSE, **SMALL)
        to_dataset(factors).to_zarr(tmp_path / name, zarr_format=3, consolidated=False)
        trees.append(
            {
                str(path.relative_to(tmp_path / name)): path.read_bytes()
                for path in (tmp_path / name).rglob("*")
                if path.is_file()
            }
        )
    assert trees[0] == trees[1]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda ds: ds.drop_vars("nearest"), "No variable named 'nearest'"),
        (lambda ds: ds.drop_attrs(), "lacks something: 'manifest'"),
        (lambda ds: ds.assign_attrs(manifest=json.dumps({"format": 0})), "format 0, expected 1"),
        (lambda ds: ds.assign(wet=1 - ds.wet), "wet mask has sha256"),
        (lambda ds: ds.assign(mask=1 - ds.mask), "mask is not that of the nearest sources"),
        (lambda ds: ds.assign(nearest=ds.nearest + 10**6), "a nearest outside -1 to"),
        (lambda ds: ds.assign(bin_source=ds.bin_source - 10**6), "a bin_source outside 0 to"),
        (lambda ds: ds.assign(bin_target=ds.bin_target[::-1]), "order of their targets"),
        (lambda ds: ds.assign(bin_source=0 * ds.bin_source), "without their nearest source"),
        (lambda ds: ds.isel(pair=slice(9)), "unequal shape: pairs"),
        (lambda ds: ds.isel(latitude=slice(3)), "unequal shape|nearest sources|outside"),
    ],
)
def test_damaged_factors_are_refused(damage: Any, message: str) -> None:
    dataset = to_dataset(synthetic_source().factors(COARSE, **SMALL))
    with pytest.raises(GridMismatch, match=message) as refusal:
        from_dataset(damage(dataset))
    assert refusal.value.code == "FactorsMismatch"
    assert "dor-ecco ecco factors" in refusal.value.message


# The real LLC90 grid


def test_llc90_counts_at_half_a_degree() -> None:
    manifest = llc90().factors().manifest
    levels = manifest["levels"]
    assert {name: counts[0] for name, counts in levels.items()} == {
        "wet_sources": 60_646,
        "wet_targets": 169_137,
        "nearest_only": 98_153,
        "one_cell_bins": 70_919,
        "averaged": 65,
        "largest_bin": 2,
        "weights": 169_202,
        "over_cap": 0,
    }
    assert manifest["any_wet"] == {name: counts[0] for name, counts in levels.items()}
    assert sum(levels["weights"]) == 6_842_893
    assert sum(levels["wet_targets"]) == 6_841_466
    assert sum(levels["averaged"]) == 1_427
    assert sum(levels["wet_sources"]) == 2_406_992
    wet_sources = [levels["wet_sources"][k] for k in (0, 10, 25, 40, 49)]
    assert wet_sources == [60_646, 57_022, 51_259, 44_793, 818]
    assert manifest["pairs"] == 119_260
    assert manifest["ties"] == manifest["unreached_targets"] == 0
    assert manifest["largest_nearest_distance_m"] == pytest.approx(59_228, abs=0.5)
    assert manifest["source_min_length_m"] == pytest.approx(233.56, abs=0.005)
    assert manifest["source_max_length_m"] == pytest.approx(111_177.5, abs=0.05)


def test_llc90_weights_have_the_counts_that_the_manifest_says() -> None:
    factors = llc90().factors()
    for level in (0, 20, 49):
        weights = level_weights(factors, level)
        assert weights.nnz == factors.manifest["levels"]["weights"][level]
        sums = np.asarray(weights.sum(axis=1)).ravel()
        npt.assert_allclose(sums, factors.mask[level].astype(float), rtol=0, atol=1e-12)


def test_llc90_counts_with_the_constant_radius() -> None:
    levels = llc90().factors(method="constant").manifest["levels"]
    assert levels["weights"][0] == 239_253
    assert levels["nearest_only"][0] == 33_726
    assert levels["largest_bin"][0] == 7
    assert sum(levels["over_cap"]) == 0


def test_llc90_counts_at_one_degree() -> None:
    manifest = llc90().factors(LatLonGrid(1.0)).manifest
    levels = manifest["levels"]
    assert [levels["weights"][k] for k in (0, 20, 49)] == [60_756, 54_150, 803]
    assert [levels["wet_targets"][k] for k in (0, 20, 49)] == [42_322, 38_181, 709]
    assert max(levels["largest_bin"]) == 5
    assert manifest["ties"] == 0


def test_llc90_ties_at_two_degrees_go_to_the_lowest_flat_index() -> None:
    source, target = llc90(), LatLonGrid(2.0)
    factors = source.factors(target)
    assert factors.manifest["ties"] == 11_536
    points = search.points_m(source.lon.ravel(), source.lat.ravel())
    targets = search.points_m(
        np.tile(target.longitude, target.shape[0]), np.repeat(target.latitude, target.shape[1])
    )
    tree = cKDTree(points)
    smallest, _ = tree.query(targets)
    tied = tree.query_ball_point(targets, smallest + 1e-3)
    npt.assert_array_equal(factors.nearest, [min(cells) for cells in tied])
    wet = factors.wet[0]
    assert sum(np.unique(wet[cells]).size == 2 for cells in tied) == 300


@pytest.mark.parametrize("choices", METHODS, ids=_ids)
def test_llc90_brute_force_over_all_sources_agrees(choices: dict[str, Any]) -> None:
    _oracle_agrees(llc90(), LatLonGrid(), choices, [0, 20, 49, "any_wet"], n=2000)


@pytest.mark.parametrize("level", [0, 20, 49])
def test_llc90_tree_per_level_gives_the_same_weights(level: int) -> None:
    factors = llc90().factors()
    own = _weights_of_own_tree(llc90(), factors, level)
    _assert_same_weights(level_weights(factors, level), own)


def test_llc90_coordinates_in_float32_give_the_same_weights() -> None:
    source = llc90()
    lon, lat = (a.astype(np.float32) for a in (source.lon, source.lat))
    single = Source(lon, lat, source.wet, source.min_length_m, source.max_length_m)
    one, two = source.factors(), single.factors()
    npt.assert_array_equal(one.nearest, two.nearest)
    assert abs(one.bin_source.size - two.bin_source.size) <= 3
    assert one.manifest["levels"] == two.manifest["levels"]
    for level in (0, 20, 49):
        _assert_same_weights(level_weights(one, level), level_weights(two, level))


def test_llc90_factors_take_at_most_four_megabytes(tmp_path: Path) -> None:
    factors = llc90().factors()
    to_dataset(factors).to_zarr(tmp_path / "factors", zarr_format=3, consolidated=False)
    size = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert size < 4e6
    with xr.open_zarr(tmp_path / "factors", consolidated=False) as dataset:
        _assert_same_factors(from_dataset(dataset), factors)
