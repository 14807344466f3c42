"""Every way in which CMR, ledger, archive and store can differ is found, and repaired as told."""

from __future__ import annotations

import json
import os
import shlex
from datetime import timedelta

import numpy as np
import pytest

from dor_ecco_assets.cli import main
from dor_ecco_assets.lineage.record import read_record
from dor_ecco_assets.lineage.workspace import Policy
from dor_ecco_assets.samples.virtual_granules import DAILY, stored_sst
from dor_ecco_assets.stores.icechunk_store import clear_chunks, location, write_references
from dor_ecco_assets.stores.ledger_arrays import read_ledger
from dor_ecco_assets.virtual.collections import load_collections
from dor_ecco_assets.virtual.exports import latest_release
from dor_ecco_assets.virtual.granule_records import Tombstone, parse_stamp
from dor_ecco_assets.virtual.listing import read_listing, with_changes
from dor_ecco_assets.virtual.products import exports_key, granules_key, references_key, store_key
from dor_ecco_assets.virtual.reading import open_store, virtual_store
from tests.virtual.sample_collection import NAME, sample_collection

DAYS = 20

#: Each planted kind of difference, by the granule's day where there is one.
PLANTED = {
    "quarantined": 2,
    "pending": 4,
    "withdrawn_in_store": 6,
    "older_in_ledger": 3,
    "not_in_ledger": 18,
    "gone_from_cmr": 8,
    "newer_in_cmr": 9,
    "not_listed": 19,
    "source_missing": 10,
    "source_changed": 11,
    "hole_in_store": 12,
    "values_differ": 13,
    "unknown_in_store": None,
    "store_moved": None,
    "exports_behind": None,
    "record_unlike_bytes": None,
}


@pytest.fixture
def collection(tmp_path, monkeypatch):
    with sample_collection(tmp_path, monkeypatch, days=DAYS) as found:
        by_name = sorted(found.granules, key=lambda each: str(each.path))
        found.granules = [each for each in by_name if each.path.suffix == ".nc"]  # one a day
        yield found


@pytest.fixture
def run(collection, monkeypatch, capsys):
    def run_command(command):
        where = ["--project", str(collection.folder), "--configs", collection.configs]
        monkeypatch.setattr("sys.argv", [*shlex.split(command), *where, "--json"])
        code = 0
        try:
            main()
        except SystemExit as stopped:
            code = stopped.code or 0
        return code, capsys.readouterr().out

    return run_command


def key_of(collection, day):
    return collection.granules[day].item["meta"]["concept-id"]


def file_of(collection, day):
    path = collection.granules[day].path
    return collection.folder / "archive" / path.parent.name / path.name


def make_all(collection):
    workspace = collection.workspace()
    workspace.make(granules_key(NAME), "", Policy(force=True))
    workspace.make(references_key(NAME), "2002-06")
    workspace.make(store_key(NAME), "")
    workspace.make(exports_key(NAME), "")
    return workspace


def revise(collection, day):
    (item,) = [
        each
        for each in collection.server.items
        if each["meta"]["concept-id"] == key_of(collection, day)
    ]
    collection.server.items.remove(item)
    meta = {**item["meta"], "revision-id": 2, "revision-date": "2003-03-01T00:00:00.000Z"}
    collection.server.items.append({**item, "meta": meta})


def opened(collection):
    spec = load_collections(collection.configs)[NAME]
    return virtual_store(collection.workspace().storage, spec, "local")


def plant(collection):
    collection.arrive(18)
    kept = {}
    for kind in ("quarantined", "pending"):
        path = file_of(collection, PLANTED[kind])
        kept[path] = path.read_bytes()
    file_of(collection, PLANTED["quarantined"]).write_bytes(b"<html>log in</html>")
    file_of(collection, PLANTED["pending"]).unlink()
    workspace = make_all(collection)

    # The listing goes on, and nothing follows it.
    collection.arrive(1)
    collection.withdraw(key_of(collection, PLANTED["withdrawn_in_store"]), "2003-02-01T00:00:00Z")
    revise(collection, PLANTED["older_in_ledger"])
    collection.workspace().make(granules_key(NAME), "", Policy(force=True))

    # CMR goes on.
    collection.arrive(1)
    revise(collection, PLANTED["newer_in_cmr"])
    gone = key_of(collection, PLANTED["gone_from_cmr"])
    collection.server.items[:] = [
        each for each in collection.server.items if each["meta"]["concept-id"] != gone
    ]

    # The archive changes.
    path = file_of(collection, PLANTED["source_missing"])
    kept[path] = path.read_bytes()
    path.unlink()
    os.utime(file_of(collection, PLANTED["source_changed"]), (1.2e9, 1.2e9))

    # The store is written by somebody else.
    store = opened(collection)
    with store.writing() as session:
        clear_chunks(session, "analysed_sst", [(PLANTED["hole_in_store"], 1, 0)])
        entries = {each.slot: each for each in read_ledger(session.store).entries()}
        other = location("granules", entries[5].location)
        for slot in (PLANTED["values_differ"], PLANTED["pending"]):
            write_references(
                session,
                "analysis_error",
                other,
                np.full((1, 2, 2), 4096, np.uint64),
                np.full((1, 2, 2), 64, np.uint64),
                (slot, 0, 0),
                None,
            )
        store.commit(session, "somebody else's", {})
    release = latest_release(workspace.storage, exports_key(NAME))
    name = f"{exports_key(NAME)}/{release['release']}/stac.json"
    place = collection.folder / "data" / name
    place.write_bytes(place.read_bytes().replace(b"Feature", b"feature"))
    return kept


