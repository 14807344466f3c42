"""Distance from a polygon's centre, and the rings that uptake is summed in."""

import numpy as np
from numpy.typing import NDArray

from dor_ecco_assets.grids.llc_geometry import xyz_from_lonlat

__all__ = [
    "EARTH_RADIUS_M",
    "N_RINGS",
    "RADII_M",
    "RING_EDGES_M",
    "RING_WIDTH_M",
    "great_circle_m",
    "inside",
    "ring_index",
]

#: Radius of the sphere of the published distances, m.
EARTH_RADIUS_M = 6_371_000.0
#: Rings of the published workflow: 50 km wide to 4050 km, and one for all beyond.
RING_WIDTH_M = 50_000.0
RING_EDGES_M = RING_WIDTH_M * np.arange(82)
N_RINGS = RING_EDGES_M.size
#: Radii of the uptake by distance, m.
RADII_M = (500_000, 1_000_000, 2_000_000)

#: Steps that distances are rounded to, per metre.
_PER_METRE = 1e6

type Doubles = NDArray[np.float64]


def great_circle_m(centre: tuple[float, float], points: Doubles) -> Doubles:
    """Great-circle distance of points from a centre, to the micrometre.

    Parameters
    ----------
    centre : (float, float)
        Longitude and latitude, degrees.
    points : ndarray of float64, shape (3, ...)
        Unit vectors as `xyz_from_lonlat` makes them; NaN stays NaN.

    Returns
    -------
    ndarray of float64, shape (...), m

    Notes
    -----
    The haversine of the angle is the square of half the chord, which needs no function but its
    inverse once the directions are at hand. Coordinates are rounded by nanometres, so that a point
    put at the centre or on the edge of a ring lies there to the micrometre.
    """
    origin = xyz_from_lonlat(*(np.full(1, angle) for angle in centre))
    distance, step = np.zeros(points.shape[1:]), np.empty(points.shape[1:])
    for component, start in zip(points, origin, strict=True):
        np.subtract(component, start, out=step)
        step *= step
        distance += step
    # In place: fresh memory for every step would cost a quarter more.
    np.sqrt(distance, out=distance)
    distance /= 2
    np.arcsin(np.minimum(distance, 1.0, out=distance), out=distance)
    distance *= 2 * EARTH_RADIUS_M * _PER_METRE
    np.rint(distance, out=distance)
    distance /= _PER_METRE
    return distance


def ring_index(distance_m: Doubles, *, published: bool = False) -> NDArray[np.int32]:
    """Ring of each cell: ring r holds distances in (50 r, 50 (r + 1)] km, ring 0 also 0.

    Parameters
    ----------
    distance_m : ndarray of float64
    published : bool, default False
        As Ocean-CDR-Atlas v0: a cell at distance 0 is in no ring (-1).

    Returns
    -------
    ndarray of int32
        0 to 81; the last holds all beyond 4050 km and what has no distance.
    """
    ring = np.searchsorted(RING_EDGES_M[1:], distance_m, side="left").astype(np.int32)
    if published:
        ring[distance_m == 0] = -1
    return ring


def inside(cumulative: Doubles, *, published: bool = False) -> Doubles:
    """Sum of the rings inside each radius.

    Parameters
    ----------
    cumulative : ndarray of float64, shape (time, ring)
    published : bool, default False
        As Ocean-CDR-Atlas v0, whose sums reach one ring farther than they say.

    Returns
    -------
    ndarray of float64, shape (time, radius)
    """
    rings = [int(radius / RING_WIDTH_M) + published for radius in RADII_M]
    return np.stack([cumulative[:, :n].sum(axis=1) for n in rings], axis=1)
