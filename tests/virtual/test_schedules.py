"""The weekly jobs of virtual stores and the checks of each store, as Dagster runs them."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg
import pytest

from dor_ecco_assets.definitions import build_definitions
from dor_ecco_assets.lineage.record import read_record
from dor_ecco_assets.virtual.collections import load_collections
from dor_ecco_assets.virtual.listing import read_listing
from dor_ecco_assets.virtual.products import granules_key, references_key, store_key
from dor_ecco_assets.virtual.reading import virtual_store
from resources.production import InputsResource, ProductionResource, StorageResource
from tests.virtual.sample_collection import NAME, sample_collection

STORE = dg.AssetKey(["virtual", NAME, "store"])


@pytest.fixture
def collection(tmp_path, monkeypatch):
    with sample_collection(tmp_path, monkeypatch, days=8) as found:
        found.arrive()
        yield found


@pytest.fixture
def location(collection):
    production = ProductionResource(
        storage=StorageResource(root=str(collection.folder / "data")),
        inputs=InputsResource(root=str(collection.folder / "inputs")),
        configs=collection.configs,
    )
    return build_definitions(configs=collection.configs, production=production)


def build(collection):
    workspace = collection.workspace()
    workspace.make(granules_key(NAME), "")
    workspace.make(references_key(NAME), "2002-06")
    return workspace.make(store_key(NAME), "").record


def run(location, what, **options):
    job = location.resolve_job_def(f"virtual__{NAME}__{what}")
    return job.execute_in_process(raise_on_error=False, **options)


def store_of(collection):
    spec = load_collections(collection.configs)[NAME]
    return virtual_store(collection.workspace().storage, spec, "local")


def checked(location):
    checks = dg.AssetSelection.checks_for_assets(STORE)
    job = dg.define_asset_job("checks_of_the_store", selection=checks)
    with_job = dg.Definitions.merge(location, dg.Definitions(jobs=[job]))
    result = with_job.resolve_job_def("checks_of_the_store").execute_in_process()
    return {each.check_name: each for each in result.get_asset_check_evaluations()}


def test_a_sound_store_passes_every_check(collection, location):
    build(collection)
    found = checked(location)
    assert {name: each.passed for name, each in found.items()} == {
        "values_equal": True,
        "time_monotonic_unique": True,
        "no_gaps_vs_cmr": True,
        "ledger_matches_repo": True,
        "quarantine_rate": True,
    }
    assert found["values_equal"].metadata["values"].value == 3 * 2 * 12 * 24
    assert found["time_monotonic_unique"].metadata["times"].value == 8


def test_each_check_says_what_is_wrong(collection, location):
    bad, gone = sorted((collection.folder / "archive").rglob("*.nc"))[1:3]
    bad.write_bytes(b"<html>log in</html>")
    gone.unlink()
    build(collection)
    store = store_of(collection)
    with store.writing() as session:
        import zarr

        time = zarr.open_array(session.store, path="time", mode="r+")
        time[5] = time[4]
        store.commit(session, "somebody else's", {})
        session = store.repository.writable_session("main")
        from dor_ecco_assets.stores.icechunk_store import clear_chunks

        clear_chunks(session, "analysed_sst", [(6, 0, 0)])
        store.commit(session, "somebody else's", {})
    for path in (collection.folder / "archive").rglob("*.nc"):
        path.write_bytes(path.read_bytes()[:2000])
    found = {name: str(each.description) for name, each in checked(location).items()}
    assert "the original cannot be read" in found["values_equal"]
    assert found["time_monotonic_unique"] == "time does not rise between slots 4 and 5"
    assert "waits for its bytes" in found["no_gaps_vs_cmr"]
    assert "3 of 4 chunks of analysed_sst in slot 6" in found["ledger_matches_repo"]
    assert "1 of 7 granules are in quarantine" in found["quarantine_rate"]


def test_the_weekly_schedules_of_a_collection(location):
    found = {each.name: each for each in location.schedules or []}
    names = [f"virtual__{NAME}__{what}" for what in ("weekly", "collect", "retry", "reconcile")]
    assert [name for name in found if NAME in name] == names
    spec = location.resolve_asset_graph().get(STORE)
    assert spec.freshness_policy == dg.FreshnessPolicy.time_window(
        warn_window=timedelta(days=8), fail_window=timedelta(days=15)
    )


def test_the_weekly_listing_confirms_the_store(collection, location):
    build(collection)
    result = run(location, "list")
    assert result.success
    assert {each.asset_key for each in result.get_asset_materialization_events()} >= {STORE}


def test_granules_are_asked_for_again(collection, location):
    bad = sorted((collection.folder / "archive").rglob("*.nc"))[1]
    content = bad.read_bytes()
    bad.write_bytes(b"<html>log in</html>")
    assert build(collection).details["granules"]["quarantined"] == 1
    bad.write_bytes(content)
    assert run(location, "retry").success
    storage = collection.workspace().storage
    assert sum(each.tries for each in read_listing(storage, granules_key(NAME))) == 1
    assert build(collection).details["granules"]["quarantined"] == 0
    assert run(location, "retry").success
    assert sum(each.tries for each in read_listing(storage, granules_key(NAME))) == 1


def test_old_versions_go_but_those_with_a_tag(collection, location):
    first = build(collection).details["snapshot"]
    store = store_of(collection)
    store.tag("release", first)
    snapshots = [first]
    for number in (1, 2):
        (item,) = [
            each
            for each in collection.server.items
            if each["meta"]["concept-id"] == f"G200000{number}-SAMPLES"
        ]
        collection.server.items.remove(item)
        collection.workspace().make(granules_key(NAME), "")
        job = run(location, "list")
        assert job.success
        snapshots.append(build(collection).details["snapshot"])
    assert len(set(snapshots)) == 3
    op = f"virtual__{NAME}__collect_garbage"
    assert run(location, "collect", run_config={"ops": {op: {"config": {"days": 0}}}}).success
    left = store_of(collection)
    assert left.resolve("release") == first
    assert left.head == snapshots[-1]
    kept = {each.name.split("/")[-1] for each in (collection.folder / "data").rglob("snapshots/*")}
    assert {first, snapshots[-1]} <= kept
    assert snapshots[1] not in kept


def test_the_weekly_comparison_fails_where_something_differs_and_says_what_to_run(
    collection, location
):
    build(collection)
    result = run(location, "reconcile")
    assert not result.success  # nothing was exported yet
    (event,) = [each for each in result.all_events if each.is_step_failure]
    told = event.step_failure_data.user_failure_data.description
    assert f"run: dor-ecco virtual export {NAME}" in told
    collection.workspace().make(f"virtual/{NAME}/exports", "")
    assert run(location, "reconcile").success
    assert read_record(collection.workspace().storage, store_key(NAME), "") is not None
