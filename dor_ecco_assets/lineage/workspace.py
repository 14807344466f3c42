"""One production: its products, where their bytes and inputs lie, what is up to date and why not.

`Workspace` answers what `stale` and `why` ask by walking the products, and makes single
partitions with every promise of publication; it knows nothing of Dagster.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import platformdirs

from dor_ecco_assets.errors import (
    ConfigurationError,
    DorEccoError,
    InputMissing,
    InputUnusable,
    OutputCorrupt,
    PartitionBusy,
)
from dor_ecco_assets.lineage.fingerprint import Ingredients, differences
from dor_ecco_assets.lineage.product import Member, Product, RunSettings, Task
from dor_ecco_assets.lineage.publication import (
    WITHDRAWN,
    Outcome,
    Stopwatch,
    claim_name,
    is_there,
    publish,
)
from dor_ecco_assets.lineage.quarantine import FOLDER as QUARANTINE
from dor_ecco_assets.lineage.quarantine import (
    Quarantined,
    quarantine_key,
    read_quarantined,
    set_aside,
)
from dor_ecco_assets.lineage.record import FOLDER, Record, parse_record, read_record, record_key
from dor_ecco_assets.lineage.remembered import Remembered
from dor_ecco_assets.storage import Directory, Stat, Storage
from dor_ecco_assets.storage.base import Readable

if TYPE_CHECKING:
    import xarray as xr

log = logging.getLogger("dor_ecco_assets.lineage")

#: Checksums of the raw inputs, if somebody put them beside the inputs.
MANIFEST = "MANIFEST.sha256"
MANIFEST_MISMATCH = "ChecksumMismatch"

#: How long a run waits for another one that makes what both need, s.
LONGEST_WAIT_S = 600

NO_INPUT = "no input has arrived"
NO_MEMBER = "nothing it is made from has been made"

Standing = Literal["up to date", "stale", "absent", "waiting", "quarantined"]


@dataclass(frozen=True)
class State:
    """How one partition stands.

    Parameters
    ----------
    product, partition : str
    standing : {"up to date", "stale", "absent", "waiting", "quarantined"}
        "waiting" is absent with no input to make it from yet.
    reasons : tuple of str
        Why it is not up to date; what it lacks, if it is and was made of incomplete input.
    """

    product: str
    partition: str
    standing: Standing
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Policy:
    """How a run treats partitions.

    Parameters
    ----------
    force : bool
        Make again what is up to date, try again what is quarantined.
    verify : bool
        Hash published bytes again before believing their record.
    allow_partial : bool
        Make a partition although some of its inputs are absent.
    """

    force: bool = False
    verify: bool = False
    allow_partial: bool = False


@dataclass
class Workspace:
    """Products with the storage they lie in and the inputs they come from.

    Parameters
    ----------
    storage, inputs : Storage
    products : mapping of str to Product
    settings : RunSettings
    """

    storage: Storage
    inputs: Storage
    products: Mapping[str, Product]
    settings: RunSettings = field(default_factory=RunSettings)
    _listings: dict[str, dict[str, Stat]] = field(default_factory=dict[str, dict[str, Stat]])
    _fingerprints: dict[str, str] = field(default_factory=dict[str, str])
    _kept: dict[str, tuple[str, Any]] = field(default_factory=dict[str, tuple[str, Any]])
    _recorded: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])

    def product(self, key: str) -> Product:
        """The product with this key.

        Raises
        ------
        ConfigurationError
            If there is none; names the nearest.
        """
        if key in self.products:
            return self.products[key]
        import difflib

        near = difflib.get_close_matches(key, self.products, n=3, cutoff=0.3)
        raise ConfigurationError(
            f"there is no product {key!r}; nearest: {', '.join(near) or 'none'} "
            "(`dor-ecco stale` lists them all)",
            code="UnknownProduct",
        )

    def refreshed(self) -> "Workspace":
        """The same production with nothing remembered of listings and fingerprints."""
        return Workspace(self.storage, self.inputs, self.products, self.settings)

    @cached_property
    def remembered(self) -> Remembered:
        """Digests of unchanged inputs; kept beside the data on disk, else in the user's cache."""
        if isinstance(self.storage, Directory):
            return Remembered(self.storage.root / ".cache" / "remembered.sqlite")
        name = hashlib.sha256(self.storage.uri.encode()).hexdigest()[:16]
        return Remembered(Path(platformdirs.user_cache_dir("dor-ecco")) / f"{name}.sqlite")

    # What a partition is made from

    def ingredients(self, key: str, partition: str) -> Ingredients:
        """Everything that decides the bytes of one partition, as it is now."""
        return self._ingredients(key, partition, self._member_fingerprint)

    def _ingredients(
        self, key: str, partition: str, recorded: Callable[[str, str], str | None]
    ) -> Ingredients:
        product = self.product(key)
        keys = product.inputs(self._listed_inputs, partition)
        members = {member_name(*member): recorded(*member) for member in product.members(partition)}
        return Ingredients(
            code_version=product.code_version,
            partition=partition,
            config=product.config(self.settings),
            inputs={name: self._identity(found) for name, found in sorted(keys.items())},
            upstream={name: self.fingerprint(name) for name in product.upstream} | members,
        )

    def _member_fingerprint(self, key: str, partition: str) -> str | None:
        """Fingerprint of a member as it is recorded now; None where it is not."""
        try:
            record = read_record(self.storage, key, partition)
        except OutputCorrupt:
            return None  # a record that cannot be read proves nothing
        return None if record is None else record.fingerprint

    def _listed_member_fingerprint(self, key: str, partition: str) -> str | None:
        """The same for a walk of many: the records of a product are listed and read once."""
        if key not in self._recorded:
            found = self._recorded[key] = {}
            for name, stat in self.storage.list(f"{FOLDER}/{key}"):
                with suppress(OutputCorrupt):
                    record = self._remembered_record(name, stat)
                    if record is not None:
                        found[name] = record.fingerprint
        return self._recorded[key].get(record_key(key, partition))

    def fingerprint(self, key: str) -> str:
        """Fingerprint of an unpartitioned product, worked out once per workspace."""
        if key not in self._fingerprints:
            self._fingerprints[key] = self.ingredients(key, "").fingerprint()
        return self._fingerprints[key]

    @property
    def _listed_inputs(self) -> Readable:
        return _Listed(self.inputs, self._listings)

    def _identity(self, key: str | None) -> str | None:
        """SHA-256 of an input, hashed again only when its size or stamp changed."""
        if key is None:
            return None
        stat = self._listed_inputs.stat(key)
        if stat is None:
            return None
        return self.remembered.recall(
            "sha256", self.inputs.locate(key), stat, lambda: self.inputs.digest(key)[1]
        )

    def input_keys(self, key: str, partition: str) -> Mapping[str, str | None]:
        """Raw inputs of one partition by name, None where one is absent; one listing per folder."""
        return self.product(key).inputs(self._listed_inputs, partition)

    def input_bytes(self, key: str, partition: str) -> int:
        """Size of the raw inputs of one partition that are there."""
        keys = self.input_keys(key, partition).values()
        stats = [self._listed_inputs.stat(found) for found in keys if found is not None]
        return sum(stat.size for stat in stats if stat is not None)

    # How partitions stand

    def state(self, key: str, partition: str) -> State:
        """How one partition stands, without making or opening anything."""
        ingredients = self.ingredients(key, partition)
        try:
            record = read_record(self.storage, key, partition)
        except OutputCorrupt as error:
            return State(key, partition, "stale", (error.message,))
        note = read_quarantined(self.storage, key, partition)
        return self._judge(self.product(key), ingredients, record, note)

    def states(self, key: str) -> Iterator[State]:
        """How every partition of one product stands, in partition order."""
        product = self.product(key)
        stamps = dict(self.storage.list(f"{FOLDER}/{key}"))
        noted = {name for name, _ in self.storage.list(f"{QUARANTINE}/{key}")}
        arrived = product.arrived(self._listed_inputs) if product.arrived else None
        for partition in product.partitioning.keys:
            waits = arrived is not None and partition not in arrived
            if waits and not (stamps and record_key(key, partition) in stamps):
                yield State(key, partition, "waiting", (NO_INPUT,))
                continue
            name = record_key(key, partition)
            keys = product.inputs(self._listed_inputs, partition)
            if name not in stamps and keys and not any(keys.values()):
                yield State(key, partition, "waiting", (NO_INPUT,))
                continue
            try:
                record = self._remembered_record(name, stamps[name]) if name in stamps else None
            except OutputCorrupt as error:
                yield State(key, partition, "stale", (error.message,))
                continue
            note = None
            if quarantine_key(key, partition) in noted:
                note = read_quarantined(self.storage, key, partition)
            wanted = self._ingredients(key, partition, self._listed_member_fingerprint)
            yield self._judge(product, wanted, record, note)

    def _remembered_record(self, name: str, stat: Stat) -> Record | None:
        def text() -> str:
            return (self.storage.read(name) or b"").decode()

        if isinstance(self.storage, Directory):  # reading a small file costs what recalling it does
            found = text()
        else:
            found = self.remembered.recall("record", self.storage.locate(name), stat, text)
        return parse_record(found.encode(), name) if found else None

    def _judge(
        self,
        product: Product,
        wanted: Ingredients,
        record: Record | None,
        note: Quarantined | None,
    ) -> State:
        fingerprint = wanted.fingerprint()

        def state(standing: Standing, *reasons: str) -> State:
            return State(product.key, wanted.partition, standing, reasons)

        if record is not None and record.fingerprint == fingerprint:
            if is_there(self.storage, record, verify=False):
                missing = record.details.get("missing_variables", [])
                return state("up to date", *(f"without {name}" for name in missing))
            return state("stale", f"{record.uri} is gone or has another size than recorded")
        if note is not None and note.fingerprint == fingerprint:
            return state("quarantined", f"{note.code} since {note.time}: {note.reason}")
        if record is not None:
            return state("stale", *differences(record.details["ingredients"], wanted.for_record()))
        if wanted.inputs and not any(wanted.inputs.values()):
            return state("waiting", NO_INPUT)
        if product.gathers and not self._present(product, wanted):
            return state("waiting", NO_MEMBER)
        return state("absent", "never made")

    def _present(self, product: Product, wanted: Ingredients) -> list[tuple[str, str]]:
        """Members of a fan-in that are recorded, in the order in which the product names them."""
        return [
            member
            for member in product.members(wanted.partition)
            if wanted.upstream[member_name(*member)] is not None
        ]

    # Making partitions

    def make(self, key: str, partition: str, policy: Policy | None = None) -> Outcome:
        """Make one partition, unless it is up to date.

        Products it is made from are made first where they are absent or stale.

        Parameters
        ----------
        key, partition : str
        policy : Policy, optional

        Returns
        -------
        Outcome

        Raises
        ------
        DorEccoError
            With nothing published. An `InputUnusable` is also written to quarantine.
        """
        policy = policy or Policy()
        product = self.product(key)
        keys = product.inputs(self._listed_inputs, partition)
        product.require(self.inputs, partition, keys, policy.allow_partial)
        ingredients = self.ingredients(key, partition)
        done = self._done(product, ingredients, policy)
        if done is not None:
            return done
        if product.gathers and not self._present(product, ingredients):
            raise InputMissing(
                f"{key} {partition}: none of the partitions that it is made from has been made in "
                f"{self.storage.uri}; make some of {_few(product.gathers)} first",
                code="NothingToGather",
            )
        for name in product.upstream:
            self._make_upstream(name)
        with self.storage.claim(claim_name(key, partition)) as still_held:
            done = self._done(product, ingredients, policy)  # by another writer, meanwhile
            if done is not None:
                return done
            try:
                self._check_manifest(keys)
                return self._publish(product, ingredients, keys, still_held)
            except InputUnusable as error:
                set_aside(self.storage, key, partition, ingredients.fingerprint(), error)
                raise

    def _make_upstream(self, key: str) -> Outcome:
        """Make what a partition is made from; where another writer is at it, wait for that one."""
        waited_s = 0
        while True:
            try:
                return self.make(key, "")
            except PartitionBusy as error:
                if waited_s >= LONGEST_WAIT_S:
                    raise
                log.info("waiting: %s", error.message)
                time.sleep(1)
                waited_s += 1

    def finished(self, key: str, partition: str, policy: Policy) -> Outcome | None:
        """The outcome of a partition that needs nothing done, or None where `make` must look."""
        product = self.product(key)
        keys = product.inputs(self._listed_inputs, partition)
        try:
            product.require(self.inputs, partition, keys, policy.allow_partial)
            return self._done(product, self.ingredients(key, partition), policy)
        except DorEccoError:
            return None  # `make` raises it again, where a batch goes on with the other partitions

    def _done(self, product: Product, wanted: Ingredients, policy: Policy) -> Outcome | None:
        if policy.force:
            return None
        try:
            record = read_record(self.storage, product.key, wanted.partition)
        except OutputCorrupt as error:
            log.warning("%s", error)
            return None
        current = record is not None and record.fingerprint == wanted.fingerprint()
        if record is not None and current and is_there(self.storage, record, verify=policy.verify):
            return Outcome(wanted.partition, record, skipped=True)
        note = read_quarantined(self.storage, product.key, wanted.partition)
        # What a checksum manifest says is no ingredient, and comparing again costs nothing.
        known = note is not None and note.code != MANIFEST_MISMATCH
        if note is not None and known and note.fingerprint == wanted.fingerprint():
            raise InputUnusable(
                f"{note.reason} (quarantined since {note.time}, unchanged since)",
                code=note.code,
                uri=note.uri,
            )
        return None

    def _publish(
        self,
        product: Product,
        ingredients: Ingredients,
        keys: Mapping[str, str | None],
        still_held: Callable[[], None],
    ) -> Outcome:
        task = Task(
            partition=ingredients.partition,
            inputs=self.inputs,
            input_keys=keys,
            upstream=self.open_upstream,
            settings=self.settings,
            upstream_fingerprints=ingredients.upstream,
            keep=self._keep,
            members=lambda: self._members(product, ingredients),
        )
        watch = Stopwatch()
        with self.inputs.faults(""), self.storage.faults(product.key):
            content = product.make(task)
            sources = self._sources(ingredients, keys)
            for name in product.upstream:
                self._current_record(name)
            for member in self._present(product, ingredients):
                self._current_member(ingredients, *member)
            self._recorded.pop(product.key, None)
            return publish(self.storage, product, ingredients, content, sources, watch, still_held)

    def _sources(
        self, ingredients: Ingredients, keys: Mapping[str, str | None]
    ) -> dict[str, dict[str, Any]]:
        """Where each input lay, its size and SHA-256; refuses one that was replaced meanwhile."""
        found: dict[str, dict[str, Any]] = {}
        for name, key in keys.items():
            if key is None:
                continue
            stat = self.inputs.stat(key)
            if stat is None or stat != self._listed_inputs.stat(key):
                raise InputMissing(
                    f"{self.inputs.locate(key)} changed while it was read; nothing was published: "
                    "run again when its writer has finished",
                    code="InputChanged",
                )
            uri, sha256 = self.inputs.locate(key), ingredients.inputs[name]
            found[name] = {"uri": uri, "bytes": stat.size, "sha256": sha256}
        return found

    def _check_manifest(self, keys: Mapping[str, str | None]) -> None:
        """Refuse an input that is not what a checksum manifest beside the inputs says."""
        for key in keys.values():
            expected = None if key is None else self._manifest.get(key)
            if key is not None and expected not in (None, self._identity(key)):
                raise InputUnusable(
                    f"{self.inputs.locate(key)} has sha256 {str(self._identity(key))[:12]}, "
                    f"expected {str(expected)[:12]} as {self.inputs.locate(MANIFEST)} states; "
                    "fetch it again",
                    code=MANIFEST_MISMATCH,
                    uri=self.inputs.locate(key),
                )

    @cached_property
    def _manifest(self) -> dict[str, str]:
        """Expected SHA-256 by key: lines of ``sha256 [bytes] key`` beside the inputs, if any."""
        lines = (self.inputs.read(MANIFEST) or b"").decode(errors="replace").splitlines()
        return {words[-1]: words[0] for words in map(str.split, lines) if len(words) >= 2}

    def _keep(self, name: str, work_out: Callable[[], Any]) -> Any:
        kind = name.split()[0]
        if kind not in self._kept or self._kept[kind][0] != name:
            self._kept[kind] = (name, work_out())
        return self._kept[kind][1]

    def open_upstream(self, key: str) -> "xr.Dataset":
        """An unpartitioned product, through its record; opened once while it stays the same."""
        from dor_ecco_assets.stores.opening import open_uri

        record = self._current_record(key)
        return self._keep(f"{key} {record.sha256}", lambda: open_uri(self.storage, record))

    def _current_record(self, key: str) -> Record:
        """Record of an unpartitioned product that is what this workspace takes it to be."""
        record = read_record(self.storage, key, "")
        if record is None or record.fingerprint != self.fingerprint(key):
            raise PartitionBusy(
                f"{key} was replaced by a run with other inputs or another configuration while it "
                "was used; nothing was published: run again when that run has finished",
                code="UpstreamReplaced",
            )
        return record

    def _members(self, product: Product, ingredients: Ingredients) -> Iterator[Member]:
        from dor_ecco_assets.stores.opening import open_uri

        for key, partition in self._present(product, ingredients):
            record = self._current_member(ingredients, key, partition)
            if not is_there(self.storage, record, verify=False):
                raise OutputCorrupt(
                    f"{self.storage.locate(record.uri)}, {key} {partition}, is gone or has another "
                    "size than recorded; make that partition again",
                    code="MemberGone",
                )
            yield Member(
                key,
                partition,
                record,
                self.storage.locate(record.uri),
                lambda record=record: open_uri(self.storage, record),
                lambda record=record: closing(self.storage.reader(record.uri)),
            )

    def _current_member(self, ingredients: Ingredients, key: str, partition: str) -> Record:
        """Record of a member that is what the fan-in's fingerprint takes it to be."""
        record = read_record(self.storage, key, partition)
        if (
            record is None
            or record.fingerprint != ingredients.upstream[member_name(key, partition)]
        ):
            raise PartitionBusy(
                f"{key} {partition} was replaced while it was gathered; nothing was published: run "
                "again when that run has finished",
                code="UpstreamReplaced",
            )
        return record

    def sweep(self, key: str) -> list[str]:
        """Remove what killed writers of this product left behind."""
        line = self.product(key).line
        hidden = (FOLDER, QUARANTINE, WITHDRAWN)
        folders = (line, key, *(f"{folder}/{key}" for folder in hidden))
        return [path for folder in folders for path in self.storage.sweep(folder, claims=line)]


