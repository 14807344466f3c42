"""The content of a collection's listing, references and store, ready to be published."""

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dor_ecco_assets.lineage.product import Content, Product, Task
from dor_ecco_assets.lineage.publication import Outcome
from dor_ecco_assets.lineage.record import Record, read_record, region_digest
from dor_ecco_assets.lineage.workspace import Policy, Workspace
from dor_ecco_assets.storage.base import Readable, Storage
from dor_ecco_assets.virtual.access import Archives, chosen_way
from dor_ecco_assets.virtual.collections import StoreSpec
from dor_ecco_assets.virtual.discovery import Changes, Cursor, whole_listing
from dor_ecco_assets.virtual.granule_records import parse_stamp
from dor_ecco_assets.virtual.listing import (
    Listed,
    ListedGranule,
    Listing,
    PartitionFile,
    ask_again,
    key_urls,
    parse_row,
    partition_files,
    read_listing,
    read_partition,
    rows_of,
    with_changes,
    write_partitions,
)
from dor_ecco_assets.virtual.referencing import (
    PASSING,
    References,
    parsing_of,
    reference_partition,
)
from dor_ecco_assets.virtual.shards import ReferenceShard, read_shard, write_shard

if TYPE_CHECKING:
    from dor_ecco_assets.virtual.building import Report

__all__ = [
    "GRANULES",
    "digest_of_store",
    "make_listing",
    "make_references",
    "make_store",
    "take_in",
]

#: The granules of a shard as they were listed when it was made.
GRANULES = "granules.jsonl"

#: Granules that a record names one by one.
MOST_NAMED = 50


# The listing


def make_listing(spec: StoreSpec, key: str, task: Task) -> Content:
    """The whole collection as CMR lists it now; what was listed and is gone counts as deleted."""
    from dor_ecco_assets.virtual.published import catalogue_of

    records = tuple(catalogue_of(spec, _root(task)).search(spec.query()))
    listing = read_listing(_root(task), key)
    whole_listing(spec, listing, records, datetime.now(UTC))
    return _listing_content(spec, key, task, listing, set(listing.partitions))


def take_in(workspace: Workspace, spec: StoreSpec, key: str, changes: Changes) -> Outcome:
    """Publish the listing with some changes: what `look` found, not what CMR has in all.

    Raises
    ------
    PartitionBusy
        Where another writer holds the listing.
    """

    def change(listing: Listing) -> set[str]:
        if changes.whole:
            return whole_listing(spec, listing, changes.records, datetime.now(UTC))
        return with_changes(spec, listing, changes.records, changes.tombstones)

    return _relisted(workspace, spec, key, change)


def retry(workspace: Workspace, spec: StoreSpec, key: str, revisions: Collection[str]) -> Outcome:
    """Publish the listing so that the bytes of some granules are asked for again."""
    return _relisted(workspace, spec, key, lambda listing: ask_again(listing, revisions))


def cursor_of(storage: Readable, spec: StoreSpec, key: str) -> Cursor:
    """Where discovery stands by what is listed; at the beginning if that was asked otherwise."""
    record = read_record(storage, key, "")
    if record is None or not record.details["newest_revision"]:
        return Cursor()
    listed = parse_stamp(record.made)
    newest = parse_stamp(record.details["newest_revision"])
    question = spec.query()
    collections = (question.concept_id,) if question.concept_id else ()
    if not collections or record.details["question"] != question.fingerprint:
        return Cursor()
    return Cursor(question.fingerprint, newest, listed, collections)


def _relisted(
    workspace: Workspace, spec: StoreSpec, key: str, change: Callable[[Listing], set[str]]
) -> Outcome:
    def make(task: Task) -> Content:
        listing = read_listing(_root(task), key)
        return _listing_content(spec, key, task, listing, change(listing))

    product: Product = replace(workspace.product(key), make=make)
    products = {**workspace.products, key: product}
    changed = Workspace(workspace.storage, workspace.inputs, products, workspace.settings)
    return changed.make(key, "", Policy(force=True))


