"""Per-level operators as ECCO-Dataset-Production stores them, made here from its definition."""

import lzma
import pickle
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix, save_npz

from dor_ecco_assets.errors import DorEccoError
from dor_ecco_assets.mapping.factors import MappingFactors, build_factors, target_radius_m
from dor_ecco_assets.mapping.importing import compare_factors, read_sparse_level

LATITUDE = np.arange(-57.5, 60, 5.0)
LONGITUDE = np.arange(-177.5, 180, 5.0)


def operator_of_definition(
    lon: np.ndarray, lat: np.ndarray, wet: np.ndarray, radius_m: np.ndarray, reach_m: float
) -> csr_matrix:
    """Mean of the wet cells within the radius, else the nearest; one target after the other."""

    def points(x, y):
        x, y = np.radians(x), np.radians(y)
        return 6_370_997 * np.stack([np.cos(y) * np.cos(x), np.cos(y) * np.sin(x), np.sin(y)], -1)

    source = points(lon.ravel(), lat.ravel())
    row_of = np.cumsum(wet) - 1
    rows, columns, weights = [], [], []
    for target, (y, x) in enumerate((y, x) for y in LATITUDE for x in LONGITUDE):
        distance = np.sqrt(((source - points(x, y)) ** 2).sum(-1))
        if distance.min() > reach_m or not wet[distance.argmin()]:
            continue
        reach = min(radius_m[target // LONGITUDE.size], np.floor(radius_m.max()))
        chosen = np.flatnonzero((distance <= reach) & wet)
        if not chosen.size:
            chosen = np.array([np.where(wet, distance, np.inf).argmin()])
        rows += list(row_of[chosen])
        columns += [target] * chosen.size
        weights += [1 / chosen.size] * chosen.size
    shape = (int(wet.sum()), LATITUDE.size * LONGITUDE.size)
    return csr_matrix((weights, (rows, columns)), shape=shape)


@pytest.fixture(scope="module")
def made() -> tuple[MappingFactors, list[csr_matrix]]:
    rng = np.random.default_rng(5)
    lon = rng.uniform(-180, 180, (13, 20, 20))
    lat = rng.uniform(-70, 70, (13, 20, 20))
    wet = np.stack([rng.random((13, 20, 20)) < share for share in (0.7, 0.3)])
    factors = build_factors(
        lon,
        lat,
        wet,
        min_length_m=100_000,
        max_length_m=400_000,
        latitude=LATITUDE,
        longitude=LONGITUDE,
        resolution_degrees=5.0,
    )
    radius_m = target_radius_m(LATITUDE, resolution_degrees=5.0, method="area", radius_m=None)
    operators = [
        operator_of_definition(lon, lat, level.ravel(), radius_m, 400_000) for level in wet
    ]
    assert max(np.bincount(operators[0].indices)) > 1
    return factors, operators


@pytest.fixture
def folder(tmp_path: Path, made) -> Path:
    (tmp_path / "sparse").mkdir()
    for level, operator in enumerate(made[1]):
        save_npz(tmp_path / "sparse" / f"sparse_matrix_{level}.npz", operator)
    return tmp_path


def test_operators_made_from_the_definition_equal_ours_at_every_level(folder, made):
    factors, operators = made
    rows = compare_factors(folder, factors)
    assert [(row.level, row.different) for row in rows] == [(0, 0), (1, 0)]
    assert [row.weights for row in rows] == [operator.nnz for operator in operators]
    assert all(row.largest_difference <= 1e-12 for row in rows)
    assert compare_factors(folder / "sparse", factors) == rows


def test_a_weight_that_went_to_another_source_is_found(folder, made):
    factors, operators = made
    operator = operators[1].tolil()
    target = int(operators[1].tocsc().indices.size and operators[1].indices[0])
    sources = operator[:, [target]].nonzero()[0]
    operator[sources, target] = 0
    operator[(sources[0] + 1) % operator.shape[0], target] = 1
    save_npz(folder / "sparse" / "sparse_matrix_1.npz", operator.tocsr())
    first, second = compare_factors(folder, factors)
    assert (first.different, second.different, second.first) == (0, 1, target)
    assert "1 targets differ" in second.as_row()["found"]


def code_of(folder: Path, factors: MappingFactors) -> str:
    with pytest.raises(DorEccoError) as caught:
        compare_factors(folder, factors)
    assert str(folder) in caught.value.message
    return caught.value.code


def test_pickles_are_refused_in_every_disguise(folder, made):
    factors, operators = made
    path = folder / "sparse" / "sparse_matrix_0.npz"
    with lzma.open(path, "wb") as file:
        pickle.dump(operators[0], file)
    assert code_of(folder, factors) == "Pickle"
    named = {name: np.array([1], dtype=object) for name in ("data", "indices", "indptr")}
    np.savez(path, **named, shape=np.array([1, 1]), format=np.array(b"csr"))
    assert code_of(folder, factors) == "Pickle"
    other = path.rename(path.with_name("land_mask_0.xz"))
    with pytest.raises(DorEccoError, match="compressed pickle"):
        read_sparse_level(other, factors.wet[0], factors.n_target)


def test_broken_and_foreign_operators_are_refused(folder, made):
    factors, operators = made
    path = folder / "sparse" / "sparse_matrix_0.npz"
    path.write_bytes(path.read_bytes()[:200])
    assert code_of(folder, factors) == "NotSparse"
    save_npz(path, operators[0].tocsc())
    assert code_of(folder, factors) == "NotSparse"
    save_npz(path, operators[1])
    assert code_of(folder, factors) == "FactorsMismatch"
    save_npz(path, operators[0] * 1.5)
    assert code_of(folder, factors) == "RowSums"
    save_npz(path, operators[0])
    save_npz(path.with_name("sparse_matrix_7.npz"), operators[1])
    assert code_of(folder, factors) == "LevelUnknown"
    assert code_of(folder / "empty", factors) == "MissingInput"
