"""Cases in Dagster: one multi-asset, batches of any shape, subsets, failures, workers."""

import shutil
import time
from pathlib import Path
from typing import ClassVar

import dagster as dg
import pytest

from dor_ecco_assets.definitions import build_definitions
from dor_ecco_assets.dor.products import CASE_ROWS, EFFICIENCY_STORE, RESEARCH
from dor_ecco_assets.lineage.record import recorded_partitions
from dor_ecco_assets.samples.pop_faults import plant
from dor_ecco_assets.settings import Compute
from dor_ecco_assets.storage import Directory
from resources.production import InputsResource, ProductionResource, StorageResource
from tests.dor.atlas import make_inputs, production
from tests.dor.test_products import MEMBERS, identities, published

SEVEN = ("07|000", "07|001")


class Location:
    """The code location on one folder and an instance in memory."""

    opened: ClassVar[list[dg.DagsterInstance]] = []

    def __init__(self, folder: Path, root: str = "root", **compute) -> None:
        self.folder, self.root = folder, folder / root
        given = ProductionResource(
            storage=StorageResource(root=str(self.root)),
            inputs=InputsResource(root=str(folder / "inputs")),
            configs=str(folder / "configs"),
        )
        self.defs = build_definitions(
            configs=str(folder / "configs"),
            production=given,
            compute=Compute(**compute) if compute else None,
        )
        self.instance = dg.DagsterInstance.ephemeral()
        self.opened.append(self.instance)

    def run(self, *keys: str, first: str, last: str):
        job = self.defs.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey(key.split("/")) for key in keys],
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            tags={
                "dagster/asset_partition_range_start": first,
                "dagster/asset_partition_range_end": last,
            },
            raise_on_error=False,
        )

    def materialised(self, key: str) -> set[str]:
        return self.instance.get_materialized_partitions(dg.AssetKey(key.split("/")))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("location")
    return folder, make_inputs(folder)


@pytest.fixture
def folder(prepared, tmp_path):
    shutil.copytree(prepared[0] / "inputs", tmp_path / "inputs", copy_function=shutil.copy2)
    shutil.copytree(prepared[0] / "configs", tmp_path / "configs")
    yield tmp_path
    while Location.opened:
        Location.opened.pop().dispose()


def test_one_multi_asset_makes_all_products_of_a_case():
    graph = build_definitions().resolve_asset_graph()
    node = graph.get(dg.AssetKey(CASE_ROWS.split("/")))
    together = {"/".join(key.path) for key in node.execution_set_asset_keys}
    assert node.assets_def.can_subset
    assert {"/".join(key.path) for key in node.assets_def.keys} == set(MEMBERS)
    assert together == {CASE_ROWS}  # each can be selected by itself
    assert {"/".join(key.path) for key in node.parent_keys} == {
        "dor/cases",
        "dor/history",
        "dor/polygons",
        "grids/pop_gx1v7",
    }
    store = graph.get(dg.AssetKey(EFFICIENCY_STORE.split("/")))
    mapping = store.partition_mappings.get(dg.AssetKey(CASE_ROWS.split("/")))
    assert mapping is None or "Multi" in type(mapping).__name__


def test_a_rectangle_of_cases_is_made_in_one_run(folder):
    location = Location(folder)
    result = location.run(*MEMBERS, first="04|000", last="07|001")
    assert result.success
    wanted = {"04|000", "04|001", *SEVEN}
    for key in MEMBERS:
        assert location.materialised(key) == wanted
        assert set(recorded_partitions(Directory(location.root), key)) == wanted
    assert location.materialised("dor/polygons") == set()
    event = next(
        event.materialization
        for event in result.get_asset_materialization_events()
        if event.asset_key.path[-1] == "case_rows" and event.partition == "07|001"
    )
    found = {name: value.value for name, value in event.metadata.items()}
    for name in ("uri", "bytes", "sha256", "fingerprint", "software", "seconds", "uptake_mol"):
        assert found[name], name
    assert "preview" not in found
    again = location.run(*MEMBERS, first="04|000", last="07|001")
    assert again.success
    assert location.run(EFFICIENCY_STORE, first="07", last="07").success


def test_a_selection_of_one_product_tells_of_those_made_along(folder):
    location = Location(folder)
    assert location.run(CASE_ROWS, first="07|001", last="07|001").success
    for key in MEMBERS:
        assert location.materialised(key) == {"07|001"}


def test_what_is_made_along_is_told_once_and_to_every_instance(folder):
    def events(location):
        made = location.run(CASE_ROWS, first="07|000", last="07|001")
        return sorted(
            ("/".join(found.asset_key.path), found.partition, found.materialization.metadata)
            for found in made.get_asset_materialization_events()
            if found.partition
        )

    location = Location(folder)
    first = events(location)
    assert [found[:2] for found in first] == sorted((k, p) for k in MEMBERS for p in SEVEN)
    assert [found[:2] for found in events(location)] == [(CASE_ROWS, p) for p in SEVEN]
    # An instance that has not heard of what is there is told of all of it, with equal checksums.
    others = events(Location(folder))
    assert [found[:2] for found in others] == [found[:2] for found in first]
    assert [m["sha256"] for *_, m in others] == [m["sha256"] for *_, m in first]


def test_a_failed_case_does_not_stop_the_others(folder, prepared):
    case = prepared[1].case("07|000")
    history = folder / "inputs/pop/cases" / case.case.name / "ocn/hist"
    plant(history / case.file_name(1), "truncated")
    location = Location(folder)
    result = location.run(*MEMBERS, first="07|000", last="07|001")
    assert not result.success
    assert location.materialised(CASE_ROWS) == {"07|001"}
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    (listed,) = failure.step_failure_data.user_failure_data.metadata["failures"].value
    assert listed["partition"] == "07|000"
    assert "0347-08" in listed["message"]
    assert listed["quarantined"] is False


def test_two_workers_leave_the_bytes_of_one(folder):
    alone, crew = Location(folder, "alone"), Location(folder, "crew", mode="local", workers=2)
    for location in (alone, crew):
        assert location.run(*MEMBERS, first="01|000", last="04|001").success
    assert published(alone.root) == published(crew.root)
    assert identities(alone.root) == identities(crew.root)
    assert crew.materialised(RESEARCH) == {"01|000", "01|001", "04|000", "04|001"}


def test_cases_that_are_up_to_date_cost_little(folder):
    workspace = production(folder).workspace()
    for month in ("01", "04", "07", "10"):
        for polygon in ("000", "001"):
            workspace.make(CASE_ROWS, f"{month}|{polygon}")
    location = Location(folder)
    location.run(*MEMBERS, first="01|000", last="01|000")
    began = time.process_time()
    assert location.run(*MEMBERS, first="01|000", last="10|001").success
    overhead = (time.process_time() - began) / 8
    began = time.process_time()
    for partition in ("01|000", "04|000", "07|000", "10|000"):
        workspace.refreshed().make(CASE_ROWS, partition)
    alone = (time.process_time() - began) / 4
    assert overhead < 20 * alone + 0.2
