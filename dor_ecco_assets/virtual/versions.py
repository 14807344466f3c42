"""What became of which granule from one version of a store to another."""

from typing import Literal, NamedTuple

from dor_ecco_assets.lineage.ledger import Entry
from dor_ecco_assets.stores.icechunk_store import IcechunkStore
from dor_ecco_assets.stores.ledger_arrays import read_ledger

__all__ = ["GranuleDifference", "diff"]

type What = Literal["added", "removed", "replaced", "state"]


class GranuleDifference(NamedTuple):
    """One granule that is not in both versions alike.

    `what` is ``added`` or ``removed`` where only one version has it published, ``replaced`` where
    both have but other bytes, ``state`` where neither has but for another reason.
    """

    key: str
    name: str
    what: What
    before: str
    after: str


def diff(store: IcechunkStore, before: str, after: str | None = None) -> list[GranuleDifference]:
    """Granules that differ between two versions, in the order of keys.

    Parameters
    ----------
    store : IcechunkStore
    before, after : str
        Tags or snapshots; the newest version if `after` is not given.

    Raises
    ------
    InputMissing
        Code ``VersionMissing``.
    """
    old, new = (
        {entry.key: entry for entry in read_ledger(store.reading(version).store).entries()}
        for version in (before, after)
    )
    found: list[GranuleDifference] = []
    for key in sorted(old.keys() | new.keys()):
        what = _what(old.get(key), new.get(key))
        if what is not None:
            name = (new.get(key) or old[key]).name
            found.append(
                GranuleDifference(key, name, what, _said(old.get(key)), _said(new.get(key)))
            )
    return found


def _what(old: Entry | None, new: Entry | None) -> What | None:
    was, is_now = (entry is not None and entry.state == "published" for entry in (old, new))
    if was and is_now:
        return "replaced" if _bytes_of(old) != _bytes_of(new) else None
    if was or is_now:
        return "added" if is_now else "removed"
    return "state" if _said(old) != _said(new) else None


def _bytes_of(entry: Entry | None) -> tuple[str, ...]:
    return () if entry is None else (entry.content, entry.location, entry.e_tag, entry.modified)


def _said(entry: Entry | None) -> str:
    if entry is None:
        return "not listed"
    reason = f" ({entry.reason_code})" if entry.reason_code else ""
    return f"{entry.state}{reason}, revision {entry.revision}"
