"""The fast writer's files are the library's files, but for the compressed bytes."""

import errno
import hashlib
import os
import re
import resource
import shutil
import subprocess
import sys
import textwrap
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import dask.array
import h5py
import hypothesis.extra.numpy as hnp
import netCDF4
import numpy as np
import numpy.testing as npt
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from dor_ecco_assets.errors import ConfigurationError, OutputCorrupt
from dor_ecco_assets.samples.fields import (
    LATLON_REPEAT,
    compression_profile,
    latlon_wet,
    native_wet,
    ocean_field,
)
from dor_ecco_assets.stores.deflate import deflate_planes, inflate_planes
from dor_ecco_assets.stores.netcdf import value_range, verify_netcdf, write_netcdf

FILL = np.float32(9.969209968386869e36)


def make_granule(n_z=4, n_y=7, n_x=9, *, seed=0):
    """Two 3-D variables, one 2-D int, coordinates of several kinds, and their encoding."""
    rng = np.random.default_rng(seed)
    theta = rng.standard_normal((1, n_z, n_y, n_x)).astype("f4")
    theta[rng.random(theta.shape) < 0.3] = np.nan
    dims = ("time", "Z", "latitude", "longitude")
    z = -np.arange(n_z, dtype="f4") * 10 - 5
    dataset = xr.Dataset(
        {
            "THETA": (dims, theta, {"units": "degree_C", "valid_min": np.float32(-3)}),
            "SALT": (dims, theta.astype("f8") + 35, {"units": "1e-3", "internal note": "a b"}),
            "count": (dims[2:], np.arange(n_y * n_x, dtype="i4").reshape(n_y, n_x)),
        },
        coords={
            "time": ("time", np.array(["1992-01-16T18"], "M8[ns]"), {"bounds": "time_bnds"}),
            "Z": ("Z", z, {"positive": "up", "units": "m", "bounds": "Z_bnds"}),
            "latitude": ("latitude", np.linspace(-80, 80, n_y, dtype="f4")),
            "longitude": ("longitude", np.linspace(0, 350, n_x, dtype="f4")),
            "time_bnds": (
                ("time", "nv"),
                np.array([["1992-01-01T12", "1992-02-01"]], "M8[ns]"),
            ),
            "Z_bnds": (("Z", "nv"), np.stack([z + 5, z - 5], 1), {"long_name": "depth bounds"}),
            "label": ("Z", np.array([f"level {k}" for k in range(n_z)], object)),
            "time_step": ("time", np.array([732], "i4")),
        },
        attrs={"title": "Temperatur, Salzgehalt – Probe", "n": np.int32(3), "empty": ""},
    )
    heavy = {"zlib": True, "complevel": 5, "shuffle": True, "_FillValue": FILL}
    chunks = (1, min(3, n_z), n_y, n_x)
    when = {
        "dtype": "int32",
        "units": "hours since 1992-01-01 12:00:00",
        "calendar": "proleptic_gregorian",
        "_FillValue": None,
    }
    encoding = {
        "THETA": {**heavy, "dtype": "float32", "chunksizes": chunks},
        "SALT": {**heavy, "dtype": "float32", "chunksizes": chunks},
        "count": {"zlib": True, "complevel": 5, "shuffle": True},
        "time": {**when, "chunksizes": (1,)},
        "time_bnds": {**when, "chunksizes": (1, 2)},
        "Z": {"_FillValue": None},
        "Z_bnds": {"_FillValue": None, "zlib": True, "shuffle": True},
        "latitude": {"_FillValue": None},
        "longitude": {"_FillValue": None},
    }
    return dataset, {"encoding": encoding, "unlimited_dims": ("time",)}


def write_both(dataset, folder, **options):
    """The same dataset by this writer and by xarray, under one file name in two folders."""
    ours, theirs = folder / "ours" / "granule.nc", folder / "theirs" / "granule.nc"
    for path in (ours, theirs):
        path.parent.mkdir(exist_ok=True)
    write_netcdf(dataset, ours, **options)
    dataset.to_netcdf(theirs, format="NETCDF4", engine="netcdf4", **options)
    return ours, theirs


