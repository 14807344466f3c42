"""Two worker processes of one command: what each asset's step says of what was made ahead of it."""

import json

from tests.cli.production import Cli, make_project
from tests.support.kill import tree_digest


def test_workers_make_everything_once_and_every_asset_says_so(tmp_path):
    alone, crew = (Cli(make_project(tmp_path / name, months=(732,))) for name in ("one", "two"))
    asked = ("ecco", "granules", "SSH", "STRESS", "--json")
    alone(*asked)
    made = json.loads(crew(*asked, "--workers", "2").stdout)
    # Monthly and daily datasets: two runs, whose later assets were made while the first reported.
    assert len(made) == 8
    assert {row["became"] for row in made} == {"made"}
    again = json.loads(crew(*asked, "--workers", "2").stdout)
    assert {row["became"] for row in again} == {"up to date"}
    forced = json.loads(crew(*asked, "--workers", "2", "--force").stdout)
    assert {row["became"] for row in forced} == {"made"}
    for folder in ("ecco", "grids", "mapping"):
        one, two = (tree_digest(each.project / "data" / folder) for each in (alone, crew))
        assert one == two


def test_no_worker_outlives_its_command(tmp_path):
    import psutil

    before = {child.pid for child in psutil.Process().children(recursive=True)}
    crew = Cli(make_project(tmp_path, months=(732,), days=()))
    crew("ecco", "granules", "SSH", "--workers", "2")
    left = [c for c in psutil.Process().children(recursive=True) if c.pid not in before]
    assert not [child.cmdline() for child in left if "spawn_main" in " ".join(child.cmdline())]


def test_another_run_is_not_given_what_nobody_asked_for(tmp_path):
    from dor_ecco_assets.lineage.workspace import Policy
    from dor_ecco_assets.products import Production
    from dor_ecco_assets.settings import find_places
    from resources.compute import Crew, Job

    project = make_project(tmp_path, months=(732,), days=())
    crew = Crew(Production.at(find_places(project=project)), 1)
    try:
        job = Job("ecco/ECCO_L4_SSH_LLC0090GRID_MONTHLY_V4R4", "1992-01", Policy())
        crew.take([job])
        assert crew.has(job)
        crew.forget()
        assert not crew.has(job)
        (outcome,) = crew.made([job])
        assert outcome.record.uri.endswith(".nc")
    finally:
        crew.close()
