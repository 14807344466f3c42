"""How virtual stores stand: what is listed, published, behind; what a build would do."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dor_ecco_assets.lineage.record import Record, read_record
from dor_ecco_assets.lineage.workspace import Workspace
from dor_ecco_assets.virtual.access import Archives, chosen_way
from dor_ecco_assets.virtual.collections import StoreSpec
from dor_ecco_assets.virtual.listing import ListedGranule, Listing, parse_row
from dor_ecco_assets.virtual.products import (
    exports_key,
    granules_key,
    references_key,
    store_key,
)
from dor_ecco_assets.virtual.published import AnyCatalogue

__all__ = [
    "Plan",
    "StoreStanding",
    "changed_granules",
    "has_moved",
    "plan_of",
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


def standing_of(workspace: Workspace, spec: StoreSpec, cmr: AnyCatalogue | None) -> StoreStanding:
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


def has_moved(workspace: Workspace, spec: StoreSpec) -> bool:
    """Whether the store is at another version than its record speaks of."""
    from dor_ecco_assets.virtual.reading import virtual_store

    record = read_record(workspace.storage, store_key(spec.name), "")
    store = virtual_store(workspace.storage, spec, chosen_way(spec.access[0]))
    return record is not None and store.exists() and store.head != record.details["snapshot"]


def stale_partitions(workspace: Workspace, spec: StoreSpec, *, every: bool = False) -> list[str]:
    """Partitions whose references are not up to date, or every one."""
    states = workspace.states(references_key(spec.name))
    return [each.partition for each in states if every or each.standing != "up to date"]


def waiting_granules(workspace: Workspace, spec: StoreSpec) -> set[str]:
    """Revisions that are not in the store for want of bytes, or of bytes that can be used."""
    from dor_ecco_assets.stores.ledger_arrays import read_ledger
    from dor_ecco_assets.virtual.reading import virtual_store

    failed = {
        str(each["revision"])
        for _, record in workspace.records(references_key(spec.name))
        for each in record.details["failed"]
    }
    store = virtual_store(workspace.storage, spec, chosen_way(spec.access[0]))
    if not store.exists():
        return failed
    session = store.reading()
    ledger = read_ledger(session.store)
    rows = [*ledger.rows_in("pending"), *ledger.rows_in("quarantined")]
    return failed | {f"{each.key}.{each.revision}" for each in ledger.at(rows)}