def assert_same_to_every_reader(ours, theirs):
    for engine in ("netcdf4", "h5netcdf"):
        for decode_cf in (True, False):
            with (
                xr.open_dataset(ours, engine=engine, decode_cf=decode_cf) as one,
                xr.open_dataset(theirs, engine=engine, decode_cf=decode_cf) as other,
            ):
                xr.testing.assert_identical(one.load(), other.load())
                assert list(one.variables) == list(other.variables)
                for name in one.variables:
                    kept = [dict(ds[name].encoding) for ds in (one, other)]
                    for encoding in kept:
                        encoding.pop("source", None)
                    npt.assert_equal(*kept)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_granule_is_identical_to_the_library_s_in_both_engines_decoded_and_raw(tmp_path):
    dataset, options = make_granule()
    assert_same_to_every_reader(*write_both(dataset, tmp_path, **options))


def test_the_declared_filters_are_shuffle_and_deflate_level_5(tmp_path):
    dataset, options = make_granule()
    write_netcdf(dataset, tmp_path / "a.nc", **options)
    with h5py.File(tmp_path / "a.nc") as hdf:
        assert (hdf["THETA"].shuffle, hdf["THETA"].compression) == (True, "gzip")
        assert hdf["THETA"].compression_opts == 5
        mask, stream = hdf["THETA"].id.read_direct_chunk((0, 0, 0, 0))
        assert mask == 0
        assert len(zlib.decompress(stream)) == 4 * 3 * 7 * 9


dtypes = st.sampled_from(["f4", "f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])


@st.composite
def arrays_with_chunks(draw):
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=6))
    chunks = tuple(draw(st.integers(1, size)) for size in shape)
    dtype = np.dtype(draw(dtypes))
    values = draw(hnp.arrays(dtype, shape))
    return values, chunks


@settings(max_examples=60, deadline=None)
@given(
    array=arrays_with_chunks(),
    shuffle=st.booleans(),
    fill=st.sampled_from(["default", None, 7]),
    unlimited=st.booleans(),
    source_chunk=st.integers(1, 6),
)
def test_any_numbers_in_any_chunks_read_as_the_library_s(
    tmp_path_factory, array, shuffle, fill, unlimited, source_chunk
):
    values, chunks = array
    folder = tmp_path_factory.mktemp("any")
    dims = tuple("abcd"[: values.ndim])
    dataset = xr.Dataset({"v": (dims, values, {"long_name": "värde"})})
    encoding = {"v": {"zlib": True, "shuffle": shuffle, "complevel": 5, "chunksizes": chunks}}
    if fill != "default":
        encoding["v"]["_FillValue"] = fill
    options = {"encoding": encoding, "unlimited_dims": ("a",) if unlimited else ()}
    ours, theirs = write_both(dataset, folder, **options)
    assert_same_to_every_reader(ours, theirs)
    verify_netcdf(ours, dataset, **options)
    verify_netcdf(theirs, dataset, **options)
    write_netcdf(dataset.chunk(source_chunk), folder / "lazy.nc", **options)
    assert sha256(folder / "lazy.nc") == sha256(ours)


@settings(max_examples=20, deadline=None)
@given(
    values=hnp.arrays(
        "f8", (3, 5), elements=st.floats(-100, 100) | st.sampled_from([np.nan, -0.0])
    ),
    encoding=st.sampled_from(
        [
            {"dtype": "i2", "scale_factor": 0.01, "add_offset": 3.0, "_FillValue": -32768},
            {"dtype": "f4", "_FillValue": np.float32(1e20)},
            {"dtype": "f4", "missing_value": np.float32(1e20), "_FillValue": None},
            {"dtype": "i4", "_FillValue": -1},
            {"dtype": "f8", "scale_factor": 2.0},
            {"_FillValue": np.nan},
        ]
    ),
)
def test_casts_and_packing_store_what_the_library_stores(tmp_path_factory, values, encoding):
    folder = tmp_path_factory.mktemp("packed")
    dataset = xr.Dataset({"v": (("y", "x"), values)})
    options = {"encoding": {"v": {**encoding, "zlib": True, "chunksizes": (2, 2)}}}
    ours, theirs = write_both(dataset, folder, **options)
    assert_same_to_every_reader(ours, theirs)
    verify_netcdf(ours, dataset, **options)


