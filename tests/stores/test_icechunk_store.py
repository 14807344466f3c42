"""Versions of an Icechunk store, and byte ranges of files elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import zarr

from dor_ecco_assets.errors import (
    ConfigurationError,
    InputMissing,
    OutputCorrupt,
    PartitionBusy,
)
from dor_ecco_assets.settings import Place
from dor_ecco_assets.storage import open_storage
from dor_ecco_assets.stores.icechunk_store import (
    Container,
    IcechunkStore,
    Lost,
    clear_chunks,
    location,
    move_chunks,
    read_document,
    remove_array,
    write_documents,
    write_references,
)


@pytest.fixture
def store(tmp_path):
    files = tmp_path / "files"
    files.mkdir()
    for n in range(6):
        (files / f"{n}.bin").write_bytes(np.arange(10 * n, 10 * n + 4, dtype="<i4").tobytes())
    made = IcechunkStore(
        open_storage(Place(root=str(tmp_path / "root"))),
        "some/store",
        [Container("files", f"file://{files}/")],
        split=("t", 3),
    )
    made.create()
    return made


def document(slots, width=2):
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [slots, 4],
        "data_type": "int32",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, width]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": -1,
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        "attributes": {},
        "dimension_names": ["t", "x"],
    }


def refer(session, slot, n, checksum=None, container="files"):
    return write_references(
        session,
        "x",
        location(container, f"{n}.bin"),
        np.array([[0, 8]], np.uint64),
        np.array([[8, 8]], np.uint64),
        (slot, 0),
        checksum,
    )


def publish(store, slots, message="made"):
    with store.writing() as session:
        write_documents(session, {"x": document(len(slots)), "": GROUP})
        for slot, n in enumerate(slots):
            if n is not None:
                assert refer(session, slot, n) == 2
        return store.commit(session, message, {"n": len(slots)})


GROUP = {"zarr_format": 3, "node_type": "group", "attributes": {}}


def first_column(store, version=None):
    return zarr.open_array(store.reading(version).store, path="x", mode="r")[:, 0].tolist()


def test_byte_ranges_of_files_read_as_an_array(store):
    publish(store, [0, None, 5])
    values = zarr.open_array(store.reading().store, path="x", mode="r")[:]
    np.testing.assert_array_equal(values, [[0, 1, 2, 3], [-1] * 4, [50, 51, 52, 53]])


def test_what_is_not_committed_is_seen_by_nobody(store):
    publish(store, [0])

    def fail():
        with store.writing() as session:
            write_documents(session, {"x": document(2)})
            refer(session, 1, 1)
            raise RuntimeError("on the way")

    with pytest.raises(RuntimeError, match="on the way"):
        fail()
    assert first_column(store) == [0]
    assert len(list(store.versions())) == 2


@pytest.mark.parametrize(
    ("forward", "expected"),
    [
        ({0: 0, 1: 2, 2: 3, 3: 4}, [0, -1, 10, 20, 30, -1]),
        ({0: 0, 2: 1, 3: 2}, [0, 20, 30, -1, -1, -1]),
        ({0: 1, 1: 0, 2: 4, 3: 3}, [10, 0, -1, 30, 20, -1]),
        ({}, [-1] * 6),
    ],
)
def test_slots_move_with_all_their_chunks(store, forward, expected):
    publish(store, [0, 1, 2, 3])
    with store.writing() as session:
        write_documents(session, {"x": document(6)})
        move_chunks(session, "x", 0, forward)
        store.commit(session, "moved", {})
    assert first_column(store) == expected
    whole = zarr.open_array(store.reading().store, path="x", mode="r")[:]
    assert ((whole[:, 3] - whole[:, 0] == 3) == (whole[:, 0] >= 0)).all()


def test_cleared_chunks_read_as_fill_and_others_stay(store):
    publish(store, list(range(6)) * 2)  # with slots 1, 10 and 11
    with store.writing() as session:
        clear_chunks(session, "x", [(1, 0), (1, 1)])
        store.commit(session, "cleared", {})
    assert first_column(store) == [0, -1, 20, 30, 40, 50, 0, 10, 20, 30, 40, 50]


def test_an_array_is_removed_with_its_chunks(store):
    publish(store, [0, 1])
    with store.writing() as session:
        remove_array(session, "x")
        assert read_document(session, "x") is None
        store.commit(session, "removed", {})
    publish(store, [None, None])
    assert first_column(store) == [-1, -1]


def test_a_file_that_changed_is_refused(store, tmp_path):
    path = tmp_path / "files/2.bin"
    stamp = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    with store.writing() as session:
        write_documents(session, {"x": document(2), "": GROUP})
        refer(session, 0, 2, stamp.replace(microsecond=0) + timedelta(seconds=1))
        refer(session, 1, 2, stamp - timedelta(seconds=100))
        store.commit(session, "made", {})
    array = zarr.open_array(store.reading().store, path="x", mode="r")
    assert array[0, 0] == 20
    with pytest.raises(Exception, match="has changed"):
        array[1]


def test_files_outside_every_container_are_refused(store):
    with store.writing() as session:
        write_documents(session, {"x": document(1), "": GROUP})
        with pytest.raises(ConfigurationError, match="no container of the store") as caught:
            refer(session, 0, 1, container="elsewhere")
    assert caught.value.code == "NoContainer"


def test_keys_are_escaped_as_urls_are():
    assert location("a", "x y/100%#?.nc") == "vcc://a/x y/100%25%23%3F.nc"


def test_versions_can_be_named_and_brought_back(store):
    one = publish(store, [0])
    store.tag("v1")
    two = publish(store, [0, 1])
    assert [v.snapshot for v in store.versions()][:2] == [two, one]
    assert next(store.versions()).metadata == {"n": 2}
    assert (store.resolve("v1"), store.resolve(), store.resolve(one)) == (one, two, one)
    assert first_column(store, "v1") == [0]
    assert store.rollback("v1") == one
    assert first_column(store) == [0]
    assert store.head == one
    assert store.tag("v1", one) == one
    with pytest.raises(ConfigurationError, match="has a version 'v1' already"):
        store.tag("v1", two)
    for version in ("v9", "7ZT4F2W8MX1H3NNWCYT0"):
        with pytest.raises(InputMissing, match="its tags: v1") as caught:
            store.rollback(version)
        assert caught.value.code == "VersionMissing"
    assert store.rollback(two) == two
    assert first_column(store) == [0, 10]


def test_old_versions_are_collected_and_named_ones_kept(store):
    publish(store, [0])
    store.tag("kept")
    for n in range(3):
        publish(store, [0, n])
    assert store.collect(timedelta(days=1)) == {
        "versions": 0,
        "bytes": 0,
        "chunks": 0,
        "manifests": 0,
    }
    found = store.collect(timedelta(seconds=-1))
    assert found["versions"] > 0
    assert first_column(store) == [0, 20]
    assert first_column(store, "kept") == [0]


def test_a_writer_that_was_not_first_is_told(store):
    publish(store, [0])
    with store.writing() as session:
        write_documents(session, {"x": document(2)})
        other = store.repository.writable_session("main")
        write_documents(other, {"x": document(3)})
        other.commit("first")
        with pytest.raises(Lost):
            store.commit(session, "second", {})
    with store.writing(), pytest.raises(PartitionBusy), store.writing():
        pass


def test_a_store_that_is_not_there_or_damaged_is_named(store, tmp_path):
    none = IcechunkStore(store.storage, "none")
    assert not none.exists()
    with pytest.raises(InputMissing, match="there is no Icechunk store"):
        _ = none.repository
    publish(store, [0])
    (tmp_path / "root/some/store/repo").write_bytes(b"damaged")
    again = IcechunkStore(store.storage, store.key, store.containers)
    with pytest.raises(OutputCorrupt, match="cannot be read as an Icechunk store"):
        again.reading()


def test_creating_twice_changes_nothing(store):
    snapshot = publish(store, [0])
    store.create()
    again = IcechunkStore(store.storage, store.key)
    again.create()
    assert again.head == snapshot
