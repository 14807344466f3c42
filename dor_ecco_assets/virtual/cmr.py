"""Searching NASA's Common Metadata Repository so that no granule is lost and none comes twice.

CMR pages through live data: granules come, go and are revised between two pages. So pages follow
the order of revision, whatever comes twice counts once in its newest revision, and a scan that
ends with fewer granules than CMR counts is made again.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dor_ecco_assets.errors import ConfigurationError, InputUnusable, StorageUnavailable
from dor_ecco_assets.virtual.asking import Asking, Reply
from dor_ecco_assets.virtual.granule_records import (
    GranuleRecord,
    Tombstone,
    parse_stamp,
    parse_tombstone,
    parse_umm,
)

__all__ = ["CMR_URL", "CmrClient", "CmrQuery", "CollectionRecord", "parse_date"]

log = logging.getLogger(__name__)

CMR_URL = "https://cmr.earthdata.nasa.gov"

#: Items of one page; CMR allows no more.
PAGE_SIZE = 2000
#: Scans of one search: the second makes up for what moved during the first.
SCANS = 2

type Box = tuple[float, float, float, float]


def parse_date(text: str) -> datetime:
    """A day or time as people write it: ISO 8601, or month-day-year such as ``1-1-2022``.

    Returns
    -------
    datetime, UTC

    Raises
    ------
    ConfigurationError
        Code ``BadDate``.
    """
    try:
        return parse_stamp(text.strip())
    except ValueError:
        pass
    try:
        return datetime.strptime(text.strip().replace("/", "-"), "%m-%d-%Y").replace(tzinfo=UTC)
    except ValueError as error:
        raise ConfigurationError(
            f"{text!r} is no date; write 2022-01-31, 2022-01-31T12:00:00Z or month-day-year, "
            "1-31-2022",
            code="BadDate",
        ) from error


@dataclass(frozen=True)
class CmrQuery:
    """Which granules: of one collection, or of a provider, in a time and a box.

    Parameters
    ----------
    concept_id : str, optional
        Of the collection; the names below are not sent with it, since CMR takes them as patterns.
    short_name, version, provider : str, optional
    start, end : datetime, optional
        Granules that begin in [start, end).
    bounding_box : tuple of float, optional
        West, south, east, north in degrees; west > east crosses the date line.
    revised_since : datetime, optional
        Only records revised at this time or later, to the second below.

    Raises
    ------
    ConfigurationError
        Code ``CmrQuery``, if it names no collection or provider, or has an impossible box or
        period.
    """

    concept_id: str | None = None
    short_name: str | None = None
    version: str | None = None
    provider: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    bounding_box: Box | None = None
    revised_since: datetime | None = None

    def __post_init__(self) -> None:
        if not (self.concept_id or self.short_name or self.provider):
            raise ConfigurationError(
                "a search needs a concept id, a short name or a provider; CMR cuts off others",
                code="CmrQuery",
            )
        if self.concept_id is not None and not self.concept_id.startswith("C"):
            raise ConfigurationError(
                f"concept id {self.concept_id!r} is no collection's, such as C1996881146-POCLOUD",
                code="CmrQuery",
            )
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise ConfigurationError(
                f"the period ends at {self.end:%Y-%m-%d} and begins at {self.start:%Y-%m-%d}; the "
                "end, which is not part of it, must come later",
                code="CmrQuery",
            )
        if self.bounding_box is not None:
            west, south, east, north = self.bounding_box
            if not (-90 <= south <= north <= 90 and max(abs(west), abs(east)) <= 180):
                raise ConfigurationError(
                    f"bounding box {self.bounding_box} is no west, south, east, north in degrees",
                    code="CmrQuery",
                )

    def parameters(self) -> list[tuple[str, str]]:
        """What is sent, always in the same order: paging needs the same question each time."""
        found = self._scope()
        if self.start is not None or self.end is not None:
            found.append(("temporal[]", f"{_second(self.start)},{_second(self.end)}"))
        if self.bounding_box is not None:
            found.append(("bounding_box", ",".join(f"{edge:g}" for edge in self.bounding_box)))
        if self.revised_since is not None:
            found.append(("revision_date[]", f"{_second(self.revised_since)},"))
        return found

    def _scope(self) -> list[tuple[str, str]]:
        if self.concept_id is not None:
            return [("collection_concept_id", self.concept_id)]
        names = {"short_name": self.short_name, "version": self.version, "provider": self.provider}
        return [(name, value) for name, value in names.items() if value is not None]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of which granules are meant, whenever they were revised."""
        asked = [pair for pair in self.parameters() if pair[0] != "revision_date[]"]
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()

    def includes(self, record: GranuleRecord) -> bool:
        """Whether a granule begins in the period; CMR also gives those that only reach into it."""
        if record.begin is None:
            return True
        after = self.start is None or record.begin >= self.start
        return after and (self.end is None or record.begin < self.end)


def _second(when: datetime | None) -> str:
    """A time as CMR's parameters take it, rounded down to the second."""
    return "" if when is None else f"{when.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


@dataclass(frozen=True)
class CollectionRecord:
    """What CMR knows of one collection."""

    concept_id: str
    short_name: str
    version: str
    provider: str
    title: str
    level: str
    doi: str


