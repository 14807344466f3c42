"""Publish one partition: claim, make in scratch, replace, verify, record.

The order is the promise. The old record goes before any byte changes and the new one comes after
the last byte is in place and verified, so wherever a record exists its bytes exist and match.
"""

import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dor_ecco_assets.errors import OutputCorrupt
from dor_ecco_assets.lineage.fingerprint import Ingredients
from dor_ecco_assets.lineage.product import Content, Product
from dor_ecco_assets.lineage.quarantine import quarantine_key
from dor_ecco_assets.lineage.record import (
    Record,
    digest_of_record,
    partition_label,
    partition_path,
    read_record,
    record_key,
    write_record,
)
from dor_ecco_assets.storage import Storage
from dor_ecco_assets.storage.base import digest_of_path

#: Keys of bytes whose record is about to go, while they are removed.
WITHDRAWN = ".withdrawn"


@dataclass(frozen=True)
class Outcome:
    """What became of one partition.

    Parameters
    ----------
    partition : str
    record : Record
    skipped : bool
        True where it was up to date and nothing was done.
    preview : bytes or None
        A small PNG of what was made.
    together : mapping of str to Outcome
        By key, for products that are made together: of each of them.
    """

    partition: str
    record: Record
    skipped: bool
    preview: bytes | None = None
    together: "Mapping[str, Outcome]" = field(default_factory=dict[str, "Outcome"])


def claim_name(asset: str, partition: str) -> str:
    """Name under which one partition is held against other writers."""
    return f"{asset.split('/')[0]}/{partition_label(asset, partition)}"


def is_there(
    storage: Storage,
    record: Record,
    *,
    verify: bool,
    digest: Callable[[Storage, Record], tuple[int, str]] | None = None,
) -> bool:
    """Whether the bytes of `record` exist, and with `verify` whether they hash to its SHA-256.

    `digest` is `Product.digest`.
    """
    if not _exists(storage, record):
        return False
    return not verify or (digest or digest_of_record)(storage, record)[1] == record.sha256


def looks_there(storage: Storage, record: Record) -> bool:
    """`is_there` at a glance, for a walk of many: what lies inside of a folder is not looked at.

    A folder whose own stamp is that of its publication is believed; any other, such as a copy's,
    is listed.
    """
    is_folder = record.details["format"] in ("zarr", "files")
    if is_folder and not {"seal", "chunks"} & record.details.keys():
        found, stamp = storage.stat(record.uri), record.details["run"].get("stamp")
        if found is not None and found.stamp == stamp:
            return True
    return is_there(storage, record, verify=False)


def _exists(storage: Storage, record: Record) -> bool:
    if "seal" in record.details:
        seal = record.details["seal"]
        return all(storage.stat(f"{record.uri}/{name}") is not None for name in seal)
    if "chunks" in record.details:
        stats = [storage.stat(f"{record.uri}/{name}") for name in record.details["chunks"]]
        return sum(stat.size for stat in stats if stat is not None) == record.bytes
    if record.details["format"] in ("zarr", "files"):
        return sum(found.size for _, found in storage.list(record.uri)) == record.bytes
    found = storage.stat(record.uri)
    return found is not None and found.size == record.bytes


