"""The commands of virtual stores, from a search to a rollback, on the sample archive."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
import yaml

from dor_ecco_assets.cli import main
from dor_ecco_assets.products import Production
from dor_ecco_assets.samples.virtual_granules import (
    BUCKET,
    DAILY,
    GROUPED,
    HTTPS_ROOT,
    SWATHS,
    stored_height,
    write_archive,
)
from dor_ecco_assets.settings import Place
from dor_ecco_assets.storage import open_storage
from dor_ecco_assets.stores.opening import open_product
from dor_ecco_assets.virtual.collections import collection_name, load_collections
from dor_ecco_assets.virtual.products import granules_key, references_key, store_key
from dor_ecco_assets.virtual.reading import open_store, virtual_store
from dor_ecco_assets.virtual.services import CMR_VARIABLE
from tests.support.cmr import CmrServer
from tests.support.ranges import RangeServer
from tests.virtual.sample_collection import NAME, sample_collection

SHORT = DAILY.short_name


@pytest.fixture
def collection(tmp_path, monkeypatch):
    with sample_collection(tmp_path, monkeypatch, days=8) as found:
        found.server.collections.append(record_of(DAILY, "4"))
        yield found


def record_of(collection, level):
    """CMR's record of a sample collection."""
    return {
        "meta": {"concept-id": collection.concept_id, "provider-id": collection.provider},
        "umm": {
            "ShortName": collection.short_name,
            "Version": collection.version,
            "EntryTitle": "Sample collection",
            "ProcessingLevel": {"Id": level},
        },
    }


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command in this process; gives exit code, stdout and stderr."""

    def run_command(*words):
        monkeypatch.setattr("sys.argv", ["dor-ecco", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as stopped:
            code = stopped.code or 0
        told = capsys.readouterr()
        return code, told.out, told.err

    return run_command


def places(collection):
    return ["--project", collection.folder, "--configs", collection.configs]


def test_a_search_lists_granules_in_a_period(collection, run):
    collection.arrive()
    code, out, _ = run(
        "virtual", "search", SHORT, "--start", "6-2-2002", "--end", "2002-06-05", "--json"
    )
    assert code == 0
    assert [each["begin"][:10] for each in json.loads(out)] == [
        "2002-06-02",
        "2002-06-03",
        "2002-06-04",
    ]


def test_build_append_status_diff_and_rollback(collection, run):
    where = places(collection)
    collection.arrive(5)
    code, out, err = run("virtual", "build", SHORT, *where, "--json")
    assert code == 0, err
    made = {each["asset"].rpartition("/")[2]: each for each in json.loads(out)}
    assert set(made) == {"granules", "store", "exports"}
    assert made["store"]["granules"] == made["granules"]["granules"] > 0
    first = made["store"]["version"]

    collection.arrive()
    code, out, err = run("virtual", "append", SHORT, *where, "--json")
    assert code == 0, err
    made = {each["asset"].rpartition("/")[2]: each for each in json.loads(out)}
    assert made["store"]["granules"] == 8
    second = made["store"]["version"]
    assert second != first
    code, out, err = run("virtual", "append", SHORT, *where, "--json")
    assert json.loads(out)[1]["version"] == second

    code, out, _ = run("virtual", "status", SHORT, *where, "--json")
    (status,) = json.loads(out)
    assert (status["listed"], status["published"], status["behind"]) == (8, 8, 0)
    assert status["standing"] == "up to date"

    code, out, _ = run("virtual", "diff", SHORT, first, second, *where, "--json")
    assert len(json.loads(out)) >= 3
    code, out, _ = run("virtual", "check", SHORT, *where, "--json")
    assert code == 0
    assert sum(each["values"] for each in json.loads(out)) == 3 * 2 * 12 * 24
    code, out, _ = run("virtual", "reconcile", SHORT, *where, "--json")
    assert (code, json.loads(out)) == (0, [])

    assert run("virtual", "rollback", SHORT, first, *where)[0] == 0
    code, out, _ = run("virtual", "reconcile", SHORT, *where, "--json")
    assert code == 1
    assert {each["repair"] for each in json.loads(out)} == {
        f"dor-ecco virtual build {NAME}",
        f"dor-ecco virtual export {NAME}",
    }
    code, out, _ = run("virtual", "build", SHORT, *where, "--json")
    assert code == 0
    assert json.loads(out)[1]["sha256"] == made["store"]["sha256"]


def test_a_plan_says_what_would_be_read_and_writes_nothing(collection, run):
    collection.arrive()
    code, out, _ = run("virtual", "plan", SHORT, *places(collection), "--json")
    assert code == 0
    (plan,) = json.loads(out)
    assert plan["partitions"] == {"2002-06": 8}
    assert (plan["sampled"], plan["schemas"], plan["references"]) == (5, 1, 8 * 8)
    assert not (collection.folder / "data" / "virtual").exists()


def test_init_writes_a_configuration_that_builds(collection, run, tmp_path):
    collection.arrive()
    configs = tmp_path / "own"
    configs.mkdir()
    with RangeServer(collection.folder / "archive") as server:
        for item in collection.server.items:
            for link in item["umm"]["RelatedUrls"]:
                link["URL"] = link["URL"].replace(HTTPS_ROOT, server.endpoint)
        where = ["--project", tmp_path / "p", "--configs", configs]
        code, out, err = run("virtual", "init", SHORT, *where)
        assert code == 0, err
        found = yaml.safe_load(out)
        assert found["concat"] == {"dim": "time", "step": "P1D", "on_gap": "hole"}
        assert found["load"] == ["lat", "lon", "time"]
        assert found["access"] == [
            {
                "name": "granules",
                "s3": "s3://sample-archive-protected/",
                "https": f"{server.endpoint}/",
            }
        ]
        assert run("virtual", "init", SHORT, *where)[0] == 2
        code, out, err = run("virtual", "build", SHORT, *where, "--json")
        assert code == 0, err
        assert json.loads(out)[1]["granules"] == 8


def test_a_container_without_a_bucket_writes_where_it_is(collection, run, tmp_path, monkeypatch):
    collection.arrive()
    with RangeServer(collection.folder / "archive") as server:
        for item in collection.server.items:
            for link in item["umm"]["RelatedUrls"]:
                link["URL"] = link["URL"].replace(HTTPS_ROOT, server.endpoint)
        for name, value in {
            "COLLECTION": SHORT,
            "LOADABLE_VARS": "lat,lon,time",
            "START_DATE": "6-2-2002",
            "END_DATE": "2002-06-06",
            "OUTPUT_BUCKET": "",
        }.items():
            monkeypatch.setenv(name, value)
        (tmp_path / "container").mkdir()
        monkeypatch.chdir(tmp_path / "container")
        code, _, err = run("virtual", "container")
        assert code == 0, err
    exports = tmp_path / "container/data/virtual" / NAME / "exports"
    assert json.loads((exports / "latest.json").read_text())["granules"] == 4


@pytest.mark.parametrize(("sample", "group"), [(SWATHS, ""), (GROUPED, "data_01")])
def test_init_of_swaths_writes_a_configuration_that_builds(
    sample, group, run, tmp_path, monkeypatch
):
    granules = [
        granule
        for granule in write_archive(tmp_path / "archive", days=0, repacked=0, cycles=2, passes=4)
        if granule.item["meta"]["collection-concept-id"] == sample.concept_id
    ]
    where = ["--project", tmp_path, "--configs", tmp_path / "configs"]
    with CmrServer() as cmr, RangeServer(tmp_path / "archive") as archive:
        monkeypatch.setenv(CMR_VARIABLE, cmr.endpoint)
        cmr.collections.append(record_of(sample, "2"))
        for granule in granules:
            for link in granule.item["umm"]["RelatedUrls"]:
                link["URL"] = link["URL"].replace(HTTPS_ROOT, archive.endpoint)
            cmr.items.append(dict(granule.item))
        code, _, err = run("virtual", "init", sample.short_name, *where)
        assert code == 0, err
        assert "note:" not in err
        path = tmp_path / "configs" / "collections" / f"{sample.short_name}.yaml"
        found = yaml.safe_load(path.read_text())
        assert found["level"] == "L2"
        assert found["identity"] == "cycle_pass"
        assert found["swath"] == {"ragged": ["num_lines"]}
        assert found.get("group", "") == group
        name = collection_name(sample.short_name)
        spec = load_collections(str(tmp_path / "configs"))[name]
        root, inputs = (Place(root=str(tmp_path / each)) for each in ("data", "inputs"))
        production = Production(root, inputs, str(tmp_path / "configs"))
        production.workspace().make(granules_key(name), "")
        workspace = production.workspace()
        for partition in workspace.product(references_key(name)).partitioning.keys:
            workspace.make(references_key(name), partition)
        made = workspace.make(store_key(name), "").record
        assert made.details["granules"]["published"] == len(granules) == 4
        dataset = open_store(virtual_store(workspace.storage, spec), decode=False)
        for place in range(4):
            cycle, number = (int(dataset[each][place]) for each in ("cycle", "pass"))
            lines = 64 + (37 * number + 11 * cycle) % 48
            np.testing.assert_array_equal(
                dataset["ssha"][place, :lines].values, stored_height(cycle, number, lines, 9)
            )


def test_a_container_writes_to_a_bucket_and_the_next_one_appends(
    collection, run, tmp_path, monkeypatch, s3_server, bucket, s3_environment
):
    s3_server.create_bucket(BUCKET)
    client = s3_server.client()

    def arrive(count=None):
        collection.arrive(count)
        for path in (collection.folder / "archive").rglob("*.nc"):
            key = path.relative_to(collection.folder / "archive").as_posix()
            client.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())

    def in_new_folder(name):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)

    monkeypatch.setenv("DOR_ECCO_ACCESS", "s3")
    told = {
        "COLLECTION": SHORT,
        "LOADABLE_VARS": "lat,lon,time",
        "START_DATE": "6-2-2002",
        "END_DATE": "2002-07-01",
        "OUTPUT_BUCKET": bucket,
    }
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    arrive(4)
    in_new_folder("first")
    code, _, err = run("virtual", "container")
    assert code == 0, err
    storage = open_storage(Place(root=f"s3://{bucket}", path_style=True))
    before = [each.snapshot for each in _store_in(storage, tmp_path / "first").versions()]

    arrive()
    in_new_folder("second")
    code, out, err = run(
        "virtual",
        "build",
        SHORT,
        "--load",
        told["LOADABLE_VARS"],
        "--start",
        told["START_DATE"],
        "--end",
        told["END_DATE"],
        "--out",
        f"s3://{bucket}",
        "--json",
    )
    assert code == 0, err
    assert json.loads(out)[1]["granules"] == 7
    # It went on from the versions that the first one left.
    after = [each.snapshot for each in _store_in(storage, tmp_path / "second").versions()]
    assert after[-len(before) :] == before
    assert len(after) > len(before)

    monkeypatch.delenv("DOR_ECCO_ACCESS")
    with open_product(storage, f"virtual/{NAME}/store") as dataset:
        files = sorted((collection.folder / "archive").rglob("*.nc"))[1:]
        assert dataset.sizes["time"] == len(files)
        for place, path in enumerate(files):
            with xr.open_dataset(path) as original:
                assert dataset.time.values[place] == original.time.values[0]
                np.testing.assert_array_equal(
                    dataset.analysed_sst[place].values, original.analysed_sst.values[0]
                )
    latest = json.loads(storage.read(f"virtual/{NAME}/exports/latest.json") or b"{}")
    assert (latest["granules"], latest["access"]) == (7, ["s3", "https"])


def _store_in(storage, project):
    configs = next(project.rglob("collections")).parent
    return virtual_store(storage, load_collections(str(configs))[NAME], "s3")


def test_a_container_that_is_not_told_the_collection_says_what_it_takes(run, monkeypatch):
    monkeypatch.delenv("COLLECTION", raising=False)
    code, _, err = run("virtual", "container")
    assert code == 2
    assert "NoCollection" in err
    assert "OUTPUT_BUCKET" in err


def test_quarantined_granules_end_in_code_3_and_are_named(collection, run):
    collection.arrive()
    bad = collection.folder / "archive" / SHORT / "20020603-SAMPLE-L4-SST.nc"
    bad.write_bytes(b"<html>log in</html>")
    code, _, err = run("virtual", "build", SHORT, *places(collection))
    assert code == 3
    assert "login page" in err
    assert "1 granules are in quarantine" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["build", "NO-SUCH"], "UnknownCollection"),
        (["build", SHORT, "--load", "lat"], "NotWithConfiguration"),
        (["search", SHORT, "--start", "someday"], "BadDate"),
        (["search", SHORT, "--box", "1,2,3"], "BadBox"),
        (["init", "NO-SUCH"], "CollectionUnknown"),
        (["rollback", SHORT, "x"], "StoreMissing"),
    ],
)
def test_a_bad_argument_ends_in_a_message(collection, run, words, told):
    where = [] if words[0] == "search" else places(collection)
    code, _, err = run("virtual", *words, *where)
    assert code in (1, 2)
    assert told in err
    assert "Traceback" not in err


def test_values_through_the_store_are_found_to_differ(collection, run):
    from dor_ecco_assets.samples.virtual_granules import write_daily

    collection.arrive()
    collection.configure(checksum="none")
    where = places(collection)
    assert run("virtual", "build", SHORT, *where)[0] == 0
    write_daily(
        collection.folder / "archive" / SHORT / "20020601-SAMPLE-L4-SST.nc",
        7,
        deviation="no filters",
    )
    code, out, _ = run("virtual", "check", SHORT, "--granules", 8, *where, "--json")
    assert code == 1
    assert any(each["problem"] for each in json.loads(out))
