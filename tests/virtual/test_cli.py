"""The commands of virtual stores, from a search to a rollback, on the sample archive."""

from __future__ import annotations

import json

import pytest
import yaml

from dor_ecco_assets.cli import main
from dor_ecco_assets.samples.virtual_granules import DAILY, HTTPS_ROOT
from tests.support.ranges import RangeServer
from tests.virtual.sample_collection import NAME, sample_collection

SHORT = DAILY.short_name


@pytest.fixture
def collection(tmp_path, monkeypatch):
    with sample_collection(tmp_path, monkeypatch, days=8) as found:
        found.server.collections.append(
            {
                "meta": {"concept-id": DAILY.concept_id, "provider-id": DAILY.provider},
                "umm": {
                    "ShortName": SHORT,
                    "Version": "1.0",
                    "EntryTitle": "Sample sea-surface temperature",
                    "ProcessingLevel": {"Id": "4"},
                },
            }
        )
        yield found


@pytest.fixture
def run(collection, monkeypatch, capsys):
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


def test_a_build_without_configuration(collection, run, tmp_path, monkeypatch):
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
        code, out, err = run(
            "virtual",
            "build",
            SHORT,
            "--load",
            "lat,lon,time",
            "--start",
            "6-2-2002",
            "--end",
            "2002-06-06",
            "--out",
            tmp_path / "out",
            "--json",
        )
        assert code == 0, err
        assert json.loads(out)[1]["granules"] == 4
        code, _, err = run("virtual", "container")
        assert code == 0, err
        assert (tmp_path / "container/data/virtual" / NAME / "exports/latest.json").exists()


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
