"""Geometry of a lat-lon-cap grid: open cell fractions, corner bounds, one dataset of it all.

Arrays in, arrays out; reading files is the reader's business. What a file holds under MITgcm's
names (``XC``, ``RAC``, ``AngleCS``, ...) leaves here under the names that ECCO publishes
(``XC``, ``rA``, ``CS``, ...).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dor_ecco_assets.errors import GridMismatch, InputMissing
from dor_ecco_assets.grids.llc import (
    N_TILES,
    as_tiles,
    corner_points,
    left_values,
    lower_values,
)

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "ALIASES",
    "HORIZONTAL_FIELDS",
    "OPTIONAL_FIELDS",
    "PROFILE_FIELDS",
    "REQUIRED_FIELDS",
    "CornerBounds",
    "canonical_fields",
    "corner_bounds",
    "face_fractions",
    "grid_dataset",
    "hfac_from_depth",
    "lonlat_from_xyz",
    "xyz_from_lonlat",
]

_POSITIONS = ("XC", "YC", "XG", "YG")
#: Fields of one value per cell, and fields of one value per depth level or interface.
HORIZONTAL_FIELDS = (*_POSITIONS, "RAC", "DXG", "DYG", "Depth", "AngleCS", "AngleSN")
PROFILE_FIELDS = ("RC", "RF", "DRF")
#: Fields without which there is no grid, under MITgcm's names.
REQUIRED_FIELDS = (*HORIZONTAL_FIELDS, *PROFILE_FIELDS)
#: Open cell fractions; derived from ``Depth`` and ``RF`` where they are absent.
OPTIONAL_FIELDS = ("hFacC", "hFacW", "hFacS")
#: Published name of a field -> MITgcm's name of it.
ALIASES: dict[str, str] = {
    "rA": "RAC",
    "dxG": "DXG",
    "dyG": "DYG",
    "drF": "DRF",
    "CS": "AngleCS",
    "SN": "AngleSN",
}

#: Open fractions below this are rounding, not water.
SMALLEST_FRACTION = 1e-6


def xyz_from_lonlat(
    longitude: NDArray[np.float64], latitude: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Points on the unit sphere.

    Parameters
    ----------
    longitude, latitude : ndarray, shape (...), degrees

    Returns
    -------
    ndarray of float64, shape (3, ...)
        x towards 0° E on the equator, y towards 90° E, z towards the north pole.
    """
    lon, lat = np.radians(longitude), np.radians(latitude)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


