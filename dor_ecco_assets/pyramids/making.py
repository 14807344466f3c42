"""The chunks of one case, or of one step of a dataset, and how they are put into the map stores.

Everything is worked out before a stored byte changes: fields are checked, regridded and encoded
into a spool file. Putting is then a copy between a status of 0 and one of 1.
"""

import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dor_ecco_assets.errors import GridMismatch, InputUnusable, OutputCorrupt
from dor_ecco_assets.mapping.webmercator import WebMercatorWeights
from dor_ecco_assets.pyramids.index import STORES
from dor_ecco_assets.pyramids.schema import Layout
from dor_ecco_assets.storage import Storage
from dor_ecco_assets.stores.browser import (
    FILL,
    ZarrFormat,
    chunk_name,
    chunk_v2,
    chunk_v3,
    coordinate_chunk,
    shard_v3,
)
from dor_ecco_assets.stores.regions import same_schema

__all__ = [
    "Made",
    "Region",
    "Source",
    "Spool",
    "compacted",
    "make_region",
    "names_of_region",
    "put_region",
    "require_schema",
]

type Floats = NDArray[np.float32]

#: Chunks that are encoded, and put, at a time: a bucket answers each after tens of milliseconds. No
#: byte depends on them.
THREADS, PUTS = 2, 8


@dataclass(frozen=True)
class Source:
    """One variable of one band: the fields of all its steps.

    Parameters
    ----------
    variable : str
    place : tuple of int
        Of the band, before those of the region; empty where there are no bands.
    label : str
        For messages, such as ``FG delta``.
    read : callable
        Gives float32 of shape (steps, cells), NaN on dry cells.
    """

    variable: str
    place: tuple[int, ...]
    label: str
    read: Callable[[], Floats]


@dataclass(frozen=True)
class Region:
    """What one partition owns of a store.

    Parameters
    ----------
    layout : Layout
    formats : tuple of {"v2", "v3"}
    place : tuple of int
        Along the dimensions of the status.
    """

    layout: Layout
    formats: tuple[ZarrFormat, ...]
    place: tuple[int, ...]

    @property
    def inner_steps(self) -> tuple[int, ...]:
        """Chunks along each of the dimensions that the region owns whole."""
        sizes = [
            outer // inner
            for outer, inner in zip(self.layout.outer, self.layout.inner, strict=True)
        ]
        return tuple(sizes[self._owned :])

    @property
    def _owned(self) -> int:
        """How many dimensions lead to the region: those before month, or time itself."""
        leading, dims = self.layout.leading, self.layout.status_dims
        return leading.index(dims[-1]) + 1

    def status_name(self, zarr_format: ZarrFormat) -> str:
        """Name of the status chunk below the folder of the stores."""
        name = chunk_name(self.layout.status, self.place, zarr_format)
        return f"{STORES[zarr_format]}/{name}"

    def chunk(
        self, zarr_format: ZarrFormat, level: int, source: Source, rest: Sequence[int]
    ) -> str:
        """Name of one chunk or shard below the folder of the stores."""
        place = (*source.place, *self.place, *rest)
        name = chunk_name(f"{level}/{source.variable}", place, zarr_format)
        return f"{STORES[zarr_format]}/{name}"


class Spool:
    """Encoded chunks in one local file, read back by name."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w+b")
        self._path, self._places = path, dict[str, tuple[int, int]]()
        self._end = 0

    def add(self, name: str, data: bytes) -> None:
        """Keep the bytes of one chunk."""
        self._file.write(data)
        self._places[name] = (self._end, len(data))
        self._end += len(data)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._places))

    def __len__(self) -> int:
        return len(self._places)

    def read(self, name: str) -> bytes:
        """The bytes of one chunk."""
        offset, size = self._places[name]
        return os.pread(self._file.fileno(), size, offset)

    def close(self) -> None:
        """Remove the file."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def flush(self) -> None:
        """Make what was added readable."""
        self._file.flush()


@dataclass(frozen=True)
class Made:
    """A region ready to be put.

    Parameters
    ----------
    region : Region
    spool : Spool
    empty : tuple of str
        Chunks that hold nothing but fill, of which no object may be left.
    ranges : mapping of str to mapping of str to float or int
        By source: smallest, largest, NaN of the source's fields.
    """

    region: Region
    spool: Spool
    empty: tuple[str, ...]
    ranges: Mapping[str, Mapping[str, float | int | None]]


