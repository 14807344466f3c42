"""Inputs that cannot be used, set aside with their reason until they or the code change."""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from dor_ecco_assets.errors import DorEccoError, InputUnusable
from dor_ecco_assets.lineage.record import partition_label, partition_of_path, partition_path
from dor_ecco_assets.storage import Storage

FOLDER = ".quarantine"

#: Why the last attempt at what is made in parts failed; every run tries it again.
FAILED = ".failed"


@dataclass(frozen=True)
class Quarantined:
    """Why one partition was not made.

    Parameters
    ----------
    uri : str
        The input that cannot be used.
    code, reason : str
    time : str
        UTC, ISO 8601, of the first refusal of these bytes.
    fingerprint : str
        Of the ingredients then: while it stays the same, trying again cannot help.
    """

    uri: str
    code: str
    reason: str
    time: str
    fingerprint: str


def quarantine_key(asset: str, partition: str) -> str:
    """Where the quarantine note of one partition lies below the root."""
    return f"{FOLDER}/{asset}/{partition_path(partition)}.json"


def read_quarantined(storage: Storage, asset: str, partition: str) -> Quarantined | None:
    """The quarantine note of one partition, or None."""
    text = storage.read(quarantine_key(asset, partition))
    return None if text is None else _parsed(text)


def failure_key(owner: str, partition: str) -> str:
    """Where the note of a failed attempt lies below the root."""
    return f"{FAILED}/{owner}/{partition_path(partition)}.json"


def read_failure(storage: Storage, owner: str, partition: str) -> Quarantined | None:
    """The note of the last attempt, if it failed."""
    text = storage.read(failure_key(owner, partition))
    return None if text is None else _parsed(text)


def failed_partitions(storage: Storage, owner: str) -> Iterator[str]:
    """Partitions whose last attempt failed."""
    prefix = f"{FAILED}/{owner}/"
    for key, _ in storage.list(prefix):
        name = key.removeprefix(prefix)
        if name.endswith(".json") and not name.rpartition("/")[2].startswith("."):
            yield partition_of_path(name.removesuffix(".json"))


def note_failure(
    storage: Storage, owner: str, partition: str, fingerprint: str, error: DorEccoError
) -> None:
    """Write down why an attempt failed."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    uri = error.uri if isinstance(error, InputUnusable) else ""
    note = Quarantined(uri, error.code, error.message, now, fingerprint)
    text = json.dumps(asdict(note), indent=1, sort_keys=True) + "\n"
    storage.put(failure_key(owner, partition), text.encode(), partition_label(owner, partition))


def _parsed(text: bytes) -> Quarantined | None:
    """A note from its JSON; one that cannot be read keeps nothing from being tried again."""
    try:
        return Quarantined(**json.loads(text))
    except (ValueError, TypeError):
        return None


def set_aside(
    storage: Storage, asset: str, partition: str, fingerprint: str, error: InputUnusable
) -> Quarantined:
    """Write down that an input cannot be used."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    note = Quarantined(error.uri, error.code, error.message, now, fingerprint)
    text = json.dumps(asdict(note), indent=1, sort_keys=True) + "\n"
    storage.put(quarantine_key(asset, partition), text.encode(), partition_label(asset, partition))
    return note


def quarantined_partitions(storage: Storage, asset: str) -> Iterator[tuple[str, Quarantined]]:
    """Every quarantine note of `asset`, in partition order."""
    prefix = f"{FOLDER}/{asset}/"
    for key, _ in storage.list(prefix):
        name = key.removeprefix(prefix)
        if not name.endswith(".json") or name.rpartition("/")[2].startswith("."):
            continue
        text = storage.read(key)
        note = None if text is None else _parsed(text)
        if note is not None:
            yield partition_of_path(name.removesuffix(".json")), note
