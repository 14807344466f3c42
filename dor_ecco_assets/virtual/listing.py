"""The granules of a collection as CMR listed them last: ``virtual/<collection>/granules``.

One file per partition, named by its content; the record of the listing says which ones hold. So a
changed listing appears at once, when its record does, and a partition whose granules stayed the
same keeps its file, its checksum and everything made from it.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

from dor_ecco_assets.errors import InputUnusable, OutputCorrupt
from dor_ecco_assets.lineage.record import Record, read_record
from dor_ecco_assets.storage.base import Readable, Storage
from dor_ecco_assets.virtual.collections import Access, StoreSpec, partition_of
from dor_ecco_assets.virtual.granule_records import (
    DataFile,
    GranuleRecord,
    Tombstone,
)

__all__ = [
    "UNPLACED",
    "Listed",
    "ListedGranule",
    "Listing",
    "PartitionFile",
    "ask_again",
    "key_urls",
    "listed_granule",
    "parse_row",
    "partition_files",
    "read_listing",
    "read_partition",
    "rows_of",
    "stamp_of_date",
    "with_changes",
    "write_partitions",
]

#: Partition of granules whose records tell neither time nor cycle.
UNPLACED = "unplaced"

#: Digits of the SHA-256 in a file's name.
_NAME_DIGITS = 16


@dataclass(frozen=True)
class ListedGranule:
    """One granule in its newest known revision.

    Parameters
    ----------
    concept_id, granule_ur : str
    revision_id : int
    revision_date, begin, end, production_date : str
        ISO 8601, UTC, to the millisecond; empty where the record has none.
    identity : str
        Shared by granules of which only one can be in the store.
    access, key : str
        Name of the place in the archive, and the file's relative key there.
    size_bytes : int or None
    checksum : tuple of str or None
        Algorithm and hexadecimal digits.
    cycle, pass_number : int or None
    deleted, returned : str
        When CMR deleted it, empty where it did not or lists it again; when it was listed again.
    code, problem : str
        Why it cannot be fetched, if it cannot.
    tries : int
        How often its bytes were asked for again: the archive did not have them yet, or has others.
    """

    concept_id: str
    granule_ur: str
    revision_id: int
    revision_date: str
    begin: str
    end: str
    production_date: str
    identity: str
    access: str
    key: str
    size_bytes: int | None = None
    checksum: tuple[str, str] | None = None
    cycle: int | None = None
    pass_number: int | None = None
    s3_credentials_url: str | None = None
    deleted: str = ""
    returned: str = ""
    code: str = ""
    problem: str = ""
    tries: int = 0

    @property
    def revision(self) -> str:
        """Names one revision of one granule."""
        return f"{self.concept_id}.{self.revision_id}"


class Listed(NamedTuple):
    """A granule and the partition it belongs to."""

    partition: str
    granule: ListedGranule


class PartitionFile(NamedTuple):
    """Where the granules of one partition are listed."""

    name: str
    bytes: int
    sha256: str
    granules: int
    deleted: int


@dataclass
class Listing:
    """All granules by partition, each partition by concept id."""

    partitions: dict[str, dict[str, ListedGranule]] = field(
        default_factory=dict[str, dict[str, ListedGranule]]
    )

    def __iter__(self) -> Iterator[ListedGranule]:
        """Every granule, partition by partition."""
        return (g for partition in sorted(self.partitions) for g in self.of(partition))

    def of(self, partition: str) -> list[ListedGranule]:
        """Granules of one partition in the order of their time and name."""
        found = self.partitions.get(partition, {}).values()
        return sorted(found, key=lambda each: (each.begin, each.granule_ur, each.concept_id))


def listed_granule(spec: StoreSpec, record: GranuleRecord) -> Listed:
    """What is listed of one CMR record, and in which partition.

    A record that cannot be used is listed too, with the reason: nothing is lost in silence.
    """
    code = problem = identity = access = key = ""
    file: DataFile | None = None
    try:
        file = record.data_file(spec.granule_name)
        access, key = relative_key(spec.access, file)
    except InputUnusable as error:
        code, problem = error.code, error.message
    try:
        identity = spec.identity_of(record)
    except ValueError as error:
        code, problem = code or "NoIdentity", problem or f"{record.granule_ur}: {error}"
    partition = partition_of(spec, record)
    if partition is None:
        lacks = "cycle" if spec.split_by == "cycle" else "time"
        code = code or ("MissingTrack" if spec.split_by == "cycle" else "MissingTime")
        problem = problem or f"{record.granule_ur} ({record.concept_id}) tells no {lacks}"
    cycle, number = spec.track_of(record)
    granule = ListedGranule(
        concept_id=record.concept_id,
        granule_ur=record.granule_ur,
        revision_id=record.revision_id,
        revision_date=stamp_of_date(record.revision_date),
        begin=stamp_of_date(record.begin),
        end=stamp_of_date(record.end),
        production_date=stamp_of_date(record.production_date),
        identity=identity or record.concept_id,
        access=access,
        key=key,
        size_bytes=None if file is None else file.size_bytes,
        checksum=None if file is None else file.checksum,
        cycle=cycle,
        pass_number=number,
        s3_credentials_url=record.s3_credentials_url,
        code=code,
        problem=problem,
    )
    return Listed(partition or UNPLACED, granule)


def relative_key(access: Iterable[Access], file: DataFile) -> tuple[str, str]:
    """Name of the place that holds a file, and the file's key relative to it.

    Raises
    ------
    InputUnusable
        Code ``LinkElsewhere``, if no configured place holds it.
    """
    urls = [url for url in (file.s3_url, file.https_url) if url is not None]
    places = list(access)
    for place in places:
        for root in (place.s3, place.https):
            for url in urls:
                if root is not None and url.startswith(root):
                    return place.name, url.removeprefix(root)
    for place in places:
        # A local copy mirrors the archive below its bucket's root.
        if place.local is not None and place.s3 is None and place.https is None and urls:
            return place.name, urls[0].partition("://")[2].partition("/")[2]
    raise InputUnusable(
        f"{file.name} lies at {', '.join(urls) or 'no URL'}, outside of "
        f"{', '.join(place.s3 or place.https or str(place.local) for place in places)}; add its "
        "place to access in the collection's configuration",
        code="LinkElsewhere",
        uri=urls[0] if urls else "",
    )


def stamp_of_date(when: datetime | None) -> str:
    """A time as listings have it, to the millisecond; empty where there is none."""
    if when is None:
        return ""
    return f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond // 1000:03d}Z"


def with_changes(
    spec: StoreSpec,
    listing: Listing,
    records: Iterable[GranuleRecord],
    tombstones: Iterable[Tombstone] = (),
) -> set[str]:
    """Take records and deletions into a listing; gives the partitions that changed.

    An older revision than the one that is listed changes nothing, and no order of records does.
    """
    places = {
        concept_id: partition
        for partition, granules in listing.partitions.items()
        for concept_id in granules
    }
    changed: set[str] = set()
    for record in records:
        partition, granule = listed_granule(spec, record)
        before = places.get(granule.concept_id)
        known = None if before is None else listing.partitions[before][granule.concept_id]
        if known is not None:
            if not _is_newer(granule, known):
                continue
            # An older deletion does not concern what came after it.
            if known.deleted >= granule.revision_date:
                granule = replace(granule, deleted=known.deleted)
            tries = known.tries if granule.revision_id == known.revision_id else 0
            granule = replace(granule, returned=known.returned, tries=tries)
        if before is not None and before != partition:
            del listing.partitions[before][granule.concept_id]
            changed.add(before)
        listing.partitions.setdefault(partition, {})[granule.concept_id] = granule
        places[granule.concept_id] = partition
        changed.add(partition)
    for tombstone in tombstones:
        partition = places.get(tombstone.concept_id)
        if partition is None:
            continue  # it was never ours
        known = listing.partitions[partition][tombstone.concept_id]
        when = stamp_of_date(tombstone.deleted)
        # One that is as old as the return tells of the deletion before it.
        if not known.deleted and when >= known.revision_date and when > known.returned:
            deleted = replace(known, deleted=when)
            listing.partitions[partition][tombstone.concept_id] = deleted
            changed.add(partition)
    return changed


def _is_newer(granule: ListedGranule, known: ListedGranule) -> bool:
    # The same revision read under another configuration may lie elsewhere.
    return granule.revision_id > known.revision_id or (
        granule.revision_id == known.revision_id
        and granule != replace(known, tries=0, deleted="", returned="")
    )


def ask_again(listing: Listing, revisions: Iterable[str]) -> set[str]:
    """Let the bytes of granules be asked for again; gives the partitions that changed."""
    wanted, changed = set(revisions), set[str]()
    for partition, granules in listing.partitions.items():
        for concept_id, granule in granules.items():
            if granule.revision in wanted and not granule.deleted and not granule.code:
                granules[concept_id] = replace(granule, tries=granule.tries + 1)
                changed.add(partition)
    return changed


# On disk


def rows_of(granules: Iterable[ListedGranule]) -> bytes:
    """One line per granule, in the order of concept ids, so that equal content is equal bytes."""
    lines: list[str] = []
    for each in sorted(granules, key=lambda each: each.concept_id):
        told = {name: value for name, value in asdict(each).items() if value not in ("", None)}
        if not each.tries:
            del told["tries"]
        lines.append(json.dumps(told, sort_keys=True) + "\n")
    return "".join(lines).encode()


def write_partitions(
    storage: Storage, folder: str, listing: Listing, changed: Iterable[str]
) -> dict[str, PartitionFile]:
    """Write the files of some partitions; gives what the record says of them.

    A partition that holds no granule any more has no file.
    """
    found: dict[str, PartitionFile] = {}
    for partition in sorted(changed):
        granules = listing.partitions.get(partition, {})
        if not granules:
            continue
        data = rows_of(granules.values())
        sha256 = hashlib.sha256(data).hexdigest()
        name = f"{partition}.{sha256[:_NAME_DIGITS]}.jsonl"
        if storage.stat(f"{folder}/{name}") is None:
            storage.put(f"{folder}/{name}", data, f"listing-{partition}")
        gone = sum(bool(each.deleted) for each in granules.values())
        found[partition] = PartitionFile(name, len(data), sha256, len(granules) - gone, gone)
    return found


def partition_files(record: Record | None) -> dict[str, PartitionFile]:
    """Where each partition is listed, as the listing's record says."""
    listed: Mapping[str, Any] = {} if record is None else record.details.get("partitions", {})
    return {partition: PartitionFile(*found) for partition, found in sorted(listed.items())}


