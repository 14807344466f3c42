"""A job file as backfills of the web UI's daemon: killed in the middle, run again, equal bytes."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from dor_ecco_assets.ecco.times import V4R4_CLOCK
from tests.browser.web_ui import WebUi
from tests.cli.production import make_project
from tests.support.data import real_data

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.browser

BIN = Path(sys.executable).parent
LATLON = "ecco/ECCO_L4_SSH_05DEG_MONTHLY_V4R4"
NATIVE = "ecco/ECCO_L4_SSH_LLC0090GRID_MONTHLY_V4R4"
MONTHS = tuple(f"1992-{month:02d}" for month in range(1, 13))

JOBS = """\
# a year on both grids
0,latlon,AVG_MON,all
[0,'native','AVG_MON',['1992-01/1992-12']]
done
"""


@pytest.fixture
def steps() -> list[int]:
    return [V4R4_CLOCK.step_of(month, "AVG_MON") for month in MONTHS]


def test_a_job_file_killed_in_the_middle_and_submitted_again_gives_the_bytes_of_a_clean_run(
    tmp_path, steps
):
    lines = JOBS
    real = real_data_or_none()
    if real is not None:  # the lines of the released file that the sample has fields for
        wanted = ("0,latlon,AVG_MON,all", "0,native,AVG_MON,all")
        lines = "\n".join(line for line in real.read_text().splitlines() if line in wanted) + "\n"
        assert lines.count("\n") == 2
    projects = [
        make_project(tmp_path / name, side=30, months=steps, days=()) for name in ("one", "two")
    ]
    for project in projects:
        (project / "jobs.txt").write_text(lines)
    broken, clean = projects
    with WebUi(broken, BIN) as ui:
        first = submitted(ui)
        ui.wait_for(lambda: len(made(broken, LATLON)) >= 2, 300, "the second granule")
        for process in run_processes(ui):
            process.kill()
        assert len(made(broken, LATLON)) < len(MONTHS), "the run ended before it was killed"
        for identifier in first:  # Dagster tries a run whose process was lost once more
            ui.finished_backfill(identifier)
        assert "FAILURE" in {found["status"] for found in ui.runs().values()}
        second = submitted(ui)
        assert {ui.finished_backfill(identifier) for identifier in second} == {"COMPLETED_SUCCESS"}
        for key in (LATLON, NATIVE):
            assert ui.partitions(key)["numMaterialized"] == len(MONTHS)
        ui.shell(f"dor-ecco ecco jobs run {clean}/jobs.txt --project {clean}")
    assert [made(broken, key) for key in (LATLON, NATIVE)] == [list(MONTHS)] * 2
    assert published(broken) == published(clean)


def real_data_or_none() -> Path | None:
    try:
        return real_data("ecco_meta", "configs", "jobs.txt")
    except pytest.skip.Exception:
        return None


def submitted(ui: WebUi) -> Sequence[str]:
    """Identifiers of the backfills that the project's job file becomes."""
    import json

    rows = json.loads(ui.shell(f"dor-ecco ecco jobs submit jobs.txt --project {ui.project} --json"))
    assert [row["partitions"] for row in rows] == [12, 12]
    return [row["backfill"] for row in rows]


def made(project: Path, key: str) -> list[str]:
    """Partitions of a product that have a record."""
    return sorted(path.stem for path in (project / "data/.records" / key).glob("*.json"))


def published(project: Path) -> dict[str, str]:
    """SHA-256 of every published file by its path."""
    import hashlib

    root = project / "data"
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for line in ("ecco", "grids", "mapping")
        for path in (root / line).rglob("*")
        if path.is_file()
    }


def run_processes(ui: WebUi) -> list[psutil.Process]:
    """Processes that code servers have started for runs."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found: list[psutil.Process] = []
        for process in ui.processes():
            with contextlib.suppress(psutil.Error):
                parent = process.parent()
                below_server = parent is not None and "grpc" in " ".join(parent.cmdline())
                if "spawn_main" in " ".join(process.cmdline()) and below_server:
                    found.append(process)
        if found:
            return found
        time.sleep(0.05)
    listing = "\n".join(" ".join(process.cmdline()) for process in ui.processes())
    raise AssertionError(f"no process of a run among\n{listing}")
