"""Where the values of a granule lie: its arrays, their codecs and the byte ranges of the chunks.

This is the one shape in which every parser hands a granule over and every writer takes it.
"""

import base64
import hashlib
import json
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from dor_ecco_assets.errors import InputUnusable

__all__ = [
    "PACKING_ATTRIBUTES",
    "ArrayReferences",
    "Codec",
    "GranuleReferences",
    "content_of",
    "schema_fingerprint",
    "v3_metadata",
]

type Offsets = npt.NDArray[np.uint64]
type Codec = Mapping[str, Any]

#: Attributes that decide which physical value a stored number means.
PACKING_ATTRIBUTES = (
    "scale_factor",
    "add_offset",
    "_FillValue",
    "missing_value",
    "_Unsigned",
    "units",
    "calendar",
)

#: Codec settings that a reader does not need: they say how hard the writer tried.
_EFFORT = frozenset({"level"})


@dataclass(frozen=True, eq=False)
class ArrayReferences:
    """One array of a granule, with the byte range of each of its chunks or its values.

    Parameters
    ----------
    dims : tuple of str
        Names of the axes, relative to the array's own group.
    shape, chunks : tuple of int
    dtype : dtype
        Type of the stored values, byte order included; ``StringDType`` for text.
    codecs : tuple of mapping
        Zarr v3 codecs after ``bytes``, in the order of encoding.
    fill_value : scalar
        What a chunk that was never written holds.
    attributes : dict
        As in the file, in JSON's types; `_FillValue` is a plain number.
    offsets, lengths : ndarray of uint64, shape of the chunk grid, in bytes
        Length 0 marks a chunk that was never written.
    values : ndarray, optional
        The decoded, still packed values, where they were loaded; there are no ranges then.
    types : mapping of str to str
        Types of `scale_factor` and `add_offset` other than float64, which decide the type of the
        physical values.
    """

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]
    codecs: tuple[Codec, ...]
    fill_value: Any
    attributes: dict[str, Any]
    offsets: Offsets
    lengths: Offsets
    values: npt.NDArray[Any] | None = None
    types: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def packing(self) -> dict[str, Any]:
        """The attributes that decide what a stored number means."""
        return {
            name: self.attributes[name] for name in PACKING_ATTRIBUTES if name in self.attributes
        }


@dataclass(frozen=True, eq=False)
class GranuleReferences:
    """All arrays of one granule by their path in it: ``sst``, ``data_01/ku/range``.

    Parameters
    ----------
    arrays : dict of str to ArrayReferences
    groups : dict of str to dict
        Attributes of each group by its path; the root group's is ``""``.
    size : int
        Bytes of the file.
    e_tag : str
        The store's stamp of the bytes that were read; empty where it has none.
    parser : str
        Name and version of what parsed it.
    modified : str
        When the bytes that were read were written, ISO 8601 in UTC; empty where the store does not
        tell.
    """

    arrays: dict[str, ArrayReferences]
    groups: dict[str, dict[str, Any]] = field(default_factory=dict)
    size: int = 0
    e_tag: str = ""
    parser: str = ""
    modified: str = ""

    @property
    def chunk_count(self) -> int:
        """Chunks that lie in the file."""
        return sum(int(np.count_nonzero(array.lengths)) for array in self.arrays.values())

    def select(self, group: str) -> "GranuleReferences":
        """Only what lies in one group, its paths relative to that group.

        Raises
        ------
        InputUnusable
            Code ``GroupMissing``.
        """
        inside = f"{group.strip('/')}/"
        if inside[:-1] not in self.groups:
            raise InputUnusable(
                f"there is no group {group!r}; the file has {sorted(self.groups)[:8]}",
                code="GroupMissing",
            )
        return replace(
            self,
            arrays={n[len(inside) :]: a for n, a in self.arrays.items() if n.startswith(inside)},
            groups={
                (n + "/")[len(inside) :].rstrip("/"): g
                for n, g in self.groups.items()
                if (n + "/").startswith(inside)
            },
        )


