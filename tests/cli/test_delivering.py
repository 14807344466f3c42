"""`ecco deliver`, `report`, `compare` and `annotate` on a project, as a user meets them."""

import json
import shutil
from pathlib import Path

import netCDF4
import pytest

from tests.cli.production import Cli, make_project


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    project = Cli(make_project(tmp_path_factory.mktemp("delivering")))
    project("ecco", "granules", "SSH_LLC0090GRID_MONTHLY")
    return project


def granules(cli: Cli) -> Path:
    return cli.project / "data/ecco/ECCO_L4_SSH_LLC0090GRID_MONTHLY_V4R4"


def test_deliver_makes_every_month_that_has_granules_once(cli):
    rows = json.loads(cli("ecco", "deliver", "--json").stdout)
    assert [(row["month"], row["became"], row["granules"]) for row in rows] == [
        ("1992-01", "made", 1),
        ("1992-02", "made", 1),
    ]
    assert (Path(rows[0]["uri"]) / "manifest.jsonl").exists()
    again = json.loads(cli("ecco", "deliver", "1992-01", "--json").stdout)
    assert [row["became"] for row in again] == ["up to date"]


def test_relative_uris_are_pointed_out(cli):
    assert "1992-01: the URIs are relative" in cli("ecco", "deliver", "1992-01").stderr


def test_incomplete_granules_are_left_out_and_stale_ones_stop_their_month(tmp_path):
    own = Cli(make_project(tmp_path))
    inputs = tmp_path / "data/inputs/V4r4/diags_monthly"
    own("ecco", "granules", "SSH_LLC0090GRID_MONTHLY", "--partition", "1992-02")
    for path in (inputs / "oceTAUY_mon_mean").glob("*.0000001428.*"):
        path.unlink()
    partial = ("STRESS_05DEG_MONTHLY", "--partition", "1992-02", "--allow-partial")
    own("ecco", "granules", *partial)
    for _ in range(2):  # the second time it is up to date
        result = own("ecco", "deliver", "--json", code=1)
        assert [row["granules"] for row in json.loads(result.stdout)] == [1]
        named = "left out: ECCO_L4_STRESS_05DEG_MONTHLY_V4R4 1992-02 without oceTAUE, oceTAUN"
        assert named in result.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOR_ECCO_DELIVER_PARTIAL", "0")
        result = own("ecco", "deliver", "--json", "--allow-partial")
    assert [row["granules"] for row in json.loads(result.stdout)] == [2]
    one, two = sorted((inputs / "SSH_mon_mean").glob("*.data"))
    two.write_bytes(one.read_bytes())
    result = own("ecco", "deliver", "--json", code=1)
    assert json.loads(result.stdout) == []
    assert "dor-ecco ecco granules ECCO_L4_SSH_LLC0090GRID_MONTHLY_V4R4 [Stale" in result.stderr


def test_a_month_without_granules_fails_with_what_to_do(cli):
    result = cli("ecco", "deliver", "2001-01", code=1)
    assert "none of the partitions that it is made from has been made" in result.stderr
    assert "NothingToGather" in result.stderr


def test_an_unknown_month_names_those_there_are(cli):
    assert "it has 1992-01 to 2017-12" in cli("ecco", "deliver", "1850-01", code=2).stderr


def test_report_makes_a_page(cli):
    rows = json.loads(cli("ecco", "report", "1992-02", "--json").stdout)
    assert Path(rows[0]["uri"]).read_text().startswith("<!doctype html>")


def test_stale_and_why_name_changed_members(cli):
    cli("ecco", "deliver")
    states = json.loads(cli("stale", "ecco/delivery", "--json").stdout)
    assert states == []
    found = json.loads(cli("why", "ecco/delivery", "1992-02", "--json").stdout)
    assert [member["partition"] for member in found["upstream"]] == ["1992-02"]


def test_granules_and_verify_leave_deliveries_alone(cli):
    cli("ecco", "deliver")
    rows = json.loads(cli("ecco", "verify", "--json").stdout)
    assert {row["product"] for row in rows} == {"ecco/ECCO_L4_SSH_LLC0090GRID_MONTHLY_V4R4"}
    assert {row["found"] for row in rows} == {"good"}


