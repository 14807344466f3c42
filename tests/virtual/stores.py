"""Small archives, and the references of their granules, for tests of virtual stores."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from dor_ecco_assets.errors import InputMissing, InputUnusable
from dor_ecco_assets.samples.virtual_granules import DailyGrid, write_daily
from dor_ecco_assets.storage import Directory
from dor_ecco_assets.stores.icechunk_store import Container, IcechunkStore
from dor_ecco_assets.virtual.collections import StoreSpec
from dor_ecco_assets.virtual.hdf5 import parse_hdf5
from dor_ecco_assets.virtual.listing import Listed, ListedGranule

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from dor_ecco_assets.lineage.ledger import Entry
    from dor_ecco_assets.storage import Storage
    from dor_ecco_assets.virtual.references import GranuleReferences

ORIGIN = datetime(2002, 6, 1, tzinfo=UTC)
TINY = DailyGrid((4, 6), (2, 3), ("analysed_sst",), 1)


def spec(**given: Any) -> StoreSpec:
    """A daily collection in a local folder, with some keys otherwise."""
    text: dict[str, Any] = {
        "collection": {"short_name": "SAMPLE"},
        "level": "L4",
        "load": ["time", "lat", "lon"],
        "access": {"local": "/archive/"},
        "checksum": "last_modified",
    }
    return StoreSpec.model_validate(text | given)


@dataclass
class Archive:
    """A folder of granules that are parsed when they are asked for."""

    folder: Path
    spec: StoreSpec = field(default_factory=spec)
    asked: list[str] = field(default_factory=list)
    parsed: dict[tuple[Any, ...], GranuleReferences] = field(default_factory=dict)

    def daily(self, day: int, name: str | None = None, **options: Any) -> Listed:
        """Write a granule of a day, and list it."""
        path = self.folder / (name or f"day{day:04d}.nc")
        write_daily(path, day, **({"grid": TINY} | options))
        return self.listed(path, ORIGIN + timedelta(days=day))

    def listed(self, path: Path, begin: datetime, **given: Any) -> Listed:
        """List a file."""
        end = begin + timedelta(days=1, seconds=-1)
        granule = ListedGranule(
            concept_id=f"G-{path.stem}",
            granule_ur=path.stem,
            revision_id=1,
            revision_date="2003-01-01T00:00:00.000Z",
            begin=stamp(begin),
            end=stamp(end),
            production_date="",
            identity=path.stem,
            access="granules",
            key=path.relative_to(self.folder).as_posix(),
            size_bytes=path.stat().st_size,
        )
        return Listed(f"{begin:%Y-%m}", replace(granule, **given))

    def __call__(
        self, entries: Sequence[Entry], *, load: Sequence[str] = (), described: bool = False
    ) -> Iterator[GranuleReferences | InputUnusable | InputMissing]:
        for entry in entries:
            self.asked.append(entry.key)
            yield self._parse(entry, tuple(load))

    def _parse(
        self, entry: Entry, load: tuple[str, ...]
    ) -> GranuleReferences | InputUnusable | InputMissing:
        path = self.folder / entry.location
        try:
            stat = path.stat()
        except FileNotFoundError:
            return InputMissing(f"{path} is not there", code="NotFound")
        key = (str(path), stat.st_mtime_ns, load)
        if key not in self.parsed:
            try:
                found = parse_hdf5(str(path), load=(*self.spec.load, *load), drop=self.spec.drop)
            except InputUnusable as error:
                return error
            modified = datetime.fromtimestamp(stat.st_mtime, UTC).isoformat()
            self.parsed[key] = replace(found, modified=modified)
        return self.parsed[key]


def stamp(when: datetime) -> str:
    return f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond // 1000:03d}Z"


def revised(listed: Listed, **given: Any) -> Listed:
    """The next revision of a granule."""
    number = listed.granule.revision_id + 1
    date = f"2003-01-{number:02d}T00:00:00.000Z"
    granule = replace(listed.granule, revision_id=number, revision_date=date)
    return Listed(listed.partition, replace(granule, **given))


def deleted(listed: Listed) -> Listed:
    """A granule that CMR withdrew."""
    return Listed(listed.partition, replace(listed.granule, deleted="2004-01-01T00:00:00.000Z"))


def store_at(
    storage: Storage | Path, archive: Archive, key: str = "virtual/SAMPLE/store"
) -> IcechunkStore:
    """A store whose granules lie in an archive's folder."""
    if not hasattr(storage, "uri"):
        storage = Directory(storage)  # type: ignore[arg-type]
    return IcechunkStore(
        storage,  # type: ignore[arg-type]
        key,
        [Container("granules", f"file://{archive.folder}/")],
        split=("time", 365),
    )
