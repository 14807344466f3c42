"""A sample collection as a user has it: an archive, CMR that lists it, its configuration."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from dor_ecco_assets.products import Production
from dor_ecco_assets.samples.virtual_granules import DAILY, SWATHS, write_archive
from dor_ecco_assets.settings import Place
from dor_ecco_assets.virtual.services import CMR_VARIABLE
from tests.support.cmr import CmrServer
from tests.virtual.specs import PLAIN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

    from dor_ecco_assets.samples.virtual_granules import SampleGranule

NAME = "SAMPLE_L4_SST_DAILY"


@dataclass
class SampleCollection:
    """Where everything lies; `arrive` lets granules come."""

    folder: Path
    server: CmrServer
    granules: list[SampleGranule]
    come: int = 0

    @property
    def configs(self) -> str:
        return str(self.folder / "configs")

    def production(self, root: str | None = None) -> Production:
        return Production(
            Place(root=root or str(self.folder / "data")),
            Place(root=str(self.folder / "inputs")),
            self.configs,
        )

    def workspace(self):
        return self.production().workspace()

    def arrive(self, count: int | None = None) -> None:
        """Let the next granules appear in CMR and in the archive, in the order of revision."""
        last = len(self.granules) if count is None else self.come + count
        for granule in self.granules[self.come : last]:
            item = dict(granule.item)
            concept_id, revision = item["meta"]["concept-id"], item["meta"]["revision-id"]
            known = [i for i in self.server.items if i["meta"]["concept-id"] == concept_id]
            if known and known[0]["meta"]["revision-id"] > revision:
                continue
            self.server.items[:] = [
                each for each in self.server.items if each["meta"]["concept-id"] != concept_id
            ]
            self.server.items.append(item)
            if granule.path is not None:  # the archive holds the newest revision's bytes
                name = granule.path.name.partition(".revision")[0]
                place = self.folder / "archive" / granule.path.parent.name / name
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(granule.path.read_bytes())
        self.come = min(last, len(self.granules))

    def withdraw(self, concept_id: str, when: str) -> None:
        """Delete a granule from CMR."""
        (item,) = [i for i in self.server.items if i["meta"]["concept-id"] == concept_id]
        self.server.items.remove(item)
        self.server.deleted.append(
            {
                "granule-ur": item["umm"]["GranuleUR"],
                "concept-id": concept_id,
                "revision-date": when,
                "parent-collection-id": item["meta"]["collection-concept-id"],
            }
        )

    def configure(self, **changes: Any) -> None:
        """Write the configuration anew with some keys changed."""
        from dor_ecco_assets.cli.running import definitions_of
        from dor_ecco_assets.products import all_products
        from dor_ecco_assets.virtual.collections import load_collections

        archive = {"local": f"{self.folder / 'archive'}/", **PLAIN["access"]}
        written = {**PLAIN, "access": archive, **changes}
        place = self.folder / "configs" / "collections"
        place.mkdir(parents=True, exist_ok=True)
        (place / "sample.yaml").write_text(yaml.safe_dump(written))
        for known in (all_products, load_collections, definitions_of):
            known.cache_clear()


@contextmanager
def sample_collection(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, days: int = 40, swaths: bool = False
) -> Iterator[SampleCollection]:
    """The daily collection, or the swaths, with nothing arrived yet."""
    archive = folder / "to_come"
    cycles = {"cycles": 2, "passes": 5} if swaths else {"cycles": 0}
    granules = [
        granule
        for granule in write_archive(archive, days=0 if swaths else days, repacked=0, **cycles)
        if granule.item["meta"]["collection-concept-id"] == (SWATHS if swaths else DAILY).concept_id
    ]
    with CmrServer() as server:
        monkeypatch.setenv(CMR_VARIABLE, server.endpoint)
        found = SampleCollection(folder, server, granules)
        found.configure()
        yield found
