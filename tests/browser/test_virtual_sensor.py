"""The sensor of a virtual store in the web UI: switched on once, then granules come alone."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import xarray as xr
import yaml

import dor_ecco_assets
from dor_ecco_assets.samples.virtual_granules import BUCKET, DAILY, SampleGranule, write_archive
from dor_ecco_assets.virtual.collections import collection_name
from dor_ecco_assets.virtual.products import exports_key, references_key, store_key
from dor_ecco_assets.virtual.services import CMR_VARIABLE
from tests.browser.pages import CHROMIUM, browser_page, save_picture
from tests.browser.web_ui import WebUi
from tests.support.cmr import CmrServer
from tests.support.s3 import S3Server
from tests.virtual.specs import PLAIN

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on PATH"),
]

NAME = collection_name(DAILY.short_name)
SENSOR = f"virtual__{NAME}"
#: From a granule's arrival to its values in the store; 33 s on two cores at a load of 8.
ARRIVAL_S = 60


@dataclass
class Archive:
    """A bucket and the stand-in for CMR that lists it."""

    s3: S3Server
    cmr: CmrServer
    granules: list[SampleGranule]
    come: list[SampleGranule] = field(default_factory=list[SampleGranule])

    def arrive(self) -> SampleGranule:
        """Put the next granule into the bucket, and its record into CMR."""
        granule = self.granules[len(self.come)]
        assert granule.path is not None
        key = f"{DAILY.short_name}/{granule.path.name}"
        self.s3.client().put_object(Bucket=BUCKET, Key=key, Body=granule.path.read_bytes())
        self.cmr.items.append(dict(granule.item))
        self.come.append(granule)
        return granule


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    written = write_archive(tmp_path / "to_come", days=4, repacked=0, cycles=0)
    with S3Server() as s3, CmrServer() as cmr:
        s3.create_bucket(BUCKET)
        yield Archive(s3, cmr, written)


@pytest.fixture
def ui(archive: Archive, tmp_path: Path) -> Iterator[WebUi]:
    """The UI of a project with one collection, at which its sensor looks every 10 s."""
    project = tmp_path / "project"
    (project / "configs" / "collections").mkdir(parents=True)
    place = {"s3": f"s3://{BUCKET}/", "endpoint": archive.s3.endpoint}
    told = yaml.safe_dump({**PLAIN, "access": place, "interval_s": 10})
    (project / "configs" / "collections" / "sample.yaml").write_text(told)
    around = {**archive.s3.environment(), CMR_VARIABLE: archive.cmr.endpoint}
    with WebUi(project, Path(sys.executable).parent, around) as running:
        yield running


def test_a_granule_put_into_the_bucket_is_in_the_store_within_a_minute(
    archive, ui, tmp_path, monkeypatch
):
    for name, value in archive.s3.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DOR_ECCO_ROOT", str(ui.project / "data"))
    archive.arrive()
    archive.arrive()
    with browser_page(tmp_path / "profile") as page:
        page.goto(f"{ui.url}/locations/dor_ecco_assets.definitions/sensors/{SENSOR}")
        page.get_by_text("~10 sec").first.wait_for()
        box = page.locator("input[type=checkbox]")
        page.locator("label", has=box).or_(page.locator("input[type=checkbox] + *")).first.click()
        waited(ui, published=2)

        granule = archive.arrive()
        seconds = waited(ui, published=3)
        assert seconds < ARRIVAL_S
        with (
            dor_ecco_assets.open(store_key(NAME)) as found,
            xr.open_dataset(granule.path) as original,
        ):
            assert found.sizes["time"] == 3
            np.testing.assert_array_equal(
                found["analysed_sst"].sel(time=original.time).values, original.analysed_sst.values
            )

        ui.wait_for(lambda: settled(ui), 60, "the end of all runs")
        assert {run["dagster/sensor_name"] for run in ui.runs().values()} == {SENSOR}
        for part in (references_key(NAME), exports_key(NAME)):
            assert ui.materialisations(part)
        page.reload()
        page.get_by_text("1 run requested").first.wait_for()
        page.wait_for_timeout(1000)  # the timeline moves in
        save_picture("virtual-sensor", page.screenshot())


def waited(ui: WebUi, *, published: int) -> float:
    """Seconds until the record of the store says how many granules are published."""
    record = ui.project / "data" / ".records" / store_key(NAME) / "_.json"

    def there() -> bool:
        if not record.exists():
            return False
        return json.loads(record.read_text())["details"]["granules"]["published"] == published

    began = time.monotonic()
    ui.wait_for(there, 4 * ARRIVAL_S, f"{published} granules in the store")
    return time.monotonic() - began


def settled(ui: WebUi) -> bool:
    """Whether every run has ended."""
    return {run["status"] for run in ui.runs().values()} == {"SUCCESS"}