def member_name(key: str, partition: str) -> str:
    """How the ingredients of a fan-in name one member."""
    return f"{key} {partition}".rstrip()


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


@dataclass(frozen=True)
class Failure:
    """One partition that was not made."""

    partition: str
    error: DorEccoError


def make_all(
    workspace: Workspace, key: str, partitions: Sequence[str], policy: Policy
) -> Iterator[Outcome | Failure]:
    """Make partitions one after another; a failed one does not stop the rest."""
    workspace.sweep(key)
    for partition in partitions:
        try:
            yield workspace.make(key, partition, policy)
        except DorEccoError as error:
            yield Failure(partition, error)


class _Listed:
    """Inputs seen through one listing per folder, so that a walk asks the store once per folder."""

    def __init__(self, storage: Storage, listings: dict[str, dict[str, Stat]]) -> None:
        self._storage = storage
        self._listings = listings

    @property
    def uri(self) -> str:
        return self._storage.uri

    def locate(self, key: str) -> str:
        return self._storage.locate(key)

    def read(self, key: str) -> bytes | None:
        return self._storage.read(key)

    def list(self, prefix: str) -> Iterator[tuple[str, Stat]]:
        return self._storage.list(prefix)

    def list_folder(self, prefix: str) -> Iterator[tuple[str, Stat]]:
        return iter(self._folder(prefix).items())

    def stat(self, key: str) -> Stat | None:
        return self._folder(key.rpartition("/")[0]).get(key)

    def _folder(self, folder: str) -> dict[str, Stat]:
        if folder not in self._listings:
            self._listings[folder] = dict(self._storage.list_folder(folder))
        return self._listings[folder]
