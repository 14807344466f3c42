"""`dor-ecco cases` and `vis` as a person meets them, and the names of the former workflow."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from dor_ecco_assets.dor.case import _Run
from dor_ecco_assets.errors import WorkFailed
from dor_ecco_assets.products import Production
from dor_ecco_assets.samples.pop_faults import plant
from dor_ecco_assets.settings import Place
from tests.cli.production import Cli
from tests.dor.atlas import make_inputs, production
from tests.dor.test_assets import Location
from tests.dor.test_products import MEMBERS, identities, published

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    return folder, make_inputs(folder, ("01|001", "04|001", "07|001", "10|001", "07|000"))


@pytest.fixture
def project(prepared, tmp_path):
    shutil.copytree(prepared[0] / "inputs", tmp_path / "data/inputs", copy_function=shutil.copy2)
    shutil.copytree(prepared[0] / "configs", tmp_path / "my-configs")
    return tmp_path


@pytest.fixture
def cli(project):
    run = Cli(project)
    return lambda *words, code=0: run(*words, "--configs", str(project / "my-configs"), code=code)


def rows(result) -> list[dict]:
    return json.loads(result.stdout)


def statuses(cli) -> dict[str, str]:
    found = rows(cli("cases", "list", "--limit", "0", "--json"))
    return {row["partition"]: row["status"] for row in found}


def test_the_published_atlas_lists_2760_cases(tmp_path):
    found = rows(Cli(tmp_path)("cases", "list", "--limit", "0", "--json"))
    assert len(found) == 2760
    assert {"case", "polygon_master", "injection_month", "status"} <= found[0].keys()
    assert found[1554]["case"] == "smyle.cdr-atlas-v0.glb-dor_South_038_1999-07-01_01554.001"
    assert (found[1554]["polygon_master"], found[1554]["injection_month"]) == (388, 7)
    assert {row["status"] for row in found} == {"absent"}
    assert not any(tmp_path.iterdir())


def test_listing_is_a_table_with_a_limit_and_a_count(cli):
    result = cli("cases", "list", "--limit", "3")
    assert "3 of 8" in result.stdout
    assert "5 of 8" not in result.stdout
    assert "0 of 0" in Cli(Path("/nowhere"))("cases", "list", "--polygon", "999").stdout


def test_process_all_of_a_polygon_leaves_what_dagster_leaves(cli, project, prepared):
    made = rows(cli("cases", "process-all", "--polygon", "1", "--json"))
    assert {row["became"] for row in made} == {"made"}
    assert len(made) == 4
    root = project / "data"
    workspace = production(prepared[0], str(project / "other")).workspace()
    for month in ("01", "04", "07", "10"):
        workspace.make("dor/case_rows", f"{month}|001")
    assert published(root) == published(project / "other")
    assert identities(root) == identities(project / "other")
    # The same partitions as one range of a backfill: same bytes, same records, same lineage.
    shutil.copytree(project / "data/inputs", project / "inputs", copy_function=shutil.copy2)
    shutil.copytree(project / "my-configs", project / "configs")
    location = Location(project, "backfilled")
    assert location.run(*MEMBERS, first="01|001", last="10|001").success
    assert published(root) == published(project / "backfilled")
    assert identities(root) == identities(project / "backfilled")
    with dg.DagsterInstance.from_config(str(project / ".dagster")) as instance:
        for key in MEMBERS:
            asset = dg.AssetKey(key.split("/"))
            assert instance.get_materialized_partitions(asset) == location.materialised(key)
    location.opened.pop().dispose()
    again = rows(cli("cases", "process-all", "--polygon", "1", "--json"))
    assert {row["became"] for row in again} == {"up to date"}
    assert statuses(cli) == {
        f"{month}|{polygon:03d}": "done" if polygon else "absent"
        for month in ("01", "04", "07", "10")
        for polygon in (0, 1)
    }


def test_submitted_cases_wait_in_the_instance_as_one_backfill(cli, project, monkeypatch):
    refused = cli("cases", "process-all", "--submit", "--workers", "2", code=2)
    assert "give these to" in refused.stderr
    monkeypatch.setenv("DOR_ECCO_CONFIGS", str(project / "my-configs"))
    (row,) = rows(cli("cases", "process-all", "--polygon", "1", "--force", "--submit", "--json"))
    assert row["cases"] == 4
    with dg.DagsterInstance.from_config(str(project / ".dagster")) as instance:
        (waiting,) = instance.get_backfills()
        assert waiting.backfill_id == row["backfill"]
        assert waiting.asset_selection == [dg.AssetKey(["dor", "case_rows"])]
        asked = waiting.asset_backfill_data.target_subset.iterate_asset_partitions()
        assert {found.partition_key for found in asked} == {
            f"{month}|001" for month in ("01", "04", "07", "10")
        }
        assert waiting.run_config["ops"]["dor__case"]["config"]["force"] is True


def test_without_a_choice_cases_that_have_history_are_made(cli):
    made = rows(cli("cases", "process-all", "--max-cases", "2", "--json"))
    assert [row["partition"] for row in made] == ["07|000", "01|001"]
    words = ("--start", "1", "--end", "2", "--month", "7", "--json")
    made = rows(cli("cases", "process-all", *words))
    assert [(row["partition"], row["became"]) for row in made] == [("07|001", "made")]


def test_a_failed_case_ends_in_1_and_says_which_month(cli, project, prepared):
    case = prepared[1].case("07|001")
    folder = project / "data/inputs/pop/cases" / case.case.name / "ocn/hist"
    good = (folder / case.file_name(1)).read_bytes()
    plant(folder / case.file_name(1), "truncated")
    result = cli("cases", "process-all", "--polygon", "1", "--month", "7", "--month", "10", code=1)
    assert "0347-08" in result.stderr
    assert statuses(cli)["07|001"] == "failed"
    assert statuses(cli)["10|001"] == "done"
    status = rows(cli("cases", "status", "--json"))[0]
    assert (status["failed"], status["done"], status["absent"]) == (1, 1, 6)
    assert "0347-08" in status["cases"][0]["why"]
    (folder / case.file_name(1)).write_bytes(good)
    assert statuses(cli)["07|001"] == "partial"
    cli("cases", "process", case.case.name)
    assert statuses(cli)["07|001"] == "done"
    with (folder / case.file_name(0)).open("ab") as file:
        file.write(b"\0")
    assert statuses(cli)["07|001"] == "stale"


def test_one_query_tells_every_status_apart(cli, project, prepared, monkeypatch):
    def history(partition, k):
        case = prepared[1].case(partition)
        return project / "data/inputs/pop/cases" / case.case.name / "ocn/hist" / case.file_name(k)

    def make(partition):
        Production(
            Place(root=str(project / "data")),
            Place(root=str(project / "data/inputs")),
            str(project / "my-configs"),
        ).workspace().make("dor/case_rows", partition)

    make("01|001")
    make("07|001")
    with history("07|001", 2).open("ab") as file:
        file.write(b"\0")
    plant(history("04|001", 0), "wrong calendar")
    with pytest.raises(WorkFailed):
        make("04|001")
    with monkeypatch.context() as patch:  # a run that is ended after its second month
        month_made = _Run.make

        def ended(self, month, *rest):
            if month == (347, 12):
                raise KeyboardInterrupt
            month_made(self, month, *rest)

        patch.setattr(_Run, "make", ended)
        with pytest.raises(KeyboardInterrupt):
            make("10|001")
    assert statuses(cli) == {
        **dict.fromkeys(("01|000", "04|000", "07|000", "10|000"), "absent"),
        "01|001": "done",
        "04|001": "failed",
        "07|001": "stale",
        "10|001": "partial",
    }


def test_a_case_without_history_that_is_asked_for_fails(cli):
    result = cli("cases", "process", "01|000", code=1)
    assert "no history file" in result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cases", "process", "smyle.cdr-atlas-v0.glb-dor_South_001_1999-07-01_00006.001"], "near"),
        (["cases", "process", "07|999"], "there is no case"),
        (["cases", "list", "--month", "2"], "injection month 2"),
        (["cases", "list", "--compat", "exact"], "none or reference"),
        (["vis", "template", "store9"], "there is no store"),
    ],
)
def test_a_wrong_word_is_a_usage_error(cli, words, said):
    assert said in cli(*words, code=2).stderr


def test_compat_is_told_by_option_or_variable(cli, project, monkeypatch):
    cli("cases", "process", "07|001", "--compat", "reference")
    monkeypatch.setenv("DOR_ECCO_COMPAT", "none")
    assert statuses(cli)["07|001"] == "stale"
    # A store never says that its values are others than they are.
    refused = cli("vis", "populate", "store3", code=1)
    assert "was made with compat reference, the store says none" in refused.stderr
    cli("vis", "populate", "store3", "--compat", "reference")
    about = json.loads((project / "data/dor/uptake_by_distance.zarr/.zattrs").read_text())
    assert about["compat"] == "reference"


def test_stores_are_made_copied_and_never_overwritten_by_chance(cli, project):
    assert "no case has been made" in cli("vis", "populate", "store1", code=1).stdout
    cli("cases", "process", "07|001")
    cli("vis", "template", "store1")
    out = project / "copies/store1.zarr"
    made = rows(cli("vis", "populate", "store1", "--output-store", str(out), "--json"))
    assert [(row["injection_month"], row["became"]) for row in made] == [("07", "made")]
    store = project / "data/dor/efficiency_store.zarr"
    names = {path.relative_to(store) for path in store.rglob("*") if path.is_file()}
    assert names == {path.relative_to(out) for path in out.rglob("*") if path.is_file()}
    assert all((store / name).read_bytes() == (out / name).read_bytes() for name in names)
    assert "holds data" in cli("vis", "template", "store1", code=2).stderr
    assert (store / "DOR_efficiency/0.0.2").exists()
    cli("vis", "template", "store1", "--force")
    assert not (store / "DOR_efficiency/0.0.2").exists()
    assert rows(cli("vis", "populate", "store1", "--json"))[0]["became"] == "made"


def test_former_names_do_the_same(cli, project):
    assert "5 of 8" in cli("research-data", "list-cases", "-l", "5").stdout
    cli("research-data", "process-case", "07|001", "-w", "1", "-v")
    cli("research-data", "process-all-cases", "-p", "1", "--max-cases", "2")
    cli("process-fg-co2-excess", "-p", "1")
    assert set(statuses(cli).values()) == {"done", "absent"}
    cli("vis", "create-template-store1")
    cli("vis", "populate-store1", "--output-store", str(project / "s1.zarr"))
    cli("vis", "create-template-store3", "--output-store", str(project / "s3.zarr"))
    cli("vis", "populate-store3", "-p", "1")
    assert (project / "s1.zarr/DOR_efficiency/0.0.2").exists()
    assert (project / "s3.zarr/.zmetadata").exists()
    assert "research-data" not in cli_help()


def cli_help() -> str:
    done = subprocess.run(
        [sys.executable, "-c", "from dor_ecco_assets.cli import app; app()", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env=dict(os.environ),
    )
    assert "cases" in done.stdout
    return done.stdout


def test_former_variables_say_where_things_lie(project, monkeypatch, tmp_path):
    from typer.testing import CliRunner

    from dor_ecco_assets.cli import app

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OCEAN_CDR_PARENT_DATA_DIR", str(project / "out"))
    monkeypatch.setenv("OCEAN_CDR_DATA_ARCHIVE_DIR", str(project / "data/inputs"))
    configs = ["--configs", str(project / "my-configs")]
    result = CliRunner().invoke(app, ["cases", "process", "07|001", *configs])
    assert result.exit_code == 0, result.output
    assert (project / "out/dor/case_rows/07/001.zarr").exists()
    for store, variable in (
        ("store1", "OCEAN_CDR_STORE_1_PATH"),
        ("store3", "OCEAN_CDR_CUMULATIVE_FG_CO2_PERCENT_STORE_PATH"),
    ):
        monkeypatch.setenv(variable, str(project / f"{store}.zarr"))
        for command in (f"create-template-{store}", f"populate-{store}"):
            result = CliRunner().invoke(app, ["vis", command, *configs])
            assert result.exit_code == 0, result.output
        assert (project / f"{store}.zarr/case_status/0.2").exists()


def test_the_environment_is_looked_at_and_made_only_if_asked(project, cli):
    found = rows(Cli(project / "absent")("setup-environment", "--json", code=1))
    assert [row["state"] for row in found] == ["missing", "missing", "good"]
    assert not (project / "absent").exists()
    made = rows(Cli(project / "absent")("setup-environment", "--create", "--json"))
    assert {row["state"] for row in made} == {"good"}
    assert (project / "absent/data/inputs").is_dir()
    assert {row["check"] for row in rows(cli("setup-environment", "--json"))} == {
        "data",
        "inputs",
        "dependencies",
    }
