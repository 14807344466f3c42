"""Archives of small granules with the variety of real ones, and the CMR records that list them.

Every stored number follows from its day, row and column, so a reader's answer can be checked
without the file: see `stored_sst`, `stored_height`.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import netCDF4
import numpy as np
import numpy.typing as npt

__all__ = [
    "BUCKET",
    "DAILY",
    "GROUPED",
    "HTTPS_ROOT",
    "REPACKED",
    "SWATHS",
    "DailyGrid",
    "Deviation",
    "SampleGranule",
    "stored_height",
    "stored_sst",
    "umm_item",
    "write_archive",
    "write_daily",
    "write_swath",
]

#: Where the records say that the granules lie.
BUCKET = "sample-archive-protected"
HTTPS_ROOT = "https://archive.example.org/sample-archive-protected"

ORIGIN = datetime(2002, 6, 1, tzinfo=UTC)
FILL = -32768

type Integers = npt.NDArray[Any]

#: One way in which a granule differs from its siblings.
type Deviation = Literal[
    "none",
    "packing",
    "fill",
    "chunks",
    "dtype",
    "no filters",
    "other level",
    "fletcher32",
    "fewer rows",
    "shifted latitude",
    "variable missing",
    "variable extra",
    "other epoch",
    "duplicate time",
]


@dataclass(frozen=True)
class Collection:
    """What the records of one collection share."""

    concept_id: str
    short_name: str
    version: str = "1.0"
    provider: str = "SAMPLES"


DAILY = Collection("C1000000001-SAMPLES", "SAMPLE-L4-SST-DAILY")
REPACKED = Collection("C1000000002-SAMPLES", "SAMPLE-L3-SST-REPACKED")
SWATHS = Collection("C1000000003-SAMPLES", "SAMPLE-L2-SSH-SWATHS")
GROUPED = Collection("C1000000004-SAMPLES", "SAMPLE-L2-SSH-GROUPED")


@dataclass(frozen=True)
class DailyGrid:
    """Shape of a gridded sample granule.

    Parameters
    ----------
    shape, chunks : tuple of int
        Rows and columns.
    variables : tuple of str
        Packed int16 fields.
    attributes : int
        Global text attributes beyond the few that describe it; archives write dozens.
    """

    shape: tuple[int, int] = (12, 24)
    chunks: tuple[int, int] = (6, 12)
    variables: tuple[str, ...] = ("analysed_sst", "analysis_error")
    attributes: int = 6


def stored_sst(day: int, shape: tuple[int, int], variable: int = 0) -> Integers:
    """Packed values of a gridded granule, int16, shape (row, column).

    The corner cell is fill, as land is. The rest rises by a step every 16 rows and 8 columns and
    by 13 per day; four bits that look random stand for noise, so that it compresses as data do.
    """
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    mixed = (rows * 73_856_093) ^ (columns * 19_349_663) ^ ((day + 7 * variable) * 83_492_791)
    values = 16 * ((rows // 16 + columns // 8 + 13 * day + 101 * variable) % 1900)
    values = values + ((mixed >> 7) & 15)
    values[0, 0] = FILL
    return values.astype(np.int16)


def stored_height(cycle: int, number: int, lines: int, pixels: int) -> Integers:
    """Packed values of a swath, int32, shape (line, pixel)."""
    line, pixel = np.ogrid[:lines, :pixels]
    return (1000 * cycle + 17 * number + 5 * line + 3 * pixel).astype(np.int32)


def write_daily(
    path: Path,
    day: int,
    *,
    grid: DailyGrid | None = None,
    deviation: Deviation = "none",
    scale_factor: float = 0.001,
    add_offset: float = 298.15,
) -> Path:
    """Write one gridded granule of a day.

    Parameters
    ----------
    path : Path
    day : int
        Days since the first of June 2002.
    grid : DailyGrid, optional
    deviation : str
        What this granule has otherwise than its siblings.
    scale_factor, add_offset : float
        Packing, K per step and K.
    """
    grid = grid or DailyGrid()
    rows, columns = grid.shape
    rows -= 2 * (deviation == "fewer rows")
    if deviation == "packing":
        scale_factor, add_offset = 0.0025, 273.15
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("time", None)
        file.createDimension("lat", rows)
        file.createDimension("lon", columns)
        _write_time(file, day - (deviation == "duplicate time"), other=deviation == "other epoch")
        latitude = np.linspace(-89.5, 89.5, rows) + 0.25 * (deviation == "shifted latitude")
        _write_axis(file, "lat", latitude, "degrees_north")
        _write_axis(file, "lon", np.linspace(-179.5, 179.5, columns), "degrees_east")
        names = list(grid.variables)
        if deviation == "variable missing":
            names.pop()
        if deviation == "variable extra":
            names.append("sea_ice_fraction")
        for place, name in enumerate(names):
            options = _storage(grid, deviation)
            variable = file.createVariable(name, **options)
            variable.set_auto_maskandscale(False)
            variable.setncatts(
                {
                    "long_name": name.replace("_", " "),
                    "units": "kelvin",
                    "scale_factor": scale_factor,
                    "add_offset": add_offset,
                    "valid_min": np.int16(-32767),
                    "valid_max": np.int16(32767),
                    "coordinates": "lon lat",
                    "comment": "analytic sample; stored values follow from day, row and column",
                }
            )
            stored = stored_sst(day, (rows, columns), place).astype(options["datatype"])
            stored[stored == FILL] = options["fill_value"]
            variable[0] = stored
        _describe(file, day, grid.attributes)
    return path


def _storage(grid: DailyGrid, deviation: Deviation) -> dict[str, Any]:
    chunks = grid.chunks if deviation != "chunks" else (grid.shape[0], grid.chunks[1])
    filtered = deviation != "no filters"
    return {
        "datatype": "i4" if deviation == "dtype" else "i2",
        "dimensions": ("time", "lat", "lon"),
        "fill_value": -32767 if deviation == "fill" else FILL,
        "chunksizes": (1, *(min(c, n) for c, n in zip(chunks, grid.shape, strict=True))),
        "zlib": filtered,
        "shuffle": filtered,
        "complevel": 9 if deviation == "other level" else 4,
        "fletcher32": deviation == "fletcher32",
    }


def _write_time(file: Any, day: int, *, other: bool) -> None:
    time = file.createVariable("time", "i4", ("time",))
    if other:  # as granules that count from their own day
        time.units = f"seconds since {ORIGIN + timedelta(days=day):%Y-%m-%d} 00:00:00"
        time[:] = [0]
    else:
        time.units = "seconds since 1981-01-01 00:00:00"
        time[:] = [_seconds(day)]
    time.setncatts({"standard_name": "time", "axis": "T", "calendar": "standard"})


def _seconds(day: int) -> int:
    return int((ORIGIN + timedelta(days=day) - datetime(1981, 1, 1, tzinfo=UTC)).total_seconds())


def _write_axis(file: Any, name: str, values: npt.NDArray[np.float64], units: str) -> None:
    axis = file.createVariable(name, "f4", (name,), zlib=True)
    axis.setncatts({"units": units, "long_name": name, "valid_min": np.float32(values[0])})
    axis[:] = values


def _describe(file: Any, day: int, attributes: int) -> None:
    file.setncatts(
        {
            "Conventions": "CF-1.7",
            "title": "analytic sample",
            "uuid": hashlib.sha256(f"{day}".encode()).hexdigest()[:32],
            "start_time": f"{ORIGIN + timedelta(days=day):%Y%m%dT000000Z}",
            "northernmost_latitude": np.float32(89.5),
        }
    )
    for number in range(attributes):
        file.setncattr(f"note_{number:02d}", f"archives describe granules at length, {number}")


def write_swath(
    path: Path,
    cycle: int,
    number: int,
    lines: int,
    *,
    pixels: int = 9,
    group: str | None = None,
    chunk_lines: int = 32,
) -> Path:
    """Write one pass of a swath, as long as it happens to be.

    Parameters
    ----------
    path : Path
    cycle, number : int
        Of the pass.
    lines, pixels : int
    group : str, optional
        Where the variables lie; in the root group if not given.
    chunk_lines : int
        Lines of one chunk, the same however many lines there are.
    """
    with netCDF4.Dataset(path, "w") as file:
        file.setncatts({"Conventions": "CF-1.7", "cycle_number": cycle, "pass_number": number})
        place = file if group is None else file.createGroup(group)
        # Unlimited, so that chunks may be longer than a short pass.
        place.createDimension("num_lines", None)
        place.createDimension("num_pixels", pixels)
        dims = ("num_lines", "num_pixels")
        stored = {
            "ssha": stored_height(cycle, number, lines, pixels),
            "latitude": stored_height(0, number, lines, pixels),
            "longitude": stored_height(cycle, 0, lines, pixels),
        }
        for name, values in stored.items():
            variable = place.createVariable(
                name,
                "i4",
                dims,
                zlib=True,
                chunksizes=(chunk_lines, pixels),
                fill_value=-(2**31) + 1,
            )
            variable.set_auto_maskandscale(False)
            variable.setncatts({"scale_factor": 1e-4 if name == "ssha" else 1e-6, "units": "m"})
            variable[:] = values
        time = place.createVariable("time", "f8", ("num_lines",), zlib=True, chunksizes=(512,))
        time.units = "seconds since 2000-01-01 00:00:00"
        time[:] = _swath_start(cycle, number) + 0.5 * np.arange(lines)
    return path


def _swath_start(cycle: int, number: int) -> float:
    return 1e8 + 86400.0 * 10 * cycle + 3000.0 * number


@dataclass(frozen=True)
class SampleGranule:
    """One revision of a granule: its file and the record that CMR has of it.

    Parameters
    ----------
    path : Path or None
        None for a record whose data never arrived.
    item : mapping
        One item of a UMM-JSON reply.
    deleted : datetime or None
        When the granule was withdrawn.
    """

    path: Path | None
    item: Mapping[str, Any] = field(repr=False)
    deleted: datetime | None = None


def umm_item(
    collection: Collection,
    name: str,
    *,
    number: int,
    begin: datetime,
    end: datetime,
    revision_date: datetime,
    data: bytes | None = None,
    revision_id: int = 1,
    track: tuple[int, int] | None = None,
    production: datetime | None = None,
) -> dict[str, Any]:
    """One item of a UMM-JSON reply, UMM-G 1.6.5.

    Parameters
    ----------
    collection : Collection
    name : str
        The data file's name.
    number : int
        Of the concept id.
    begin, end, revision_date, production : datetime
    data : bytes, optional
        The file's bytes, for size and checksum.
    revision_id : int
    track : tuple of int, optional
        Cycle and pass.
    """
    stem, folder = name.rpartition(".")[0], collection.short_name
    spatial: dict[str, Any] = {
        "HorizontalSpatialDomain": {
            "Geometry": {
                "BoundingRectangles": [
                    {
                        "WestBoundingCoordinate": -180,
                        "SouthBoundingCoordinate": -90,
                        "EastBoundingCoordinate": 180,
                        "NorthBoundingCoordinate": 90,
                    }
                ]
            }
        }
    }
    if track is not None:
        spatial["HorizontalSpatialDomain"]["Track"] = {
            "Cycle": track[0],
            "Passes": [{"Pass": track[1]}],
        }
    files = [_file_entry(name, data), _file_entry(f"{name}.md5", b"")]
    return {
        "meta": {
            "concept-type": "granule",
            "concept-id": f"G{number}-{collection.provider}",
            "revision-id": revision_id,
            "native-id": stem,
            "collection-concept-id": collection.concept_id,
            "provider-id": collection.provider,
            "format": "application/vnd.nasa.cmr.umm+json",
            "revision-date": _stamp(revision_date),
        },
        "umm": {
            "GranuleUR": stem,
            "CollectionReference": {
                "ShortName": collection.short_name,
                "Version": collection.version,
            },
            "TemporalExtent": {
                "RangeDateTime": {"BeginningDateTime": _stamp(begin), "EndingDateTime": _stamp(end)}
            },
            "SpatialExtent": spatial,
            "DataGranule": {
                "DayNightFlag": "Unspecified",
                "ProductionDateTime": _stamp(production or revision_date),
                "ArchiveAndDistributionInformation": files,
            },
            "RelatedUrls": [
                *_links(f"{folder}/{name}.md5", "EXTENDED METADATA", "EXTENDED METADATA"),
                *_links(f"{folder}/{name}", "GET DATA", "GET DATA VIA DIRECT ACCESS"),
                {
                    "URL": f"{HTTPS_ROOT.rpartition('/')[0]}/s3credentials",
                    "Type": "VIEW RELATED INFORMATION",
                },
            ],
            "MetadataSpecification": {
                "URL": "https://cdn.earthdata.nasa.gov/umm/granule/v1.6.5",
                "Name": "UMM-G",
                "Version": "1.6.5",
            },
        },
    }


def _file_entry(name: str, data: bytes | None) -> dict[str, Any]:
    if data is None:
        return {"Name": name, "Size": 0.0, "SizeUnit": "NA"}
    checksum = hashlib.md5(data, usedforsecurity=False).hexdigest()  # what archives publish
    return {
        "Name": name,
        "SizeInBytes": len(data),
        "Size": len(data) / 2**20,
        "SizeUnit": "MB",
        "Checksum": {"Algorithm": "MD5", "Value": checksum},
    }


def _links(key: str, https_type: str, s3_type: str) -> list[dict[str, str]]:
    return [
        {"URL": f"{HTTPS_ROOT}/{key}", "Type": https_type},
        {"URL": f"s3://{BUCKET}/{key}", "Type": s3_type},
    ]


def _stamp(when: datetime) -> str:
    return f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond // 1000:03d}Z"


#: How often the parts of an archive have something out of the ordinary, in days.
_LATE, _REVISED, _WITHDRAWN = 17, 23, 41


def write_archive(
    folder: Path,
    *,
    days: int = 120,
    repacked: int = 60,
    cycles: int = 3,
    passes: int = 14,
) -> list[SampleGranule]:
    """Write four collections below a folder; returns every revision by its revision date.

    Parameters
    ----------
    folder : Path
        Files go to ``<short name>/<name>``, as in the records' links.
    days : int
        Daily granules on one grid. Every 17th arrives forty days late, every 23rd comes again
        with other bytes, every 41st is withdrawn later.
    repacked : int
        Daily granules of which each has its own packing.
    cycles, passes : int
        Swaths of uneven length, the odd cycles with their variables in a group.
    """
    found = [
        *_daily_granules(folder, days),
        *_repacked_granules(folder, repacked),
        *_swath_granules(folder, cycles, passes),
    ]
    return sorted(found, key=lambda granule: granule.item["meta"]["revision-date"])


def _daily_granules(folder: Path, days: int) -> list[SampleGranule]:
    place = folder / DAILY.short_name
    place.mkdir(parents=True, exist_ok=True)
    found: list[SampleGranule] = []
    for day in range(days):
        begin = ORIGIN + timedelta(days=day)
        name = f"{begin:%Y%m%d}-SAMPLE-L4-SST.nc"
        arrived = begin + timedelta(days=41 if day % _LATE == 5 else 1, milliseconds=137)
        revisions: Sequence[Deviation] = ("none",)
        if day % _REVISED == 7:
            revisions = ("none", "other level")
        for number, deviation in enumerate(revisions):
            path = write_daily(place / name, day, deviation=deviation)
            if number < len(revisions) - 1:
                path = path.rename(path.with_name(f"{name}.revision{number + 1}"))
            item = umm_item(
                DAILY,
                name,
                number=2_000_000 + day,
                begin=begin,
                end=begin + timedelta(days=1, seconds=-1),
                revision_date=arrived + timedelta(days=60 * number),
                data=path.read_bytes(),
                revision_id=number + 1,
            )
            found.append(SampleGranule(path, item))
        if day % _WITHDRAWN == 11:
            found[-1] = replace(found[-1], deleted=arrived + timedelta(days=90))
    return found


def _repacked_granules(folder: Path, count: int) -> list[SampleGranule]:
    place = folder / REPACKED.short_name
    place.mkdir(parents=True, exist_ok=True)
    found: list[SampleGranule] = []
    for day in range(count):
        begin = ORIGIN + timedelta(days=day)
        path = write_daily(
            place / f"{begin:%Y%m%d}-SAMPLE-L3-SST.nc",
            day,
            scale_factor=0.001 * (1 + day % 7),
            add_offset=273.15 + 0.5 * math.floor(day / 3),
        )
        item = umm_item(
            REPACKED,
            path.name,
            number=3_000_000 + day,
            begin=begin,
            end=begin + timedelta(days=1, seconds=-1),
            revision_date=begin + timedelta(days=2),
            data=path.read_bytes(),
        )
        found.append(SampleGranule(path, item))
    return found


def _swath_granules(folder: Path, cycles: int, passes: int) -> list[SampleGranule]:
    found: list[SampleGranule] = []
    for cycle in range(1, cycles + 1):
        collection = GROUPED if cycle % 2 else SWATHS
        place = folder / collection.short_name
        place.mkdir(parents=True, exist_ok=True)
        for number in range(1, passes + 1):
            lines = 64 + (37 * number + 11 * cycle) % 48
            path = write_swath(
                place / f"SAMPLE_L2_{cycle:03d}_{number:03d}.nc",
                cycle,
                number,
                lines,
                group="data_01" if collection is GROUPED else None,
            )
            begin = datetime(2000, 1, 1, tzinfo=UTC) + timedelta(
                seconds=_swath_start(cycle, number)
            )
            item = umm_item(
                collection,
                path.name,
                number=4_000_000 + 1000 * cycle + number,
                begin=begin,
                end=begin + timedelta(seconds=0.5 * lines),
                revision_date=begin + timedelta(hours=30),
                data=path.read_bytes(),
                track=(cycle, number),
            )
            found.append(SampleGranule(path, item))
    return found