def lonlat_from_xyz(
    points: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longitude (-180 to 180) and latitude, degrees, of vectors of any length.

    Parameters
    ----------
    points : ndarray, shape (3, ...)

    Returns
    -------
    longitude, latitude : ndarray of float64, shape (...), degrees
    """
    x, y, z = points
    return np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, np.hypot(x, y)))


def hfac_from_depth(
    depth: NDArray[np.float64], rf: NDArray[np.float64], drf: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Open fraction of every cell from the depth of its column.

    Parameters
    ----------
    depth : ndarray, shape (tile, j, i), in m
        Depth of the sea floor, positive; 0 on land. MITgcm ``Depth``.
    rf : ndarray, shape (k + 1,), in m
        Heights of the level interfaces, 0 at the surface and negative below. MITgcm ``RF``.
    drf : ndarray, shape (k,), in m
        Level thicknesses. MITgcm ``DRF``.

    Returns
    -------
    ndarray of float32, shape (k, tile, j, i)
        Between 0 and 1; exactly 0 where less than one part in a million is open.

    Raises
    ------
    GridMismatch
        If `rf` is not one longer than `drf`.

    Notes
    -----
    ``hFacC[k] = clip((Depth + RF[k]) / DRF[k], 0, 1)``, in float64 one level at a time so that
    no float64 volume is ever held. MITgcm has rounded ``Depth`` to its own smallest partial cell
    already, so the fractions never come out below that.
    """
    if rf.shape != (drf.size + 1,):
        raise GridMismatch(
            f"RF has shape {rf.shape}, expected ({drf.size + 1},): one interface more than the"
            f" {drf.size} levels of DRF; pass both from the same run",
            code="ShapeMismatch",
        )
    fraction = np.empty((drf.size, *depth.shape), np.float32)
    for k, (top, thickness) in enumerate(zip(rf[:-1], drf, strict=True)):
        level = np.clip((depth + top) / thickness, 0.0, 1.0)
        level[level < SMALLEST_FRACTION] = 0.0
        fraction[k] = level
    return fraction


def face_fractions(
    hfac_c: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Open fractions of the cells' west and south edges.

    Parameters
    ----------
    hfac_c : ndarray, shape (..., 13, L, L)
        Open fraction of the cells.

    Returns
    -------
    hfac_w, hfac_s : ndarray, shape (..., 13, L, L)
        The smaller of the two fractions that meet at an edge, across tile edges too; 0 at a
        closed edge. Same dtype as `hfac_c`.
    """
    return (
        np.minimum(hfac_c, left_values(hfac_c)),
        np.minimum(hfac_c, lower_values(hfac_c)),
    )


@dataclass(frozen=True)
class CornerBounds:
    """The four corners of every cell: lower-left, lower-right, upper-right, upper-left.

    Attributes
    ----------
    longitude, latitude : ndarray of float64, shape (13, L, L, 4), degrees
    completed : ndarray of bool, shape (13, L, L)
        Cells with at least one corner that no tile owns, so that it had to be constructed:
        2 L on closed edges, one at tile 3's lower-right corner, three at the cap vertex.
    """

    longitude: NDArray[np.float64]
    latitude: NDArray[np.float64]
    completed: NDArray[np.bool_]


#: Tiles that meet at the one cap vertex that is no tile's lower-left corner. It is the
#: upper-left corner of each.
_VERTEX_TILES = (2, 6, 10)
_CAP_TILE = 6


def corner_bounds(
    xc: NDArray[np.float64],
    yc: NDArray[np.float64],
    xg: NDArray[np.float64],
    yg: NDArray[np.float64],
) -> CornerBounds:
    """Corners of every cell from cell centres and lower-left corners.

    Parameters
    ----------
    xc, yc : ndarray, shape (13, L, L), degrees
        Longitude and latitude of the cell centres.
    xg, yg : ndarray, shape (13, L, L), degrees
        Longitude and latitude of the cells' lower-left corners.

    Returns
    -------
    CornerBounds
        Corners that some tile owns are copied bit for bit.

    Raises
    ------
    GridMismatch
        If an array is not tiled.

    Notes
    -----
    Corners come from the neighbours in two passes (`corner_points`). No tile owns the vertex
    that tiles 2, 6 and 10 share; the cap's vertices form a rectangle, so it is
    ``p(L, 0) = p(0, 0) + p(L, L) - p(0, L)`` of tile 6 as unit vectors, which on LLC90 gives
    38.0° W, 67.5° N. The few corners left lie on closed edges, on land; each is the opposite
    corner mirrored through the cell's centre on the unit sphere.
    """
    longitude, latitude = corner_points(xg), corner_points(yg)
    unowned = _cell_corners(np.isnan(longitude))
    vertex_lon, vertex_lat = _cap_vertex(longitude[_CAP_TILE], latitude[_CAP_TILE])
    for tile in _VERTEX_TILES:
        longitude[tile, -1, 0], latitude[tile, -1, 0] = vertex_lon, vertex_lat

    lon, lat = _cell_corners(longitude), _cell_corners(latitude)
    for corner in range(4):
        lost = np.isnan(lon[..., corner])
        opposite = (corner + 2) % 4
        centre = xyz_from_lonlat(xc[lost], yc[lost])
        across = xyz_from_lonlat(lon[lost, opposite], lat[lost, opposite])
        mirrored = 2.0 * (centre * across).sum(axis=0) * centre - across
        lon[lost, corner], lat[lost, corner] = lonlat_from_xyz(mirrored)
    return CornerBounds(lon, lat, unowned.any(axis=-1))


def _cell_corners(points: NDArray[Any]) -> NDArray[Any]:
    """(13, L + 1, L + 1) points as (13, L, L, 4): lower-left, then counter-clockwise."""
    return np.stack(
        [points[:, :-1, :-1], points[:, :-1, 1:], points[:, 1:, 1:], points[:, 1:, :-1]], axis=-1
    )


def _cap_vertex(longitude: NDArray[np.float64], latitude: NDArray[np.float64]) -> tuple[Any, Any]:
    """Upper-left vertex of the cap (degrees) as the fourth vertex of a rectangle."""
    first, opposite, last = (
        xyz_from_lonlat(longitude[at], latitude[at]) for at in ((0, 0), (0, -1), (-1, -1))
    )
    return lonlat_from_xyz(first + last - opposite)


def canonical_fields(fields: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
    """Grid fields under MITgcm's names, tiled, in float64, with shapes that agree.

    Parameters
    ----------
    fields : mapping of str to ndarray
        The `REQUIRED_FIELDS`, under those names or their `ALIASES`. Horizontal fields in compact
        layout ``(13 L, L)`` or as tiles ``(13, L, L)``; profiles with any number of axes of
        length 1. Other names are ignored.

    Returns
    -------
    dict of str to ndarray of float64
        Horizontal fields ``(13, L, L)``; ``RC`` and ``DRF`` ``(k,)``; ``RF`` ``(k + 1,)``.

    Raises
    ------
    InputMissing
        Code ``MissingGridField``, naming every field that is absent.
    GridMismatch
        Code ``ShapeMismatch``, naming the first field that does not fit the others.
    """
    named = _without_aliases(fields)
    absent = [name for name in REQUIRED_FIELDS if name not in named]
    if absent:
        others = {mitgcm: published for published, mitgcm in ALIASES.items()}
        listed = ", ".join(f"{n} (or {others[n]})" if n in others else n for n in absent)
        raise InputMissing(
            f"the grid lacks {listed}; found {', '.join(sorted(named)) or 'no field'}. Nothing"
            " stands in for these: put their files beside the others of the same run",
            code="MissingGridField",
        )
    found: dict[str, NDArray[np.float64]] = {}
    for name in HORIZONTAL_FIELDS:
        tiles = _tiled(name, named[name], axes=3)
        _require_shape(name, tiles, found["XC"].shape if "XC" in found else tiles.shape, "XC")
        found[name] = tiles.astype(np.float64)
    levels = np.size(named["DRF"])
    for name, size in (("RC", levels), ("RF", levels + 1), ("DRF", levels)):
        profile = np.asarray(named[name], np.float64).ravel()
        _require_shape(name, profile, (size,), "DRF")
        found[name] = profile
    return found


def _without_aliases(fields: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Prefer MITgcm's own name where a field comes under both."""
    renamed = {ALIASES[name]: field for name, field in fields.items() if name in ALIASES}
    return renamed | {name: field for name, field in fields.items() if name not in ALIASES}


def _tiled(name: str, field: NDArray[Any], *, axes: int) -> NDArray[Any]:
    try:
        tiles = as_tiles(np.asarray(field))
    except GridMismatch:
        tiles = None
    if tiles is None or tiles.ndim != axes:
        lead = "k, " * (axes - 3)
        raise GridMismatch(
            f"grid field {name} has shape {np.shape(field)}, expected ({lead}13 L, L) or"
            f" ({lead}13, L, L); read it again with the dimensions of its .meta file",
            code="ShapeMismatch",
        )
    return tiles


def _require_shape(
    name: str, field: NDArray[Any], expected: tuple[int, ...], standard: str
) -> None:
    if field.shape != expected:
        raise GridMismatch(
            f"grid field {name} has shape {field.shape}, expected {expected} as {standard} has;"
            " take all grid fields from one run",
            code="ShapeMismatch",
        )


def grid_dataset(fields: Mapping[str, NDArray[Any]], *, source: str = "") -> "xr.Dataset":
    """Gather the whole grid in one dataset under the names that ECCO publishes.

    Parameters
    ----------
    fields : mapping of str to ndarray
        As for `canonical_fields`; also ``hFacC``, ``hFacW``, ``hFacS`` (1) if the model's own
        fractions are at hand, in compact layout ``(k, 13 L, L)`` or as tiles ``(k, 13, L, L)``.
    source : str, default ""
        Where the fields come from; becomes the attribute of that name.

    Returns
    -------
    xarray.Dataset
        Geometry in float64, open fractions in float32, wet masks as bool. Attributes: `side`
        (L), `wet_mask_source` ("hFacC files", or "Depth and RF" where the fractions were
        derived), `completed_corners` (cells with a corner that no tile owns), `source`.

    Raises
    ------
    InputMissing
        Code ``MissingGridField``, naming every field that is absent.
    GridMismatch
        Code ``ShapeMismatch``, naming the first field that does not fit the others.

    Notes
    -----
    ``Z_bnds`` are sums of ``drF``, top first. Edge fractions that are not given are the smaller
    of the two cells' that meet there.
    """
    import xarray as xr  # a second and a half, which who only reads field names should not wait for

    raw = canonical_fields(fields)
    side, levels = raw["XC"].shape[-1], raw["DRF"].size
    hfac_c, hfac_w, hfac_s, wet_mask_source = _fractions(fields, raw)
    bounds = corner_bounds(raw["XC"], raw["YC"], raw["XG"], raw["YG"])
    bottoms = -np.cumsum(raw["DRF"])
    tops = np.concatenate([[0.0], bottoms[:-1]])
    arrays: dict[str, NDArray[Any]] = {
        "XC": raw["XC"],
        "YC": raw["YC"],
        "XG": raw["XG"],
        "YG": raw["YG"],
        "XC_bnds": bounds.longitude,
        "YC_bnds": bounds.latitude,
        "Z": raw["RC"],
        "Zu": raw["RF"][1:],
        "Zl": raw["RF"][:-1],
        "Zp1": raw["RF"],
        "Z_bnds": np.stack([tops, bottoms], axis=-1),
        "drF": raw["DRF"],
        "rA": raw["RAC"],
        "dxG": raw["DXG"],
        "dyG": raw["DYG"],
        "Depth": raw["Depth"],
        "CS": raw["AngleCS"],
        "SN": raw["AngleSN"],
        "hFacC": hfac_c,
        "hFacW": hfac_w,
        "hFacS": hfac_s,
        "maskC": hfac_c > 0,
        "maskW": hfac_w > 0,
        "maskS": hfac_s > 0,
    }
    variables = {
        name: (_DIMENSIONS[name], array, _ATTRIBUTES[name]) for name, array in arrays.items()
    }
    sizes = {"tile": N_TILES, "k": levels, "k_u": levels, "k_l": levels, "k_p1": levels + 1}
    sizes |= dict.fromkeys(("i", "j", "i_g", "j_g"), side)
    return xr.Dataset(
        {name: variables[name] for name in arrays if name not in _COORDINATES},
        coords={name: (name, np.arange(size, dtype=np.int32)) for name, size in sizes.items()}
        | {name: variables[name] for name in _COORDINATES},
        attrs={
            "side": side,
            "wet_mask_source": wet_mask_source,
            "completed_corners": int(bounds.completed.sum()),
            "source": source,
        },
    )


def _fractions(
    fields: Mapping[str, NDArray[Any]], raw: Mapping[str, NDArray[np.float64]]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], str]:
    """hFacC, hFacW, hFacS and where they come from."""
    shape = (raw["DRF"].size, *raw["XC"].shape)
    given: dict[str, NDArray[np.float32]] = {}
    for name in OPTIONAL_FIELDS:
        if name in fields:
            tiles = _tiled(name, fields[name], axes=4)
            _require_shape(name, tiles, shape, "DRF by XC")
            given[name] = tiles.astype(np.float32)
    if "hFacC" in given:
        hfac_c, origin = given["hFacC"], "hFacC files"
    else:
        hfac_c, origin = hfac_from_depth(raw["Depth"], raw["RF"], raw["DRF"]), "Depth and RF"
    hfac_w, hfac_s = face_fractions(hfac_c)
    return hfac_c, given.get("hFacW", hfac_w), given.get("hFacS", hfac_s), origin


_T = ("tile", "j", "i")
_U = ("tile", "j", "i_g")
_V = ("tile", "j_g", "i")
_G = ("tile", "j_g", "i_g")

_COORDINATES = (*_POSITIONS, "XC_bnds", "YC_bnds", "Z", "Zu", "Zl", "Zp1", "Z_bnds")

#: Variable -> dimensions, long name, units.
_VARIABLES: dict[str, tuple[tuple[str, ...], str, str]] = {
    "XC": (_T, "longitude of the cell centre", "degrees_east"),
    "YC": (_T, "latitude of the cell centre", "degrees_north"),
    "XG": (_G, "longitude of the lower-left corner", "degrees_east"),
    "YG": (_G, "latitude of the lower-left corner", "degrees_north"),
    "XC_bnds": ((*_T, "nb"), "longitudes of the cell corners", "degrees_east"),
    "YC_bnds": ((*_T, "nb"), "latitudes of the cell corners", "degrees_north"),
    "Z": (("k",), "height of the cell centre", "m"),
    "Zu": (("k_u",), "height of the bottom of the cell", "m"),
    "Zl": (("k_l",), "height of the top of the cell", "m"),
    "Zp1": (("k_p1",), "height of the level interfaces", "m"),
    "Z_bnds": (("k", "nv"), "heights of the top and bottom of the cell", "m"),
    "drF": (("k",), "thickness of the level", "m"),
    "rA": (_T, "horizontal area of the cell", "m2"),
    "dxG": (_V, "length of the lower (south) edge", "m"),
    "dyG": (_U, "length of the left (west) edge", "m"),
    "Depth": (_T, "depth of the sea floor, 0 on land", "m"),
    "CS": (_T, "cosine of the angle from east to the i axis", "1"),
    "SN": (_T, "sine of the angle from east to the i axis", "1"),
    "hFacC": (("k", *_T), "open fraction of the cell", "1"),
    "hFacW": (("k", *_U), "open fraction of the left (west) edge", "1"),
    "hFacS": (("k", *_V), "open fraction of the lower (south) edge", "1"),
    "maskC": (("k", *_T), "wet mask of the cells", "1"),
    "maskW": (("k", *_U), "wet mask of the left (west) edges", "1"),
    "maskS": (("k", *_V), "wet mask of the lower (south) edges", "1"),
}
_DIMENSIONS = {name: entry[0] for name, entry in _VARIABLES.items()}
_ATTRIBUTES = {name: {"long_name": e[1], "units": e[2]} for name, e in _VARIABLES.items()}
