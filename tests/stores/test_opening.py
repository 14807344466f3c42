"""One call opens what was published: by key, by partition, by path, from disk and from S3."""

import shutil

import netCDF4
import numpy as np
import numpy.testing as npt
import pytest
import xarray as xr

import dor_ecco_assets
from dor_ecco_assets.errors import InputMissing
from dor_ecco_assets.lineage.record import record_key
from dor_ecco_assets.lineage.workspace import Policy
from dor_ecco_assets.storage import Directory, open_storage
from dor_ecco_assets.stores.opening import open_product, open_published
from tests.ecco.production import (
    DAYS,
    FACTORS,
    GRID,
    MONTHS,
    SSH_LATLON,
    SSH_NATIVE,
    SSH_NATIVE_DAILY,
    STRESS_LATLON,
    granule_of,
    inputs_of,
    made_sample,
    model_file,
    own_sample,
    production,
    record_of,
    root_of,
)

CENTRES = np.array(["1992-01-16T18", "1992-02-15T12", "2017-12-16T06"], "datetime64[ns]")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return made_sample(tmp_path_factory)


@pytest.fixture
def here(made, monkeypatch):
    """The sample production, as the environment's root."""
    monkeypatch.setenv("DOR_ECCO_ROOT", str(root_of(made)))
    return made


def is_lazy(dataset):
    """Whether no variable of a dataset has been read into memory."""
    return not any(variable._in_memory for variable in dataset.data_vars.values())


def test_a_key_opens_every_partition_in_order_of_time(here):
    with dor_ecco_assets.open(SSH_LATLON) as found:
        assert is_lazy(found)
        npt.assert_array_equal(found["time"], CENTRES)
        assert found["SSH"].dims == ("time", "latitude", "longitude")
        assert found["SSH"].shape == (3, 360, 720)
        assert found["time_bnds"].dims == ("time", "nv")
        # What does not change in time is not repeated along it.
        assert found["latitude_bnds"].dims == ("latitude", "nv")
        for number, month in enumerate(MONTHS):
            with xr.open_dataset(granule_of(here, SSH_LATLON, month)) as alone:
                npt.assert_array_equal(found["SSH"][number], alone["SSH"][0])


def test_a_native_key_keeps_its_coordinates_single(here):
    with dor_ecco_assets.open(SSH_NATIVE_DAILY) as found:
        assert found.sizes["time"] == len(DAYS)
        assert found["XC_bnds"].dims == ("tile", "j", "i", "nb")
        assert found["XC"].dims == ("tile", "j", "i")
        assert is_lazy(found)


@pytest.mark.parametrize("month", MONTHS)
def test_a_partition_opens_alone_and_equals_its_file(here, month):
    with (
        dor_ecco_assets.open(STRESS_LATLON, month) as found,
        xr.open_dataset(granule_of(here, STRESS_LATLON, month)) as file,
    ):
        assert is_lazy(found)
        xr.testing.assert_identical(found, file)


def test_some_partitions_open_in_the_order_they_are_named(here):
    with dor_ecco_assets.open(SSH_NATIVE, ["2017-12", "1992-01"]) as found:
        npt.assert_array_equal(found["time"], CENTRES[[2, 0]])


def test_a_path_opens_absolute_or_relative(here, monkeypatch):
    path = granule_of(here, SSH_NATIVE, "1992-01")
    monkeypatch.chdir(path.parent)
    for name in (str(path), path.name, f"./{path.name}", f"../{path.parent.name}/{path.name}"):
        with dor_ecco_assets.open(name) as found:
            assert found.attrs["product_name"] == path.name


def test_a_zarr_product_opens_by_key_and_by_path(here):
    with (
        dor_ecco_assets.open(GRID) as by_key,
        dor_ecco_assets.open(str(root_of(here) / "grids" / "llc90.zarr")) as by_path,
        dor_ecco_assets.open(f"{root_of(here)}/grids/llc90.zarr/") as with_slash,
    ):
        assert is_lazy(by_key)
        assert by_key.attrs["side"] == 10
        xr.testing.assert_identical(by_key, by_path)
        xr.testing.assert_identical(by_key, with_slash)


def test_a_key_is_found_from_within_the_root_too(here, monkeypatch):
    monkeypatch.chdir(root_of(here))
    with dor_ecco_assets.open(GRID) as found:
        assert found.sizes["tile"] == 13


def test_a_key_that_is_also_a_folder_here_is_a_key(here, monkeypatch):
    monkeypatch.chdir(root_of(here))
    with dor_ecco_assets.open(SSH_NATIVE, "1992-01") as found:
        assert found.sizes["time"] == 1