class Bare(Cli):
    """Commands that take no project."""

    def __call__(self, *words: str, code: int = 0):
        from typer.testing import CliRunner

        from dor_ecco_assets.cli import app, exit_code
        from dor_ecco_assets.errors import DorEccoError

        result = CliRunner().invoke(app, list(words))
        found = result.exit_code
        if isinstance(result.exception, DorEccoError):
            found = exit_code(result.exception)
            result.stderr_bytes += result.exception.message.encode()
        assert found == code, f"exit code {found}\n{result.stdout}\n{result.stderr}"
        return result


@pytest.fixture
def folders(cli, tmp_path) -> tuple[Path, Path]:
    for side in "ab":
        shutil.copytree(granules(cli), tmp_path / side)
    return tmp_path / "a", tmp_path / "b"


def test_compare_ends_with_0_where_all_is_equal(cli, folders):
    result = Bare(cli.project)("ecco", "compare", *map(str, folders))
    assert result.stdout == "2 compared, 0 different, 0 unpaired\n"


def test_compare_ends_with_1_and_says_what_differs_and_where(cli, folders):
    one, two = sorted(folders[1].glob("*.nc"))
    two.rename(two.with_name("other.nc"))
    with netCDF4.Dataset(one, "r+") as file:
        file["SSH"][0, 1, 2, 3] = 7.0
        file.uuid = "x"
    bare = Bare(cli.project)
    result = bare("ecco", "compare", *map(str, folders), code=1)
    assert "1 compared, 1 different, 2 unpaired" in result.stdout
    assert "tile 1, j 2, i 3" in result.stdout
    found = json.loads(bare("ecco", "compare", *map(str, folders), "--json", code=1).stdout)
    assert found["equal"] is False
    assert found["only_in"][str(folders[1])] == ["other.nc"]
    (value,) = found["files"][one.name]["values"]
    assert value["where"] == {"time": 0, "tile": 1, "j": 2, "i": 3}
    first = folders[0] / one.name
    words = (str(first), str(one), "--atol", "100", "--ignore-dates")
    bare("ecco", "compare", *words)
    bare("ecco", "compare", str(first), str(folders[1]), code=2)
    bare("ecco", "compare", str(first), str(one) + "x", code=2)


def test_compare_ends_with_2_where_something_could_not_be_compared(cli, folders):
    one, _ = sorted(folders[1].glob("*.nc"))
    one.write_bytes(b"no")
    bare = Bare(cli.project)
    result = bare("ecco", "compare", *map(str, folders), code=2)
    assert "1 compared, 0 different, 0 unpaired, 1 not compared" in result.stdout
    assert f"not compared: {one.name}: " in result.stderr
    found = json.loads(bare("ecco", "compare", *map(str, folders), "--json", code=2).stdout)
    assert (found["equal"], list(found["not_compared"])) == (False, [one.name])
    bare("ecco", "compare", str(folders[0]), str(folders[1] / "none"), code=2)


def test_annotate_lists_then_changes_then_has_nothing_to_do(cli, folders):
    one = min(folders[0].glob("*.nc"))
    with netCDF4.Dataset(one, "r+") as file:
        file.author = "somebody"
    bare = Bare(cli.project)
    dry = bare("ecco", "annotate", str(folders[0]), "--dry-run").stdout
    assert "author: somebody -> ECCO Consortium" in dry
    assert "would change, 1 attribute\n" in dry
    rows = json.loads(bare("ecco", "annotate", str(folders[0]), "--json").stdout)
    assert [row["became"] for row in rows] == ["changed", "up to date"]
    rows = json.loads(bare("ecco", "annotate", str(folders[0]), "--json").stdout)
    assert [row["became"] for row in rows] == ["up to date", "up to date"]


def test_annotate_goes_on_after_a_file_that_it_refuses(cli, folders):
    (folders[0] / "other.nc").write_bytes(b"no")
    result = Bare(cli.project)("ecco", "annotate", str(folders[0]), "--json", code=1)
    assert "NotAGranuleName" in result.stderr
    rows = json.loads(result.stdout)
    assert [row["became"] for row in rows] == ["up to date", "up to date", "failed"]
    shown = Bare(cli.project)("ecco", "annotate", str(folders[0]), code=1)
    assert "failed" not in shown.stdout
    (line,) = [line for line in shown.stderr.splitlines() if line.startswith("failed: ")]
    assert line.count("other.nc") == 1
    refused = Bare(cli.project)("ecco", "annotate", str(granules(cli)), code=1)
    assert "dor-ecco ecco granules ECCO_L4_SSH_LLC0090GRID_MONTHLY_V4R4" in refused.stderr
