"""An analytic lat-lon-cap grid for any side length, and fields on it with known answers.

Four lat-lon sectors reach from 80° S to 67° N; a conformal square closes the sphere around the
north pole. Tiles lie and connect as in LLC90, cap vertices and the closed southern edge are land,
and the continents are round. Everything follows from formulas, so two calls agree bit for bit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ellipj, ellipk

from dor_ecco_assets.errors import ConfigurationError
from dor_ecco_assets.grids.latlon import EARTH_RADIUS_M
from dor_ecco_assets.grids.llc import N_TILES, compact_from_tiles
from dor_ecco_assets.grids.llc_geometry import (
    canonical_fields,
    corner_bounds,
    xyz_from_lonlat,
)

__all__ = [
    "CAP_LATITUDE",
    "SOUTHERN_LATITUDE",
    "SolidBodyFlow",
    "cell_centres",
    "cell_corners",
    "checkerboard",
    "index_field",
    "sample_depth_m",
    "sample_grid_fields",
    "sample_levels",
    "sample_salinity",
    "sample_sea_surface_height_m",
    "sample_temperature_degc",
    "solid_body_flow",
]

#: Closed southern edge of the sectors, degrees north; inside the sample's Antarctica.
SOUTHERN_LATITUDE = -80.0
#: Where the sectors meet the cap, degrees north; close to LLC90's 67.5.
CAP_LATITUDE = 67.0
#: West edge of the first sector, degrees east, as in LLC90: puts the four cap vertices on
#: Greenland, Russia, Siberia and Canada.
FIRST_LONGITUDE = -38.0

N_LEVELS = 50
#: Thickness of the top level and what the bottom one has more, m. With the cubic of
#: `sample_levels` the column is 6 112.2 m deep.
TOP_THICKNESS_M, EXTRA_THICKNESS_M = 10.0, 440.0

#: Smallest open fraction of a cell and smallest open thickness (m), as in ECCO V4r4's runs.
SMALLEST_OPEN_FRACTION, SMALLEST_OPEN_THICKNESS_M = 0.2, 5.0

#: Continents as (longitude, latitude, radius), degrees. The first four cover the cap vertices.
_CONTINENTS = (
    (-40.0, 70.0, 12.0),
    (55.0, 58.0, 22.0),
    (125.0, 60.0, 22.0),
    (-112.0, 56.0, 23.0),
    (20.0, 5.0, 26.0),
    (100.0, 32.0, 18.0),
    (-60.0, -12.0, 22.0),
    (134.0, -25.0, 16.0),
    (0.0, -90.0, 21.0),
)
#: Height of a continent's plateau above the abyss, m; with the fourth power of `sample_depth_m`
#: its coast lies one radius from its centre.
_PLATEAU_M = 13_000.0

#: Cells that touch a cap vertex, as (tile, j, i); their centres may miss a continent on a coarse
#: grid.
_VERTEX_CELLS = (
    *((2, -1, 0), (2, -1, -1), (5, -1, 0), (5, -1, -1)),
    *((6, 0, 0), (6, 0, -1), (6, -1, 0), (6, -1, -1)),
    *((7, 0, 0), (7, -1, 0), (10, 0, 0), (10, -1, 0)),
)


def sample_grid_fields(side: int = 30) -> dict[str, NDArray[np.float64]]:
    """Every grid field that a run needs, under MITgcm's names and in its layout.

    Parameters
    ----------
    side : int, default 30
        Cells along a tile's edge, L; 90 gives the size of LLC90.

    Returns
    -------
    dict of str to ndarray of float64
        Compact ``(13 L, L)``: ``XC YC XG YG`` (degrees), ``RAC`` (m²), ``DXG DYG Depth`` (m),
        ``AngleCS AngleSN`` (1). Profiles: ``RC DRF`` (50,), ``RF`` (51,), m.

    Raises
    ------
    ConfigurationError
        Code ``SampleSideInvalid``, if `side` is below 1.
    """
    centre_lon, centre_lat = cell_centres(side)
    corner_lon, corner_lat = cell_corners(side)
    rc, rf, drf = sample_levels()
    depth = _with_partial_cells(sample_depth_m(centre_lon, centre_lat), rf, drf)
    depth[(0, 3), 0, :] = 0.0
    depth[(9, 12), :, -1] = 0.0
    for cell in _VERTEX_CELLS:
        depth[cell] = 0.0
    horizontal = {
        "XC": centre_lon,
        "YC": centre_lat,
        "XG": corner_lon[:, :-1, :-1],
        "YG": corner_lat[:, :-1, :-1],
        "Depth": depth,
        **_metrics(xyz_from_lonlat(corner_lon, corner_lat)),
    }
    horizontal["AngleCS"], horizontal["AngleSN"] = _angles(side)
    compact = {name: compact_from_tiles(field) for name, field in horizontal.items()}
    return compact | {"RC": rc, "RF": rf, "DRF": drf}


def cell_centres(side: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longitude and latitude of the cell centres.

    Parameters
    ----------
    side : int
        Cells along a tile's edge, L.

    Returns
    -------
    longitude, latitude : ndarray of float64, shape (13, L, L), degrees
    """
    return _positions(side, np.arange(0.5, side))


