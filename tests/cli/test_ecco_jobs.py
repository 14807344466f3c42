"""Jobs, plans, gaps and imports as a person meets them on the command line."""

import json
from pathlib import Path

import pytest
from scipy.sparse import csr_matrix, save_npz
from typer.testing import CliRunner

from dor_ecco_assets.cli import app
from dor_ecco_assets.errors import ConfigurationError
from resources.io_managers import standing_of_inputs
from tests.cli.production import Cli, cli, make_project  # noqa: F401 - a fixture
from tests.ecco.production import production
from tests.support.data import real_data

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

LATLON, NATIVE = "ECCO_L4_SSH_05DEG_MONTHLY_V4R4", "ECCO_L4_SSH_LLC0090GRID_MONTHLY_V4R4"


def written(folder: Path, *lines: str) -> str:
    path = folder / "jobs.txt"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_a_job_file_is_shown_planned_and_run_and_leaves_no_gaps_of_its_own(cli, tmp_path):  # noqa: F811
    jobs = written(tmp_path, "0,latlon,AVG_MON,all", "[0,'native','AVG_MON',[732]]", "done", "all")
    shown = cli("ecco", "jobs", "show", jobs, "--json")
    rows = json.loads(shown.stdout)
    assert [(row["line"], row["dataset"], row["partitions"]) for row in rows] == [
        (1, LATLON, 2),
        (2, NATIVE, 1),
    ]
    assert all(row["input_bytes"] > 0 for row in rows)
    assert "1 later lines were not read" in shown.stderr
    before = json.loads(cli("ecco", "plan", "--jobs", jobs, "--json").stdout)
    assert [(row["to_make"], row["bytes"]) for row in before] == [(2, None), (1, None)]
    made = json.loads(cli("ecco", "jobs", "run", jobs, "--json").stdout)
    assert [(row["product"], row["partition"], row["became"]) for row in made] == [
        (f"ecco/{LATLON}", "1992-01", "made"),
        (f"ecco/{LATLON}", "1992-02", "made"),
        (f"ecco/{NATIVE}", "1992-01", "made"),
    ]
    after = json.loads(cli("ecco", "plan", "--jobs", jobs, "--json").stdout)
    assert [(row["done"], row["to_make"], row["bytes"]) for row in after] == [(2, 0, 0), (1, 0, 0)]
    span = ("--partition-range", "1992-01...1992-02")
    assert json.loads(cli("ecco", "gaps", LATLON, *span, "--json").stdout) == []
    (gap,) = json.loads(cli("ecco", "gaps", NATIVE, *span, "--json", code=1).stdout)
    assert (gap["gap"], gap["partitions"]) == ("not made", "1992-02")
    cli(*gap["fill"].split()[1:])
    assert json.loads(cli("ecco", "gaps", NATIVE, *span, "--json").stdout) == []


def test_a_bad_job_file_is_refused_before_anything_runs(cli, tmp_path):  # noqa: F811
    jobs = written(tmp_path, "0,latlon,AVG_MON,1", "0,latlon,WEEKLY,1", "99,native,AVG_MON,1")
    for command in (("jobs", "run", jobs), ("jobs", "submit", jobs), ("plan", "--jobs", jobs)):
        assert "line 2" in cli("ecco", *command, code=2).stderr
    assert "cannot be read" in cli("ecco", "jobs", "show", str(tmp_path), code=2).stderr


@pytest.mark.parametrize(
    "span",
    ["1992", "1992-01...1992-13", "1992-02...1992-01", "1992-01...1992-02-01", "...1992-01", ""],
)
@pytest.mark.parametrize("command", ["granules", "plan", "gaps"])
def test_a_range_that_is_none_is_refused_by_every_command(cli, command, span):  # noqa: F811
    told = cli("ecco", command, NATIVE, "--partition-range", span, code=2).stderr
    assert "expected FIRST...LAST such as 1992-01...1992-12" in told


def test_commands_that_fill_gaps_stand_below_the_table_one_a_line(cli):  # noqa: F811
    told = cli("ecco", "gaps", NATIVE, "--partition-range", "1993-01...1993-12", code=1).stdout
    assert (
        f"dor-ecco ecco granules {NATIVE} --partition-range 1993-01...1993-12"
        "  # when the fields are there" in told.splitlines()
    )


