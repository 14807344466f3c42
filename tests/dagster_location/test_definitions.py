"""The code location: it loads, materialises, skips, fails one partition without the others."""

from pathlib import Path

import dagster as dg
import pytest

from dor_ecco_assets.definitions import build_definitions
from dor_ecco_assets.lineage.product import Partitioning
from dor_ecco_assets.lineage.record import recorded_partitions
from dor_ecco_assets.products import all_products
from dor_ecco_assets.settings import Place
from dor_ecco_assets.storage import Stat, open_storage
from partitions import partitions_of
from resources.production import InputsResource, ProductionResource, StorageResource
from tests.cli.production import make_project

SSH = "ecco/ECCO_L4_SSH_LLC0090GRID_MONTHLY_V4R4"
KEY = dg.AssetKey(SSH.split("/"))


class Location:
    """The code location on one project folder and an instance in memory."""

    def __init__(self, project: Path, root: str) -> None:
        self.project = project
        storage = StorageResource(root=root)
        self.storage = open_storage(Place(root=root))
        inputs = InputsResource(root=str(project / "data/inputs"))
        production = ProductionResource(storage=storage, inputs=inputs)
        self.defs = build_definitions(production=production)
        self.instance = dg.DagsterInstance.ephemeral()

    def run(self, *keys: str, partitions: tuple[str, str] | None = None, **config):
        tags = {}
        if partitions:
            first, last = partitions
            tags = {
                "dagster/asset_partition_range_start": first,
                "dagster/asset_partition_range_end": last,
            }
        job = self.defs.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey(key.split("/")) for key in keys],
            run_config={"ops": {k.replace("/", "__"): {"config": config} for k in keys}},
            tags=tags,
            raise_on_error=False,
        )

    def materialised(self) -> set[str]:
        return self.instance.get_materialized_partitions(KEY)

    def recorded(self) -> list[str]:
        return list(recorded_partitions(self.storage, SSH))

    def granules(self) -> dict[str, Stat]:
        return {key: stat for key, stat in self.storage.list("ecco") if key.endswith(".nc")}


@pytest.fixture(params=["directory", "s3"])
def location(request, tmp_path):
    project = make_project(tmp_path)
    root = str(project / "data")
    if request.param == "s3":
        request.getfixturevalue("s3_environment")
        root = f"s3://{request.getfixturevalue('bucket')}/production"
    place = Location(project, root)
    yield place
    place.instance.dispose()


def metadata_of(result, partition: str) -> dict:
    for event in result.get_asset_materialization_events():
        if event.asset_key == KEY and event.partition == partition:
            return {name: found.value for name, found in event.materialization.metadata.items()}
    raise AssertionError(f"no materialisation of {partition}")


def test_every_asset_has_a_group_a_layer_a_kind_and_a_sentence():
    graph = build_definitions().resolve_asset_graph()
    keys = {"/".join(key.path) for key in graph.get_all_asset_keys()}
    products = all_products()
    assert keys == {*products, *(key for found in products.values() for key in found.external)}
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.group_name == key.path[0]
        assert node.tags["layer"] in {"raw", "core", "out"}
        assert node.description
        assert any(tag.startswith("dagster/kind/") for tag in node.tags)


def test_partition_keys_are_those_of_the_products():
    for kind, keys in (("month", ("1992-01", "1992-12")), ("day", ("1999-12-31", "2000-02-29"))):
        found = partitions_of(Partitioning(kind, keys)).get_partition_keys()
        assert (found[0], found[-1]) == keys
    assert partitions_of(Partitioning()) is None
    graph = build_definitions().resolve_asset_graph()
    assert len(graph.get(KEY).partitions_def.get_partition_keys()) == 312
    daily = dg.AssetKey(["ecco", "ECCO_L4_SSH_LLC0090GRID_DAILY_V4R4"])
    assert len(graph.get(daily).partitions_def.get_partition_keys()) == 9497


