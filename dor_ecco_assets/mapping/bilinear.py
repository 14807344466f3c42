"""Weights at the centres of Web Mercator's pixels, bilinear between the points of a source grid.

The points around every vertex of the grid form a quadrilateral, or a triangle where three cells
meet or one of four is undefined. All geometry is on the sphere and on planes that touch it at a
pixel's centre, so seams, poles and the date line are nothing special. Importing this module
imports numba, so it is imported where it is used.
"""

import math

import numba
import numpy as np
from numpy.typing import NDArray

from dor_ecco_assets.mapping.cells import SourceCells, cell_vertices, unit_vectors
from dor_ecco_assets.mapping.conservative import Outlines, Triplets, outlines

__all__ = ["Patches", "bilinear_weights", "patches_of"]

type Floats = NDArray[np.float64]
#: Points of every patch: flat cell indices in order around it, shape (n_patches, 4); of a
#: triangle the last is the third again.
type Patches = NDArray[np.int32]

#: Newton steps at most; from the middle of a convex patch 4 are usual.
_STEPS = 20


def patches_of(cells: SourceCells) -> Patches:
    """Patches between the points of a grid, those with at least one wet point.

    Parameters
    ----------
    cells : SourceCells

    Returns
    -------
    ndarray of int32, shape (n_patches, 4)
    """
    points = unit_vectors(cells.lon, cells.lat).reshape(-1, 3)
    wet = cells.wet.ravel()
    there = np.flatnonzero(np.isfinite(points[:, 0]))
    vertex = cell_vertices(cells.lon, cells.lat).reshape(-1, 4)[there].ravel()
    cell = np.repeat(there, 4)
    order = np.argsort(vertex, kind="stable")
    vertex, cell = vertex[order], cell[order]
    first = np.flatnonzero(np.diff(vertex, prepend=-1))
    size = np.diff(first, append=vertex.size)
    triangles = cell[first[size == 3, None] + np.array([0, 1, 2, 2])]
    squares = cell[first[size == 4, None] + np.arange(4)]
    squares = squares[wet[squares].any(axis=1)]
    return np.concatenate(
        [_in_order(points, squares), triangles[wet[triangles].any(axis=1)]]
    ).astype(np.int32)


def _in_order(points: Floats, squares: NDArray[np.int64]) -> NDArray[np.int64]:
    """Four points each, in order around their middle."""
    corners = points[squares]
    middle = corners.sum(axis=1)
    first = corners[:, 0] - middle / 4
    second = np.cross(middle, first)
    away = corners - middle[:, None] / 4
    x, y = (np.sum(away * axis[:, None], axis=-1) for axis in (first, second))
    # The second axis is longer than the first by the length of `middle`; the order is the same.
    order = np.argsort(np.arctan2(y, x), axis=1, kind="stable")
    return np.take_along_axis(squares, order, axis=1)


def bilinear_weights(
    cells: SourceCells, patches: Patches, n: int
) -> tuple[Triplets, NDArray[np.bool_]]:
    """Weights of the wet points at every pixel's centre.

    Parameters
    ----------
    cells : SourceCells
    patches : ndarray
        From `patches_of`.
    n : int
        Pixels a side.

    Returns
    -------
    triplets : tuple
        Pixel, flat source cell and weight; a pixel's weights fall short of 1 by what its dry
        points would have.
    taken : ndarray of bool, shape (n * n,)
        Pixels that lie in a patch.
    """
    points = unit_vectors(cells.lon, cells.lat).reshape(-1, 3)
    outline = outlines(cells.lon.ravel()[patches], cells.lat.ravel()[patches])
    taken = np.zeros(n * n, np.bool_)
    most = 4 * n * n
    pixel, cell, weight = np.empty(most, np.int32), np.empty(most, np.int32), np.empty(most)
    lam = np.deg2rad((np.arange(n) + 0.5) / n * 360.0 - 180.0)
    phi = np.arcsin(np.tanh(np.pi * (1.0 - 2.0 * (np.arange(n) + 0.5) / n)))
    columns = np.stack([np.cos(lam), np.sin(lam)], axis=-1)
    rows = np.stack([np.cos(phi), np.sin(phi)], axis=-1)
    used = _interpolate(
        points, cells.wet.ravel(), patches, outline, rows, columns, taken, pixel, cell, weight
    )
    return (pixel[:used].copy(), cell[:used].copy(), weight[:used].copy()), taken


@numba.njit(cache=True, nogil=True)
def _reach(t: Floats, s: int, y: Floats, turn: float, n: int) -> tuple[float, float]:
    """Smallest and largest y of a patch in pixels; its edges are arcs of great circles."""
    low, high = y.min() * n, y.max() * n
    for a in range(s):
        b = a + 1 if a + 1 < s else 0
        nx = t[a, 1] * t[b, 2] - t[a, 2] * t[b, 1]
        ny = t[a, 2] * t[b, 0] - t[a, 0] * t[b, 2]
        nz = t[a, 0] * t[b, 1] - t[a, 1] * t[b, 0]
        # The circle's northernmost point is (-nx nz, -ny nz, flat); going from a to b the way
        # round the axis (nx, ny, nz), heights rise before it and fall after it.
        flat = nx * nx + ny * ny
        if flat == 0.0:
            continue
        rise_a = t[a, 0] * ny - t[a, 1] * nx
        rise_b = t[b, 0] * ny - t[b, 1] * nx
        if rise_a * rise_b < 0.0:
            height = math.atanh(min(math.sqrt(flat / (flat + nz * nz)), 1.0 - 1e-12))
            apex = (1.0 - height / math.pi) * n / 2
            if t[a, 2] + t[b, 2] > 0.0:
                low = min(low, apex)
            else:
                high = max(high, n - apex)
    if abs(turn) > 0.5:
        if t[0, 2] > 0.0:
            low = -1.0
        else:
            high = n + 1.0
    return low, high


