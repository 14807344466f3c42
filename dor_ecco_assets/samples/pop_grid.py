"""An analytic POP grid of any size with its pole displaced into Greenland, and polygons on it.

Rows are latitude circles in the south. In the north each row is a circle whose centre moves, on
the stereographic plane, from the pole to the displaced one; the last row bounds a hole inside
Greenland. Everything follows from formulas, so two calls agree bit for bit.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dor_ecco_assets.atlas.polygons import NO_POLYGON
from dor_ecco_assets.errors import ConfigurationError
from dor_ecco_assets.grids.pop import POP_RADIUS_M, PopCells, pop_grid_dataset, spherical_area
from dor_ecco_assets.samples.classic_netcdf import ClassicLayout, ClassicVariable
from dor_ecco_assets.samples.llc_grid import sample_depth_m

__all__ = [
    "grid_vertices",
    "sample_levels_cm",
    "sample_polygons",
    "sample_pop_grid",
    "with_sample_kmt",
    "write_pop_grid",
    "write_sample_polygons",
]

#: Where the northern rows close, degrees; in Greenland, close to gx1v7's pole.
DISPLACED_POLE = (76.25, 320.0)
#: Latitude of the southern edge and angular radius of the northern hole, degrees.
SOUTHERN_EDGE, HOLE_RADIUS = -79.5, 4.0
#: Part of the rows south of the equator, as in gx1v7.
_SOUTHERN_PART = 187 / 384
#: How much narrower rows are at the equator than on average.
_EQUATORIAL = 0.6

#: Depth of the deepest level's bottom, and the lattice of level thicknesses, cm.
_BOTTOM_CM, _LATTICE_CM = 550_000.0, 1 / 16

#: Mean radius of the sphere of the atlas' distances, m.
DISTANCE_RADIUS_M = 6_371_000.0


def grid_vertices(nlat: int, nlon: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Latitude and longitude of the cells' corners and centres on one lattice of half steps.

    Parameters
    ----------
    nlat, nlon : int

    Returns
    -------
    lat, lon : ndarray of float64, shape (2 nlat + 1, 2 nlon + 1), degrees
        Corners at even, T points at odd indices; the last column is the first again.
    """
    south = max(1, min(nlat - 1, round(nlat * _SOUTHERN_PART)))

    def stretched(cells: int, reach: float) -> NDArray[np.float64]:
        u = np.arange(2 * cells + 1) / (2 * cells)
        return reach * (_EQUATORIAL * u + (1 - _EQUATORIAL) * u**3)

    rows = np.concatenate(
        [
            -stretched(south, -SOUTHERN_EDGE)[:0:-1],
            stretched(nlat - south, 90.0 - HOLE_RADIUS),
        ]
    )
    # Column 0 starts at the displaced pole's meridian, as in the model's own grids.
    turn = np.exp(1j * np.deg2rad(DISPLACED_POLE[1] + np.arange(2 * nlon) * 180.0 / nlon))
    radius = np.tan(np.deg2rad(90.0 - rows) / 2)[:, None]
    shift = np.tan(np.deg2rad(90.0 - DISPLACED_POLE[0]) / 2) * turn[0]
    plane = radius * turn + shift * (1.0 - np.minimum(radius, 1.0)) ** 2
    lat = 90.0 - 2 * np.rad2deg(np.arctan(np.abs(plane)))
    lon = np.rad2deg(np.angle(plane)) % 360.0
    return np.concatenate([lat, lat[:, :1]], axis=1), np.concatenate([lon, lon[:, :1]], axis=1)


def sample_levels_cm(nz: int) -> NDArray[np.float64]:
    """Thickness of `nz` depth levels that thicken downwards to 5500 m, exact in float32, cm."""
    k = np.arange(nz) / max(nz - 1, 1)
    thickness = 1.0 + 24.0 * k**2
    return np.round(thickness * _BOTTOM_CM / thickness.sum() / _LATTICE_CM) * _LATTICE_CM


