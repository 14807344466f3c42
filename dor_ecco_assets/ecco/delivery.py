"""Deliveries: all granules of a month, listed, summed and announced as archives take them.

A delivery is a folder::

    ecco/delivery/1992-01/manifest.jsonl  manifest.csv
                          md5/<granule>.md5
                          notifications/<granule>.json

It holds the monthly, daily and snapshot granules of its month; the first month of the run also
holds the granules that belong to no month, time-invariant fields and series. Granules stay where
they are. What has not been made is not delivered, and a granule made later makes its month stale.
Granules that lack variables are left out unless a run is told to take them; while a granule is out
of date, its month is not delivered.

Notifications follow version 1.6 of the Cloud Notification Mechanism (CNM) schema, which has the
collection as an object with name and version. An archive fetches from the URIs in them: those below
``uri_base`` of ``configs/ecco/delivery.yaml``, else below the root where it is in an object store;
two such roots are two places to fetch from, and so give deliveries of different bytes.
"""

import csv
import hashlib
import io
import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from dor_ecco_assets.ecco.catalogue import Catalogue
from dor_ecco_assets.ecco.comparison import content_hash, open_raw
from dor_ecco_assets.ecco.gathered import DELIVERY, DeliverySettings
from dor_ecco_assets.ecco.products import production_date
from dor_ecco_assets.errors import OutputCorrupt, WorkFailed
from dor_ecco_assets.lineage.product import Content, Member, Task

__all__ = ["check_current", "make_delivery"]

#: What is said of a delivery from whose notifications nobody can fetch.
RELATIVE_URIS = "no archive can fetch from them: set uri_base in ecco/delivery.yaml"

#: Columns of the manifest.
COLUMNS = (
    "name",
    "dataset",
    "partition",
    "uri",
    "bytes",
    "md5",
    "sha256",
    "content_hash",
    "time_coverage_start",
    "time_coverage_end",
    "doi",
    "uuid",
    "missing_variables",
)

#: Bytes that are hashed at once.
_PIECE_BYTES = 1 << 20


def make_delivery(catalogue: Catalogue, settings: DeliverySettings, task: Task) -> Content:
    """The delivery of one month.

    Parameters
    ----------
    catalogue : Catalogue
    settings : DeliverySettings
    task : Task

    Returns
    -------
    Content
        A folder. Its bytes depend on the granules and the configuration alone; the submission
        time is the production's date, never that of the clock. Granules without a DOI (another
        target grid, the pressure series) belong to no collection of the archive: they are in the
        manifest, but no notification announces them.

    Raises
    ------
    OutputCorrupt
        If a granule is not what its record says.
    WorkFailed
        Code ``StaleGranules``, if some are out of date; ``IncompleteGranules``, if all lack
        variables and the run is not told to take them.
    """
    check_current(task.partition, task.stale_members())
    settings = settings.at(task.settings.root_url)
    rows: list[dict[str, Any]] = []
    left_out: list[str] = []
    for member in task.members():
        missing = ", ".join(member.record.details.get("missing_variables", []))
        if missing and not task.settings.deliver_partial:
            left_out.append(f"{_named(member.key, member.partition)} without {missing}")
        else:
            rows.append({**_row(member, settings), "missing_variables": missing})
    if not rows:
        raise WorkFailed(
            f"every granule of {task.partition} lacks variables, such as {left_out[0]}; bring the "
            "inputs and make them again, or deliver them as they are: --allow-partial",
            code="IncompleteGranules",
        )
    submitted = f"{production_date(catalogue, task.settings)}Z"
    version = catalogue.release.version

    def write(folder: Path) -> None:
        for name in ("md5", "notifications"):
            (folder / name).mkdir(parents=True)
        (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / "manifest.csv").write_text(_csv(rows))
        for row in rows:
            checksum = _md5_line(row)
            (folder / "md5" / f"{row['name']}.md5").write_text(checksum)
            if not row["doi"]:
                continue
            told = notification(row, task.partition, version, submitted, settings)
            path = folder / "notifications" / f"{Path(row['name']).stem}.json"
            path.write_text(json.dumps(told, indent=1) + "\n")

    details: dict[str, Any] = {
        "granules": len(rows),
        "datasets": len({row["dataset"] for row in rows}),
        "delivered_bytes": sum(row["bytes"] for row in rows),
    }
    unannounced = [row["name"] for row in rows if not row["doi"]]
    if unannounced:
        details["without_notification"] = unannounced
    if left_out:
        details["left_out_as_incomplete"] = left_out
    if settings.uri_base is None:
        details["relative_uris"] = RELATIVE_URIS
    return Content(key=f"{DELIVERY}/{task.partition}", write=write, details=details)