def test_large_variables_without_compression_are_written_block_by_block(tmp_path, monkeypatch):
    monkeypatch.setattr("dor_ecco_assets.stores.netcdf._LARGE_PLAIN_BYTES", 100)
    monkeypatch.setattr("dor_ecco_assets.stores.chunks._CONTIGUOUS_BLOCK_VALUES", 20)
    dataset, options = make_granule()
    for encoding in options["encoding"].values():
        encoding.pop("zlib", None)
        encoding.pop("shuffle", None)
        encoding.pop("complevel", None)
    options["encoding"]["SALT"].pop("chunksizes")
    options["unlimited_dims"] = ()
    ours, theirs = write_both(dataset, tmp_path, **options)
    assert_same_to_every_reader(ours, theirs)
    verify_netcdf(ours, dataset, **options)


def test_lazy_data_is_computed_once_and_gives_the_same_bytes(tmp_path):
    dataset, options = make_granule()
    computed = []

    def count(block):
        computed.append(block.shape)
        return block

    def lazily(values):
        array = dask.array.from_array(values, chunks=(1, 2, 7, 5))
        return array.map_blocks(count, dtype=array.dtype, meta=np.empty((0,) * 4, array.dtype))

    values = {name: array.values for name, array in dataset.data_vars.items()}
    values |= {name: lazily(values[name]) for name in ("THETA", "SALT")}
    write_netcdf(dataset, tmp_path / "a.nc", **options)
    write_netcdf(dataset.copy(data=values), tmp_path / "b.nc", **options)
    assert len(computed) == 2 * 2 * 2
    with xr.open_dataset(tmp_path / "a.nc") as one, xr.open_dataset(tmp_path / "b.nc") as other:
        xr.testing.assert_identical(one, other)
    assert sha256(tmp_path / "a.nc") == sha256(tmp_path / "b.nc")


def test_a_file_opened_lazily_can_be_copied(tmp_path):
    dataset, options = make_granule()
    write_netcdf(dataset, tmp_path / "a.nc", **options)
    with xr.open_dataset(tmp_path / "a.nc", chunks={}) as lazy:
        written = write_netcdf(lazy, tmp_path / "b.nc", unlimited_dims=("time",))
    assert written.file_bytes == (tmp_path / "b.nc").stat().st_size
    with xr.open_dataset(tmp_path / "a.nc") as one, xr.open_dataset(tmp_path / "b.nc") as other:
        xr.testing.assert_identical(one, other)


def test_bytes_depend_neither_on_the_time_nor_on_the_path_nor_on_threads(tmp_path):
    dataset, options = make_granule()
    first = tmp_path / "first.nc"
    write_netcdf(dataset, first, **options)
    time.sleep(1.1)  # HDF5 counts object times in seconds
    write_netcdf(dataset, first, **options)
    digest = sha256(first)
    paths = [tmp_path / f"{i}.nc" for i in range(6)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda path: write_netcdf(dataset, path, **options), paths))
    assert {sha256(path) for path in paths} == {digest}


