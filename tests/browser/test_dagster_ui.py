"""The web UI in a real browser: launch a year, look at it, break it, mend it; stay on this host.

``UI_PICTURES=docs/images uv run pytest -m browser --basetemp=/srv/ocean`` also saves the pictures
of the user guide, with paths below ``--basetemp`` in them.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dor_ecco_assets.ecco.times import V4R4_CLOCK
from tests.browser.pages import CHROMIUM, browser_page, save_picture
from tests.browser.web_ui import WebUi
from tests.cli.production import make_project

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on PATH"),
]

SSH = "ecco/ECCO_L4_SSH_05DEG_MONTHLY_V4R4"
NATIVE = "ecco/ECCO_L4_SSH_LLC0090GRID_MONTHLY_V4R4"
UPSTREAM = ("grids/llc90", "grids/latlon_0p50deg", "mapping/llc90_to_latlon_0p50deg")
MONTHS = tuple(f"1992-{month:02d}" for month in range(1, 13))
ALL_DONE = {"numMaterialized": 12, "numFailed": 0, "numMaterializing": 0}


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebUi]:
    """The UI of a production with a year of sample output."""
    steps = [V4R4_CLOCK.step_of(month, "AVG_MON") for month in MONTHS]
    project = make_project(tmp_path_factory.mktemp("project"), side=30, months=steps, days=())
    with WebUi(project, Path(sys.executable).parent) as running:
        yield running


@pytest.fixture
def page(ui: WebUi, tmp_path: Path) -> Iterator[Page]:
    with browser_page(tmp_path / "profile") as found:
        yield found


def test_a_year_launched_in_the_browser_is_materialised_and_can_be_looked_at(ui, page):
    page.goto(f"{ui.url}/assets/{SSH}?view=partitions")
    page.get_by_text("Missing (312)").wait_for()
    launch(page, "[1992-01...1992-12]", "12 partitions")
    assert ui.finished_backfill(ui.newest_backfill()) == "COMPLETED_SUCCESS"
    assert ui.partitions(SSH) == ALL_DONE
    assert ui.check(SSH)["success"] is True
    (made,) = ui.materialisations(SSH, "1992-03")
    assert abs(made["metadata"]["mean_SSH_m"]) < 0.8
    assert made["metadata"]["wet_cells"] > 100_000
    for key in UPSTREAM:  # made by the same run, because they were not there
        assert [found["runId"] for found in ui.materialisations(key)] == [made["runId"]]

    page.goto(f"{ui.url}/assets/{SSH}?view=partitions&partition=1992-03")
    page.get_by_text("Materialized (12)").wait_for()
    page.get_by_text(str(made["metadata"]["mean_SSH_m"])).wait_for()
    table = page.screenshot()
    page.get_by_text("Show Markdown").click()
    picture = page.locator("img[src^='data:image/png']")
    picture.wait_for()
    assert picture.evaluate("image => image.naturalWidth") == 360
    page.wait_for_timeout(1000)  # the dialog moves in
    save_picture("metadata", table, page.locator("[role=dialog]").last.screenshot())

    page.goto(f"{ui.url}/runs")
    page.get_by_text("Success").first.wait_for()


def test_the_graph_shows_every_line_and_its_assets(ui, page):
    keys = [
        "/".join(node["assetKey"]["path"])
        for node in ui.ask("{assetNodes {assetKey {path}}}")["assetNodes"]
    ]
    lines = sorted({key.split("/")[0] for key in keys})
    assert {"ecco", "grids", "mapping"} <= set(lines)
    page.goto(f"{ui.url}/asset-groups")
    for line in lines:
        page.locator("foreignObject").get_by_text(line, exact=True).first.wait_for()

    page.goto(f"{ui.url}/assets/{SSH}?view=lineage&lineageScope=upstream")
    for name in ("model_output", "llc90", "latlon_0p50deg", "ECCO_L4_SSH_05DEG_MONTHLY_V4R4"):
        page.locator("foreignObject").get_by_text(name, exact=True).first.wait_for()
    page.locator("foreignObject").get_by_text("Loading").first.wait_for(state="hidden")
    page.wait_for_timeout(2000)  # the graph moves in
    save_picture("graph", page.screenshot())


def test_commands_leave_their_runs_in_the_same_instance(ui):
    before = ui.runs()
    ui.shell(f"dor-ecco ecco granules SSH_05DEG --partition 1992-01 --force --project {ui.project}")
    (by_cli,) = ui.runs().keys() - before.keys()
    assert ui.materialisations(SSH, "1992-01")[0]["runId"] == by_cli
    ui.shell(
        f'eval "$(dor-ecco doctor --export --project {ui.project})"\n'
        "dagster asset materialize -m dor_ecco_assets.definitions "
        f"--select {SSH} --partition 1992-02"
    )
    runs = ui.runs()
    (by_dagster,) = runs.keys() - before.keys() - {by_cli}
    assert ui.materialisations(SSH, "1992-02")[0]["runId"] == by_dagster
    for run, month in ((by_cli, "1992-01"), (by_dagster, "1992-02")):
        assert runs[run]["status"] == "SUCCESS"
        assert runs[run]["dagster/partition"] == month
    for key in UPSTREAM:
        assert ui.materialisations(key)
    known = len(runs)
    ui.shell(f"dor-ecco ecco granules SSH_05DEG --partition 1992-01 --project {ui.project}")
    assert len(ui.runs()) == known  # what is up to date is answered from its record, without a run


def test_a_broken_month_fails_alone_is_explained_and_alone_is_made_when_mended(ui, page):
    step = V4R4_CLOCK.step_of("1992-05", "AVG_MON")
    broken = (
        ui.project / f"data/inputs/V4r4/diags_monthly/SSH_mon_mean/SSH_mon_mean.{step:010d}.data"
    )
    whole = broken.read_bytes()
    broken.write_bytes(whole[:1000])
    assert ui.finished_backfill(ui.launch_backfill(NATIVE, MONTHS)) == "COMPLETED_FAILED"
    assert ui.partitions(NATIVE) == {**ALL_DONE, "numMaterialized": 11, "numFailed": 1}
    check = ui.check(NATIVE)
    assert check["success"] is False
    assert check["metadata"]["quarantined_partitions"] == 1
    assert "1992-05" in check["description"]
    (found,) = check["metadata"]["quarantined"]
    assert found["partition"] == "1992-05"
    assert found["uri"] == str(broken)
    assert "1000 bytes, expected 46800" in found["reason"]

    page.goto(f"{ui.url}/assets/{NATIVE}?view=checks&checkDetail=inputs_usable")
    page.get_by_text("Failed", exact=True).first.wait_for()
    page.get_by_text("1000 bytes, expected 46800").first.wait_for()
    page.goto(f"{ui.url}/assets/{NATIVE}?view=partitions&partition=1992-05")
    page.get_by_text("Failed (1)").wait_for()
    page.get_by_text(re.compile("failed, and did not materialize")).wait_for()

    broken.write_bytes(whole)
    assert ui.finished_backfill(ui.launch_backfill(NATIVE, MONTHS)) == "COMPLETED_SUCCESS"
    assert ui.partitions(NATIVE) == ALL_DONE
    assert ui.check(NATIVE)["success"] is True
    newest = {month: ui.materialisations(NATIVE, month)[0]["metadata"] for month in MONTHS}
    assert [month for month in MONTHS if newest[month]["became"] == "made"] == ["1992-05"]


def launch(page: Page, partitions: str, expected: str) -> None:
    """Launch a backfill through the Materialize dialog of the asset that the page shows."""
    page.locator("button", has_text="Materialize").first.click()
    # Dagster asks when what the asset is made from has never been materialised.
    confirm = page.get_by_role("button", name="Confirm")
    dialog = page.locator("[role=dialog]", has_text="Launch runs to materialize")
    confirm.or_(dialog).first.wait_for()
    if confirm.is_visible():
        confirm.click()
    box = dialog.get_by_placeholder(re.compile("^ex: "))
    box.fill(partitions)
    box.blur()
    dialog.get_by_text(expected).wait_for()
    dialog.locator("button", has_text=re.compile("^Launch")).click()
    page.get_by_text("Created backfill").wait_for()