def _root(task: Task) -> Readable:
    assert task.storage is not None
    return task.storage


def _listing_content(
    spec: StoreSpec, key: str, task: Task, listing: Listing, changed: set[str]
) -> Content:
    question = spec.query().fingerprint
    before = partition_files(read_record(_root(task), key, ""))
    files: dict[str, PartitionFile] = {}

    def put(storage: Storage, still_held: Callable[[], None]) -> tuple[int, str]:
        still_held()
        unchanged = {
            partition: file
            for partition, file in before.items()
            if partition not in changed and partition in listing.partitions
        }
        files.update(unchanged)
        missing = set(listing.partitions) - set(unchanged)
        files.update(write_partitions(storage, key, listing, missing))
        # A run may still read what was listed just before; what is older is of no use.
        kept = {file.name for file in (*files.values(), *before.values())}
        for name, _ in list(storage.list(key)):
            leaf = name.rpartition("/")[2]
            if leaf.endswith(".jsonl") and not leaf.startswith(".") and leaf not in kept:
                storage.delete(name)
        return region_digest(storage, key, [file.name for file in files.values()])

    def details() -> Mapping[str, Any]:
        problems = [each for each in listing if each.code and not each.deleted]
        return {
            "chunks": sorted(file.name for file in files.values()),
            "partitions": {partition: list(file) for partition, file in sorted(files.items())},
            "granules": sum(file.granules for file in files.values()),
            "deleted_granules": sum(file.deleted for file in files.values()),
            "newest_revision": max((each.revision_date for each in listing), default=""),
            "changed_partitions": len(changed),
            "question": question,
            "unusable_records": len(problems),
        }

    return Content(key, write=None, put=put, details=details)


# References


def make_references(
    spec: StoreSpec, key: str, granules: str, file: PartitionFile, task: Task
) -> Content:
    """The shard of one partition; granules that it had before are not read again."""
    root, folder = _root(task), f"{key}/{task.partition}"
    listed = sorted(
        read_partition(root, granules, file), key=lambda each: (each.begin, each.concept_id)
    )
    before = read_shard(_files_of(root, folder), parsing_of(spec))
    if before is not None:
        before = _without_asked_again(before, root.read(f"{folder}/{GRANULES}") or b"", listed)
    shard, parsed = reference_partition(spec, listed, before, Archives(spec))
    failed = [
        {"revision": revision, "uri": each.uri, "code": each.code, "reason": each.reason}
        for revision, each in sorted(shard.failed.items())
    ]
    pending = sum(each.code in PASSING for each in shard.failed.values())
    extents = [
        int(array.lengths.sum()) for g in shard.granules.values() for array in g.arrays.values()
    ]

    def write(path: Path) -> None:
        write_shard(path, shard)
        (path / GRANULES).write_bytes(rows_of(listed))

    return Content(
        folder,
        write,
        {
            "granules": len(shard.granules),
            "parsed_granules": parsed,
            "chunks_referenced": shard.chunk_count,
            "referenced_bytes": sum(extents),
            "pending_granules": pending,
            "quarantined_granules": len(failed) - pending,
            "failed": failed[:MOST_NAMED],
        },
    )


def _without_asked_again(
    shard: ReferenceShard, rows: bytes, listed: Sequence[ListedGranule]
) -> ReferenceShard:
    """A shard as it was, less the granules whose bytes have been asked for again since."""
    tries = {each.revision: each.tries for each in map(parse_row, rows.splitlines())}
    again = {each.revision for each in listed if each.tries > tries.get(each.revision, 0)}
    return replace(
        shard,
        granules={name: each for name, each in shard.granules.items() if name not in again},
        failed={name: each for name, each in shard.failed.items() if name not in again},
    )


def _files_of(root: Readable, folder: str) -> Callable[[str], bytes | None]:
    return lambda name: root.read(f"{folder}/{name}")


# The store


