"""A session's arrays read with less work have the values, types and errors of the plain way."""

import pickle
import zlib

import icechunk
import numpy as np
import numpy.testing as npt
import pytest
import xarray as xr
import zarr
from zarr.codecs.numcodecs import Fletcher32, Shuffle, Zlib

from dor_ecco_assets.stores.session_dataset import decoded, open_numbers

FILL = np.float32(9.96921e36)


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """Fields of floats, doubles and packed numbers, with and without a number for none."""
    place = icechunk.local_filesystem_storage(str(tmp_path_factory.mktemp("store")))
    repository = icechunk.Repository.create(place)
    writing = repository.writable_session("main")
    random = np.random.default_rng(3)
    field = random.normal(size=(4, 5, 6)).astype("f4")
    holes = np.where(random.random(field.shape) < 0.3, FILL, field)
    dims = ("time", "y", "x")
    sound = xr.Dataset(
        {
            "ssh": (dims, holes, {"units": "m"}),
            "big": (dims, holes.astype(">f4"), {"units": "m"}),
            "twice": (dims, holes, {}),
            "double": (dims, holes.astype("f8"), {}),
            "plain": (dims, field, {}),
            "checked": (dims, holes, {}),
        },
        {"time": ("time", np.arange(4.0), {"units": "days since 1992-01-01"})},
    )
    sound["packed"] = (dims, np.round(field, 2))
    codecs = [Shuffle(elementsize=4), Zlib(level=4)]
    encoding = {
        name: {"compressors": codecs, "chunks": (1, 5, 6), "_FillValue": FILL}
        for name in ("ssh", "big", "twice", "checked", "double")
    }
    encoding["twice"]["missing_value"] = FILL
    encoding["double"]["_FillValue"] = float(FILL)
    encoding["checked"]["compressors"] = [*codecs, Fletcher32()]
    encoding["plain"] = {"compressors": codecs, "_FillValue": None}
    encoding["packed"] = {
        "compressors": codecs,
        "dtype": "i2",
        "scale_factor": 0.01,
        "_FillValue": -32768,
    }
    sound.to_zarr(writing.store, zarr_format=3, consolidated=False, encoding=encoding)
    writing.commit("all")
    return repository.readonly_session("main")


@pytest.fixture
def plain(session):
    """What xarray and Zarr make of it."""
    return xr.open_dataset(session.store, engine="zarr", consolidated=False)


def told(variable):
    """An encoding, codecs by what they do and not by whose they are."""
    codecs = [codec.to_dict() for codec in variable.encoding.get("compressors", ())]
    return repr(sorted({**variable.encoding, "compressors": codecs}.items()))


def test_all_is_as_xarray_has_it(session, plain):
    found = decoded(open_numbers(session))
    for name, variable in found.variables.items():
        assert told(variable) == told(plain[name])
        assert variable.dtype == plain[name].dtype
        assert variable._in_memory == (name == "time")
    xr.testing.assert_identical(found, plain)
    assert np.isnan(found["ssh"]).any()
    assert not np.isnan(found["plain"]).any()


@pytest.mark.parametrize("name", ["ssh", "big", "twice", "double", "checked", "packed"])
def test_every_selection_is_as_xarray_has_it(session, plain, name):
    points = {"y": xr.DataArray([4, 0, 4], dims="p"), "x": xr.DataArray([1, 1, 5], dims="p")}
    for choice in ({"time": 2}, {"y": slice(4, 0, -2)}, {"time": [3, 0], "x": [5, 1]}, points):
        found = decoded(open_numbers(session))[name].isel(choice)
        xr.testing.assert_identical(found, plain[name].isel(choice))
    assert decoded(open_numbers(session))[name][1, 2, 3].values == pytest.approx(
        plain[name].values[1, 2, 3], nan_ok=True
    )


def test_what_was_read_is_kept_and_never_changed_by_a_copy(session, plain):
    found = decoded(open_numbers(session))
    assert not found["ssh"].variable._in_memory
    _ = found["ssh"].values
    assert found["ssh"].variable._in_memory
    part = found["ssh"][0].copy(deep=True)
    part[:] = 0
    npt.assert_array_equal(found["ssh"], plain["ssh"])


def test_a_dataset_can_be_sent_to_workers(session, plain):
    sent = pickle.loads(pickle.dumps(decoded(open_numbers(session))))
    xr.testing.assert_identical(sent.load(), plain)


def test_a_damaged_chunk_is_refused_as_zarr_refuses_it():
    repository = icechunk.Repository.create(icechunk.in_memory_storage())
    writing = repository.writable_session("main")
    array = zarr.create_array(
        writing.store,
        name="ssh",
        shape=(2, 5, 6),
        chunks=(1, 5, 6),
        dtype="f8",
        compressors=[Shuffle(elementsize=8), Zlib(level=4)],
        dimension_names=("time", "y", "x"),
    )
    array[...] = np.arange(60.0).reshape(2, 5, 6)
    store, buffer = writing.store, zarr.core.buffer.default_buffer_prototype()
    key = "ssh/c/1/0/0"
    kept = zarr.core.sync.sync(store.get(key, buffer)).to_bytes()
    for damaged in (kept[: len(kept) // 2], kept[:-1] + bytes([kept[-1] ^ 1]), b"not deflated"):
        zarr.core.sync.sync(store.set(key, buffer.buffer.from_bytes(damaged)))
        found = decoded(open_numbers(writing))
        npt.assert_array_equal(found["ssh"][0], np.arange(30.0).reshape(5, 6))
        with pytest.raises(zlib.error):
            found["ssh"][1].load()


def test_arrays_that_others_open_are_left_alone(session):
    before = zarr.config.get("codecs")
    open_numbers(session)
    assert zarr.config.get("codecs") == before
    codec = zarr.open_array(session.store, path="ssh", mode="r").compressors[-1]
    assert type(codec) is Zlib
