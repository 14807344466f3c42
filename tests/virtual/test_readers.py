"""Zarr's own readers get from our references what lies in the file, through each kind of store."""

from __future__ import annotations

import base64
import json
import os

import h5py
import numpy as np
import pytest

from dor_ecco_assets.samples.virtual_granules import DailyGrid, write_daily, write_swath
from dor_ecco_assets.virtual.hdf5 import parse_hdf5
from dor_ecco_assets.virtual.references import v3_metadata
from tests.support.data import real_data
from tests.virtual.referees import as_zarr_v2

pytestmark = [
    pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning"),
    pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3"),
]

REAL = [
    "ecco_granules/ATM_SURFACE_TEMP_HUM_WIND_PRES_day_mean_1992-01-01_ECCO_V4r4_latlon_0p50deg.nc",
    "imos/gsla/IMOS_OceanCurrent_HV_20240101T000000Z_GSLA_FV02_NRT.nc",
    "podaac/ghrsst_l2p/SS_AMSR2-L2B_v08_r38622-v02.0-fv01.0.nc",
    "podaac/sentinel6_groups/S6A_P4_2__HR_RED__NR_014_191_20210403T004056_20210403T005056_F00.nc",
    "podaac/swot_gpr/SWOT_GPR_2PTP003_005_20111115_030538_20111115_035643.nc",
]


def samples(folder):
    grid = DailyGrid((20, 30), (7, 11))
    return [
        write_daily(folder / "edges.nc", 4, grid=grid),
        write_daily(folder / "plain.nc", 4, grid=grid, deviation="no filters"),
        write_daily(folder / "checked.nc", 4, grid=grid, deviation="fletcher32"),
        write_swath(folder / "grouped.nc", 1, 2, 70, group="data_01"),
    ]


def assert_equal_to_file(root, granule, path, names=None):
    with h5py.File(path) as file:
        for name in names or granule.arrays:
            np.testing.assert_array_equal(root[name][...], file[name][...], err_msg=name)
            assert root[name].fill_value == granule.arrays[name].fill_value or (
                root[name].fill_value != root[name].fill_value
            )


def through_icechunk(path, granule):
    """A repository with one granule, its arrays by v3 metadata and virtual references."""
    os.environ["ICECHUNK_LOG"] = "error"
    ice = pytest.importorskip("icechunk", reason="icechunk is not installed")
    import asyncio

    import zarr
    from zarr.core.buffer import default_buffer_prototype

    root = f"file://{path.parent}/"
    config = ice.RepositoryConfig.default()
    store = ice.local_filesystem_store(str(path.parent))
    config.set_virtual_chunk_container(ice.VirtualChunkContainer(root, store, name="granules"))
    access = {root: ice.credentials.LocalFileSystemAccess}
    repository = ice.Repository.create(
        ice.in_memory_storage(),
        config=config,
        authorize_virtual_chunk_access=ice.containers_credentials(access),
    )
    session = repository.writable_session("main")
    make = default_buffer_prototype().buffer.from_bytes
    zarr.open_group(session.store, mode="w", zarr_format=3)
    for group in granule.groups:
        if group:
            zarr.open_group(session.store, path=group, mode="a", zarr_format=3)
    for name, array in granule.arrays.items():
        document = json.dumps(v3_metadata(array)).encode()
        asyncio.run(session.store.set(f"{name}/zarr.json", make(document)))
        if array.values is not None:
            zarr.open_array(session.store, path=name, mode="r+")[...] = array.values
        elif array.lengths.all():
            session.store.set_virtual_refs_arr(
                name,
                array.lengths.shape,
                [f"vcc://granules/{path.name}"] * array.lengths.size,
                array.offsets.ravel(),
                array.lengths.ravel(),
            )
    session.commit("one granule")
    return zarr.open_group(repository.readonly_session("main").store, mode="r")


def through_kerchunk(path, granule):
    """The granule as a kerchunk reference set, read by fsspec."""
    import fsspec
    import zarr

    references = {".zgroup": json.dumps({"zarr_format": 2})}
    for group in granule.groups:
        references[f"{group}/.zgroup".lstrip("/")] = json.dumps({"zarr_format": 2})
    for name, array in granule.arrays.items():
        metadata, attributes = as_zarr_v2(array)
        references[f"{name}/.zarray"] = json.dumps(metadata)
        references[f"{name}/.zattrs"] = json.dumps(attributes)
        for place in np.ndindex(array.lengths.shape):
            if array.lengths[place]:
                key = f"{name}/{'.'.join(map(str, place)) or '0'}"
                span = [int(array.offsets[place]), int(array.lengths[place])]
                references[key] = [str(path), *span]
        if array.values is not None:
            raw = base64.b64encode(array.values.tobytes()).decode()
            references[f"{name}/{'.'.join('0' * len(array.shape)) or '0'}"] = f"base64:{raw}"
    from zarr.storage import FsspecStore

    filesystem = fsspec.filesystem(
        "reference",
        fo={"version": 1, "refs": references},
        asynchronous=True,
        skip_instance_cache=True,
    )
    return zarr.open_group(
        FsspecStore(filesystem, read_only=True, path=""), mode="r", zarr_format=2
    )


def test_samples_through_icechunk(tmp_path):
    for path in samples(tmp_path):
        granule = parse_hdf5(str(path), load=("time",))
        assert_equal_to_file(through_icechunk(path, granule), granule, path)


def test_samples_through_kerchunk_references(tmp_path):
    for path in samples(tmp_path):
        granule = parse_hdf5(str(path), load=("time",))
        assert_equal_to_file(through_kerchunk(path, granule), granule, path)


@pytest.mark.parametrize("name", REAL)
def test_a_real_granule_through_icechunk(name):
    path = real_data(*name.split("/"))
    granule = parse_hdf5(str(path))
    assert_equal_to_file(through_icechunk(path, granule), granule, path)


@pytest.mark.parametrize("name", REAL)
def test_a_real_granule_through_kerchunk_references(name):
    path = real_data(*name.split("/"))
    granule = parse_hdf5(str(path))
    assert_equal_to_file(through_kerchunk(path, granule), granule, path)
