"""What CMR knows of one granule: a typed reading of UMM-G."""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from dor_ecco_assets.errors import InputUnusable

__all__ = ["DataFile", "GranuleRecord", "Tombstone", "parse_stamp", "parse_tombstone", "parse_umm"]

_DATA = frozenset({"GET DATA", "GET DATA VIA DIRECT ACCESS"})

#: Bytes of the units in which exact sizes are given.
_EXACT_UNITS = {"B": 1}


@dataclass(frozen=True)
class DataFile:
    """One file of a granule.

    Parameters
    ----------
    name : str
    s3_url, https_url : str or None
    size_bytes : int or None
        None where the record rounds it to megabytes.
    checksum : tuple of str or None
        Algorithm, as the record names it, and hexadecimal digits.
    """

    name: str
    s3_url: str | None = None
    https_url: str | None = None
    size_bytes: int | None = None
    checksum: tuple[str, str] | None = None


@dataclass(frozen=True)
class GranuleRecord:
    """One revision of a granule's record.

    Parameters
    ----------
    concept_id, granule_ur : str
    revision_id : int
    revision_date : datetime, UTC
    collection_concept_id, provider_id : str
    begin, end : datetime, UTC, or None
        None where the record has no usable time.
    production_date : datetime, UTC, or None
    files : tuple of DataFile
        Everything that can be fetched, side-cars included.
    cycle, pass_number : int or None
    day_night : str
    dmrpp_url, s3_credentials_url : str or None
    """

    concept_id: str
    granule_ur: str
    revision_id: int
    revision_date: datetime
    collection_concept_id: str
    provider_id: str
    begin: datetime | None
    end: datetime | None
    production_date: datetime | None
    files: tuple[DataFile, ...]
    cycle: int | None = None
    pass_number: int | None = None
    day_night: str = ""
    dmrpp_url: str | None = None
    s3_credentials_url: str | None = None

    def data_file(self, pattern: str = "*.nc") -> DataFile:
        """The one file whose name fits.

        Raises
        ------
        InputUnusable
            Codes ``LinkMissing`` and ``LinkAmbiguous``.
        """
        found = [file for file in self.files if fnmatchcase(file.name, pattern)]
        if len(found) == 1:
            return found[0]
        names = ", ".join(file.name for file in (found or self.files)[:5]) or "no files"
        raise InputUnusable(
            f"{self.granule_ur} ({self.concept_id}) lists {len(found)} files named {pattern}, "
            f"expected one: {names}; set granule_name in the collection's configuration",
            code="LinkAmbiguous" if found else "LinkMissing",
        )


@dataclass(frozen=True)
class Tombstone:
    """A granule that CMR has deleted."""

    concept_id: str
    granule_ur: str
    deleted: datetime
    collection_concept_id: str


def parse_umm(item: Mapping[str, Any]) -> GranuleRecord:
    """Read one item of a UMM-JSON reply.

    Raises
    ------
    InputUnusable
        Code ``BadRecord``, if it lacks what identifies a granule.
    """
    meta, umm = item.get("meta", {}), item.get("umm", {})
    try:
        concept_id, revision_id = meta["concept-id"], int(meta["revision-id"])
        revision_date = parse_stamp(meta["revision-date"])
        granule_ur = umm["GranuleUR"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputUnusable(
            f"record {meta.get('concept-id', meta.get('native-id', '?'))} lacks or garbles {error};"
            " tell the archive",
            code="BadRecord",
        ) from error
    begin, end = _period(umm.get("TemporalExtent", {}))
    data = umm.get("DataGranule", {})
    links = [(link.get("URL", ""), link.get("Type", "")) for link in umm.get("RelatedUrls", [])]
    cycle, pass_number = _track(umm)
    return GranuleRecord(
        concept_id=concept_id,
        granule_ur=granule_ur,
        revision_id=revision_id,
        revision_date=revision_date,
        collection_concept_id=meta.get("collection-concept-id", ""),
        provider_id=meta.get("provider-id", ""),
        begin=begin,
        end=end,
        production_date=_stamp_or_none(data.get("ProductionDateTime")),
        files=_files(links, data.get("ArchiveAndDistributionInformation", [])),
        cycle=cycle,
        pass_number=pass_number,
        day_night=data.get("DayNightFlag", ""),
        dmrpp_url=_first(links, ".dmrpp"),
        s3_credentials_url=_first(links, "/s3credentials"),
    )


def parse_tombstone(row: Mapping[str, Any]) -> Tombstone:
    """Read one row of a deleted-granules reply."""
    try:
        return Tombstone(
            row["concept-id"],
            row.get("granule-ur", ""),
            parse_stamp(row["revision-date"]),
            row.get("parent-collection-id", ""),
        )
    except (KeyError, ValueError) as error:
        raise InputUnusable(
            f"deleted granule {row.get('concept-id', '?')} lacks or garbles {error}",
            code="BadRecord",
        ) from error


def parse_stamp(text: str) -> datetime:
    """A time as CMR writes it: with or without fractions, with ``Z``, an offset or neither.

    Raises
    ------
    ValueError
        If it is no ISO 8601 time.
    """
    when = datetime.fromisoformat(text)
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)


def _stamp_or_none(text: str | None) -> datetime | None:
    try:
        return None if text is None else parse_stamp(text)
    except ValueError:
        return None


def _period(extent: Mapping[str, Any]) -> tuple[datetime | None, datetime | None]:
    single = _stamp_or_none(extent.get("SingleDateTime"))
    if single is not None:
        return single, single
    between = extent.get("RangeDateTime", {})
    begin = _stamp_or_none(between.get("BeginningDateTime"))
    return begin, _stamp_or_none(between.get("EndingDateTime")) or begin


def _track(umm: Mapping[str, Any]) -> tuple[int | None, int | None]:
    domain = umm.get("SpatialExtent", {}).get("HorizontalSpatialDomain", {})
    track = domain.get("Track", {})
    passes = track.get("Passes", [])
    return track.get("Cycle"), passes[0].get("Pass") if passes else None


def _first(links: list[tuple[str, str]], ending: str) -> str | None:
    return next((url for url, _ in links if url.endswith(ending)), None)


def _files(links: list[tuple[str, str]], listed: list[Mapping[str, Any]]) -> tuple[DataFile, ...]:
    """Files by name: links and the archive's entries are in no common order."""
    entries: dict[str, Mapping[str, Any]] = {}
    for entry in listed:
        for file in (entry, *entry.get("Files", [])):
            entries[file.get("Name", "")] = file
    found: dict[str, dict[str, str]] = {}
    for url, kind in links:
        scheme = url.partition("://")[0]
        if kind in _DATA and scheme in ("s3", "https", "http"):
            name = posixpath.basename(url.partition("?")[0])
            found.setdefault(name, {}).setdefault("s3" if scheme == "s3" else "https", url)
    return tuple(
        DataFile(
            name,
            urls.get("s3"),
            urls.get("https"),
            _size_bytes(entries.get(name, {})),
            _checksum(entries.get(name, {})),
        )
        for name, urls in found.items()
    )


def _size_bytes(entry: Mapping[str, Any]) -> int | None:
    if "SizeInBytes" in entry:
        return int(entry["SizeInBytes"])
    factor = _EXACT_UNITS.get(entry.get("SizeUnit", ""))
    return None if factor is None or "Size" not in entry else int(entry["Size"]) * factor


def _checksum(entry: Mapping[str, Any]) -> tuple[str, str] | None:
    found = entry.get("Checksum")
    return None if not found else (found.get("Algorithm", ""), found.get("Value", "").lower())
