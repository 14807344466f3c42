"""Granules that the fast parser does not read: NetCDF3 and DMR++ through VirtualiZarr."""

import base64
import logging
import struct
import warnings
from collections.abc import Collection
from typing import Any

import numpy as np

from dor_ecco_assets.errors import ConfigurationError, InputUnusable
from dor_ecco_assets.virtual.formats import GranuleFormat
from dor_ecco_assets.virtual.references import ArrayReferences, GranuleReferences

__all__ = ["parse_other"]

log = logging.getLogger(__name__)


def parse_other(
    store: Any,
    root: str,
    key: str,
    found: GranuleFormat,
    *,
    load: Collection[str] = (),
    drop: Collection[str] = (),
) -> GranuleReferences:
    """References of a granule as VirtualiZarr finds them.

    Parameters
    ----------
    store : obstore store
    root : str
        URL of the store's root, such as ``s3://bucket``.
    key : str
    found : str
        What `granule_format` says of its first bytes.
    load, drop : collection of str
        Arrays to read, and to leave out.

    Raises
    ------
    ConfigurationError
        Code ``NotInstalled``, without VirtualiZarr.
    InputUnusable
        Codes ``FormatUnsupported``, or ``Unreadable`` where the parser fails.
    """
    parser = _parser(found, key)
    from obspec_utils.registry import (  # pyright: ignore[reportMissingImports] - optional
        ObjectStoreRegistry,
    )

    url = f"{root.rstrip('/')}/{key}"
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            manifests = parser(url, ObjectStoreRegistry({root: store}))
            values = _loaded(manifests, load)
    except Exception as error:  # parsers raise whatever their formats provoke
        text = str(error).strip().splitlines()[0][:200] if str(error).strip() else ""
        raise InputUnusable(
            f"{key} looks like {found} but cannot be parsed: {type(error).__name__} {text}",
            code="Unreadable",
            uri=key,
        ) from error
    for warning in said:  # such as of a variable that it leaves out
        log.warning("%s: %s", key, warning.message)
    import virtualizarr  # pyright: ignore[reportMissingImports] - optional

    found_arrays = GranuleReferences({}, parser=f"virtualizarr {virtualizarr.__version__}, {found}")
    _collect(manifests._group, "", frozenset(drop), values, found_arrays)
    return found_arrays


def _parser(found: GranuleFormat, key: str) -> Any:
    if found not in ("netcdf3", "dmrpp"):
        raise InputUnusable(
            f"{key} is {found}, for which there is no parser; convert it or leave it out",
            code="FormatUnsupported",
            uri=key,
        )
    try:
        from virtualizarr.parsers import (  # pyright: ignore[reportMissingImports] - optional
            DMRPPParser,
            NetCDF3Parser,
        )
    except ImportError as error:
        raise ConfigurationError(
            f"{key} is {found}, which VirtualiZarr parses: install virtualizarr ({error})",
            code="NotInstalled",
        ) from error
    return NetCDF3Parser() if found == "netcdf3" else DMRPPParser()


def _loaded(manifests: Any, load: Collection[str]) -> dict[str, Any]:
    import zarr

    group: Any = zarr.open_group(manifests, mode="r", zarr_format=3)
    return {name: group[name][...] for name in load if name in group}


def _collect(
    group: Any, path: str, drop: frozenset[str], values: dict[str, Any], into: GranuleReferences
) -> None:
    into.groups[path] = dict(group.metadata.attributes)
    for name, array in group.arrays.items():
        inner = f"{path}/{name}".lstrip("/")
        if name not in drop and inner not in drop:
            into.arrays[inner] = _converted(array, values.get(inner))
    for name, child in group.groups.items():
        _collect(child, f"{path}/{name}".lstrip("/"), drop, values, into)


def _converted(array: Any, values: Any) -> ArrayReferences:
    metadata = array.metadata
    document = metadata.to_dict()
    shape = tuple(metadata.shape)
    chunks = tuple(document["chunk_grid"]["configuration"]["chunk_shape"])
    grid = tuple(-(-n // c) for n, c in zip(shape, chunks, strict=True))
    offsets, lengths = np.zeros(grid, np.uint64), np.zeros(grid, np.uint64)
    for place, entry in array.manifest.dict().items():
        index = tuple(map(int, place.split("."))) if place else ()
        offsets[index or (...,)], lengths[index or (...,)] = entry["offset"], entry["length"]
    codecs = _in_order([dict(codec) for codec in document["codecs"]])
    dtype = np.dtype(metadata.data_type.to_native_dtype())
    if codecs and codecs[0]["name"] == "bytes" and dtype.itemsize > 1 and dtype.kind != "S":
        endian = codecs[0].get("configuration", {}).get("endian", "little")
        dtype = dtype.newbyteorder(">" if endian == "big" else "<")
    fill, attributes = metadata.fill_value, dict(metadata.attributes)
    coded = attributes.get("_FillValue")
    if isinstance(coded, str) and dtype.kind == "f":  # as xarray keeps it in Zarr
        attributes["_FillValue"] = struct.unpack("<d", base64.b64decode(coded))[0]
    return ArrayReferences(
        dims=tuple(document.get("dimension_names") or ()),
        shape=shape,
        dtype=dtype,
        chunks=chunks,
        codecs=tuple(codecs[1:]),
        fill_value=fill.item() if isinstance(fill, np.generic) else fill,
        attributes=attributes,
        offsets=offsets,
        lengths=lengths,
        values=None if values is None else np.asarray(values),
    )


def _in_order(codecs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Codecs with the shuffle before the deflate, as the NetCDF library always encodes.

    DMR++ of older servers name them in the order of decoding.
    """
    names = [codec["name"] for codec in codecs]
    deflate, shuffle = "numcodecs.zlib", "numcodecs.shuffle"
    if deflate in names and shuffle in names and names.index(deflate) < names.index(shuffle):
        codecs.insert(names.index(deflate), codecs.pop(names.index(shuffle)))
    return codecs
