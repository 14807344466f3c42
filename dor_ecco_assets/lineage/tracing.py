"""Walk back from a partition to the bytes it was made from; hold records against bytes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

from dor_ecco_assets.errors import ConfigurationError, OutputCorrupt
from dor_ecco_assets.lineage.product import Product
from dor_ecco_assets.lineage.record import (
    LINES_OF_COLLECTIONS,
    Record,
    digest_of_record,
    read_record,
    recorded_partitions,
)
from dor_ecco_assets.lineage.workspace import Workspace, member_name
from dor_ecco_assets.storage.base import Files


def trace(workspace: Workspace, key: str, partition: str) -> dict[str, Any]:
    """Everything one partition comes from, as plain values.

    Parameters
    ----------
    workspace : Workspace
    key, partition : str

    Returns
    -------
    dict
        ``product``, ``partition``, ``standing``, ``reasons``, ``uri``, ``record`` (or None),
        ``inputs`` (name, uri, bytes, sha256; as recorded, where there is a record) and
        ``upstream``, a list of the same.

    Raises
    ------
    ConfigurationError
        If there is no such product or partition.
    """
    product = workspace.product(key)
    if partition not in product.partitioning.keys:
        keys = product.partitioning.keys
        raise ConfigurationError(
            f"{key} has no partition {partition!r}; "
            + (f"it has {keys[0]} to {keys[-1]}" if keys != ("",) else "it is not partitioned"),
            code="UnknownPartition",
        )
    state = workspace.state(key, partition)
    try:
        record = read_record(workspace.storage, key, partition)
    except OutputCorrupt:
        record = None  # the state says so
    return {
        "product": key,
        "partition": partition,
        "standing": state.standing,
        "reasons": list(state.reasons),
        "uri": None if record is None else workspace.storage.locate(record.uri),
        "record": None if record is None else asdict(record),
        "inputs": _inputs_of(workspace, product, partition, record),
        "upstream": [
            *(trace(workspace, name, "") for name in product.upstream),
            *(trace(workspace, *member) for member in _recorded_members(workspace, key, partition)),
        ],
    }


def _recorded_members(workspace: Workspace, key: str, partition: str) -> list[tuple[str, str]]:
    """Members of a fan-in that are there."""
    found = workspace.ingredients(key, partition).upstream
    members = workspace.product(key).members(partition)
    return [member for member in members if member_name(*member) in found]


def _inputs_of(
    workspace: Workspace, product: Product, partition: str, record: Record | None
) -> list[dict[str, Any]]:
    """What a partition was made from, as recorded; without a record, what it would be made from."""
    if record is not None:
        return [{"name": name, **source} for name, source in record.details["inputs"].items()]
    found: list[dict[str, Any]] = []
    digests = workspace.ingredients(product.key, partition).inputs
    for name, place in product.inputs(workspace.inputs, partition).items():
        stat = place.stat if isinstance(place, Files) else None
        if place is not None and stat is None:
            stat = workspace.inputs.stat(place)
        found.append(
            {
                "name": name,
                "uri": None if place is None else workspace.inputs.locate(place),
                "bytes": None if stat is None else stat.size,
                "sha256": digests[name],
            }
        )
    return found


#: Commands that make what is gathered from granules.
_GATHERED = {"ecco/delivery": "deliver", "ecco/quality_report": "report"}


#: Stores that are written by the month.
_STORES = {"dor/efficiency_store": "store1", "dor/uptake_by_distance": "store3"}


@dataclass(frozen=True)
class Difference:
    """Where records and bytes disagree.

    Parameters
    ----------
    product, partition : str
    found : str
        What is wrong.
    repair : str
        The command that mends it.
    """

    product: str
    partition: str
    found: str
    repair: str


@dataclass(frozen=True)
class Reconciled:
    """What `reconcile` looked at and found."""

    checked: int
    differences: tuple[Difference, ...]


def reconcile(
    workspace: Workspace,
    keys: Sequence[str],
    tracked: Callable[[Sequence[tuple[str, str]]], Iterable[tuple[str, str]]] = lambda pairs: pairs,
) -> Reconciled:
    """Hash every recorded byte, and look for bytes and scratch that no record speaks of.

    Parameters
    ----------
    workspace : Workspace
    keys : sequence of str
        Products to look at.
    tracked : callable, optional
        Given the pairs of product and partition, gives them back as they are worked on.
    """
    differences: list[Difference] = []
    spoken_for: set[str] = set()
    pairs = [(key, name) for key in keys for name in recorded_partitions(workspace.storage, key)]
    for key, partition in tracked(pairs):
        found, uri = _held_against_bytes(workspace, key, partition)
        spoken_for.add(uri)
        if found is not None:
            differences.append(Difference(key, partition, found, _remake(key, partition)))
    differences += _unrecorded(workspace, keys, spoken_for)
    return Reconciled(len(pairs), tuple(differences))


def _held_against_bytes(workspace: Workspace, key: str, partition: str) -> tuple[str | None, str]:
    """What is wrong with one record, if anything, and the place it speaks of."""
    try:
        record = read_record(workspace.storage, key, partition)
    except OutputCorrupt as error:
        return error.message, ""
    if record is None:  # withdrawn by a writer since it was listed
        return None, ""
    digest = workspace.product(key).digest or digest_of_record
    size, sha256 = digest(workspace.storage, record) if _there(workspace, record.uri) else (0, "")
    if not sha256:
        return f"{record.uri} is gone", record.uri
    if sha256 != record.sha256:
        return (
            f"{record.uri} has {size} bytes, sha256 {sha256[:12]}, recorded {record.bytes} bytes, "
            f"sha256 {record.sha256[:12]}"
        ), record.uri
    return None, record.uri


def _there(workspace: Workspace, uri: str) -> bool:
    if workspace.storage.stat(uri) is not None:
        return True
    return next(iter(workspace.storage.list(uri)), None) is not None


def _unrecorded(
    workspace: Workspace, keys: Sequence[str], spoken_for: set[str]
) -> list[Difference]:
    """Published places and scratch of these products that no record speaks of."""
    differences: list[Difference] = []
    seen: set[str] = set()
    for line in dict.fromkeys(key.split("/")[0] for key in keys):
        for name, _ in workspace.storage.list(line):
            place = _place_of(name, spoken_for)
            product = next((key for key in keys if _belongs(place, key)), None)
            if product is None or place in spoken_for or place in seen:
                continue
            seen.add(place)
            leaf = place.rpartition("/")[2]
            hidden = leaf.startswith(".")
            label = leaf.removesuffix(".part").rpartition(".")[2]
            if hidden and workspace.storage.held(f"{line}/{label}"):
                continue  # a writer is at it
            what = "was left by a writer that was ended" if hidden else "has no record"
            if hidden:
                repair = "the next run of this product sweeps it"
            else:  # a store that grows is taken up again
                grows = place == product
                repair = _remake(product, "") if grows else _removal(workspace, place)
            differences.append(Difference(product, "", f"{place} {what}", repair))
    return differences


def _place_of(name: str, spoken_for: set[str]) -> str:
    """The file or folder that an object below the root belongs to."""
    folder = next((str(p) for p in PurePosixPath(name).parents if str(p) in spoken_for), None)
    if folder is not None:
        return folder
    parts = name.split("/")
    if parts[0] in LINES_OF_COLLECTIONS and parts[2:3] == ["store"]:
        return "/".join(parts[:3])
    head, found, _ = name.partition(".zarr/")
    return f"{head}.zarr" if found else name


def _belongs(place: str, key: str) -> bool:
    folder, _, name = key.rpartition("/")
    leaf = place.rpartition("/")[2]
    return (
        place == key
        or place.startswith((f"{key}/", f"{key}."))
        or (leaf.startswith(f".{name}.") and place.startswith(folder))
    )


def _removal(workspace: Workspace, place: str) -> str:
    uri = workspace.storage.locate(place)
    return f"aws s3 rm --recursive {uri}" if uri.startswith("s3://") else f"rm -r {uri}"


def _remake(key: str, partition: str) -> str:
    """The command that makes one partition again."""
    line, _, name = key.partition("/")
    if line == "virtual":
        return f"dor-ecco virtual build {name.partition('/')[0]}"
    if line == "dor" and "|" in partition:
        return f"dor-ecco cases process '{partition}' --verify"
    if key in _STORES:
        return f"dor-ecco vis populate {_STORES[key]} --month {int(partition)}"
    if key == "pyramids/atlas":
        return f"dor-ecco vis populate store2 --month {int(partition[:2])} --verify"
    if line in ("dor", "pyramids"):
        return f"dagster asset materialize -m dor_ecco_assets.definitions --select {key}"
    if line == "grids":
        return "dor-ecco ecco grid --verify"
    if line == "mapping":
        return "dor-ecco ecco factors --verify"
    if key in _GATHERED:
        return f"dor-ecco ecco {_GATHERED[key]} {partition} --verify"
    return f"dor-ecco {line} granules {name} --partition {partition} --verify"
