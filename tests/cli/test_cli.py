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
UNPARTITIONED = ("grids/llc90", "grids/latlon_0p50deg", "mapping/llc90_to_latlon_0p50deg")
GATHERED = ("ecco/delivery", "ecco/quality_report")
MONTHS, DAYS = ("1992-01", "1992-02", "1992-03"), ("1992-01-01", "1992-01-02", "1992-01-03")
INJECTION_MONTHS = ("01", "04", "07", "10")
STORES = ("efficiency_store", "uptake_by_distance")
OF_A_CASE = ("research_dataset", "analysis_store", "fg_co2_excess", "map_fields", "case_rows")
#: Everything that the sample has input for.
EXPECTED_OF_THE_DEMO = {
    *((key, "") for key in UNPARTITIONED),
    *((f"ecco/ECCO_L4_GEOMETRY_{grid}_V4R4", "") for grid in ("05DEG", "LLC0090GRID")),
    *((f"ecco/ECCO_L4_OCEAN_3D_MIX_COEFFS_{grid}_V4R4", "") for grid in ("05DEG", "LLC0090GRID")),
    *(
        (f"ecco/ECCO_L4_{name}_{grid}_{often}_V4R4", partition)
        for name in ("SSH", "STRESS")
        for grid in ("05DEG", "LLC0090GRID")
        for often, partitions in (("MONTHLY", MONTHS), ("DAILY", DAYS))
        for partition in partitions
    ),
    *((key, month) for key in GATHERED for month in MONTHS),
    *((key, "") for key in ("grids/pop_sample", "dor/polygons", "dor/cases", "dor/atlas_report")),
    *((f"dor/{key}", month) for key in STORES for month in INJECTION_MONTHS),
    *(
        (f"dor/{key}", f"{month}|{polygon}")
        for key in OF_A_CASE
        for month in INJECTION_MONTHS
        for polygon in ("000", "001")
    ),
    *(
        ("pyramids/atlas", f"{month}|{polygon}")
        for month in INJECTION_MONTHS
        for polygon in ("000", "001")
    ),
    *(
        (f"pyramids/ECCO_L4_SSH_{grid}_MONTHLY_V4R4", month)
        for grid in ("05DEG", "LLC0090GRID")
        for month in MONTHS
    ),
    *((f"pyramids/ECCO_L4_SSH_{grid}_MONTHLY_V4R4_index", "") for grid in ("05DEG", "LLC0090GRID")),
    *(
        (f"pyramids/ECCO_L4_SSH_{grid}_MONTHLY_V4R4_template", "")
        for grid in ("05DEG", "LLC0090GRID")
    ),
    *((f"pyramids/atlas_{part}", "") for part in ("template", "index")),
    *((f"mapping/{grid}_to_webmercator", "") for grid in ("llc90", "latlon_0p50deg", "pop_sample")),
    *((f"virtual/SAMPLE_L4_SST_DAILY/{part}", "") for part in ("granules", "store", "exports")),
    ("virtual/SAMPLE_L4_SST_DAILY/references", "2002-06"),
}


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


def test_demo_makes_everything_and_every_open_with_opens(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from dor_ecco_assets.cli import app

    out = tmp_path / "demo"
    first = CliRunner().invoke(app, ["demo", "--out", str(out)])
    assert first.exit_code == 0, first.stderr
    rows = json.loads((out / "manifest.json").read_text())
    made = {(row["asset"], row["partition"]) for row in rows}
    assert made == EXPECTED_OF_THE_DEMO
    for row in rows:
        space: dict[str, object] = {}
        exec(row["open_with"], space)
        if row["format"] in ("files", "html"):
            assert space["opened"].exists()
        else:
            assert space["ds"].variables
            space["ds"].close()
        assert row["bytes"] > 0
        assert len(row["sha256"]) == 64
    second = CliRunner().invoke(app, ["demo", "--out", str(out)])
    assert f"everything is up to date: {len(rows)} partitions" in second.stdout


@pytest.fixture
def short_sample(monkeypatch):
    """The demo's sample of one month and one day on small tiles."""
    from dor_ecco_assets.samples import demo_inputs

    for name, value in (("SIDE", 10), ("MONTHS", MONTHS[:1]), ("DAYS", DAYS[:1])):
        monkeypatch.setattr(demo_inputs, name, value)


def test_demo_on_the_real_grid_follows_one_on_the_sample(tmp_path, short_sample):
    from typer.testing import CliRunner

    from dor_ecco_assets.cli import app
    from tests.support.data import real_data

    words = ["--out", str(tmp_path / "demo"), "--data", str(real_data("llc90").parent)]
    assert CliRunner().invoke(app, ["demo", *words[:2]]).exit_code == 0
    done = CliRunner().invoke(app, ["demo", *words])
    assert done.exit_code == 0, done.stderr
    rows = json.loads((tmp_path / "demo/manifest.json").read_text())
    assert {row["asset"] for row in rows} >= {*UNPARTITIONED, SSH, GATHERED[0], GATHERED[1]}
    granules = [row["uri"] for row in rows if row["format"] == "netcdf"]
    assert all(uri.endswith(("native_llc0090.nc", "latlon_0p50deg.nc")) for uri in granules)
    record = tmp_path / "demo/data/.records/ecco/ECCO_L4_SSH_05DEG_MONTHLY_V4R4/1992-01.json"
    assert json.loads(record.read_text())["details"]["missing_variables"] == ["SSHIBC", "SSHNOIBC"]


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


def test_demo_on_an_object_store_opens_too(tmp_path, s3_environment, bucket, short_sample):
    from typer.testing import CliRunner

    from dor_ecco_assets.cli import app

    out = tmp_path / "demo"
    done = CliRunner().invoke(app, ["demo", "--out", str(out), "--root", f"s3://{bucket}/demo"])
    assert done.exit_code == 0, done.stderr
    rows = json.loads((out / "manifest.json").read_text())
    assert {row["uri"].partition("/demo/")[0] for row in rows} == {f"s3://{bucket}"}
    for row in rows:
        if row["partition"] in ("", "1992-01"):
            space: dict[str, object] = {}
            if row["format"] in ("files", "html"):
                assert row["open_with"] == ""  # its URI says where it lies
                continue
            exec(row["open_with"], space)
            variables = space["ds"].variables
            assert all(v.load().size for v in variables.values())


def test_demo_without_a_grid_in_data_says_how_to_get_one(tmp_path):
    from typer.testing import CliRunner

    from dor_ecco_assets.cli import app

    words = ["demo", "--out", str(tmp_path / "d"), "--data", str(tmp_path)]
    result = CliRunner().invoke(app, words)
    assert "there is no llc90/XC.data in it" in str(result.exception)


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
