"""Cells of a curvilinear source grid: what weights need of it, and which cells meet where.

Two layouts are known: one array (j, i), cyclic in i or not, its last row folded onto itself or
not, and the 13 tiles of a lat-lon-cap grid (13, L, L) with their seams and cap. Corners run
lower-left, lower-right, upper-right, upper-left, as the array's axes do.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dor_ecco_assets.errors import GridMismatch
from dor_ecco_assets.grids.llc import N_TILES, corner_points
from dor_ecco_assets.grids.llc_geometry import lonlat_from_xyz, xyz_from_lonlat

__all__ = [
    "Points",
    "SourceCells",
    "cell_vertices",
    "complete_corners",
    "require_cells",
    "source_cells",
    "source_hashes",
    "unit_vectors",
]

#: Where the values lie: at cell centres, or (to repeat published images) at the U points.
Points = Literal["T", "U"]

#: Tiles whose upper-left corner is the one vertex of the cap that is no tile's lower-left corner.
_CAP_VERTEX_TILES = (2, 6, 10)

#: Cells are neighbours where they are at most this many times as far apart as their likes, at
#: most places of the edge they share.
_GAP, _MOST = 1.5, 0.8

#: Rounds of extrapolation from known corners to unknown ones; each reaches one cell further.
_ROUNDS = 4


@dataclass(frozen=True, eq=False)
class SourceCells:
    """Cells of a source grid.

    Parameters
    ----------
    lon, lat : ndarray of float64, shape (j, i) or (13, L, L), degrees
        NaN where the model leaves a land point undefined.
    corner_lon, corner_lat : ndarray of float64, shape (*lon.shape, 4), degrees, or None
        NaN where they are unknown.
    wet : ndarray of bool, shape of `lon`
    """

    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    corner_lon: NDArray[np.float64] | None
    corner_lat: NDArray[np.float64] | None
    wet: NDArray[np.bool_]


def source_cells(
    grid: xr.Dataset, *, points: Points = "T", wet: NDArray[np.bool_] | None = None
) -> SourceCells:
    """Cells of a grid as the grid products give it.

    Parameters
    ----------
    grid : Dataset
        Of a POP grid, the lat-lon-cap grid or a regular one.
    points : {"T", "U"}, default "T"
        ``U`` takes a POP grid's U points for the places of its T values, as the published atlas
        does: everything is then half a cell off.
    wet : ndarray of bool, optional
        Ocean mask of the top level; the grid's own if not given, all ocean where it has none.

    Raises
    ------
    GridMismatch
        Code ``GridUnknown``: the dataset is none of these grids, or has no U points.
    """
    if "TLAT" in grid and points == "U":
        lon, lat, corners = grid["ULONG"].values, grid["ULAT"].values, (None, None)
        own = grid["wet"].values & np.isfinite(lon) & np.isfinite(lat)
    elif "TLAT" in grid:
        lon, lat = grid["TLONG"].values, grid["TLAT"].values
        corners, own = (grid["corner_lon"].values, grid["corner_lat"].values), grid["wet"].values
    elif "XC_bnds" in grid and points == "T":
        lon, lat = grid["XC"].values, grid["YC"].values
        corners = (grid["XC_bnds"].values, grid["YC_bnds"].values)
        own = grid["maskC"].values[0]
    elif "longitude_bnds" in grid and points == "T":
        lon, lat = np.meshgrid(grid["longitude"].values, grid["latitude"].values)
        # Lower-left, lower-right, upper-right, upper-left of every cell.
        east, north = np.array([0, 1, 1, 0]), np.array([0, 0, 1, 1])
        lon_edges = grid["longitude_bnds"].values[None, :, east]
        lat_edges = grid["latitude_bnds"].values[:, None, north]
        corners = tuple(np.broadcast_to(e, (*lon.shape, 4)) for e in (lon_edges, lat_edges))
        own = np.ones(lon.shape, np.bool_)
    else:
        raise GridMismatch(
            f"a dataset of {', '.join(map(str, grid.variables))} is no source of weights at"
            f" {points} points; expected a POP grid, the lat-lon-cap grid or a regular one as"
            " grids/ makes them",
            code="GridUnknown",
        )
    cells = SourceCells(lon, lat, corners[0], corners[1], own if wet is None else wet)
    require_cells(cells)
    return cells


def require_cells(cells: SourceCells) -> None:
    """Refuse arrays that are no grid.

    Raises
    ------
    GridMismatch
        Codes ``ShapeMismatch``, ``CoordinatesNotFinite`` (a wet cell without coordinates) or
        ``LatitudeOutOfRange``.
    """
    shape = cells.lon.shape
    laid_out = len(shape) == 2 or (len(shape) == 3 and shape == (N_TILES, shape[2], shape[2]))
    corners = (cells.corner_lon, cells.corner_lat)
    fits = cells.lat.shape == cells.wet.shape == shape and cells.wet.dtype == np.bool_
    if (corners[0] is None) != (corners[1] is None):
        fits = False
    if not laid_out or not fits or any(c is not None and c.shape != (*shape, 4) for c in corners):
        given = ", ".join("none" if c is None else str(c.shape) for c in corners)
        raise GridMismatch(
            f"lon {shape}, lat {cells.lat.shape}, corners {given} and wet {cells.wet.dtype}"
            f" {cells.wet.shape} are no source grid; expected (j, i) or (13, L, L), four corners"
            " of every cell or none, and a bool mask",
            code="ShapeMismatch",
        )
    lost = cells.wet & ~(np.isfinite(cells.lon) & np.isfinite(cells.lat))
    if lost.any():
        raise GridMismatch(
            f"{np.count_nonzero(lost)} wet cells have no coordinates, the first at"
            f" {tuple(map(int, np.argwhere(lost)[0]))}; take them from a grid file",
            code="CoordinatesNotFinite",
        )
    for name, array in (("lat", cells.lat), ("corner_lat", cells.corner_lat)):
        if array is not None and np.nanmax(np.abs(array), initial=0.0) > 90.0 + 1e-9:
            raise GridMismatch(
                f"{name} reaches {np.nanmax(np.abs(array))}, expected -90 to 90 degrees",
                code="LatitudeOutOfRange",
            )


def source_hashes(cells: SourceCells) -> dict[str, str]:
    """SHA-256 of coordinates as little-endian float64 and of the mask as one byte per cell."""
    arrays: dict[str, Any] = {
        "lon": cells.lon,
        "lat": cells.lat,
        "corner_lon": cells.corner_lon,
        "corner_lat": cells.corner_lat,
    }
    found = {
        name: hashlib.sha256(np.ascontiguousarray(array, "<f8").data).hexdigest()
        for name, array in arrays.items()
        if array is not None
    }
    return found | {"wet": hashlib.sha256(np.ascontiguousarray(cells.wet).data).hexdigest()}


def unit_vectors(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points on the unit sphere, shape (..., 3)."""
    return np.moveaxis(xyz_from_lonlat(lon, lat), 0, -1)


