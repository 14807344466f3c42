"""Granules in an object store are parsed from few requests and few bytes, and never half."""

from __future__ import annotations

import time

import numpy as np
import pytest
from obstore.store import HTTPStore, LocalStore

from dor_ecco_assets.errors import InputUnusable, StorageRefused, StorageUnavailable
from dor_ecco_assets.samples.virtual_granules import DailyGrid, write_daily
from dor_ecco_assets.virtual.hdf5 import parse_hdf5
from dor_ecco_assets.virtual.remote import BlockHints, RemoteFile, parse_granules
from tests.support.ranges import RangeServer

COORDINATES = ("time", "lat", "lon")
#: 48 chunks and some hundred kilobytes, as the granules that the targets speak of.
LARGE = DailyGrid((720, 1440), (180, 360), ("analysed_sst", "analysis_error", "wind_speed"), 37)


def archive(folder, count, grid=None):
    return [write_daily(folder / f"{day:03d}.nc", day, grid=grid).name for day in range(count)]


def store_of(server):
    return HTTPStore.from_url(
        server.endpoint, client_options={"allow_http": True}, retry_config={"max_retries": 0}
    )


def assert_same(found, expected):
    assert found.arrays.keys() == expected.arrays.keys()
    assert found.groups == expected.groups
    assert found.size == expected.size
    for name, array in expected.arrays.items():
        np.testing.assert_array_equal(found.arrays[name].offsets, array.offsets)
        np.testing.assert_array_equal(found.arrays[name].lengths, array.lengths)
        assert found.arrays[name].attributes == array.attributes
        if array.values is not None:
            np.testing.assert_array_equal(found.arrays[name].values, array.values)


def test_what_is_parsed_over_http_is_what_lies_on_disk(tmp_path):
    keys = archive(tmp_path, 25)
    with RangeServer(tmp_path) as server:
        outcomes = list(parse_granules(store_of(server), keys, load=COORDINATES))
    assert [outcome.key for outcome in outcomes] == keys
    for outcome in outcomes:
        assert_same(outcome.granule, parse_hdf5(str(tmp_path / outcome.key), load=COORDINATES))
        assert outcome.granule.e_tag.strip('"')


def test_a_local_store_is_read_the_same_way(tmp_path):
    keys = archive(tmp_path, 2)
    outcomes = list(parse_granules(LocalStore(tmp_path), keys, load=COORDINATES))
    assert_same(outcomes[1].granule, parse_hdf5(str(tmp_path / keys[1]), load=COORDINATES))


def test_latency_is_waited_for_together_and_few_bytes_travel(tmp_path):
    keys = archive(tmp_path, 12, LARGE)
    assert (tmp_path / keys[0]).stat().st_size > 300_000
    hints = BlockHints()
    with RangeServer(tmp_path, latency_s=0.05) as server:
        store = store_of(server)
        list(parse_granules(store, keys[:2], load=COORDINATES, hints=hints))
        server.requests.clear()
        start = time.monotonic()
        outcomes = list(parse_granules(store, keys[2:], load=COORDINATES, hints=hints))
        elapsed_s = time.monotonic() - start
        sent = sum(request.sent for request in server.requests)
    assert all(outcome.granule.chunk_count == 48 for outcome in outcomes)
    assert sent / 10 < 300_000
    assert sum(outcome.bytes_read for outcome in outcomes) == sent
    # Asked one after the other, the requests alone would take longer.
    assert elapsed_s < 0.05 * len(server.requests)


def test_a_block_that_nobody_foresaw_is_fetched_when_it_is_missed(tmp_path):
    archive(tmp_path, 1, LARGE)
    hints = BlockHints()
    hints.learn({0, 3})  # of another producer
    with RangeServer(tmp_path) as server:
        file = RemoteFile(store_of(server), "000.nc", hints)
        found = parse_hdf5(file, load=COORDINATES)
        assert file.requests == len(server.requests) > 2
    assert_same(found, parse_hdf5(str(tmp_path / "000.nc"), load=COORDINATES))


def test_hints_beyond_the_end_of_a_shorter_granule_do_no_harm(tmp_path):
    archive(tmp_path, 1)
    hints = BlockHints()
    hints.learn({0, 50, 90})
    with RangeServer(tmp_path) as server:
        outcomes = list(parse_granules(store_of(server), ["000.nc"], hints=hints))
    assert outcomes[0].granule is not None


@pytest.mark.parametrize(
    ("told", "code"), [("html", "Unreadable"), (None, "NotFound"), ("empty", "Unreadable")]
)
def test_one_bad_granule_is_an_outcome_among_the_others(tmp_path, told, code):
    keys = archive(tmp_path, 5)
    if told == "empty":
        (tmp_path / keys[2]).write_bytes(b"")
    elif told is None:
        (tmp_path / keys[2]).unlink()
    with RangeServer(tmp_path, replies={keys[2]: told} if told == "html" else {}) as server:
        outcomes = list(parse_granules(store_of(server), keys))
    assert [outcome.granule is None for outcome in outcomes] == [False, False, True, False, False]
    assert outcomes[2].error.code == code
    assert keys[2] in outcomes[2].error.message


@pytest.mark.parametrize(
    ("told", "kind", "code"),
    [
        ("forbidden", StorageRefused, "AccessDenied"),  # as a bucket does from another region
        ("unavailable", StorageUnavailable, "StorageUnavailable"),
        ("cut", StorageUnavailable, "StorageUnavailable"),
    ],
)
def test_what_is_not_the_granules_fault_ends_the_batch(tmp_path, told, kind, code):
    keys = archive(tmp_path, 3)
    with RangeServer(tmp_path, replies={keys[1]: told}) as server:
        with pytest.raises(kind, match=keys[1]) as caught:
            list(parse_granules(store_of(server), keys))
    assert caught.value.code == code
    assert ("DOR_ECCO_ACCESS=https" in caught.value.message) == (code == "AccessDenied")


def test_a_missing_token_is_a_refusal(tmp_path):
    keys = archive(tmp_path, 1)
    with RangeServer(tmp_path, token="t") as server:
        with pytest.raises(StorageRefused):
            list(parse_granules(store_of(server), keys))
        headers = {"default_headers": {"Authorization": "Bearer t"}, "allow_http": True}
        store = HTTPStore.from_url(server.endpoint, client_options=headers)
        assert next(parse_granules(store, keys)).granule is not None


def test_a_granule_that_changes_while_it_is_read_is_refused(tmp_path):
    archive(tmp_path, 1, LARGE)
    with RangeServer(tmp_path) as server:
        file = RemoteFile(store_of(server), "000.nc")
        file.read(10)
        write_daily(tmp_path / "000.nc", 77, grid=LARGE)
        file.seek(200_000)
        assert file.read(10) == bytes(10)
        assert file.fault.code == "ChangedWhileRead"
        with pytest.raises(InputUnusable, match="changed while it was read"):
            parse_hdf5(file)