def check_current(month: str, stale: Sequence[tuple[str, str, str]]) -> None:
    """Refuse a month of which granules are out of date.

    Parameters
    ----------
    month : str
    stale : sequence of (key, partition, reason)

    Raises
    ------
    WorkFailed
        Code ``StaleGranules``.
    """
    if not stale:
        return
    key, partition, reason = stale[0]
    datasets = sorted({key.split("/")[1] for key, _, _ in stale})
    raise WorkFailed(
        f"{month} is not delivered: {len(stale)} of its granules {_is(stale)} out of date, such as "
        f"{_named(key, partition)} ({reason}); make again what is: dor-ecco ecco granules "
        f"{' '.join(datasets)}",
        code="StaleGranules",
    )


def _is(several: Sequence[object]) -> str:
    return "is" if len(several) == 1 else "are"


def _named(key: str, partition: str) -> str:
    return f"{key.split('/')[1]} {partition}".rstrip()


def notification(
    row: dict[str, Any], month: str, version: str, submitted: str, settings: DeliverySettings
) -> dict[str, Any]:
    """What an archive's ingest queue is told of one granule.

    Parameters
    ----------
    row : dict
        Of the manifest.
    month : str
        The delivery that holds the granule's checksum file.
    version : str
        Of the collection.
    submitted : str
        ISO 8601, UTC.
    settings : DeliverySettings
    """
    checksum = _md5_line(row).encode()
    side = f"{row['name']}.md5"
    return {
        "version": settings.notification_version,
        "provider": settings.provider,
        "identifier": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{row['name']} {row['sha256']}")),
        "submissionTime": submitted,
        "collection": {"name": row["dataset"], "version": version},
        "product": {
            "name": Path(row["name"]).stem,
            "dataVersion": version,
            "files": [
                {
                    "type": "data",
                    "name": row["name"],
                    "uri": row["uri"],
                    "size": row["bytes"],
                    "checksumType": "md5",
                    "checksum": row["md5"],
                },
                {
                    "type": "metadata",
                    "name": side,
                    "uri": settings.uri_of(f"{DELIVERY}/{month}/md5/{side}"),
                    "size": len(checksum),
                    "checksumType": "md5",
                    "checksum": hashlib.md5(checksum, usedforsecurity=False).hexdigest(),
                },
            ],
        },
    }


def _row(member: Member, settings: DeliverySettings) -> dict[str, Any]:
    """The manifest's line of one granule, whose bytes are read and compared with its record."""
    with member.read() as file:
        md5, sha256 = _digests(file)
        if sha256 != member.record.sha256:
            raise OutputCorrupt(
                f"{member.uri} has sha256 {sha256[:12]}, recorded {member.record.sha256[:12]}; "
                f"make it again: dor-ecco ecco granules {member.key.split('/')[1]}"
                f"{f' --partition {member.partition}' if member.partition else ''} --verify",
                code="ChecksumMismatch",
            )
        with open_raw(file) as granule:
            said = granule.attrs
        file.seek(0)
        content = content_hash(file)
    return {
        "name": member.record.uri.rpartition("/")[2],
        "dataset": member.key.split("/")[1],
        "partition": member.partition,
        "uri": settings.uri_of(member.record.uri),
        "bytes": member.record.bytes,
        "md5": md5,
        "sha256": sha256,
        "content_hash": content,
        "time_coverage_start": said.get("time_coverage_start"),
        "time_coverage_end": said.get("time_coverage_end"),
        "doi": said.get("identifier_product_doi"),
        "uuid": said.get("uuid"),
    }


def _digests(file: BinaryIO) -> tuple[str, str]:
    """MD5 and SHA-256 of a file, in one pass."""
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    while piece := file.read(_PIECE_BYTES):
        md5.update(piece)
        sha256.update(piece)
    file.seek(0)
    return md5.hexdigest(), sha256.hexdigest()


def _md5_line(row: dict[str, Any]) -> str:
    """As ``md5sum`` writes and checks it."""
    return f"{row['md5']}  {row['name']}\n"


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer: csv.DictWriter[str] = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