def cell_vertices(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.int64]:
    """Number the points where cells meet.

    Parameters
    ----------
    lon, lat : ndarray of float64, shape (j, i) or (13, L, L), degrees

    Returns
    -------
    ndarray of int64, shape (*lon.shape, 4)
        The vertex at each corner; cells that share a corner have the same number there, across
        the cyclic edge, tile seams and the cap's vertices too.
    """
    if lon.ndim == 2:
        rows, columns = lon.shape
        points = unit_vectors(lon, lat)
        around = columns if _is_cyclic(points) else columns + 1
        i = np.arange(columns + 1) % around
        lattice = np.arange(rows + 1)[:, None] * around + i
        if _is_folded(points):
            lattice[-1] = np.minimum(lattice[-1], lattice[-1, ::-1])
        lattice = lattice[None]
    else:
        # Whole numbers travel to the neighbours as corner coordinates do.
        owned = corner_points(np.arange(lon.size, dtype=np.float64).reshape(lon.shape))
        lost = np.isnan(owned)
        owned[lost] = lon.size + 1 + np.arange(np.count_nonzero(lost))
        for tile in _CAP_VERTEX_TILES:
            owned[tile, -1, 0] = lon.size
        lattice = owned.astype(np.int64)
    corners = [lattice[:, :-1, :-1], lattice[:, :-1, 1:], lattice[:, 1:, 1:], lattice[:, 1:, :-1]]
    return np.stack(corners, axis=-1).reshape(*lon.shape, 4)


