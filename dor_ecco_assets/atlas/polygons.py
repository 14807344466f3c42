"""Injection polygons of an atlas: which cells belong to each, and where their centres lie."""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dor_ecco_assets.atlas.specification import PolygonSet
from dor_ecco_assets.errors import InputMissing, InputUnusable
from dor_ecco_assets.storage.base import Readable

__all__ = [
    "NO_POLYGON",
    "cells_inside",
    "load_array",
    "load_polygons",
    "parse_features",
    "read_checked",
    "spherical_centre",
]

#: Value of the mask in cells of no polygon.
NO_POLYGON = -1

_REGION_ID = "polygon_id"


def load_polygons(source: Readable, polygons: PolygonSet, grid: xr.Dataset) -> xr.Dataset:
    """Read the polygons of an atlas onto its grid.

    Parameters
    ----------
    source : Readable
        The inputs.
    polygons : PolygonSet
    grid : Dataset
        As `dor_ecco_assets.grids.pop.pop_grid_dataset` makes it.

    Returns
    -------
    Dataset
        ``polygon`` int16 (nlat, nlon): polygon_master, `NO_POLYGON` elsewhere; per polygon
        ``centre_lon centre_lat`` (degrees), ``cells`` (int32) and ``area_m2`` of its wet cells.
        Attribute ``centre_source`` says which centres were given and which computed.

    Raises
    ------
    InputMissing, InputUnusable
        ``ChecksumMismatch``, ``PolygonFile`` (not what it should be), ``PolygonSizes`` (another
        grid), ``PolygonIds`` (numbers out of range) or ``PolygonEmpty`` (no wet cell).

    Notes
    -----
    Where id 0 marks polygon 0 and the background alike, polygon 0 is the wet cells of id 0 that
    its outline holds. Outlines run through T points: a cell is drawn as the square from its own T
    point to the next one north-east, around its U point.
    """
    if polygons.mask is not None:
        mask = _combined_mask(source, polygons, grid)
    else:
        mask = _basin_masks(source, polygons, grid["wet"].shape)
    wet, area = grid["wet"].values, grid["area_m2"].values
    inside = wet & (mask != NO_POLYGON)
    numbers = mask[inside].astype(np.int64)
    cells = np.bincount(numbers, minlength=polygons.n_polygons)
    empty = np.flatnonzero(cells == 0)
    if empty.size:
        raise InputUnusable(
            f"{polygons.mask or 'the basin masks'}: {empty.size} polygons have no wet cell, the "
            f"first is {empty[0]}; the mask belongs to another grid or another polygon set",
            code="PolygonEmpty",
        )
    lon, lat = _computed_centres(grid, inside, numbers, polygons.n_polygons)
    given = _given_centres(source, polygons)
    for basin, centres in given.items():
        first = polygons.offset(basin)
        lon[first : first + len(centres)], lat[first : first + len(centres)] = centres.T
    about = {"units": "degrees_east"}, {"units": "degrees_north"}
    return xr.Dataset(
        {
            "polygon": (("nlat", "nlon"), mask, {"long_name": "polygon_master; -1 is none"}),
            "centre_lon": ("polygon_id", lon % 360.0, about[0]),
            "centre_lat": ("polygon_id", lat, about[1]),
            "cells": ("polygon_id", cells.astype(np.int32), {"long_name": "wet cells"}),
            "area_m2": (
                "polygon_id",
                np.bincount(numbers, area[inside], polygons.n_polygons),
                {"units": "m2"},
            ),
        },
        {"polygon_id": np.arange(polygons.n_polygons, dtype=np.int32)},
        {"centre_source": _centre_source(polygons, given)},
    )


def _centre_source(polygons: PolygonSet, given: Mapping[str, Any]) -> str:
    computed = [basin.name for basin in polygons.basins if basin.name not in given]
    parts = [f"{basin}: {polygons.basin_centres[basin]}" for basin in given]
    if computed:
        parts.append(f"{', '.join(computed)}: area-weighted spherical mean of wet cells")
    return "; ".join(parts)


def spherical_centre(lat: Any, lon: Any, weights: Any) -> tuple[float, float]:
    """Direction of the weighted mean of points on the sphere.

    Parameters
    ----------
    lat, lon : array_like, shape (n,), degrees
    weights : array_like, shape (n,)

    Returns
    -------
    lat, lon : float, degrees
        Longitude in [0, 360).
    """
    mean = np.asarray(weights, np.float64) @ _directions(np.asarray(lat), np.asarray(lon))
    return (
        float(np.rad2deg(np.arctan2(mean[2], np.hypot(mean[0], mean[1])))),
        float(np.rad2deg(np.arctan2(mean[1], mean[0])) % 360.0),
    )


