"""The command line as a person meets it, on a small sample production."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.production import Cli, cli, make_project  # noqa: F401 - a fixture

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

SSH = "ecco/ECCO_L4_SSH_05DEG_MONTHLY_V4R4"


def test_the_grid_and_factors_are_made_once(cli):  # noqa: F811
    rows = json.loads(cli("ecco", "factors", "--json").stdout)
    assert [row["product"] for row in rows] == [
        "grids/llc90",
        "grids/latlon_0p50deg",
        "mapping/llc90_to_latlon_0p50deg",
    ]
    assert {row["became"] for row in json.loads(cli("ecco", "grid", "--json").stdout)} == {
        "up to date"
    }


def test_granules_are_made_by_part_of_their_name_and_partition(cli):  # noqa: F811
    result = cli("ecco", "granules", "SSH_05DEG", "--partition", "1992-01", "--json")
    assert json.loads(result.stdout) == [{"product": SSH, "partition": "1992-01", "became": "made"}]
    again = cli("ecco", "granules", "SSH_05DEG", "--partition", "1992-01", "--json")
    assert json.loads(again.stdout)[0]["became"] == "up to date"


def test_without_a_partition_all_that_has_input_is_made(cli):  # noqa: F811
    rows = json.loads(cli("ecco", "granules", "SSH", "--json").stdout)
    assert {(row["product"].split("_")[-2], row["partition"]) for row in rows} == {
        ("MONTHLY", "1992-01"),
        ("MONTHLY", "1992-02"),
        ("DAILY", "1992-01-01"),
    }


def test_a_range_and_two_workers_make_the_stress(cli):  # noqa: F811
    rows = json.loads(
        cli(
            *("ecco", "granules", "STRESS_LLC0090GRID_MONTHLY", "--json", "--workers", "2"),
            *("--partition-range", "1992-01...1992-02"),
        ).stdout
    )
    assert sorted(row["partition"] for row in rows) == ["1992-01", "1992-02"]


def test_stale_counts_and_names_what_is_out_of_date(cli):  # noqa: F811
    cli("ecco", "granules", "SSH")
    assert json.loads(cli("stale", SSH, "--json").stdout) == []
    folder = cli.project / "data/inputs/V4r4/diags_monthly/SSH_mon_mean"
    changed = folder / "SSH_mon_mean.0000000732.data"
    before = changed.read_bytes()
    changed.write_bytes(before[:1000] + bytes([before[1000] ^ 1]) + before[1001:])
    rows = json.loads(cli("stale", "ecco", "--json").stdout)
    stale = {row["product"] for row in rows if row["standing"] == "stale"}
    assert stale == {SSH, SSH.replace("05DEG", "LLC0090GRID")}
    why = [row["why"] for row in rows if row["standing"] == "stale"]
    assert all("SSH_mon_mean.0000000732.data changed" in text for text in why)
    told = cli("why", SSH, "1992-01").stdout
    assert "1992-01: stale" in told
    changed.write_bytes(before)
    assert json.loads(cli("stale", SSH, "--json").stdout) == []


def test_why_walks_back_to_files_bytes_and_checksums(cli):  # noqa: F811
    cli("ecco", "granules", "SSH_05DEG_MONTHLY")
    told = cli("why", SSH, "1992-01").stdout
    assert "SSH_mon_mean.0000000732.data: bytes 0-5199, sha256 " in told
    assert "grids/llc90: up to date" in told
    assert "code version 1" in told
    found = json.loads(cli("why", SSH, "1992-01", "--json").stdout)
    uris = [source["uri"] for source in found["upstream"][0]["inputs"]]
    assert str(cli.project / "data/inputs/llc90/XC.data") in uris
    assert "it has 1992-01 to 2017-12" in cli("why", SSH, "1980-01", code=2).stderr


def test_reconcile_finds_an_altered_granule_and_the_named_command_mends_it(cli):  # noqa: F811
    cli("ecco", "granules", "SSH_05DEG_MONTHLY")
    path = next((cli.project / "data" / SSH).glob("*1992-01*.nc"))
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    rows = json.loads(cli("reconcile", SSH, "--json", code=1).stdout)
    assert len(rows) == 1
    cli("ecco", "verify", "SSH_05DEG_MONTHLY", code=1)
    cli(*rows[0]["repair"].split()[1:])
    assert path.read_bytes() == good
    assert json.loads(cli("reconcile", SSH, "--json").stdout) == []
    assert "good" in cli("ecco", "verify", "SSH_05DEG_MONTHLY").stdout


def test_a_quarantined_input_ends_with_code_3_and_missing_ones_with_1(tmp_path):
    project = Cli(make_project(tmp_path))
    folder = tmp_path / "data/inputs/V4r4/diags_monthly"
    bad = folder / "SSH_mon_mean/SSH_mon_mean.0000000732.data"
    whole = bad.read_bytes()
    bad.write_bytes(whole[:100])
    result = project("ecco", "granules", "SSH_LLC0090GRID_MONTHLY", code=3)
    assert "quarantined: ecco/ECCO_L4_SSH_LLC0090GRID_MONTHLY_V4R4 1992-01" in result.stderr
    assert "SizeMismatch" in result.stderr
    assert " 1992-01 quarantined\n" in result.stderr
    assert "Traceback" not in result.stderr
    assert "1992-02" in result.stdout
    standings = {r["standing"] for r in json.loads(project("stale", "--json").stdout)}
    assert "quarantined" in standings
    bad.write_bytes(whole)
    (folder / "ETAN_mon_mean/ETAN_mon_mean.0000001428.data").unlink()
    (folder / "ETAN_mon_mean/ETAN_mon_mean.0000001428.meta").unlink()
    result = project("ecco", "granules", "SSH_LLC0090GRID_MONTHLY", "--force", code=1)
    assert "ETAN at step 1428" in result.stderr
    assert "--allow-partial" in result.stderr
    result = project("ecco", "granules", "SSH_LLC0090GRID_MONTHLY", "--allow-partial", "--json")
    assert len(json.loads(result.stdout)) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ecco", "granules", "SSS"], "no dataset's short name holds 'SSS'"),
        (["ecco", "granules", "SSH", "--partition", "1992-13"], "no chosen dataset has 1992-13"),
        (["ecco", "granules", "SSH", "--partition-range", "1992-01"], "expected FIRST...LAST"),
        (["stale", "oceans"], "there is no line or product 'oceans'"),
        (["why", "grids/llc9"], "nearest: grids/llc90"),
        (["inputs", "fetch", "llc"], "there is no registered input 'llc'"),
    ],
)
def test_a_wrong_word_is_a_usage_error_that_names_the_right_ones(cli, words, said):  # noqa: F811
    assert said in cli(*words, code=2).stderr


def test_an_unknown_key_in_an_overlay_names_the_nearest(cli, tmp_path):  # noqa: F811
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles/laptop.yaml").write_text("backfil: single\n")
    result = cli("stale", "--configs", str(tmp_path), code=2)
    assert "unknown key 'backfil'; did you mean 'backfill'?" in result.stderr


def test_inputs_are_listed_with_source_checksum_and_licence(cli):  # noqa: F811
    rows = json.loads(cli("inputs", "list", "--json").stdout)
    assert rows[0]["input"] == "llc90"
    assert rows[0]["url"].startswith("https://")
    assert "none stated" in rows[0]["licence"]
    assert cli("inputs", "verify", "--json", code=1)


def test_offline_fetching_names_the_way_out(cli, monkeypatch, tmp_path):  # noqa: F811
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    result = cli("inputs", "fetch", "--data", str(tmp_path / "inputs"), code=1)
    assert "--data DIR" in result.stderr
    assert not (tmp_path / "inputs/llc90/XC.data").exists()


def test_doctor_finds_a_clean_project_in_order(cli):  # noqa: F811
    rows = {row["check"]: row["state"] for row in json.loads(cli("doctor", "--json").stdout)}
    assert rows["storage"] == rows["conditional writes"] == rows["dagster instance"] == "good"
    lines = cli("doctor", "--export").stdout.splitlines()
    assert f"export DAGSTER_HOME={cli.project}/.dagster" in lines
    assert f"export DOR_ECCO_ROOT={cli.project}/data" in lines


def test_doctor_examines_an_object_store(cli, s3_environment, bucket):  # noqa: F811
    rows = {
        r["check"]: r
        for r in json.loads(cli("doctor", "--json", "--root", f"s3://{bucket}/d").stdout)
    }
    assert rows["conditional writes"]["state"] == "good"
    assert rows["CORS"]["state"] == "note"
    refused = cli("doctor", "--json", "--root", "s3://no-such-bucket-here/d", code=1)
    assert "check the bucket's name" in refused.stdout


def test_a_range_of_many_days_is_cut_into_runs_that_can_be_stored():
    import dagster as dg

    from dor_ecco_assets.cli.running import _runs_of
    from dor_ecco_assets.products import all_products
    from dor_ecco_assets.settings import find_places

    key = "ecco/ECCO_L4_SSH_05DEG_DAILY_V4R4"
    days = all_products()[key].partitioning.keys
    with dg.DagsterInstance.ephemeral() as instance:
        runs = list(_runs_of(find_places(), instance, [key], [*days[:2001], days[3000]]))
    assert [run.get("dagster/partition") for run in runs] == [None, days[2000], days[3000]]
    assert runs[0]["dagster/asset_partition_range_end"] == days[1999]


@pytest.mark.skipif(shutil.which("dagster") is None, reason="the dagster command is not on PATH")
def test_plain_dagster_shares_instance_and_root_through_doctor_export(tmp_path):
    project = make_project(tmp_path)
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    dor_ecco = [sys.executable, "-c", "from dor_ecco_assets.cli import main; main()"]
    lines = subprocess.run(
        [*dor_ecco, "doctor", "--export", "--project", str(project)],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    ).stdout.splitlines()
    exported = dict(line.removeprefix("export ").split("=", 1) for line in lines)
    dagster = [
        *("dagster", "asset", "materialize", "-m", "dor_ecco_assets.definitions"),
        *("--select", SSH, "--partition", "1992-01"),
    ]
    done = subprocess.run(
        dagster, capture_output=True, text=True, env={**environment, **exported}, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    from dor_ecco_assets.lineage.record import recorded_partitions
    from dor_ecco_assets.storage import Directory

    assert list(recorded_partitions(Directory(Path(project) / "data"), SSH)) == ["1992-01"]
    words = ("ecco", "granules", SSH, "--partition", "1992-01", "--json")
    rows = json.loads(Cli(project)(*words).stdout)
    assert rows[0]["became"] == "up to date"