def _is_cyclic(points: NDArray[np.float64]) -> bool:
    """Whether the last column lies beside the first one, as the columns in between do."""
    gaps = _distances(points, np.roll(points, 1, axis=1))
    known = np.isfinite(gaps[:, 0]) & np.isfinite(gaps[:, 1:]).any(axis=1)
    if points.shape[1] < 3 or not known.any():
        return False
    usual = np.nanmedian(gaps[known, 1:], axis=1)
    return bool(np.mean(gaps[known, 0] < _GAP * usual) > _MOST)


def _is_folded(points: NDArray[np.float64]) -> bool:
    """Whether the last row, folded in its middle, meets itself, as on grids with three poles."""
    if len(points) < 2:
        return False
    gaps, usual = _distances(points[-1], points[-1, ::-1]), _distances(points[-1], points[-2])
    known = np.isfinite(gaps) & np.isfinite(usual)
    return bool(known.any() and np.mean(gaps[known] < _GAP * usual[known]) > _MOST)


def _distances(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.linalg.norm(a - b, axis=-1)


def complete_corners(cells: SourceCells) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Corners of every cell, those that are unknown worked out from the points around them.

    Parameters
    ----------
    cells : SourceCells

    Returns
    -------
    lon, lat : ndarray of float64, shape (*cells.lon.shape, 4), degrees
        Known corners keep their bits. NaN is left on land alone.

    Raises
    ------
    GridMismatch
        Code ``CornersMissing``: a wet cell has too few neighbours with coordinates.

    Notes
    -----
    An unknown corner is that of a neighbour that knows it; else, where all cells around it have
    coordinates, the mean direction of their points; else the mean of what the cells around it
    give by mirroring their opposite corner in their own point, which is exact on a plane lattice.
    """
    shape = (*cells.lon.shape, 4)
    if cells.corner_lon is None or cells.corner_lat is None:
        corner_lon, corner_lat = np.full(shape, np.nan), np.full(shape, np.nan)
    else:
        corner_lon, corner_lat = cells.corner_lon, cells.corner_lat
    known = np.isfinite(corner_lon) & np.isfinite(corner_lat)
    if known[cells.wet].all():
        return corner_lon, corner_lat
    vertices = cell_vertices(cells.lon, cells.lat).reshape(-1, 4)
    points = unit_vectors(cells.lon, cells.lat).reshape(-1, 3)
    there = np.isfinite(points[:, 0])
    n_vertices = int(vertices.max()) + 1
    found = np.full((n_vertices, 3), np.nan)

    def mean_of(vertex: NDArray[np.int64], value: NDArray[np.float64]) -> NDArray[np.float64]:
        total = np.stack([np.bincount(vertex, v, n_vertices) for v in value.T], axis=-1)
        length = np.linalg.norm(total, axis=-1, keepdims=True)
        return np.divide(total, length, out=np.full_like(total, np.nan), where=length > 0)

    flat_known = known.reshape(-1, 4)
    given = unit_vectors(corner_lon[known], corner_lat[known])
    found[vertices[flat_known]] = given
    cells_around = np.bincount(vertices.ravel(), minlength=n_vertices)
    points_around = np.bincount(vertices[there].ravel(), minlength=n_vertices)
    whole = (cells_around >= 3) & (points_around == cells_around)
    means = mean_of(vertices[there].ravel(), np.repeat(points[there], 4, axis=0))
    take = np.isnan(found[:, 0]) & whole
    found[take] = means[take]
    for _ in range(_ROUNDS):
        opposite = found[vertices[:, [2, 3, 0, 1]]]
        along = np.sum(opposite * points[:, None], axis=-1, keepdims=True)
        mirrored = 2 * along * points[:, None] - opposite
        use = np.isfinite(mirrored[..., 0])
        means = mean_of(vertices[use], mirrored[use])
        take = np.isnan(found[:, 0]) & np.isfinite(means[:, 0])
        if not take.any():
            break
        found[take] = means[take]
    lon, lat = lonlat_from_xyz(np.moveaxis(found[vertices].reshape(*shape, 3), -1, 0))
    lon, lat = np.where(known, corner_lon, lon), np.where(known, corner_lat, lat)
    lost = cells.wet & ~np.isfinite(lon).all(axis=-1)
    if lost.any():
        raise GridMismatch(
            f"{np.count_nonzero(lost)} wet cells have corners that nothing around them gives, the"
            f" first at {tuple(map(int, np.argwhere(lost)[0]))}; take the corners from a grid file",
            code="CornersMissing",
        )
    return lon, lat