def sample_pop_grid(
    nlat: int = 96,
    nlon: int = 80,
    nz: int = 12,
    *,
    undefined_land: bool = False,
    name: str = "pop_sample",
) -> xr.Dataset:
    """A POP grid with round continents, whose areas are those of its spherical quadrilaterals.

    Parameters
    ----------
    nlat, nlon, nz : int
        At least 8, 8 and 1; 384, 320 and 60 give the size of gx1v7.
    undefined_land : bool, default False
        Leave T points undefined (NaN) in land cells that touch no wet cell, as a run with land
        blocks left out does.
    name : str

    Returns
    -------
    Dataset
        As `pop_grid_dataset` makes it, with ``KMT`` and ``REGION_MASK``.

    Raises
    ------
    ConfigurationError
        ``SampleGridSize``.
    """
    if nlat < 8 or nlon < 8 or nz < 1:
        raise ConfigurationError(
            f"a sample grid of {nlat} x {nlon} x {nz}; expected at least 8 x 8 x 1",
            code="SampleGridSize",
        )
    lat, lon = grid_vertices(nlat, nlon)
    corner_lat, corner_lon = (
        np.stack([v[:-2:2, :-2:2], v[:-2:2, 2::2], v[2::2, 2::2], v[2::2, :-2:2]], axis=-1)
        for v in (lat, lon)
    )
    tlat, tlong, dz_cm = lat[1::2, 1::2].copy(), lon[1::2, 1::2].copy(), sample_levels_cm(nz)
    kmt = _kmt(tlat, tlong, dz_cm)
    kmt[[0, -1]] = 0  # both edges of the grid are closed
    wet = kmt > 0
    region = np.where(wet, 1 + (tlong // 60.0).astype(np.int32), 0).astype(np.int32)
    if undefined_land:
        hidden = ~_widened(wet)
        tlat[hidden] = tlong[hidden] = np.nan
    cells = PopCells(
        tlat=tlat,
        tlong=tlong,
        wet=wet,
        corner_lat=corner_lat,
        corner_lon=corner_lon,
        tarea_cm2=spherical_area(corner_lat, corner_lon) * POP_RADIUS_M**2 * 1e4,
        kmt=kmt,
        region_mask=region,
    )
    return pop_grid_dataset(cells, dz_cm, name=name, source="analytic sample")


def _kmt(
    lat: NDArray[np.float64], lon: NDArray[np.float64], dz_cm: NDArray[np.float64]
) -> NDArray[np.int32]:
    """Levels of the round continents' depth; whoever is wet has at least one."""
    depth_cm = 100.0 * sample_depth_m(lon, lat)
    levels = np.searchsorted(np.cumsum(dz_cm) - dz_cm / 2, depth_cm)
    return np.where(depth_cm > 0, np.clip(levels, 1, dz_cm.size), 0).astype(np.int32)


def _widened(wet: NDArray[np.bool_]) -> NDArray[np.bool_]:
    wide = wet | np.roll(wet, 1, axis=1) | np.roll(wet, -1, axis=1)
    grown = wide.copy()
    grown[1:] |= wide[:-1]
    grown[:-1] |= wide[1:]
    return grown


def with_sample_kmt(grid: xr.Dataset) -> xr.Dataset:
    """A real grid that came without ``KMT``, given the sample's depths under its own wet mask."""
    wet = grid["wet"].values
    lat, lon = (np.nan_to_num(grid[name].values) for name in ("TLAT", "TLONG"))
    kmt = np.where(wet, np.maximum(_kmt(lat, lon, grid["dz"].values), 1), 0).astype(np.int32)
    return grid.assign(KMT=(("nlat", "nlon"), kmt)).assign_attrs(kmt_source="analytic sample")


def write_pop_grid(path: Path, grid: xr.Dataset) -> Path:
    """Write a sample grid as the model's grid files are: classic NetCDF, fill on undefined land."""
    fill = np.float64(9.969209968386869e36)
    plane = ("nlat", "nlon")
    variables = [
        ClassicVariable(
            name,
            "f8",
            plane,
            {"long_name": str(grid[name].attrs["long_name"]), "units": units, "_FillValue": fill},
            np.nan_to_num(grid[name].values, nan=float(fill)),
        )
        for name, units in (
            ("TLAT", "degrees_north"),
            ("TLONG", "degrees_east"),
            ("ULAT", "degrees_north"),
            ("ULONG", "degrees_east"),
            ("TAREA", "centimeter^2"),
        )
    ]
    variables += [
        ClassicVariable("KMT", "i4", plane, {"long_name": "wet levels"}, grid["KMT"].values),
        ClassicVariable(
            "REGION_MASK", "i4", plane, {"long_name": "basin"}, grid["REGION_MASK"].values
        ),
        ClassicVariable("z_t", "f4", ("z_t",), {"units": "centimeters"}, grid["z_t"].values),
        ClassicVariable("dz", "f4", ("z_t",), {"units": "centimeters"}, grid["dz"].values),
    ]
    dims: dict[str, int | None] = {name: grid.sizes[name] for name in ("nlat", "nlon", "z_t")}
    path.parent.mkdir(parents=True, exist_ok=True)
    return ClassicLayout(dims, variables, {"title": str(grid.attrs["name"])}).write(path)


# Polygons


def sample_polygons(
    grid: xr.Dataset, n_polygons: int, *, reach_m: float = 2e6
) -> NDArray[np.int16]:
    """Cluster the wet cells of a grid around evenly dealt seeds.

    Parameters
    ----------
    grid : Dataset
    n_polygons : int
    reach_m : float, default 2e6
        Cells farther from every seed belong to no polygon, m.

    Returns
    -------
    ndarray of int16, shape (nlat, nlon)
        Number of the nearest seed; `NO_POLYGON` on land and out of reach. Every polygon has its
        seed.

    Raises
    ------
    ConfigurationError
        ``SampleGridSize``, if there are fewer wet cells than polygons.
    """
    wet = grid["wet"].values
    # The two outermost rows stay free, so that a cell's outline has T points on all sides.
    usable = wet.copy()
    usable[[0, -1]] = False
    cells = np.argwhere(usable)
    if len(cells) < n_polygons:
        raise ConfigurationError(
            f"{n_polygons} polygons on {len(cells)} wet cells; take a larger sample grid",
            code="SampleGridSize",
        )
    phi, lam = (np.deg2rad(grid[name].values[usable]) for name in ("TLAT", "TLONG"))
    points = np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=-1)
    seeds = ((np.arange(n_polygons) + 0.5) * len(cells) / n_polygons).astype(int)
    cosine = points @ points[seeds].T
    cosine[seeds, np.arange(n_polygons)] = 2.0  # a seed belongs to itself
    nearest = cosine.argmax(axis=1)
    close = cosine.max(axis=1) >= np.cos(min(reach_m / DISTANCE_RADIUS_M, np.pi))
    mask = np.full(wet.shape, NO_POLYGON, np.int16)
    mask[usable] = np.where(close, nearest, NO_POLYGON)
    return mask


def write_sample_polygons(
    folder: Path, grid: xr.Dataset, n_polygons: int, *, reach_m: float = 2e6
) -> NDArray[np.int16]:
    """Write polygons as the published ones are: id 0 is also the background, outlines beside it.

    Parameters
    ----------
    folder : Path
        Gets ``mask.nc`` and ``regions.geojson``.
    grid : Dataset
    n_polygons : int
    reach_m : float

    Returns
    -------
    ndarray of int16, shape (nlat, nlon)
        What the two files together say; see `sample_polygons`.
    """
    mask = sample_polygons(grid, n_polygons, reach_m=reach_m)
    folder.mkdir(parents=True, exist_ok=True)
    dims: dict[str, int | None] = {name: grid.sizes[name] for name in ("nlat", "nlon")}
    ids = ClassicVariable("polygon_mask_id", "i4", tuple(dims), {}, np.maximum(mask, 0))
    ClassicLayout(dims, [ids], {"title": "sample polygons"}).write(folder / "mask.nc")
    features: list[dict[str, Any]] = []
    for polygon in range(n_polygons):
        squares = [[_square(grid, j, i)] for j, i in np.argwhere(mask == polygon)]
        features.append(
            {
                "type": "Feature",
                "properties": {"polygon_id": polygon},
                "geometry": {"type": "MultiPolygon", "coordinates": squares},
            }
        )
    collection = {"type": "FeatureCollection", "features": features}
    (folder / "regions.geojson").write_text(json.dumps(collection))
    return mask


def _square(grid: xr.Dataset, j: int, i: int) -> list[list[float]]:
    """The square from a T point to the next one north-east, free of jumps in longitude.

    Where a neighbour is undefined land, the square's corner is mirrored through the U point.
    """
    east = (i + 1) % grid.sizes["nlon"]
    u_lat, u_lon = (float(grid[name].values[j, i]) for name in ("ULAT", "ULONG"))
    u_lon = (u_lon + 180.0) % 360.0 - 180.0
    ring: list[list[float]] = []
    places = ((j, i), (j, east), (j + 1, east), (j + 1, i))
    for place, opposite in zip(places, (*places[2:], *places[:2]), strict=True):
        lat, lon = _around(grid, place, u_lon)
        if np.isnan(lat):
            lat, lon = _around(grid, opposite, u_lon)
            lat, lon = 2 * u_lat - lat, 2 * u_lon - lon
        ring.append([lon, lat])
    return [*ring, ring[0]]


def _around(grid: xr.Dataset, place: tuple[int, int], near: float) -> tuple[float, float]:
    lat, lon = (float(grid[name].values[place]) for name in ("TLAT", "TLONG"))
    return lat, near + (lon - near + 180.0) % 360.0 - 180.0
