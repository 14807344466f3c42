"""How virtual stores stand: what is listed, published, behind; what a build would do."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dor_ecco_assets.errors import InputMissing
from dor_ecco_assets.lineage.record import Record, read_record
from dor_ecco_assets.lineage.workspace import Workspace
from dor_ecco_assets.storage.base import Storage
from dor_ecco_assets.virtual.access import Archives, chosen_way
from dor_ecco_assets.virtual.cmr import CmrClient
from dor_ecco_assets.virtual.collections import StoreSpec
from dor_ecco_assets.virtual.listing import ListedGranule, Listing, parse_row, read_listing
from dor_ecco_assets.virtual.products import (
    exports_key,
    granules_key,
    references_key,
    store_key,
)
from dor_ecco_assets.virtual.saved_records import SavedRecords

__all__ = [
    "Difference",
    "Plan",
    "StoreStanding",
    "changed_granules",
    "plan_of",
    "reconcile",
    "stale_partitions",
    "standing_of",
    "waiting_granules",
]


@dataclass(frozen=True)
class StoreStanding:
    """How one collection stands.

    Parameters
    ----------
    name : str
    listed, published, quarantined, pending : int
        Granules.
    behind : int or None
        Granules that CMR counts more than are published; None where CMR was not asked.
    newest, begin, end : str
        Newest revision that is listed; period of what is published.
    size_mb : float
        Bytes that the store refers to, in 10⁶.
    standing : str
        Of the store: ``up to date``, ``stale``, ...
    """

    name: str
    listed: int
    published: int
    quarantined: int
    pending: int
    behind: int | None
    newest: str
    begin: str
    end: str
    size_mb: float
    standing: str


def standing_of(
    workspace: Workspace, spec: StoreSpec, cmr: CmrClient | SavedRecords | None
) -> StoreStanding:
    """How a collection stands; with a client also how far behind CMR it is."""
    storage = workspace.storage
    listing = read_record(storage, granules_key(spec.name), "")
    store = read_record(storage, store_key(spec.name), "")
    exports = read_record(storage, exports_key(spec.name), "")
    states: dict[str, int] = _of(store, "granules", {})
    published = states.get("published", 0)
    return StoreStanding(
        name=spec.name,
        listed=_of(listing, "granules", 0),
        published=published,
        quarantined=states.get("quarantined", 0),
        pending=states.get("pending", 0),
        behind=None if cmr is None else cmr.count(spec.query()) - published,
        newest=_of(listing, "newest_revision", ""),
        begin=_of(exports, "begin", ""),
        end=_of(exports, "end", ""),
        size_mb=0.0 if store is None else round(store.bytes / 1e6, 1),
        standing=workspace.state(store_key(spec.name), "").standing,
    )


def _of(record: Record | None, name: str, otherwise: Any) -> Any:
    return otherwise if record is None else record.details.get(name, otherwise)


@dataclass
class Plan:
    """What a build would do.

    Parameters
    ----------
    partitions : dict of str to int
        Granules to be read, by partition.
    bytes : int
        Of the files that would be referenced, as far as CMR tells.
    sampled : int
        Granules that were looked into.
    references : int
        Byte ranges of all granules to be read, as the sampled ones have them.
    schemas : int
        Different ways of storing among the sampled.
    differing : dict of str to int
        Causes for which sampled granules do not fit the first of them.
    unusable : list of str
    """

    partitions: dict[str, int] = field(default_factory=dict[str, int])
    bytes: int = 0
    sampled: int = 0
    references: int = 0
    schemas: int = 0
    differing: dict[str, int] = field(default_factory=dict[str, int])
    unusable: list[str] = field(default_factory=list[str])


def plan_of(
    workspace: Workspace, spec: StoreSpec, listing: Listing, sample: int, archives: Archives
) -> Plan:
    """What would be read if the listing were this, and how alike some of it is.

    Parameters
    ----------
    workspace : Workspace
    spec : StoreSpec
    listing : Listing
        As CMR has it now; nothing is written.
    sample : int
        Granules to look into, spread over time.
    archives : Archives
    """
    from dor_ecco_assets.virtual.compatibility import differences
    from dor_ecco_assets.virtual.layout import axis_of, fingerprint, ragged_of
    from dor_ecco_assets.virtual.references import GranuleReferences
    from dor_ecco_assets.virtual.referencing import parse_listed

    plan = Plan()
    known = changed_granules(workspace, spec, listing)
    for partition, granules in known.items():
        plan.partitions[partition] = len(granules)
        plan.bytes += sum(each.size_bytes or 0 for each in granules)
    everything = [each for each in listing if not each.deleted]
    chosen = _spread(everything, sample)
    parsed: list[GranuleReferences] = []
    for listed, found in zip(chosen, parse_listed(spec, archives, chosen), strict=True):
        if isinstance(found, GranuleReferences):
            parsed.append(found.select(spec.group) if spec.group else found)
        else:
            plan.unusable.append(f"{listed.granule_ur}: {found.message} [{found.code}]")
    plan.sampled = len(chosen)
    if parsed:
        plan.schemas = len({fingerprint(spec, granule) for granule in parsed})
        mean = sum(granule.chunk_count for granule in parsed) / len(parsed)
        plan.references = round(mean * sum(plan.partitions.values()))
        causes: Counter[str] = Counter()
        for granule in parsed[1:]:
            found = differences(
                parsed[0],
                granule,
                concat_dim=axis_of(spec),
                tolerance=spec.tolerance,
                variable_length=ragged_of(spec),
            )
            causes.update({each.code for each in found})
        plan.differing = dict(sorted(causes.items()))
    return plan


def changed_granules(
    workspace: Workspace, spec: StoreSpec, listing: Listing
) -> dict[str, list[ListedGranule]]:
    """Granules of a listing that no shard knows in their revision, by partition."""
    from dor_ecco_assets.virtual.making import GRANULES

    found: dict[str, list[ListedGranule]] = {}
    for partition in sorted(listing.partitions):
        rows = workspace.storage.read(f"{references_key(spec.name)}/{partition}/{GRANULES}") or b""
        known = {each.revision: each for each in map(parse_row, rows.splitlines())}
        fresh = [
            each
            for each in listing.of(partition)
            if each.revision not in known
            or bool(each.deleted) != bool(known[each.revision].deleted)
        ]
        if fresh:
            found[partition] = fresh
    return found


def _spread(granules: Sequence[ListedGranule], count: int) -> list[ListedGranule]:
    """Some of the granules, the first and the last among them, evenly between."""
    ordered = sorted(granules, key=lambda each: (each.begin, each.concept_id))
    if count >= len(ordered):
        return ordered
    steps = max(count - 1, 1)
    return [ordered[round(n * (len(ordered) - 1) / steps)] for n in range(count)]


@dataclass(frozen=True)
class Difference:
    """Where CMR, the listing, the store's ledger or its shards say something else."""

    what: str
    count: int
    examples: str
    repair: str


