"""Records of granules that lie in a folder, searched as CMR is: for a place without network."""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from dor_ecco_assets.errors import InputMissing
from dor_ecco_assets.virtual.cmr import CmrQuery, CollectionRecord
from dor_ecco_assets.virtual.granule_records import (
    GranuleRecord,
    Tombstone,
    parse_tombstone,
    parse_umm,
)

__all__ = ["SavedRecords"]

#: Deletions lie in this file, every other is a page of records.
DELETED = "deleted.json"


class SavedRecords:
    """A folder of UMM-JSON pages, ``*.json`` with ``items``, and of ``deleted.json``.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def search(self, query: CmrQuery) -> list[GranuleRecord]:
        """As `CmrClient.search`; a box is not looked at."""
        newest: dict[str, GranuleRecord] = {}
        for item in self._items():
            record = parse_umm(item)
            since = query.revised_since
            fits = _is_meant(item, query) and query.includes(record)
            if fits and (since is None or record.revision_date >= since):
                known = newest.get(record.concept_id)
                if known is None or known.revision_id < record.revision_id:
                    newest[record.concept_id] = record
        return sorted(newest.values(), key=lambda each: (each.revision_date, each.concept_id))

    def some(self, query: CmrQuery, count: int) -> list[GranuleRecord]:
        """As `CmrClient.some`."""
        found = sorted(self.search(query), key=lambda each: (str(each.begin), each.concept_id))
        return found[:count]

    def count(self, query: CmrQuery) -> int:
        """As `CmrClient.count`."""
        return len(self.search(query))

    def deleted(self, collection_concept_id: str, since: datetime) -> list[Tombstone]:
        """As `CmrClient.deleted`."""
        path = self._folder / DELETED
        rows = json.loads(path.read_text()) if path.exists() else []
        found = [parse_tombstone(row) for row in rows]
        return [
            each
            for each in found
            if each.collection_concept_id == collection_concept_id and each.deleted >= since
        ]

    def collections(self, **_names: str | None) -> list[CollectionRecord]:
        """None: saved records are of granules."""
        return []

    def _items(self) -> Iterator[Mapping[str, Any]]:
        if not self._folder.is_dir():
            raise InputMissing(
                f"there is no folder {self._folder} with saved records; bring them, or name CMR by "
                "collection.cmr in the configuration",
                code="NoSavedRecords",
            )
        for path in sorted(self._folder.glob("*.json")):
            if path.name != DELETED:
                yield from json.loads(path.read_text()).get("items", [])


def _is_meant(item: Mapping[str, Any], query: CmrQuery) -> bool:
    meta, reference = item["meta"], item["umm"].get("CollectionReference", {})
    if query.concept_id is not None:
        return meta.get("collection-concept-id") == query.concept_id
    wanted = {
        "ShortName": query.short_name,
        "Version": query.version,
    }
    fits = all(value in (None, reference.get(name)) for name, value in wanted.items())
    return fits and query.provider in (None, meta.get("provider-id"))