def test_bytes_do_not_depend_on_the_process(tmp_path):
    program = textwrap.dedent("""
        import sys
        from pathlib import Path
        from dor_ecco_assets.stores.netcdf import write_netcdf
        from tests.stores.test_netcdf import make_granule
        dataset, options = make_granule()
        write_netcdf(dataset, Path(sys.argv[1]), **options)
    """)
    digests = set()
    for seed in ("1", "2"):
        path = tmp_path / f"{seed}.nc"
        environment = {**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": seed}
        subprocess.run([sys.executable, "-c", program, path], env=environment, check=True)
        digests.add(sha256(path))
    dataset, options = make_granule()
    write_netcdf(dataset, tmp_path / "here.nc", **options)
    assert digests == {sha256(tmp_path / "here.nc")}


@pytest.mark.skipif(shutil.which("ncdump") is None, reason="ncdump (netcdf-bin) is not installed")
def test_ncdump_prints_the_same_header_special_attributes_and_data(tmp_path):
    dataset, options = make_granule()
    ours, theirs = write_both(dataset, tmp_path, **options)
    for arguments in (["-s"], ["-h", "-s"], []):
        texts = [
            subprocess.run(
                ["ncdump", *arguments, path.name],
                cwd=path.parent,
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            for path in (ours, theirs)
        ]
        assert texts[0] == texts[1]


@pytest.mark.skipif(shutil.which("h5dump") is None, reason="h5dump (hdf5-tools) is not installed")
@pytest.mark.parametrize("order", [[], ["-q", "creation_order"]])
def test_h5dump_shows_the_same_scales_labels_filters_and_order(tmp_path, order):
    dataset, options = make_granule()
    ours, theirs = write_both(dataset, tmp_path, **options)

    def structure(path):
        text = subprocess.run(
            ["h5dump", "-p", "-A", *order, path.name],
            cwd=path.parent,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        # Bytes in storage, offsets and addresses of objects are where the files may differ.
        for differing in (r"SIZE \d+.*", r"OFFSET \d+", r"DATASET \d+ "):
            text = re.sub(differing, "", text)
        return text

    assert structure(ours) == structure(theirs)


def links_in_order(path):
    with h5py.File(path) as hdf:
        order = h5py.h5.INDEX_CRT_ORDER
        names = []
        hdf.id.links.visit(lambda name: names.append(name), idx_type=order)
        scales = {
            name: (
                [dim.label for dim in item.dims],
                [[scale.name for scale in dim.values()] for dim in item.dims],
                item.is_scale and item.attrs["NAME"],
            )
            for name, item in hdf.items()
        }
        return names, scales


def test_links_keep_their_creation_order_and_dimensions_their_scales(tmp_path):
    dataset, options = make_granule()
    ours, theirs = write_both(dataset, tmp_path, **options)
    assert links_in_order(ours) == links_in_order(theirs)


def test_an_unlimited_dimension_without_a_coordinate_keeps_its_length(tmp_path):
    dataset = xr.Dataset({"v": (("t", "x"), np.arange(12.0).reshape(3, 4))})
    options = {
        "encoding": {"v": {"zlib": True, "chunksizes": (2, 4)}},
        "unlimited_dims": ("t",),
    }
    ours, theirs = write_both(dataset, tmp_path, **options)
    assert_same_to_every_reader(ours, theirs)
    with netCDF4.Dataset(ours) as file:
        assert len(file.dimensions["t"]) == 3
        assert file.dimensions["t"].isunlimited()


def test_a_dataset_without_heavy_variables_is_written_whole(tmp_path):
    dataset = xr.Dataset({"v": ("x", np.arange(4)), "s": ((), "text")})
    assert_same_to_every_reader(*write_both(dataset, tmp_path))
    verify_netcdf(tmp_path / "ours" / "granule.nc", dataset)


# Read-back


def damaged(path, name, origin, change):
    with h5py.File(path, "r+") as hdf:
        target = hdf[name]
        _, stream = target.id.read_direct_chunk(origin)
        target.id.write_direct_chunk(origin, change(stream))


@pytest.mark.parametrize(
    "change",
    [
        lambda stream: stream[:-5],
        lambda stream: stream[:30] + bytes([stream[30] ^ 1]) + stream[31:],
        lambda stream: zlib.compress(bytes(len(zlib.decompress(stream)))),
        lambda stream: zlib.compress(zlib.decompress(stream)[:-4]),
    ],
    ids=["truncated", "bit flipped", "other values", "too short"],
)
def test_read_back_finds_a_damaged_chunk(tmp_path, change):
    dataset, options = make_granule()
    write_netcdf(dataset, tmp_path / "a.nc", **options)
    verify_netcdf(tmp_path / "a.nc", dataset, **options)
    damaged(tmp_path / "a.nc", "SALT", (0, 3, 0, 0), change)
    with pytest.raises(OutputCorrupt, match="SALT|bytes") as caught:
        verify_netcdf(tmp_path / "a.nc", dataset, **options)
    assert caught.value.code == "ReadBackDiffers"


def test_read_back_finds_exchanged_chunks_and_a_missing_one(tmp_path):
    dataset, options = make_granule(n_z=6)
    path = tmp_path / "a.nc"
    write_netcdf(dataset, path, **options)
    with h5py.File(path, "r+") as hdf:
        chunks = {z: hdf["THETA"].id.read_direct_chunk((0, z, 0, 0))[1] for z in (0, 3)}
        hdf["THETA"].id.write_direct_chunk((0, 0, 0, 0), chunks[3])
        hdf["THETA"].id.write_direct_chunk((0, 3, 0, 0), chunks[0])
    with pytest.raises(OutputCorrupt, match="THETA"):
        verify_netcdf(path, dataset, **options)
    options["encoding"]["THETA"]["chunksizes"] = (1, 2, 7, 9)
    with pytest.raises(OutputCorrupt, match="THETA"):
        verify_netcdf(path, dataset, **options)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda file: file.setncattr("title", "other"), "global attributes"),
        (lambda file: file["THETA"].setncattr("units", "K"), "attributes of THETA"),
        (lambda file: file["Z"].__setitem__(0, -6), "values of Z"),
        (lambda file: file["label"].__setitem__(0, "x"), "values of label"),
        (lambda file: file.createVariable("more", "i4"), "list of variables"),
        (lambda file: file.createDimension("more", 2), "dimensions"),
    ],
)
def test_read_back_finds_a_changed_header_or_coordinate(tmp_path, change, what):
    dataset, options = make_granule()
    write_netcdf(dataset, tmp_path / "a.nc", **options)
    with netCDF4.Dataset(tmp_path / "a.nc", "r+") as file:
        change(file)
    with pytest.raises(OutputCorrupt, match=what):
        verify_netcdf(tmp_path / "a.nc", dataset, **options)


