"""The ledger of a store that grows: every granule that was ever listed, each in exactly one state.

What is listed joins what is known: the newest revision counts and the last withdrawal, so that the
order and the number of times in which news arrive leave no trace. A ledger commits together with
the data that it describes; where it is kept is its owner's business, through `RowPages`.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dor_ecco_assets.errors import OutputCorrupt

__all__ = ["COLUMNS", "STATES", "Entry", "Ledger", "State"]

type State = Literal["pending", "published", "superseded", "quarantined", "withdrawn"]
type Integers = npt.NDArray[np.int64]

#: In the order of their numbers in the index.
STATES: tuple[State, ...] = ("pending", "published", "superseded", "quarantined", "withdrawn")

#: Columns of the index: two hashes, then what is searched, sorted or moved without reading rows.
COLUMNS = ("key", "identity", "order", "begin_ms", "end_ms", "slot", "epoch", "state")

#: So many are looked for one by one; for more the index is sorted first.
_FEW = 64

#: Of a time that is not known, in milliseconds.
UNKNOWN = -(2**62)


@dataclass(frozen=True)
class Entry:
    """One granule in its newest known revision.

    Parameters
    ----------
    key : str
        Names the granule for ever, such as its concept id.
    identity : str
        Shared by granules of which only one can be in the store.
    revision : int
    revised, produced, begin, end : str
        ISO 8601, UTC; empty where unknown.
    order : int
        Sort value along the axis: the begin in milliseconds, or cycle and pass.
    partition, name : str
    container, location : str
        Place in the archive, and the file's relative key there.
    size : int or None
        Bytes, as listed.
    checksum : str
        ``algorithm:digits`` as listed.
    labels : mapping
        Further numbers and texts of the granule, such as its cycle and pass.
    removed, returned : str
        When the archive withdrew it, and when it listed it again; a later revision brings it back
        too.
    tries : int
        How often the bytes of this revision were asked for again.
    problem_code, problem : str
        Why it can never be fetched as listed.
    state : str
    slot, epoch : int
        Place of a published granule along the axis of its epoch; -1 and 0 for others.
    schema : str
        Fingerprint of how it is stored.
    e_tag, modified : str
        The archive's stamps of the bytes that were referenced.
    content : str
        Digest of what was written of the granule: byte ranges and values.
    reason_code, reason : str
        Why it is pending or quarantined.
    tried : str
        Under which parser and configuration it was quarantined; under others it is tried again.
    note : str
        What of it is not as in its siblings though it is published.
    """

    key: str
    identity: str
    revision: int = 1
    revised: str = ""
    produced: str = ""
    begin: str = ""
    end: str = ""
    order: int = 0
    partition: str = ""
    name: str = ""
    container: str = ""
    location: str = ""
    size: int | None = None
    checksum: str = ""
    labels: Mapping[str, Any] = field(default_factory=dict[str, Any])
    removed: str = ""
    returned: str = ""
    tries: int = 0
    problem_code: str = ""
    problem: str = ""
    state: State = "pending"
    slot: int = -1
    epoch: int = 0
    schema: str = ""
    e_tag: str = ""
    modified: str = ""
    content: str = ""
    reason_code: str = ""
    reason: str = ""
    tried: str = ""
    note: str = ""

    @property
    def is_removed(self) -> bool:
        """Whether the archive has withdrawn what it listed."""
        return self.removed > self.returned and self.removed >= self.revised

    @property
    def rank(self) -> tuple[str, int, str]:
        """The greatest among those of one identity is the one to publish."""
        return (self.produced, self.revision, self.key)

    def joined(self, news: "Entry") -> "Entry":
        """What is known when `news` of the same granule arrive: of any order, the same.

        The newest revision's listing, the last withdrawal and return. A revision that was not known
        before, or whose bytes are asked for again, starts as pending; `self` stays as it is where
        the news hold nothing new.
        """
        listed = max(self, news, key=lambda entry: (entry.revision, entry.tries, entry is news))
        removed, returned = max(self.removed, news.removed), max(self.returned, news.returned)
        if listed is self or _listing(listed) == _listing(self):
            same = (removed, returned) == (self.removed, self.returned)
            return self if same else replace(self, removed=removed, returned=returned)
        again = listed.revision == self.revision and listed.tries > self.tries
        if self.state == "published" and self._has_bytes_of(listed) and not again:
            told = {name: getattr(listed, name) for name in _LISTED}
            return replace(self, removed=removed, returned=returned, **told)
        return replace(listed, removed=removed, returned=returned).pending()

    def _has_bytes_of(self, other: "Entry") -> bool:
        """Whether another revision is the same file in the same place: archives revise records."""
        return bool(self.checksum) and all(
            getattr(self, name) == getattr(other, name)
            for name in ("checksum", "size", "container", "location", "order", "labels", "begin")
        )

    def pending(self, code: str = "", reason: str = "") -> "Entry":
        """Should be published, and waits for its bytes to be referenced."""
        return self._in("pending", reason_code=code, reason=reason)

    def published(
        self,
        *,
        slot: int,
        epoch: int = 0,
        schema: str = "",
        e_tag: str = "",
        modified: str = "",
        content: str = "",
        note: str = "",
    ) -> "Entry":
        """In the store, at a place."""
        return self._in(
            "published",
            slot=slot,
            epoch=epoch,
            schema=schema,
            e_tag=e_tag,
            modified=modified,
            content=content,
            note=note,
        )

    def superseded(self, by: str) -> "Entry":
        """Not in the store because another granule of the same identity is."""
        return self._in("superseded", reason_code="Superseded", reason=f"by {by}")

    def quarantined(self, code: str, reason: str, *, schema: str = "", tried: str = "") -> "Entry":
        """Not in the store because it cannot be used."""
        return self._in("quarantined", reason_code=code, reason=reason, schema=schema, tried=tried)

    def withdrawn(self) -> "Entry":
        """Not in the store because the archive no longer lists it."""
        return self._in("withdrawn")

    def _in(self, state: State, **given: Any) -> "Entry":
        clean: dict[str, Any] = {
            "slot": -1,
            "epoch": 0,
            "schema": "",
            "e_tag": "",
            "modified": "",
            "content": "",
            "reason_code": "",
            "reason": "",
            "tried": "",
            "note": "",
        }
        return replace(self, state=state, **(clean | given))

    def encode(self) -> str:
        """The row's text, canonical JSON; what the index holds is not in it."""
        kept = {
            name: value
            for name, value in asdict(self).items()
            if value not in ("", None, {}) and name not in _INDEXED
        }
        if not self.tries:
            del kept["tries"]
        return json.dumps(kept, sort_keys=True, separators=(",", ":"))


