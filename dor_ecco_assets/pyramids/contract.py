"""Whether a map store is what the libraries that read it can read: a look at metadata alone.

What `@carbonplan/maps` asks of a Zarr v2 pyramid through zarr-js 3.3, and `@carbonplan/zarr-layer`
and zarrita of a sharded Zarr v3 one.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dor_ecco_assets.pyramids.schema import CRS
from dor_ecco_assets.stores.browser import CONSOLIDATED, FILL, ZarrFormat

__all__ = ["contract_breaches", "metadata_of"]

#: Types that zarr-js decodes; text and bytes may have any length.
_V2_TYPES = {"<i1", "|i1", "<u1", "|u1", "|b1", "<i2", "<u2", "<i4", "<u4", "<f4", "<f8"}
_SPATIAL = ("y", "x")


def metadata_of(read: Callable[[str], bytes | None]) -> tuple[ZarrFormat | None, dict[str, Any]]:
    """Format and consolidated metadata of a store.

    Parameters
    ----------
    read : callable
        Gives the bytes of an object below the store, None where there is none.

    Returns
    -------
    format : {"v2", "v3"} or None
    metadata : dict
        Empty where there is no format; not strict JSON reads so too.
    """
    formats: tuple[ZarrFormat, ...] = ("v2", "v3")
    for zarr_format in formats:
        text = read(CONSOLIDATED[zarr_format])
        if text is not None:
            try:
                return zarr_format, json.loads(text, parse_constant=_refuse)
            except ValueError:
                return zarr_format, {}
    return None, {}


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def contract_breaches(read: Callable[[str], bytes | None]) -> list[str]:
    """What keeps a store from being read, a sentence each; none if all is well.

    Parameters
    ----------
    read : callable
        Gives the bytes of an object below the store, None where there is none.
    """
    zarr_format, metadata = metadata_of(read)
    if zarr_format is None:
        return ["there is neither .zmetadata nor zarr.json"]
    if not metadata:
        return [f"{CONSOLIDATED[zarr_format]} is not strict JSON"]
    return list(_v2(metadata) if zarr_format == "v2" else _v3(metadata))


# Zarr v2


def _v2(consolidated: Mapping[str, Any]) -> Iterator[str]:
    metadata = consolidated.get("metadata", {})
    levels = _datasets(metadata.get(".zattrs", {}))
    if not levels:
        yield "multiscales[0].datasets names no zoom level"
        return
    yield from _v2_levels(levels)
    spatial: dict[str, tuple[Any, ...]] = {}
    for place, level in enumerate(levels):
        path, side = str(level.get("path")), int(level.get("pixels_per_tile", 0))
        arrays = {
            name.removeprefix(f"{path}/").removesuffix("/.zarray"): about
            for name, about in metadata.items()
            if name.startswith(f"{path}/") and name.endswith("/.zarray")
        }
        if not arrays:
            yield f"zoom level {path} is not in .zmetadata"
        for name, array in arrays.items():
            where = f"{path}/{name}"
            dims = metadata.get(f"{where}/.zattrs", {}).get("_ARRAY_DIMENSIONS")
            if dims is None or len(dims) != len(array["shape"]):
                yield f"{where} has no _ARRAY_DIMENSIONS that fit its shape"
                continue
            yield from _v2_array(where, array)
            n = side << int(level.get("level", place))
            yield from _common(where, name, tuple(dims), array, array["chunks"], side, n, spatial)


def _datasets(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    scales = attributes.get("multiscales") or [{}]
    return list(scales[0].get("datasets", []))


def _v2_levels(levels: list[dict[str, Any]]) -> Iterator[str]:
    sides = {level.get("pixels_per_tile") for level in levels}
    if len(sides) != 1 or not all(isinstance(side, int) and side > 0 for side in sides):
        yield f"pixels_per_tile is {sides}, expected one number for all zoom levels"
    for level in levels:
        if level.get("crs") != CRS:
            yield f"zoom level {level.get('path')} has crs {level.get('crs')}, expected {CRS}"


def _v2_array(where: str, array: Mapping[str, Any]) -> Iterator[str]:
    codec = (array.get("compressor") or {"id": None})["id"]
    if codec not in ("zlib", "gzip", None):
        yield f"{where} is compressed by {codec}; zarr-js reads zlib, gzip or none"
    if array.get("filters"):
        yield f"{where} has filters, which zarr-js ignores"
    dtype = str(array["dtype"])
    if dtype not in _V2_TYPES and dtype[:2] not in ("<U", "|S"):
        yield f"{where} is {dtype}, which zarr-js does not decode"
    if array.get("dimension_separator", ".") != ".":
        yield f"{where} separates chunks by {array['dimension_separator']!r}, expected a dot"
    if array.get("order", "C") != "C":
        yield f"{where} has order {array['order']}, expected C"


def _common(
    where: str,
    name: str,
    dims: tuple[str, ...],
    array: Mapping[str, Any],
    chunks: list[int],
    side: int,
    n: int,
    across: dict[str, tuple[Any, ...]],
) -> Iterator[str]:
    """What both formats share: coordinates in one chunk, square tiles, one fill."""
    shape = list(array["shape"])
    if dims[-2:] != _SPATIAL:
        if chunks != shape:
            yield f"{where} has chunks {chunks} of {shape}; readers take its first chunk for all"
        return
    if len(dims) == 2 and chunks == shape:
        return  # a field of its own, not a map variable
    if shape[-2:] != [n, n]:
        yield f"{where} has {shape[-2:]} pixels, expected {n} x {n}"
    if chunks[-2:] != [side, side]:
        yield f"{where} has tiles of {chunks[-2:]}, expected {side} x {side}"
    if array.get("fill_value") != FILL:
        yield f"{where} has fill {array.get('fill_value')}, expected {FILL!r}"
    if {"month", "year"} <= set(dims) and dims.index("month") > dims.index("year"):
        yield f"{where} has year before month; region queries read [month][year]"
    first = across.setdefault(name, (tuple(shape[:-2]), tuple(chunks), dims))
    if first != (tuple(shape[:-2]), tuple(chunks), dims):
        yield f"{where} has other dimensions or chunks than the first zoom level"


# Zarr v3


def _v3(root: Mapping[str, Any]) -> Iterator[str]:
    metadata = root.get("consolidated_metadata", {}).get("metadata", {})
    attributes = root.get("attributes", {})
    layout = attributes.get("multiscales", {}).get("layout", [])
    if not layout:
        yield "multiscales.layout names no zoom level"
        return
    if attributes.get("proj:code") != CRS:
        yield f"proj:code is {attributes.get('proj:code')}, expected {CRS}"
    sizes = [entry.get("spatial:shape", [0])[0] for entry in layout]
    if sizes != sorted(sizes, reverse=True):
        yield f"multiscales.layout has sizes {sizes}, expected the finest first"
    across: dict[str, tuple[Any, ...]] = {}
    for entry in reversed(layout):
        path, n = entry["asset"], entry.get("spatial:shape", [0])[0]
        arrays = {
            name.removeprefix(f"{path}/"): about
            for name, about in metadata.items()
            if name.startswith(f"{path}/") and about["node_type"] == "array"
        }
        if not arrays:
            yield f"zoom level {path} is not in the consolidated metadata"
        for name, array in arrays.items():
            dims = tuple(array.get("dimension_names") or ())
            chunks, side = _v3_chunks(array)
            yield from _common(f"{path}/{name}", name, dims, array, chunks, side or n, n, across)
            if not isinstance(array["data_type"], str):
                yield f"{path}/{name} is of an extension type, which zarrita does not know"
        dims = {dim for name in arrays for dim in arrays[name].get("dimension_names") or ()}
        for dim in sorted(dims - set(_SPATIAL)):
            if dim not in metadata:
                yield f"{dim} has no copy at the root, where zarr-layer looks for its values"


def _v3_chunks(array: Mapping[str, Any]) -> tuple[list[int], int | None]:
    """Shape of the chunks that readers fetch, and the side of the tiles."""
    chunks = array["chunk_grid"]["configuration"]["chunk_shape"]
    codec = array["codecs"][0]
    if codec["name"] == "sharding_indexed":
        chunks = codec["configuration"]["chunk_shape"]
        return list(chunks), int(chunks[-1])
    return list(chunks), None
