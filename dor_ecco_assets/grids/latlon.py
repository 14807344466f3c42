"""Regular latitude-longitude grids: centres, bounds and exact cell areas on a sphere."""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dor_ecco_assets.errors import ConfigurationError

__all__ = ["EARTH_RADIUS_M", "LatLonGrid"]

#: Mean radius of the Earth (IUGG), the sphere of all lat-lon cell areas, m.
EARTH_RADIUS_M = 6_371_008.8

#: A span may differ from a whole number of cells by this fraction of a cell: enough for 1/3
#: degree given as a decimal, far from half a cell.
_COUNT_TOLERANCE = 1e-6


@dataclass(frozen=True)
class LatLonGrid:
    """Cells of equal extent in latitude and longitude, ascending in both.

    Parameters
    ----------
    resolution_degrees : float, default 0.5
        Extent of a cell in latitude and in longitude.
    south, north : float, default -90 and 90
        Outer edges, degrees north.
    west, east : float, default -180 and 180
        Outer edges, degrees east; a grid across the date line has an `east` above 180.

    Raises
    ------
    ConfigurationError
        Code ``LatLonGridInvalid``: edges out of order or range, or spans that are not whole
        numbers of cells.
    """

    resolution_degrees: float = 0.5
    south: float = -90.0
    north: float = 90.0
    west: float = -180.0
    east: float = 180.0

    def __post_init__(self) -> None:
        """Refuse what is not a grid, so that every later number can be trusted."""
        if not self.resolution_degrees > 0:
            raise _invalid(self, "the resolution must be above 0")
        if not -90 <= self.south < self.north <= 90:
            raise _invalid(self, "expected -90 <= south < north <= 90")
        if not self.west < self.east <= self.west + 360:
            raise _invalid(self, "expected west < east <= west + 360")
        for span in (self.north - self.south, self.east - self.west):
            cells = span / self.resolution_degrees
            if round(cells) < 1 or abs(cells - round(cells)) > _COUNT_TOLERANCE * round(cells):
                raise _invalid(self, f"a span of {span} degrees is {cells:.6g} cells, not whole")

    @property
    def shape(self) -> tuple[int, int]:
        """Number of cells (latitude, longitude)."""
        return (
            round((self.north - self.south) / self.resolution_degrees),
            round((self.east - self.west) / self.resolution_degrees),
        )

    @property
    def size(self) -> int:
        """Number of cells."""
        return self.shape[0] * self.shape[1]

    @property
    def label(self) -> str:
        """The resolution as file names spell it: ``0p50deg``, ``0p125deg``."""
        whole, _, decimals = f"{self.resolution_degrees:.6f}".partition(".")
        return f"{whole}p{decimals.rstrip('0').ljust(2, '0')}deg"

    @property
    def latitude_edges(self) -> NDArray[np.float64]:
        """Edges from south to north, shape (n_latitude + 1,), degrees."""
        return np.linspace(self.south, self.north, self.shape[0] + 1)

    @property
    def longitude_edges(self) -> NDArray[np.float64]:
        """Edges from west to east, shape (n_longitude + 1,), degrees."""
        return np.linspace(self.west, self.east, self.shape[1] + 1)

    @property
    def latitude(self) -> NDArray[np.float64]:
        """Cell centres from south to north, shape (n_latitude,), degrees."""
        return self.latitude_bounds.mean(axis=1)

    @property
    def longitude(self) -> NDArray[np.float64]:
        """Cell centres from west to east, shape (n_longitude,), degrees."""
        return self.longitude_bounds.mean(axis=1)

    @property
    def latitude_bounds(self) -> NDArray[np.float64]:
        """Southern and northern edge of each row, shape (n_latitude, 2), degrees."""
        edges = self.latitude_edges
        return np.stack([edges[:-1], edges[1:]], axis=1)

    @property
    def longitude_bounds(self) -> NDArray[np.float64]:
        """Western and eastern edge of each column, shape (n_longitude, 2), degrees."""
        edges = self.longitude_edges
        return np.stack([edges[:-1], edges[1:]], axis=1)

    def cell_area_m2(self) -> NDArray[np.float64]:
        """Exact areas on the sphere of radius `EARTH_RADIUS_M`.

        Returns
        -------
        ndarray of float64, shape (n_latitude, n_longitude), m²

        Notes
        -----
        ``R² Δλ (sin φ_north - sin φ_south)``, the difference as
        ``2 cos((φ_north + φ_south) / 2) sin((φ_north - φ_south) / 2)``, which keeps its digits
        next to the poles.
        """
        south, north = np.radians(self.latitude_bounds.T)
        width = np.radians(self.resolution_degrees)
        band = 2.0 * np.cos((north + south) / 2) * np.sin((north - south) / 2)
        return np.repeat((EARTH_RADIUS_M**2 * width * band)[:, None], self.shape[1], axis=1)

    def to_dataset(self) -> xr.Dataset:
        """Centres, bounds and areas as one dataset.

        Returns
        -------
        xarray.Dataset
            ``latitude``, ``longitude`` and their ``_bnds`` (coordinates, degrees), ``area``
            (latitude, longitude) in m²; attribute ``label``.
        """
        lat, lon = "latitude", "longitude"
        north = {"standard_name": lat, "units": "degrees_north", "bounds": "latitude_bnds"}
        east = {"standard_name": lon, "units": "degrees_east", "bounds": "longitude_bnds"}
        area = {"standard_name": "cell_area", "units": "m2"}
        return xr.Dataset(
            {"area": ((lat, lon), self.cell_area_m2(), area)},
            coords={
                lat: (lat, self.latitude, north),
                lon: (lon, self.longitude, east),
                "latitude_bnds": ((lat, "nv"), self.latitude_bounds),
                "longitude_bnds": ((lon, "nv"), self.longitude_bounds),
            },
            attrs={"label": self.label},
        )


def _invalid(grid: LatLonGrid, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"lat-lon grid of {grid.resolution_degrees} degrees, {grid.south} to {grid.north} north,"
        f" {grid.west} to {grid.east} east: {why}; mend the grid's configuration",
        code="LatLonGridInvalid",
    )
