"""Outlines of polygons that are sets of grid cells, as GeoJSON that maps can draw.

Edges between a polygon's cells and all others are chained into rings with the cells on their left.
Rings are cut where they would cross ±180°, and a ring around a pole is closed along it.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["cell_outlines", "within_the_map"]

type Doubles = NDArray[np.float64]
type Node = tuple[int, int]

#: Vertices that lie closer than this to the line between others on a straight row are left out, °.
TOLERANCE_DEGREES = 0.02

#: Edges of a cell: neighbour (dj, di), and its corners at the start and the end, counterclockwise
#: from the south-west.
_EDGES = ((-1, 0, 0, 1), (0, 1, 1, 2), (1, 0, 2, 3), (0, -1, 3, 0))
#: Lattice node of each corner.
_NODES = ((0, 0), (0, 1), (1, 1), (1, 0))


def cell_outlines(
    polygon: NDArray[np.integer], corner_lat: Doubles, corner_lon: Doubles, numbers: Iterable[int]
) -> Iterator[tuple[int, list[list[list[list[float]]]]]]:
    """Outlines of polygons by their number.

    Parameters
    ----------
    polygon : ndarray of int, shape (nlat, nlon)
        Number of each cell's polygon, below 0 for none; columns are cyclic.
    corner_lat, corner_lon : ndarray of float64, shape (nlat, nlon, 4), degrees
        Counterclockwise from the south-west.
    numbers : iterable of int
        Polygons that are asked for.

    Yields
    ------
    number : int
    coordinates : list
        Of a GeoJSON MultiPolygon: longitude, latitude, every longitude in ±180°.
    """
    order = np.argsort(polygon, axis=None, kind="stable")
    values = polygon.reshape(-1)[order]
    for number in numbers:
        first, last = np.searchsorted(values, [number, number + 1])
        cells = [divmod(int(cell), polygon.shape[1]) for cell in order[first:last]]
        rings = [_thinned(*ring) for ring in _rings(cells, polygon, corner_lat, corner_lon)]
        yield number, within_the_map([ring for ring in rings if len(ring) > 2])


def _rings(
    cells: Sequence[Node], polygon: NDArray[np.integer], lat: Doubles, lon: Doubles
) -> Iterator[tuple[Doubles, NDArray[np.int64]]]:
    """Vertices of each ring, with the direction in which the lattice is left at each."""
    nlat, nlon = polygon.shape
    number = polygon[cells[0]] if cells else -1
    leaving: dict[Node, dict[int, Node]] = {}
    points: dict[Node, tuple[float, float]] = {}
    for j, i in cells:
        for direction, (dj, di, start, end) in enumerate(_EDGES):
            row, column = j + dj, (i + di) % nlon
            if 0 <= row < nlat and polygon[row, column] == number:
                continue
            ends: list[Node] = []
            for corner in (start, end):
                node = (j + _NODES[corner][0], (i + _NODES[corner][1]) % nlon)
                points.setdefault(node, (float(lon[j, i, corner]), float(lat[j, i, corner])))
                ends.append(node)
            leaving.setdefault(ends[0], {})[direction] = ends[1]
    while leaving:
        first = node = next(iter(leaving))
        direction = next(iter(leaving[node]))
        path, turns = list[Node](), list[int]()
        while True:
            ways = leaving[node]
            # Where two cells touch at a corner, the left turn stays with the one come from.
            order = ((direction + turn) % 4 for turn in (1, 0, 3, 2))
            direction = next(way for way in order if way in ways) if path else direction
            path.append(node)
            turns.append(direction)
            node = ways.pop(direction)
            if not ways:
                del leaving[path[-1]]
            if node == first:
                break
        vertices = np.array([points[each] for each in path])
        kept = np.isfinite(vertices).all(axis=1)
        yield _unwrapped(vertices[kept]), np.array(turns)[kept]


def _unwrapped(ring: Doubles) -> Doubles:
    """The same ring without jumps in longitude, begun in ±180°."""
    jumps = np.round(np.diff(ring[:, 0]) / 360.0) * 360.0
    lon = ring[:, 0].copy()
    lon[1:] -= np.cumsum(jumps)
    lon -= 360.0 * np.round(lon[:1].mean() / 360.0) if lon.size else 0.0
    return np.stack([lon, ring[:, 1]], axis=1)


def _thinned(ring: Doubles, turns: NDArray[np.int64]) -> Doubles:
    """Without vertices on straight rows of the lattice that change nothing one could see."""
    corners = np.flatnonzero(turns != np.roll(turns, 1))
    if corners.size < 2:
        return ring
    ring = np.roll(ring, -corners[0], axis=0)
    ends = [*(corners - corners[0]), len(ring)]
    # Rolled past its beginning, a ring may jump by a whole turn.
    ring = _unwrapped(ring)
    closed = np.vstack([ring, _near(ring[:1], ring[-1])])
    kept = [
        place
        for first, last in itertools.pairwise(ends)
        for place in _needed(closed, int(first), int(last))
    ]
    return ring[kept]


def _near(point: Doubles, to: Doubles) -> Doubles:
    moved = point.copy()
    moved[:, 0] -= 360.0 * np.round((moved[:, 0] - to[0]) / 360.0)
    return moved


def _needed(line: Doubles, first: int, last: int) -> list[int]:
    """Places from `first` up to `last` that a line within the tolerance needs."""
    if last - first < 2:
        return [first]
    start, along = line[first], line[last] - line[first]
    between = line[first + 1 : last] - start
    length = max(float(np.hypot(*along)), 1e-12)
    off = np.abs(between[:, 0] * along[1] - between[:, 1] * along[0]) / length
    worst = int(off.argmax())
    if off[worst] <= TOLERANCE_DEGREES:
        return [first]
    middle = first + 1 + worst
    return [*_needed(line, first, middle), *_needed(line, middle, last)]


def within_the_map(rings: Sequence[Doubles]) -> list[list[list[list[float]]]]:
    """Coordinates of a MultiPolygon whose longitudes stay in ±180°.

    Parameters
    ----------
    rings : sequence of ndarray, shape (n, 2)
        Longitude without jumps and latitude; outer ones counterclockwise, holes clockwise.
    """
    closed = [_around_pole(ring) for ring in rings]
    pieces = [piece for ring in closed for piece in _pieces(ring)]
    outer = [piece for piece in pieces if _signed_area(piece) > 0]
    parts = [[_closed(piece)] for piece in outer]
    for hole in (piece for piece in pieces if _signed_area(piece) < 0):
        owner = next((k for k, piece in enumerate(outer) if _holds(piece, hole[0])), None)
        if owner is not None:
            parts[owner].append(_closed(hole))
    return parts


def _around_pole(ring: Doubles) -> Doubles:
    """Closed along the pole, where the ring goes once round it."""
    turn = 360.0 * round((ring[-1, 0] - ring[0, 0]) / 360.0)
    if turn == 0:
        return ring
    pole = float(np.copysign(90.0, ring[:, 1].mean()))
    end = ring[0] + [turn, 0.0]
    return np.vstack([ring, end, [end[0], pole], [ring[0, 0], pole]])


def _pieces(ring: Doubles) -> Iterator[Doubles]:
    """Parts of a ring on either side of the meridians that bound the map."""
    for turn in range(
        int(np.floor((ring[:, 0].min() + 180.0) / 360.0)),
        int(np.ceil((ring[:, 0].max() + 180.0) / 360.0)),
    ):
        moved = ring - [360.0 * turn, 0.0]
        for side in (1.0, -1.0):
            moved = _clipped(moved, side)
        if len(moved) > 2:
            yield moved


def _clipped(ring: Doubles, side: float) -> Doubles:
    """The part of a ring where ``side * longitude`` is at most 180."""
    kept: list[Doubles] = []
    for here, there in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        inside, then = side * here[0] <= 180.0, side * there[0] <= 180.0
        if inside:
            kept.append(here)
        if inside != then:
            part = (side * 180.0 - here[0]) / (there[0] - here[0])
            kept.append(np.array([side * 180.0, here[1] + part * (there[1] - here[1])]))
    return np.array(kept).reshape(-1, 2)


def _signed_area(ring: Doubles) -> float:
    x, y = ring.T
    return float(0.5 * np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))


def _holds(ring: Doubles, point: Doubles) -> bool:
    x, y = ring.T
    x2, y2 = np.roll(x, -1), np.roll(y, -1)
    across = (y > point[1]) != (y2 > point[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        at = x + (point[1] - y) / (y2 - y) * (x2 - x)
    return bool((across & (point[0] < at)).sum() % 2)


def _closed(ring: Doubles) -> list[list[float]]:
    points = [[round(float(lon), 3), round(float(lat), 3)] for lon, lat in ring]
    return [*points, points[0]]
