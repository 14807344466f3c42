"""Taking listed granules into a virtual store: each batch in one commit, all of it or nothing."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from dor_ecco_assets.errors import InputMissing, InputUnusable, PartitionBusy, WorkFailed
from dor_ecco_assets.lineage.ledger import STATES, UNKNOWN, Entry, State
from dor_ecco_assets.stores.icechunk_store import IcechunkStore, Lost
from dor_ecco_assets.stores.ledger_arrays import read_ledger, read_state, write_ledger
from dor_ecco_assets.virtual.collections import StoreSpec
from dor_ecco_assets.virtual.compatibility import check_size
from dor_ecco_assets.virtual.fitting import Problem, compare, outside, time_part, times_of
from dor_ecco_assets.virtual.hdf5 import PARSER
from dor_ecco_assets.virtual.layout import Layout, axis_of, fingerprint
from dor_ecco_assets.virtual.listing import Listed
from dor_ecco_assets.virtual.placing import slots_of, time_conflict
from dor_ecco_assets.virtual.references import GranuleReferences, content_of
from dor_ecco_assets.virtual.repacking import repacked
from dor_ecco_assets.virtual.times import milliseconds, stamp_ms
from dor_ecco_assets.virtual.writing import Epoch, Fresh, Placed, open_array, write_epoch

__all__ = ["ReferenceSource", "Report", "apply", "entry_of", "split_for"]


class ReferenceSource(Protocol):
    """Where references of granules come from: shards, or the parser."""

    def __call__(
        self, entries: Sequence[Entry], *, load: Sequence[str] = (), described: bool = False
    ) -> Iterable[GranuleReferences | InputUnusable | InputMissing]:
        """References of some granules, in their order; an error instead of those without.

        Parameters
        ----------
        entries : sequence of Entry
            By partition and time; `key` and `revision` name what is wanted.
        load : sequence of str
            Arrays whose values are needed besides those that the configuration loads: they are
            stored in a way that cannot be referenced here.
        described : bool
            Whether attributes that decoding does not need must be among them.
        """
        ...


@dataclass(frozen=True)
class Report:
    """What a batch did.

    Parameters
    ----------
    snapshot : str
        Of the newest version, made by this batch or not.
    commits : int
        0 where there was nothing to do.
    published, replaced, late, withdrawn, superseded, materialised : int
        Granules new in the store; of those published before in another revision; of the new ones
        those before the then last; no longer in it; not in it for a better one; copied because
        their bytes could not be referenced.
    quarantined, pending : mapping of str to str
        Keys of this batch's granules, to code and reason.
    notes : mapping of str to str
        Keys of published granules that lack something, to what.
    references : int
        Byte ranges written.
    granules : mapping of str to int
        How many of the whole ledger are in each state.
    """

    snapshot: str
    commits: int = 0
    published: int = 0
    replaced: int = 0
    late: int = 0
    withdrawn: int = 0
    superseded: int = 0
    materialised: int = 0
    quarantined: Mapping[str, str] = field(default_factory=dict[str, str])
    pending: Mapping[str, str] = field(default_factory=dict[str, str])
    notes: Mapping[str, str] = field(default_factory=dict[str, str])
    references: int = 0
    granules: Mapping[State, int] = field(default_factory=dict[State, int])

    def with_(self, later: "Report") -> "Report":
        """This and a later commit of the same batch as one."""
        numbers = (
            "commits",
            "published",
            "replaced",
            "late",
            "withdrawn",
            "superseded",
            "materialised",
            "references",
        )
        texts = ("quarantined", "pending", "notes")
        return replace(
            later,
            **{name: getattr(self, name) + getattr(later, name) for name in numbers},
            **{name: {**getattr(self, name), **getattr(later, name)} for name in texts},
        )


#: Byte ranges of one commit at most: what is not committed is held in memory.
_PIECE_REFERENCES = 250_000
#: Granules of the first commit of a store at most, where none tells how many chunks it has.
_FIRST_PIECE = 500
#: Granules that are looked at before a store is made.
_LOOKED_AT = 3
#: Granules of another schema, following each other, that open an epoch.
EPOCH_AFTER = 10
#: Attempts to commit where other writers keep being first.
_ATTEMPTS = 8
#: Batches with fewer quarantined or copied granules than this are no sign of anything.
_FEW = 2

_PUBLISHED = STATES.index("published")

#: What makes a granule's bytes unfit but not its values.
_STORED_OTHERWISE = frozenset(
    {"DtypeMismatch", "ChunkMismatch", "CodecMismatch", "FillMismatch", "PackingMismatch"}
)
_UNREFERENCEABLE = frozenset({"FilterMask", "CodecUnsupported"})

type _Misfit = tuple[Entry, GranuleReferences, list[Problem]]
type Outcome = GranuleReferences | InputUnusable | InputMissing


def entry_of(spec: StoreSpec, listed: Listed) -> Entry:
    """A listed granule as the ledger keeps it."""
    granule = listed.granule
    begin = stamp_ms(granule.begin)
    labels = {"cycle": granule.cycle, "pass": granule.pass_number}
    order = begin if begin is not None else UNKNOWN
    if spec.concat.order == "cycle_pass":
        track = granule.cycle is not None and granule.pass_number is not None
        order = (granule.cycle or 0) * 1_000_000 + (granule.pass_number or 0) if track else UNKNOWN
    code, problem = granule.code, granule.problem
    if not code and order == UNKNOWN:
        code, problem = "TimeInvalid", f"{granule.granule_ur} tells no place along the axis"
    if not code and begin is None:
        code, problem = "TimeInvalid", f"{granule.granule_ur} tells no time"
    return Entry(
        key=granule.concept_id,
        identity=granule.identity,
        revision=granule.revision_id,
        revised=granule.revision_date,
        produced=granule.production_date,
        begin=granule.begin,
        end=granule.end,
        order=order,
        partition=listed.partition,
        name=granule.granule_ur,
        container=granule.access,
        location=granule.key,
        size=granule.size_bytes,
        checksum=":".join(granule.checksum) if granule.checksum else "",
        labels={name: value for name, value in labels.items() if value is not None},
        removed=granule.deleted,
        returned=granule.returned,
        tries=granule.tries,
        problem_code=code,
        problem=problem,
    )


def split_for(spec: StoreSpec, chunks: int) -> int:
    """Slots of one manifest, so that of an array of so many chunks it holds the wanted number."""
    return max(1, spec.manifest_refs_target // max(chunks, 1))


def apply(
    store: IcechunkStore,
    spec: StoreSpec,
    listed: Iterable[Listed],
    references: ReferenceSource,
    *,
    accept_quarantine: bool = False,
) -> Report:
    """Bring a store up to date with what is listed of some granules.

    Granules that are not named stay as they are, except those of the same identity. In any order
    and with any repetition the store ends with the same content, and what is there already is not
    written again. A batch is one commit, unless it holds more than a quarter of a million byte
    ranges: then it is several, each of which leaves a whole store.

    Parameters
    ----------
    store : IcechunkStore
        Made where it is not there.
    spec : StoreSpec
    listed : iterable of Listed
        Partition and granule; deleted ones say so. A whole listing, or the partitions that changed.
    references : callable
        Asked only for granules that are to be published and are not; of whole files, groups and
        all.
    accept_quarantine : bool
        Commit even where more than `spec.most_quarantined` of the batch cannot be used, or more
        than `spec.most_copied` would be copied.

    Returns
    -------
    Report

    Raises
    ------
    WorkFailed
        Codes ``TooManyQuarantined``, ``TooManyCopied``, or ``Incompatible`` under
        ``incompatible: fail``; nothing is committed.
    ConfigurationError
        Code ``StaticNotLoaded`` and others, where the granules do not fit the configuration.
    PartitionBusy
        Where another process writes to a store in a local folder, or kept winning in a bucket.
    """
    entries = sorted(
        (entry_of(spec, each) for each in listed), key=lambda e: (e.partition, e.order, e.key)
    )
    chunks = _create(store, spec, entries, references)
    report, start = Report(snapshot=""), 0
    while start < len(entries) or not report.snapshot:
        transaction = _committed(
            store, spec, entries[start:], references, chunks, accept_quarantine=accept_quarantine
        )
        start += transaction.taken
        report = report.with_(transaction.report)
    return report


def _create(
    store: IcechunkStore, spec: StoreSpec, entries: Sequence[Entry], references: ReferenceSource
) -> int:
    """Make a store whose manifests suit its granules; gives the chunks of one, 0 if not known."""
    try:
        _ = store.repository
        return 0
    except InputMissing:
        total = 0
    usable = [entry for entry in entries if not entry.is_removed and not entry.problem_code]
    for outcome in references(usable[:_LOOKED_AT]) if store.split is None else ():
        if isinstance(outcome, GranuleReferences):
            chunks = max((array.lengths.size for array in outcome.arrays.values()), default=1)
            store.split = (axis_of(spec), split_for(spec, chunks))
            total = outcome.chunk_count
            break
    store.create()
    return total


def _committed(
    store: IcechunkStore,
    spec: StoreSpec,
    entries: Sequence[Entry],
    references: ReferenceSource,
    chunks: int,
    *,
    accept_quarantine: bool,
) -> "_Transaction":
    """Apply as many entries as one commit takes."""
    for _ in range(_ATTEMPTS):
        try:
            with store.writing() as session:
                transaction = _Transaction(store, spec, session, references)
                transaction.run(entries, chunks, accept_quarantine=accept_quarantine)
                transaction.finish()
                return transaction
        except Lost:
            continue
    raise PartitionBusy(
        f"{store.uri}: other writers were first {_ATTEMPTS} times; run again when they are done"
    )


class _Transaction:
    """One session from its beginning to its commit."""

    def __init__(
        self,
        store: IcechunkStore,
        spec: StoreSpec,
        session: Any,
        references: ReferenceSource,
    ) -> None:
        self.store, self.spec, self.session, self.source = store, spec, session, references
        self.before = read_ledger(session.store)
        self.ledger = self.before
        self.epochs = [
            Epoch(each["path"], Layout.decode(each["layout"]), each["opening"])
            for each in read_state(session.store).get("epochs", [])
        ]
        self.tried = f"{PARSER}; {_fingerprint_of(spec)}"
        #: Of granules that had to go for another, which come back when that one goes.
        self.displaced = f"{self.tried}; displaced"
        self.passed_over = {self.tried, self.displaced}
        self.placed: list[Placed] = []
        self.accepted: dict[str, Fresh] = {}
        self.failed: dict[str, Entry] = {}
        self.touched: set[str] = set()
        self.taken = 0
        self.written = 0
        self.report = Report(snapshot=session.snapshot_id)

    # What is to be published

    def run(self, entries: Sequence[Entry], chunks: int, *, accept_quarantine: bool) -> None:
        """Take as many entries as one commit holds, and write what follows from them."""
        entries = entries[: self._most(chunks)]
        self.taken = len(entries)
        known = self.ledger.find([entry.key for entry in entries])
        joined: dict[str, Entry] = {}
        for news, had in zip(entries, known, strict=True):
            had = joined.get(news.key, had)
            now = news.pending() if had is None else had.joined(news)
            joined[news.key] = now
            self.touched |= {now.identity} | ({had.identity} if had is not None else set())
        self.ledger = self.ledger.with_entries(joined.values())
        self._fit()
        if self._has_room():
            self._let_return()
        self._gate(len(entries), accept=accept_quarantine)
        self._write()

    def _most(self, chunks: int) -> int:
        per_slot = max((epoch.references_per_slot for epoch in self.epochs), default=chunks)
        return max(1, _PIECE_REFERENCES // per_slot) if per_slot else _FIRST_PIECE

    def _fit(self) -> None:
        """Choose among the touched identities until those that are chosen fit each other."""
        losers: list[Entry] | None = None
        while losers is None or losers:
            self._choose(sorted(self.touched))
            self._settle(sorted(self.touched))
            losers = self._place()
            self.touched |= {entry.identity for entry in losers}

    def _choose(self, identities: Sequence[str]) -> None:
        """Find for every identity the best granule that can be used."""
        left = list(identities)
        while left:
            wanted: list[Entry] = []
            still: list[str] = []
            for identity, rivals in zip(left, self.ledger.rivals(left), strict=True):
                best = self._best(rivals)
                if best is not None and best.state != "published":
                    wanted.append(best)
                    still.append(identity)
            if not wanted:
                return
            self._fetch(sorted(wanted, key=lambda e: (e.partition, e.order, e.key)))
            left = [
                identity
                for identity, entry in zip(still, wanted, strict=True)
                if entry.key in self.failed
            ]

    def _best(self, rivals: Iterable[Entry]) -> Entry | None:
        for entry in sorted(rivals, key=lambda entry: entry.rank, reverse=True):
            if entry.is_removed or entry.key in self.failed:
                continue
            if entry.state == "quarantined" and entry.tried in self.passed_over:
                continue
            return None if entry.key in self.accepted else entry
        return None

    def _fetch(self, wanted: Sequence[Entry]) -> None:
        """Have references of some entries, and see which of them fit."""
        fetchable: list[Entry] = []
        for entry in wanted:
            if entry.problem_code:
                self._fail(entry, entry.problem_code, entry.problem)
            else:
                fetchable.append(entry)
        found: list[tuple[Entry, Outcome]] = []
        for entry, outcome in zip(fetchable, self.source(fetchable), strict=True):
            found.append((entry, self._usable(entry, outcome)))
        if not self.epochs:
            self._open_store([g for _, g in found if isinstance(g, GranuleReferences)])
        others: list[_Misfit] = []
        for entry, outcome in found:
            if isinstance(outcome, GranuleReferences):
                problems = self._accept(entry, outcome)
                if problems:
                    others.append((entry, outcome, problems))
            elif isinstance(outcome, InputMissing):
                self.failed[entry.key] = entry.pending(outcome.code, outcome.message)
            elif outcome.code in _UNREFERENCEABLE and self._may_copy():
                self._copy(
                    entry,
                    [p.source for p in self.epochs[0].layout.of_kind("virtual")],
                    outcome.code,
                    outcome.message,
                )
            else:
                self._fail(entry, outcome.code, outcome.message)
        for entry, granule, problems in self._without_epochs(others):
            self._otherwise(entry, granule, problems)

    def _usable(self, entry: Entry, outcome: Outcome) -> Outcome:
        if not isinstance(outcome, GranuleReferences):
            return outcome
        try:
            if outcome.size:
                check_size(entry.name or entry.key, outcome.size, entry.size)
            group = self.spec.group
            return outcome.select(group) if group in outcome.groups and group else outcome
        except InputUnusable as error:
            return error

    def _fail(self, entry: Entry, code: str, reason: str, schema: str = "") -> None:
        self.failed[entry.key] = entry.quarantined(code, reason, schema=schema, tried=self.tried)

    def _open_store(self, granules: Sequence[GranuleReferences]) -> None:
        """Let the most common schema open the store."""
        schemas = [fingerprint(self.spec, granule) for granule in granules]
        if schemas:
            most, _ = Counter(schemas).most_common(1)[0]
            granule = granules[schemas.index(most)]
            if self.spec.variables == "intersection":
                common = set(granule.arrays).intersection(*(each.arrays for each in granules))
                arrays = {name: granule.arrays[name] for name in sorted(common)}
                granule = replace(granule, arrays=arrays)
            self.epochs.append(Epoch.opened_by(self.spec, "", granule))

    def _may_copy(self) -> bool:
        return self.spec.incompatible == "materialise" and bool(self.epochs)

    def _accept(self, entry: Entry, granule: GranuleReferences) -> list[Problem]:
        """Take a granule into the epoch that it fits, or say why it fits none."""
        first: list[Problem] = []
        for number, epoch in enumerate(self.epochs):
            problems, notes = compare(self.spec, self.session, epoch, granule)
            if not problems:
                try:
                    times = times_of(self.spec, epoch, entry, granule)
                except InputUnusable as error:
                    return [Problem(error.code, "", error.message)]
                self.accepted[entry.key] = Fresh(
                    entry,
                    granule,
                    number,
                    fingerprint(self.spec, granule),
                    "; ".join(notes),
                    False,
                    *times,
                )
                return []
            first = first or problems
        return first

    def _without_epochs(self, others: Sequence[_Misfit]) -> list[_Misfit]:
        """Open epochs for schemas that many granules in a row share; gives the rest."""
        if self.spec.schema_epochs != "auto" or not others:
            return list(others)
        by_schema: dict[str, list[_Misfit]] = {}
        for each in others:
            by_schema.setdefault(fingerprint(self.spec, each[1]), []).append(each)
        rest: list[_Misfit] = []
        known = {epoch.layout.schema for epoch in self.epochs}
        for schema, members in sorted(by_schema.items()):
            earlier = [
                entry
                for entry in self.ledger.at(self.ledger.rows_in("quarantined"))
                if entry.schema == schema
                and not entry.is_removed
                and entry.key not in {member[0].key for member in members}
            ]
            if schema in known or not self._in_a_row([m[0] for m in members] + earlier):
                rest += members
                continue
            opening = min(members, key=lambda member: member[0].order)
            path = f"epoch_{len(self.epochs)}"
            self.epochs.append(Epoch.opened_by(self.spec, path, opening[1]))
            again = [(m[0], m[1]) for m in members]
            for entry, outcome in zip(earlier, self.source(earlier), strict=True):
                usable = self._usable(entry, outcome)
                if isinstance(usable, GranuleReferences):
                    again.append((entry, usable))
                    self.touched.add(entry.identity)
            for entry, granule in again:
                problems = self._accept(entry, granule)
                if problems:
                    rest.append((entry, granule, problems))
        return rest

    def _in_a_row(self, entries: Sequence[Entry]) -> bool:
        """Whether enough granules follow each other without another schema's between them."""
        rows = self.ledger.rows_in("published")
        mine = {entry.key for entry in entries}
        others = [int(order) for order in self.ledger.column("order")[rows]]
        others += [a.entry.order for a in self.accepted.values() if a.entry.key not in mine]
        marks = sorted([(entry.order, True) for entry in entries] + [(o, False) for o in others])
        longest = run = 0
        for _, ours in marks:
            run = run + 1 if ours else 0
            longest = max(longest, run)
        return longest >= EPOCH_AFTER

    def _otherwise(
        self, entry: Entry, granule: GranuleReferences, problems: Sequence[Problem]
    ) -> None:
        """What the configuration says of a granule that does not fit."""
        reason = "; ".join(problem.text for problem in problems)
        code = problems[0].code
        if self.spec.incompatible == "fail":
            raise WorkFailed(
                f"{entry.name or entry.key}: {reason}; choose what happens to such granules by "
                "incompatible in the collection's configuration",
                code="Incompatible",
            )
        if self._may_copy() and all(problem.code in _STORED_OTHERWISE for problem in problems):
            self._copy(entry, sorted({problem.variable for problem in problems}), code, reason)
        else:
            self._fail(entry, code, reason, fingerprint(self.spec, granule))

    def _copy(self, entry: Entry, names: Sequence[str], code: str, reason: str) -> None:
        """Take values instead of byte ranges, stored as the first epoch stores them."""
        layout = self.epochs[0].layout
        (outcome,) = self.source([entry], load=names)
        usable = self._usable(entry, outcome)
        if not isinstance(usable, GranuleReferences):
            self._fail(entry, code, reason)
            return
        try:
            arrays = dict(usable.arrays)
            for part in layout.parts:
                array = arrays.get(part.source)
                if part.source in names and array is not None and array.values is not None:
                    values = repacked(part.source, array, part.array)
                    arrays[part.source] = replace(
                        part.array,
                        shape=values.shape,
                        attributes=array.attributes | part.array.packing,
                        values=values,
                    )
            copied = replace(usable, arrays=arrays)
            virtual = {
                name: replace(array, values=None) if name in names else array
                for name, array in arrays.items()
            }
            problems, notes = compare(
                self.spec, self.session, self.epochs[0], replace(copied, arrays=virtual)
            )
            if problems:
                self._fail(entry, problems[0].code, "; ".join(p.text for p in problems))
                return
            times = times_of(self.spec, self.epochs[0], entry, copied)
        except InputUnusable as error:
            self._fail(entry, code, f"{reason}; {error.message}")
            return
        notes.append(f"copied: {code}")
        schema = fingerprint(self.spec, usable)
        self.accepted[entry.key] = Fresh(entry, copied, 0, schema, "; ".join(notes), True, *times)

    # What becomes of whom

    def _settle(self, identities: Sequence[str]) -> None:
        """Give every granule of the touched identities its one state."""
        changed: list[Entry] = []
        for rivals in self.ledger.rivals(identities):
            usable = [
                entry
                for entry in rivals
                if not entry.is_removed
                and entry.key not in self.failed
                and (entry.key in self.accepted or entry.state == "published")
            ]
            best = max(usable, key=lambda entry: entry.rank, default=None)
            for entry in rivals:
                changed.append(self._state_of(entry, best))
        self.ledger = self.ledger.with_entries(changed)

    def _state_of(self, entry: Entry, best: Entry | None) -> Entry:
        if entry.is_removed:
            return entry.withdrawn()
        if best is not None and entry.rank < best.rank:
            # Whatever came of it before: with the better one there it is not even read.
            return entry.superseded(best.key)
        if entry.key in self.failed:
            return self.failed[entry.key]
        if best is not None and entry.key == best.key:
            if entry.key not in self.accepted:
                return entry
            found = self.accepted[entry.key]
            return entry.published(
                slot=0,
                epoch=found.epoch,
                schema=found.schema,
                e_tag=found.granule.e_tag,
                modified=found.granule.modified,
                content=content_of(found.granule),
                note=found.note,
            )
        return entry

    def _gate(self, count: int, *, accept: bool) -> None:
        known = zip(self.failed.values(), self.before.find(list(self.failed)), strict=True)
        bad = [
            entry
            for entry, had in known
            if entry.state == "quarantined" and (had is None or had.state != "quarantined")
        ]
        if not accept and len(bad) >= _FEW and len(bad) > self.spec.most_quarantined * count:
            causes = ", ".join(
                f"{code} ({n})" for code, n in Counter(e.reason_code for e in bad).most_common()
            )
            example = bad[0]
            raise WorkFailed(
                f"{len(bad)} of {count} granules cannot be used: {causes}; such as "
                f"{example.name or example.key}: {example.reason}. Nothing was committed: correct "
                "the collection's configuration, or accept the quarantine",
                code="TooManyQuarantined",
            )
        copied = [found for found in self.accepted.values() if found.materialised]
        if not accept and len(copied) >= _FEW and len(copied) > self.spec.most_copied * count:
            raise WorkFailed(
                f"{len(copied)} of {count} granules would be copied; such as "
                f"{copied[0].entry.name}: {copied[0].note}. Nothing was committed: see what "
                "`dor-ecco virtual plan` says of the collection, and raise most_copied in its "
                "configuration if that is meant",
                code="TooManyCopied",
            )

    # Where they go

    def _place(self) -> list[Entry]:
        """Find every granule's slot; gives those that had to go for another."""
        losers: list[Entry] = []
        self.placed = [self._without_conflicts(n, losers) for n in range(len(self.epochs))]
        return losers

    def _without_conflicts(self, number: int, losers: list[Entry]) -> Placed:
        text = "its time is that of another granule, or between those of one"
        while True:
            placed = self._placed(number)
            loser = self._conflict(self.epochs[number], placed)
            if loser is None:
                return placed
            (entry,) = self.ledger.at([placed.rows[loser]])
            gone = entry.quarantined("TimeInvalid", text, tried=self.displaced)
            self.accepted.pop(entry.key, None)
            self.failed[entry.key] = gone
            self.ledger = self.ledger.with_entries([gone])
            losers.append(gone)

    def _has_room(self) -> bool:
        """Whether a granule that was published is not, or is another file now."""
        was = self.before.column("state") == _PUBLISHED
        fresh = [row for row in self.ledger.rows_of(list(self.accepted)) if row < len(was)]
        stays = self.ledger.column("state")[: len(was)] == _PUBLISHED
        stays[fresh] = False
        return bool((was & ~stays).any())

    def _let_return(self) -> None:
        """Try those again that had to go for another."""
        quarantined = self.ledger.at(self.ledger.rows_in("quarantined"))
        away = [entry for entry in quarantined if entry.tried == self.displaced]
        if not away:
            return
        for entry in away:
            self.failed.pop(entry.key, None)
        self.touched |= {entry.identity for entry in away}
        self.passed_over = {self.tried}
        self._fit()
        keys = [entry.key for entry in away]
        for key, had in zip(keys, self.before.find(keys), strict=True):
            if had is not None and self.failed.get(key) == had:
                del self.failed[key]  # no news

    def _write(self) -> None:
        """Write every epoch in which something changed."""
        for epoch, placed in zip(self.epochs, self.placed, strict=True):
            self.ledger = self.ledger.moved(placed.rows, placed.slots)
            if placed.is_changed:
                self.written += write_epoch(
                    self.store, self.spec, self.session, epoch, placed, self.ledger, self.source
                )

    def _placed(self, number: int) -> Placed:
        step = None
        if self.spec.concat.on_gap == "hole" and self.spec.concat.step_s is not None:
            step = round(self.spec.concat.step_s * 1000)
        # In the order in which they were listed, which mostly is that of the axis.
        rows = np.sort(self.ledger.rows_in("published", number))
        orders, ties = (self.ledger.column(name)[rows] for name in ("order", "identity"))
        slots = slots_of(orders, ties, step)
        if (slots[1:] <= slots[:-1]).any():
            ordered = np.lexsort((ties, orders, slots))
            rows, slots = rows[ordered], slots[ordered]
        had = self.before.rows_in("published", number)
        old = np.full(len(self.ledger), -1, np.int64)
        old[had] = self.before.column("slot")[had]
        keys = [key for key, found in self.accepted.items() if found.epoch == number]
        mine = dict(zip(self.ledger.rows_of(keys), keys, strict=True))
        positions = np.flatnonzero(np.isin(rows, list(mine)))
        fresh = {int(n): self.accepted[mine[int(rows[n])]] for n in positions}
        stays = np.zeros(len(self.ledger), bool)
        stays[rows] = True
        return Placed(rows, slots, old[rows], old[had[~stays[had]]], fresh, step)

    def _conflict(self, epoch: Epoch, placed: Placed) -> int | None:
        """Position of a granule that contradicts another along the axis."""
        same = np.flatnonzero(np.diff(placed.slots) == 0)
        near = sorted(
            {
                n
                for position in [*placed.fresh, *same.tolist(), *(same + 1).tolist()]
                for n in (position - 1, position, position + 1)
                if 0 <= n < len(placed.rows)
            }
        )
        if not near:
            return None
        old = [n for n in near if n not in placed.fresh]
        times = dict(zip(old, self._written_times(epoch, placed, old), strict=True))
        times |= {n: (found.first, found.last) for n, found in placed.fresh.items()}
        entries = {n: found.entry for n, found in placed.fresh.items()}
        unknown = [n for n in old if not math.isnan(times[n][0])]
        entries |= dict(zip(unknown, self.ledger.at(placed.rows[unknown]), strict=True))
        # To the millisecond: read from the store or from the file, it is the same.
        away = [round(outside(entries[n], *times[n])) if n in entries else 0 for n in near]
        firsts, lasts = (np.array([times[n][side] for n in near]) for side in (0, 1))
        broken = np.flatnonzero(np.diff(near) > 1)  # not neighbours
        for start, stop in zip([0, *(broken + 1)], [*(broken + 1), len(near)], strict=True):
            part = slice(start, stop)
            loser = time_conflict(
                placed.slots[near[part]], firsts[part], lasts[part], np.array(away[part])
            )
            if loser is not None:
                return near[start + loser]
        return None

    def _written_times(
        self, epoch: Epoch, placed: Placed, positions: Sequence[int]
    ) -> list[tuple[float, float]]:
        part = time_part(self.spec, epoch)
        if part is None or not positions:
            return [(math.nan, math.nan)] * len(positions)
        array = open_array(self.session, epoch.array(part.target))
        old = placed.old[list(positions)]
        low, high = int(old.min()), int(old.max()) + 1
        values = array[low * part.span : high * part.span]
        times = milliseconds(values, dict(array.attrs) | part.array.packing)
        return [
            (float(times[(n - low) * part.span]), float(times[(n - low + 1) * part.span - 1]))
            for n in old.tolist()
        ]

    # The end

    def finish(self) -> None:
        """Commit, if anything changed, and say what did."""
        self.report = self._counted()
        if not self.ledger.changed_rows and not self.ledger.changed_index:
            return
        self.ledger.check()
        state = {
            "format": 1,
            "epochs": [
                {"path": e.path, "opening": e.opening, "layout": e.layout.encode()}
                for e in self.epochs
            ],
        }
        write_ledger(self.session.store, self.ledger, state)
        counts = {
            name: getattr(self.report, name)
            for name in ("published", "replaced", "late", "withdrawn", "superseded", "references")
        }
        counts["quarantined"] = len(self.report.quarantined)
        message = ", ".join(f"{name} {n}" for name, n in counts.items() if n) or "ledger"
        snapshot = self.store.commit(self.session, message, counts)
        self.report = replace(self.report, snapshot=snapshot, commits=1)

    def _counted(self) -> Report:
        rows = sorted(self.ledger.changed_rows)
        had = self.before.column("state")
        was_there: set[str] = set()
        new = 0
        gone: Counter[str] = Counter()
        for row, entry in zip(rows, self.ledger.at(rows), strict=True):
            was = row < len(had) and had[row] == _PUBLISHED
            if entry.state == "published" and entry.key in self.accepted:
                new += not was
                was_there |= {entry.key} if was else set()
            elif was or row >= len(had) or STATES[had[row]] != entry.state:
                gone[entry.state] += 1
        last = self.before.column("order")[self.before.rows_in("published")].max(initial=UNKNOWN)
        return Report(
            snapshot=self.session.snapshot_id,
            published=new,
            replaced=len(was_there),
            late=sum(
                bool(found.entry.order < last)
                for key, found in self.accepted.items()
                if key not in was_there
            ),
            withdrawn=gone["withdrawn"],
            superseded=gone["superseded"],
            materialised=sum(found.materialised for found in self.accepted.values()),
            quarantined={
                e.key: f"{e.reason_code}: {e.reason}"
                for e in self.failed.values()
                if e.state == "quarantined"
            },
            pending={
                e.key: f"{e.reason_code}: {e.reason}"
                for e in self.failed.values()
                if e.state == "pending"
            },
            notes={key: found.note for key, found in self.accepted.items() if found.note},
            references=self.written,
            granules=dict(self.ledger.counts()),
        )


def _fingerprint_of(spec: StoreSpec) -> str:
    kept = spec.model_dump(mode="json", exclude={"title", "exports", "temporal", "access"})
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]