def schema_fingerprint(granule: GranuleReferences, concat_dim: str | None = None) -> str:
    """SHA-256 of what must be the same for two granules to be decoded alike.

    Names, axes, types, chunk shapes, codecs, fill values and packing count; the length along
    `concat_dim`, how hard a compressor tried and every other attribute do not. Loaded arrays
    count by name, axes and type: their values are decoded already.
    """
    digest = hashlib.sha256()
    for name in sorted(granule.arrays):
        digest.update(json.dumps([name, *_schema(granule.arrays[name], concat_dim)]).encode())
    return digest.hexdigest()


def content_of(granule: GranuleReferences) -> str:
    """Digest of every array's byte ranges or values, however they were found."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(granule.arrays):
        array = granule.arrays[name]
        digest.update(name.encode())
        if array.values is None:
            digest.update(array.offsets.tobytes())
            digest.update(array.lengths.tobytes())
        elif array.dtype.kind == "T":
            digest.update("\0".join(array.values.ravel().tolist()).encode())
        else:
            digest.update(np.ascontiguousarray(array.values).tobytes())
    return digest.hexdigest()


def _schema(array: ArrayReferences, concat_dim: str | None) -> Iterator[Any]:
    yield list(array.dims)
    yield array.dtype.str
    yield [
        None if dim == concat_dim else size
        for dim, size in zip(array.dims, array.shape, strict=True)
    ]
    if array.values is None:
        yield list(array.chunks)
        yield [decode_relevant(codec) for codec in array.codecs]
        yield _encoded_fill(array.fill_value, array.dtype)
        yield {name: _json_number(value) for name, value in array.packing.items()}


def decode_relevant(codec: Codec) -> dict[str, Any]:
    """A codec without what a reader does not need, such as a deflate level."""
    kept = {k: v for k, v in codec.get("configuration", {}).items() if k not in _EFFORT}
    return {"name": codec["name"], "configuration": kept}


def _json_number(value: Any) -> Any:
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def v3_metadata(array: ArrayReferences) -> dict[str, Any]:
    """The array's ``zarr.json``, Zarr version 3.

    Raises
    ------
    InputUnusable
        Code ``CodecUnsupported``, if Zarr has no such data type.
    """
    text = array.dtype.kind == "T"
    first: dict[str, Any] = {"name": "vlen-utf8"} if text else {"name": "bytes"}
    if not text and array.dtype.itemsize > 1 and array.dtype.kind != "S":
        big = array.dtype.str.startswith(">")
        first["configuration"] = {"endian": "big" if big else "little"}
    chunks = array.chunks if array.values is None else _whole(array.shape)
    codecs = array.codecs if array.values is None else ()
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(array.shape),
        "data_type": _v3_type(array.dtype),
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunks)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": _encoded_fill(array.fill_value, array.dtype),
        "codecs": [first, *(dict(codec) for codec in codecs)],
        "attributes": _encoded_attributes(array),
        "dimension_names": list(array.dims),
    }


def _whole(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(max(size, 1) for size in shape)


def _v3_type(dtype: np.dtype[Any]) -> Any:
    if dtype.kind == "T":
        return "string"
    if dtype.kind == "S":
        length = {"length_bytes": dtype.itemsize}
        return {"name": "null_terminated_bytes", "configuration": length}
    if dtype.kind in "biufc":
        return dtype.name
    raise InputUnusable(f"Zarr has no data type for {dtype!r}", code="CodecUnsupported")


def _encoded_fill(value: Any, dtype: np.dtype[Any]) -> Any:
    """A fill value as Zarr's JSON has it."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, complex):
        return [_encoded_fill(part, np.dtype("f8")) for part in (value.real, value.imag)]
    if dtype.kind == "f" and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _encoded_attributes(array: ArrayReferences) -> dict[str, Any]:
    """Attributes with `_FillValue` as xarray keeps it in Zarr: floats as eight bytes in base64."""
    value = array.attributes.get("_FillValue")
    if value is None or array.dtype.kind not in "biuf":
        return array.attributes
    coded: Any = {"i": int, "u": int, "b": bool}.get(array.dtype.kind, float)(value)
    if isinstance(coded, float):
        coded = base64.b64encode(struct.pack("<d", coded)).decode()
    return {**array.attributes, "_FillValue": coded}
