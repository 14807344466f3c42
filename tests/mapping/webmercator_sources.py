"""Source grids of the tests of weights to Web Mercator, and the square itself."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dor_ecco_assets.grids.latlon import LatLonGrid
from dor_ecco_assets.grids.llc_geometry import grid_dataset
from dor_ecco_assets.grids.pop import read_pop_grid
from dor_ecco_assets.mapping.cells import SourceCells, source_cells
from dor_ecco_assets.mapping.webmercator import WebMercatorWeights, build_webmercator
from dor_ecco_assets.samples.llc_grid import sample_grid_fields
from dor_ecco_assets.samples.pop_grid import sample_pop_grid
from tests.support.data import llc90_fields, real_data

CMIP = "tos_Omon_CESM2-FV2_historical_r1i1p1f1_gn_200001.nc"


def gx1v7() -> SourceCells:
    grid = read_pop_grid(
        real_data("pop", CMIP).read_bytes(),
        name="pop_gx1v7",
        shape=(384, 320, 60),
        vertical=real_data("pop", "vert_grid", "gx1v7_vert_grid").read_bytes(),
    )
    return source_cells(grid)


def _latlon(grid: LatLonGrid) -> SourceCells:
    cells = source_cells(grid.to_dataset())
    land = np.hypot(cells.lon - 20, cells.lat - 5) < 26
    return replace(cells, wet=~land)


def tripolar(rows: int, columns: int) -> SourceCells:
    """A northern hemisphere of ellipses about a segment, at which the last row meets itself."""
    mu = np.linspace(2.6, 0.0, 2 * rows + 1)[:, None]
    nu = np.arange(2 * columns + 1) * np.pi / columns
    plane = np.cosh(mu + 1j * nu) / np.cosh(2.6) * np.exp(0.4j)
    lon, lat = np.degrees(np.angle(plane)), 90 - 2 * np.degrees(np.arctan(np.abs(plane)))
    corners = [
        np.stack([v[:-2:2, :-2:2], v[:-2:2, 2::2], v[2::2, 2::2], v[2::2, :-2:2]], axis=-1)
        for v in (lon, lat)
    ]
    lon, lat = lon[1::2, 1::2], lat[1::2, 1::2]
    return SourceCells(lon, lat, *corners, lat < np.where(np.abs(lon) < 20, 40, 90))


_GRIDS: dict[str, Callable[[], SourceCells]] = {
    "pop": lambda: source_cells(sample_pop_grid(96, 80, 2)),
    "pop with undefined land": lambda: source_cells(
        sample_pop_grid(96, 80, 2, undefined_land=True)
    ),
    "pop tiny": lambda: source_cells(sample_pop_grid(24, 20, 2)),
    "tripolar": lambda: tripolar(60, 90),
    "llc": lambda: source_cells(grid_dataset(sample_grid_fields(24))),
    "latlon": lambda: _latlon(LatLonGrid(3.0)),
    "latlon from Greenwich": lambda: _latlon(LatLonGrid(3.0, west=0.0, east=360.0)),
    "region": lambda: source_cells(LatLonGrid(1.0, -40, 50, 150, 230).to_dataset()),
    "pop of gx1v7's size": lambda: source_cells(sample_pop_grid(384, 320, 1)),
    "gx1v7": gx1v7,
    "llc90": lambda: source_cells(grid_dataset(llc90_fields())),
}
SMALL = (
    *("pop", "pop with undefined land", "pop tiny", "tripolar", "llc", "latlon"),
    *("latlon from Greenwich", "region"),
)
ALL = (*SMALL, "gx1v7", "llc90")


@cache
def grid(name: str) -> SourceCells:
    """One of the grids by its name; skips where its data are absent."""
    return _GRIDS[name]()


def all_wet(cells: SourceCells) -> SourceCells:
    """The grid without land but for the points that are undefined."""
    return replace(cells, wet=np.isfinite(cells.lon))


def build(cells: SourceCells, **choices: Any) -> WebMercatorWeights:
    """Weights of a grid with small tiles unless told otherwise."""
    choices = {"levels": [0, 1], "pixels_per_tile": 32} | choices
    return build_webmercator(
        cells.lon, cells.lat, cells.corner_lon, cells.corner_lat, cells.wet, **choices
    )


def centres(n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longitude and latitude (degrees) of the pixels' centres, shape (n, n)."""
    part = (np.arange(n) + 0.5) / n
    latitude = 2 * np.degrees(np.arctan(np.exp(np.pi * (1 - 2 * part)))) - 90
    return tuple(np.meshgrid(part * 360 - 180, latitude))


def edges(n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longitude from the west and latitude from the north of the pixels' edges, (n + 1,) each."""
    part = np.arange(n + 1) / n
    return part * 360 - 180, 2 * np.degrees(np.arctan(np.exp(np.pi * (1 - 2 * part)))) - 90


def square(n: int) -> SourceCells:
    """The square's own pixels as a source grid, row 0 in the north."""
    lon, lat = centres(n)
    x, y = edges(n)
    corner_lon = np.broadcast_to(np.stack([x[:-1], x[1:], x[1:], x[:-1]], -1), (n, n, 4))
    corner_lat = np.stack([y[1:], y[1:], y[:-1], y[:-1]], -1)[:, None].repeat(n, axis=1)
    return SourceCells(lon, lat, corner_lon, corner_lat, np.ones((n, n), np.bool_))


def smooth(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.float64]:
    """``cos² φ cos 2λ + sin φ``, smooth everywhere on the sphere."""
    lam, phi = np.radians(lon), np.radians(lat)
    return np.cos(phi) ** 2 * np.cos(2 * lam) + np.sin(phi)
