"""What a product is, as a value: its key, inputs, partitions, code version and how it is made."""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple

from dor_ecco_assets.errors import InputUnusable
from dor_ecco_assets.lineage.record import Record
from dor_ecco_assets.settings import (
    Compat,
    allow_gaps,
    compat,
    deliver_partial,
    source_date,
    strict_cf,
)
from dor_ecco_assets.storage.base import Readable, Storage

if TYPE_CHECKING:
    import xarray as xr

Layer = Literal["raw", "core", "out"]
PartitionKind = Literal["none", "month", "day", "case", "injection_month", "listed"]
Format = Literal["netcdf", "zarr", "icechunk", "pyramid", "files", "html"]


@dataclass(frozen=True)
class Partitioning:
    """What a product is split by.

    Parameters
    ----------
    kind : {"none", "month", "day", "case", "injection_month", "listed"}
        ``listed`` keys are those that a listing has, which grows: `Product.bound` gives them.
    keys : tuple of str
        Every partition key in order; ``("",)`` where the product is not split. Those of cases
        read ``injection_month|polygon``.
    name : str
        Of ``listed`` keys, by which Dagster knows them.
    """

    kind: PartitionKind = "none"
    keys: tuple[str, ...] = ("",)
    name: str = ""

    def between(self, first: str, last: str) -> tuple[str, ...]:
        """The partitions of a range: consecutive ones, or the rectangle between two corners.

        Empty where a corner is no partition.
        """
        if first not in self.keys or last not in self.keys:
            return ()
        if self.kind != "case":
            return self.keys[self.keys.index(first) : self.keys.index(last) + 1]
        corners = list(zip(first.split("|"), last.split("|"), strict=True))
        return tuple(
            key
            for key in self.keys
            if all(
                low <= value <= high
                for value, (low, high) in zip(key.split("|"), corners, strict=True)
            )
        )

    def ranges(self, wanted: Iterable[str], most: int) -> list[tuple[str, str]]:
        """First and last of the fewest simple ranges that hold just the wanted partitions.

        Parameters
        ----------
        wanted : iterable of str
            Of `keys`.
        most : int
            Partitions of one range at most.

        Returns
        -------
        list of (str, str)
            As `between` takes them.
        """
        chosen = set(wanted)
        if self.kind != "case":
            return [(run[0], run[-1]) for run in _runs(self.keys, chosen, most)]
        months = sorted({key.partition("|")[0] for key in self.keys})
        polygons = sorted({key.partition("|")[2] for key in self.keys})
        found: list[tuple[str, str]] = []
        runs_of = {
            month: [
                (run[0], run[-1], len(run))
                for run in _runs(polygons, {p for p in polygons if f"{month}|{p}" in chosen}, most)
            ]
            for month in months
        }
        for runs, alike in groupby(months, lambda month: runs_of[month]):
            together = list(alike)
            for first, last, size in runs:
                step = max(1, most // size)
                for start in range(0, len(together), step):
                    part = together[start : start + step]
                    found.append((f"{part[0]}|{first}", f"{part[-1]}|{last}"))
        return found


def _runs(keys: Sequence[str], chosen: Container[str], most: int) -> Iterator[list[str]]:
    """Consecutive keys that are chosen, at most so many together."""
    run: list[str] = []
    for key in keys:
        if run and (key not in chosen or len(run) == max(1, most)):
            yield run
            run = []
        if key in chosen:
            run.append(key)
    if run:
        yield run


@dataclass(frozen=True)
class RunSettings:
    """What a run is told besides the configuration files.

    Parameters
    ----------
    source_date : str or None
        ``SOURCE_DATE_EPOCH`` as ``YYYY-MM-DDThh:mm:ss``: date written into outputs where the
        configuration names none.
    strict_cf : bool
        ``DOR_ECCO_STRICT_CF`` is set: leave out what CF checkers refuse.
    compat : {"none", "reference"}
        ``DOR_ECCO_COMPAT``: ``reference`` repeats the numerical defects of Ocean-CDR-Atlas v0.
    allow_gaps : bool
        ``DOR_ECCO_ALLOW_GAPS`` is set: cases whose wet cells lack numbers are made with gaps.
    deliver_partial : bool
        ``DOR_ECCO_DELIVER_PARTIAL`` is set: granules that lack variables are delivered too.
    root_url : str or None
        Where others can fetch what is published; None where the root is a folder.
    """

    source_date: str | None = None
    strict_cf: bool = False
    compat: Compat = "none"
    allow_gaps: bool = False
    deliver_partial: bool = False
    root_url: str | None = None

    @classmethod
    def from_environment(cls) -> "RunSettings":
        """The settings that the environment gives now."""
        return cls(source_date(), strict_cf(), compat(), allow_gaps(), deliver_partial())


@dataclass(frozen=True)
class Content:
    """The content of one partition, worked out and ready to be written.

    Parameters
    ----------
    key : str
        Where it will lie below the root.
    write : callable
        Writes the file or folder at the local path it is given and reads it back.
    details : mapping or callable
        What the materialisation says of it: shape, one physical number with its unit in the name;
        as a function it is called when all is written.
    preview : callable, optional
        Makes a small PNG of it.
    put : callable, optional
        Takes the place of `write` where files appear as they are made, or a region of a shared
        store is written: puts the bytes into the storage itself, asking the second argument
        before each whether the claim is still held, and gives their number and SHA-256.
    """

    key: str
    write: Callable[[Path], None] | None
    details: Mapping[str, Any] | Callable[[], Mapping[str, Any]] = field(
        default_factory=dict[str, Any]
    )
    preview: Callable[[], bytes] | None = None
    put: Callable[[Storage, Callable[[], None]], tuple[int, str]] | None = None


@dataclass(frozen=True)
class Member:
    """One published partition that a fan-in is made from.

    Parameters
    ----------
    key, partition : str
    record : Record
    uri : str
        Absolute.
    open : callable
        Opens it lazily; the caller closes it.
    read : callable
        A seekable binary file over its bytes, where it is one file.
    arrays : callable
        Opens it as a Zarr group, where it is one; costs a tenth of `open`.
    """

    key: str
    partition: str
    record: Record
    uri: str
    open: Callable[[], "xr.Dataset"]
    read: Callable[[], AbstractContextManager[BinaryIO]]
    arrays: Callable[[], Any]


@dataclass(frozen=True)
class Task:
    """One partition to be made, with what making it may read.

    Parameters
    ----------
    partition : str
    inputs : Readable
        The raw inputs.
    input_keys : mapping of str to str or None
        What the product's `inputs` gave: name to key below `inputs`; None where absent.
    upstream : callable
        Opens an upstream product by its key, through its record; opened once per process.
    settings : RunSettings
    upstream_fingerprints : mapping of str to str
    keep : callable
        Takes a name and a function; what the function gives is worked out once for all tasks of
        the process that ask for the same name, and dropped when its kind is asked for by another.
        A name reads ``kind fingerprint``.
    members : callable
        Gives the members that are there one at a time, in the order in which the product names
        them.
    stale_members : callable
        Key, partition and reason of those members that what they are made from has outrun.
    failed : tuple of str
        Members, as ``key partition``, whose last attempt failed.
    workshop : Path
        A local folder, not there at first, that is kept until the partition is published.
    storage : Readable
        The root, for what is `Product.published` and for what this partition was before.
    forced : bool
        Whether the run may replace what it would otherwise refuse to touch.
    """

    partition: str
    inputs: Readable
    input_keys: Mapping[str, str | None]
    upstream: Callable[[str], "xr.Dataset"]
    settings: RunSettings
    upstream_fingerprints: Mapping[str, str | None]
    keep: Callable[[str, Callable[[], Any]], Any]
    members: Callable[[], Iterator[Member]] = lambda: iter(())
    stale_members: Callable[[], Sequence[tuple[str, str, str]]] = lambda: ()
    failed: tuple[str, ...] = ()
    workshop: Path = Path()
    storage: Readable | None = None
    forced: bool = False


class Published(NamedTuple):
    """A published file that counts as an input; its digest is known from its product's record."""

    key: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Product:
    """One asset of one line, without Dagster.

    Parameters
    ----------
    key : str
        ``line/name``; the asset's key and its path below the root.
    title : str
        One line for people.
    code_version : str
        Raised by hand when the product's bytes would change.
    layer : {"raw", "core", "out"}
    format : {"netcdf", "zarr", "icechunk", "pyramid", "files", "html"}
        ``pyramid`` is a folder of map stores, ``files`` one of files, ``html`` one page.
    make : callable
        Works out the content of one partition; for products that are made together, of each by
        its key.
    partitioning : Partitioning
    upstream : tuple of str
        Keys of unpartitioned products it is made from.
    inputs : callable
        Raw inputs of one partition, by name; the key is None where a member is absent.
    arrived : callable, optional
        Partitions of which any raw input may be there, so that a walk of many that wait needs not
        ask `inputs` for each; every one may be if not given.
    unplaced : callable, optional
        Why raw inputs that are there, and look like its own, belong to none of its partitions.
    require : callable
        Raises `InputMissing` where what `inputs` gave is not enough to make the partition.
    succeed : callable, optional
        Takes the names of the inputs that the recorded partition was made from and what `inputs`
        gives now; raises `InputMissing` where the new one must not take the recorded one's place
        unless the policy allows it.
    config : callable
        What of the configuration decides its bytes.
    gathers : tuple of str
        Keys of the products whose partitions it is made from (a fan-in). Unlike `upstream` they
        are not made first: it is made of those members that are recorded.
    members : callable
        Key and partition of every member that one of its own partitions may have.
    numbered_by : tuple of str
        Entries of `config` that decide what a partition key stands for. A recorded partition of
        other ones is something else under the same key, and no member of any fan-in.
    external : tuple of str
        Keys of external assets (raw inputs) it hangs on in the graph.
    gathers_failures : bool
        Whether a member's failed attempt shows in what is gathered, and so makes it stale.
    digest : callable, optional
        Bytes and SHA-256 of what a record speaks of, where they are not those of its files.
    published : callable
        Published files that count as inputs of one partition, by name.
    bound : callable, optional
        Takes the root and gives the product as what is published there makes it: with the
        partitions, members and `published` of a listing that grows.
    together : str
        ``line/name`` shared by products that are made in one go, under one claim, from the same
        inputs, upstream and configuration; each keeps its own record. What fails is noted and
        tried again by every run: it is not put into quarantine, because much of it may have been
        made.
    """

    key: str
    title: str
    code_version: str
    layer: Layer
    format: Format
    make: Callable[[Task], Content | Mapping[str, Content]]
    partitioning: Partitioning = Partitioning()
    upstream: tuple[str, ...] = ()
    inputs: Callable[[Readable, str], Mapping[str, str | None]] = lambda _inputs, _partition: {}
    arrived: Callable[[Readable], Container[str]] | None = None
    unplaced: Callable[[Readable], Sequence[InputUnusable]] = lambda _inputs: ()
    require: Callable[[Readable, str, Mapping[str, str | None], bool], None] = (
        lambda _storage, _partition, _keys, _allow_partial: None
    )
    succeed: Callable[[Sequence[str], Mapping[str, str | None]], None] | None = None
    config: Callable[[RunSettings], Mapping[str, Any]] = lambda _settings: {}
    gathers: tuple[str, ...] = ()
    members: Callable[[str], Sequence[tuple[str, str]]] = lambda _partition: ()
    numbered_by: tuple[str, ...] = ()
    external: tuple[str, ...] = ()
    gathers_failures: bool = False
    digest: Callable[[Storage, Record], tuple[int, str]] | None = None
    published: Callable[[str], Mapping[str, Published]] = lambda _partition: {}
    bound: Callable[[Readable], "Product"] | None = None
    together: str = ""

    @property
    def owner(self) -> str:
        """Whose claim, scratch and Dagster step it is made under: its group's, else its own."""
        return self.together or self.key

    @property
    def line(self) -> str:
        """First part of the key: the line it belongs to."""
        return self.key.split("/")[0]

    @property
    def name(self) -> str:
        """What follows the line in the key."""
        return self.key.partition("/")[2]


def by_key(products: Sequence[Product]) -> dict[str, Product]:
    """Products by their key."""
    return {product.key: product for product in products}
