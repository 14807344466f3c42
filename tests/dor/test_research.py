"""Research files: every bit of the model's fields, in a file that everything opens."""

from __future__ import annotations

import subprocess

import h5netcdf
import netCDF4
import numpy as np
import pytest
import xarray as xr

from dor_ecco_assets.dor.history import open_history
from dor_ecco_assets.dor.research import STATIC_COORDINATES
from dor_ecco_assets.samples.pop_faults import plant
from tests.dor.small import write_sample

LEADING = ("polygon_id", "intervention_date", "elapsed_time")


def bits(path, name):
    with netCDF4.Dataset(path) as file:
        file.set_auto_maskandscale(False)
        return np.ascontiguousarray(file[name][...]).astype("<f4").tobytes()


def slowly(sample, k, path):
    """The same research file through xarray alone."""
    grid = sample.setup.grid
    with xr.open_dataset(sample.history(k), decode_times=False) as opened:
        month = opened.load()
    month.encoding = {}  # time is unlimited there
    start, end = month["time_bound"].values[0]
    fields = [name for name in month.data_vars if "time" in month[name].dims]
    fields.remove("time_bound")
    made = month.drop_vars(["time", "time_bound"]).rename_dims(time="elapsed_time")
    for name in STATIC_COORDINATES & set(made.variables):
        variable = made[name]
        if name == "KMT":
            values, fill = grid.kmt, None
        elif name in grid.points:
            values, fill = grid.points[name], np.nan
        else:
            values, fill = variable.values, np.nan
        if values.dtype.kind != "f":
            fill = None
        about = {key: v for key, v in variable.attrs.items() if key != "missing_value"}
        made = made.drop_vars(name).assign_coords({name: (variable.dims, values, about)})
        made[name].encoding = {"_FillValue": fill}
    for name in fields:
        encoding = month[name].encoding
        made[name] = made[name].expand_dims(LEADING[:2])
        shape = made[name].shape
        made[name].encoding = {
            key: encoding[key] for key in ("_FillValue", "missing_value", "coordinates")
        } | {"zlib": True, "complevel": 4, "shuffle": True, "chunksizes": shape}
    year_day = 347 * 365
    elapsed = int(start - year_day - 181)
    made = made.assign_coords(
        area_m2=(("nlat", "nlon"), grid.area_cm2 * 1e-4, {"units": "m^2"}),
        polygon_id=("polygon_id", np.array([1], "i4"), {"long_name": "polygon ID"}),
        intervention_date=("intervention_date", np.array([181], "i8")),
        elapsed_time=("elapsed_time", np.array([elapsed], "i8")),
        time=("elapsed_time", [(start + end) / 2]),
        time_delta=("elapsed_time", [end - start]),
    )
    with xr.open_dataset(sample.run().research[k], decode_times=False) as ours:
        for name in (*LEADING, "time", "time_delta", "area_m2"):
            made[name].attrs = ours[name].attrs  # values and types are what is compared here
    for name in ("polygon_id", "intervention_date", "elapsed_time"):
        made[name].encoding = {"_FillValue": None}
    made.to_netcdf(path, unlimited_dims=())
    return path


def test_every_field_keeps_every_bit(tmp_path):
    sample = write_sample(tmp_path)
    payloads = np.array([0x7FC00001, 0xFFC12345, 0x7F800001, 0x80000000, 1], np.uint32)
    j, i = np.argwhere(~sample.setup.grid.wet)[0]
    with netCDF4.Dataset(sample.history(1), "r+") as file:
        file.set_auto_maskandscale(False)
        for k, pattern in enumerate(payloads):  # on land, where they are allowed
            file["DIC"][0, k, j, i] = pattern.view(np.float32)
    made = sample.run()
    for k in range(3):
        with open_history(sample.history(k)) as history:
            fields = [name for name, v in history.variables.items() if v.monthly]
            fields = [name for name in fields if not name.startswith("time")]
            assert len(fields) == 14
            for name in fields:
                source = history.values(name).astype("<f4").tobytes()
                assert bits(made.research[k], name) == source, name