def _directions(lat: NDArray[Any], lon: NDArray[Any]) -> NDArray[np.float64]:
    phi, lam = np.deg2rad(lat), np.deg2rad(lon)
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=-1)


def _computed_centres(
    grid: xr.Dataset, inside: NDArray[np.bool_], numbers: NDArray[np.int64], n_polygons: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    points = _directions(grid["TLAT"].values[inside], grid["TLONG"].values[inside])
    area = grid["area_m2"].values[inside]
    x, y, z = (np.bincount(numbers, area * part, n_polygons) for part in points.T)
    return np.rad2deg(np.arctan2(y, x)), np.rad2deg(np.arctan2(z, np.hypot(x, y)))


def _combined_mask(source: Readable, polygons: PolygonSet, grid: xr.Dataset) -> NDArray[np.int16]:
    key = polygons.mask or ""
    uri = source.locate(key)
    data = read_checked(source, key, polygons.sha256.get(key))
    try:
        with xr.open_dataset(io.BytesIO(data), decode_times=False, mask_and_scale=False) as opened:
            if polygons.mask_variable not in opened.variables:
                raise InputUnusable(
                    f"{uri}: there is no {polygons.mask_variable} in it; it holds "
                    f"{', '.join(map(str, opened.variables))}",
                    code="PolygonFile",
                    uri=uri,
                )
            ids = opened[polygons.mask_variable].values
    except (OSError, ValueError, TypeError, KeyError, IndexError) as error:
        raise InputUnusable(
            f"{uri}: not a NetCDF file that can be read ({error}); fetch it again",
            code="PolygonFile",
            uri=uri,
        ) from error
    _require_shape(ids.shape, grid["wet"].shape, uri)
    lowest = 0 if polygons.zero_is_also_background else NO_POLYGON
    if ids.min() < lowest or ids.max() >= polygons.n_polygons:
        raise InputUnusable(
            f"{uri}: ids run from {ids.min()} to {ids.max()}, expected {lowest} to "
            f"{polygons.n_polygons - 1}; the mask belongs to another polygon set",
            code="PolygonIds",
            uri=uri,
        )
    mask = ids.astype(np.int16)
    if polygons.zero_is_also_background and polygons.regions is not None:
        zero = mask == 0
        mask[zero] = NO_POLYGON
        features = read_checked(source, polygons.regions, polygons.sha256.get(polygons.regions))
        outlines = parse_features(features, source.locate(polygons.regions))
        if 0 not in outlines:
            raise InputUnusable(
                f"{source.locate(polygons.regions)}: polygon 0 has no outline; without it the "
                "mask's id 0 cannot be told from the background",
                code="PolygonFile",
                uri=source.locate(polygons.regions),
            )
        held = cells_inside(outlines[0], grid["ULAT"].values, grid["ULONG"].values)
        mask[zero & grid["wet"].values & held] = 0
    return mask


def _basin_masks(
    source: Readable, polygons: PolygonSet, shape: tuple[int, ...]
) -> NDArray[np.int16]:
    mask = np.full(shape, NO_POLYGON, np.int16)
    for basin in polygons.basins:
        key = polygons.basin_masks[basin.name]
        cells = load_array(source, key, polygons.sha256.get(key)) > 0
        _require_shape(cells.shape, (basin.polygons, *shape), source.locate(key))
        for polygon in range(basin.polygons):
            mask[cells[polygon]] = polygons.offset(basin.name) + polygon
    return mask


def _given_centres(source: Readable, polygons: PolygonSet) -> dict[str, NDArray[np.float64]]:
    given: dict[str, NDArray[np.float64]] = {}
    for basin in polygons.basins:
        key = polygons.basin_centres.get(basin.name)
        if key is not None:
            centres = load_array(source, key, polygons.sha256.get(key)).astype(np.float64)
            _require_shape(centres.shape, (basin.polygons, 2), source.locate(key))
            if not (np.isfinite(centres).all() and (np.abs(centres[:, 1]) <= 90).all()):
                raise InputUnusable(
                    f"{source.locate(key)}: centres must be finite, lon then lat in degrees",
                    code="PolygonFile",
                    uri=source.locate(key),
                )
            given[basin.name] = centres
    return given


def _require_shape(found: tuple[int, ...], expected: tuple[int, ...], uri: str) -> None:
    if found != expected:
        raise InputUnusable(
            f"{uri}: shape {found}, expected {expected} for this grid and polygon set; name the "
            "file that belongs to them",
            code="PolygonSizes",
            uri=uri,
        )


def load_array(source: Readable, key: str, sha256: str | None = None) -> NDArray[Any]:
    """One array of an ``.npy`` file; never unpickles.

    Raises
    ------
    InputMissing, InputUnusable
        ``ChecksumMismatch`` or ``PolygonFile``: not an array, or one of pickled objects.
    """
    data = read_checked(source, key, sha256)
    try:
        return np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InputUnusable(
            f"{source.locate(key)}: not a plain array ({error}); pickled objects are refused, "
            "save it by numpy.save from a numeric array",
            code="PolygonFile",
            uri=source.locate(key),
        ) from error


def read_checked(source: Readable, key: str, sha256: str | None = None) -> bytes:
    """Bytes of an external input, compared with its checksum where one is known.

    Raises
    ------
    InputMissing
        ``MissingPolygonFile``.
    InputUnusable
        ``ChecksumMismatch``.
    """
    data = source.read(key)
    if data is None:
        raise InputMissing(
            f"{source.locate(key)} is not there; bring it (`dor-ecco inputs fetch`) or name "
            "another file in the polygon set",
            code="MissingPolygonFile",
        )
    found = hashlib.sha256(data).hexdigest()
    if sha256 is not None and found != sha256:
        raise InputUnusable(
            f"{source.locate(key)}: SHA-256 {found}, expected {sha256}; fetch it again",
            code="ChecksumMismatch",
            uri=source.locate(key),
        )
    return data


type Ring = NDArray[np.float64]


def parse_features(data: bytes, uri: str = "") -> dict[int, list[list[Ring]]]:
    """Outlines of a GeoJSON file by polygon number.

    Parameters
    ----------
    data : bytes
        Features with an integer property ``polygon_id``; several may share one number.
    uri : str, optional
        For messages.

    Returns
    -------
    dict of int to list of list of ndarray, shape (n, 2)
        Per part its rings, the outer one first; longitude, latitude in degrees.

    Raises
    ------
    InputUnusable
        ``PolygonFile``.
    """
    outlines: dict[int, list[list[Ring]]] = {}
    for feature in features_of(data, uri):
        geometry = feature["geometry"]
        parts = geometry["coordinates"]
        if geometry["type"] == "Polygon":
            parts = [parts]
        elif geometry["type"] != "MultiPolygon":
            raise InputUnusable(
                f"{uri}: a feature is a {geometry['type']}, expected polygons",
                code="PolygonFile",
                uri=uri,
            )
        rings = [[np.asarray(ring, np.float64)[:, :2] for ring in part] for part in parts]
        outlines.setdefault(int(feature["properties"][_REGION_ID]), []).extend(rings)
    return outlines


def features_of(data: bytes, uri: str) -> list[dict[str, Any]]:
    """Features of a GeoJSON file that carry a polygon number."""
    try:
        features = json.loads(data)["features"]
        for feature in features:
            int(feature["properties"][_REGION_ID])
    except (ValueError, KeyError, TypeError) as error:
        raise InputUnusable(
            f"{uri}: not GeoJSON features with an integer {_REGION_ID} ({error!r}); fetch it again",
            code="PolygonFile",
            uri=uri,
        ) from error
    return features


def cells_inside(
    outline: Sequence[Sequence[Ring]], lat: NDArray[np.float64], lon: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Which points an outline holds, by the even-odd rule in longitude and latitude.

    Parameters
    ----------
    outline : sequence of sequence of ndarray, shape (n, 2)
        Parts with their rings; longitudes may leave ±180 so that no edge jumps.
    lat, lon : ndarray of float64, degrees
        NaN is in no outline.

    Returns
    -------
    ndarray of bool, in the shape of `lat`
    """
    held = np.zeros(lat.shape, bool)
    east = (lon + 180.0) % 360.0 - 180.0
    for rings in outline:
        outer = rings[0]
        (west, south), (right, north) = outer.min(axis=0), outer.max(axis=0)
        for turn in (-360.0, 0.0, 360.0):
            x = east + turn
            near = (x >= west) & (x <= right) & (lat >= south) & (lat <= north)
            if near.any():
                px, py = x[near], lat[near]
                crossed = np.zeros(px.shape, bool)
                for ring in rings:
                    crossed ^= _crossings(ring, px, py)
                held[near] |= crossed
    return held


def _crossings(ring: Ring, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether a ray to the east crosses the ring an odd number of times."""
    odd = np.zeros(x.shape, bool)
    for (x1, y1), (x2, y2) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        if y1 != y2:
            odd ^= ((y1 > y) != (y2 > y)) & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
    return odd
