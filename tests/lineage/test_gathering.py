"""Products made from partitions of other products: what is recorded, no more and no less."""

import shutil
import time

import dagster as dg
import pytest

from dor_ecco_assets.errors import InputMissing, OutputCorrupt, PartitionBusy
from dor_ecco_assets.lineage.product import Partitioning, Product, by_key
from dor_ecco_assets.lineage.record import Record, read_record, write_record
from dor_ecco_assets.lineage.tracing import reconcile, trace
from dor_ecco_assets.lineage.workspace import Policy, Workspace
from dor_ecco_assets.settings import Place
from dor_ecco_assets.storage import Directory, open_storage
from dor_ecco_assets.storage.base import digest_of_path
from resources.compute import ComputeResource
from resources.product_assets import asset_of
from resources.production import ProductionResource
from tests.lineage.toy import MONTHS, bytes_below, content, gathered, gathering


def standing(space: Workspace, key: str) -> dict[str, str]:
    return {state.partition: state.standing for state in space.refreshed().states(key)}


def test_it_is_made_of_the_members_that_are_recorded_and_makes_none(tmp_path):
    space = gathering(tmp_path)
    space.make("toy/sum", "1992-01")
    space.make("toy/sum", "1992-03")
    record = space.make("toy/total", "").record
    assert (tmp_path / "root/toy/total.txt").read_text() == str(202 + 206)
    assert read_record(space.storage, "toy/sum", "1992-02") is None
    found = record.details["ingredients"]["upstream"]
    member = read_record(space.storage, "toy/sum", "1992-01")
    assert member is not None
    assert found["toy/sum 1992-01"] == member.fingerprint
    assert "toy/sum 1992-02" not in found


def test_it_waits_while_there_is_nothing_to_gather(tmp_path):
    space = gathering(tmp_path)
    assert space.state("toy/total", "").standing == "waiting"
    assert set(standing(space, "toy/years").values()) == {"waiting"}
    with pytest.raises(InputMissing, match="make some of toy/sum first") as caught:
        space.make("toy/total", "")
    assert caught.value.code == "NothingToGather"
    assert not (tmp_path / "root/toy").exists()


def test_a_walk_glances_at_a_folder_and_making_looks_into_it(tmp_path):
    space = gathering(tmp_path)
    space.make("toy/sum", "1992-01")
    for month in MONTHS:
        space.make("toy/years", month)
    first, second, third = (tmp_path / f"root/toy/years/{month}" for month in MONTHS)
    before = bytes_below(tmp_path / "root/toy")
    (first / "1992-01.txt").write_text("9999")  # a walk does not see it, reconcile and make do
    (second / "1992-01.txt").unlink()
    shutil.copytree(third, tmp_path / "copy")
    shutil.rmtree(third)
    found = standing(space, "toy/years")
    assert found == {"1992-01": "up to date", "1992-02": "stale", "1992-03": "stale"}
    shutil.copytree(tmp_path / "copy", third)  # with a stamp of its own: its files are counted
    assert standing(space, "toy/years")["1992-03"] == "up to date"
    assert [d.partition for d in reconcile(space, ["toy/years"]).differences] == list(MONTHS[:2])
    outcomes = [space.refreshed().make("toy/years", month) for month in MONTHS]
    assert [outcome.skipped for outcome in outcomes] == [False, False, True]
    assert bytes_below(tmp_path / "root/toy") == before


def test_exactly_what_gathers_a_changed_or_new_member_is_stale_and_says_so(tmp_path):
    space = gathering(tmp_path)
    space.make("toy/sum", "1992-01")
    space.make("toy/sum", "1992-03")
    for month in MONTHS:
        space.make("toy/years", month)
    space.make("toy/sum", "1992-02")
    found = standing(space, "toy/years")
    assert found == {"1992-01": "up to date", "1992-02": "stale", "1992-03": "stale"}
    assert space.state("toy/years", "1992-02").reasons == ("upstream toy/sum 1992-02 is new",)
    before = bytes_below(tmp_path / "root/toy/years/1992-01")
    assert [space.make("toy/years", month).skipped for month in MONTHS] == [True, False, False]
    assert bytes_below(tmp_path / "root/toy/years/1992-01") == before
    (tmp_path / "inputs/months/1992-03").write_text("9")
    assert set(standing(space, "toy/years").values()) == {"up to date"}  # of what is recorded
    space.refreshed().make("toy/sum", "1992-03")
    assert standing(space, "toy/years")["1992-03"] == "stale"
    (reason,) = space.state("toy/years", "1992-03").reasons
    assert reason.startswith("upstream toy/sum 1992-03 changed (")


def test_a_member_that_is_gone_is_a_reason_too(tmp_path):
    space = gathering(tmp_path)
    for month in MONTHS:
        space.make("toy/sum", month)
    space.make("toy/total", "")
    space.storage.delete(".records/toy/sum/1992-02.json")
    assert space.state("toy/total", "").reasons == ("upstream toy/sum 1992-02 is gone",)


def test_a_member_that_was_never_made_counts_as_not_being_named(tmp_path):
    space = gathering(tmp_path)
    space.make("toy/sum", "1992-01")
    space.make("toy/total", "")
    wider = gathered()
    object.__setattr__(
        wider["toy/total"],
        "members",
        lambda _: [("toy/sum", m) for m in MONTHS] + [("toy/other", "1992-01")],
    )
    later = Workspace(space.storage, space.inputs, {**space.products, **wider})
    assert later.state("toy/total", "").standing == "up to date"


def test_members_are_gathered_even_where_they_are_stale(tmp_path):
    space = gathering(tmp_path)
    space.make("toy/sum", "1992-01")
    (tmp_path / "inputs/base").write_text("500")
    again = space.refreshed()
    assert again.state("toy/sum", "1992-01").standing == "stale"
    again.make("toy/total", "")
    assert (tmp_path / "root/toy/total.txt").read_text() == "202"