def test_each_planted_difference_is_found_and_repaired_as_told(collection, run):
    kept = plant(collection)
    reconcile = f"dor-ecco virtual reconcile {DAILY.short_name} --compare {DAYS}"
    code, out = run(reconcile)
    assert code == 1
    rows = {each["name"]: each for each in json.loads(out)}
    assert set(rows) == set(PLANTED)
    for name, day in PLANTED.items():
        assert rows[name]["count"] >= 1
        if day is not None:
            assert rows[name]["count"] == 1, rows[name]
            assert key_of(collection, day) in rows[name]["examples"]

    build = f"dor-ecco virtual build {NAME}"
    repair = f"{build} --repair --compare {DAYS}"
    for command in (build, repair):
        run(command)
        left = {each["name"] for each in json.loads(run(reconcile)[1])}
        assert not {name for name, row in rows.items() if row["repair"] == command} & left
    assert left == {"quarantined", "pending"}
    assert {rows[name]["repair"] for name in left} == {f"{build} --retry"}
    for path, content in kept.items():
        path.write_bytes(content)
    assert run(f"{build} --retry")[0] == 0
    assert run(reconcile) == (0, "[]\n")

    states = read_record(collection.workspace().storage, store_key(NAME), "").details["granules"]
    assert states == {
        "pending": 0,
        "published": DAYS - 2,
        "superseded": 0,
        "quarantined": 0,
        "withdrawn": 2,
    }


def test_exports_that_are_behind_are_made_by_the_command_that_is_told(collection, run):
    collection.arrive(3)
    make_all(collection)
    collection.arrive(1)
    workspace = collection.workspace()
    workspace.make(granules_key(NAME), "", Policy(force=True))
    workspace.make(references_key(NAME), "2002-06")
    workspace.make(store_key(NAME), "")
    (row,) = json.loads(run(f"dor-ecco virtual reconcile {NAME}")[1])
    assert row["name"] == "exports_behind"
    assert run(row["repair"])[0] == 0
    assert run(f"dor-ecco virtual reconcile {NAME}") == (0, "[]\n")


def test_a_granule_that_cmr_drops_and_lists_again_comes_back(collection):
    collection.arrive(4)
    before = make_all(collection).storage
    first = read_record(before, store_key(NAME), "").sha256
    dropped = collection.server.items.pop(1)
    storage = make_all(collection).storage
    states = read_record(storage, store_key(NAME), "").details["granules"]
    assert (states["published"], states["withdrawn"]) == (3, 1)
    collection.server.items.append(dropped)  # in the same revision
    storage = make_all(collection).storage
    record = read_record(storage, store_key(NAME), "")
    assert (record.details["granules"]["published"], record.details["granules"]["withdrawn"]) == (
        4,
        0,
    )
    assert record.sha256 != first  # the ledger tells that it was gone
    store = opened(collection)
    values = open_store(store, decode=False).analysed_sst.values
    for entry in read_ledger(store.reading().store).entries():
        assert (values[entry.slot] == stored_sst(entry.slot, (12, 24))).all()

    # The tombstone of that deletion, which the sensor's overlap gives again, is older.
    listing = read_listing(storage, granules_key(NAME))
    (back,) = [each for each in listing if each.returned]
    spec = load_collections(collection.configs)[NAME]
    returned = parse_stamp(back.returned)
    old, new = (
        Tombstone(back.concept_id, back.granule_ur, returned + timedelta(seconds=shift), "")
        for shift in (-1, 1)
    )
    assert with_changes(spec, listing, [], [old]) == set()
    assert with_changes(spec, listing, [], [new]) == {"2002-06"}
