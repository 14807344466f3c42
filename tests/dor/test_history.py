"""History files: which are taken, and one interface over every NetCDF format."""

from __future__ import annotations

import contextlib
import struct

import netCDF4
import numpy as np
import pytest

from dor_ecco_assets.dor.acceptance import month_of_bounds
from dor_ecco_assets.dor.history import open_history, select_months
from dor_ecco_assets.errors import InputMissing, InputUnusable
from dor_ecco_assets.samples.pop_faults import plant
from tests.dor.small import case, write_sample

FORMATS = ["NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA", "NETCDF4"]


def rewritten(source, path, kind):
    """The same file in another format, by the netCDF library."""
    with netCDF4.Dataset(source) as old, netCDF4.Dataset(path, "w", format=kind) as new:
        old.set_auto_maskandscale(False)
        new.setncatts({name: old.getncattr(name) for name in old.ncattrs()})
        for name, dim in old.dimensions.items():
            new.createDimension(name, None if dim.isunlimited() else len(dim))
        for name, variable in old.variables.items():
            about = {key: variable.getncattr(key) for key in variable.ncattrs()}
            made = new.createVariable(
                name, variable.dtype, variable.dimensions, fill_value=about.pop("_FillValue", None)
            )
            made.set_auto_maskandscale(False)
            made.setncatts(about)
            made[...] = variable[...]
    return path


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_reads_the_same(tmp_path, kind):
    sample = write_sample(tmp_path, months=1)
    path = rewritten(sample.history(0), tmp_path / "other.nc", kind)
    with open_history(sample.history(0)) as one, open_history(path) as other:
        assert one.dims == other.dims
        assert {k: str(v) for k, v in one.attributes.items()} == {
            k: str(v) for k, v in other.attributes.items()
        }
        assert set(one.variables) == set(other.variables)
        for name, variable in one.variables.items():
            same = other.variables[name]
            assert (variable.dtype, variable.dims, variable.shape) == (
                same.dtype,
                same.dims,
                same.shape,
            )
            assert variable.fill == same.fill
            for key, value in variable.attributes.items():
                assert value == same.attributes[key], key
                assert type(value) is type(same.attributes[key])
            assert one.values(name).tobytes() == other.values(name).tobytes()


def test_all_formats_make_the_same_case(tmp_path):
    sample = write_sample(tmp_path, months=2)
    first = sample.run(tmp_path / "classic")
    for k in range(2):
        path = sample.history(k)
        rewritten(path, tmp_path / "new.nc", "NETCDF4").replace(path)
    second = sample.run(tmp_path / "netcdf4")
    assert first.series.efficiency.tobytes() == second.series.efficiency.tobytes()
    with netCDF4.Dataset(first.research[1]) as one, netCDF4.Dataset(second.research[1]) as two:
        for name in one.variables:
            for file in (one, two):
                file[name].set_auto_mask(False)
            assert one[name][...].tobytes() == two[name][...].tobytes(), name


def test_classic_values_are_views_of_the_map(tmp_path):
    sample = write_sample(tmp_path, months=1)
    with open_history(sample.history(0)) as history:
        values = history.values("DIC")
        assert not values.flags.owndata
        assert values.dtype == np.dtype(">f4")
        assert not values.flags.writeable


@pytest.mark.parametrize("kind", FORMATS)
def test_a_cut_file_is_told_before_it_is_read(tmp_path, kind):
    sample = write_sample(tmp_path, months=1)
    path = rewritten(sample.history(0), tmp_path / "cut.nc", kind)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputUnusable) as raised, open_history(path):
        pass
    assert raised.value.code == "HistoryTruncated"
    assert f"{len(whole) // 2} bytes" in str(raised.value)
    assert raised.value.uri == str(path)


@pytest.mark.parametrize("cut", [0, 3, 5, 40, 900])
def test_a_file_that_ends_in_its_header_is_told(tmp_path, cut):
    sample = write_sample(tmp_path, months=1)
    path = sample.history(0)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputUnusable) as raised, open_history(path):
        pass
    assert raised.value.code == "HistoryUnreadable"


