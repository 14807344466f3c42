"""What is checked of a store after each commit: its time axis, its ledger, who is missing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dor_ecco_assets.errors import DorEccoError
from dor_ecco_assets.storage.base import Storage
from dor_ecco_assets.stores.ledger_arrays import read_ledger, read_state
from dor_ecco_assets.virtual.access import chosen_way
from dor_ecco_assets.virtual.collections import StoreSpec
from dor_ecco_assets.virtual.layout import Layout
from dor_ecco_assets.virtual.listing import read_listing
from dor_ecco_assets.virtual.probing import probe
from dor_ecco_assets.virtual.products import granules_key
from dor_ecco_assets.virtual.reading import virtual_store
from dor_ecco_assets.virtual.reconciling import Damage, store_differences
from dor_ecco_assets.virtual.times import is_time, milliseconds

if TYPE_CHECKING:
    from dor_ecco_assets.lineage.ledger import Ledger
    from dor_ecco_assets.virtual.published import AnyCatalogue

__all__ = ["Assessment", "assess"]

#: Granules whose values are compared after each commit.
_COMPARED = 3
#: Problems that a sentence names.
_NAMED = 3


@dataclass(frozen=True)
class Assessment:
    """What one check found.

    Parameters
    ----------
    name : str
    problems : tuple of str
        Empty where all is well.
    numbers : dict of str to int or float
        What was looked at.
    """

    name: str
    problems: tuple[str, ...]
    numbers: dict[str, int | float]

    @property
    def sentence(self) -> str:
        """Some of the problems."""
        more = len(self.problems) - _NAMED
        shown = "; ".join(self.problems[:_NAMED])
        return f"{shown}; and {more} more" if more > 0 else shown


def assess(
    storage: Storage, spec: StoreSpec, cmr: "AnyCatalogue", *, compare: int = _COMPARED
) -> list[Assessment]:
    """Every check of the newest version of a store.

    Parameters
    ----------
    storage : Storage
    spec : StoreSpec
    cmr : CmrClient, SavedRecords or PublishedGranules
        Asked how many granules there are.
    compare : int
        Granules whose values are read through the store and from their files.
    """
    session = virtual_store(storage, spec, chosen_way(spec.access[0])).reading()
    ledger = read_ledger(session.store)
    return [
        values_equal(storage, spec, compare),
        time_monotonic_unique(session, spec, ledger),
        no_gaps_vs_cmr(storage, spec, ledger, cmr),
        ledger_matches_repo(storage, spec, session, ledger),
        quarantine_rate(spec, ledger),
    ]


def values_equal(storage: Storage, spec: StoreSpec, compare: int) -> Assessment:
    """Some granules' stored numbers, read through the store, are those of the files."""
    found = probe(storage, spec, compare)
    problems = tuple(f"{e.granule} {e.variable}: {e.problem}" for e in found if e.problem)
    numbers: dict[str, int | float] = {
        "granules": len({each.key for each in found}),
        "values": sum(each.values for each in found),
    }
    return Assessment("values_equal", problems, numbers)


def time_monotonic_unique(session: Any, spec: StoreSpec, ledger: "Ledger") -> Assessment:
    """Times of published granules rise along the axis of each epoch."""
    import zarr

    problems: list[str] = []
    count = 0
    for number, each in enumerate(read_state(session.store).get("epochs", [])):
        slots = ledger.column("slot")[ledger.rows_in("published", number)]
        for part in Layout.decode(each["layout"]).of_kind("native"):
            inside = part.target == spec.concat.dim and not part.new_axis
            if not inside or not is_time(part.array.attributes) or len(part.dims) != 1:
                continue
            path = f"{each['path']}/{part.target}".lstrip("/")
            array: Any = zarr.open_array(session.store, path=path, mode="r", zarr_format=3)
            steps = np.add.outer(slots * part.span, np.arange(part.span)).ravel()
            attributes = {k: v for k, v in dict(array.attrs).items() if k != "_FillValue"}
            times = milliseconds(np.asarray(array[:])[steps], attributes)
            count += times.size
            for place in np.flatnonzero(np.diff(times) <= 0).tolist():
                where = f"slots {steps[place]} and {steps[place + 1]}"
                problems.append(f"{path} does not rise between {where}")
    return Assessment("time_monotonic_unique", tuple(problems), {"times": count})


def no_gaps_vs_cmr(
    storage: Storage, spec: StoreSpec, ledger: "Ledger", cmr: "AnyCatalogue"
) -> Assessment:
    """Every granule that CMR has is known, and none waits for its bytes."""
    listed = [e for e in read_listing(storage, granules_key(spec.name)) if not e.deleted]
    entries = ledger.find([each.concept_id for each in listed])
    problems = [
        f"{each.granule_ur} is not in the ledger"
        for each, entry in zip(listed, entries, strict=True)
        if entry is None
    ]
    problems += [
        f"{entry.name} waits for its bytes"
        for entry in entries
        if entry is not None and entry.state == "pending"
    ]
    numbers: dict[str, int | float] = {"listed": len(listed)}
    try:
        numbers["in_cmr"] = cmr.count(spec.query())
    except DorEccoError as error:
        problems.append(f"CMR was not asked: {error.message}")
    else:
        if numbers["in_cmr"] != len(listed):
            problems.append(f"CMR counts {numbers['in_cmr']} granules, {len(listed)} are listed")
    return Assessment("no_gaps_vs_cmr", tuple(problems), numbers)


def ledger_matches_repo(
    storage: Storage, spec: StoreSpec, session: Any, ledger: "Ledger"
) -> Assessment:
    """Published granules have their chunks, and nothing else has any."""
    damage = Damage()
    entries = ledger.at(ledger.rows_in("published"))
    store_differences(damage, storage, spec, session, entries)
    problems = [f"{k}: {text}" for found in damage.granules.values() for k, text in found.items()]
    problems += _strange(damage)
    return Assessment("ledger_matches_repo", tuple(problems), {"published": len(entries)})


def _strange(damage: Damage) -> Sequence[str]:
    return [
        f"{count} chunks of {path} in slot {slot} of no granule"
        for (path, slot), count in damage.unknown.items()
    ]


def quarantine_rate(spec: StoreSpec, ledger: "Ledger") -> Assessment:
    """No more of the granules are in quarantine than the configuration allows."""
    counts = ledger.counts()
    bad, usable = counts["quarantined"], counts["published"] + counts["superseded"]
    rate = bad / (bad + usable) if bad else 0.0
    problems: tuple[str, ...] = ()
    if rate > spec.most_quarantined:
        problems = (
            f"{bad} of {bad + usable} granules are in quarantine, allowed are "
            f"{100 * spec.most_quarantined:g} %",
        )
    return Assessment("quarantine_rate", problems, {"quarantined": bad, "rate": round(rate, 4)})
