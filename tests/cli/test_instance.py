"""The Dagster instance of a new project, opened by several commands at once."""

import subprocess
import sys
import time
from pathlib import Path

COMMAND = """
import os, sys, time
from pathlib import Path

import dagster as dg
from dor_ecco_assets.cli.running import ensure_instance
from dor_ecco_assets.settings import find_places

places = find_places(project=Path(sys.argv[1]))
os.environ.update(places.environment())
print("ready", flush=True)
while not Path(sys.argv[1], "go").exists():
    time.sleep(0.001)
ensure_instance(places)
with dg.DagsterInstance.from_config(str(places.dagster_home)) as instance:
    print(instance.get_runs_count())
"""


def test_commands_that_start_at_once_in_an_empty_project_share_one_instance(tmp_path: Path):
    started = [
        subprocess.Popen(
            [sys.executable, "-c", COMMAND, str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    (tmp_path / "go").touch()
    found = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0] * 4, found
    assert [out for out, _ in found] == ["0\n"] * 4