class Stopwatch:
    """Wall and CPU seconds of this process since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.monotonic(), time.process_time()

    def read(self) -> dict[str, float]:
        """What has passed, as a record takes it."""
        return {
            "seconds": round(time.monotonic() - self._wall, 3),
            "cpu_seconds": round(time.process_time() - self._cpu, 3),
        }


def publish(
    storage: Storage,
    product: Product,
    ingredients: Ingredients,
    content: Content,
    sources: Callable[[], Mapping[str, Mapping[str, Any]]],
    watch: Stopwatch,
    still_held: Callable[[], None],
) -> Outcome:
    """Write, verify and record one partition; the caller holds its claim.

    Parameters
    ----------
    storage : Storage
    product : Product
    ingredients : Ingredients
    content : Content
    sources : callable
        Called when the content is written: gives URI, bytes and SHA-256 of each input, by name;
        raises where one is no longer what it was made from.
    watch : Stopwatch
        Started when the content began to be worked out.
    still_held : callable
        Raises `PartitionBusy` where the claim was lost.

    Raises
    ------
    StorageRefused, StorageUnavailable
        If the store did not take the bytes. No record exists then, and no half-written file.
    """
    partition = ingredients.partition
    label = partition_label(product.owner, partition)
    if content.put is not None:
        still_held()
        withdraw(storage, product.key, partition, keep=content.key, label=label)
        size, sha256 = content.put(storage, still_held)
        found = sources()
        preview = content.preview() if content.preview is not None else None
    else:
        scratch = storage.scratch(content.key, label)
        try:
            assert content.write is not None
            content.write(scratch)
            found = sources()
            size, sha256 = digest_of_path(scratch)
            preview = content.preview() if content.preview is not None else None
            still_held()
            withdraw(storage, product.key, partition, keep=content.key, label=label)
            storage.publish(content.key, scratch, sha256)
        except BaseException:
            storage.scratch(content.key, label)  # asking for it again removes what is there
            raise
    stored = storage.stat(content.key)
    details = {
        **(content.details() if callable(content.details) else content.details),
        "format": product.format,
        "ingredients": ingredients.for_record(),
        "inputs": found,
        "run": {
            **watch.read(),
            "peak_memory_mb": peak_memory_mb(),
            "software": f"dor-ecco-assets {version('dor-ecco-assets')}",
            "stamp": None if stored is None else stored.stamp,
        },
    }
    made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    record = Record(ingredients.fingerprint(), content.key, size, sha256, made, details)
    storage.delete(quarantine_key(product.key, partition))
    still_held()
    write_record(storage, product.key, partition, record, label)
    return Outcome(partition, record, skipped=False, preview=preview)


def withdraw(
    storage: Storage, asset: str, partition: str, *, keep: str = "", label: str | None = None
) -> None:
    """Make one partition invisible: its record goes first, then its bytes.

    Where those lie is noted before the record goes, so that the next writer of the partition
    removes them if this one is ended in between.

    Parameters
    ----------
    keep : str, optional
        Key whose bytes stay, because they are about to be replaced.
    label : str, optional
        Names the scratch of the note, if not by the partition.
    """
    note = f"{WITHDRAWN}/{asset}/{partition_path(partition)}"
    try:
        record = read_record(storage, asset, partition)
    except OutputCorrupt:
        record = None
        storage.delete(record_key(asset, partition))
    if record is not None:
        if record.uri != keep:
            label = label or partition_label(asset, partition)
            storage.put(note, record.uri.encode(), label)
        storage.delete(record_key(asset, partition))
    left = storage.read(note)
    if left is None:
        return
    if left.decode() != keep:
        storage.delete(left.decode())
    storage.delete(note)


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # a child's ru_maxrss on Linux begins at its parent's
        lines = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        if lines:
            return round(int(lines[0].split()[1]) * 1.024e-3, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1)


#: Inputs that a materialisation names one by one; a series has tens of thousands.
MOST_INPUTS_NAMED = 50


def summary(outcome: Outcome) -> Mapping[str, Any]:
    """What a materialisation says of one partition, as plain values."""
    record = outcome.record
    details = {
        name: value for name, value in record.details.items() if name not in {"ingredients", "run"}
    }
    # The checksum of every file of a folder stays in the record.
    inputs = details["inputs"] = {
        name: {word: value for word, value in source.items() if word != "files"}
        for name, source in details.get("inputs", {}).items()
    }
    if len(inputs) > MOST_INPUTS_NAMED:
        named = dict(list(inputs.items())[:MOST_INPUTS_NAMED])
        further = f"{len(inputs) - MOST_INPUTS_NAMED} more, in the record"
        details["inputs"] = {**named, "further": further}
    return {
        "bytes": record.bytes,
        "sha256": record.sha256,
        "fingerprint": record.fingerprint,
        "became": "up to date" if outcome.skipped else "made",
        "made": record.made,
        **details,
        **{name: value for name, value in record.details["run"].items() if name != "stamp"},
    }
