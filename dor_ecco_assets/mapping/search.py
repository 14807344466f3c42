"""Which source cells lie nearest to a target and within its radius: spheres, radii, one tree.

Nothing here knows of depth levels or wet masks: the search sees every source cell once.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dor_ecco_assets.errors import ConfigurationError
from dor_ecco_assets.grids.latlon import EARTH_RADIUS_M

__all__ = [
    "DISTANCE_SPHERE_RADIUS_M",
    "TIE_TOLERANCE_M",
    "Neighbours",
    "RadiusMethod",
    "find_neighbours",
    "points_m",
    "target_radius_m",
]

#: Radius that gives each target its bin: `area` is that of a disc as large as the target cell.
RadiusMethod = Literal["area", "constant", "constant_1p1", "fixed"]

#: Sphere on which distances are measured, m: that of the PROJ "sphere" ellipsoid, which
#: ECCO-Dataset-Production's resampling library uses. Cell areas use `EARTH_RADIUS_M` instead.
DISTANCE_SPHERE_RADIUS_M = 6_370_997.0
#: Length of a degree in the `constant` radius, m.
METRES_PER_DEGREE = 111_000.0
#: Sources this close to the smallest distance tie; the lowest flat index wins, m.
TIE_TOLERANCE_M = 1e-3

#: Targets per ball query: bounds the lists of Python integers that a query returns.
_BALL_CHUNK = 65_536


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Nearest source of every target, and the sources within its reach.

    Parameters
    ----------
    nearest : ndarray of int64, shape (n_target,)
    distance_m : ndarray of float64, shape (n_target,), m
        Smallest distance, which a tie may leave up to `TIE_TOLERANCE_M` below that of `nearest`.
    ties : int
        Targets with more than one source within `TIE_TOLERANCE_M` of the smallest distance.
    bin_target, bin_source : ndarray of int32, shape (n_pair,)
        In ascending order of target, then source.
    """

    nearest: NDArray[np.int64]
    distance_m: NDArray[np.float64]
    ties: int
    bin_target: NDArray[np.int32]
    bin_source: NDArray[np.int32]


def target_radius_m(
    latitude: NDArray[Any],
    *,
    resolution_degrees: float,
    method: RadiusMethod,
    radius_m: float | None = None,
) -> NDArray[np.float64]:
    """Radius within which sources belong to a target, per row of targets.

    Parameters
    ----------
    latitude : ndarray, shape (n_latitude,), degrees
    resolution_degrees : float
    method : {"area", "constant", "constant_1p1", "fixed"}
        `area` (ECCO V4r4): of a disc with the cell's area; `constant`: half the diagonal of a
        cell at the equator; `constant_1p1` (early ECCO V4r5): 1.1 times that; `fixed`: `radius_m`.
    radius_m : float, optional, m
        Given with `fixed` and only then.

    Returns
    -------
    ndarray of float64, shape (n_latitude,), m

    Raises
    ------
    ConfigurationError
        If the method is unknown, or `radius_m` is absent, superfluous or not above 0.
    """
    if method not in get_args(RadiusMethod):
        raise ConfigurationError(
            f"radius method {method!r} is unknown; choose one of"
            f" {', '.join(get_args(RadiusMethod))}",
            code="RadiusMethodUnknown",
        )
    if (radius_m is not None) != (method == "fixed") or not (radius_m is None or radius_m > 0):
        raise ConfigurationError(
            f"radius method {method!r} came with radius_m = {radius_m}; give radius_m, in metres"
            " and above 0, with 'fixed' and only with it",
            code="RadiusInvalid",
        )
    if not resolution_degrees > 0:
        raise ConfigurationError(
            f"a resolution of {resolution_degrees} degrees; expected more than 0",
            code="ResolutionInvalid",
        )
    if method == "area":
        half = resolution_degrees / 2
        north = np.sin(np.radians(np.minimum(latitude + half, 90.0)))
        south = np.sin(np.radians(np.maximum(latitude - half, -90.0)))
        area = EARTH_RADIUS_M**2 * np.radians(resolution_degrees) * (north - south)
        return np.sqrt(area / np.pi)
    half_diagonal = METRES_PER_DEGREE * resolution_degrees * np.sqrt(2) / 2
    constant = half_diagonal * (1.1 if method == "constant_1p1" else 1.0)
    return np.full(latitude.shape, constant if radius_m is None else radius_m, np.float64)


