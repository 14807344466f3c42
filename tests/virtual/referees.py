"""What VirtualiZarr and kerchunk find in a file, in the shape in which ours can be compared."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from dor_ecco_assets.virtual.kerchunk_files import v2_array
from dor_ecco_assets.virtual.references import v3_metadata

if TYPE_CHECKING:
    from pathlib import Path

    from dor_ecco_assets.virtual.references import ArrayReferences


def virtualizarr_arrays(path: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Arrays by path, and attributes of groups by path, as VirtualiZarr's HDF parser finds them."""
    parsers = pytest.importorskip("virtualizarr.parsers", reason="virtualizarr is not installed")
    from obspec_utils.registry import ObjectStoreRegistry
    from obstore.store import LocalStore

    registry = ObjectStoreRegistry({"file://": LocalStore()})
    store = parsers.HDFParser()(f"file://{path}", registry)
    arrays: dict[str, Any] = {}
    groups: dict[str, dict[str, Any]] = {}

    def walk(group: Any, place: str) -> None:
        groups[place] = dict(group.metadata.attributes)
        for name, array in group.arrays.items():
            arrays[f"{place}/{name}".lstrip("/")] = array
        for name, inner in group.groups.items():
            walk(inner, f"{place}/{name}".lstrip("/"))

    walk(store._group, "")
    return arrays, groups


def kerchunk_references(path: Path) -> dict[str, Any]:
    """The references that kerchunk's HDF5 translator makes, none of them inlined."""
    hdf = pytest.importorskip("kerchunk.hdf", reason="kerchunk is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with path.open("rb") as file:
            made = hdf.SingleHdf5ToZarr(file, str(path), inline_threshold=0, error="raise")
            return made.translate()["refs"]


def ranges(array: ArrayReferences) -> dict[str, tuple[int, int]]:
    """Offset and length by chunk key, only of chunks that lie in the file."""
    import numpy as np

    return {
        ".".join(map(str, place)) or "0": (int(array.offsets[place]), int(array.lengths[place]))
        for place in np.ndindex(array.lengths.shape)
        if array.lengths[place]
    }


def virtualizarr_ranges(array: Any) -> dict[str, tuple[int, int]]:
    """As `ranges`; the only chunk of a scalar has an empty key there."""
    return {key or "0": (e["offset"], e["length"]) for key, e in array.manifest.dict().items()}


def kerchunk_ranges(references: dict[str, Any], name: str) -> dict[str, tuple[int, int]]:
    found = {}
    for key, value in references.items():
        folder, _, chunk = key.rpartition("/")
        if folder == name and not chunk.startswith(".z") and isinstance(value, list):
            found[chunk] = (value[1], value[2])
    return found


def as_zarr_v2(array: ArrayReferences) -> tuple[dict[str, Any], dict[str, Any]]:
    """An array's ``.zarray`` and ``.zattrs`` as our kerchunk files have them."""
    text = array.dtype.kind == "T"
    dtype = "|O" if text else array.dtype.str
    document = v2_array(array.shape, array.chunks, dtype, array.codecs, array.fill_value)
    if text:
        document["filters"] = [{"id": "vlen-utf8"}]
    attributes = v3_metadata(array)["attributes"]
    return document, {"_ARRAY_DIMENSIONS": list(array.dims), **attributes}


def kerchunk_metadata(references: dict[str, Any], name: str) -> dict[str, Any]:
    value = references[f"{name}/.zarray"]
    return json.loads(value) if isinstance(value, str) else value
