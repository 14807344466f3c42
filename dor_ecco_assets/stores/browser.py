"""Stores that map libraries read without a server: Zarr v2, and its twin in sharded Zarr v3.

Metadata are written by hand: the same bytes whoever creates them, in a fraction of the time. A
chunk is addressed by its place alone, so writers of different regions need no lock.
"""

import base64
import itertools
import json
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import google_crc32c
import numpy as np
from numcodecs import Blosc
from numcodecs import blosc as blosc_module  # pyright: ignore[reportAttributeAccessIssue]
from numpy.typing import NDArray

__all__ = [
    "CONSOLIDATED",
    "FILL",
    "INTEGER_FILL",
    "Array",
    "Group",
    "ZarrFormat",
    "chunk_name",
    "chunk_v2",
    "chunk_v3",
    "coordinate_chunk",
    "objects_of",
    "places",
    "shard_v3",
]

type Values = NDArray[Any]
ZarrFormat = Literal["v2", "v3"]

#: Value of pixels without data, exact in float32: readers compare with it, and never test for NaN.
FILL = 9.969209968386869e36
#: Fill of int32 coordinates.
INTEGER_FILL = 2147483647

#: Object that holds all metadata of a store.
CONSOLIDATED: dict[ZarrFormat, str] = {"v2": ".zmetadata", "v3": "zarr.json"}

#: The one codec that every reader of v2 stores has; any zlib stream may stand under it.
_ZLIB: dict[str, Any] = {"id": "zlib", "level": 1}
_BLOSC: dict[str, Any] = {"cname": "zstd", "clevel": 3, "blocksize": 0}
_ABSENT = (1 << 64) - 1
_NUMBERS = {"f4": "float32", "i4": "int32", "u1": "uint8"}


@dataclass(frozen=True)
class Array:
    """One array of a store.

    Parameters
    ----------
    dims : tuple of str
    shape, chunks : tuple of int
    dtype : str
        ``f4``, ``i4`` or ``u1``; ``U`` and a length for text.
    fill : float, int, str or None
        None where no value stands for missing.
    attributes : mapping
    values : ndarray, optional
        Written with the metadata, as one chunk.
    shard : tuple of int, optional
        Shape of a v3 object that holds several chunks.
    """

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: str
    fill: float | int | str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any])
    values: Values | None = None
    shard: tuple[int, ...] | None = None

    @classmethod
    def whole(cls, dims: Sequence[str], values: Values, **attributes: Any) -> "Array":
        """A small array as one chunk: int32, float32, bytes or text."""
        dtype = values.dtype.str[1:]
        fill = {"i": INTEGER_FILL, "U": ""}.get(values.dtype.kind)
        shape = values.shape
        return cls(tuple(dims), shape, shape, dtype, fill, attributes, values)


@dataclass(frozen=True)
class Group:
    """Attributes and arrays of one group."""

    attributes: Mapping[str, Any]
    arrays: Mapping[str, Array]


def objects_of(groups: Mapping[str, Group], zarr_format: ZarrFormat) -> dict[str, bytes]:
    """Metadata and whole arrays of a store with nothing else in it.

    Parameters
    ----------
    groups : mapping of str to Group
        By path; the root is ``""``, and parents come before children.
    zarr_format : {"v2", "v3"}

    Returns
    -------
    dict of str to bytes
        By name below the store; consolidated metadata come last.

    Raises
    ------
    ValueError
        If an attribute is no strict JSON, such as NaN.
    """
    write = _v2_metadata if zarr_format == "v2" else _v3_metadata
    chunks: dict[str, bytes] = {}
    for path, group in groups.items():
        for name, array in group.arrays.items():
            if array.values is not None:
                place = f"{path}/{name}".lstrip("/")
                zeros = (0,) * len(array.shape)
                encode = chunk_v2 if zarr_format == "v2" else coordinate_chunk
                chunk = chunk_name(place, zeros, zarr_format)
                chunks[chunk] = encode(array.values)
    return {**chunks, **write(groups)}


def chunk_name(array: str, place: Iterable[int], zarr_format: ZarrFormat) -> str:
    """Name of one chunk or shard below its store."""
    joined = ".".join(map(str, place))
    return f"{array}/{joined}" if zarr_format == "v2" else f"{array}/c.{joined}"


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False).encode()


def _v2_metadata(groups: Mapping[str, Group]) -> dict[str, bytes]:
    metadata: dict[str, Any] = {}
    for path, group in groups.items():
        folder = f"{path}/".lstrip("/")
        metadata[f"{folder}.zgroup"] = {"zarr_format": 2}
        metadata[f"{folder}.zattrs"] = dict(group.attributes)
        for name, array in group.arrays.items():
            metadata[f"{folder}{name}/.zarray"] = {
                "chunks": list(array.chunks),
                "compressor": _ZLIB,
                "dimension_separator": ".",
                "dtype": "|u1" if array.dtype == "u1" else f"<{array.dtype}",
                "fill_value": array.fill,
                "filters": None,
                "order": "C",
                "shape": list(array.shape),
                "zarr_format": 2,
            }
            dims = {"_ARRAY_DIMENSIONS": list(array.dims)}
            metadata[f"{folder}{name}/.zattrs"] = {**dims, **array.attributes}
    objects = {name: _json(value) for name, value in metadata.items()}
    together = {"metadata": metadata, "zarr_consolidated_format": 1}
    return {**objects, CONSOLIDATED["v2"]: _json(together)}


