"""One production: its products, where their bytes and inputs lie, what is up to date and why not.

`Workspace` answers what `stale` and `why` ask by walking the products, and makes single
partitions with every promise of publication; it knows nothing of Dagster.
"""

import hashlib
import logging
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import platformdirs

from dor_ecco_assets.errors import (
    ConfigurationError,
    DorEccoError,
    GridMismatch,
    InputMissing,
    InputUnusable,
    OutputCorrupt,
    PartitionBusy,
    WorkFailed,
)
from dor_ecco_assets.lineage.fingerprint import Ingredients, differences, kept_value
from dor_ecco_assets.lineage.product import Content, Member, Product, RunSettings, Task
from dor_ecco_assets.lineage.publication import (
    WITHDRAWN,
    Outcome,
    Stopwatch,
    claim_name,
    is_there,
    looks_there,
    publish,
)
from dor_ecco_assets.lineage.quarantine import (
    FAILED,
    Quarantined,
    failed_partitions,
    failure_key,
    note_failure,
    quarantine_key,
    read_failure,
    read_quarantined,
    set_aside,
)
from dor_ecco_assets.lineage.quarantine import FOLDER as QUARANTINE
from dor_ecco_assets.lineage.record import (
    FOLDER,
    Record,
    listed_records,
    parse_record,
    partition_path,
    read_record,
    record_key,
)
from dor_ecco_assets.lineage.remembered import Remembered
from dor_ecco_assets.storage import Directory, Stat, Storage
from dor_ecco_assets.storage.base import Files, Readable, sha256_of_members

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

Standing = Literal["up to date", "stale", "absent", "waiting", "quarantined", "failed"]