@pytest.mark.parametrize(
    ("key", "partition", "says"),
    [
        (SSH_LATLON, "1999-01", f"{SSH_LATLON} 1999-01 has not been made in "),
        (SSH_LATLON, ["1992-01", "1992-03"], f"{SSH_LATLON} 1992-03 has not been made"),
        ("ecco/NOT_THERE", None, "ecco/NOT_THERE has not been made in "),
    ],
)
def test_what_was_not_made_is_named_with_the_root(here, key, partition, says):
    with pytest.raises(InputMissing) as error:
        dor_ecco_assets.open(key, partition)
    assert error.value.code == "NotMade"
    assert says in error.value.message
    assert str(root_of(here)) in error.value.message
    assert "name another root by DOR_ECCO_ROOT" in error.value.message


def test_a_path_where_nothing_lies_is_named(tmp_path):
    for name in ("nothing.nc", "nothing.zarr"):
        with pytest.raises(InputMissing, match="nothing lies at .*nothing") as error:
            open_published(str(tmp_path / name))
        assert error.value.code == "NotMade"


def test_a_file_without_a_record_is_not_part_of_the_product(tmp_path, tmp_path_factory):
    own = own_sample(tmp_path_factory, tmp_path)
    for month in ("1992-01", "1992-02"):
        own.workspace().make(SSH_LATLON, month)
    storage = Directory(root_of(own))
    storage.delete(record_key(SSH_LATLON, "1992-02"))
    with open_product(storage, SSH_LATLON) as found:
        npt.assert_array_equal(found["time"], CENTRES[:1])


def test_a_partial_granule_joins_the_others_with_no_value_where_it_has_none(
    tmp_path, tmp_path_factory
):
    own = own_sample(tmp_path_factory, tmp_path)
    for ending in ("data", "meta"):
        model_file(inputs_of(own), "SSHIBC", "1992-01", ending).unlink()
    for month in ("1992-01", "1992-02"):
        own.workspace().make(SSH_LATLON, month, Policy(allow_partial=True))
    with open_product(Directory(root_of(own)), SSH_LATLON) as found:
        assert set(found.data_vars) == {"SSH", "SSHIBC", "SSHNOIBC"}
        assert bool(found["SSHIBC"][0].isnull().all())
        assert bool(found["SSHIBC"][1].notnull().any())
        assert bool(found["SSH"].notnull().any(("latitude", "longitude")).all())


@pytest.mark.parametrize("engine", ["netcdf4", "h5netcdf"])
def test_other_readers_open_the_file_as_it_lies(here, engine):
    path = granule_of(here, STRESS_LATLON, "1992-01")
    with (
        xr.open_dataset(path, engine=engine) as found,
        dor_ecco_assets.open(STRESS_LATLON, "1992-01") as ours,
    ):
        xr.testing.assert_identical(found.load(), ours.load())
    with netCDF4.Dataset(path) as file:
        assert file.data_model == "NETCDF4"


def test_everything_made_on_s3_opens_from_there(made, bucket, s3_environment, monkeypatch):
    root = f"s3://{bucket}/production"
    monkeypatch.setenv("DOR_ECCO_ROOT", root)
    remote = production(root, inputs_of(made))
    local = Directory(root_of(made))
    for month in MONTHS[:2]:
        record = remote.workspace().make(SSH_LATLON, month).record
        assert record.sha256 == record_of(made, SSH_LATLON, month).sha256
    with (
        dor_ecco_assets.open(SSH_LATLON) as found,
        open_product(local, SSH_LATLON, MONTHS[:2]) as expected,
    ):
        assert is_lazy(found)
        xr.testing.assert_identical(found.load(), expected.load())
    with (
        dor_ecco_assets.open(SSH_LATLON, "1992-02") as found,
        open_product(local, SSH_LATLON, ["1992-02"]) as expected,
    ):
        assert is_lazy(found)
        xr.testing.assert_identical(found.load(), expected.load())
    name = record_of(made, SSH_LATLON, "1992-01").uri
    with dor_ecco_assets.open(f"{root}/{name}") as found:
        npt.assert_array_equal(found["time"], CENTRES[:1])
    for key in (GRID, FACTORS):
        with (
            dor_ecco_assets.open(key) as found,
            dor_ecco_assets.open(f"{root}/{key}.zarr") as by_url,
            open_product(local, key) as expected,
        ):
            xr.testing.assert_identical(found.load(), expected.load())
            xr.testing.assert_identical(found, by_url.load())
    with pytest.raises(InputMissing, match=f"1999-01 has not been made in s3://{bucket}"):
        dor_ecco_assets.open(SSH_LATLON, "1999-01")
    with pytest.raises(InputMissing, match="nothing lies at s3://"):
        dor_ecco_assets.open(f"{root}/nothing.nc")


def test_a_root_may_be_moved(made, tmp_path):
    """Records name keys below the root, not places."""
    shutil.copytree(root_of(made), tmp_path / "elsewhere")
    storage = open_storage(made.root.model_copy(update={"root": str(tmp_path / "elsewhere")}))
    with open_product(storage, SSH_NATIVE, ["1992-01"]) as found:
        npt.assert_array_equal(found["time"], CENTRES[:1])