_INDEXED = frozenset({"order", "slot", "epoch", "state"})
#: What the listing says, by which news differ from what is known.
_LISTED = (
    *("revision", "revised", "produced", "identity", "begin", "end", "order", "partition", "name"),
    *("container", "location", "size", "checksum", "labels", "problem_code", "problem", "tries"),
)


def _listing(entry: Entry) -> tuple[Any, ...]:
    return tuple(getattr(entry, name) for name in _LISTED)


def _hash(text: str) -> int:
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def _milliseconds(stamp: str) -> int:
    return int(np.datetime64(stamp.removesuffix("Z"), "ms").astype(np.int64)) if stamp else UNKNOWN


#: Texts of some rows, by row number.
type RowPages = Callable[[Sequence[int]], list[str]]


def _no_rows(rows: Sequence[int]) -> list[str]:
    return ["" for _ in rows]


class Ledger:
    """Entries by key, of which few are read at a time.

    A small index of numbers is in memory; the rows' texts stay where they are until they are
    asked for. Methods that change something give a new ledger.

    Parameters
    ----------
    index : ndarray of int64, shape (rows, `COLUMNS`), optional
    pages : callable, optional
        Reads the texts of rows.
    """

    def __init__(self, index: Integers | None = None, pages: RowPages | None = None) -> None:
        self._index = np.empty((0, len(COLUMNS)), np.int64) if index is None else index
        self._pages: RowPages = pages or _no_rows
        self._known: dict[int, Entry] = {}
        #: Rows whose text, and rows whose index, are not as they were read.
        self.changed_rows: set[int] = set()
        self.changed_index: set[int] = set()

    def __len__(self) -> int:
        """How many granules were ever listed."""
        return len(self._index)

    @property
    def index(self) -> Integers:
        """The numbers of every row, shape (rows, `COLUMNS`)."""
        return self._index

    def column(self, name: str) -> Integers:
        """One column of the index."""
        return self._index[:, COLUMNS.index(name)]

    def texts(self, rows: Sequence[int]) -> list[str]:
        """The texts of some rows; those that did not change as they were read."""
        unchanged = [row for row in rows if row not in self.changed_rows]
        found = dict(zip(unchanged, self._pages(unchanged), strict=True)) if unchanged else {}
        return [found[row] if row in found else self._known[row].encode() for row in rows]

    def at(self, rows: Iterable[int]) -> list[Entry]:
        """Entries of some rows."""
        rows = [int(row) for row in rows]
        unread = [row for row in dict.fromkeys(rows) if row not in self._known]
        found = dict(self._known)
        if unread:
            for row, text in zip(unread, self._pages(unread), strict=True):
                found[row] = self._decoded(row, text)
        return [found[row] for row in rows]

    def _decoded(self, row: int, text: str) -> Entry:
        numbers = dict(zip(COLUMNS, self._index[row].tolist(), strict=True))
        try:
            return Entry(
                **json.loads(text),
                order=numbers["order"],
                slot=numbers["slot"],
                epoch=numbers["epoch"],
                state=STATES[numbers["state"]],
            )
        except (ValueError, TypeError, IndexError) as error:
            raise OutputCorrupt(
                f"row {row} of the ledger cannot be read ({error}); roll the store back to a "
                "version whose ledger can",
                code="LedgerUnreadable",
            ) from error

    def entries(self) -> Iterator[Entry]:
        """Every entry in the order of keys."""
        yield from sorted(self.at(range(len(self))), key=lambda entry: entry.key)

    def find(self, keys: Sequence[str]) -> list[Entry | None]:
        """Entries by key; None for what was never listed."""
        rows = self._rows("key", keys)
        entries = self.at(row for found in rows for row in found)
        by_key = {entry.key: entry for entry in entries}
        return [by_key.get(key) for key in keys]

    def rows_of(self, keys: Sequence[str]) -> list[int]:
        """Rows of keys, all of which are listed."""
        found = self._rows("key", keys)
        return [
            next(row for row in rows if len(rows) == 1 or self.at([row])[0].key == key)
            for key, rows in zip(keys, found, strict=True)
        ]

    def rivals(self, identities: Sequence[str]) -> list[list[Entry]]:
        """For each identity its entries, withdrawn ones included."""
        rows = self._rows("identity", identities)
        return [
            [entry for entry in self.at(found) if entry.identity == identity]
            for identity, found in zip(identities, rows, strict=True)
        ]

    def _rows(self, column: str, texts: Sequence[str]) -> list[list[int]]:
        """For each text the rows whose hash is its own."""
        values = self.column(column)
        hashes = np.array([_hash(text) for text in texts], np.int64)
        if len(texts) <= _FEW:
            return [np.flatnonzero(values == found).tolist() for found in hashes]
        order = np.argsort(values, kind="stable")
        firsts = np.searchsorted(values, hashes, "left", sorter=order)
        lasts = np.searchsorted(values, hashes, "right", sorter=order)
        return [order[first:last].tolist() for first, last in zip(firsts, lasts, strict=True)]

    def rows_in(self, state: State, epoch: int | None = None) -> npt.NDArray[np.intp]:
        """Rows in a state, of one epoch if given, in the order of their slots."""
        chosen = self.column("state") == STATES.index(state)
        if epoch is not None:
            chosen &= self.column("epoch") == epoch
        rows = np.flatnonzero(chosen)
        return rows[np.argsort(self.column("slot")[rows], kind="stable")]

    def counts(self) -> dict[State, int]:
        """How many granules are in each state."""
        numbers = np.bincount(self.column("state"), minlength=len(STATES))
        return {state: int(n) for state, n in zip(STATES, numbers, strict=True)}

    def with_entries(self, entries: Iterable[Entry]) -> "Ledger":
        """A ledger in which these entries stand instead of those of the same keys."""
        given = {entry.key: entry for entry in entries}
        keys = list(given)
        made = self._copy()
        places = self._rows("key", keys)
        known = {entry.key: entry for entry in self.at(row for found in places for row in found)}
        rows = {
            key: row
            for key, found in zip(keys, places, strict=True)
            for row in found
            if len(found) == 1 or self.at([row])[0].key == key
        }
        fresh = [key for key in keys if key not in known]
        start = len(self)
        rows |= {key: start + n for n, key in enumerate(fresh)}
        if fresh:
            empty = np.zeros((len(fresh), len(COLUMNS)), np.int64)
            made._index = np.concatenate([made._index, empty])
        for key, entry in given.items():
            if known.get(key) == entry:
                continue
            row = rows[key]
            made._index[row] = (
                *(_hash(key), _hash(entry.identity), entry.order),
                *(_milliseconds(entry.begin), _milliseconds(entry.end)),
                *(entry.slot, entry.epoch, STATES.index(entry.state)),
            )
            made._known[row] = entry
            made.changed_rows.add(row)
            made.changed_index.add(row)
        return made

    def moved(self, rows: npt.NDArray[Any], slots: npt.NDArray[Any]) -> "Ledger":
        """A ledger in which some rows have other slots."""
        made = self._copy()
        place = COLUMNS.index("slot")
        differ = made._index[rows, place] != slots
        made._index[rows, place] = slots
        made.changed_index |= set(np.asarray(rows)[differ].tolist())
        made._known = {
            row: replace(entry, slot=int(made._index[row, place]))
            for row, entry in made._known.items()
        }
        return made

    def _copy(self) -> "Ledger":
        made = Ledger(self._index.copy(), self._pages)
        made._known = dict(self._known)
        made.changed_rows = set(self.changed_rows)
        made.changed_index = set(self.changed_index)
        return made

    def check(self) -> None:
        """See that what is published is unique.

        Raises
        ------
        OutputCorrupt
            Code ``LedgerAmbiguous``: two granules of one identity, or in one slot, or one without
            a slot.
        """
        rows = self.rows_in("published")
        slots = self.column("slot")[rows]
        places = self.column("epoch")[rows] * 2**40 + slots
        for what, values in (("identity", self.column("identity")[rows]), ("slot", places)):
            ordered = np.sort(values)
            if (ordered[1:] == ordered[:-1]).any():
                raise OutputCorrupt(
                    f"two published granules share one {what}; roll the store back",
                    code="LedgerAmbiguous",
                )
        if slots.min(initial=0) < 0:
            raise OutputCorrupt(
                "a published granule has no slot; roll the store back", code="LedgerAmbiguous"
            )

    def digest(self) -> str:
        """SHA-256 over the rows in the order of keys: the same for equal content."""
        digest = hashlib.sha256()
        for entry in self.entries():
            numbers = [entry.order, entry.slot, entry.epoch, entry.state]
            digest.update(f"{entry.encode()} {numbers}\n".encode())
        return digest.hexdigest()
