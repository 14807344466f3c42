"""Granules that this platform published itself, listed as an archive's are: by its own records.

Another line's product stands in for a collection, its records for CMR's, and the root for the
archive, wherever that root lies when it is used.
"""

import os
import posixpath
from datetime import UTC, datetime, timedelta

from dor_ecco_assets.lineage.record import listed_records, read_record
from dor_ecco_assets.storage import Directory
from dor_ecco_assets.storage.base import Readable
from dor_ecco_assets.stores.icechunk_store import ROOT
from dor_ecco_assets.virtual.cmr import CmrClient, CmrQuery, CollectionRecord
from dor_ecco_assets.virtual.collections import Access, StoreSpec
from dor_ecco_assets.virtual.granule_records import (
    DataFile,
    GranuleRecord,
    Tombstone,
    parse_stamp,
)
from dor_ecco_assets.virtual.saved_records import SavedRecords
from dor_ecco_assets.virtual.services import cmr_client

__all__ = ["AnyCatalogue", "PublishedGranules", "catalogue_of", "located"]

type AnyCatalogue = CmrClient | SavedRecords | PublishedGranules


def located(spec: StoreSpec, storage: Readable) -> StoreSpec:
    """A collection with the place of its granules; as it is where its configuration names that."""
    if spec.collection.product is None:
        return spec
    if isinstance(storage, Directory):
        place = Access.model_validate({"name": ROOT, "local": f"{storage.root.absolute()}/"})
    else:
        told = storage.options  # pyright: ignore[reportAttributeAccessIssue] - it is a bucket
        given = {
            "s3": f"{storage.uri}/",
            "endpoint": told.endpoint,
            "region": told.region or os.environ.get("AWS_REGION"),
            "anonymous": told.anonymous,
        }
        place = Access.model_validate(
            {"name": ROOT, **{name: value for name, value in given.items() if value is not None}}
        )
    return spec.model_copy(update={"access": (place,)})


def catalogue_of(spec: StoreSpec, storage: Readable) -> "AnyCatalogue":
    """Who knows the granules of a collection: CMR, or the root's records of a product."""
    if spec.collection.product is None:
        return cmr_client(spec)
    return PublishedGranules(storage, spec.collection.product)


class PublishedGranules:
    """The recorded partitions of a product that is split by months or days.

    A granule that is made again is another revision: its bytes may be the same, but the file that
    a store refers to is not.

    Parameters
    ----------
    storage : Storage
    product : str
        Key of the product.
    """

    def __init__(self, storage: Readable, product: str) -> None:
        self._storage, self._product = storage, product

    def search(self, query: CmrQuery) -> list[GranuleRecord]:
        """As `CmrClient.search`; a box is not looked at."""
        since = query.revised_since
        found = [
            granule
            for partition, _ in listed_records(self._storage, self._product)
            if (granule := self._granule(partition)) is not None
            and query.includes(granule)
            and (since is None or granule.revision_date >= since)
        ]
        return sorted(found, key=lambda each: (each.revision_date, each.concept_id))

    def some(self, query: CmrQuery, count: int) -> list[GranuleRecord]:
        """As `CmrClient.some`."""
        return sorted(self.search(query), key=lambda each: each.concept_id)[:count]

    def count(self, query: CmrQuery) -> int:
        """As `CmrClient.count`."""
        return len(self.search(query))

    def deleted(self, collection_concept_id: str, since: datetime) -> list[Tombstone]:
        """None: a record that is gone leaves no trace, and shows when all are listed."""
        del collection_concept_id, since
        return []

    def collections(self, **_names: str | None) -> list[CollectionRecord]:
        """None: records are of granules."""
        return []

    def _granule(self, partition: str) -> GranuleRecord | None:
        record = read_record(self._storage, self._product, partition)
        if record is None:  # gone since it was listed
            return None
        made = parse_stamp(record.made)
        begin, end = _period(partition)
        name = posixpath.basename(record.uri)
        url = f"{_root_url(self._storage)}{record.uri}"
        return GranuleRecord(
            concept_id=f"{self._product.rpartition('/')[2]}.{partition}",
            granule_ur=name,
            revision_id=int(made.timestamp()),
            revision_date=made,
            collection_concept_id=self._product,
            provider_id="",
            begin=begin,
            end=end,
            production_date=None,
            files=(DataFile(name, url, None, record.bytes, ("SHA-256", record.sha256)),),
        )


def _root_url(storage: Readable) -> str:
    """Of a folder its name does not matter: keys are what follows the first slash."""
    return "s3://root/" if isinstance(storage, Directory) else f"{storage.uri}/"


def _period(partition: str) -> tuple[datetime, datetime]:
    """First and last moment of a month ``1992-01`` or a day ``1992-01-01``."""
    numbers = [int(part) for part in partition.split("-")]
    year, month, day = (*numbers, 1)[:3]
    begin = datetime(year, month, day, tzinfo=UTC)
    if len(numbers) > 2:
        return begin, begin + timedelta(days=1)
    return begin, datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