def test_a_misaligned_record_is_told_and_ends_with_code_3(tmp_path):
    run = Cli(make_project(tmp_path))
    folder = tmp_path / "data/inputs/V4r4/diags_monthly"
    for path in [*folder.rglob("*.0000001428.*")]:
        path.rename(path.with_name(path.name.replace("1428", "1429")))
    told = run("ecco", "granules", NATIVE, code=3)
    assert "step 1429 is 1992-03-01T01:00:00, where no month ends" in told.stderr
    assert "[TimeAlignment]" in told.stderr
    (row,) = (
        row
        for row in json.loads(run("ecco", "granules", NATIVE, "--json", code=3).stdout)
        if row["became"] == "quarantined"
    )
    assert row["code"] == "TimeAlignment"
    assert "step 1429" in run("ecco", "plan", NATIVE).stderr
    assert "step 1429" in "".join(
        row["why"] for row in json.loads(run("ecco", "gaps", NATIVE, "--json", code=1).stdout)
    )
    checked = standing_of_inputs(
        production(tmp_path / "data", tmp_path / "data/inputs").workspace(), f"ecco/{NATIVE}"
    )
    assert not checked.passed
    assert "step 1429" in str(checked.description)
    run("ecco", "granules", NATIVE, "--partition", "1992-01")  # asked for by name, it is there
    for path in [*folder.rglob("*.0000001429.*")]:
        path.unlink()
    run("ecco", "granules", NATIVE)


def test_submitted_jobs_wait_in_the_instance_as_backfills(tmp_path):
    import dagster as dg

    project = make_project(tmp_path / "project")
    jobs = written(tmp_path, "0,latlon,AVG_MON,all", "0,native,AVG_MON,1", "2,native,AVG_MON,all")
    result = Cli(project)("ecco", "jobs", "submit", jobs, "--json")
    rows = json.loads(result.stdout)
    assert [(row["dataset"], row["partitions"]) for row in rows[:2]] == [(LATLON, 2), (NATIVE, 1)]
    with dg.DagsterInstance.from_config(str(project / ".dagster")) as instance:
        waiting = {found.backfill_id: found for found in instance.get_backfills()}
        assert waiting.keys() == {row["backfill"] for row in rows}
        assert {found.title for found in waiting.values()} == {"jobs.txt"}
        first = waiting[rows[0]["backfill"]]
        assert first.asset_selection == [dg.AssetKey(["ecco", LATLON])]


def test_jobs_are_created_by_options_and_read_back(tmp_path):
    def create(*words: str):
        result = CliRunner().invoke(app, ["ecco", "jobs", "create", *words, "--json"])
        assert result.exit_code == 0, result.exception
        return json.loads(result.stdout)

    out = tmp_path / "created_jobs.txt"
    options = ("--grouping", "SEA_SURFACE_HEIGHT", "--frequency", "AVG_MON", "--out", str(out))
    (row,) = create(*options, "--steps", "1992-01/1992-03")
    assert row == {"file": str(out), "jobs": 2}
    assert [line for line in out.read_text().splitlines() if not line.startswith("#")] == [
        "0,native,AVG_MON,[1992-01/1992-03]",
        "0,latlon,AVG_MON,[1992-01/1992-03]",
    ]
    before = out.read_bytes()
    result = CliRunner().invoke(app, ["ecco", "jobs", "create", *options])
    assert isinstance(result.exception, ConfigurationError)
    assert result.exception.code == "OutputConflict"
    assert out.read_bytes() == before
    rows = create("--product", "latlon", "--out", str(tmp_path / "each.txt"), "--each")
    assert len(rows) == len({row["file"] for row in rows}) > 20
    assert str(tmp_path / "each_SEA_SURFACE_HEIGHT_AVG_DAY.txt") in {row["file"] for row in rows}


def test_a_metadata_folder_is_imported_and_used(cli, tmp_path):  # noqa: F811
    folder = real_data("ecco_meta", "V4r4")
    out = tmp_path / "overlay"
    words = ["ecco", "import", "metadata", str(folder), "--out", str(out), "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.exception
    found = json.loads(result.stdout)
    assert found["provenance"]["variables.SSH.long_name"].endswith("variable_metadata.json: SSH")
    assert all("1D" in row["dataset"] for row in found["table"])
    again = CliRunner().invoke(app, words)
    assert isinstance(again.exception, ConfigurationError)
    rows = json.loads(cli("ecco", "plan", LATLON, "--configs", str(out), "--json").stdout)
    assert rows[0]["asked"] == 312


def test_stored_factors_are_held_against_ours(cli, tmp_path):  # noqa: F811
    from dor_ecco_assets.mapping.factors import from_dataset, level_weights
    from dor_ecco_assets.products import Production
    from dor_ecco_assets.settings import find_places

    cli("ecco", "factors")
    space = Production.at(find_places(project=cli.project)).workspace()
    factors = from_dataset(space.open_upstream("mapping/llc90_to_latlon_0p50deg"))
    operator = csr_matrix(level_weights(factors, 0).T.tocsr()[factors.wet[0]])
    (tmp_path / "sparse").mkdir()
    path = tmp_path / "sparse" / "sparse_matrix_0.npz"
    save_npz(path, operator)
    (row,) = json.loads(cli("ecco", "import", "factors", str(tmp_path), "--json").stdout)
    assert (row["level"], row["found"]) == (0, "equal")
    save_npz(path, operator[:, ::-1])
    (row,) = json.loads(cli("ecco", "import", "factors", str(tmp_path), "--json", code=1).stdout)
    assert "targets differ" in row["found"]
    assert "no sparse" in cli("ecco", "import", "factors", str(tmp_path / "x"), code=1).stderr