class CmrClient:
    """Granules, deletions and collections, as CMR has them now.

    Parameters
    ----------
    root : str
        URL of CMR, or of what stands in for it.
    token : callable, optional
        Gives an Earthdata token; public records need none.
    page_size : int
    asking : Asking, optional
    """

    def __init__(
        self,
        root: str = CMR_URL,
        token: Callable[[], str] | None = None,
        page_size: int = PAGE_SIZE,
        asking: Asking | None = None,
    ) -> None:
        self._root = root.rstrip("/")
        self._token = token
        self._page_size = page_size
        self._asking = asking or Asking("CMR")

    def search(self, query: CmrQuery) -> list[GranuleRecord]:
        """Every granule of a query, each once, by revision date.

        Raises
        ------
        StorageUnavailable
            Codes as `Asking.get` has them; ``CmrPageDrift`` if CMR counts more granules than it
            gives, twice. Nothing is returned then: a cursor may not move on.
        """
        parameters = [*query.parameters(), ("sort_key[]", "revision_date")]
        given, counted = 0, 0
        for scan in range(SCANS):
            found: dict[str, GranuleRecord] = {}
            for items, hits in self._pages("granules.umm_json", parameters):
                counted = hits
                for item in items:
                    record = _record(item)
                    known = found.get(record.concept_id)
                    if known is None or known.revision_id < record.revision_id:
                        found[record.concept_id] = record
            given = len(found)
            if given >= counted:
                kept = [record for record in found.values() if query.includes(record)]
                return sorted(kept, key=lambda record: (record.revision_date, record.concept_id))
            log.warning("CMR gave %d of %d granules in scan %d", given, counted, scan + 1)
        raise StorageUnavailable(
            f"CMR counts {counted} granules and gave {given}, {SCANS} times; try again later",
            code="CmrPageDrift",
        )

    def count(self, query: CmrQuery) -> int:
        """How many granules CMR counts; it may say otherwise a moment later."""
        reply = self._get("granules.umm_json", [*query.parameters(), ("page_size", "0")], None)
        return _hits(reply)

    def some(self, query: CmrQuery, count: int) -> list[GranuleRecord]:
        """The first granules of a query, in the order in which CMR gives them."""
        asked = [*query.parameters(), ("page_size", str(count))]
        items = self._get("granules.umm_json", asked, None).json().get("items", [])
        return [_record(item) for item in items]

    def deleted(self, collection_concept_id: str, since: datetime) -> list[Tombstone]:
        """Granules of a collection that were deleted at a time or later, in order.

        Parameters
        ----------
        collection_concept_id : str
        since : datetime
            At most a year ago: CMR remembers no longer.
        """
        asked = [("parent_collection_id", collection_concept_id), ("revision_date", _second(since))]
        rows = self._get("deleted-granules.json", asked, None).json()
        found = {row.concept_id: row for row in map(parse_tombstone, rows)}
        return sorted(found.values(), key=lambda row: (row.deleted, row.concept_id))

    def collections(
        self,
        *,
        concept_id: str | None = None,
        short_name: str | None = None,
        version: str | None = None,
        provider: str | None = None,
    ) -> list[CollectionRecord]:
        """Collections that fit; a short name may fit several versions and providers."""
        given = {
            "concept_id": concept_id,
            "short_name": short_name,
            "version": version,
            "provider": provider,
        }
        asked = [(name, value) for name, value in given.items() if value is not None]
        found = {
            item["meta"]["concept-id"]: _collection(item)
            for items, _ in self._pages("collections.umm_json", asked)
            for item in items
        }
        return list(found.values())

    def _pages(
        self, what: str, parameters: list[tuple[str, str]]
    ) -> Iterator[tuple[list[Mapping[str, Any]], int]]:
        """Items and CMR's count of each page, to the empty one or the one with no page after it."""
        asked = [*parameters, ("page_size", str(self._page_size))]
        after: str | None = None
        while True:
            reply = self._get(what, asked, after)
            items = reply.json().get("items", [])
            yield items, _hits(reply)
            before, after = after, reply.headers.get("CMR-Search-After")
            # A short page is no end: CMR gives them in the middle.
            if not items or after is None:
                return
            if after == before:
                raise StorageUnavailable(
                    f"CMR gave the same page twice ({after}); try again later", code="CmrPageDrift"
                )

    def _get(self, what: str, asked: list[tuple[str, str]], after: str | None) -> Reply:
        headers: dict[str, str] = {} if after is None else {"CMR-Search-After": after}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token()}"
        return self._asking.get(f"{self._root}/search/{what}", asked, headers)


def _hits(reply: Reply) -> int:
    told = reply.headers.get("CMR-Hits")
    return int(told if told is not None else reply.json().get("hits", 0))


def _record(item: Mapping[str, Any]) -> GranuleRecord:
    try:
        return parse_umm(item)
    except InputUnusable as error:
        # Not the granule's fault alone: without its identity nothing can be quarantined.
        raise StorageUnavailable(f"CMR: {error.message}", code=error.code) from error


def _collection(item: Mapping[str, Any]) -> CollectionRecord:
    meta, umm = item["meta"], item["umm"]
    return CollectionRecord(
        concept_id=meta["concept-id"],
        short_name=umm.get("ShortName", ""),
        version=umm.get("Version", ""),
        provider=meta.get("provider-id", ""),
        title=umm.get("EntryTitle", ""),
        level=umm.get("ProcessingLevel", {}).get("Id", ""),
        doi=umm.get("DOI", {}).get("DOI", ""),
    )
