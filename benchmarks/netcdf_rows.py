"""Writing ECCO granules against `Dataset.to_netcdf` with zlib level 5 and shuffle."""

import hashlib
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from benchmarks.measure import interleaved, median_cpu_seconds, row
from dor_ecco_assets.samples.fields import LATLON_REPEAT, latlon_wet, native_wet, ocean_field
from dor_ecco_assets.stores.netcdf import verify_netcdf, write_netcdf

#: NetCDF's own fill value for floats, which ECCO granules carry.
FILL = np.float32(9.969209968386869e36)
#: A granule of ours may be this much larger than the library's.
MOST_SIZE = 1.03
#: Fewer, and what a file costs beside its values would decide the ratio.
QUICK_LEVELS = 30


def rows(scratch: Path, *, quick: bool = False) -> list[dict[str, Any]]:
    """Both rows; `scratch` is a folder for up to 120 MB of granules."""
    levels = QUICK_LEVELS if quick else 50
    scaled = f"{levels} of 50 levels; " if quick else ""
    return [latlon_row(scratch, levels, scaled), native_row(scratch, levels, scaled)]


def latlon_row(scratch: Path, levels: int, scaled: str) -> dict[str, Any]:
    """Dataset in memory to file."""
    granule, options = latlon_granule(levels)
    ours, theirs = scratch / "ours.nc", scratch / "theirs.nc"
    times = interleaved(
        lambda: write_netcdf(granule, ours, **options),
        lambda: granule.to_netcdf(theirs, format="NETCDF4", **options),
    )
    return _with_size(
        "write a two-variable 3-D lat-lon granule",
        times,
        4.0,
        granule,
        options,
        ours,
        theirs,
        scaled,
    )


def native_row(scratch: Path, levels: int, scaled: str) -> dict[str, Any]:
    """Dataset in memory to a file that was read back, has its checksum and its final name."""
    granule, options = native_granule(levels)
    ours, theirs = scratch / "ours_native.nc", scratch / "theirs_native.nc"

    def publish() -> None:
        part = scratch / ".ours.part"
        write_netcdf(granule, part, **options)
        verify_netcdf(part, granule, **options)
        _sha256(part)
        part.replace(ours)

    def publish_plainly() -> None:
        part = scratch / ".theirs.part"
        granule.to_netcdf(part, format="NETCDF4", **options)
        with xr.open_dataset(part) as found:
            for name, variable in granule.data_vars.items():
                if not np.array_equal(found[name].values, variable.values, equal_nan=True):
                    raise AssertionError(name)
        _sha256(part)
        part.replace(theirs)

    times = interleaved(publish, publish_plainly)
    name = "the same, native 13 tiles, values to published file"
    return _with_size(name, times, 2.5, granule, options, ours, theirs, scaled)


def latlon_granule(levels: int) -> tuple[xr.Dataset, dict[str, Any]]:
    """THETA and SALT on the 0.5° grid, and how ECCO encodes them."""
    latitude = np.arange(-89.75, 90, 0.5, dtype=np.float32)
    longitude = np.arange(-179.75, 180, 0.5, dtype=np.float32)
    wet = latlon_wet(levels, latitude.size, longitude.size)
    dims = ("time", "Z", "latitude", "longitude")
    coords = {
        "latitude": ("latitude", latitude, {"units": "degrees_north", "axis": "Y"}),
        "longitude": ("longitude", longitude, {"units": "degrees_east", "axis": "X"}),
    }
    return _granule(wet, dims, coords, LATLON_REPEAT, (1, 5, latitude.size, longitude.size))


def native_granule(levels: int) -> tuple[xr.Dataset, dict[str, Any]]:
    """THETA and SALT on 13 tiles of 90 by 90, and how ECCO encodes them."""
    wet = native_wet(levels)
    corner = np.linspace(-180, 180, 13 * 90 * 90 * 4, dtype=np.float32).reshape(13, 90, 90, 4)
    axes = ("tile", "j", "i")
    coords = {
        **{
            name: (name, np.arange(n, dtype="i4"))
            for name, n in zip(axes, (13, 90, 90), strict=True)
        },
        "XC": (axes, corner.mean(-1), {"units": "degrees_east"}),
        "YC": (axes, corner.mean(-1) / 2, {"units": "degrees_north"}),
        "XC_bnds": ((*axes, "nb"), corner),
        "YC_bnds": ((*axes, "nb"), corner / 2),
    }
    return _granule(wet, ("time", "k", *axes), coords, (1, 1), (1, 10, 13, 90, 90))


def _granule(
    wet: npt.NDArray[np.bool_],
    dims: tuple[str, ...],
    coords: dict[str, Any],
    repeat: tuple[float, float],
    chunks: tuple[int, ...],
) -> tuple[xr.Dataset, dict[str, Any]]:
    granule = xr.Dataset(
        {
            "THETA": (dims, ocean_field("THETA", wet, repeat=repeat)[None], {"units": "degree_C"}),
            "SALT": (dims, ocean_field("SALT", wet, repeat=repeat)[None], {"units": "1e-3"}),
        },
        coords={
            "time": ("time", np.array(["1992-01-16T18"], "M8[ns]"), {"axis": "T"}),
            dims[1]: (dims[1], np.arange(len(wet), dtype="i4")),
            **coords,
        },
        attrs={"title": "ECCO Ocean Temperature and Salinity - sample", "Conventions": "CF-1.8"},
    )
    heavy = {"zlib": True, "complevel": 5, "shuffle": True, "_FillValue": FILL}
    encoding: dict[str, Any] = {name: {"_FillValue": None} for name in granule.coords}
    encoding["time"] |= {
        "dtype": "int32",
        "units": "hours since 1992-01-01 12:00:00",
        "chunksizes": (1,),
    }
    encoding |= {name: {**heavy, "chunksizes": chunks} for name in granule.data_vars}
    return granule, {"encoding": encoding, "unlimited_dims": ("time",)}


def _with_size(
    name: str,
    times: tuple[float, float],
    target: float,
    granule: xr.Dataset,
    options: dict[str, Any],
    ours: Path,
    theirs: Path,
    scaled: str,
) -> dict[str, Any]:
    """Row of two timings, held to the target for the size too, with the anchor in its note."""
    size = ours.stat().st_size / theirs.stat().st_size
    planes = _shuffled_chunks(granule, options)
    anchor = median_cpu_seconds(lambda: [zlib.compress(chunk, 4) for chunk in planes], runs=3)
    note = (
        f"{scaled}size {size:.4f} of the library's (at most {MOST_SIZE}), "
        f"{granule.nbytes / 1e6:.0f} MB of values; anchor zlib level 4 of the shuffled bytes "
        f"{anchor:.3f} s: ours costs {times[0] / anchor:.2f}, the baseline "
        f"{times[1] / anchor:.2f} times that"
    )
    made = row(line="ecco", name=name, ours=times[0], baseline=times[1], target=target, note=note)
    return made | {"met": made["met"] and size <= MOST_SIZE}


def _shuffled_chunks(granule: xr.Dataset, options: dict[str, Any]) -> list[bytes]:
    """The heavy variables' bytes as deflate meets them, made by numpy."""
    chunks: list[bytes] = []
    for name, variable in granule.data_vars.items():
        step = options["encoding"][name]["chunksizes"][1]
        for start in range(0, variable.shape[1], step):
            values = variable.values[:, start : start + step]
            filled = np.where(np.isnan(values), FILL, values).reshape(-1)
            chunks.append(filled.view(np.uint8).reshape(filled.size, -1).T.tobytes())
    return chunks


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