def make_region(
    region: Region,
    sources: Iterable[Source],
    weights: WebMercatorWeights,
    regridder: Any,
    spool: Path,
    *,
    origin: str,
) -> Made:
    """Check, regrid and encode all fields of a region.

    Parameters
    ----------
    region : Region
    sources : iterable of Source
    weights : WebMercatorWeights
    regridder : pyramids.apply.Regridder
    spool : Path
    origin : str
        Where fields come from, for messages.

    Raises
    ------
    InputUnusable
        ``MaskMismatch``, if any field has numbers on other cells than the weights' wet ones.
    """
    from dor_ecco_assets.pyramids.apply import survey

    kept, empty, ranges = Spool(spool), list[str](), dict[str, Mapping[str, Any]]()
    wet = weights.wet.reshape(-1)
    try:
        with ThreadPoolExecutor(THREADS) as pool:
            for source in sources:
                fields = source.read()
                found = survey(fields, wet)
                if found.unlike.any():
                    raise _mismatch(fields, wet, found.unlike, source, origin)
                none = np.isnan(found.smallest)
                ranges[source.label] = {
                    "smallest": None if none else found.smallest,
                    "largest": None if none else found.largest,
                    "nan": found.nans,
                }
                for level, tiles in enumerate(regridder.regrid(fields)):
                    for name, data in _encoded(region, level, source, tiles, pool):
                        if data is None:
                            empty.append(name)
                        else:
                            kept.add(name, data)
        kept.flush()
    except BaseException:
        kept.close()
        raise
    return Made(region, kept, tuple(empty), ranges)


def _mismatch(
    fields: Floats, wet: NDArray[np.bool_], unlike: NDArray[np.int64], source: Source, origin: str
) -> InputUnusable:
    step = int(np.flatnonzero(unlike)[0])
    numbers = np.isfinite(fields[step]) | np.isinf(fields[step])
    gaps, strays = int((wet & ~numbers).sum()), int((~wet & numbers).sum())
    return InputUnusable(
        f"{origin}: {source.label}, step {step}: {gaps} wet cells without a number and {strays} "
        f"dry cells with one, expected numbers on the {int(wet.sum())} wet cells of the weights "
        f"alone; {int((unlike > 0).sum())} of {len(fields)} steps are so: make the source or the "
        "weights anew, so that both have one mask",
        code="MaskMismatch",
        uri=origin,
    )


def _encoded(
    region: Region, level: int, source: Source, tiles: Floats, pool: ThreadPoolExecutor
) -> Iterator[tuple[str, bytes | None]]:
    """Chunks of one level of one source, by name; None where there is nothing but fill."""
    inner = region.inner_steps
    across = region.layout.tiles(level)
    depth = tiles.shape[1] // max(1, int(np.prod(inner)))
    places = list(itertools.product(*(range(size) for size in inner), range(across), range(across)))
    slabs: list[Floats] = []
    for place in places:
        step = int(np.ravel_multi_index(place[:-2], inner)) if inner else 0
        tile = place[-2] * across + place[-1]
        slabs.append(tiles[tile, step * depth : (step + 1) * depth])
    held = list(pool.map(_holds_data, slabs))
    for zarr_format in region.formats:
        if zarr_format == "v2":
            chunks = pool.map(_chunk_v2, slabs, held)
            for place, chunk in zip(places, chunks, strict=True):
                yield region.chunk("v2", level, source, place), chunk
        else:
            name = region.chunk("v3", level, source, (0,) * (len(inner) + 2))
            if any(held):
                yield name, shard_v3(pool.map(_chunk_v3, slabs, held))
            else:
                yield name, None


def _holds_data(values: Floats) -> bool:
    fill = np.float32(FILL)
    return bool(values[0, 0] != fill or (values != fill).any())


def _chunk_v2(values: Floats, held: bool) -> bytes | None:
    return chunk_v2(values) if held else None


def _chunk_v3(values: Floats, held: bool) -> bytes | None:
    return chunk_v3(values) if held else None


def _status(zarr_format: ZarrFormat, value: int) -> bytes:
    values = np.array([value], np.uint8)
    return chunk_v2(values) if zarr_format == "v2" else coordinate_chunk(values)


