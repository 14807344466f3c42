"""The Zarr stores of a case, written from the maps and sums that its months left.

Maps are read from the months' planes files a block at a time, so memory does not grow with the
length of a case; bytes follow from planes and series alone.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import xarray as xr
import zarr
from numcodecs import Blosc
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from dor_ecco_assets.atlas.calendar import CALENDAR, DAYS_PER_YEAR, INJECTION_YEAR
from dor_ecco_assets.dor.case_grid import CaseGrid
from dor_ecco_assets.dor.month import MOL_PER_M2_YEAR, MonthSetup
from dor_ecco_assets.dor.research import intervention_day
from dor_ecco_assets.dor.rings import N_RINGS, RADII_M
from dor_ecco_assets.dor.series import CaseSeries
from dor_ecco_assets.stores.zarr_objects import write_zarr

__all__ = [
    "MonthPlanes",
    "StoreContent",
    "case_rows",
    "write_analysis_store",
    "write_case_rows",
    "write_excess_store",
    "write_map_fields",
]

type Array = NDArray[Any]

#: Months in one chunk of a map: a year of gx1v7 is 5.9 MB.
_CHUNK_MONTHS = 12
#: Largest chunk of the excess store, which holds all months of some rows, bytes.
_ROWS_BYTES = 16 << 20

_UNITS = {
    "FG": "mmol/m^3 cm/s",
    "DIC_SURF": "mmol/m^3",
    "ALK_SURF": "meq/m^3",
    "DIC": "mmol/m^2",
    "ALK": "meq/m^2",
    "PH": "1",
    "pCO2SURF": "ppmv",
}
_LONG_NAMES = {
    "FG": "air-sea flux of CO2, positive into the ocean",
    "DIC_SURF": "dissolved inorganic carbon at the surface",
    "ALK_SURF": "alkalinity at the surface",
    "DIC": "column integral of dissolved inorganic carbon",
    "ALK": "column integral of alkalinity",
    "PH": "surface pH",
    "pCO2SURF": "surface pCO2",
}
#: Names in the analysis store, and the planes they are.
_ANALYSIS = {
    "FG_CO2_ADD": ("FG_CO2_ADD", "added flux of CO2, positive up", "mol m-2 yr-1"),
    "DIC_SURF": ("DIC_SURF.experimental", "DIC at the surface", "mmol/m^3"),
    "ALK_SURF": ("ALK_SURF.experimental", "alkalinity at the surface", "meq/m^3"),
    "DIC_ADD_SURF": ("DIC_SURF.delta", "DIC minus its twin at the surface", "mmol/m^3"),
    "ALK_ADD_SURF": ("ALK_SURF.delta", "alkalinity minus its twin at the surface", "meq/m^3"),
    "PH_ADD_SURF": ("PH.delta", "surface pH minus its twin", "1"),
    "pCO2_ADD_SURF": ("pCO2SURF.delta", "surface pCO2 minus its twin", "ppmv"),
}


@dataclass(frozen=True)
class MonthPlanes:
    """The maps of every month, each month in its file.

    Parameters
    ----------
    files : tuple of Path
        In the order of months.
    names : tuple of str
        Planes of each file, in order.
    shape : (int, int)
    """

    files: tuple[Path, ...]
    names: tuple[str, ...]
    shape: tuple[int, int]

    def read(self, name: str, months: slice, rows: slice = slice(None)) -> NDArray[np.float32]:
        """One map of some months and rows, shape (months, rows, nlon)."""
        place, layout = self.names.index(name), (len(self.names), *self.shape)
        return np.stack(
            [
                np.memmap(file, np.float32, "r", shape=layout)[place, rows]
                for file in self.files[months]
            ]
        )


@dataclass(frozen=True, eq=False)
class StoreContent:
    """All that the stores of a case are written from.

    Parameters
    ----------
    setup : MonthSetup
    planes : MonthPlanes
    series : CaseSeries
    elapsed_days : ndarray of int64, shape (months,)
        From the intervention to the first of each month.
    middle_days : ndarray of float64, shape (months,)
        Middle of each month, days since 0000-01-01.
    attributes : mapping
        Written into every store.
    """

    setup: MonthSetup
    planes: MonthPlanes
    series: CaseSeries
    elapsed_days: NDArray[np.int64]
    middle_days: NDArray[np.float64]
    attributes: Mapping[str, Any]

    @property
    def n_months(self) -> int:
        """Length of the case."""
        return len(self.planes.files)

    @property
    def grid(self) -> CaseGrid:
        """The grid of the case."""
        return self.setup.grid

    @property
    def time_delta(self) -> NDArray[np.float64]:
        """Length of every month; all as the first where the reference is repeated."""
        days = self.series.days
        return np.full_like(days, days[0]) if self.setup.compat == "reference" else days


class _Group:
    """A Zarr group being written; one typed door to zarr-python."""

    def __init__(self, path: Path, zarr_format: int, attributes: Mapping[str, Any]) -> None:
        self._format = zarr_format
        self._group: Any = zarr.create_group(
            path, zarr_format=cast(Any, zarr_format), attributes=dict(attributes)
        )

    def array(
        self,
        name: str,
        dims: tuple[str, ...],
        shape: tuple[int, ...],
        dtype: str,
        chunks: tuple[int, ...],
        about: Mapping[str, Any],
    ) -> Any:
        """An array to be written by region; NaN where nothing is."""
        options: dict[str, Any] = {"attributes": dict(about), "dimension_names": dims}
        fill: Any = np.nan if dtype.startswith("float") else 0
        compressor: Any = BloscCodec(cname="zstd", clevel=1, shuffle="shuffle")
        if self._format == 2:
            # Readers of this format find the dimensions in an attribute.
            options = {"attributes": {"_ARRAY_DIMENSIONS": list(dims), **about}}
            fill = fill or None  # readers of this format take a number to mean missing
            compressor = Blosc(cname="zstd", clevel=1, shuffle=Blosc.SHUFFLE)
        return self._group.create_array(
            name,
            shape=shape,
            dtype=dtype,
            chunks=chunks,
            fill_value=fill,
            compressors=compressor if shape else None,
            **options,
        )

    def whole(self, name: str, dims: tuple[str, ...], values: Any, **about: Any) -> None:
        """A small array as one chunk."""
        values = np.asarray(values)
        chunks = tuple(max(1, size) for size in values.shape)
        made = self.array(name, dims, values.shape, values.dtype.name, chunks, about)
        made[...] = values

    def geography(self, grid: CaseGrid) -> None:
        """Coordinates of the horizontal grid."""
        plane = ("nlat", "nlon")
        self.whole("TLAT", plane, grid.points["TLAT"], units="degrees_north")
        self.whole("TLONG", plane, grid.points["TLONG"], units="degrees_east")
        self.whole("KMT", plane, grid.kmt, long_name="number of wet levels")

    def consolidate(self) -> None:
        """Gather the metadata of a Zarr v2 group in one object."""
        zarr.consolidate_metadata(self._group.store, zarr_format=cast(Any, self._format))


def _blocks(n: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def write_analysis_store(path: Path, content: StoreContent) -> None:
    """Write the analysis store: global series in float64, surface maps in float32.

    Parameters
    ----------
    path : Path
        A folder that is not there.
    content : StoreContent
    """
    n, grid, series = content.n_months, content.grid, content.series
    plane = ("nlat", "nlon")
    names = " ".join(("AREA_M2", "KMT", "TLAT", "TLONG"))
    group = _Group(path, 3, dict(content.attributes) | {"coordinates": names})
    group.geography(grid)
    group.whole("AREA_M2", plane, grid.area_cm2 * 1e-4, units="m2")
    about = {"units": "days since 0000-01-01", "calendar": CALENDAR}
    group.whole("time", ("time",), content.middle_days, long_name="middle of the month", **about)
    group.whole("time_delta", ("time",), series.days, units="days", long_name="length of the month")
    for name, values, what in (
        ("DIC_ADD_TOTAL", series.uptake_mol, "extra uptake of CO2 since the injection"),
        ("DIC_FLUX", series.dic_flux_mol, "DIC added since the injection"),
        ("ALK_FLUX", series.alk_flux_mol, "alkalinity added since the injection"),
    ):
        group.whole(name, ("time",), values, units="mol", long_name=what)
    for name in ("DIC_FLUX", "ALK_FLUX"):
        total = _total_flux(content, name)
        what = f"{name.split('_')[0]} added in all"
        group.whole(f"{name}_TOTAL", plane, total, units="mol m-2", long_name=what)
    for name, (source, long_name, units) in _ANALYSIS.items():
        made = group.array(
            name,
            ("time", *plane),
            (n, *grid.kmt.shape),
            "float32",
            (min(n, _CHUNK_MONTHS), *grid.kmt.shape),
            {"long_name": long_name, "units": units},
        )
        for block in _blocks(n, _CHUNK_MONTHS):
            made[block] = content.planes.read(source, block)


def _total_flux(content: StoreContent, name: str) -> NDArray[np.float32]:
    """Sum over time of a flux, mol/m², NaN on land."""
    total = np.zeros(content.grid.kmt.shape)
    for k, days in enumerate(content.series.days):
        flux = content.planes.read(name, slice(k, k + 1))[0].astype(np.float64)
        total += flux * (MOL_PER_M2_YEAR * (days / DAYS_PER_YEAR))
    return total.astype(np.float32)


def write_map_fields(path: Path, content: StoreContent) -> None:
    """Write the map variables of an atlas in both bands, NaN on land, in native units.

    Parameters
    ----------
    path : Path
        A folder that is not there.
    content : StoreContent
    """
    n, grid = content.n_months, content.grid
    group = _Group(path, 3, dict(content.attributes) | {"coordinates": "KMT TLAT TLONG"})
    group.geography(grid)
    bands = ("delta", "experimental")
    group.whole("elapsed_time", ("elapsed_time",), np.arange(n, dtype=np.int32), units="months")
    for name in content.setup.variables:
        made = group.array(
            name,
            ("band", "elapsed_time", "nlat", "nlon"),
            (len(bands), n, *grid.kmt.shape),
            "float32",
            (1, min(n, _CHUNK_MONTHS), *grid.kmt.shape),
            {"long_name": _LONG_NAMES[name], "units": _UNITS[name], "band_names": list(bands)},
        )
        for place, band in enumerate(bands):
            for block in _blocks(n, _CHUNK_MONTHS):
                made[place, block] = content.planes.read(f"{name}.{band}", block)


def write_excess_store(path: Path, content: StoreContent) -> None:
    """Write the flux anomaly with all months in one chunk: Zarr v2, consolidated.

    Parameters
    ----------
    path : Path
        A folder that is not there.
    content : StoreContent
    """
    n, grid, case = content.n_months, content.grid, content.setup.case
    nlat, nlon = grid.kmt.shape
    leading, plane = ("polygon_id", "intervention_date", "elapsed_time"), ("nlat", "nlon")
    names = "KMT TAREA TLAT TLONG area_m2 time_delta"
    group = _Group(path, 2, dict(content.attributes) | {"coordinates": names})
    group.whole("polygon_id", leading[:1], np.array([case.polygon_master], np.int32))
    day = np.array([intervention_day(case.injection_month)], np.int64)
    about = {"units": f"days since {INJECTION_YEAR}-01-01", "calendar": CALENDAR}
    group.whole("intervention_date", leading[1:2], day, **about)
    group.whole("elapsed_time", leading[2:], content.elapsed_days, units="days")
    group.whole(
        "time_delta",
        leading[2:],
        content.time_delta,
        units="days",
        long_name="length of the averaging interval",
    )
    group.geography(grid)
    group.whole("TAREA", plane, grid.area_cm2, units="cm2")
    group.whole("area_m2", plane, grid.area_cm2 * 1e-4, units="m2")
    rows = max(1, min(nlat, _ROWS_BYTES // (4 * n * nlon)))
    rows = math.ceil(nlat / math.ceil(nlat / rows))  # chunks of like size
    made = group.array(
        "FG_CO2_excess",
        (*leading, *plane),
        (1, 1, n, nlat, nlon),
        "float32",
        (1, 1, n, rows, nlon),
        {"long_name": "FG_CO2 minus its twin, positive into the ocean", "units": _UNITS["FG"]},
    )
    for block in _blocks(nlat, rows):
        made[0, 0, :, block] = content.planes.read("FG.delta", slice(None), block)
    group.consolidate()


def case_rows(content: StoreContent) -> xr.Dataset:
    """Curves of one case in float64: what stores 1 and 3 are collected from.

    Returns
    -------
    Dataset
        ``efficiency`` (elapsed_time), ``uptake_percent`` (elapsed_time, dist2center),
        ``ring_uptake_mmol`` (elapsed_time, ring) since the injection.
    """
    series = content.series
    return xr.Dataset(
        {
            "efficiency": (
                "elapsed_time",
                series.efficiency,
                {"units": "1", "long_name": "extra uptake per amount removed or added"},
            ),
            "uptake_percent": (
                ("elapsed_time", "dist2center"),
                series.uptake_percent,
                {"units": "percent", "long_name": "uptake inside a radius, of the last total"},
            ),
            "ring_uptake_mmol": (
                ("elapsed_time", "ring"),
                series.ring_uptake_mmol,
                {"units": "mmol", "long_name": "extra uptake in rings of 50 km"},
            ),
        },
        {
            "elapsed_time": (
                "elapsed_time",
                np.arange(content.n_months, dtype=np.int32),
                {"units": "months"},
            ),
            "dist2center": ("dist2center", np.array(RADII_M, np.int32), {"units": "m"}),
            "ring": (
                "ring",
                np.arange(N_RINGS, dtype=np.int32),
                {"long_name": "ring r ends at 50 (r + 1) km; the last one holds all beyond"},
            ),
        },
        dict(content.attributes),
    )


def write_case_rows(path: Path, content: StoreContent) -> None:
    """Write `case_rows` as Zarr v3."""
    write_zarr(case_rows(content), path)


#: Writers of the stores of a case, by the product's name.
STORES: dict[str, Callable[[Path, StoreContent], None]] = {
    "analysis_store": write_analysis_store,
    "fg_co2_excess": write_excess_store,
    "map_fields": write_map_fields,
    "case_rows": write_case_rows,
}
