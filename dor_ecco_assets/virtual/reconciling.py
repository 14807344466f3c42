"""Four parties to one collection: CMR's listing, the ledger, the bytes at the source, the store.

Each way in which two of them can differ has a name, and a command after which they agree. What can
only be seen by asking the archive (`source_differences`) or by looking at every chunk's place
(`store_differences`) is here too, and what `build --repair` needs of it.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from dor_ecco_assets.errors import InputMissing
from dor_ecco_assets.lineage.record import read_record
from dor_ecco_assets.lineage.tracing import reconcile as held_against_records
from dor_ecco_assets.lineage.workspace import Workspace
from dor_ecco_assets.storage.base import Readable, Storage
from dor_ecco_assets.stores.icechunk_store import IcechunkStore, clear_chunks, read_document
from dor_ecco_assets.stores.ledger_arrays import read_ledger, read_state
from dor_ecco_assets.virtual.access import Archives, chosen_way
from dor_ecco_assets.virtual.collections import StoreSpec
from dor_ecco_assets.virtual.exports import COPIED, latest_release
from dor_ecco_assets.virtual.layout import Layout, Part
from dor_ecco_assets.virtual.listing import read_listing
from dor_ecco_assets.virtual.probing import archives_of, probe
from dor_ecco_assets.virtual.products import (
    collection_products,
    exports_key,
    granules_key,
    references_key,
    store_key,
)
from dor_ecco_assets.virtual.reading import virtual_store
from dor_ecco_assets.virtual.referencing import parsing_of
from dor_ecco_assets.virtual.remote import head_of
from dor_ecco_assets.virtual.shards import read_shard

if TYPE_CHECKING:
    from dor_ecco_assets.lineage.ledger import Entry
    from dor_ecco_assets.virtual.published import AnyCatalogue

__all__ = [
    "COMPARED",
    "Damage",
    "Difference",
    "damage_of",
    "mend",
    "reconcile",
    "source_differences",
    "store_differences",
]

#: Granules whose values are read through the store and from their files.
COMPARED = 3
#: Requests to the archive at a time.
_AT_ONCE = 16
#: Examples that a difference names.
_EXAMPLES = 3

type Name = Literal[
    "not_listed",
    "gone_from_cmr",
    "newer_in_cmr",
    "not_in_ledger",
    "older_in_ledger",
    "withdrawn_in_store",
    "pending",
    "quarantined",
    "source_missing",
    "source_changed",
    "hole_in_store",
    "unknown_in_store",
    "values_differ",
    "store_moved",
    "exports_behind",
    "record_unlike_bytes",
]

_MEANING: Mapping[Name, str] = {
    "not_listed": "CMR has granules that are not listed",
    "gone_from_cmr": "granules are listed that CMR has no longer",
    "newer_in_cmr": "CMR has newer revisions than are listed",
    "not_in_ledger": "listed granules are not in the ledger",
    "older_in_ledger": "the ledger has older revisions than are listed",
    "withdrawn_in_store": "the store has granules that are withdrawn",
    "pending": "granules wait for their bytes",
    "quarantined": "granules are in quarantine",
    "source_missing": "the archive has no longer what the store refers to",
    "source_changed": "the archive has other bytes than were referenced",
    "hole_in_store": "the store lacks chunks of published granules",
    "unknown_in_store": "the store has chunks where no granule is published",
    "values_differ": "the store gives other values than the files",
    "store_moved": "the store is at another version than recorded",
    "exports_behind": "the exports are of another version than the store",
    "record_unlike_bytes": "bytes are not those that their record speaks of",
}


@dataclass(frozen=True)
class Difference:
    """Where two parties say something else.

    Parameters
    ----------
    name : str
        Of the kind of difference.
    what : str
        The same in a sentence.
    count : int
    examples : str
    repair : str
        The command after which it is gone.
    """

    name: str
    what: str
    count: int
    examples: str
    repair: str


@dataclass
class Damage:
    """What of a store has to be written again, and what has to be cleared.

    Parameters
    ----------
    granules : dict of Name to dict of str to str
        Kind of damage to the granules' keys, with what is wrong.
    unknown : dict of tuple of (str, int) to int
        Array and slot that no granule owns, to its chunks.
    """

    granules: dict[Name, dict[str, str]] = field(default_factory=dict[Name, dict[str, str]])
    unknown: dict[tuple[str, int], int] = field(default_factory=dict[tuple[str, int], int])

    def note(self, name: Name, key: str, text: str) -> None:
        """One granule with what is wrong."""
        self.granules.setdefault(name, {}).setdefault(key, text)

    def keys(self) -> set[str]:
        """Every damaged granule."""
        return {key for found in self.granules.values() for key in found}


def reconcile(
    workspace: Workspace,
    spec: StoreSpec,
    cmr: "AnyCatalogue",
    *,
    compare: int = COMPARED,
) -> list[Difference]:
    """Every difference between CMR, listing, ledger, archive, store and exports.

    Parameters
    ----------
    workspace : Workspace
    spec : StoreSpec
    cmr : CmrClient, SavedRecords or PublishedGranules
    compare : int
        Granules whose values are read through the store and from their files.
    """
    storage: Storage = workspace.storage
    build = f"dor-ecco virtual build {spec.name}"
    listing = {each.concept_id: each for each in read_listing(storage, granules_key(spec.name))}
    there = {name: each for name, each in listing.items() if not each.deleted}
    records = {each.concept_id: each.revision_id for each in cmr.search(spec.query())}
    found: list[tuple[Name, Collection[str], str]] = [
        ("not_listed", records.keys() - there.keys(), build),
        ("gone_from_cmr", there.keys() - records.keys(), build),
        (
            "newer_in_cmr",
            {key for key, n in records.items() if key in there and n > there[key].revision_id},
            build,
        ),
    ]
    states, damage = dict[str, tuple[str, int]](), Damage()
    store = virtual_store(storage, spec, chosen_way(spec.access[0]))
    if store.exists():
        session = store.reading()
        states = {e.key: (e.state, e.revision) for e in read_ledger(session.store).entries()}
        damage = damage_of(storage, spec, store, compare=compare)
    older = {key for key, (_, n) in states.items() if key in there and n < there[key].revision_id}
    published = {key for key, (state, _) in states.items() if state == "published"}
    found.append(("not_in_ledger", there.keys() - states.keys(), build))
    found.append(("older_in_ledger", older, build))
    found.append(("withdrawn_in_store", published - there.keys(), build))
    unused: tuple[Name, ...] = ("pending", "quarantined")
    for state in unused:
        waiting = {key for key, (is_now, _) in states.items() if is_now == state}
        found.append((state, waiting & there.keys(), f"{build} --retry"))
    # What is compared must be compared again, to be found by the repair.
    repair = f"{build} --repair" + ("" if compare == COMPARED else f" --compare {compare}")
    for name, granules in damage.granules.items():
        found.append((name, {f"{key}: {text}" for key, text in granules.items()}, repair))
    unknown = {f"{path} slot {slot}: {n} chunks" for (path, slot), n in damage.unknown.items()}
    found.append(("unknown_in_store", unknown, repair))
    found += _versions(storage, spec, store)
    keys = [product.key for product in collection_products(spec)]
    moved = f"{store_key(spec.name)} has no record"  # which `store_moved` tells
    unlike = {
        f"{each.product} {each.partition}".strip() + f": {each.found}"
        for each in held_against_records(workspace, keys).differences
        if each.found != moved
    }
    found.append(("record_unlike_bytes", unlike, f"{build} --repair"))
    return [
        Difference(name, _MEANING[name], len(which), ", ".join(sorted(which)[:_EXAMPLES]), command)
        for name, which, command in found
        if which
    ]


def _versions(
    storage: Storage, spec: StoreSpec, store: IcechunkStore
) -> Iterator[tuple[Name, Collection[str], str]]:
    """Where the store is not what its record, or the exports, speak of."""
    if not store.exists():
        return
    head = store.head
    record = read_record(storage, store_key(spec.name), "")
    recorded = "none" if record is None else str(record.details["snapshot"])
    if recorded != head:
        text = f"at {head}, recorded {recorded}"
        yield "store_moved", {text}, f"dor-ecco virtual build {spec.name}"
    exported = str(latest_release(storage, exports_key(spec.name)).get("snapshot", "none"))
    if exported != head:
        text = f"of {exported}, the store is at {head}"
        yield "exports_behind", {text}, f"dor-ecco virtual export {spec.name}"


# What the archive and the store have


def damage_of(
    storage: Storage, spec: StoreSpec, store: IcechunkStore, *, compare: int = COMPARED
) -> Damage:
    """Published granules that archive and store have otherwise than the ledger, and strange chunks.

    Parameters
    ----------
    storage : Storage
    spec : StoreSpec
    store : IcechunkStore
        Its newest version is looked at.
    compare : int
        Granules whose values are compared, chosen by what the ledger holds.
    """
    damage, archives = Damage(), archives_of(storage, spec)
    session = store.reading()
    entries = _published(session)
    source_differences(damage, archives, entries)
    store_differences(damage, storage, spec, session, entries)
    known = damage.keys()
    for each in probe(storage, spec, compare, archives=archives):
        if each.problem and each.key not in known:
            damage.note("values_differ", each.key, f"{each.variable} {each.problem}".strip())
    return damage


def _published(session: Any) -> "list[Entry]":
    ledger = read_ledger(session.store)
    return ledger.at(ledger.rows_in("published"))


def source_differences(damage: Damage, archives: Archives, entries: "Sequence[Entry]") -> None:
    """Note granules whose files are gone, or are not those that were referenced.

    Raises
    ------
    StorageRefused, StorageUnavailable
        Where the archive does not answer: it is not the granules.
    """
    stores = {name: archives.store(name) for name in {each.container for each in entries}}

    def look(entry: "Entry") -> tuple[Name, str] | None:
        try:
            size, e_tag, modified = head_of(stores[entry.container], entry.location)
        except InputMissing:
            return "source_missing", f"{entry.location} is gone"
        if entry.size is not None and size != entry.size:
            return "source_changed", f"{size} bytes, listed {entry.size}"
        if entry.e_tag and e_tag:
            same, text = e_tag == entry.e_tag, f"ETag {e_tag}, referenced {entry.e_tag}"
        else:
            same = not entry.modified or modified == entry.modified
            text = f"written {modified}, referenced {entry.modified}"
        return None if same else ("source_changed", text)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for entry, found in zip(entries, pool.map(look, entries), strict=True):
            if found is not None:
                damage.note(found[0], entry.key, found[1])


def store_differences(
    damage: Damage,
    storage: Readable,
    spec: StoreSpec,
    session: Any,
    entries: "Sequence[Entry]",
) -> None:
    """Note slots that have fewer chunks than their granule, and chunks in slots of none."""
    epochs = [
        (each["path"], Layout.decode(each["layout"]))
        for each in read_state(session.store).get("epochs", [])
    ]
    parts = [
        (number, f"{path}/{part.target}".lstrip("/"), part)
        for number, (path, layout) in enumerate(epochs)
        for part in layout.of_kind("virtual")
    ]
    there = {path: chunks_by_slot(session, path, part) for _, path, part in parts}
    owned = {path: np.zeros(len(counts), bool) for path, counts in there.items()}
    for entry, counts in _wanted_chunks(storage, spec, entries):
        for number, path, part in parts:
            if number != entry.epoch:
                continue
            if entry.slot >= len(there[path]):
                damage.note("hole_in_store", entry.key, f"{path} has no slot {entry.slot}")
                continue
            owned[path][entry.slot] = True
            count = 0 if counts is None else counts.get(part.source, 0)
            has = int(there[path][entry.slot])
            if has < count:
                text = f"{has} of {count} chunks of {path} in slot {entry.slot}"
                damage.note("hole_in_store", entry.key, text)
    for _, path, _ in parts:
        strange = (there[path] > 0) & ~owned[path]
        for slot in np.flatnonzero(strange).tolist():
            damage.unknown[path, slot] = int(there[path][slot])


def _wanted_chunks(
    storage: Readable, spec: StoreSpec, entries: "Sequence[Entry]"
) -> "Iterator[tuple[Entry, dict[str, int] | None]]":
    """Chunks that each array of each granule has in its file; None for what is not known."""
    by_partition: dict[str, list[Entry]] = {}
    for entry in entries:
        by_partition.setdefault(entry.partition, []).append(entry)
    for partition, members in sorted(by_partition.items()):
        folder = f"{references_key(spec.name)}/{partition}"
        shard = read_shard(
            lambda name, folder=folder: storage.read(f"{folder}/{name}"), parsing_of(spec)
        )
        for entry in members:
            granule = None if shard is None else shard.granules.get(f"{entry.key}.{entry.revision}")
            if granule is None or COPIED in entry.note:
                yield entry, None
                continue
            inside = f"{spec.group}/" if spec.group and spec.group in granule.groups else ""
            yield (
                entry,
                {
                    name.removeprefix(inside): int(np.count_nonzero(array.lengths))
                    for name, array in granule.arrays.items()
                },
            )


def chunks_by_slot(session: Any, path: str, part: Part) -> npt.NDArray[np.int64]:
    """How many chunks of an array each slot along the axis has."""
    from zarr.core.sync import sync

    document = read_document(session, path)
    if document is None:
        return np.zeros(0, np.int64)
    slots = document["shape"][part.axis] // part.span

    async def count() -> npt.NDArray[np.int64]:
        found = np.zeros(slots, np.int64)
        async for index in session.chunk_coordinates(f"/{path}", batch_size=100_000):
            slot = index[part.axis] // part.width
            if slot < slots:
                found[slot] += 1
        return found

    return sync(count())


# Mending


def mend(workspace: Workspace, spec: StoreSpec, *, compare: int = COMPARED) -> tuple[set[str], int]:
    """Have damaged granules asked for again, and clear chunks that no granule owns.

    The run that follows writes them as the archive has them.

    Returns
    -------
    revisions : set of str
        That are to be asked for again, as `ListedGranule.revision` names them.
    cleared : int
        Slots.
    """
    store = virtual_store(workspace.storage, spec, chosen_way(spec.access[0]))
    if not store.exists():
        return set(), 0
    damage = damage_of(workspace.storage, spec, store, compare=compare)
    if damage.unknown:
        _clear(store, damage.unknown)
    listing = read_listing(workspace.storage, granules_key(spec.name))
    keys = damage.keys()
    return {each.revision for each in listing if each.concept_id in keys}, len(damage.unknown)


def _clear(store: IcechunkStore, unknown: Iterable[tuple[str, int]]) -> None:
    with store.writing() as session:
        parts = {
            f"{each['path']}/{part.target}".lstrip("/"): part
            for each in read_state(session.store).get("epochs", [])
            for part in Layout.decode(each["layout"]).of_kind("virtual")
        }
        for path, slot in unknown:
            document = read_document(session, path)
            assert document is not None  # its chunks were counted
            clear_chunks(session, path, parts[path].chunks_of(slot, document))
        store.commit(session, "cleared what no granule owns", {})
