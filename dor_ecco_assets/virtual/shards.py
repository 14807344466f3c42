"""References of one partition's granules, kept so that no granule is parsed twice.

A shard is two files: ``references.parquet`` with the byte range of every chunk, one row each, and
``header.json`` with everything else. What many granules share, such as schemas and coordinates, is
kept once. A shard is a cache: what it lacks, or cannot be read, is parsed again.
"""

import base64
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dor_ecco_assets.storage.base import sha256_of_file
from dor_ecco_assets.virtual.references import ArrayReferences, GranuleReferences

__all__ = [
    "HEADER",
    "TABLE",
    "FailedGranule",
    "ReferenceShard",
    "read_header",
    "read_shard",
    "write_shard",
]

HEADER, TABLE = "header.json", "references.parquet"

#: Raised when shards are written otherwise; older ones are parsed again.
_VERSION = 2


@dataclass(frozen=True)
class FailedGranule:
    """Why a granule has no references.

    Parameters
    ----------
    uri : str
    code, reason : str
    parser : str
        What refused it: another parser may not.
    """

    uri: str
    code: str
    reason: str
    parser: str


@dataclass
class ReferenceShard:
    """References of one partition by the granule's revision.

    Parameters
    ----------
    parsing : str
        Fingerprint of parser and settings: under others nothing of the shard may be used.
    granules : dict of str to GranuleReferences
        By `ListedGranule.revision`.
    failed : dict of str to FailedGranule
    """

    parsing: str
    granules: dict[str, GranuleReferences] = field(default_factory=dict[str, GranuleReferences])
    failed: dict[str, FailedGranule] = field(default_factory=dict[str, FailedGranule])

    @property
    def chunk_count(self) -> int:
        """Chunks of all granules that lie in their files."""
        return sum(granule.chunk_count for granule in self.granules.values())


# Writing


def write_shard(folder: Path, shard: ReferenceShard) -> None:
    """Write a shard into a new folder; equal shards are equal bytes."""
    folder.mkdir(parents=True)
    schemas: dict[str, Any] = {}
    values: dict[str, Any] = {}
    granules: list[dict[str, Any]] = []
    rows: list[tuple[str, str, npt.NDArray[Any], npt.NDArray[Any]]] = []
    for revision, granule in sorted(shard.granules.items()):
        schema = {
            "groups": granule.groups,
            "arrays": {name: _described(array) for name, array in sorted(granule.arrays.items())},
        }
        loaded = {
            name: _kept(array.values, values)
            for name, array in sorted(granule.arrays.items())
            if array.values is not None
        }
        granules.append(
            {
                "revision": revision,
                "schema": _shared(schema, schemas),
                "values": loaded,
                "size": granule.size,
                "e_tag": granule.e_tag,
                "modified": granule.modified,
                "parser": granule.parser,
            }
        )
        rows += [
            (revision, name, array.offsets.ravel(), array.lengths.ravel())
            for name, array in sorted(granule.arrays.items())
            if array.values is None
        ]
    header: dict[str, Any] = {
        "version": _VERSION,
        "parsing": shard.parsing,
        "granules": granules,
        "failed": {revision: asdict(each) for revision, each in sorted(shard.failed.items())},
        "schemas": schemas,
        "values": values,
    }
    _write_table(folder / TABLE, rows)
    # On S3 the two files appear one after the other.
    header["table"] = sha256_of_file(folder / TABLE)
    (folder / HEADER).write_text(json.dumps(header, sort_keys=True) + "\n")


def _described(array: ArrayReferences) -> dict[str, Any]:
    text = array.dtype.kind == "T"
    return {
        "dims": list(array.dims),
        "shape": list(array.shape),
        "dtype": "T" if text else array.dtype.str,
        "chunks": list(array.chunks),
        "codecs": [dict(codec) for codec in array.codecs],
        # As bytes, since JSON has neither NaN nor bytes.
        "fill": None if text else _encoded(np.array(array.fill_value, array.dtype)),
        "attributes": array.attributes,
        "types": dict(array.types),
    }


def _encoded(values: npt.NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()


def _shared(found: Any, into: dict[str, Any]) -> str:
    """Keep a value once, by its content."""
    name = hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:16]
    into.setdefault(name, found)
    return name


def _kept(values: npt.NDArray[Any], into: dict[str, Any]) -> str:
    if values.dtype.kind == "T":
        return _shared(
            {"dtype": "T", "shape": list(values.shape), "data": values.ravel().tolist()}, into
        )
    return _shared(
        {"dtype": values.dtype.str, "shape": list(values.shape), "data": _encoded(values)}, into
    )