def make_store(spec: StoreSpec, key: str, references: str, task: Task) -> Content:
    """The store with the granules of every partition that has a shard."""
    from dor_ecco_assets.virtual.building import apply
    from dor_ecco_assets.virtual.digest import content_digest
    from dor_ecco_assets.virtual.probing import readable_store
    from dor_ecco_assets.virtual.reading import virtual_store

    root = _root(task)
    before = read_record(root, key, "")  # gone when the store is written
    members = {member.partition: member.record for member in task.members()}
    told = hashlib.sha256(spec.model_dump_json().encode()).hexdigest()
    changed: list[str] = []
    referenced = sum(int(record.details["referenced_bytes"]) for record in members.values())
    report: list[Report] = []

    def put(storage: Storage, still_held: Callable[[], None]) -> tuple[int, str]:
        still_held()
        store = virtual_store(storage, spec, chosen_way(spec.access[0]))
        head = store.head if store.exists() else ""
        changed[:] = _changed_members(before, references, task, list(members), told, head)
        listed = list(_listed_in(root, references, changed))
        archives = Archives(spec, key_urls=key_urls(each.granule for each in listed))
        if spec.swath is not None:  # what follows the end of one is read
            store = readable_store(storage, spec, None, archives)

        @lru_cache(maxsize=2)
        def listed_in(partition: str) -> Mapping[str, ListedGranule]:
            return {
                e.granule.revision: e.granule for e in _listed_in(root, references, [partition])
            }

        @lru_cache(maxsize=2)
        def shard_of(partition: str) -> ReferenceShard | None:
            return read_shard(_files_of(root, f"{references}/{partition}"), parsing_of(spec))

        source = References(spec, listed_in, shard_of, archives)
        report.append(apply(store, spec, listed, source))
        return referenced, content_digest(store, report[0].snapshot)

    def details() -> Mapping[str, Any]:
        done = report[0]
        return {
            "seal": [f"snapshots/{done.snapshot}"],
            "snapshot": done.snapshot,
            "granules_new": done.published,
            "granules_replaced": done.replaced,
            "granules_late": done.late,
            "granules_withdrawn": done.withdrawn,
            "granules_superseded": done.superseded,
            "granules_materialised": done.materialised,
            "commits": done.commits,
            "references_written": done.references,
            "granules": dict(done.granules),
            "quarantined": dict(list(done.quarantined.items())[:MOST_NAMED]),
            "pending": dict(list(done.pending.items())[:MOST_NAMED]),
            "notes": dict(list(done.notes.items())[:MOST_NAMED]),
            "partitions_applied": len(changed),
            "told": told,
        }

    return Content(key, write=None, put=put, details=details)


def digest_of_store(spec: StoreSpec, storage: Storage, record: Record) -> tuple[int, str]:
    """Bytes and content digest of the version of which a record speaks."""
    from dor_ecco_assets.virtual.digest import content_digest
    from dor_ecco_assets.virtual.reading import virtual_store

    store = virtual_store(storage, spec, chosen_way(spec.access[0]))
    return record.bytes, content_digest(store, str(record.details["snapshot"]))


def _changed_members(
    record: Record | None,
    references: str,
    task: Task,
    names: Sequence[str],
    told: str,
    head: str,
) -> list[str]:
    """Partitions that are not in the store as they are now; all, if it is not known what it has."""
    if record is None:
        return list(names)
    ingredients = record.details["ingredients"]
    if task.forced or record.details.get("told") != told or record.details["snapshot"] != head:
        return list(names)
    return [
        name
        for name in names
        if ingredients["upstream"].get(f"{references} {name}")
        != task.upstream_fingerprints[f"{references} {name}"]
    ]


def _listed_in(root: Readable, references: str, partitions: Sequence[str]) -> Iterator[Listed]:
    for partition in partitions:
        rows = root.read(f"{references}/{partition}/{GRANULES}") or b""
        granules: list[ListedGranule] = [parse_row(line) for line in rows.splitlines()]
        for granule in sorted(granules, key=lambda each: (each.begin, each.concept_id)):
            yield Listed(partition, granule)