def test_read_back_of_a_truncated_or_absent_file_is_an_error_of_the_output(tmp_path):
    dataset, options = make_granule()
    path = tmp_path / "a.nc"
    with pytest.raises(OutputCorrupt, match=r"a\.nc"):
        verify_netcdf(path, dataset, **options)
    write_netcdf(dataset, path, **options)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(OutputCorrupt, match="write the file again"):
        verify_netcdf(path, dataset, **options)


# Refusals


def test_an_encoding_for_an_absent_variable_is_refused(tmp_path):
    dataset, _ = make_granule()
    with pytest.raises(ConfigurationError, match="TEHTA"):
        write_netcdf(dataset, tmp_path / "a.nc", encoding={"TEHTA": {"zlib": True}})
    with pytest.raises(ConfigurationError, match="tiem"):
        write_netcdf(dataset, tmp_path / "a.nc", unlimited_dims=("tiem",))


@pytest.mark.parametrize("chunks", [(1, 9, 7, 9), (1, 1), (0, 1, 1, 1)])
def test_chunks_that_do_not_fit_are_refused_and_leave_no_file(tmp_path, chunks):
    dataset, options = make_granule()
    options["encoding"]["THETA"]["chunksizes"] = chunks
    with pytest.raises(ConfigurationError, match="THETA"):
        write_netcdf(dataset, tmp_path / "a.nc", **options)
    assert not (tmp_path / "a.nc").exists()


def test_an_error_while_computing_leaves_no_file(tmp_path):
    dataset, options = make_granule()

    def fail(block):
        raise ZeroDivisionError("broken input")

    array = dask.array.from_array(dataset["THETA"].values, chunks=-1)
    broken = array.map_blocks(fail, dtype="f4", meta=np.empty((0,) * 4, "f4"))
    dataset["THETA"] = dataset["THETA"].copy(data=broken)
    with pytest.raises(ZeroDivisionError, match="broken input"):
        write_netcdf(dataset, tmp_path / "a.nc", **options)
    assert not (tmp_path / "a.nc").exists()


FULL_DISK = textwrap.dedent("""
    import sys
    from pathlib import Path
    from dor_ecco_assets.stores.netcdf import write_netcdf
    from tests.stores.test_netcdf import make_granule, limit_file_size
    dataset, options = make_granule(8, 90, 180)
    folder = Path(sys.argv[1])
    limit_file_size(int(sys.argv[2]))
    for attempt in range(2):
        try:
            write_netcdf(dataset, folder / "a.nc", **options)
        except OSError as error:
            print(error.errno, error.filename, sorted(folder.iterdir()))
    small, options = make_granule()
    if int(sys.argv[2]):
        write_netcdf(small, folder / "a.nc", **options)
    print("end")
""")


def limit_file_size(size):
    if size:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def run_on_full_disk(folder, limit):
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, folder, str(limit)],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize("limit", [100_000, 200_000, 300_000])
def test_a_write_past_the_file_size_limit_is_an_os_error_and_the_process_goes_on(tmp_path, limit):
    lines = run_on_full_disk(tmp_path, limit)
    refused = f"{errno.EFBIG} {tmp_path / 'a.nc'} []"
    assert lines == [refused, refused, "end"]