def read_partition(storage: Readable, folder: str, file: PartitionFile) -> list[ListedGranule]:
    """Granules of one partition.

    Raises
    ------
    OutputCorrupt
        Code ``ListingGone``, if the file is not there or not what its name says.
    """
    data = storage.read(f"{folder}/{file.name}")
    if data is None or hashlib.sha256(data).hexdigest() != file.sha256:
        raise OutputCorrupt(
            f"{storage.locate(folder)}/{file.name} is gone or has other bytes than recorded; list "
            "the granules again by `dor-ecco virtual reconcile`",
            code="ListingGone",
        )
    return [parse_row(line) for line in data.splitlines()]


def parse_row(line: bytes) -> ListedGranule:
    """One granule from its line."""
    found: dict[str, Any] = json.loads(line)
    empty: dict[str, Any] = dict.fromkeys(("begin", "end", "production_date", "access", "key"), "")
    checksum = found.pop("checksum", None)
    return ListedGranule(**{**empty, **found}, checksum=None if not checksum else tuple(checksum))


def read_listing(storage: Readable, key: str) -> Listing:
    """Every granule that is listed under an asset's key; empty where none was listed yet.

    Without a record, of a run that was ended, what its files and those before say is taken
    together: which granules there ever were must not be forgotten.
    """
    record = read_record(storage, key, "")
    listing = Listing()
    if record is not None:
        for partition, file in partition_files(record).items():
            rows = read_partition(storage, key, file)
            listing.partitions[partition] = {each.concept_id: each for each in rows}
        return listing
    newest: dict[str, Listed] = {}
    for name, _ in storage.list(key):
        leaf = name.rpartition("/")[2]
        if not leaf.endswith(".jsonl") or leaf.startswith("."):
            continue
        for line in (storage.read(name) or b"").splitlines():
            granule = parse_row(line)
            known = newest.get(granule.concept_id)
            if known is None or _age(known.granule) < _age(granule):
                newest[granule.concept_id] = Listed(leaf.split(".")[0], granule)
    for partition, granule in newest.values():
        listing.partitions.setdefault(partition, {})[granule.concept_id] = granule
    return listing


def key_urls(granules: Iterable[ListedGranule]) -> dict[str, str]:
    """Where granules say that the keys of their buckets are, by the name of their place."""
    return {each.access: each.s3_credentials_url for each in granules if each.s3_credentials_url}


def _age(granule: ListedGranule) -> tuple[int, int, str]:
    return granule.revision_id, granule.tries, max(granule.deleted, granule.returned)
