"""Pyramids in Dagster: assets, checks after a run, cases spread over workers."""

import dagster as dg
import pytest

from dor_ecco_assets.definitions import build_definitions
from resources.production import InputsResource, ProductionResource, StorageResource
from tests.pyramids.sample import INDEX, MAPS, TEMPLATE, Sample

CHECKS = {
    "inputs_usable",
    "reader_contract",
    "status_matches_records",
    "fill_not_nan",
    "conserved_between_levels",
}


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Sample:
    made = Sample.make(tmp_path_factory.mktemp("assets"), months=3, variables="FG")
    for partition in ("01|000", "01|001"):
        made.write_case(partition)
    made.workspace.make("dor/polygons", "")
    return made


def test_a_run_makes_template_and_cases_and_its_checks_pass(sample):
    given = ProductionResource(
        storage=StorageResource(root=str(sample.root)),
        inputs=InputsResource(root=str(sample.folder / "inputs")),
        configs=sample.configs,
    )
    defs = build_definitions(configs=sample.configs, production=given)
    job = defs.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        done = job.execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey(MAPS.split("/"))],
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            tags={
                "dagster/asset_partition_range_start": "01|000",
                "dagster/asset_partition_range_end": "01|001",
            },
        )
        assert done.success
        made = instance.get_materialized_partitions(dg.AssetKey(MAPS.split("/")))
        assert made == {"01|000", "01|001"}
        template = dg.AssetKey(TEMPLATE.split("/"))
        assert instance.get_latest_materialization_event(template) is not None
        found = {
            each.check_name: each
            for each in done.get_asset_check_evaluations()
            if each.asset_key == dg.AssetKey(MAPS.split("/"))
        }
        assert found.keys() == CHECKS
        assert all(each.passed for each in found.values())
        assert found["fill_not_nan"].metadata["looked_at"].value == 2
        metadata = done.asset_materializations_for_node("pyramids__atlas")
        assert metadata


def test_the_graph_hangs_maps_on_fields_and_the_index_on_all():
    graph = build_definitions().resolve_asset_graph()

    def parents(key: str) -> set[str]:
        node = graph.get(dg.AssetKey(key.split("/")))
        return {"/".join(parent.path) for parent in node.parent_keys}

    assert parents(MAPS) == {"dor/map_fields", "mapping/pop_gx1v7_to_webmercator", TEMPLATE}
    assert MAPS in parents(INDEX)
    assert "dor/published_efficiency" in parents(INDEX)
