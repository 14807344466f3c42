"""The fast parser finds what VirtualiZarr and kerchunk find, and says why it cannot."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path

import h5py
import netCDF4
import numpy as np
import pytest

from dor_ecco_assets.errors import InputMissing, InputUnusable
from dor_ecco_assets.samples.virtual_granules import (
    DailyGrid,
    stored_height,
    stored_sst,
    write_archive,
    write_daily,
    write_swath,
)
from dor_ecco_assets.virtual.hdf5 import parse_hdf5
from dor_ecco_assets.virtual.references import schema_fingerprint, v3_metadata
from tests.support.data import VARIABLE, real_data
from tests.virtual.referees import (
    as_zarr_v2,
    kerchunk_metadata,
    kerchunk_ranges,
    kerchunk_references,
    ranges,
    virtualizarr_arrays,
    virtualizarr_ranges,
)

REAL = [
    *("ecco_granules/*.nc", "imos/acorn/*.nc", "imos/gsla/*2024*.nc", "imos/mooring/*.nc"),
    *("imos/templates_no_data/*.nc", "imos/wave_buoy/*.nc", "podaac/ghrsst_l2p/*.nc"),
    *("podaac/sentinel6_groups/*.nc", "podaac/swot_gpr/*.nc"),
]


def real_files() -> list[str]:
    """Real HDF5 granules, relative to the data folder; collected where there is one."""
    root = os.environ.get(VARIABLE)
    if not root:
        return ["ecco_granules/any.nc"]
    found = sorted(path for pattern in REAL for path in Path(root).glob(pattern))
    return [str(path.relative_to(root)) for path in found if path.read_bytes()[:4] == b"\x89HDF"]


def sample_files(folder: Path) -> list[Path]:
    grid = DailyGrid((20, 30), (7, 11))
    return [
        write_daily(folder / "daily.nc", 3),
        write_daily(folder / "edges.nc", 4, grid=grid),
        write_daily(folder / "no_filters.nc", 4, grid=grid, deviation="no filters"),
        write_daily(folder / "fletcher.nc", 5, deviation="fletcher32"),
        write_swath(folder / "swath.nc", 1, 2, 70),
        write_swath(folder / "short.nc", 1, 3, 20),
        write_swath(folder / "grouped.nc", 1, 2, 70, group="data_01"),
    ]


def as_virtualizarr(array):
    return json.loads(json.dumps(array.metadata.to_dict(), default=str))


@pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::zarr.errors.UnstableSpecificationWarning"
)
def assert_same_as_virtualizarr(path: Path) -> None:
    theirs, their_groups = virtualizarr_arrays(path)
    ours = parse_hdf5(str(path))
    assert ours.arrays.keys() == theirs.keys()
    assert ours.groups == their_groups
    for name, array in ours.arrays.items():
        expected = as_virtualizarr(theirs[name])
        # A dimension of an outer group goes by its name, as NetCDF scopes it, not by a path.
        expected["dimension_names"] = [
            dim.rpartition("/")[2] for dim in expected["dimension_names"]
        ]
        found = json.loads(json.dumps(v3_metadata(array)))
        for key, value in found.items():
            assert json.dumps(value, sort_keys=True) == json.dumps(expected[key], sort_keys=True)
        assert ranges(array) == virtualizarr_ranges(theirs[name])


def assert_same_as_kerchunk(path: Path) -> None:
    theirs = kerchunk_references(path)
    compared = 0
    for name, array in parse_hdf5(str(path)).arrays.items():
        expected = kerchunk_metadata(theirs, name)
        metadata, attributes = as_zarr_v2(array)
        names = {codec["name"].partition(".")[2] for codec in array.codecs}
        expected_ranges = kerchunk_ranges(theirs, name)
        if tuple(expected["chunks"]) != array.chunks and array.shape:
            # A short array in a long, unfiltered chunk: ours ends where the array does.
            assert array.chunks == array.shape
            assert {k: o for k, (o, _) in ranges(array).items()} == {
                k: o for k, (o, _) in expected_ranges.items()
            }
            continue
        assert ranges(array) == expected_ranges
        for key in ("shape", "dtype", "order"):
            assert expected[key] == metadata[key], (name, key)
        codecs = [
            *(expected["filters"] or []),
            *([expected["compressor"]] if expected["compressor"] else []),
        ]
        assert {codec["id"] for codec in codecs} == names
        their_attributes = json.loads(theirs[f"{name}/.zattrs"])
        assert len(their_attributes["_ARRAY_DIMENSIONS"]) == len(attributes["_ARRAY_DIMENSIONS"])
        compared += 1
    assert compared


def test_samples_are_parsed_as_virtualizarr_does(tmp_path):
    for path in sample_files(tmp_path):
        assert_same_as_virtualizarr(path)


def test_samples_are_parsed_as_kerchunk_does(tmp_path):
    for path in sample_files(tmp_path):
        if path.name != "fletcher.nc":  # which kerchunk does not accept
            assert_same_as_kerchunk(path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", real_files())
def test_a_real_granule_is_parsed_as_both_do(name):
    path = real_data(*name.split("/"))
    assert_same_as_virtualizarr(path)
    assert_same_as_kerchunk(path)


def decode(array, data: bytes, place: tuple[int, ...]):
    """One chunk, from its byte range alone."""
    offset, length = int(array.offsets[place]), int(array.lengths[place])
    raw = data[offset : offset + length]
    for codec in reversed(array.codecs):
        name, settings = codec["name"], codec["configuration"]
        if name == "numcodecs.zlib":
            raw = zlib.decompress(raw)
        elif name == "numcodecs.shuffle":
            size = settings["elementsize"]
            raw = np.frombuffer(raw, "u1").reshape(size, -1).T.tobytes()
        elif name == "numcodecs.fletcher32":
            raw = raw[:-4]
        else:
            raise AssertionError(name)
    return np.frombuffer(raw, array.dtype).reshape(array.chunks)


def read(array, data: bytes):
    """The whole array, from its ranges alone."""
    if array.values is not None:
        return array.values
    out = np.full(array.shape, array.fill_value, array.dtype)
    for place in np.ndindex(array.lengths.shape):
        if array.lengths[place]:
            where = tuple(
                slice(i * c, (i + 1) * c) for i, c in zip(place, array.chunks, strict=True)
            )
            part = out[where or ...]
            part[...] = decode(array, data, place)[tuple(map(slice, part.shape))]
    return out


def test_values_read_through_the_ranges_are_those_that_were_written(tmp_path):
    grid = DailyGrid((20, 30), (7, 11))
    for deviation in ("none", "no filters", "fletcher32", "other level", "chunks"):
        path = write_daily(tmp_path / "granule.nc", 9, grid=grid, deviation=deviation)
        granule = parse_hdf5(str(path))
        found = read(granule.arrays["analysed_sst"], path.read_bytes())
        np.testing.assert_array_equal(found[0], stored_sst(9, grid.shape))
    path = write_swath(tmp_path / "swath.nc", 2, 5, 70, group="data_01")
    granule = parse_hdf5(str(path)).select("data_01")
    found = read(granule.arrays["ssha"], path.read_bytes())
    np.testing.assert_array_equal(found, stored_height(2, 5, 70, 9))


@pytest.mark.parametrize("name", [n for n in real_files() if "templates_no_data" not in n])
def test_every_value_of_a_real_granule_is_read_through_its_ranges(name):
    path = real_data(*name.split("/"))
    data = path.read_bytes()
    granule = parse_hdf5(str(path))
    with h5py.File(path) as file:
        for key, array in granule.arrays.items():
            np.testing.assert_array_equal(read(array, data), file[key][...], err_msg=key)


def test_loaded_and_small_arrays_come_as_values(tmp_path):
    path = write_daily(tmp_path / "granule.nc", 9)
    granule = parse_hdf5(
        str(path), load=("time", "lat"), drop=("analysis_error",), inline_bytes=100
    )
    assert "analysis_error" not in granule.arrays
    assert granule.arrays["time"].values is not None
    np.testing.assert_allclose(
        granule.arrays["lat"].values, np.linspace(-89.5, 89.5, 12), rtol=1e-6
    )
    assert granule.arrays["lon"].values is not None  # 96 bytes
    assert granule.arrays["analysed_sst"].values is None
    assert granule.chunk_count == 4


def test_packing_is_kept_for_each_granule(tmp_path):
    granules = write_archive(tmp_path, days=1, repacked=9, cycles=1, passes=1)
    found = [
        parse_hdf5(str(g.path)).arrays["analysed_sst"].packing
        for g in granules
        if "REPACKED" in str(g.path)
    ]
    assert len({(p["scale_factor"], p["add_offset"]) for p in found}) == 9
    assert found[0] == {
        "scale_factor": 0.001, "add_offset": 273.15, "_FillValue": -32768, "units": "kelvin",
    }  # fmt: skip


def test_only_what_decoding_needs_is_read_where_the_rest_is_known(tmp_path):
    path = write_daily(tmp_path / "granule.nc", 9)
    all_of_it, packing = (
        parse_hdf5(str(path), load=("time", "lat"), attributes=which)
        for which in ("all", "packing")
    )
    assert packing.groups == {"": {}}
    assert packing.arrays["time"].attributes.keys() == {"units", "calendar"}
    for name, array in all_of_it.arrays.items():
        assert packing.arrays[name].attributes == array.packing
        assert ranges(packing.arrays[name]) == ranges(array)
    assert schema_fingerprint(packing, "time") == schema_fingerprint(all_of_it, "time")


def test_the_fingerprint_knows_what_matters_for_decoding(tmp_path):
    def fingerprint(deviation, day=3):
        path = write_daily(tmp_path / "granule.nc", day, deviation=deviation)
        return schema_fingerprint(parse_hdf5(str(path), load=("time", "lat", "lon")), "time")

    usual = fingerprint("none")
    assert fingerprint("none", day=50) == usual
    assert fingerprint("other level") == usual
    others = [
        fingerprint(deviation)
        for deviation in ("packing", "fill", "chunks", "dtype", "no filters", "fletcher32",
                          "fewer rows", "variable missing", "variable extra")
    ]  # fmt: skip
    assert len({usual, *others}) == 10


# --- attributes and kinds of storage -------------------------------------------------------------


def test_attributes_of_every_kind_are_read_as_h5py_reads_them(tmp_path):
    path = tmp_path / "attributes.h5"
    given = {
        "text": "plain", "greek": "μ θ", "empty": "", "texts": np.array(["a", "bc"], "S2"),
        "one text": np.array(["a"], "S1"), "vlen": ["x", "yz"], "int": np.int16(-4),
        "unsigned": np.uint64(2**63 + 1), "float": np.float32(0.1), "nan": np.nan,
        "numbers": np.arange(3.0), "one number": np.array([7]), "big": np.array([5], ">i4"),
        "table": np.eye(2), "yes": np.bool_(True),
    }  # fmt: skip
    with h5py.File(path, "w") as file:
        for name, value in given.items():
            file.attrs[name] = value
        file.attrs["null"] = h5py.Empty("f4")
        file.attrs["padded"] = np.bytes_(b"a\0\0")
        file.attrs["reference"] = file.create_dataset("x", data=[1.0]).ref
        spaced = h5py.h5t.C_S1.copy()
        spaced.set_size(6)
        spaced.set_strpad(h5py.h5t.STR_SPACEPAD)
        made = h5py.h5a.create(file.id, b"spaced", spaced, h5py.h5s.create(h5py.h5s.SCALAR))
        made.write(np.array(b"ab    "), mtype=spaced)
    found = parse_hdf5(str(path)).groups[""]
    assert found["nan"] != found.pop("nan")
    assert found == {
        "text": "plain", "greek": "μ θ", "empty": "", "texts": ["a", "bc"], "one text": ["a"],
        "vlen": ["x", "yz"], "int": -4, "unsigned": 2**63 + 1, "float": float(np.float32(0.1)),
        "numbers": [0.0, 1.0, 2.0], "one number": 7, "big": 5, "table": [[1.0, 0.0], [0.0, 1.0]],
        "yes": True, "null": "", "padded": "a", "spaced": "ab",
    }  # fmt: skip


def test_compact_arrays_are_loaded_since_no_range_holds_them(tmp_path):
    path = tmp_path / "compact.h5"
    with h5py.File(path, "w") as file:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((3,))
        made = h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_INT32, space, dcpl=properties)
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.arange(3, dtype="i4"))
    np.testing.assert_array_equal(parse_hdf5(str(path)).arrays["x"].values, [0, 1, 2])


def test_text_is_loaded(tmp_path):
    path = tmp_path / "text.nc"
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("n", 2)
        file.createVariable("names", str, ("n",))[:] = np.array(["Lake θ", ""], object)
    array = parse_hdf5(str(path)).arrays["names"]
    assert array.values.tolist() == ["Lake θ", ""]
    assert v3_metadata(array)["data_type"] == "string"


def test_chunks_that_were_never_written_have_length_zero(tmp_path):
    path = tmp_path / "holes.h5"
    with h5py.File(path, "w") as file:
        made = file.create_dataset("x", (4, 4), "i2", chunks=(2, 2), fillvalue=-9)
        made[2:, 2:] = 5
        file.create_dataset("never", (4,), "f4", fillvalue=1.5)
        file.create_dataset("scalar", data=np.float64(2.5))
        file.create_dataset("nothing", (0,), "f4", maxshape=(None,))
    found = parse_hdf5(str(path)).arrays
    assert (found["x"].lengths > 0).tolist() == [[False, False], [False, True]]
    np.testing.assert_array_equal(read(found["x"], path.read_bytes())[:2], -9)
    np.testing.assert_array_equal(read(found["never"], path.read_bytes()), 1.5)
    assert read(found["scalar"], path.read_bytes())[()] == 2.5
    assert found["nothing"].lengths.size == 0


def test_dimensions_without_values_are_no_arrays(tmp_path):
    path = write_swath(tmp_path / "swath.nc", 1, 1, 70)
    assert "num_lines" not in parse_hdf5(str(path)).arrays
    assert parse_hdf5(str(path)).arrays["ssha"].dims == ("num_lines", "num_pixels")


def test_an_unknown_group_is_named_with_those_there_are(tmp_path):
    path = write_swath(tmp_path / "grouped.nc", 1, 1, 70, group="data_01")
    with pytest.raises(InputUnusable, match="data_01") as caught:
        parse_hdf5(str(path)).select("data_20")
    assert caught.value.code == "GroupMissing"


# --- unfit files ---------------------------------------------------------------------------------


def refused(path: Path, **options) -> InputUnusable:
    with pytest.raises(InputUnusable) as caught:
        parse_hdf5(str(path), **options)
    return caught.value


@pytest.mark.parametrize(
    ("data", "code", "says"),
    [
        (b"<!DOCTYPE html><html>log in</html>", "Unreadable", "login page"),
        (b'{"errors": ["no"]}', "Unreadable", "JSON"),
        (b"<?xml version='1.0'?><Error/>", "Unreadable", "XML"),
        (b"", "Unreadable", "empty"),
        (b"something else altogether", "Unreadable", "not HDF5"),
        (b"CDF\x01" + bytes(40), "FormatUnsupported", "netcdf3"),
        (b"\x0e\x03\x13\x01" + bytes(40), "FormatUnsupported", "hdf4"),
        (b"GRIB" + bytes(40), "FormatUnsupported", "grib"),
    ],
)
def test_what_is_not_hdf5_is_called_by_its_name(tmp_path, data, code, says):
    path = tmp_path / "granule.nc"
    path.write_bytes(data)
    error = refused(path)
    assert error.code == code
    assert says in error.message


def test_a_file_that_is_not_there_is_missing(tmp_path):
    with pytest.raises(InputMissing):
        parse_hdf5(str(tmp_path / "none.nc"))


def test_a_cut_file_is_refused_wherever_it_is_cut(tmp_path):
    whole = write_daily(tmp_path / "granule.nc", 1).read_bytes()
    path = tmp_path / "cut.nc"
    for part in (0.001, 0.1, 0.5, 0.9, 0.999):
        path.write_bytes(whole[: int(len(whole) * part)])
        assert refused(path).code == "Unreadable"


def test_damaged_metadata_never_give_other_ranges(tmp_path):
    """A flipped byte is refused, harmless, or in a value that no parser could doubt."""
    whole = bytearray(write_daily(tmp_path / "granule.nc", 1).read_bytes())
    sound = parse_hdf5(str(tmp_path / "granule.nc"))
    path = tmp_path / "flipped.nc"
    rng = np.random.default_rng(5)
    for place in rng.integers(0, 6000, 40):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        try:
            found = parse_hdf5(str(path))
        except InputUnusable:
            continue
        for array in found.arrays.values():
            assert int((array.offsets + array.lengths).max(initial=0)) <= len(damaged)
        assert found.size == sound.size


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"compression": "lzf"}, "lzf"),
        ({"compression": "szip"}, "szip"),
        ({"scaleoffset": 2}, "scale-offset"),
    ],
)
def test_a_filter_without_a_codec_is_refused_at_once_but_may_be_loaded(tmp_path, options, says):
    if options == {"compression": "szip"} and not h5py.h5z.filter_avail(h5py.h5z.FILTER_SZIP):
        pytest.skip("this HDF5 library cannot write szip")
    path = tmp_path / "filter.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.arange(64.0), chunks=(16,), **options)
    error = refused(path)
    assert (error.code, says in error.message) == ("CodecUnsupported", True)
    np.testing.assert_array_equal(parse_hdf5(str(path), load=("x",)).arrays["x"].values, range(64))
    assert parse_hdf5(str(path), drop=("x",)).arrays == {}


def test_types_that_no_zarr_reader_decodes_are_refused(tmp_path):
    path = tmp_path / "types.h5"
    made = {
        "compound": np.zeros(3, [("a", "i4"), ("b", "f8")]),
        "lists": np.array([np.arange(2), np.arange(3)], object),
    }
    for name, values in made.items():
        with h5py.File(path, "w") as file:
            kind = h5py.vlen_dtype("i4") if name == "lists" else values.dtype
            file.create_dataset(name, (len(values),), dtype=kind)[:] = values
        assert refused(path).code == "CodecUnsupported"
        assert refused(path, load=(name,)).code == "CodecUnsupported"


def test_a_chunk_stored_without_its_filters_is_refused(tmp_path):
    path = tmp_path / "mask.h5"
    with h5py.File(path, "w") as file:
        made = file.create_dataset("x", (8,), "i4", chunks=(4,), compression="gzip")
        made[:] = range(8)
        made.id.write_direct_chunk((4,), np.arange(4, dtype="i4").tobytes(), filter_mask=1)
    error = refused(path)
    assert error.code == "FilterMask"
    assert "1 of 2 chunks" in error.message
    assert parse_hdf5(str(path), load=("x",)).arrays["x"].values is not None


def test_values_in_other_files_are_refused(tmp_path):
    path = tmp_path / "external.h5"
    (tmp_path / "raw.bin").write_bytes(bytes(32))
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (8,), "i4", external=[(str(tmp_path / "raw.bin"), 0, 32)])
    assert refused(path).code == "ExternalStorage"


def test_dimensions_are_named_by_their_one_scale(tmp_path):
    path = tmp_path / "scales.h5"
    with h5py.File(path, "w") as file:
        for name in ("row", "column", "other"):
            file.create_dataset(name, data=np.arange(2.0))
            file[name].make_scale()
        made = file.create_dataset("x", data=np.eye(2))
        made.dims[1].attach_scale(file["column"])
    assert parse_hdf5(str(path)).arrays["x"].dims == ("phony_dim_0", "column")
    with h5py.File(path, "a") as file:
        file["x"].dims[1].attach_scale(file["other"])
    assert refused(path).code == "AmbiguousDimension"


def test_links_to_nothing_and_groups_inside_themselves_do_no_harm(tmp_path):
    path = tmp_path / "links.h5"
    with h5py.File(path, "w") as file:
        file["soft"] = h5py.SoftLink("/nowhere")
        file["outside"] = h5py.ExternalLink("gone.h5", "/x")
        file.create_dataset("x", data=[1.0])
    assert list(parse_hdf5(str(path)).arrays) == ["x"]
    with h5py.File(path, "a") as file:
        outer = file.create_group("a")
        outer["a"] = outer
    assert refused(path).code == "Unreadable"