def _v3_metadata(groups: Mapping[str, Group]) -> dict[str, bytes]:
    metadata: dict[str, Any] = {}
    for path, group in groups.items():
        metadata[path] = {
            "attributes": dict(group.attributes),
            "node_type": "group",
            "zarr_format": 3,
        }
        for name, array in group.arrays.items():
            metadata[f"{path}/{name}".lstrip("/")] = _v3_array(array)
    root = metadata.pop("")
    below = {"kind": "inline", "must_understand": False, "metadata": metadata}
    objects = {f"{path}/zarr.json": _json(value) for path, value in metadata.items()}
    return {**objects, "zarr.json": _json({**root, "consolidated_metadata": below})}


def _v3_array(array: Array) -> dict[str, Any]:
    text = array.dtype.startswith("U")
    fill = array.fill if array.fill is not None else "" if text else 0
    attributes = dict(array.attributes)
    if array.values is None and array.dtype == "f4" and array.fill is not None:
        # xarray takes the fill for missing only where an attribute says so, packed like this.
        packed = struct.pack("<d", float(array.fill))
        attributes["_FillValue"] = base64.standard_b64encode(packed).decode()
    return {
        "attributes": attributes,
        "chunk_grid": {
            "configuration": {"chunk_shape": list(array.shard or array.chunks)},
            "name": "regular",
        },
        "chunk_key_encoding": {"configuration": {"separator": "."}, "name": "default"},
        "codecs": _v3_codecs(array),
        # Text of fixed width is an extension that zarrita does not know.
        "data_type": "string" if text else _NUMBERS[array.dtype],
        "dimension_names": list(array.dims),
        "fill_value": fill,
        "node_type": "array",
        "shape": list(array.shape),
        "storage_transformers": [],
        "zarr_format": 3,
    }


_LITTLE: dict[str, Any] = {"configuration": {"endian": "little"}, "name": "bytes"}


def _v3_codecs(array: Array) -> list[dict[str, Any]]:
    if array.dtype.startswith("U"):
        return [{"name": "vlen-utf8"}]
    if array.shard is None:
        return [{"name": "bytes"} if array.dtype == "u1" else _LITTLE]
    blosc = {**_BLOSC, "shuffle": "shuffle", "typesize": 4}
    return [
        {
            "configuration": {
                "chunk_shape": list(array.chunks),
                "codecs": [_LITTLE, {"configuration": blosc, "name": "blosc"}],
                "index_codecs": [_LITTLE, {"name": "crc32c"}],
                "index_location": "end",
            },
            "name": "sharding_indexed",
        }
    ]


# Chunks


def plain_zlib(data: Any, level: int) -> bytes:
    """A zlib stream by zlib itself, for the same values in twice the time."""
    return zlib.compress(data, level)


try:
    from deflate import zlib_compress
except ImportError:
    zlib_compress = plain_zlib


def chunk_v2(values: Values) -> bytes:
    """Bytes of one v2 chunk: a zlib stream, by libdeflate where it can be had."""
    plain = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return bytes(zlib_compress(plain.reshape(-1).view(np.uint8).data, _ZLIB["level"]))


def coordinate_chunk(values: Values) -> bytes:
    """Bytes of a whole small array in v3: as they are, text with its lengths."""
    if values.dtype.kind != "U":
        return np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
    words = [str(word).encode() for word in values.reshape(-1)]
    lengths = (struct.pack("<I", len(word)) + word for word in words)
    return struct.pack("<I", len(words)) + b"".join(lengths)


def chunk_v3(values: NDArray[np.float32]) -> bytes:
    """Bytes of one chunk inside a shard."""
    # Several threads would leave blocks in the order in which they finish them.
    blosc_module.use_threads = False
    codec = Blosc(_BLOSC["cname"], _BLOSC["clevel"], Blosc.SHUFFLE, _BLOSC["blocksize"])
    return bytes(codec.encode(np.ascontiguousarray(values, "<f4")))


def shard_v3(chunks: Iterable[bytes | None]) -> bytes:
    """One shard: chunks in the order of their places, then the index of where each lies.

    Parameters
    ----------
    chunks : iterable of bytes or None
        Row-major; None where a chunk holds nothing but fill.
    """
    parts, index, offset = list[bytes](), list[int](), 0
    for chunk in chunks:
        if chunk is None:
            index += [_ABSENT, _ABSENT]
            continue
        parts.append(chunk)
        index += [offset, len(chunk)]
        offset += len(chunk)
    table = struct.pack(f"<{len(index)}Q", *index)
    checksum = struct.pack("<I", google_crc32c.value(table))
    return b"".join([*parts, table, checksum])


def places(counts: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Every place of a lattice of chunks, row-major."""
    return itertools.product(*(range(count) for count in counts))
