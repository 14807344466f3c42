"""Shared Zarr v2 stores: metadata put once and for ever, chunks by the partition they belong to.

Written by hand rather than by zarr-python: metadata are created only where there are none and are
the same bytes whoever writes them, so writers of different regions need no lock.
"""

import json
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dor_ecco_assets.errors import GridMismatch, OutputCorrupt
from dor_ecco_assets.storage.base import Storage

__all__ = [
    "chunk_name",
    "encoded_chunk",
    "put_chunks",
    "put_schema",
    "same_schema",
    "schema_of",
]

#: What every reader of these stores can decode.
_COMPRESSOR = {"id": "zlib", "level": 1}
_CONSOLIDATED = ".zmetadata"
#: Objects that hold metadata, and the attributes in them that decide nothing of what is stored.
_METADATA = (".zattrs", _CONSOLIDATED, "zarr.json")
_WORDS = frozenset({"title", "long_name"})


def schema_of(dataset: xr.Dataset) -> dict[str, bytes]:
    """Metadata and coordinate chunks of a store, by name below it.

    Parameters
    ----------
    dataset : Dataset
        Variables with ``chunks`` and ``_FillValue`` in their encoding; values of variables play
        no part, those of coordinates are written, each as one chunk.

    Returns
    -------
    dict of str to bytes
        Consolidated metadata come last.
    """
    metadata: dict[str, Any] = {".zgroup": {"zarr_format": 2}, ".zattrs": dict(dataset.attrs)}
    chunks: dict[str, bytes] = {}
    for name, variable in dataset.variables.items():
        coordinate = name in dataset.coords
        shape = [int(size) for size in variable.shape]
        encoding = variable.encoding
        fill = encoding.get("_FillValue")
        metadata[f"{name}/.zarray"] = {
            "chunks": shape if coordinate else [int(size) for size in encoding["chunks"]],
            "compressor": _COMPRESSOR,
            "dimension_separator": ".",
            "dtype": np.dtype(variable.dtype).newbyteorder("<").str,
            "fill_value": None if fill is None else fill.item(),
            "filters": None,
            "order": "C",
            "shape": shape,
            "zarr_format": 2,
        }
        metadata[f"{name}/.zattrs"] = {"_ARRAY_DIMENSIONS": list(variable.dims), **variable.attrs}
        if coordinate:
            chunks[chunk_name(str(name), (0,) * variable.ndim)] = encoded_chunk(variable.values)
    objects = {name: _json(value) for name, value in metadata.items()}
    together = {"metadata": metadata, "zarr_consolidated_format": 1}
    return {**chunks, **objects, _CONSOLIDATED: _json(together)}


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False).encode()


def chunk_name(variable: str, place: Iterable[int]) -> str:
    """Name of one chunk below its store."""
    return f"{variable}/{'.'.join(map(str, place))}"


def encoded_chunk(values: NDArray[Any]) -> bytes:
    """Bytes of one whole chunk."""
    little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return zlib.compress(little.tobytes(), _COMPRESSOR["level"])  # pyright: ignore[reportArgumentType]


def put_schema(storage: Storage, key: str, schema: Mapping[str, bytes]) -> None:
    """Create the metadata of a store where they are not there yet.

    Parameters
    ----------
    storage : Storage
    key : str
        The store's folder.
    schema : mapping of str to bytes
        As `schema_of` gives it.

    Raises
    ------
    GridMismatch
        ``OtherSchema``, if a store of other shape, names or coordinates is there. One with other
        titles and long names is taken as it is.
    """
    absent = [name for name in schema if not _holds(storage, key, name, schema[name])]
    for name in absent:
        if not storage.put_new(f"{key}/{name}", schema[name]):
            _holds(storage, key, name, schema[name])  # another writer's, put meanwhile


def _holds(storage: Storage, key: str, name: str, wanted: bytes) -> bool:
    """Whether an object of a schema is there; refuses another one."""
    found = storage.read(f"{key}/{name}")
    if found is not None and not same_schema(name, found, wanted):
        raise GridMismatch(
            f"{storage.locate(key)}: {name} is not what is needed now, so the store was made for "
            "another grid or configuration; choose another root, or remove the store by "
            "`dor-ecco vis template STORE --force` (of other maps: make the template by force)",
            code="OtherSchema",
        )
    return found is not None


def same_schema(name: str, found: bytes, wanted: bytes) -> bool:
    """Whether two objects of a schema are the same but for titles and long names."""
    if found == wanted or not name.endswith(_METADATA):
        return found == wanted
    try:
        return json.loads(found, object_hook=_wordless) == json.loads(wanted, object_hook=_wordless)
    except ValueError:  # what is there is no JSON
        return False


def _wordless(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if name not in _WORDS}


def put_chunks(storage: Storage, key: str, chunks: Mapping[str, bytes]) -> None:
    """Put the chunks of one region and read them back.

    Raises
    ------
    OutputCorrupt
        ``ReadBackDiffers``.
    """
    for name, data in sorted(chunks.items()):
        storage.put(f"{key}/{name}", data)
        if storage.read(f"{key}/{name}") != data:
            raise OutputCorrupt(
                f"{storage.locate(key)}/{name} reads back with other bytes than were written; "
                "another program writes there: end it, then run again",
                code="ReadBackDiffers",
            )
