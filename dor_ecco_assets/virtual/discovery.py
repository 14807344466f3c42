"""What the sensor does at each tick, without Dagster: find changes, ask for runs, remember.

Three things together keep a granule from being lost or asked for twice. CMR is asked for all that
was revised since the newest known revision, less an overlap, since records become visible late.
What it gives is taken into the listing, which knows every granule's revision. And a run is asked
for whenever the listing of a partition is another one than that for which a run was asked last,
under a name made from both, so that a tick that is repeated asks for the same run.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from dor_ecco_assets.errors import ConfigurationError, StorageUnavailable
from dor_ecco_assets.virtual.cmr import CmrQuery
from dor_ecco_assets.virtual.collections import StoreSpec
from dor_ecco_assets.virtual.granule_records import GranuleRecord, Tombstone, parse_stamp
from dor_ecco_assets.virtual.listing import Listing, PartitionFile, stamp_of_date, with_changes

__all__ = [
    "MOST_PARTITIONS",
    "OVERLAP",
    "Catalogue",
    "Changes",
    "Cursor",
    "Request",
    "look",
    "requests_of",
    "whole_listing",
]

#: Records become visible in CMR with revision dates this much older than the newest ones, at most;
#: what is later still is found when the whole collection is compared.
OVERLAP = timedelta(hours=6)
#: CMR remembers deletions this long.
DELETIONS_KEPT = timedelta(days=365)
#: Partitions for which one tick asks for runs.
MOST_PARTITIONS = 24
#: Records of the overlap that a cursor remembers; more are looked up in the listing.
MOST_SEEN = 5000

_VERSION = 1


class Catalogue(Protocol):
    """What of CMR discovery needs."""

    def search(self, query: CmrQuery) -> list[GranuleRecord]:
        """Every granule of a query, in its newest revision."""
        ...

    def deleted(self, collection_concept_id: str, since: datetime) -> list[Tombstone]:
        """Granules of a collection that were deleted at a time or later."""
        ...


@dataclass(frozen=True)
class Cursor:
    """Where discovery stands.

    Parameters
    ----------
    query : str
        Fingerprint of what was asked: under another question it starts again.
    high_water : datetime or None
        Newest revision that is known; None before the first look.
    looked : datetime or None
        When CMR was asked last: a collection may rest for longer than deletions are remembered.
    collections : tuple of str
        Concept ids of what a question by name found.
    seen : mapping of str to str
        Records of the overlap with their revision, so that they need not be looked up again.
    requested : mapping of str to str
        Partitions with the digest of the listing for which a run was asked last.
    """

    query: str = ""
    high_water: datetime | None = None
    looked: datetime | None = None
    collections: tuple[str, ...] = ()
    seen: Mapping[str, str] = field(default_factory=dict[str, str])
    requested: Mapping[str, str] = field(default_factory=dict[str, str])

    def encode(self) -> str:
        """As text that a sensor keeps."""
        return json.dumps(
            {
                "v": _VERSION,
                "query": self.query,
                "high_water": None if self.high_water is None else self.high_water.isoformat(),
                "looked": None if self.looked is None else self.looked.isoformat(),
                "collections": list(self.collections),
                "seen": dict(self.seen),
                "requested": dict(self.requested),
            },
            separators=(",", ":"),
            sort_keys=True,
        )

    @classmethod
    def decode(cls, text: str | None) -> "Cursor":
        """From the text that `encode` gave; none, or another version's, begins anew."""
        if not text:
            return cls()
        try:
            found: dict[str, Any] = json.loads(text)
            if found["v"] != _VERSION:
                return cls()
            high_water, looked = found["high_water"], found["looked"]
            return cls(
                found["query"],
                None if high_water is None else parse_stamp(high_water),
                None if looked is None else parse_stamp(looked),
                tuple(found["collections"]),
                found["seen"],
                found["requested"],
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(
                f"the sensor's cursor cannot be read ({error}); reset it in Dagster: granules that "
                "are published stay so",
                code="BadCursor",
            ) from error


@dataclass(frozen=True)
class Changes:
    """What one look at CMR found.

    Parameters
    ----------
    records : tuple of GranuleRecord
        New or revised since they were seen last.
    tombstones : tuple of Tombstone
    whole : bool
        Whether `records` are all there is, so that what is listed and not among them is gone.
    cursor : Cursor
        To go on from when the changes are listed.
    """

    records: tuple[GranuleRecord, ...]
    tombstones: tuple[Tombstone, ...]
    whole: bool
    cursor: Cursor

    def __bool__(self) -> bool:
        """Whether there is anything to be listed."""
        return bool(self.records or self.tombstones or self.whole)


def look(spec: StoreSpec, cursor: Cursor, cmr: Catalogue, now: datetime) -> Changes:
    """Ask CMR what changed since the cursor; the cursor moves only if every page came.

    Parameters
    ----------
    spec : StoreSpec
    cursor : Cursor
    cmr : Catalogue
    now : datetime, UTC
        Decides only since when deletions are asked for.

    Raises
    ------
    StorageUnavailable, StorageRefused
        As CMR's client does; nothing is to be remembered then.
    """
    question = spec.query()
    since, looked = cursor.high_water, cursor.looked
    if since is None or looked is None or cursor.query != question.fingerprint:
        return _look_at_all(cursor, question, cmr, now)
    if now - looked > DELETIONS_KEPT - OVERLAP:
        return _look_at_all(cursor, question, cmr, now)
    records = cmr.search(replace(question, revised_since=since - OVERLAP))
    cursor = _moved(cursor, question, records, now)
    tombstones = [
        each
        for concept_id in cursor.collections
        for each in cmr.deleted(concept_id, looked - OVERLAP)
    ]
    marks = dict(_mark(each) for each in (*records, *tombstones))
    return Changes(
        tuple(each for each in records if not _is_seen(cursor, each)),
        tuple(each for each in tombstones if not _is_seen(cursor, each)),
        whole=False,
        cursor=replace(cursor, seen=marks if len(marks) <= MOST_SEEN else {}),
    )


def _look_at_all(cursor: Cursor, question: CmrQuery, cmr: Catalogue, now: datetime) -> Changes:
    records = cmr.search(question)
    moved = replace(_moved(cursor, question, records, now), seen={})
    return Changes(tuple(records), (), whole=True, cursor=moved)


def _moved(
    cursor: Cursor, question: CmrQuery, records: Sequence[GranuleRecord], now: datetime
) -> Cursor:
    """The cursor after all pages came; a record dated in the future does not take it there."""
    stamps = [cursor.high_water, *(min(each.revision_date, now) for each in records)]
    found = {each.collection_concept_id for each in records} | set(cursor.collections)
    named = {question.concept_id} if question.concept_id else found - {""}
    return replace(
        cursor,
        query=question.fingerprint,
        high_water=max((when for when in stamps if when is not None), default=now),
        looked=now,
        collections=tuple(sorted(named)),
    )


def _mark(found: GranuleRecord | Tombstone) -> tuple[str, str]:
    """Name of a record or deletion, and what changes when it does."""
    if isinstance(found, Tombstone):
        return f"deleted {found.concept_id}", found.deleted.isoformat()
    return found.concept_id, str(found.revision_id)


def _is_seen(cursor: Cursor, found: GranuleRecord | Tombstone) -> bool:
    name, mark = _mark(found)
    return cursor.seen.get(name) == mark


def whole_listing(
    spec: StoreSpec, listing: Listing, records: tuple[GranuleRecord, ...], now: datetime
) -> set[str]:
    """Make a listing say what CMR does as a whole; gives the partitions that changed.

    What CMR has no longer counts as deleted now: its tombstone may be forgotten.

    Raises
    ------
    StorageUnavailable
        Code ``CmrEmpty``: it has nothing at all, which is no deletion of everything.
    """
    there = {record.concept_id for record in records}
    known = sum(not each.deleted for each in listing)
    if known and not there:
        raise StorageUnavailable(
            f"CMR has none of the {known} granules of {spec.collection.short_name} that are "
            "listed; nothing was changed: check the configuration's collection, and try again",
            code="CmrEmpty",
        )
    changed: set[str] = set()
    for partition, granules in listing.partitions.items():
        for concept_id in there & granules.keys():
            known = granules[concept_id]
            if known.deleted:  # it is back, as it was
                back = max(stamp_of_date(now), known.deleted)
                granules[concept_id] = replace(known, deleted="", returned=back)
                changed.add(partition)
    gone = [
        Tombstone(each.concept_id, each.granule_ur, now, "")
        for each in listing
        if each.concept_id not in there and not each.deleted
    ]
    return changed | with_changes(spec, listing, records, gone)


@dataclass(frozen=True)
class Request:
    """A run that is asked for: a partition, and the listing it is to be made from."""

    partition: str
    digest: str

    @property
    def run_key(self) -> str:
        """The same for the same work, however often a tick is repeated."""
        return f"{self.partition}:{self.digest}"


def requests_of(
    files: Mapping[str, PartitionFile],
    cursor: Cursor,
    done: Mapping[str, str] | None = None,
    most: int = MOST_PARTITIONS,
) -> tuple[list[Request], Cursor]:
    """Runs for partitions whose listing is another than when a run was asked for last.

    Parameters
    ----------
    files : mapping of str to PartitionFile
        The listing now.
    cursor : Cursor
    done : mapping of str to str, optional
        Partitions that are made already, with the SHA-256 of the listing they were made from.
    most : int
        Partitions at most; the others come at the next tick.

    Returns
    -------
    requests : list of Request
        In the order of partitions.
    cursor : Cursor
        With what was asked for.
    """
    found: list[Request] = []
    requested = {name: each for name, each in cursor.requested.items() if name in files}
    for partition, file in files.items():
        digest = file.sha256[:16]
        if requested.get(partition) == digest:
            continue
        if (done or {}).get(partition) == file.sha256:
            requested[partition] = digest
        elif len(found) < most:
            found.append(Request(partition, digest))
            requested[partition] = digest
    return found, replace(cursor, requested=requested)