def test_a_damaged_header_breaks_nothing_but_itself(tmp_path):
    sample = write_sample(tmp_path, months=1)
    path = sample.history(0)
    data = path.read_bytes()
    codes: set[str] = set()
    for at in range(4, 3000, 7):
        path.write_bytes(data[:at] + b"\xff\xff\xff\xff" + data[at + 4 :])
        with contextlib.ExitStack() as stack:  # some headers stay valid; accept() judges those
            codes.add(_code_of(lambda: stack.enter_context(open_history(path))))
    assert codes == {"", "HistoryUnreadable", "HistoryTruncated"}


def _code_of(call):
    try:
        call()
    except InputUnusable as error:
        return error.code
    return ""


def test_a_file_written_as_a_stream_has_as_many_records_as_it_holds(tmp_path):
    sample = write_sample(tmp_path, months=1)
    path = sample.history(0)
    data = bytearray(path.read_bytes())
    data[4:8] = struct.pack(">I", 0xFFFFFFFF)
    path.write_bytes(data)
    with open_history(path) as history:
        assert history.dims["time"] == 1
        assert history.values("time_bound").shape == (1, 2)


def test_only_months_of_the_case_are_taken(tmp_path):
    sample = write_sample(tmp_path)
    name = sample.setup.case.name
    for other in (
        f"{name}.pop.h.nday1.0347-07-01.nc",
        f"{name}.pop.h.once.nc",
        f"{name}.pop.h.0347-07-01.nc",
        f"{name}.pop.h.0347-07-01-00000.nc",
        f"another{name}.pop.h.0347-07.nc",
        f"{name}.pop.hv.nc",
        f"{name}.pop.h.0347-07.nc.tmp",
    ):
        (sample.folders.history / other).touch()
    found = select_months(sample.folders.history, sample.setup.case)
    assert list(found.present) == [(347, 7), (347, 8), (347, 9)]
    assert found.missing == ()


@pytest.mark.parametrize(
    ("fault", "code"), [("duplicate month", "DuplicateMonth"), ("month out of range", None)]
)
def test_odd_months_are_named(tmp_path, fault, code):
    sample = write_sample(tmp_path)
    odd = plant(sample.history(1), fault)
    with pytest.raises(InputUnusable) as raised:
        sample.run()
    assert raised.value.code == (code or "MonthOutOfRange")
    assert odd.name in str(raised.value)
    assert not (tmp_path / "out" / "research").exists()


@pytest.mark.parametrize("copy", [" (1).nc", "_1.nc", ".copy.nc", ".nc4", "-old.nc"])
def test_copies_of_a_month_are_duplicates(tmp_path, copy):
    sample = write_sample(tmp_path, months=1)
    path = sample.history(0)
    (path.parent / f"{path.stem}{copy}").touch()
    with pytest.raises(InputUnusable) as raised:
        select_months(path.parent, sample.setup.case)
    assert raised.value.code == "DuplicateMonth"


def test_a_month_13_is_out_of_range(tmp_path):
    sample = write_sample(tmp_path, months=1)
    path = sample.history(0)
    (path.parent / path.name.replace("0347-07", "0347-13")).touch()
    with pytest.raises(InputUnusable) as raised:
        select_months(path.parent, sample.setup.case)
    assert raised.value.code == "MonthOutOfRange"


def test_an_absent_case_is_told(tmp_path):
    with pytest.raises(InputMissing) as raised:
        select_months(tmp_path / "absent", case())
    assert raised.value.code == "HistoryMissing"


def test_months_come_from_the_mean_of_their_bounds():
    day = 347 * 365
    for month, days in enumerate((31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31), start=1):
        found = month_of_bounds(day, day + days)
        assert found is not None
        assert (found.model_year, found.month, found.start_day, found.days) == (
            347,
            month,
            day,
            days,
        )
        assert month_of_bounds(day, day + days + 1) is None
        assert month_of_bounds(day + 1, day + days + 1) is None
        assert month_of_bounds(day, day + 1) is None
        day += days
    assert month_of_bounds(float("nan"), 3.0) is None
