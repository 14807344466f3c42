"""The Dagster sensor turns what CMR has new into runs, once, and runs bring it into the store."""

from __future__ import annotations

import dagster as dg
import pytest

from dor_ecco_assets.definitions import build_definitions
from dor_ecco_assets.lineage.record import read_record
from dor_ecco_assets.virtual.discovery import Cursor
from dor_ecco_assets.virtual.products import references_key, store_key
from resources.cmr import CmrResource
from resources.production import InputsResource, ProductionResource, StorageResource
from tests.support.cmr import Fault
from tests.virtual.sample_collection import NAME, sample_collection


@pytest.fixture
def collection(tmp_path, monkeypatch):
    with sample_collection(tmp_path, monkeypatch, days=40) as found:
        monkeypatch.setattr("dor_ecco_assets.virtual.asking.time.sleep", lambda _: None)
        yield found


@pytest.fixture
def location(collection):
    production = ProductionResource(
        storage=StorageResource(root=str(collection.folder / "data")),
        inputs=InputsResource(root=str(collection.folder / "inputs")),
        configs=collection.configs,
    )
    return build_definitions(configs=collection.configs, production=production)


class Daemon:
    """Ticks, keeps the cursor, and launches each run key once, as Dagster's daemon does."""

    def __init__(self, location, instance):
        self.location, self.instance = location, instance
        self.cursor, self.keys = None, set()

    def tick(self):
        sensor = self.location.resolve_sensor_def(f"virtual__{NAME}")
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursor,
            definitions=self.location,
            resources={"production": self.location.resources["production"], "cmr": CmrResource()},
        ) as context:
            found = sensor(context)
        if isinstance(found, dg.SkipReason):
            self.cursor = context.cursor
            return [], found.skip_message
        for request in found.dynamic_partitions_requests or []:
            self.instance.add_dynamic_partitions(
                request.partitions_def_name, request.partition_keys
            )
        launched = [each for each in found.run_requests or [] if each.run_key not in self.keys]
        self.keys |= {each.run_key for each in launched}
        self.cursor = found.cursor
        return launched, None

    def run(self, request):
        job = self.location.resolve_implicit_global_asset_job_def()
        selection = [
            dg.AssetKey(f"virtual/{NAME}/{part}".split("/"))
            for part in ("references", "store", "exports")
        ]
        return job.execute_in_process(
            instance=self.instance,
            asset_selection=selection,
            partition_key=request.partition_key,
            raise_on_error=False,
        )


@pytest.fixture
def daemon(location):
    with dg.DagsterInstance.ephemeral() as instance:
        yield Daemon(location, instance)


def test_a_granule_that_arrives_is_in_the_store_after_the_run_that_is_asked_for(collection, daemon):
    collection.arrive(30)
    requests, _ = daemon.tick()
    assert [each.partition_key for each in requests] == ["2002-06", "2002-07"]
    for request in requests:
        assert daemon.run(request).success
    storage = collection.workspace().storage
    before = read_record(storage, store_key(NAME), "").details["granules"]["published"]
    assert before == 30
    assert daemon.tick()[0] == []

    collection.arrive()
    requests, _ = daemon.tick()
    assert requests
    for request in requests:
        assert daemon.run(request).success
    assert read_record(storage, store_key(NAME), "").details["granules"]["published"] == 40
    requests, why = daemon.tick()
    assert requests == []
    assert "nothing new" in why


def test_a_tick_says_why_it_skips_and_keeps_its_cursor(collection, daemon):
    collection.arrive(20)
    daemon.tick()
    before = daemon.cursor
    collection.arrive(5)
    collection.server.faults = [Fault(503)] * 6
    requests, why = daemon.tick()
    assert requests == []
    assert "CmrUnavailable" in why
    assert daemon.cursor == before
    assert len(daemon.tick()[0]) > 0


def test_a_deletion_asks_for_a_run_that_empties_the_slot(collection, daemon):
    collection.arrive()
    for request in daemon.tick()[0]:
        daemon.run(request)
    collection.withdraw("G2000004-SAMPLES", "2030-12-01T00:00:00Z")
    requests, _ = daemon.tick()
    assert [each.partition_key for each in requests] == ["2002-06"]
    assert daemon.run(requests[0]).success
    counts = read_record(collection.workspace().storage, store_key(NAME), "").details["granules"]
    assert (counts["published"], counts["withdrawn"]) == (39, 1)


def test_the_listing_asset_asks_cmr_and_tells_the_instance_its_partitions(collection, daemon):
    collection.arrive()
    job = daemon.location.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        instance=daemon.instance,
        asset_selection=[dg.AssetKey(["virtual", NAME, "granules"])],
    )
    assert result.success
    assert daemon.instance.get_dynamic_partitions(references_key(NAME)) == ["2002-06", "2002-07"]


def test_the_check_names_granules_that_cannot_be_used(collection, daemon):
    collection.arrive(10)
    bad = next((collection.folder / "archive").rglob("20020603*.nc"))
    bad.write_bytes(b"<html>log in</html>")
    for request in daemon.tick()[0]:
        result = daemon.run(request)
    evaluations = result.get_asset_check_evaluations()
    failed = {each.check_name: str(each.description) for each in evaluations if not each.passed}
    assert set(failed) == {"inputs_usable", "quarantine_rate"}
    assert "login page" in failed["inputs_usable"]


def test_the_sensors_interval_is_the_collections(collection):
    collection.configure(interval_s=10)
    found = build_definitions(configs=collection.configs)
    assert found.resolve_sensor_def(f"virtual__{NAME}").minimum_interval_seconds == 10
    assert Cursor.decode(None) == Cursor()