def points_m(lon: NDArray[Any], lat: NDArray[Any]) -> NDArray[np.float64]:
    """Points on the distance sphere.

    Parameters
    ----------
    lon, lat : ndarray, shape (n,), degrees

    Returns
    -------
    ndarray of float64, shape (n, 3), m
    """
    lam, phi = np.radians(lon.astype(np.float64)), np.radians(lat.astype(np.float64))
    unit = np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=-1)
    return DISTANCE_SPHERE_RADIUS_M * unit


def find_neighbours(
    source_m: NDArray[np.float64],
    target_m: NDArray[np.float64],
    reach_m: NDArray[np.float64] | None,
) -> Neighbours:
    """Find the nearest source of every target, and all sources within its reach.

    Parameters
    ----------
    source_m, target_m : ndarray of float64, shape (n, 3), m
        From `points_m`.
    reach_m : ndarray of float64, shape (n_target,), m, or None
        Inclusive; None asks for the nearest sources alone.

    Returns
    -------
    Neighbours

    Notes
    -----
    One query for two neighbours settles all targets but those with at least two sources within
    reach, or within `TIE_TOLERANCE_M` of each other; only these need the dearer ball query.
    """
    from scipy.spatial import cKDTree  # pyright: ignore[reportAttributeAccessIssue]  # has no stub

    # Midpoint splits build in half the time of median splits and answer as fast on a sphere.
    tree: Any = cKDTree(source_m, balanced_tree=False)
    distances, indices = tree.query(target_m, k=2)
    (first, second), nearest = distances.T, indices[:, 0].copy()
    tied = np.flatnonzero(second - first <= TIE_TOLERANCE_M)
    tie_reach = first[tied] + TIE_TOLERANCE_M
    for rows, target, source in _within(tree, target_m, tied, tie_reach):
        nearest[rows] = source[np.flatnonzero(np.diff(target, prepend=-1))]
    targets, sources = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    if reach_m is not None:
        lone = np.flatnonzero((first <= reach_m) & (second > reach_m))
        crowded = np.flatnonzero(second <= reach_m)
        targets, sources = [lone], [indices[lone, 0]]
        for _, target, source in _within(tree, target_m, crowded, reach_m[crowded]):
            targets.append(target)
            sources.append(source)
    bin_target, bin_source = np.concatenate(targets), np.concatenate(sources)
    order = np.argsort(bin_target, kind="stable")
    return Neighbours(
        nearest=nearest,
        distance_m=first,
        ties=int(tied.size),
        bin_target=bin_target[order].astype(np.int32),
        bin_source=bin_source[order].astype(np.int32),
    )


def _within(
    tree: Any,
    target_m: NDArray[np.float64],
    rows: NDArray[np.int64],
    reach_m: NDArray[np.float64],
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """Chunks of `rows`, with their pairs (target, source) in ascending order; no row is empty."""
    for start in range(0, rows.size, _BALL_CHUNK):
        some, reach = rows[start : start + _BALL_CHUNK], reach_m[start : start + _BALL_CHUNK]
        # The tree compares squares here and roots in the nearest query: ask for a hair more, so
        # that a source at the very edge is found by both.
        balls = tree.query_ball_point(target_m[some], reach * (1 + 1e-14), return_sorted=True)
        sizes = np.fromiter(map(len, balls), np.int64, some.size)
        source = np.fromiter(chain.from_iterable(balls), np.int64, int(sizes.sum()))
        yield some, np.repeat(some, sizes), source
