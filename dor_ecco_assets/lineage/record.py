"""Records: the only proof that a partition exists, one small JSON object each, written last."""

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from dor_ecco_assets.errors import OutputCorrupt
from dor_ecco_assets.storage import Stat, Storage
from dor_ecco_assets.storage.base import Readable

FOLDER = ".records"

#: Lines whose keys read ``line/collection/name``.
LINES_OF_COLLECTIONS = frozenset({"virtual", "archives"})


@dataclass(frozen=True)
class Record:
    """What one partition of one asset is, and from what it was made.

    Parameters
    ----------
    fingerprint : str
        Of the ingredients it was made from.
    uri : str
        Key of the file, folder or store below the root, so that a root can be moved or copied.
    bytes : int
    sha256 : str
        Of the file; of the sorted ``sha256  relative-path`` lines of a folder's files; of the
        stored chunks in key order for a region of a shared store.
    made : str
        UTC, ISO 8601.
    details : mapping
        Format, shape, ingredients, what the run cost, one physical number; ``chunks`` below the
        store, for a region of one, as `expanded` takes them, and ``seal`` among them, the last to
        be put, where they are too many to be looked for one by one.
    """

    fingerprint: str
    uri: str
    bytes: int
    sha256: str
    made: str
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])


def partition_path(partition: str) -> str:
    """A partition key as a path: its dimensions are folders, none at all is ``_``."""
    return partition.replace("|", "/") or "_"


def partition_of_path(path: str) -> str:
    """The partition key that `partition_path` turned into `path`."""
    return "" if path == "_" else path.replace("/", "|")


def partition_label(asset: str, partition: str) -> str:
    """A partition as part of one file name; scratch files and claims are named by it.

    The asset's name is in it because products of one line may lie side by side in one folder.
    """
    name = asset.partition("/")[2].replace("/", "-")
    return f"{name}@{partition_path(partition).replace('/', '-')}"


def record_key(asset: str, partition: str) -> str:
    """Where the record of one partition lies below the root."""
    return f"{FOLDER}/{asset}/{partition_path(partition)}.json"


def read_record(storage: Readable, asset: str, partition: str) -> Record | None:
    """The record of one partition, or None where the partition does not exist."""
    text = storage.read(record_key(asset, partition))
    return None if text is None else parse_record(text, record_key(asset, partition))


def parse_record(text: bytes, name: str) -> Record:
    """A record from its JSON.

    Raises
    ------
    OutputCorrupt
        If `text` is not a record; `name` says which.
    """
    try:
        record = Record(**json.loads(text))
        for needed in ("format", "ingredients", "run"):
            record.details[needed]
    except (ValueError, TypeError, KeyError) as error:
        raise OutputCorrupt(
            f"{name} is not a record ({type(error).__name__}: {error}); delete it and make the "
            "partition again",
            code="RecordUnreadable",
        ) from error
    return record


def write_record(
    storage: Storage, asset: str, partition: str, record: Record, label: str | None = None
) -> None:
    """Make one partition visible; `label` names the scratch, if not by the partition."""
    text = json.dumps(asdict(record), indent=1, sort_keys=True) + "\n"
    label = label or partition_label(asset, partition)
    storage.put(record_key(asset, partition), text.encode(), label)


def digest_of_record(storage: Storage, record: Record) -> tuple[int, str]:
    """Bytes and SHA-256 of what a record speaks of, read from the store."""
    chunks = record.details.get("chunks")
    return (
        storage.digest(record.uri) if chunks is None else region_digest(storage, record.uri, chunks)
    )


def region_digest(storage: Storage, key: str, names: Iterable[str]) -> tuple[int, str]:
    """Bytes and SHA-256 of some chunks of a store, in the order of their names.

    A chunk that is gone counts as empty.
    """
    size, digest = 0, hashlib.sha256()
    for name in sorted(expanded(names)):
        data = storage.read(f"{key}/{name}") or b""
        digest.update(data)
        size += len(data)
    return size, digest.hexdigest()


def expanded(names: Iterable[str]) -> Iterator[str]:
    """Names, each ``{a,b}`` in them written out."""
    for name in names:
        parts = re.split(r"\{([^}]*)\}", name)
        choices = [part.split(",") if place % 2 else [part] for place, part in enumerate(parts)]
        yield from map("".join, itertools.product(*choices))


def recorded_partitions(storage: Storage, asset: str) -> Iterator[str]:
    """Partition keys of every record of `asset`, in key order."""
    return (partition for partition, _ in listed_records(storage, asset))


def listed_records(storage: Readable, asset: str) -> Iterator[tuple[str, Stat]]:
    """Partition key and state of every record of `asset`, in key order."""
    prefix = f"{FOLDER}/{asset}/"
    for key, stat in storage.list(prefix):
        name = key.removeprefix(prefix)
        if name.endswith(".json") and not name.rpartition("/")[2].startswith("."):
            yield partition_of_path(name.removesuffix(".json")), stat


def recorded_assets(storage: Storage) -> list[str]:
    """Keys of every asset that has a record.

    An asset's key has two parts, ``line/name``, and three in the lines of collections; what
    follows is the partition.
    """
    found: set[str] = set()
    for key, _ in storage.list(FOLDER):
        parts = key.split("/")[1:]
        length = 3 if parts[0] in LINES_OF_COLLECTIONS else 2
        if len(parts) > length:
            found.add("/".join(parts[:length]))
    return sorted(found)