def test_a_file_opens_in_everything(tmp_path):
    sample = write_sample(tmp_path)
    path = sample.run().research[1]
    header = subprocess.run(
        ["ncdump", "-hs", str(path)], capture_output=True, text=True, check=True
    ).stdout
    assert "float DIC(polygon_id, intervention_date, elapsed_time, z_t, nlat, nlon)" in header
    assert "DIC:_ChunkSizes = 1, 1, 1, 5, 48, 40" in header
    assert "DIC:_DeflateLevel = 4" in header
    assert 'DIC:_Shuffle = "true"' in header
    assert "UNLIMITED" not in header
    subprocess.run(["ncdump", str(path)], capture_output=True, check=True)
    with netCDF4.Dataset(path) as one, h5netcdf.File(path) as other:
        for name in one.variables:
            one[name].set_auto_mask(False)
            np.testing.assert_array_equal(one[name][...], np.asarray(other.variables[name][...]))
        assert set(one.dimensions) == {*LEADING, "z_t", "nlat", "nlon"}
        assert one["time_delta"][...] == 31
        assert one["elapsed_time"][...] == 31
        assert one["polygon_id"][...] == 1
        assert one.title == sample.setup.case.name
        assert one["DIC"].units == "mmol/m^3"
        assert one["area_m2"].units == "m^2"
        assert one["polygon_id"].long_name == "polygon ID"
        assert one["intervention_date"].units == "days since 1999-01-01"
        assert one["intervention_date"].calendar == one["time"].calendar == "noleap"
        assert one["time"].units == "days since 0000-01-01"
        assert one["time_delta"].units == one["elapsed_time"].units == "days"
        assert "calendar" not in one["elapsed_time"].ncattrs()
        assert [one[name].dtype for name in LEADING] == [np.int32, np.int64, np.int64]
        assert one["DIC"]._FillValue == np.float32(9.969209968386869e36)
        assert np.isnan(one["TLAT"]._FillValue)
        assert not {"_FillValue", "missing_value"} & set(one["KMT"].ncattrs())
        assert one["KMT"].dtype == np.int32
        assert one["ULAT"].dimensions == ("nlat", "nlon")
        assert one["KMT"].chunking() == one["REGION_MASK"].chunking() == "contiguous"


def test_xarray_sees_statics_as_coordinates_and_real_times(tmp_path):
    sample = write_sample(tmp_path)
    with xr.open_dataset(sample.run().research[1], decode_timedelta=False) as found:
        assert STATIC_COORDINATES & set(found.variables) <= set(found.coords)
        assert set(found.data_vars) & set(found.coords) == set()
        assert {"DIC", "SSH", "ECOSYS_IFRAC"} <= set(found.data_vars)
        assert {"area_m2", "time", "time_delta"} <= set(found.coords)
        time = found["time"].values[0]
        assert (time.year, time.month, time.day, time.hour) == (347, 8, 16, 12)
        day = found["intervention_date"].values[0]
        assert (day.year, day.month, day.day) == (1999, 7, 1)
        np.testing.assert_array_equal(found["TLAT"], sample.setup.grid.points["TLAT"])


@pytest.mark.parametrize("k", [0, 2])
def test_a_file_is_identical_to_one_written_slowly(tmp_path, k):
    sample = write_sample(tmp_path)
    slow = slowly(sample, k, tmp_path / "slow.nc")
    ours = sample.run().research[k]
    for engine in ("netcdf4", "h5netcdf"):
        with (
            xr.open_dataset(ours, engine=engine, decode_times=False) as fast,
            xr.open_dataset(slow, engine="netcdf4", decode_times=False) as theirs,
        ):
            xr.testing.assert_identical(fast, theirs)
    # What a person sees of the values is the same text, line by line.
    one, other = (
        subprocess.run(["ncdump", "-p", "9,17", "-v", names, path], capture_output=True, check=True)
        .stdout.decode()
        .partition("\ndata:")[2]
        for names in ["DIC,FG_CO2,time,elapsed_time,time_delta,KMT,TLAT"]
        for path in (ours, slow)
    )
    assert one.count("\n") > 100
    assert sorted(one.split(" ;")) == sorted(other.split(" ;"))