@dataclass(frozen=True)
class State:
    """How one partition stands.

    Parameters
    ----------
    product, partition : str
    standing : {"up to date", "stale", "absent", "waiting", "quarantined", "failed"}
        "waiting" is absent with no input to make it from yet; "failed" the last attempt did, with
        what there is now.
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
    _identities: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    _configs: dict[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    _numbering: dict[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    _together: dict[tuple[str, str], Ingredients] = field(
        default_factory=dict[tuple[str, str], Ingredients]
    )
    _inputs: dict[tuple[str, str], Mapping[str, str | None]] = field(
        default_factory=dict[tuple[str, str], Mapping[str, str | None]]
    )
    _bound: dict[str, Product] = field(default_factory=dict[str, Product])

    def product(self, key: str) -> Product:
        """The product with this key.

        Raises
        ------
        ConfigurationError
            If there is none; names the nearest.
        """
        if key in self.products:
            found = self.products[key]
            if found.bound is None:
                return found
            if key not in self._bound:
                self._bound[key] = found.bound(self.storage)
            return self._bound[key]
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
        return self._ingredients(key, partition, self._recorded_members)

    def _ingredients(
        self,
        key: str,
        partition: str,
        recorded: Callable[[Product, str], dict[str, str]],
        keys: Mapping[str, str | None] | None = None,
    ) -> Ingredients:
        product = self.product(key)
        keys = product.inputs(self._listed_inputs, partition) if keys is None else keys
        config = dict(self._config(key))
        if product.gathers_failures:
            config["failed"] = list(self._failed_members(product, partition))
        upstream = {name: self.fingerprint(name) for name in product.upstream}
        return Ingredients(
            code_version=product.code_version,
            partition=partition,
            config=config,
            inputs={name: self._identity(found) for name, found in sorted(keys.items())}
            | {name: found.sha256 for name, found in product.published(partition).items()},
            upstream=upstream | recorded(product, partition),
        )

    def _config(self, key: str) -> Mapping[str, Any]:
        if key not in self._configs:
            self._configs[key] = self.product(key).config(self.settings)
        return self._configs[key]

    def _failed_members(self, product: Product, partition: str) -> Iterator[str]:
        """Members of a fan-in whose last attempt failed and that are not there."""
        failed = {
            member_name(key, name)
            for key in product.gathers
            for name in self._failures_of(self.product(key).owner)
        }
        for key, name in product.members(partition) if failed else ():
            if member_name(key, name) in failed and self._member_fingerprint(key, name) is None:
                yield member_name(key, name)

    def _failures_of(self, owner: str) -> list[str]:
        return list(failed_partitions(self.storage, owner))

    def stale_members(self, key: str, partition: str) -> list[tuple[str, str, str]]:
        """Key, partition and reason of recorded members of a fan-in that are not up to date.

        One whose inputs have all been taken away is believed: nothing new is known of it.
        """
        product, found = self.product(key), list[tuple[str, str, str]]()
        recorded = self._recorded_members(product, partition)
        for name, part in product.members(partition):
            if member_name(name, part) not in recorded or self._inputs_gone(name, part):
                continue
            state = self.state(name, part)
            if state.standing != "up to date":
                found.append((name, part, state.reasons[0] if state.reasons else state.standing))
        return found

    def _inputs_gone(self, key: str, partition: str) -> bool:
        """Whether no input of a partition, or of a product it is made from, is there any more."""
        sources = [(key, partition), *((name, "") for name in self.product(key).upstream)]
        found = (self.input_keys(*source) for source in sources)
        return any(keys and not any(keys.values()) for keys in found)

    def _recorded_members(self, product: Product, partition: str) -> dict[str, str]:
        """Fingerprints of the members of a fan-in that are recorded now, by `member_name`."""
        members = product.members(partition)
        if isinstance(self.storage, Directory):
            there = {member: self._member_fingerprint(*member) for member in members}
        else:  # one request for many records, which are read when they are new
            keys = {key for key, _ in members}
            listed = {key: dict(self.storage.list(f"{FOLDER}/{key}")) for key in keys}
            there: dict[tuple[str, str], str | None] = {}
            for key, name in members:
                stat = listed[key].get(record_key(key, name))
                there[key, name] = (
                    None if stat is None else self._listed_fingerprint(key, name, stat)
                )
        return {member_name(*member): found for member, found in there.items() if found is not None}

    def _member_fingerprint(self, key: str, partition: str) -> str | None:
        """Fingerprint of a member as it is recorded now; None where it is not."""
        try:
            record = read_record(self.storage, key, partition)
        except OutputCorrupt:
            return None  # a record that cannot be read proves nothing
        return self._fingerprint_of_member(key, record)

    def _listed_fingerprint(self, key: str, partition: str, stat: Stat) -> str | None:
        try:
            record = self._remembered_record(record_key(key, partition), stat)
        except OutputCorrupt:
            return None
        return self._fingerprint_of_member(key, record)

    def _fingerprint_of_member(self, key: str, record: Record | None) -> str | None:
        """None of a record of something else that had the same partition key."""
        if record is None:
            return None
        if key not in self._numbering:
            names = self.products[key].numbered_by if key in self.products else ()
            self._numbering[key] = {name: kept_value(self._config(key)[name]) for name in names}
        recorded = record.details["ingredients"].get("config", {}) if self._numbering[key] else {}
        same = all(recorded.get(name, now) == now for name, now in self._numbering[key].items())
        return record.fingerprint if same else None

    def _walked_members(self, product: Product, partition: str) -> dict[str, str]:
        """`_recorded_members` for a walk of many: a product's records are listed and read once."""
        for key in product.gathers:
            if key not in self._recorded:
                found = self._recorded[key] = {}
                for name, stat in listed_records(self.storage, key):
                    fingerprint = self._listed_fingerprint(key, name, stat)
                    if fingerprint is not None:
                        found[name] = fingerprint
        if not any(self._recorded[key] for key in product.gathers):
            return {}
        return {
            member_name(key, name): self._recorded[key][name]
            for key, name in product.members(partition)
            if name in self._recorded[key]
        }

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
        if isinstance(key, Files):
            return self._identity_of_files(key)
        stat = self._listed_inputs.stat(key)
        return None if stat is None else self._remembered_digest(key, stat)

    def _remembered_digest(self, key: str, stat: Stat) -> str:
        return self.remembered.recall(
            "sha256", self.inputs.locate(key), stat, lambda: self.inputs.digest(key)[1]
        )

    def _identity_of_files(self, files: Files) -> str:
        known = (str(files), files.stat.stamp)
        if known not in self._identities:
            self._identities[known] = self.remembered.recall(
                "sha256",
                self.inputs.locate(files),
                files.stat,
                lambda: sha256_of_members(self._members_of(files)),
            )
        return self._identities[known]

    def _members_of(self, files: Files) -> dict[str, str]:
        """SHA-256 of each file; one that went meanwhile is left out."""
        found: dict[str, str] = {}
        for name in files.names:
            stat = self.inputs.stat(f"{files}/{name}")
            if stat is not None:
                found[name] = self._remembered_digest(f"{files}/{name}", stat)
        return found

    def input_keys(self, key: str, partition: str) -> Mapping[str, str | None]:
        """Raw inputs of one partition by name, None where one is absent; one listing per folder."""
        product = self.product(key)
        if not product.together:
            return product.inputs(self._listed_inputs, partition)
        one = (product.together, partition)  # all that are made together have the same
        if one not in self._inputs:
            self._inputs[one] = product.inputs(self._listed_inputs, partition)
        return self._inputs[one]

    def unplaced(self, key: str) -> Sequence[InputUnusable]:
        """Why raw inputs that look like a product's own belong to none of its partitions."""
        return self.product(key).unplaced(self._listed_inputs)

    def require(
        self, key: str, partition: str, keys: Mapping[str, str | None], allow_partial: bool
    ) -> None:
        """Raise `InputMissing` where inputs are not enough, or for less than what is recorded."""
        product = self.product(key)
        product.require(self.inputs, partition, keys, allow_partial)
        if allow_partial or product.succeed is None:
            return
        with suppress(OutputCorrupt):  # a record that cannot be read proves nothing
            record = read_record(self.storage, key, partition)
            if record is not None:
                recorded = record.details["ingredients"]["inputs"]
                product.succeed([name for name, found in recorded.items() if found], keys)

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
        return self._judge(self.product(key), ingredients, record, self._note(key, partition))

    def _note(self, key: str, partition: str) -> Quarantined | None:
        """Why the last attempt at a partition came to nothing, if it did."""
        together = self.product(key).together
        if together:
            return read_failure(self.storage, together, partition)
        return read_quarantined(self.storage, key, partition)

    def states(self, key: str) -> Iterator[State]:
        """How every partition of one product stands, in partition order."""
        product = self.product(key)
        stamps = dict(self.storage.list(f"{FOLDER}/{key}"))
        noted_key = partial(failure_key, product.owner)
        if not product.together:
            noted_key = partial(quarantine_key, key)
        noted = {name for name, _ in self.storage.list(noted_key("").removesuffix("/_.json"))}
        arrived = product.arrived(self._listed_inputs) if product.arrived else None
        for partition in product.partitioning.keys:
            waits = arrived is not None and partition not in arrived
            if waits and not (stamps and record_key(key, partition) in stamps):
                yield State(key, partition, "waiting", (NO_INPUT,))
                continue
            name = record_key(key, partition)
            keys = self.input_keys(key, partition)
            if name not in stamps and keys and not any(keys.values()):
                yield State(key, partition, "waiting", (NO_INPUT,))
                continue
            try:
                record = self._remembered_record(name, stamps[name]) if name in stamps else None
            except OutputCorrupt as error:
                yield State(key, partition, "stale", (error.message,))
                continue
            note = self._note(key, partition) if noted_key(partition) in noted else None
            yield self._judge(product, self._walked(product, partition, keys), record, note)

    def _walked(
        self, product: Product, partition: str, keys: Mapping[str, str | None]
    ) -> Ingredients:
        """What a partition is made from, worked out once for all that are made together."""
        one = (product.owner, partition)
        if not product.together or one not in self._together:
            found = self._ingredients(product.key, partition, self._walked_members, keys)
            if product.together:
                self._together[one] = found
            return found
        found = self._together[one]
        if found.code_version == product.code_version:
            return found
        return replace(found, code_version=product.code_version)

    def records(self, key: str) -> Iterator[tuple[str, Record]]:
        """Every record of one product that can be read, by partition; `stale` names the others."""
        for partition, stat in listed_records(self.storage, key):
            with suppress(OutputCorrupt):
                record = self._remembered_record(record_key(key, partition), stat)
                if record is not None:
                    yield partition, record

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
            if looks_there(self.storage, record):
                missing = record.details.get("missing_variables", [])
                return state("up to date", *(f"without {name}" for name in missing))
            return state("stale", f"{record.uri} is gone or has another size than recorded")
        if note is not None and note.fingerprint == fingerprint:
            standing = "failed" if product.together else "quarantined"
            return state(standing, f"{note.code} since {note.time}: {note.reason}")
        if record is not None:
            return state("stale", *differences(record.details["ingredients"], wanted.for_record()))
        if wanted.inputs and not any(wanted.inputs.values()):
            return state("waiting", NO_INPUT)
        if product.gathers and not wanted.upstream.keys() - set(product.upstream):
            return state("waiting", NO_MEMBER)
        return state("absent", "never made")

    def _present(self, product: Product, wanted: Ingredients) -> list[tuple[str, str]]:
        """Members of a fan-in that are recorded, in the order in which the product names them."""
        return [
            member
            for member in product.members(wanted.partition)
            if member_name(*member) in wanted.upstream
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
        self.require(key, partition, keys, policy.allow_partial)
        wanted = self._wanted(product, partition, keys)
        ingredients = wanted[key]
        done = self._all_done(key, wanted, policy)
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
        with self.storage.claim(claim_name(product.owner, partition)) as still_held:
            done = self._all_done(key, wanted, policy)  # by another writer, meanwhile
            if done is not None:
                return done
            try:
                self._check_manifest(keys)
                return self._publish(key, wanted, keys, still_held, forced=policy.force)
            except (InputUnusable, InputMissing, GridMismatch) as error:
                if product.together:
                    lead = next(iter(wanted.values())).fingerprint()
                    note_failure(self.storage, product.together, partition, lead, error)
                    raise WorkFailed(error.message, code=error.code) from error
                if isinstance(error, InputUnusable):
                    set_aside(self.storage, key, partition, ingredients.fingerprint(), error)
                raise

    def made_together(self, key: str) -> list[Product]:
        """The products that are made in one go with this one, itself among them, in order."""
        product = self.product(key)
        if not product.together:
            return [product]
        return [each for each in self.products.values() if each.together == product.together]

    def _wanted(
        self, product: Product, partition: str, keys: Mapping[str, str | None]
    ) -> dict[str, Ingredients]:
        """What each of the products made together with this one is made from."""
        return {
            each.key: self._ingredients(each.key, partition, self._recorded_members, keys)
            for each in self.made_together(product.key)
        }

    def _all_done(
        self, key: str, wanted: Mapping[str, Ingredients], policy: Policy
    ) -> Outcome | None:
        """The outcome of a partition where nothing of what is made together has to be done."""
        found: dict[str, Outcome] = {}
        for name, ingredients in wanted.items():
            done = self._done(self.product(name), ingredients, policy)
            if done is None:
                return None
            found[name] = done
        return replace(found[key], together=found) if self.product(key).together else found[key]

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
            self.require(key, partition, keys, policy.allow_partial)
            return self._all_done(key, self._wanted(product, partition, keys), policy)
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
        if (
            record is not None
            and current
            and is_there(self.storage, record, verify=policy.verify, digest=product.digest)
        ):
            return Outcome(wanted.partition, record, skipped=True)
        if product.together:
            return None
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
        key: str,
        wanted: Mapping[str, Ingredients],
        keys: Mapping[str, str | None],
        still_held: Callable[[], None],
        *,
        forced: bool,
    ) -> Outcome:
        product = self.product(next(iter(wanted)))
        ingredients = wanted[product.key]
        place = f"{product.owner}/{partition_path(ingredients.partition)}"
        task = Task(
            partition=ingredients.partition,
            inputs=self.inputs,
            input_keys=keys,
            upstream=self.open_upstream,
            settings=self.settings,
            upstream_fingerprints=ingredients.upstream,
            keep=self._keep,
            members=lambda: self._members(product, ingredients),
            stale_members=lambda: self.stale_members(product.key, ingredients.partition),
            failed=tuple(ingredients.config.get("failed", ())) if product.gathers_failures else (),
            workshop=self.storage.workshop(place),
            storage=self.storage,
            forced=forced,
        )
        watch = Stopwatch()

        @cache
        def sources() -> dict[str, dict[str, Any]]:
            for name in product.upstream:
                self._current_record(name)
            for member in self._present(product, ingredients):
                self._current_member(ingredients, *member)
            return self._sources(ingredients, keys) | self._published_sources(product, ingredients)

        outcomes: dict[str, Outcome] = {}
        with self.inputs.faults(""), self.storage.faults(product.key):
            made = product.make(task)
            contents = {product.key: made} if isinstance(made, Content) else made
            for name, made_of in wanted.items():
                self._recorded.pop(name, None)
                self._bound.clear()  # what is published now may be a listing that others follow
                outcomes[name] = publish(
                    self.storage,
                    self.product(name),
                    made_of,
                    contents[name],
                    sources if name == product.key else lambda: _without_files(sources()),
                    watch,
                    still_held,
                )
        if not product.together:
            return outcomes[key]
        shutil.rmtree(task.workshop, ignore_errors=True)
        self.storage.delete(failure_key(product.together, ingredients.partition))
        return replace(outcomes[key], together=outcomes)

    def _published_sources(
        self, product: Product, ingredients: Ingredients
    ) -> dict[str, dict[str, Any]]:
        """Where published inputs lie; refuses those that were published anew meanwhile."""
        current = product if product.bound is None else product.bound(self.storage)
        found = current.published(ingredients.partition)
        for name, each in found.items():
            if each.sha256 != ingredients.inputs.get(name):
                raise InputMissing(
                    f"{self.storage.locate(each.key)} was published while {product.key} "
                    f"{ingredients.partition} was made from what was there before; nothing was "
                    "published: run again",
                    code="InputChanged",
                )
        return {
            name: {"uri": self.storage.locate(key), "bytes": size, "sha256": sha256}
            for name, (key, size, sha256) in found.items()
        }

    def _sources(
        self, ingredients: Ingredients, keys: Mapping[str, str | None]
    ) -> dict[str, dict[str, Any]]:
        """Where each input lay, its size and SHA-256; refuses one that was replaced meanwhile."""
        found: dict[str, dict[str, Any]] = {}
        for name, key in keys.items():
            if key is None:
                continue
            stat = key.again(self.inputs) if isinstance(key, Files) else self.inputs.stat(key)
            if stat is None or stat != self._listed_inputs.stat(key):
                raise InputMissing(
                    f"{self.inputs.locate(key)} changed while it was read; nothing was published: "
                    "run again when its writer has finished",
                    code="InputChanged",
                )
            uri, sha256 = self.inputs.locate(key), ingredients.inputs[name]
            found[name] = {"uri": uri, "bytes": stat.size, "sha256": sha256}
            if isinstance(key, Files):
                found[name]["files"] = self._members_of(key)
        return found

    def _check_manifest(self, keys: Mapping[str, str | None]) -> None:
        """Refuse an input that is not what a checksum manifest beside the inputs says."""
        for key in _single_files(keys.values()) if self._manifest else ():
            expected = self._manifest.get(key)
            if expected not in (None, self._identity(key)):
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
        from dor_ecco_assets.stores.opening import open_arrays, open_uri

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
                lambda record=record: open_arrays(self.storage, record),
            )

    def _current_member(self, ingredients: Ingredients, key: str, partition: str) -> Record:
        """Record of a member that is what the fan-in's fingerprint takes it to be."""
        record = read_record(self.storage, key, partition)
        if record is None or record.fingerprint != ingredients.upstream.get(
            member_name(key, partition)
        ):
            raise PartitionBusy(
                f"{key} {partition} was replaced while it was gathered; nothing was published: run "
                "again when that run has finished",
                code="UpstreamReplaced",
            )
        return record

    def sweep(self, key: str) -> list[str]:
        """Remove what killed writers of this product left behind."""
        product = self.product(key)
        line, hidden = product.line, (FOLDER, QUARANTINE, WITHDRAWN)
        folders = [line]
        for each in self.made_together(key):
            own = [each.key, *(f"{folder}/{each.key}" for folder in hidden)]
            own += [f"{FAILED}/{each.owner}"] if each.together else []
            first = {name.split("|")[0] for name in each.partitioning.keys if "|" in name}
            folders += [*own, *(f"{folder}/{name}" for folder in own for name in sorted(first))]
        return [path for folder in folders for path in self.storage.sweep(folder, claims=line)]


def _without_files(sources: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Sources without the checksum of every file, which the first of a group's records has."""
    return {
        name: {word: value for word, value in source.items() if word != "files"}
        for name, source in sources.items()
    }


def _single_files(keys: Iterable[str | None]) -> Iterator[str]:
    """Every file among inputs, those that count as one by themselves too."""
    for key in keys:
        if isinstance(key, Files):
            yield from (f"{key}/{name}" for name in key.names)
        elif key is not None:
            yield key


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

    def fetch(self, key: str, path: Path) -> bool:
        return self._storage.fetch(key, path)

    def list(self, prefix: str) -> Iterator[tuple[str, Stat]]:
        return self._storage.list(prefix)

    def list_folder(self, prefix: str) -> Iterator[tuple[str, Stat]]:
        return iter(self._folder(prefix).items())

    def stat(self, key: str) -> Stat | None:
        if isinstance(key, Files):
            return key.stat
        return self._folder(key.rpartition("/")[0]).get(key)

    def _folder(self, folder: str) -> dict[str, Stat]:
        if folder not in self._listings:
            self._listings[folder] = dict(self._storage.list_folder(folder))
        return self._listings[folder]