def test_a_member_replaced_while_it_is_gathered_is_not_published(tmp_path):
    space = gathering(tmp_path)
    space.make("toy/sum", "1992-01")
    made = space.products["toy/total"].make

    def slow(task):
        result = made(task)
        (tmp_path / "inputs/months/1992-01").write_text("50")
        gathering(tmp_path).make("toy/sum", "1992-01")
        return result

    object.__setattr__(space.products["toy/total"], "make", slow)
    with pytest.raises(PartitionBusy, match="replaced while it was gathered") as caught:
        space.make("toy/total", "")
    assert caught.value.code == "UpstreamReplaced"
    assert not (tmp_path / "root/toy/total.txt").exists()


def test_a_member_whose_bytes_are_gone_is_named(tmp_path):
    space = gathering(tmp_path)
    space.make("toy/sum", "1992-01")
    (tmp_path / "root/toy/sum/1992-01.txt").unlink()
    with pytest.raises(OutputCorrupt, match="toy/sum 1992-01, is gone"):
        space.make("toy/total", "")


@pytest.mark.parametrize("kind", ["directory", "s3"])
def test_a_folder_of_files_is_published_found_and_verified(kind, tmp_path, request):
    storage = Directory(tmp_path / "root")
    if kind == "s3":
        request.getfixturevalue("s3_environment")
        storage = open_storage(Place(root=f"s3://{request.getfixturevalue('bucket')}/p"))
    space = gathering(tmp_path, storage)
    for month in MONTHS:
        space.make("toy/sum", month)
    record = space.make("toy/years", "1992-02").record
    assert record.uri == "toy/years/1992-02"
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("1992-01.txt", "1992-02.txt"):
        (copy / name).write_bytes(space.storage.read(f"{record.uri}/{name}") or b"")
    assert digest_of_path(copy) == (record.bytes, record.sha256)
    assert space.refreshed().make("toy/years", "1992-02").skipped
    assert reconcile(space, list(space.products)).differences == ()
    space.storage.delete("toy/years/1992-02/1992-01.txt")
    assert space.refreshed().state("toy/years", "1992-02").standing == "stale"
    assert not space.refreshed().make("toy/years", "1992-02", Policy(verify=True)).skipped


def test_a_trace_goes_through_the_members_to_their_inputs(tmp_path):
    space = gathering(tmp_path)
    space.make("toy/sum", "1992-01")
    space.make("toy/total", "")
    (member,) = trace(space, "toy/total", "")["upstream"]
    assert (member["product"], member["partition"]) == ("toy/sum", "1992-01")
    assert member["inputs"][0]["uri"] == str(tmp_path / "inputs/months/1992-01")


def test_thousands_of_members_are_walked_within_two_seconds(tmp_path):
    storage = Directory(tmp_path / "root")
    days = tuple(f"{n // 1000:04d}-{n % 1000:03d}" for n in range(1000, 4000))
    years = ("0001", "0002", "0003")
    for day in days:
        details = {"format": "netcdf", "ingredients": {}, "run": {}}
        write_record(storage, "toy/day", day, Record(day, "x", 0, "", "", details))
    product = Product(
        key="toy/year",
        title="Year",
        code_version="1",
        layer="out",
        format="netcdf",
        make=lambda task: content(f"toy/{task.partition}", sum(1 for _ in task.members())),
        partitioning=Partitioning("month", years),
        gathers=("toy/day",),
        members=lambda year: [("toy/day", day) for day in days if day.startswith(year)],
    )
    space = Workspace(storage, Directory(tmp_path / "inputs"), by_key([product]))
    started = time.process_time()
    assert {state.standing for state in space.states("toy/year")} == {"absent"}
    assert time.process_time() - started < 2


def test_in_the_graph_a_month_depends_on_its_days_and_one_on_all():
    months, days = ("1992-01", "1992-02"), tuple(f"1992-01-{n:02d}" for n in range(1, 32))
    days += tuple(f"1992-02-{n:02d}" for n in range(1, 30))

    def product(key, kind, keys, gathers=()):
        return Product(
            key=key,
            title=key,
            code_version="1",
            layer="out",
            format="netcdf",
            make=lambda _: content("x", 1),
            partitioning=Partitioning(kind, keys),
            gathers=gathers,
        )

    every = [
        product("toy/day", "day", days),
        product("toy/one", "none", ("",)),
        product("toy/month", "month", months, ("toy/day", "toy/one")),
        product("toy/all", "none", ("",), ("toy/day",)),
    ]
    defs = dg.Definitions(
        [asset_of(found) for found in every],
        resources={
            "production": ProductionResource.looked_up(None, None),
            "compute": ComputeResource(),
            "netcdf_io": dg.mem_io_manager,
        },
    )
    graph = defs.resolve_asset_graph()
    key = {name: dg.AssetKey(["toy", name]) for name in ("day", "month", "all", "one")}
    assert graph.get(key["month"]).parent_keys == {key["day"], key["one"]}
    mapping = graph.get_partition_mapping(key["month"], key["day"])
    of_month = partitions_def(graph, key["month"]).subset_with_partition_keys(["1992-02"])
    upstream = mapping.get_upstream_mapped_partitions_result_for_partitions(
        of_month, partitions_def(graph, key["month"]), partitions_def(graph, key["day"])
    )
    assert list(upstream.partitions_subset.get_partition_keys()) == list(days[31:])
    assert isinstance(graph.get_partition_mapping(key["all"], key["day"]), dg.AllPartitionMapping)


def partitions_def(graph, key):
    found = graph.get(key).partitions_def
    assert found is not None
    return found
