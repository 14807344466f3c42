"""Formats that VirtualiZarr parses for us end in the same kind of references."""

from __future__ import annotations

import netCDF4
import numpy as np
import pytest
from obstore.store import LocalStore

from dor_ecco_assets.errors import InputUnusable
from dor_ecco_assets.virtual.formats import granule_format
from dor_ecco_assets.virtual.hdf5 import parse_hdf5
from dor_ecco_assets.virtual.other_formats import parse_other
from tests.support.data import real_data
from tests.virtual.test_hdf5 import read

REAL_NETCDF3 = [
    "podaac/globcurrent/20020101000000-GLOBCURRENT-L4-CUReul_hs-ALT_SUM-v02.0-fv01.0.nc",
    "podaac/ascat/ascat_20150702_084200_metopa_45145_eps_o_250_2300_ovw.l2.nc",
    "imos/gsla/IMOS_OceanCurrent_HV_20110901T000000Z_GSLA_FV02_NRT.nc",
    "imos/argo/2902093_prof.nc",
]

pytestmark = pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning")


@pytest.fixture(autouse=True)
def virtualizarr():
    return pytest.importorskip("virtualizarr", reason="virtualizarr is not installed")


def parsed(path, **options):
    found = granule_format(path.read_bytes()[:512])
    return parse_other(LocalStore(), "file://", str(path)[1:], found, **options)


@pytest.mark.parametrize("name", REAL_NETCDF3)
def test_every_value_of_a_real_netcdf3_granule_is_read_through_its_ranges(name):
    path = real_data(*name.split("/"))
    data, granule = path.read_bytes(), parsed(path)
    with netCDF4.Dataset(path) as file:
        file.set_auto_maskandscale(False)
        file.set_auto_chartostring(False)
        assert granule.arrays.keys() == file.variables.keys()
        for key, variable in file.variables.items():
            np.testing.assert_array_equal(
                read(granule.arrays[key], data), variable[...], err_msg=key
            )


def test_arrays_of_netcdf3_may_be_loaded_and_dropped(tmp_path):
    path = tmp_path / "classic.nc"
    with netCDF4.Dataset(path, "w", format="NETCDF3_CLASSIC") as file:
        file.createDimension("x", 3)
        variable = file.createVariable("t", "f4", ("x",), fill_value=-1.0)
        variable[:] = [1, 2, 3]
        file.createVariable("other", "i2", ("x",))[:] = 0
    granule = parsed(path, load=("t",), drop=("other",))
    assert list(granule.arrays) == ["t"]
    array = granule.arrays["t"]
    np.testing.assert_array_equal(array.values, [1, 2, 3])
    assert (array.dtype.str, array.packing) == (">f4", {"_FillValue": -1.0})
    assert "netcdf3" in granule.parser


def test_a_cut_netcdf3_file_is_unreadable(tmp_path):
    path = tmp_path / "cut.nc"
    path.write_bytes(b"CDF\x01" + b"\0" * 6)
    with pytest.raises(InputUnusable) as caught:
        parsed(path)
    assert caught.value.code == "Unreadable"


def test_a_format_without_a_parser_is_refused_by_name(tmp_path):
    path = tmp_path / "weather.grib"
    path.write_bytes(b"GRIB" + bytes(100))
    with pytest.raises(InputUnusable, match="grib") as caught:
        parsed(path)
    assert caught.value.code == "FormatUnsupported"


def test_a_real_dmrpp_gives_codecs_in_the_order_of_encoding():
    folder = real_data("podaac", "dmrpp")
    for path in sorted(folder.glob("*.dmrpp")):
        granule = parsed(path)
        assert granule.chunk_count > 90
        for array in granule.arrays.values():
            names = [codec["name"] for codec in array.codecs]
            assert names in ([], ["numcodecs.shuffle", "numcodecs.zlib"])


def test_the_fast_parser_names_the_format_that_needs_the_other():
    path = real_data(*REAL_NETCDF3[0].split("/"))
    with pytest.raises(InputUnusable, match="netcdf3") as caught:
        parse_hdf5(str(path))
    assert caught.value.code == "FormatUnsupported"
