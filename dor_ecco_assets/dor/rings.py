"""Distance from a polygon's centre, and the rings that uptake is summed in."""

import numpy as np
from numpy.typing import NDArray

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

type Doubles = NDArray[np.float64]


def great_circle_m(centre: tuple[float, float], lon: Doubles, lat: Doubles) -> Doubles:
    """Great-circle distance of points from a centre.

    Parameters
    ----------
    centre : (float, float)
        Longitude and latitude, degrees.
    lon, lat : ndarray of float64, degrees
        NaN stays NaN.

    Returns
    -------
    ndarray of float64, in the shape of `lon`, m

    Notes
    -----
    The haversine formula, which keeps its accuracy for small distances.
    """
    lam0, phi0 = np.deg2rad(centre[0]), np.deg2rad(centre[1])
    phi, half = np.deg2rad(lat), np.deg2rad(lon)
    cosine = np.cos(phi)
    # In place: fresh memory for every step would cost a quarter more.
    for angle, origin in ((half, lam0), (phi, phi0)):
        angle -= origin
        angle /= 2
        np.sin(angle, out=angle)
        angle *= angle
    cosine *= np.cos(phi0)
    half *= cosine
    half += phi
    np.sqrt(np.minimum(half, 1.0, out=half), out=half)
    np.arcsin(half, out=half)
    half *= 2 * EARTH_RADIUS_M
    return half


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
