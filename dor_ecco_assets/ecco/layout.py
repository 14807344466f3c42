"""How a granule is laid out: dimensions, coordinates, chunks and encoding."""

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dor_ecco_assets.ecco.catalogue import Dataset, Grid, Variable

#: NetCDF's own fill value of float32 and float64.
FILL = 9.969209968386869e36

#: Depth levels in a chunk of a 3-D variable: 4.2 MB native, 5.2 MB on 0.5 degree.
LEVELS_PER_CHUNK = {"native": 10, "latlon": 5}

_HORIZONTAL = {
    "C": ("tile", "j", "i"),
    "W": ("tile", "j", "i"),
    "U": ("tile", "j", "i_g"),
    "V": ("tile", "j_g", "i"),
}


def native_coordinates(grid: xr.Dataset, dataset: Dataset) -> xr.Dataset:
    """Coordinates of a native granule but for time; the vertical ones of a 3-D one only."""
    names = ["i", "j", "i_g", "j_g", "tile", "XC", "YC", "XG", "YG", "XC_bnds", "YC_bnds"]
    if dataset.grouping.dimension == "3D":
        names += ["k", "k_u", "k_l", "k_p1", "Z", "Zu", "Zl", "Zp1", "Z_bnds"]
    return xr.Dataset(coords={name: _single(grid[name].variable) for name in names})


def latlon_coordinates(target: xr.Dataset, grid: xr.Dataset, dataset: Dataset) -> xr.Dataset:
    """Coordinates of a latitude-longitude granule but for time."""
    names = ["latitude", "longitude", "latitude_bnds", "longitude_bnds"]
    coordinates = {name: _single(target[name].variable) for name in names}
    if dataset.grouping.dimension == "3D":
        coordinates["Z"] = (("Z",), _single(grid["Z"].variable)[1])
        coordinates["Z_bnds"] = (("Z", "nv"), _single(grid["Z_bnds"].variable)[1])
    return xr.Dataset(coords=coordinates)


def _single(variable: xr.Variable) -> tuple[tuple[Any, ...], NDArray[Any]]:
    """Dimensions and values of a coordinate in the precision that granules have."""
    values = variable.values
    kind = np.int32 if values.dtype.kind in "iu" else np.float32
    return variable.dims, values.astype(kind)


def dimensions(variable: Variable, dataset: Dataset, rank: int) -> tuple[str, ...]:
    """Dimensions of a variable of so many axes, time first."""
    if dataset.grid == "latlon":
        return (
            ("time", "latitude", "longitude")
            if rank == 3
            else ("time", "Z", "latitude", "longitude")
        )
    horizontal = _HORIZONTAL[variable.location]
    if rank == 4:
        return ("time", *horizontal)
    return ("time", "k_l" if variable.on_top_faces else "k", *horizontal)


def granule_encoding(granule: xr.Dataset, grid: Grid) -> dict[str, dict[str, Any]]:
    """How each variable is stored: deflate 5 with shuffle, one slab or a few depth levels a chunk.

    Parameters
    ----------
    granule : Dataset
    grid : {"native", "latlon"}
    """
    encoding: dict[str, dict[str, Any]] = {str(n): {"_FillValue": None} for n in granule.coords}
    for name in ("XC_bnds", "YC_bnds"):
        if name in granule.coords:
            encoding[name] |= {"zlib": True, "complevel": 5, "shuffle": True}
            encoding[name]["chunksizes"] = granule[name].shape
    for name, variable in granule.data_vars.items():
        chunks = list(variable.shape)
        for axis, dim in enumerate(map(str, variable.dims)):
            if dim == "Z" or dim.startswith("k"):
                chunks[axis] = min(chunks[axis], LEVELS_PER_CHUNK[grid])
        encoding[str(name)] = {
            "zlib": True,
            "complevel": 5,
            "shuffle": True,
            "chunksizes": tuple(chunks),
            "_FillValue": variable.dtype.type(FILL),
        }
    return encoding