@pytest.mark.parametrize(("backfill", "per_run"), [("single", None), ("30", 30)])
def test_the_profile_decides_how_many_partitions_a_run_takes(tmp_path, backfill, per_run):
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles/laptop.yaml").write_text(f"backfill: {backfill}\n")
    graph = build_definitions(configs=str(tmp_path)).resolve_asset_graph()
    assert graph.get(KEY).backfill_policy.max_partitions_per_run == per_run
    daily = dg.AssetKey(["ecco", "ECCO_L4_SSH_LLC0090GRID_DAILY_V4R4"])
    assert graph.get(daily).backfill_policy.max_partitions_per_run == (per_run or 2000)


def test_a_run_makes_what_it_needs_and_says_what_it_made(location):
    result = location.run(SSH, partitions=("1992-01", "1992-02"))
    assert result.success
    assert location.recorded() == ["1992-01", "1992-02"]
    found = metadata_of(result, "1992-01")
    assert found["uri"].endswith("SEA_SURFACE_HEIGHT_mon_mean_1992-01_ECCO_V4r4_native_llc0010.nc")
    for name in ("bytes", "sha256", "fingerprint", "shape", "inputs", "software", "seconds"):
        assert found[name], name
    assert found["peak_memory_mb"] > 50
    assert abs(found["mean_SSH_m"]) < 1
    assert found["preview"].startswith("![preview](data:image/png;base64,")
    assert metadata_of(result, "1992-02")["uri"] != found["uri"]


def test_a_second_run_does_nothing_and_says_so(location):
    location.run(SSH, partitions=("1992-01", "1992-02"))
    files = location.granules()
    assert len(files) == 2
    result = location.run(SSH, partitions=("1992-01", "1992-02"))
    assert result.success
    assert metadata_of(result, "1992-02")["became"] == "up to date"
    assert location.granules() == files
    forced = location.run(SSH, partitions=("1992-01", "1992-01"), force=True)
    assert metadata_of(forced, "1992-01")["became"] == "made"


def test_one_bad_month_fails_alone_and_its_check_says_why(location):
    bad = location.project / "data/inputs/V4r4/diags_monthly/ETAN_mon_mean/"
    bad = bad / "ETAN_mon_mean.0000000732.data"
    whole = bad.read_bytes()
    bad.write_bytes(whole[:77])
    result = location.run(SSH, partitions=("1992-01", "1992-02"))
    assert not result.success
    assert location.materialised() == {"1992-02"}
    assert location.recorded() == ["1992-02"]
    failure = next(e for e in result.all_events if e.is_step_failure)
    description = failure.step_failure_data.user_failure_data.description
    assert "1 of 2 partitions were not made" in description
    assert "77 bytes" in description
    check = location.instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(KEY, "inputs_usable"), limit=1
    )[0]
    assert check.event.dagster_event.asset_check_evaluation_data.passed is False
    bad.write_bytes(whole)
    again = location.run(SSH, partitions=("1992-01", "1992-02"))
    assert again.success
    assert location.materialised() == {"1992-01", "1992-02"}
    assert metadata_of(again, "1992-02")["became"] == "up to date"


def test_a_later_asset_gets_the_granules_lazily_through_the_io_manager(location):
    location.run(SSH, partitions=("1992-01", "1992-02"))

    @dg.asset(ins={"ssh": dg.AssetIn(KEY, partition_mapping=dg.AllPartitionMapping())})
    def months_of_ssh(ssh) -> int:
        assert not ssh["SSH"].variable._in_memory
        return ssh.sizes["time"]

    resources = dict(location.defs.resources)
    spec = dg.AssetSpec(
        KEY,
        partitions_def=partitions_of(Partitioning("month", ("1992-01", "1992-02"))),
        metadata={"dagster/io_manager_key": "netcdf_io"},
    )
    result = dg.materialize(
        [months_of_ssh, spec],
        instance=location.instance,
        resources={**resources, "io_manager": dg.mem_io_manager},
    )
    assert result.output_for_node("months_of_ssh") == 2
