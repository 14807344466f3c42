"""`dor-ecco vis` on store 2 as a person meets it, and the names of the former workflow."""

import json
import shutil

import pytest

from tests.cli.production import Cli
from tests.pyramids.sample import MAPS, Sample

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

ONE, TWO = "01|000", "01|001"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Sample:
    sample = Sample.make(tmp_path_factory.mktemp("cli"), months=3, variables="FG")
    for partition in (ONE, TWO):
        sample.write_case(partition)
    sample.workspace.make("dor/polygons", "")
    return sample


@pytest.fixture
def project(prepared, tmp_path):
    shutil.copytree(
        prepared.folder / "inputs", tmp_path / "data/inputs", copy_function=shutil.copy2
    )
    shutil.copytree(
        prepared.root, tmp_path / "data", copy_function=shutil.copy2, dirs_exist_ok=True
    )
    shutil.copytree(prepared.folder / "configs", tmp_path / "configs")
    return tmp_path


@pytest.fixture
def cli(project):
    run = Cli(project)
    return lambda *words, code=0: run(*words, "--configs", str(project / "configs"), code=code)


def files(folder) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_template_populate_and_status(cli, project):
    cli("vis", "template", "store2")
    assert (project / "data" / MAPS / "v2.zarr/.zmetadata").is_file()
    listed = json.loads(cli("vis", "status", "--json").stdout)
    assert len(listed) == 8
    assert {row["status"] for row in listed} == {"missing"}
    made = json.loads(cli("vis", "populate", "store2", "--json").stdout)
    assert made == [{"case": ONE, "became": "made"}, {"case": TWO, "became": "made"}]
    listed = json.loads(cli("vis", "status", "--json").stdout)
    complete = {row["partition"] for row in listed if row["status"] == "complete"}
    assert complete == {ONE, TWO}
    assert "complete" in cli("vis", "status").stdout
    index = json.loads((project / "data" / MAPS / "index.json").read_text())
    assert index["cases"] == {"1": [0, 1], "4": [], "7": [], "10": []}
    again = json.loads(cli("vis", "populate", "store2", "--json").stdout)
    assert {row["became"] for row in again} == {"up to date"}
    # A template over data is refused and touches nothing; forced, it removes them.
    before = files(project / "data" / MAPS)
    result = cli("vis", "template", "store2", code=2)
    assert "holds data of 2 cases" in result.stderr
    assert files(project / "data" / MAPS) == before
    cli("vis", "template", "store2", "--force")
    kept = files(project / "data" / MAPS)
    assert not any("case_status/0" in name or "index.json" in name for name in kept)
    stale = json.loads(cli("stale", "pyramids", "--json").stdout)
    standing = {(row["product"], row["partition"]): row["standing"] for row in stale}
    assert standing[MAPS, ONE] == "absent"


def test_the_former_names_do_the_same(cli, project):
    cli("vis", "create-template-store2", "--levels", "2", "--variables", "FG")
    words = ("--polygon-range", "0", "1", "--intervention-months", "1")
    cli("vis", "populate-store2", *words, "--weights-store", "anything", "--levels", "2")
    listed = json.loads(cli("vis", "status", "--json").stdout)
    assert [row["partition"] for row in listed if row["status"] == "complete"] == [ONE]
    cli("vis", "populate-store2", "-p", "1", "--output-store", str(project / "copy.zarr"))
    copied = files(project / "copy.zarr")
    assert copied == files(project / "data" / MAPS / "v2.zarr")
    assert "0/FG/1.1.0.0.0.0.0" in " ".join(copied)


def test_a_layout_that_is_not_the_atlas_own_is_refused(cli):
    assert "--levels 3" in cli("vis", "create-template-store2", "-l", "3", code=2).stderr
    assert "PH" in cli("vis", "create-template-store2", "-v", "PH", code=2).stderr


def test_a_polygon_without_a_case_says_what_to_do(cli):
    result = cli("vis", "populate", "store2", "--polygon", "0", "--month", "7", code=1)
    assert "process-all" in result.stdout
