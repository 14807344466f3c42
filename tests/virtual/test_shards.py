"""Shards give back what was put in, as equal bytes, and are never half believed."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

from dor_ecco_assets.samples.virtual_granules import write_daily, write_swath
from dor_ecco_assets.virtual.hdf5 import parse_hdf5
from dor_ecco_assets.virtual.references import schema_fingerprint
from dor_ecco_assets.virtual.shards import (
    HEADER,
    TABLE,
    FailedGranule,
    ReferenceShard,
    read_shard,
    write_shard,
)
from tests.support.data import real_data

LOAD = ("time", "lat", "lon")


def reader(folder):
    return lambda name: (folder / name).read_bytes() if (folder / name).exists() else None


def assert_same(found, expected):
    assert found.arrays.keys() == expected.arrays.keys()
    for part in ("groups", "size", "e_tag", "modified", "parser"):
        assert getattr(found, part) == getattr(expected, part)
    for name, array in expected.arrays.items():
        other = found.arrays[name]
        for part in ("dims", "shape", "dtype", "chunks", "attributes"):
            assert getattr(other, part) == getattr(array, part), (name, part)
        assert [dict(c) for c in other.codecs] == [dict(c) for c in array.codecs]
        assert dict(other.types) == dict(array.types)
        np.testing.assert_array_equal(other.fill_value, array.fill_value)
        np.testing.assert_array_equal(other.offsets, array.offsets)
        np.testing.assert_array_equal(other.lengths, array.lengths)
        assert (other.values is None) == (array.values is None)
        if array.values is not None:
            assert other.values.dtype == array.values.dtype
            np.testing.assert_array_equal(other.values, array.values)
    assert schema_fingerprint(found) == schema_fingerprint(expected)


@pytest.fixture
def shard(tmp_path):
    granules = {}
    for day in range(5):
        path = write_daily(tmp_path / f"{day}.nc", day)
        granules[f"G{day}-X.1"] = parse_hdf5(str(path), load=LOAD)
    path = write_swath(tmp_path / "s.nc", 1, 2, 70, group="data_01")
    granules["G9-X.3"] = parse_hdf5(str(path))
    path = write_daily(tmp_path / "f4.nc", 5, scale_factor=np.float32(0.001))
    granules["G8-X.1"] = parse_hdf5(str(path), load=LOAD)
    assert granules["G8-X.1"].arrays["analysed_sst"].types  # decides the type of the values
    failed = {"G7-X.1": FailedGranule("s3://b/x.nc", "Unreadable", "it is a login page", "p 1")}
    return ReferenceShard("settings", granules, failed)


def test_what_is_read_is_what_was_written(tmp_path, shard):
    write_shard(tmp_path / "shard", shard)
    found = read_shard(reader(tmp_path / "shard"), "settings")
    assert found.granules.keys() == shard.granules.keys()
    assert found.failed == shard.failed
    assert found.chunk_count == shard.chunk_count > 0
    for name, granule in shard.granules.items():
        assert_same(found.granules[name], granule)


def test_equal_shards_are_equal_bytes_whatever_the_order(tmp_path, shard):
    other = ReferenceShard(
        "settings", dict(reversed(shard.granules.items())), dict(reversed(shard.failed.items()))
    )
    write_shard(tmp_path / "a", shard)
    write_shard(tmp_path / "b", other)
    for name in (HEADER, TABLE):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_common_schemas_and_coordinates_are_kept_once(tmp_path, shard):
    write_shard(tmp_path / "shard", shard)
    header = json.loads((tmp_path / "shard" / HEADER).read_text())
    daily = header["granules"][:5]
    assert len({granule["values"]["lat"] for granule in daily}) == 1
    assert len({granule["values"]["time"] for granule in daily}) == 5


def test_the_table_names_granule_array_and_chunk_of_every_range(tmp_path, shard):
    import fastparquet

    write_shard(tmp_path / "shard", shard)
    data = io.BytesIO((tmp_path / "shard" / TABLE).read_bytes())
    table = fastparquet.ParquetFile(data).to_pandas()
    assert list(table.columns) == ["granule", "array", "chunk", "offset", "length"]
    mine = table[(table.granule == "G3-X.1") & (table.array == "analysed_sst")]
    array = shard.granules["G3-X.1"].arrays["analysed_sst"]
    assert mine.chunk.tolist() == list(range(array.offsets.size))
    assert mine.offset.tolist() == array.offsets.ravel().tolist()


def test_an_empty_shard_is_a_shard(tmp_path):
    write_shard(tmp_path / "shard", ReferenceShard("settings"))
    assert read_shard(reader(tmp_path / "shard")).granules == {}


@pytest.mark.parametrize(
    "fault", ["other settings", "no table", "cut", "mixed", "not JSON", "old", "none"]
)
def test_a_shard_that_is_not_whole_is_no_shard(tmp_path, shard, fault):
    folder = tmp_path / "shard"
    write_shard(folder, shard)
    if fault == "no table":
        (folder / TABLE).unlink()
    if fault == "cut":
        (folder / TABLE).write_bytes((folder / TABLE).read_bytes()[:-20])
    if fault == "mixed":  # the header of another version
        other = ReferenceShard("settings", dict(list(shard.granules.items())[1:]))
        write_shard(tmp_path / "other", other)
        (tmp_path / "other" / HEADER).replace(folder / HEADER)
    if fault == "not JSON":
        (folder / HEADER).write_text("{")
    if fault == "old":
        header = json.loads((folder / HEADER).read_text())
        (folder / HEADER).write_text(json.dumps({**header, "version": 0}))
    if fault == "none":
        (folder / HEADER).unlink()
    assert read_shard(reader(folder), "other" if fault == "other settings" else "settings") is None


def test_real_granules_come_back_whole(tmp_path):
    files = [
        *real_data("ecco_granules").glob("*.nc"),
        *real_data("podaac", "sentinel6_groups").glob("*.nc"),
        *real_data("podaac", "swot_gpr").glob("*.nc"),
    ]
    granules = {path.name: parse_hdf5(str(path), inline_bytes=300) for path in files}
    assert len(granules) >= 3
    write_shard(tmp_path / "shard", ReferenceShard("s", granules))
    found = read_shard(reader(tmp_path / "shard"))
    for name, granule in granules.items():
        assert_same(found.granules[name], granule)