@numba.njit(cache=True, nogil=True)
def _inverse(g: Floats, w: Floats) -> None:
    """Bilinear weights of the origin inside the quadrilateral `g`, by Newton's method."""
    u, v = 0.5, 0.5
    for _ in range(_STEPS):
        ax, ay = g[1, 0] - g[0, 0], g[1, 1] - g[0, 1]
        bx, by = g[3, 0] - g[0, 0], g[3, 1] - g[0, 1]
        cx, cy = g[2, 0] - g[3, 0] - ax, g[2, 1] - g[3, 1] - ay
        fx = g[0, 0] + u * ax + v * bx + u * v * cx
        fy = g[0, 1] + u * ay + v * by + u * v * cy
        ux, uy, vx, vy = ax + v * cx, ay + v * cy, bx + u * cx, by + u * cy
        det = ux * vy - uy * vx
        if det == 0.0:
            break
        du, dv = (fx * vy - fy * vx) / det, (fy * ux - fx * uy) / det
        u, v = min(max(u - du, 0.0), 1.0), min(max(v - dv, 0.0), 1.0)
        if abs(du) + abs(dv) < 1e-14:
            break
    w[0], w[1], w[2], w[3] = (1 - u) * (1 - v), u * (1 - v), u * v, (1 - u) * v


@numba.njit(cache=True, nogil=True)
def _interpolate(
    points: Floats,
    wet: NDArray[np.bool_],
    patches: Patches,
    outline: Outlines,
    rows: Floats,
    columns: Floats,
    taken: NDArray[np.bool_],
    pixel: NDArray[np.int32],
    cell: NDArray[np.int32],
    weight: Floats,
) -> int:
    n, k = rows.shape[0], 0
    x, y, turn = outline
    t, normal, g, w = np.empty((4, 3)), np.empty((4, 3)), np.empty((4, 2)), np.empty(4)
    for q in range(patches.shape[0]):
        s = 3 if patches[q, 3] == patches[q, 2] else 4
        middle = np.zeros(3)
        for c in range(s):
            t[c] = points[patches[q, c]]
            middle += t[c]
        for a in range(s):
            b = a + 1 if a + 1 < s else 0
            normal[a, 0] = t[a, 1] * t[b, 2] - t[a, 2] * t[b, 1]
            normal[a, 1] = t[a, 2] * t[b, 0] - t[a, 0] * t[b, 2]
            normal[a, 2] = t[a, 0] * t[b, 1] - t[a, 1] * t[b, 0]
        sign = 0.0
        for a in range(s):
            for d in range(3):
                sign += normal[a, d] * middle[d]
        side = 1.0 if sign > 0.0 else -1.0
        low, high = _reach(t, s, y[q], turn[q], n)
        if abs(turn[q]) > 0.5:
            west, east = 0, n
        else:
            west, east = math.floor(x[q].min() * n - 0.5), math.ceil(x[q].max() * n + 0.5)
        for j in range(max(0, math.floor(low - 0.5)), min(n, math.ceil(high + 0.5))):
            for i in range(west, east):
                p = j * n + i % n
                if taken[p]:
                    continue
                cos_lon, sin_lon = columns[i % n, 0], columns[i % n, 1]
                cos_lat, sin_lat = rows[j, 0], rows[j, 1]
                px, py, pz = cos_lat * cos_lon, cos_lat * sin_lon, sin_lat
                inside = middle[0] * px + middle[1] * py + middle[2] * pz > 0.0
                for a in range(s):
                    w[a] = side * (normal[a, 0] * px + normal[a, 1] * py + normal[a, 2] * pz)
                    inside = inside and w[a] >= 0.0
                if not inside:
                    continue
                taken[p] = True
                for c in range(s):
                    up = t[c, 0] * px + t[c, 1] * py + t[c, 2] * pz
                    g[c, 0] = (t[c, 1] * cos_lon - t[c, 0] * sin_lon) / up
                    g[c, 1] = (
                        t[c, 2] * cos_lat - (t[c, 0] * cos_lon + t[c, 1] * sin_lon) * sin_lat
                    ) / up
                if s == 3:
                    # Weights are as the areas between the origin and the opposite edges.
                    total = 0.0
                    for c in range(3):
                        a, b = (c + 1) % 3, (c + 2) % 3
                        w[c] = abs(g[a, 0] * g[b, 1] - g[a, 1] * g[b, 0])
                        total += w[c]
                    for c in range(3):
                        w[c] /= total
                else:
                    _inverse(g, w)
                for c in range(s):
                    if w[c] > 0.0 and wet[patches[q, c]]:
                        pixel[k], cell[k], weight[k] = p, patches[q, c], w[c]
                        k += 1
    return k