def test_bytes_do_not_depend_on_which_month_came_first(tmp_path):
    sample = write_sample(tmp_path)
    with netCDF4.Dataset(sample.history(1), "r+") as file:  # headers differ from month to month
        file.setncattr("history", "changed")
    one = sample.run(tmp_path / "one")
    aside = tmp_path / "aside.nc"
    sample.history(0).rename(aside)
    with pytest.raises(Exception, match="0347-07"):
        sample.run(tmp_path / "two")
    aside.rename(sample.history(0))
    two = sample.run(tmp_path / "two")
    for first, second in zip(one.research, two.research, strict=True):
        assert first.read_bytes() == second.read_bytes()
    with netCDF4.Dataset(one.research[1]) as file:
        assert file.history == "changed"


def test_further_variables_are_carried_through(tmp_path):
    sample = write_sample(tmp_path, months=1)
    rng = np.random.default_rng(0)
    extra = {
        "NO3": ("f4", ("time", "z_t", "nlat", "nlon")),
        "MEAN": ("f8", ("time", "z_t")),
        "COUNT": ("i4", ("time", "nlat", "nlon")),
        "STEPS": ("i2", ("time",)),
        "LABEL": ("S1", ("time", "d2")),
        "WEIGHT": ("f8", ("z_t", "d2")),
        "transport_regions": ("S1", ("transport_reg", "nchar")),
    }
    with netCDF4.Dataset(sample.history(0), "r+") as file:
        file.createDimension("transport_reg", 2)
        file.createDimension("nchar", 5)
        for name, (dtype, dims) in extra.items():
            made = file.createVariable(name, dtype, dims)
            made.setncatts({"units": "1", "long_name": name})
            shape = tuple(len(file.dimensions[dim]) for dim in dims)
            if dtype == "S1":
                made[...] = np.resize(np.frombuffer(b"abc", "S1"), shape)
            else:
                made[...] = (1000 * rng.standard_normal(shape)).astype(dtype)
    path = sample.run().research[0]
    with netCDF4.Dataset(path) as ours, netCDF4.Dataset(sample.history(0)) as source:
        for name, (dtype, dims) in extra.items():
            for file in (ours, source):
                file[name].set_auto_mask(False)
            rest = dims[1:] if dims[0] == "time" else dims
            leading = LEADING if dims[0] == "time" else ()
            assert ours[name].dimensions == (*leading, *rest)
            assert ours[name].dtype == np.dtype(dtype)
            assert ours[name][...].tobytes() == source[name][...].tobytes()
            assert ours[name].long_name == name


def test_an_absent_optional_static_is_recorded_and_skipped(tmp_path):
    sample = write_sample(tmp_path, statics="few")
    made = sample.run()
    with netCDF4.Dataset(made.research[0]) as file:
        assert "ANGLE" not in file.variables
        assert "TAREA" in file.variables
    for month in made.months:
        assert {"ANGLE", "UAREA", "grav"} <= set(month.absent_statics)
        assert "TAREA" not in month.absent_statics


def test_undefined_coordinates_come_from_the_grid_and_depth_becomes_0(tmp_path):
    sample = write_sample(tmp_path, months=1)
    land = np.argwhere(sample.setup.grid.kmt == 0)[0]
    with netCDF4.Dataset(sample.history(0), "r+") as file:
        file.set_auto_maskandscale(False)
        for name in ("KMT", "TLAT", "TAREA"):
            file[name][tuple(land)] = 9.969209968386869e36
    with netCDF4.Dataset(sample.run().research[0]) as file:
        file.set_auto_mask(False)
        assert file["KMT"][tuple(land)] == 0
        np.testing.assert_array_equal(file["TLAT"][...], sample.setup.grid.points["TLAT"])
        np.testing.assert_allclose(file["area_m2"][...], sample.setup.grid.area_cm2 * 1e-4)


def test_land_values_survive(tmp_path):
    sample = write_sample(tmp_path, months=1)
    plant(sample.history(0), "value on land")
    with open_history(sample.history(0)) as history:
        source = history.values("FG_CO2").astype("<f4").tobytes()
    assert bits(sample.run().research[0], "FG_CO2") == source