def names_of_region(made: Made) -> list[str]:
    """Every object that the region consists of, its status too."""
    statuses = [made.region.status_name(zarr_format) for zarr_format in made.region.formats]
    return sorted([*made.spool, *statuses])


def compacted(names: Iterable[str]) -> list[str]:
    """Names of chunks in the fewest patterns ``{a,b}``, so that a record stays small.

    `dor_ecco_assets.lineage.record.expanded` gives them back.
    """
    folders: dict[str, list[list[str]]] = {}
    for name in names:
        folder, array, place = name.rsplit("/", 2)
        steps = place.split(".")
        # Which tiles hold anything is no product of rows and columns.
        joined = [*steps[:-2], ".".join(steps[-2:])]
        folders.setdefault(f"{folder} {len(joined)}", []).append([array, *joined])
    found: list[str] = []
    for folder, rows in folders.items():
        columns = [list(dict.fromkeys(column)) for column in zip(*rows, strict=True)]
        words = ["{" + ",".join(each) + "}" if len(each) > 1 else each[0] for each in columns]
        if np.prod([len(column) for column in columns]) == len(rows):
            found.append(f"{folder.split()[0]}/{words[0]}/{'.'.join(words[1:])}")
        else:
            found += [f"{folder.split()[0]}/{row[0]}/{'.'.join(row[1:])}" for row in rows]
    return sorted(found)


def put_region(
    key: str,
    made: Made,
    schema: Mapping[str, bytes],
    label: str,
    storage: Storage,
    still_held: Callable[[], None],
) -> tuple[int, str]:
    """Put a region between a status of 0 and one of 1, reading every object back.

    Parameters
    ----------
    key : str
        Folder of the stores.
    made : Made
        Closed afterwards.
    schema : mapping of str to bytes
        Consolidated metadata that the stores must have, by name below `key`.
    label : str
        Names scratch files, so that a rerun of the partition removes them.
    storage : Storage
    still_held : callable

    Returns
    -------
    bytes, sha256
        Of all objects in the order of their names.

    Raises
    ------
    GridMismatch
        ``OtherSchema``.
    OutputCorrupt
        ``ReadBackDiffers``.
    """
    try:
        require_schema(storage, key, schema)
        return _put(key, made, label, storage, still_held)
    finally:
        made.spool.close()


def require_schema(storage: Storage, key: str, schema: Mapping[str, bytes]) -> None:
    """Refuse stores that were made for something else, or are not there."""
    for name, wanted in schema.items():
        found = storage.read(f"{key}/{name}")
        if found is None or not same_schema(name, found, wanted):
            what = "is not there" if found is None else "is not what the configuration asks for"
            raise GridMismatch(
                f"{storage.locate(key)}: {name} {what}; make the template anew by `dor-ecco vis "
                "template STORE --force`, which removes what the store holds",
                code="OtherSchema",
            )


def _put(
    key: str, made: Made, label: str, storage: Storage, still_held: Callable[[], None]
) -> tuple[int, str]:
    region = made.region

    def put(name: str, data: bytes) -> None:
        still_held()
        storage.put(f"{key}/{name}", data, label)
        if storage.read(f"{key}/{name}") != data:
            raise OutputCorrupt(
                f"{storage.locate(f'{key}/{name}')} reads back with other bytes than were "
                "written; another program writes there: end it, then run again",
                code="ReadBackDiffers",
            )

    for zarr_format in region.formats:
        put(region.status_name(zarr_format), _status(zarr_format, 0))
    for name in made.empty:
        if storage.stat(f"{key}/{name}") is not None:
            storage.delete(f"{key}/{name}")
    with ThreadPoolExecutor(PUTS) as pool:
        for _ in pool.map(lambda name: put(name, made.spool.read(name)), made.spool):
            pass
    statuses: dict[str, bytes] = {}
    for zarr_format in region.formats:
        statuses[region.status_name(zarr_format)] = _status(zarr_format, 1)
    for name, data in statuses.items():
        put(name, data)
    size, digest = 0, hashlib.sha256()
    for name in names_of_region(made):
        data = statuses[name] if name in statuses else made.spool.read(name)
        digest.update(data)
        size += len(data)
    return size, digest.hexdigest()