@pytest.fixture
def tiny_disk(tmp_path):
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("a file system of its own needs Linux and root")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1200k", "tmpfs", folder]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not permitted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("used", [800_000, 0])
def test_a_full_disk_is_enospc_and_leaves_no_file(tiny_disk, tmp_path, used):
    ballast = tiny_disk / "ballast"
    ballast.write_bytes(bytes(used))
    program = FULL_DISK.replace("8, 90, 180", "16, 180, 180")
    done = subprocess.run(
        [sys.executable, "-c", program, tiny_disk, "0"],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    refused = f"{errno.ENOSPC} {tiny_disk / 'a.nc'} [{ballast!r}]"
    assert done.stdout.splitlines() == [refused, refused, "end"]
    assert done.stderr == ""


# Deflate and ranges


@settings(deadline=None)
@given(planes=hnp.arrays("u1", hnp.array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_two_speed_deflate_is_one_ordinary_zlib_stream(planes):
    stream = deflate_planes(planes)
    assert zlib.decompress(stream) == planes.tobytes()
    npt.assert_array_equal(inflate_planes(stream, planes.shape), planes)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@settings(deadline=None)
@given(data=st.data())
def test_a_value_range_is_numpy_s_with_nan_left_out(dtype, data):
    values = data.draw(hnp.arrays(dtype, hnp.array_shapes(max_dims=3, max_side=5)))
    found = value_range(values)
    valid = values[~np.isnan(values)]
    assert found.n_valid == valid.size
    if valid.size:
        assert (found.minimum, found.maximum) == (valid.min(), valid.max())
    else:
        assert np.isnan(found.minimum)
        assert np.isnan(found.maximum)
    assert found.minimum.dtype == found.maximum.dtype == values.dtype


def test_a_value_range_takes_any_layout_but_only_floats():
    values = np.arange(24, dtype="f4").reshape(2, 3, 4)
    assert value_range(values[:, ::2, 1:].T).maximum == 23
    with pytest.raises(ConfigurationError, match="int64"):
        value_range(np.arange(3))


def test_kernels_give_the_same_without_the_compiler(tmp_path):
    program = textwrap.dedent("""
        import sys
        import numpy as np
        from pathlib import Path
        from dor_ecco_assets.stores.netcdf import value_range, verify_netcdf, write_netcdf
        from tests.stores.test_netcdf import make_granule
        dataset, options = make_granule()
        path = Path(sys.argv[1])
        write_netcdf(dataset, path, **options)
        verify_netcdf(path, dataset, **options)
        print(value_range(dataset["THETA"].values))
    """)
    answers = set()
    for disabled in ("0", "1"):
        path = tmp_path / f"{disabled}.nc"
        done = subprocess.run(
            [sys.executable, "-c", program, path],
            env={**os.environ, "NUMBA_DISABLE_JIT": disabled},
            check=True,
            capture_output=True,
            text=True,
        )
        answers.add((done.stdout, sha256(path)))
    assert len(answers) == 1


# Sample fields


def test_sample_fields_compress_as_published_ones_do():
    wet = latlon_wet(5, 360, 720)
    assert (~wet[0]).mean() == pytest.approx(0.347, abs=0.01)
    for tracer, low, high in (("THETA", 0.22, 0.34), ("SALT", 0.2, 0.34)):
        field = ocean_field(tracer, wet, repeat=LATLON_REPEAT)
        profile = compression_profile(field[0], float(FILL))
        assert low < profile.ratio < high
        assert profile.plane_ratios[0] == pytest.approx(0.436, abs=0.02)
        assert profile.plane_entropies[0] == pytest.approx(6.13, abs=0.1)
        npt.assert_array_equal(np.isnan(field), ~wet)


def test_sample_fields_depend_on_their_arguments_alone():
    wet = native_wet(4, 13, 12)
    assert wet.shape == (4, 13, 12, 12)
    one, again, other = (ocean_field("THETA", wet, seed=seed) for seed in (1, 1, 2))
    npt.assert_array_equal(one, again)
    assert not np.array_equal(one, other, equal_nan=True)
    assert -2.5 < np.nanmin(one) < np.nanmax(one) < 40
