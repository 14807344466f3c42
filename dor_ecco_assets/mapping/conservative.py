"""Overlaps of source cells with the pixels of Web Mercator, by clipping in the map's plane.

Edges of cells are drawn with one point between their ends, which neighbours share exactly, and
straight on the map between these, so that the area of a piece is a closed form. Importing this
module imports numba, so it is imported where it is used.
"""

import math

import numba
import numpy as np
from numpy.typing import NDArray

from dor_ecco_assets.grids.llc_geometry import lonlat_from_xyz
from dor_ecco_assets.mapping.cells import unit_vectors

__all__ = [
    "Outlines",
    "Triplets",
    "cells_at_centres",
    "outlines",
    "overlaps",
    "with_middles",
]

type Floats = NDArray[np.float64]
#: Pixel, source cell and weight of every entry, in any order.
type Triplets = tuple[NDArray[np.int32], NDArray[np.int32], Floats]
#: Outlines x and y (parts of the map's side, from the north-west), unwrapped in x, and by how
#: much they fail to close.
type Outlines = tuple[Floats, Floats, Floats]

#: Latitudes are cut here, well beyond the map's edge at 85.05 degrees.
_LARGEST_LATITUDE = 89.9
#: Latitudes that differ by less are one parallel, degrees.
_SAME_LATITUDE = 1e-9
#: Pieces below this part of a pixel are rounding.
_SMALLEST = 1e-13
#: Half heights (of the plane, in radians) below which the series of `_mean_sine` is exact.
_SERIES = 0.02


def with_middles(lon: Floats, lat: Floats) -> tuple[Floats, Floats]:
    """Corners of cells and, behind each, the middle of the edge that starts there.

    Parameters
    ----------
    lon, lat : ndarray of float64, shape (n_cells, 4), degrees
        Corners in order, either way round.

    Returns
    -------
    lon, lat : ndarray of float64, shape (n_cells, 8), degrees

    Notes
    -----
    An edge between equal latitudes follows their parallel, as regular grids and the sectors of
    others do; the middle of any other edge is that of the great circle's arc.
    """
    points = unit_vectors(lon, lat)
    middle_lon, middle_lat = lonlat_from_xyz(
        np.moveaxis(points + np.roll(points, -1, axis=1), -1, 0)
    )
    level = np.abs(lat - np.roll(lat, -1, axis=1)) < _SAME_LATITUDE
    middle_lat = np.where(level, lat, middle_lat)
    shape = (len(lon), 2 * lon.shape[1])
    return (
        np.stack([lon, middle_lon], axis=-1).reshape(shape),
        np.stack([lat, middle_lat], axis=-1).reshape(shape),
    )


def outlines(lon: Floats, lat: Floats) -> Outlines:
    """Polygons on the map.

    Parameters
    ----------
    lon, lat : ndarray of float64, shape (n_cells, m), degrees
        Vertices in order, either way round.

    Returns
    -------
    x, y : ndarray of float64, shape (n_cells, m)
        In parts of the map's side from the north-west. Every step takes the shorter way round,
        so x may leave 0 to 1.
    turn : ndarray of float64, shape (n_cells,)
        1 or -1 for a polygon around a pole, else about 0.
    """
    x = (lon + 180.0) / 360.0
    steps = np.diff(x, axis=1, append=x[:, :1])
    steps -= np.round(steps)
    x = np.concatenate([x[:, :1], x[:, :1] + np.cumsum(steps[:, :-1], axis=1)], axis=1)
    phi = np.deg2rad(np.clip(lat, -_LARGEST_LATITUDE, _LARGEST_LATITUDE))
    return x, 0.5 - np.arctanh(np.sin(phi)) / (2 * np.pi), steps.sum(axis=1)


def overlaps(outline: Outlines, n: int) -> Triplets:
    """Area that every cell has in every pixel.

    Parameters
    ----------
    outline : tuple
        From `outlines`.
    n : int

    Returns
    -------
    pixel, cell : ndarray of int32
        A cell around a pole may have two pieces in one pixel.
    area : ndarray of float64, steradian
    """
    x, y, turn = outline
    north, south = (np.clip(e, 0, n) for e in (y.min(axis=1) * n, y.max(axis=1) * n))
    tall = np.ceil(south) - np.floor(north)
    around = np.abs(turn) > 0.5
    tall[around] = n
    wide = np.where(around, n + 1, np.ceil((x.max(axis=1) - x.min(axis=1)) * n) + 1)
    most = int((tall * wide).sum())
    pixel, cell = np.empty(most, np.int32), np.empty(most, np.int32)
    area = np.empty(most, np.float64)
    used = _overlaps(x, y, turn, n, pixel, cell, area)
    return pixel[:used], cell[:used], area[:used]


def cells_at_centres(outline: Outlines, n: int, taken: NDArray[np.bool_]) -> Triplets:
    """The cell in which the centre of each pixel lies, where the pixel is not taken yet.

    Parameters
    ----------
    outline : tuple
        From `outlines`.
    n : int
    taken : ndarray of bool, shape (n * n,)
        Set where a cell is found.

    Returns
    -------
    pixel, cell : ndarray of int32
    weight : ndarray of float64
        All 1.
    """
    free = int(np.count_nonzero(~taken))
    pixel, cell = np.empty(free, np.int32), np.empty(free, np.int32)
    used = _centres(*outline, n, taken, pixel, cell)
    return pixel[:used], cell[:used], np.ones(used)


