"""Time-invariant granules: mixing coefficients and grid geometry, against the grids themselves."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import netCDF4
import numpy as np
import numpy.testing as npt
import pytest
import xarray as xr

from dor_ecco_assets.ecco.products import ecco_products
from dor_ecco_assets.ecco.static_granules import GRAVITY_M_S2
from dor_ecco_assets.ecco.verification import verify_granule
from dor_ecco_assets.errors import DorEccoError, InputMissing, InputUnusable
from dor_ecco_assets.grids.llc import compact_from_tiles
from dor_ecco_assets.grids.mds import write_grid_file
from dor_ecco_assets.lineage.quarantine import read_quarantined
from dor_ecco_assets.lineage.record import read_record
from dor_ecco_assets.lineage.workspace import Policy
from dor_ecco_assets.mapping.apply import plan_regrid, regrid
from dor_ecco_assets.mapping.factors import from_dataset
from dor_ecco_assets.samples.ecco_static import (
    MIXING_M2_S,
    sample_metrics,
    sample_mixing,
    write_sample_mixing,
)
from dor_ecco_assets.samples.llc_grid import sample_grid_fields
from dor_ecco_assets.stores.opening import open_product
from tests.ecco.production import FACTORS, GRID, SIDE, TARGET, inputs_of, production, root_of

GEOMETRY_NATIVE = "ecco/ECCO_L4_GEOMETRY_LLC0090GRID_V4R4"
GEOMETRY_LATLON = "ecco/ECCO_L4_GEOMETRY_05DEG_V4R4"
MIXING_NATIVE = "ecco/ECCO_L4_OCEAN_3D_MIX_COEFFS_LLC0090GRID_V4R4"
MIXING_LATLON = "ecco/ECCO_L4_OCEAN_3D_MIX_COEFFS_05DEG_V4R4"
EVERY = (GEOMETRY_NATIVE, GEOMETRY_LATLON, MIXING_NATIVE, MIXING_LATLON)

FIELDS = sample_grid_fields(SIDE)


def write_static(folder: Path) -> Path:
    metrics = {name: compact_from_tiles(tiles) for name, tiles in sample_metrics(FIELDS).items()}
    for name, values in {**FIELDS, **metrics}.items():
        write_grid_file(folder / "llc90", name, values)
    write_sample_mixing(folder, FIELDS)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("static")
    found = production(folder / "root", write_static(folder / "inputs"))
    space = found.workspace()
    for key in EVERY:
        space.make(key, "")
    return found


@pytest.fixture
def own(made, tmp_path):
    """A copy of the inputs, with grids and factors made and no granule."""
    shutil.copytree(inputs_of(made), tmp_path / "inputs")
    for name in ("grids", "mapping", ".records/grids", ".records/mapping"):
        shutil.copytree(root_of(made) / name, tmp_path / "root" / name, copy_function=os.link)
    return production(tmp_path / "root", tmp_path / "inputs")


def opened(made, key: str) -> xr.Dataset:
    return open_product(made.workspace().storage, key)


def test_the_table_of_collections_has_these_four_static_ones():
    static = {p.key: p.partitioning.kind for p in ecco_products() if "TIME_SERIES" not in p.key}
    assert {key for key, kind in static.items() if kind == "none"} == set(EVERY)


@pytest.mark.parametrize("key", EVERY)
def test_a_static_granule_is_verified_and_has_no_time(made, key):
    assert verify_granule(made.workspace().storage, key, "") == []
    granule = opened(made, key)
    assert "time" not in granule.variables
    assert not [name for name in granule.attrs if name.startswith("time_coverage")]
    assert granule.attrs["product_time_coverage_start"] == "1992-01-01T12:00:00"
    assert "geospatial_vertical_min" in granule.attrs
    assert granule.attrs["identifier_product_doi"] == granule.attrs["id"]
    assert "_TI" not in granule.attrs["product_name"]


def test_names_and_identifiers_are_those_of_the_archive(made):
    native, latlon = opened(made, GEOMETRY_NATIVE), opened(made, MIXING_LATLON)
    label = f"llc{SIDE:04d}"
    assert native.attrs["product_name"] == f"GRID_GEOMETRY_ECCO_V4r4_native_{label}.nc"
    assert native.attrs["id"] == "10.5067/ECL5A-GRD44"
    assert latlon.attrs["product_name"] == "OCEAN_3D_MIXING_COEFFS_ECCO_V4r4_latlon_0p50deg.nc"
    assert latlon.attrs["id"] == "10.5067/ECG5A-MIX44"
    assert "mapping_factors_fingerprint" in latlon.attrs


def test_native_geometry_is_that_of_the_grid(made):
    granule, grid = opened(made, GEOMETRY_NATIVE), made.workspace().open_upstream(GRID)
    shared = [name for name in granule.variables if name in grid.variables]
    assert {"XC", "YC_bnds", "Depth", "rA", "CS", "hFacS", "maskW", "Z_bnds"} <= set(shared)
    for name in shared:
        assert granule[name].dims == grid[name].dims, name
        npt.assert_array_equal(
            granule[name].values, grid[name].values.astype(granule[name].dtype), err_msg=name
        )
    assert granule["maskC"].dtype == bool


def test_native_geometry_has_what_only_the_model_knows(made):
    granule, metrics = opened(made, GEOMETRY_NATIVE), sample_metrics(FIELDS)
    for name, file in (("rAw", "RAW"), ("rAs", "RAS"), ("rAz", "RAZ"), ("dxC", "DXC")):
        npt.assert_array_equal(granule[name].values, metrics[file].astype(np.float32))
    assert granule["dyC"].dims == ("tile", "j_g", "i")
    assert granule["rAz"].encoding["coordinates"] == "XG YG"


def test_vertical_distances_and_reference_pressures_follow_from_the_levels(made):
    granule = opened(made, GEOMETRY_NATIVE)
    distance = granule["drC"].values
    assert distance.shape == (51,)
    npt.assert_allclose(distance[0], -FIELDS["RC"][0], rtol=1e-7)
    npt.assert_allclose(distance[1:-1], -np.diff(FIELDS["RC"]), rtol=1e-6)
    npt.assert_allclose(distance.sum(), FIELDS["DRF"].sum(), rtol=1e-6)
    npt.assert_allclose(granule["PHrefC"], -GRAVITY_M_S2 * FIELDS["RC"], rtol=1e-6)
    npt.assert_allclose(granule["PHrefF"], -GRAVITY_M_S2 * FIELDS["RF"], rtol=1e-6)
    assert not np.signbit(granule["PHrefF"]).any()  # 0.0 at the surface, not -0.0


def test_mapped_geometry_is_the_native_one_mapped(made):
    granule, space = opened(made, GEOMETRY_LATLON), made.workspace()
    grid, target = space.open_upstream(GRID), space.open_upstream(TARGET)
    plan = plan_regrid(from_dataset(space.open_upstream(FACTORS)))
    fraction = regrid(grid["hFacC"].values, plan)
    npt.assert_array_equal(granule["hFacC"].values, np.nan_to_num(fraction))
    npt.assert_array_equal(granule["maskC"].values, ~np.isnan(fraction))
    npt.assert_array_equal(granule["maskC"].values, granule["hFacC"].values > 0)
    npt.assert_array_equal(granule["Depth"].values > 0, granule["maskC"].values[0])
    npt.assert_array_equal(granule["area"].values, target["area"].values.astype(np.float32))
    assert granule["drF"].dims == ("Z",)


def test_masks_are_bytes_with_flags_and_without_fill(made):
    path = root_of(made) / read_record(made.workspace().storage, GEOMETRY_NATIVE, "").uri
    with netCDF4.Dataset(path) as raw:
        mask = raw["maskS"]
        assert mask.dtype == np.int8
        assert list(mask.flag_values) == [0, 1]
        assert "_FillValue" not in mask.ncattrs()
        assert raw["hFacC"].chunking() == [10, 13, SIDE, SIDE]
        assert raw["hFacC"].filters()["shuffle"]
        assert raw["drF"].coordinates == "Z"
        assert "_FillValue" not in raw["XC"].ncattrs()


@pytest.mark.parametrize("field", list(MIXING_M2_S))
def test_native_mixing_is_the_planted_one_and_nan_on_land(made, field):
    granule, grid = opened(made, MIXING_NATIVE), made.workspace().open_upstream(GRID)
    wet = grid["maskC"].values
    expected = np.where(wet, sample_mixing(field, FIELDS).astype(np.float32), np.nan)
    npt.assert_array_equal(granule[field].values, expected)
    assert granule[field].dims == ("k", "tile", "j", "i")


@pytest.mark.parametrize("field", list(MIXING_M2_S))
def test_mapped_mixing_is_the_native_one_mapped(made, field):
    native, latlon = opened(made, MIXING_NATIVE), opened(made, MIXING_LATLON)
    plan = plan_regrid(from_dataset(made.workspace().open_upstream(FACTORS)))
    npt.assert_array_equal(latlon[field].values, regrid(np.nan_to_num(native[field].values), plan))
    assert latlon[field].dims == ("Z", "latitude", "longitude")


def test_precision_and_folder_of_the_coefficients_do_not_matter(own, made):
    folder = inputs_of(own)
    shutil.rmtree(folder / "V4r4")
    write_sample_mixing(folder, FIELDS, place="llc90", dtype=">f8")
    own.workspace().make(MIXING_NATIVE, "")
    a, b = opened(own, MIXING_NATIVE), opened(made, MIXING_NATIVE)
    assert a.drop_attrs().identical(b.drop_attrs())


def test_a_second_run_does_nothing_and_forced_it_gives_the_same_bytes(made):
    space = made.workspace()
    for key in EVERY:
        assert space.make(key, "").skipped
        before = read_record(space.storage, key, "").sha256
        assert space.make(key, "", Policy(force=True)).record.sha256 == before


def test_without_fields_the_products_wait(tmp_path):
    (tmp_path / "inputs").mkdir()
    space = production(tmp_path / "root", tmp_path / "inputs").workspace()
    for key in EVERY:
        assert [state.standing for state in space.states(key)] == ["waiting"]
        with pytest.raises(InputMissing):
            space.make(key, "")


# Bad input


def spoil_values(name: str, change: Callable[[np.ndarray], None], place: str = "V4r4/static"):
    def spoil(inputs: Path) -> None:
        path = inputs / place / f"{name}.data"
        kind = ">f4" if place.endswith("static") else ">f8"
        values = np.frombuffer(path.read_bytes(), kind).copy()
        change(values)
        path.write_bytes(values.tobytes())

    return spoil


def put(value: float, *, wet: bool):
    at = int(np.flatnonzero((sample_mixing("KAPGM", FIELDS) > 0).ravel() == wet)[0])
    flat = compact_from_tiles(np.arange(50 * 13 * SIDE**2).reshape(50, 13, SIDE, SIDE)).ravel()
    place = int(np.flatnonzero(flat == at)[0])

    def change(values: np.ndarray) -> None:
        values[place] = value

    return change


def truncate(inputs: Path) -> None:
    path = inputs / "V4r4/static/KAPGM.data"
    path.write_bytes(path.read_bytes()[:-8])


def other_precision(inputs: Path) -> None:
    path = inputs / "V4r4/static/KAPGM.meta"
    path.write_text(path.read_text().replace("float32", "float64"))


def other_shape(inputs: Path) -> None:
    write_grid_file(inputs / "V4r4/static", "KAPGM", np.ones((13, SIDE, SIDE)), dtype=">f4")


def little_endian(inputs: Path) -> None:
    path = inputs / "V4r4/static/KAPGM.data"
    path.write_bytes(np.frombuffer(path.read_bytes(), ">f4").astype("<f4").tobytes())


def first(value: float):
    def change(values: np.ndarray) -> None:
        values[0] = value

    return change


FAULTS = [
    (MIXING_NATIVE, truncate, "SizeMismatch", "whole records are there"),
    (MIXING_NATIVE, other_precision, "PrecisionMismatch", "float32 would fit"),
    (MIXING_NATIVE, other_shape, "ShapeMismatch", "expected (50, 130, 10)"),
    (MIXING_NATIVE, little_endian, "EndianSuspect", "big-endian"),
    (MIXING_NATIVE, spoil_values("KAPGM", put(np.nan, wet=True)), "NonFinite", "1 wet cells"),
    (MIXING_LATLON, spoil_values("KAPGM", put(np.nan, wet=True)), "NonFinite", "1 wet cells"),
    (MIXING_NATIVE, spoil_values("KAPGM", put(3.0, wet=False)), "ValuesOnLand", "1 land cells"),
    (MIXING_NATIVE, spoil_values("DIFFKR", put(-1.0, wet=True)), "OutOfRange", "expected 0 to 1"),
    (GEOMETRY_NATIVE, spoil_values("DXC", first(-1.0), "llc90"), "GridValues", "dxC holds 1"),
    (GEOMETRY_NATIVE, spoil_values("RAZ", first(np.nan), "llc90"), "GridValues", "rAz holds 1"),
]


@pytest.mark.parametrize(("key", "spoil", "code", "says"), FAULTS)
def test_a_bad_field_is_refused_and_quarantined(own, key, spoil, code, says):
    spoil(inputs_of(own))
    space = own.workspace()
    with pytest.raises(InputUnusable) as caught:
        space.make(key, "")
    assert caught.value.code == code
    assert says in caught.value.message
    assert read_quarantined(space.storage, key, "").code == code
    nothing_is_left(own, key)


def nothing_is_left(own, key: str) -> None:
    space = own.workspace()
    assert read_record(space.storage, key, "") is None
    assert [name for name, _ in space.storage.list(key)] == []


def test_an_absent_field_is_named_and_allowed_for_where_asked(own):
    for ending in ("data", "meta"):
        (inputs_of(own) / f"V4r4/static/KAPGM.{ending}").unlink()
        (inputs_of(own) / f"llc90/RAZ.{ending}").unlink()
    for key, said, lost in ((MIXING_NATIVE, "KAPGM", "KAPGM"), (GEOMETRY_NATIVE, "RAZ", "rAz")):
        space = own.workspace()
        with pytest.raises(DorEccoError, match=f"{said}.data: in none of") as caught:
            space.make(key, "")
        assert caught.value.code == "MissingInput"
        assert "--allow-partial" in caught.value.message
        nothing_is_left(own, key)
        outcome = space.make(key, "", Policy(allow_partial=True))
        assert outcome.record.details["missing_variables"] == [lost]
        assert lost not in opened(own, key)
        assert opened(own, key).attrs["missing_variables"] == lost


def test_a_field_without_its_description_is_named(own):
    (inputs_of(own) / "V4r4/static/KAPGM.meta").unlink()
    with pytest.raises(InputMissing, match="KAPGM.data has no description") as caught:
        own.workspace().make(MIXING_NATIVE, "")
    assert caught.value.code == "MissingMeta"