def cell_corners(side: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longitude and latitude of all corners, those on right and upper edges included.

    Parameters
    ----------
    side : int
        Cells along a tile's edge, L.

    Returns
    -------
    longitude, latitude : ndarray of float64, shape (13, L + 1, L + 1), degrees
    """
    return _positions(side, np.arange(side + 1.0))


def _positions(
    side: int, offsets: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points at `offsets` (in cells, along both axes) of every tile."""
    if side < 1:
        raise ConfigurationError(
            f"a sample grid of side {side} was asked for; a side is a number of cells, 1 or more",
            code="SampleSideInvalid",
        )
    lon = np.empty((N_TILES, offsets.size, offsets.size))
    lat = np.empty_like(lon)
    along = 2.0 * offsets / side - 1.0
    # One edge of the square carries a quarter of the circle: the sectors take the spacing that
    # the conformal map gives there, so that grid lines run on from sector to cap.
    eastward = np.degrees(np.angle(1j * _disc_from_square(along, np.full_like(along, -1.0))))
    tile_height = (CAP_LATITUDE - SOUTHERN_LATITUDE) / 3
    for row in range(3):
        northward = SOUTHERN_LATITUDE + tile_height * (row + offsets / side)
        southward = CAP_LATITUDE - tile_height * (row + offsets / side)
        for sector, first in enumerate((0, 3)):
            lon[first + row] = eastward + _middle_longitude(sector)
            lat[first + row] = northward[:, None]
        for sector, first in enumerate((7, 10), start=2):
            lon[first + row] = (eastward + _middle_longitude(sector))[:, None]
            lat[first + row] = southward
    disc = _disc_from_square(along, along[:, None])
    # The cap's lower edge (angle -90°) lies on the second sector.
    lon[6] = np.degrees(np.angle(disc)) + _middle_longitude(1) + 90.0
    polar_radius = np.tan(np.radians(90.0 - CAP_LATITUDE) / 2)
    lat[6] = 90.0 - np.degrees(2 * np.arctan(polar_radius * np.abs(disc)))
    return (lon + 180.0) % 360.0 - 180.0, lat


def _middle_longitude(sector: int) -> float:
    return FIRST_LONGITUDE + 90.0 * (sector + 0.5)


def _disc_from_square(a: ArrayLike, b: ArrayLike) -> NDArray[np.complex128]:
    """Conformal map of the square [-1, 1]² onto the unit disc; (1, 0) goes to 1, (0, 1) to i.

    Jacobi's cn of modulus squared 1/2 maps a square onto the half plane's double cover of the
    disc; of a complex argument it is, by the addition theorem (Abramowitz and Stegun 16.21.3),
    a fraction of real elliptic functions.
    """
    quarter_period = ellipk(0.5)
    z = quarter_period * (0.5 * (1 + 1j) * (np.asarray(a) + 1j * np.asarray(b)) - 1.0)
    s, c, d, _ = ellipj(z.real, 0.5)
    s1, c1, d1, _ = ellipj(z.imag, 0.5)
    cn = (c * c1 - 1j * s * d * s1 * d1) / (c1**2 + 0.5 * (s * s1) ** 2)
    return np.exp(-0.25j * np.pi) * cn


def sample_levels() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Heights of centres and interfaces, and thicknesses, of 50 levels.

    Returns
    -------
    rc : ndarray of float64, shape (50,), m
        Centres, negative downwards.
    rf : ndarray of float64, shape (51,), m
        Interfaces, 0 at the surface.
    drf : ndarray of float64, shape (50,), m
        ``10 + 440 (k / 49)³``: 10 m at the top, 450 m at the bottom, 6 112.2 m in all.
    """
    drf = TOP_THICKNESS_M + EXTRA_THICKNESS_M * (np.arange(N_LEVELS) / (N_LEVELS - 1)) ** 3
    rf = np.concatenate([[0.0], -np.cumsum(drf)])
    return (rf[:-1] + rf[1:]) / 2, rf, drf


def sample_depth_m(longitude: ArrayLike, latitude: ArrayLike) -> NDArray[np.float64]:
    """Depth of the sample's sea floor, a smooth function of position that is 0 on land.

    Parameters
    ----------
    longitude, latitude : array_like, shape (...), degrees

    Returns
    -------
    ndarray of float64, shape (...), m

    Notes
    -----
    An abyss of 4 600 m with swells of up to 1 300 m; each continent takes off
    ``13000 exp(-(angle / radius)⁴)`` metres.
    """
    points = xyz_from_lonlat(*np.broadcast_arrays(*map(_floats, (longitude, latitude))))
    x, y, z = points
    depth = 4600.0 + 2600.0 * x * y + 900.0 * z * (x - y)
    for lon, lat, radius in _CONTINENTS:
        middle = xyz_from_lonlat(_floats(lon), _floats(lat))
        angle = np.degrees(np.arccos(np.clip(np.tensordot(middle, points, axes=1), -1.0, 1.0)))
        depth -= _PLATEAU_M * np.exp(-((angle / radius) ** 4))
    return np.maximum(depth, 0.0)


def _floats(values: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(values, np.float64)


def _with_partial_cells(
    depth: NDArray[np.float64], rf: NDArray[np.float64], drf: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Round depths as the model does: a bottom cell is open enough, or not at all."""
    depth = np.minimum(depth, -rf[-1])
    k = np.clip(np.searchsorted(-rf, depth, side="left") - 1, 0, drf.size - 1)
    fraction = (depth + rf[k]) / drf[k]
    smallest = np.maximum(SMALLEST_OPEN_FRACTION, SMALLEST_OPEN_THICKNESS_M / drf[k])
    fraction = np.where(fraction < smallest / 2, 0.0, np.maximum(fraction, smallest))
    return np.where(fraction >= 1.0, -rf[k + 1], -rf[k] + fraction * drf[k])


def _angles(side: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cosine and sine of the angle from east to the i axis, at the cell centres."""
    cosine, sine = np.zeros((2, N_TILES, side, side))
    cosine[:6] = 1.0
    sine[7:] = -1.0
    # The stereographic plane of the cap keeps angles, so the slope of the map gives them there.
    along, step = 2.0 * np.arange(0.5, side) / side - 1.0, 1e-5
    ahead, behind = (_disc_from_square(along + h, along[:, None]) for h in (step, -step))
    outward = np.angle(_disc_from_square(along, along[:, None]))
    turn = np.angle(ahead - behind) - outward
    cosine[6], sine[6] = np.sin(turn), -np.cos(turn)
    return cosine, sine


def _metrics(corners: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Areas and edge lengths of cells whose edges are great circles.

    `corners` are unit vectors, shape (3, 13, L + 1, L + 1).
    """
    lower_left, lower_right = corners[..., :-1, :-1], corners[..., :-1, 1:]
    upper_left, upper_right = corners[..., 1:, :-1], corners[..., 1:, 1:]
    solid_angle = _solid_angle(lower_left, lower_right, upper_right)
    solid_angle += _solid_angle(lower_left, upper_right, upper_left)
    return {
        "RAC": EARTH_RADIUS_M**2 * solid_angle,
        "DXG": EARTH_RADIUS_M * _arc(lower_left, lower_right),
        "DYG": EARTH_RADIUS_M * _arc(lower_left, upper_left),
    }


def _arc(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angle between unit vectors, radians; by the chord, which is exact for small angles."""
    return 2.0 * np.arcsin(np.minimum(np.sqrt(((a - b) ** 2).sum(axis=0)) / 2.0, 1.0))


def _solid_angle(
    a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Solid angle of spherical triangles (Van Oosterom and Strackee, 1983), steradians."""
    volume = (a * np.cross(b, c, axis=0)).sum(axis=0)
    cosines = (a * b).sum(axis=0) + (b * c).sum(axis=0) + (c * a).sum(axis=0)
    return 2.0 * np.arctan2(np.abs(volume), 1.0 + cosines)


def _east_and_north(
    longitude: NDArray[np.float64], latitude: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give the unit vectors towards east and north, each of shape (3, ...)."""
    lon, lat = np.radians(longitude), np.radians(latitude)
    east = np.stack([-np.sin(lon), np.cos(lon), np.zeros_like(lon)])
    north = np.stack([-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)])
    return east, north


@dataclass(frozen=True)
class SolidBodyFlow:
    """A solid-body rotation on the model's faces, and what it is at the cell centres.

    Attributes
    ----------
    u, v : ndarray of float64, shape (13, L, L), m/s
        Mean velocity through the west and south edges, along the model's i and j axes. Defined on
        land too; free of divergence to rounding, save at corners that no tile owns (on land).
    east, north : ndarray of float64, shape (13, L, L), m/s
        Exact velocity at the cell centres, towards east and north.
    """

    u: NDArray[np.float64]
    v: NDArray[np.float64]
    east: NDArray[np.float64]
    north: NDArray[np.float64]


def solid_body_flow(
    fields: Mapping[str, NDArray[Any]],
    *,
    axis_lon: float = 0.0,
    axis_lat: float = 90.0,
    speed_m_s: float = 1.0,
) -> SolidBodyFlow:
    """Flow of a sphere that turns about an axis, on any lat-lon-cap grid.

    Parameters
    ----------
    fields : mapping of str to ndarray
        Grid fields as `grid_dataset` takes them: the sample's or a real grid's.
    axis_lon, axis_lat : float, degrees
        Where the axis leaves the sphere; seen from there it turns counter-clockwise. The default
        is an eastward flow that falls off as the cosine of latitude.
    speed_m_s : float, default 1
        Speed a quarter turn away from the axis, m/s.

    Returns
    -------
    SolidBodyFlow

    Raises
    ------
    InputMissing, GridMismatch
        As `canonical_fields` does.

    Notes
    -----
    With the axis n and position r as unit vectors the velocity is ``speed n × r`` and its stream
    function ``ψ = speed R n·r``. The mean velocity through an edge is the difference of ψ between
    its ends over its length: ``u = (ψ_upper_left - ψ_lower_left) / DYG`` and
    ``v = -(ψ_lower_right - ψ_lower_left) / DXG``. R is the grid's own radius, found from its edge
    lengths, as grids are made on spheres of different size (LLC90's is 6 370 km). An edge is
    never shorter than its great circle, hence a low percentile of the ratio; not the lowest one,
    because LLC90 has edges on land that do not match their corners.
    """
    raw = canonical_fields(fields)
    bounds = corner_bounds(raw["XC"], raw["YC"], raw["XG"], raw["YG"])
    corners = xyz_from_lonlat(bounds.longitude, bounds.latitude)
    lower_left, lower_right, upper_left = (corners[..., at] for at in (0, 1, 3))
    radius = np.percentile(raw["DYG"] / _arc(lower_left, upper_left), 10)
    axis = xyz_from_lonlat(_floats(axis_lon), _floats(axis_lat))
    psi_per_length = speed_m_s * radius * axis
    velocity = speed_m_s * np.cross(axis, xyz_from_lonlat(raw["XC"], raw["YC"]), axisb=0, axisc=0)
    east, north = _east_and_north(raw["XC"], raw["YC"])
    return SolidBodyFlow(
        u=np.tensordot(psi_per_length, upper_left - lower_left, axes=1) / raw["DYG"],
        v=-np.tensordot(psi_per_length, lower_right - lower_left, axes=1) / raw["DXG"],
        east=(velocity * east).sum(axis=0),
        north=(velocity * north).sum(axis=0),
    )


def sample_sea_surface_height_m(
    longitude: ArrayLike, latitude: ArrayLike, month: ArrayLike = 1
) -> NDArray[np.float64]:
    """Sea-surface height that drifts westward through the year.

    Parameters
    ----------
    longitude, latitude : array_like, degrees
    month : array_like, default 1
        Calendar month, 1 to 12; the period is 12.

    Returns
    -------
    ndarray of float64, in the shape the arguments broadcast to, m
        Within ±0.8; its area mean over the whole sphere is exactly 0.

    Notes
    -----
    ``0.4 - 1.2 sin² φ + 0.4 cos² φ cos(2 λ + year)``, spherical harmonics of degree 2, so that
    it is smooth at the poles too.
    """
    lon, lat = np.radians(_floats(longitude)), np.radians(_floats(latitude))
    zonal = 0.4 - 1.2 * np.sin(lat) ** 2
    return zonal + 0.4 * np.cos(lat) ** 2 * np.cos(2 * lon + _year_angle(month))


def sample_temperature_degc(
    longitude: ArrayLike, latitude: ArrayLike, depth_m: ArrayLike, month: ArrayLike = 1
) -> NDArray[np.float64]:
    """Potential temperature: warm tropics, cold abyss, a season near the surface.

    Parameters
    ----------
    longitude, latitude : array_like, degrees
    depth_m : array_like, m
        Positive downwards.
    month : array_like, default 1
        Calendar month, 1 to 12; the warmest is July in the north, January in the south.

    Returns
    -------
    ndarray of float64, in the shape the arguments broadcast to, °C
        Between -0.3 and 28.

    Notes
    -----
    ``1 + (26 cos² φ - 1) e^(-d/800) + (0.2 + cos² φ) sin φ (-cos year) e^(-d/60)``, plus a
    zonal wave of ``0.4 cos² φ sin 2λ e^(-d/800)``.
    """
    lon, lat = np.radians(_floats(longitude)), np.radians(_floats(latitude))
    depth = _floats(depth_m)
    mild = np.cos(lat) ** 2
    column = (26.0 * mild - 1.0 + 0.4 * mild * np.sin(2 * lon)) * np.exp(-depth / 800.0)
    season = -(0.2 + mild) * np.sin(lat) * np.cos(_year_angle(month)) * np.exp(-depth / 60.0)
    return 1.0 + column + season


def sample_salinity(latitude: ArrayLike, depth_m: ArrayLike) -> NDArray[np.float64]:
    """Practical salinity: salty subtropics over a uniform abyss.

    Parameters
    ----------
    latitude : array_like, degrees
    depth_m : array_like, m
        Positive downwards.

    Returns
    -------
    ndarray of float64, in the shape the arguments broadcast to, 1
        ``34.7 + 1.5 sin²(2 φ) e^(-d/500)``: between 34.7 and 36.2.
    """
    lat = np.radians(_floats(latitude))
    return 34.7 + 1.5 * np.sin(2 * lat) ** 2 * np.exp(-_floats(depth_m) / 500.0)


def _year_angle(month: ArrayLike) -> NDArray[np.float64]:
    return 2.0 * np.pi * (_floats(month) - 1.0) / 12.0


def index_field(side: int) -> NDArray[np.int64]:
    """Give every cell its number in the compact layout, arranged as tiles.

    Parameters
    ----------
    side : int
        Cells along a tile's edge, L.

    Returns
    -------
    ndarray of int64, shape (13, L, L)
        By arithmetic on tile, j and i alone: ``(tile L + j) L + i`` up to the cap, and
        ``(first row of the face + 3 j + m) L + i`` for part m of the two faces after it.
    """
    tile, j, i = np.indices((N_TILES, side, side))
    part, face_row = (tile - 7) % 3, (7 + 3 * ((tile - 7) // 3)) * side
    row = np.where(tile < 7, tile * side + j, face_row + 3 * j + part)
    return row * side + i


def checkerboard(side: int) -> NDArray[np.float64]:
    """Alternate +1 and -1 between neighbouring cells of a tile; the roughest field there is.

    Parameters
    ----------
    side : int
        Cells along a tile's edge, L.

    Returns
    -------
    ndarray of float64, shape (13, L, L), 1
        +1 in the first cell of every tile.
    """
    _, j, i = np.indices((N_TILES, side, side))
    return 1.0 - 2.0 * ((i + j) % 2)
