"""Weights to Web Mercator against those of CDO, an independent program, where it is installed.

CDO joins corners by great circles and interpolates in longitude and latitude; we draw edges of
two straight pieces on the map and interpolate on planes that touch the sphere. So values differ
by what these choices are worth at the size of a cell, not by rounding.
"""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dor_ecco_assets.mapping.cells import SourceCells, complete_corners
from dor_ecco_assets.mapping.webmercator import Method, apply_reference
from tests.mapping.webmercator_sources import build, centres, edges, grid, smooth

FILL = -9e33


def write_source(path: Path, cells: SourceCells, field: np.ndarray) -> None:
    """A field on a curvilinear grid, or on tiles as one row of cells."""
    dims = ("y", "x") if cells.lon.ndim == 2 else ("cell",)
    corner_lon, corner_lat = complete_corners(cells)
    there = np.isfinite(cells.lon)

    def flat(array: np.ndarray, instead: float) -> np.ndarray:
        known = np.where(there.reshape(there.shape + (1,) * (array.ndim - there.ndim)), array, 0.0)
        known = np.nan_to_num(known, nan=instead)
        return known if cells.lon.ndim == 2 else known.reshape(-1, *known.shape[3:])

    value = np.where(cells.wet, field, FILL)
    dataset = xr.Dataset(
        {
            "f": (dims, flat(value, FILL), {"coordinates": "lat lon", "_FillValue": FILL}),
            "lon_bnds": ((*dims, "corner"), flat(corner_lon, 0.0)),
            "lat_bnds": ((*dims, "corner"), flat(corner_lat, 0.0)),
        },
        coords={
            "lon": (dims, flat(cells.lon, 0.0), {"units": "degrees_east", "bounds": "lon_bnds"}),
            "lat": (dims, flat(cells.lat, 0.0), {"units": "degrees_north", "bounds": "lat_bnds"}),
        },
    )
    for name in ("lon", "lat", "lon_bnds", "lat_bnds"):
        dataset[name].encoding["_FillValue"] = None
    dataset["f"].attrs.pop("_FillValue")
    dataset["f"].encoding["_FillValue"] = FILL
    dataset.to_netcdf(path)


def write_square(path: Path, n: int) -> None:
    """The pixels as CDO describes grids, from the south, as it wants latitudes to ascend."""
    lon, lat = centres(n)
    x, y = edges(n)
    values = {
        "xvals": lon[0],
        "yvals": lat[::-1, 0],
        "xbounds": np.stack([x[:-1], x[1:]], -1).ravel(),
        "ybounds": np.stack([y[::-1][:-1], y[::-1][1:]], -1).ravel(),
    }
    lines = ["gridtype = lonlat", f"xsize = {n}", f"ysize = {n}"]
    lines += [f"{name} = {' '.join(f'{v:.12f}' for v in array)}" for name, array in values.items()]
    path.write_text("\n".join(lines) + "\n")


def by_cdo(folder: Path, operator: str, cells: SourceCells, n: int) -> np.ndarray:
    if shutil.which("cdo") is None:
        pytest.skip("CDO is not installed; Debian has it as the package cdo")
    write_source(folder / "source.nc", cells, smooth(cells.lon, cells.lat))
    write_square(folder / "square.txt", n)
    subprocess.run(
        ["cdo", "-s", "-b", "F64", f"{operator},square.txt", "source.nc", "out.nc"],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    with xr.open_dataset(folder / "out.nc") as made:
        return made["f"].values.squeeze()[::-1]


@pytest.mark.parametrize(
    ("name", "method", "level"),
    [
        ("pop of gx1v7's size", "conservative", 0),
        ("pop of gx1v7's size", "bilinear", 1),
        ("gx1v7", "conservative", 0),
        ("gx1v7", "conservative", 1),
        ("gx1v7", "bilinear", 0),
        ("gx1v7", "bilinear", 1),
        ("llc90", "conservative", 1),
    ],
)
def test_values_are_those_of_cdo(tmp_path: Path, name: str, method: Method, level: int) -> None:
    cells = grid(name)
    operator = {"conservative": "remapcon", "bilinear": "remapbil"}[method]
    theirs = by_cdo(tmp_path, operator, cells, 128 << level)
    weights = build(cells, levels=[level], methods=[method], pixels_per_tile=128)
    ours = apply_reference(weights, level, smooth(cells.lon, cells.lat))
    common = weights.mask(level) & np.isfinite(theirs)
    of = weights.level(level)
    if method == "bilinear":
        # Beside land the two choose differently what stands in for the missing point.
        common &= ((np.diff(of.indptr) == 4) & (of.share > 1 - 1e-6)).reshape(of.n, of.n)
    assert common.sum() > 0.9 * weights.mask(level).sum()
    error = np.abs(ours - theirs)[common]
    largest, mean = (1e-4, 2e-5) if method == "conservative" else (1e-3, 5e-5)
    assert error.max() < largest
    assert error.mean() < mean
