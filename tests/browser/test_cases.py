"""Cases by the daemon of the web UI: the bytes and the lineage that the command leaves."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import dagster as dg
import pytest

from tests.browser.web_ui import WebUi
from tests.dor.atlas import make_inputs
from tests.dor.test_products import MEMBERS, identities, published

pytestmark = pytest.mark.browser

CASES = ("01|001", "04|001", "07|001", "10|001")


def test_a_backfill_leaves_the_bytes_and_the_lineage_of_the_command(tmp_path, monkeypatch):
    make_inputs(tmp_path, CASES)
    monkeypatch.setenv("DOR_ECCO_CONFIGS", str(tmp_path / "configs"))
    by_daemon, by_command = (tmp_path / name for name in ("daemon", "command"))
    for project in (by_daemon, by_command):
        shutil.copytree(tmp_path / "inputs", project / "data/inputs", copy_function=shutil.copy2)
    with WebUi(by_daemon, Path(sys.executable).parent) as ui:
        asked = f"dor-ecco cases process-all --polygon 1 --json --project {by_daemon}"
        (row,) = json.loads(ui.shell(f"{asked} --submit"))
        assert ui.finished_backfill(row["backfill"]) == "COMPLETED_SUCCESS"
        for key in MEMBERS:
            assert ui.partitions(key)["numMaterialized"] == len(CASES)
        ui.shell(f"dor-ecco cases process-all --polygon 1 --project {by_command}")
    assert published(by_daemon / "data") == published(by_command / "data")
    assert identities(by_daemon / "data") == identities(by_command / "data")
    assert told(by_daemon) == told(by_command)


def told(project: Path) -> dict[tuple[str, str], dict[str, object]]:
    """What an instance knows of every case: checksums, fingerprints and software."""
    found: dict[tuple[str, str], dict[str, object]] = {}
    with dg.DagsterInstance.from_config(str(project / ".dagster")) as instance:
        for key in MEMBERS:
            asset = dg.AssetKey(key.split("/"))
            records = instance.fetch_materializations(asset, limit=100).records
            for record in records:
                made = record.asset_materialization
                assert made is not None
                assert (key, made.partition) not in found, "told twice"
                named = ("sha256", "fingerprint", "bytes", "software", "became")
                found[key, made.partition or ""] = {n: made.metadata[n].value for n in named}
    return found