def _write_table(
    path: Path, rows: list[tuple[str, str, npt.NDArray[Any], npt.NDArray[Any]]]
) -> None:
    import fastparquet
    import pandas as pd

    counts = [len(offsets) for _, _, offsets, _ in rows]

    def names(place: int) -> Any:
        return pd.Categorical(np.repeat(np.array([row[place] for row in rows], object), counts))

    def numbers(place: int) -> Any:
        found = [row[place] for row in rows]
        return np.concatenate(found).astype(np.uint64) if found else np.zeros(0, np.uint64)

    frame = pd.DataFrame(
        {
            "granule": names(0),
            "array": names(1),
            "chunk": np.concatenate([np.arange(n, dtype=np.int64) for n in counts])
            if counts
            else np.zeros(0, np.int64),
            "offset": numbers(2),
            "length": numbers(3),
        }
    )
    fastparquet.write(str(path), frame, compression="ZSTD", write_index=False)


# Reading


def read_header(read: Callable[[str], bytes | None]) -> dict[str, Any] | None:
    """The header of a shard; None where there is none that can be used."""
    text = read(HEADER)
    try:
        header = None if text is None else json.loads(text)
    except ValueError:
        return None
    return header if isinstance(header, dict) and header.get("version") == _VERSION else None


def read_shard(
    read: Callable[[str], bytes | None], parsing: str | None = None
) -> ReferenceShard | None:
    """A shard, or None where there is none that can be used.

    Parameters
    ----------
    read : callable
        Gives the bytes of one of its files, None where it is not there.
    parsing : str, optional
        Only a shard that was parsed so is of use.
    """
    header = read_header(read)
    if header is None or (parsing is not None and header["parsing"] != parsing):
        return None
    table = read(TABLE)
    if table is None or hashlib.sha256(table).hexdigest() != header.get("table"):
        return None
    try:
        offsets, lengths = _read_table(table)
        values = {name: _decoded(found) for name, found in header["values"].items()}
        shard = ReferenceShard(header["parsing"])
        place = 0
        for found in header["granules"]:
            granule, place = _granule(found, header["schemas"], values, offsets, lengths, place)
            shard.granules[found["revision"]] = granule
        if place != len(offsets):
            return None
    except (ValueError, KeyError, TypeError, IndexError, OSError):
        return None
    shard.failed.update({name: FailedGranule(**found) for name, found in header["failed"].items()})
    return shard


type _Column = npt.NDArray[np.uint64]


def _read_table(data: bytes) -> tuple[_Column, _Column]:
    import io

    import fastparquet

    # fastparquet closes what it reads from.
    file = fastparquet.ParquetFile(io.BytesIO(data))
    frame: Any = file.to_pandas(columns=["offset", "length"])
    return frame["offset"].to_numpy(np.uint64), frame["length"].to_numpy(np.uint64)


def _decoded(found: Mapping[str, Any]) -> npt.NDArray[Any]:
    if found["dtype"] == "T":
        return np.array(found["data"], np.dtypes.StringDType()).reshape(found["shape"])
    data = base64.b64decode(found["data"])
    return np.frombuffer(data, np.dtype(found["dtype"])).reshape(found["shape"])


def _granule(
    found: Mapping[str, Any],
    schemas: Mapping[str, Any],
    values: Mapping[str, npt.NDArray[Any]],
    offsets: _Column,
    lengths: _Column,
    place: int,
) -> tuple[GranuleReferences, int]:
    """One granule, whose chunks begin in row `place`, and the row after its last."""
    schema = schemas[found["schema"]]
    arrays: dict[str, ArrayReferences] = {}
    for name, described in schema["arrays"].items():
        loaded = found["values"].get(name)
        text = described["dtype"] == "T"
        dtype = np.dtypes.StringDType() if text else np.dtype(described["dtype"])
        shape, chunks = tuple(described["shape"]), tuple(described["chunks"])
        grid = tuple(-(-n // c) for n, c in zip(shape, chunks, strict=True))
        if loaded is None:
            stop = place + math.prod(grid)
            ranges = [column[place:stop].reshape(grid) for column in (offsets, lengths)]
            place = stop
        else:
            ranges = [np.zeros([min(size, 1) for size in shape], np.uint64)] * 2
        arrays[name] = ArrayReferences(
            dims=tuple(described["dims"]),
            shape=shape,
            dtype=dtype,
            chunks=chunks,
            codecs=tuple(described["codecs"]),
            fill_value=""
            if text
            else np.frombuffer(base64.b64decode(described["fill"]), dtype)[0].item(),
            attributes=described["attributes"],
            offsets=ranges[0],
            lengths=ranges[1],
            values=None if loaded is None else values[loaded],
            types=described["types"],
        )
    told = {name: found[name] for name in ("size", "e_tag", "modified", "parser")}
    return GranuleReferences(arrays, schema["groups"], **told), place