@numba.njit(cache=True, nogil=True)
def _outline(x: Floats, y: Floats, turn: float, n: int, px: Floats, py: Floats) -> int:
    """Vertices of one cell in pixels; a cell around a pole is closed beyond the map's edge."""
    m = x.size
    for a in range(m):
        px[a], py[a] = x[a] * n, y[a] * n
    if abs(turn) < 0.5:
        return m
    beyond = -float(n) if y[0] < 0.5 else 2.0 * n
    px[m], py[m] = px[0] + turn * n, py[0]
    px[m + 1], py[m + 1] = px[m], beyond
    px[m + 2], py[m + 2] = px[0], beyond
    return m + 3


@numba.njit(cache=True, nogil=True)
def _cut(u: Floats, v: Floats, m: int, at: float, side: float, ou: Floats, ov: Floats) -> int:
    """Part of a polygon where ``side * (u - at) >= 0``; `m` vertices in, as many as given out."""
    k = 0
    for a in range(m):
        b = a + 1 if a + 1 < m else 0
        da, db = side * (u[a] - at), side * (u[b] - at)
        if da >= 0.0:
            ou[k], ov[k] = u[a], v[a]
            k += 1
        if (da >= 0.0) != (db >= 0.0):
            ou[k], ov[k] = at, v[a] + da / (da - db) * (v[b] - v[a])
            k += 1
    return k


@numba.njit(cache=True, nogil=True)
def _mean_sine(a: float, b: float) -> float:
    """Mean of sin(latitude) along a straight edge between two heights of the plane, radians.

    It is the mean of tanh, ``log(cosh b / cosh a) / (b - a)``, written so that neither a short
    nor a level edge loses digits.
    """
    t, d = math.tanh(0.5 * (a + b)), 0.5 * (b - a)
    if abs(d) > _SERIES:
        return math.atanh(t * math.tanh(d)) / d
    dd = d * d
    r = 1.0 - dd * (1.0 / 3.0 - dd * (2.0 / 15.0 - dd * (17.0 / 315.0)))
    zz = t * t * r * r * dd
    return t * r * (1.0 + zz * (1.0 / 3.0 + zz * (0.2 + zz / 7.0)))


@numba.njit(cache=True, nogil=True)
def _area(px: Floats, py: Floats, m: int, scale: float) -> float:
    """Area on the unit sphere: the integral of sin(latitude) along the outline."""
    total = 0.0
    for a in range(m):
        b = a + 1 if a + 1 < m else 0
        dx = px[b] - px[a]
        if dx != 0.0:
            total += dx * _mean_sine(math.pi - scale * py[a], math.pi - scale * py[b])
    return abs(total) * scale


@numba.njit(cache=True, nogil=True)
def _overlaps(
    x: Floats,
    y: Floats,
    turn: Floats,
    n: int,
    pixel: NDArray[np.int32],
    cell: NDArray[np.int32],
    area: Floats,
) -> int:
    scale, k = 2.0 * math.pi / n, 0
    # A cut adds at most one vertex to a convex polygon, and one per dent to another.
    px, py, qx, qy = np.empty(64), np.empty(64), np.empty(64), np.empty(64)
    rx, ry, sx, sy = np.empty(64), np.empty(64), np.empty(64), np.empty(64)
    for c in range(x.shape[0]):
        m = _outline(x[c], y[c], turn[c], n, px, py)
        low, high = py[:m].min(), py[:m].max()
        for j in range(max(0, math.floor(low)), min(n, math.ceil(high))):
            h = _cut(py, px, m, float(j), 1.0, qy, qx)
            h = _cut(qy, qx, h, j + 1.0, -1.0, ry, rx)
            if h < 3:
                continue
            row_area = _SMALLEST * scale * scale / math.cosh(math.pi - scale * (j + 0.5)) ** 2
            west, east = math.floor(rx[:h].min()), math.ceil(rx[:h].max())
            for i in range(west, east):
                if east - west == 1:
                    piece = _area(rx, ry, h, scale)
                else:
                    g = _cut(rx, ry, h, float(i), 1.0, qx, qy)
                    g = _cut(qx, qy, g, i + 1.0, -1.0, sx, sy)
                    piece = _area(sx, sy, g, scale)
                if piece > row_area:
                    pixel[k], cell[k], area[k] = j * n + i % n, c, piece
                    k += 1
    return k


@numba.njit(cache=True, nogil=True)
def _centres(
    x: Floats,
    y: Floats,
    turn: Floats,
    n: int,
    taken: NDArray[np.bool_],
    pixel: NDArray[np.int32],
    cell: NDArray[np.int32],
) -> int:
    px, py, k = np.empty(16), np.empty(16), 0
    for c in range(x.shape[0]):
        m = _outline(x[c], y[c], turn[c], n, px, py)
        low, high = py[:m].min(), py[:m].max()
        west, east = math.floor(px[:m].min()), math.ceil(px[:m].max())
        for j in range(max(0, math.floor(low)), min(n, math.ceil(high))):
            for i in range(west, east):
                p = j * n + i % n
                if taken[p]:
                    continue
                inside = False
                for a in range(m):
                    b = a + 1 if a + 1 < m else 0
                    above, below = py[a] > j + 0.5, py[b] > j + 0.5
                    if above != below:
                        at = px[a] + (j + 0.5 - py[a]) / (py[b] - py[a]) * (px[b] - px[a])
                        inside ^= at > i + 0.5
                if inside:
                    taken[p] = True
                    pixel[k], cell[k] = p, c
                    k += 1
    return k