def reconcile(
    workspace: Workspace, spec: StoreSpec, cmr: CmrClient | SavedRecords
) -> list[Difference]:
    """Differences between CMR, the listing and the store's ledger, each with what mends it."""
    from dor_ecco_assets.stores.ledger_arrays import read_ledger
    from dor_ecco_assets.virtual.reading import virtual_store

    storage: Storage = workspace.storage
    records = {each.concept_id: each for each in cmr.search(spec.query())}
    listed = {each.concept_id: each for each in read_listing(storage, granules_key(spec.name))}
    there = {name: each for name, each in listed.items() if not each.deleted}
    build = f"dor-ecco virtual build {spec.name}"
    found = [
        ("CMR has granules that are not listed", records.keys() - there.keys(), build),
        ("granules are listed that CMR has no longer", there.keys() - records.keys(), build),
        (
            "CMR has newer revisions than are listed",
            {
                name
                for name in records.keys() & there.keys()
                if records[name].revision_id > there[name].revision_id
            },
            build,
        ),
    ]
    try:
        store = virtual_store(storage, spec, chosen_way(spec.access[0]))
        ledger = {each.key: each for each in read_ledger(store.reading().store).entries()}
    except InputMissing:
        ledger = {}
    append = f"dor-ecco virtual append {spec.name}"
    found += [
        ("listed granules are not in the ledger", there.keys() - ledger.keys(), append),
        (
            "the ledger has older revisions than are listed",
            {
                name
                for name in there.keys() & ledger.keys()
                if ledger[name].revision < there[name].revision_id
            },
            append,
        ),
        (
            "the store has granules that are deleted",
            {
                name
                for name, each in ledger.items()
                if each.state == "published" and name not in there
            },
            append,
        ),
        (
            "granules wait for their bytes",
            {name for name, each in ledger.items() if each.state == "pending"},
            f"dor-ecco virtual build {spec.name} --retry",
        ),
        (
            "granules are in quarantine",
            {name for name, each in ledger.items() if each.state == "quarantined"},
            f"dor-ecco virtual status {spec.name}",
        ),
    ]
    return [
        Difference(what, len(names), ", ".join(sorted(names)[:3]), repair)
        for what, names, repair in found
        if names
    ]


def stale_partitions(workspace: Workspace, spec: StoreSpec) -> list[str]:
    """Partitions whose references are not up to date."""
    key = references_key(spec.name)
    return [each.partition for each in workspace.states(key) if each.standing != "up to date"]


def waiting_granules(workspace: Workspace, spec: StoreSpec) -> set[str]:
    """Revisions whose bytes the archive did not have when they were asked for."""
    from dor_ecco_assets.virtual.referencing import PASSING

    return {
        str(each["revision"])
        for _, record in workspace.records(references_key(spec.name))
        for each in record.details["failed"]
        if each["code"] in PASSING
    }
