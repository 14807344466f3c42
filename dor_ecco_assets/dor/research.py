"""Research-grade files: one ordinary NetCDF4 file per month, bit for bit what the model wrote.

All that months share (definitions, attributes, compressed statics) is made once as a template,
whose monthly chunks are unallocated. A month is a copy of it that gets its chunks as finished
bytes through HDF5's direct-chunk call; each says shuffle + deflate, and that is what it holds.
"""

import hashlib
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import h5py
import numpy as np
from h5py import h5s
from isal import isal_zlib
from numpy.typing import NDArray

from dor_ecco_assets.atlas.calendar import (
    CALENDAR,
    DAYS_PER_MONTH,
    INJECTION_YEAR,
)
from dor_ecco_assets.atlas.cases import Case
from dor_ecco_assets.dor.acceptance import MonthTime
from dor_ecco_assets.dor.case_grid import CaseGrid
from dor_ecco_assets.dor.history import (
    History,
    HistoryVariable,
    month_label,
    monthly_fields,
    numbers_of,
)
from dor_ecco_assets.storage.directory import sync_folder
from dor_ecco_assets.stores.chunks import TolerantFile
from dor_ecco_assets.stores.deflate import HASTY, deflate_planes

__all__ = [
    "STATIC_COORDINATES",
    "PackedField",
    "PlaneBuffers",
    "Templates",
    "intervention_day",
    "is_packed",
    "pack_field",
    "research_name",
    "write_research_file",
]

type Array = NDArray[Any]

LEADING = ("polygon_id", "intervention_date", "elapsed_time")

#: Statics of a history file that are coordinates of the research file.
STATIC_COORDINATES = frozenset(
    (
        *("TLAT", "TLONG", "ULAT", "ULONG", "TAREA", "UAREA", "KMT", "KMU", "REGION_MASK"),
        *("dz", "dzw", "z_t", "z_t_150m", "z_w", "z_w_top", "z_w_bot", "HT", "HU", "DXT"),
        *("DYT", "DXU", "DYU", "HTN", "HTE", "HUS", "HUW", "ANGLE", "ANGLET"),
        *("days_in_norm_year", "grav", "omega", "cp_sw", "vonkar", "rho_air", "rho_sw"),
        *("rho_fw", "stefan_boltzmann", "latent_heat_vapor", "latent_heat_fusion"),
        *("latent_heat_fusion_mks", "ocn_ref_salinity", "sea_ice_salinity", "T0_Kelvin"),
        *("salt_to_ppt", "ppt_to_salt", "mass_to_Sv", "heat_to_PW", "salt_to_Svppt"),
        *("salt_to_mmday", "momentum_factor", "hflux_factor", "fwflux_factor"),
        *("salinity_factor", "sflux_factor", "nsurface_t", "nsurface_u", "radius", "sound"),
        "cp_air",
    )
)
_FILLS = ("_FillValue", "missing_value")


def research_name(case: Case, month: tuple[int, int]) -> str:
    """Path of a month's research file below the product: ``{polygon}/{month}/{file}``."""
    experiment = case.name.split(".glb-", 1)[0]
    polygon, start = f"{case.polygon_master:03d}", f"{case.injection_month:02d}"
    return (
        f"{polygon}/{start}/{experiment}.glb-{case.forcing.lower()}.{polygon}-{INJECTION_YEAR}-"
        f"{start}.pop.h.{month_label(month)}.nc"
    )


def intervention_day(injection_month: int) -> int:
    """First day of the injection month, days since 1999-01-01."""
    return sum(DAYS_PER_MONTH[: injection_month - 1])


# Packing


class PlaneBuffers:
    """Room for the byte planes of a field, handed from one to the next.

    Fresh memory for every field would cost as much as splitting it.
    """

    def __init__(self, count: int) -> None:
        self._free: SimpleQueue[NDArray[np.uint8]] = SimpleQueue()
        for _ in range(count):
            self._free.put(np.empty(0, np.uint8))

    def take(self, size: int) -> NDArray[np.uint8]:
        """A buffer of at least `size` bytes; waits for one."""
        buffer = self._free.get()
        return buffer if buffer.size >= size else np.empty(size, np.uint8)

    def give(self, buffer: NDArray[np.uint8]) -> None:
        """Hand a buffer back."""
        self._free.put(buffer)


@dataclass(frozen=True)
class PackedField:
    """One field as it will lie in the file.

    Parameters
    ----------
    name : str
    stream : bytes
        Shuffled and deflated.
    gaps, strays : int
        Wet cells without a number, dry cells with one; 0 for what is not on the grid.
    """

    name: str
    stream: bytes
    gaps: int = 0
    strays: int = 0


def pack_field(
    variable: HistoryVariable, values: Array, grid: CaseGrid, buffers: PlaneBuffers
) -> PackedField:
    """Turn one field into its chunk, and count odd cells in the same pass.

    Parameters
    ----------
    variable : HistoryVariable
    values : ndarray, big-endian
        Of one month.
    grid : CaseGrid
    buffers : PlaneBuffers
    """
    from dor_ecco_assets.dor.reductions import file_bits, planes_of_bits

    item = values.dtype.itemsize
    buffer = buffers.take(values.nbytes)
    try:
        planes = buffer[: values.nbytes].reshape(item, values.size)
        on_grid = variable.dims[-2:] == ("nlat", "nlon")
        if values.dtype == np.dtype(">f4") and on_grid:
            fill = np.float32(np.nan if variable.fill is None else variable.fill)
            bits = file_bits(values, grid.kmt.size)
            counted = planes_of_bits(bits, grid.kmt.reshape(-1), fill.view(np.uint32), planes)
        else:
            planes[...] = values.reshape(-1).view(np.uint8).reshape(-1, item)[:, ::-1].T
            counted = (0, 0)
        return PackedField(variable.name, deflate_planes(planes, HASTY), *counted)
    finally:
        buffers.give(buffer)


# Templates


class Templates:
    """Templates of a case's research files, by what their history files share.

    Months whose headers and statics are equal share one, so a file's bytes depend on its own
    history file and not on which month was made first. Only the latest is kept.

    Parameters
    ----------
    folder : Path
        Scratch.
    case : Case
    grid : CaseGrid
    """

    def __init__(self, folder: Path, case: Case, grid: CaseGrid) -> None:
        self._folder, self._case, self._grid = folder, case, grid
        self._latest: tuple[str, Path] | None = None

    def path_for(self, history: History) -> Path:
        """The template for a history file, made where there is none yet."""
        key = self._key(history)
        if self._latest is not None and self._latest[0] == key:
            return self._latest[1]
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / "template.nc"
        path.unlink(missing_ok=True)
        _write_template(path, history, self._case, self._grid)
        self._latest = (key, path)
        return path

    def _key(self, history: History) -> str:
        said = [
            repr((name, variable.dtype.str, variable.dims, variable.shape, variable.attributes))
            for name, variable in history.variables.items()
        ]
        digest = hashlib.sha256("\n".join([repr(history.attributes), *said]).encode())
        for name, variable in history.variables.items():
            if not variable.monthly:
                values = np.ascontiguousarray(history.values(name)).reshape(-1)
                digest.update(isal_zlib.crc32(values.view(np.uint8)).to_bytes(4))
        return digest.hexdigest()


def _write_template(path: Path, history: History, case: Case, grid: CaseGrid) -> None:
    """Have the netCDF library make a whole file but for the monthly values."""
    import netCDF4
    from xarray.backends.netCDF4_ import NETCDF4_PYTHON_LOCK

    # Read first: the lock is also that of a history file in NetCDF4.
    statics = {name: history.values(name) for name, v in history.variables.items() if not v.monthly}
    with NETCDF4_PYTHON_LOCK, netCDF4.Dataset(path, "w", format="NETCDF4") as file:
        _Template(file, history, statics, case, grid).write()


class _Template:
    """Writes one template; exists so that its parts share the open file."""

    def __init__(
        self, file: Any, history: History, statics: dict[str, Array], case: Case, grid: CaseGrid
    ) -> None:
        self._file, self._history, self._statics = file, history, statics
        self._case, self._grid = case, grid

    def write(self) -> None:
        history, fields = self._history, monthly_fields(self._history)
        statics = {name: history.variables[name] for name in self._statics}
        used = {dim for each in (*fields.values(), *statics.values()) for dim in each.dims}
        for name in LEADING:
            self._file.createDimension(name, 1)
        for name, size in history.dims.items():
            if name in used - {"time"}:
                self._file.createDimension(name, size)
        coordinates = [name for name in statics if name in STATIC_COORDINATES - used]
        text = " ".join([*coordinates, "area_m2", "time_delta"])
        self._attributes(
            self._file, history.attributes | {"title": self._case.name, "coordinates": text}
        )
        self._axes()
        for name, variable in statics.items():
            if name in STATIC_COORDINATES:
                self._static_coordinate(name, variable)
            else:
                about = variable.attributes
                self._static(name, _native(self._statics[name]), variable.dims, about)
        about = {"units": "m^2", "long_name": "area of T cells"}
        self._static("area_m2", self._grid.area_cm2 * 1e-4, ("nlat", "nlon"), about, nan_fill=True)
        for name, variable in fields.items():
            self._field(name, variable)

    def _axes(self) -> None:
        start = f"{INJECTION_YEAR}-01-01"
        self._static(
            "polygon_id",
            np.array([self._case.polygon_master], np.int32),
            LEADING[:1],
            {"long_name": "polygon ID"},
        )
        self._static(
            "intervention_date",
            np.array([intervention_day(self._case.injection_month)], np.int64),
            LEADING[1:2],
            {
                "long_name": "first day of the intervention",
                "units": f"days since {start}",
                "calendar": CALENDAR,
            },
        )
        about = {"long_name": "time since the intervention date", "units": "days"}
        self._contiguous("elapsed_time", np.dtype("i8"), about)
        self._contiguous(
            "time",
            np.dtype("f8"),
            {
                "long_name": "middle of the averaging interval",
                "units": "days since 0000-01-01",
                "calendar": CALENDAR,
            },
        )
        about = {"long_name": "length of the averaging interval", "units": "days"}
        self._contiguous("time_delta", np.dtype("f8"), about)

    def _contiguous(self, name: str, dtype: np.dtype[Any], about: dict[str, Any]) -> None:
        """One value along elapsed_time, given room now and its value by every month."""
        self._static(name, np.zeros(1, dtype), LEADING[2:], about, nan_fill=dtype.kind == "f")

    def _static_coordinate(self, name: str, variable: HistoryVariable) -> None:
        """Coordinates come from the grid: land blocks that were left out hold none."""
        about = {key: value for key, value in variable.attributes.items() if key not in _FILLS}
        if name == "KMT":
            self._static(name, self._grid.kmt, variable.dims, about)
        elif name in self._grid.points:
            values = self._grid.points[name].astype(variable.dtype.newbyteorder("="))
            self._static(name, values, variable.dims, about, nan_fill=True)
        elif variable.dtype.kind == "f":
            values = numbers_of(variable, self._statics[name]).astype(
                variable.dtype.newbyteorder("=")
            )
            self._static(name, values, variable.dims, about, nan_fill=True)
        else:
            self._static(name, _native(self._statics[name]), variable.dims, about)

    def _static(
        self,
        name: str,
        values: Array,
        dims: tuple[str, ...],
        about: dict[str, Any],
        *,
        nan_fill: bool = False,
    ) -> None:
        options: dict[str, Any] = {}
        fill = np.nan if nan_fill else about.get("_FillValue")
        moving = dims == LEADING[2:]
        if values.dtype.kind == "f" and values.ndim and not moving:
            options = {"zlib": True, "complevel": 4, "shuffle": True, "chunksizes": values.shape}
        elif values.ndim:
            options = {"contiguous": True}
        made = self._file.createVariable(name, values.dtype, dims, fill_value=fill, **options)
        made.set_auto_maskandscale(False)
        made.set_auto_chartostring(False)
        self._attributes(made, about)
        made[...] = values

    def _field(self, name: str, variable: HistoryVariable) -> None:
        shape = (1, 1, 1, *variable.shape[1:])
        packed = is_packed(variable)
        options: dict[str, Any] = {"contiguous": True}
        if packed:
            options = {"zlib": True, "complevel": 4, "shuffle": True, "chunksizes": shape}
        made = self._file.createVariable(
            name,
            variable.dtype.newbyteorder("="),
            (*LEADING, *variable.dims[1:]),
            fill_value=variable.attributes.get("_FillValue"),
            **options,
        )
        self._attributes(made, variable.attributes)

    def _attributes(self, holder: Any, about: dict[str, Any]) -> None:
        holder.setncatts({key: value for key, value in about.items() if key != "_FillValue"})


def _native(values: Array) -> Array:
    return values.astype(values.dtype.newbyteorder("="))


def is_packed(variable: HistoryVariable) -> bool:
    """Whether a monthly variable is numbers, and so is compressed."""
    return variable.dtype.kind in "iuf"


# Months


def write_research_file(
    path: Path,
    template: Path,
    history: History,
    time: MonthTime,
    elapsed: int,
    fields: Iterable[PackedField],
) -> None:
    """Write the research file of one month; it appears by rename, from a hidden file beside it.

    Parameters
    ----------
    path : Path
    template : Path
    history : History
    time : MonthTime
    elapsed : int
        Days from the intervention to the first of the month.
    fields : iterable of PackedField
        Every numeric monthly field; taken one by one, so that few are held.

    Raises
    ------
    OSError
        If the disk is full or refuses the write; nothing is left then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        shutil.copyfile(template, part)
        with TolerantFile(part, "r+") as file:
            try:
                with h5py.File(file, "r+") as opened:
                    hdf: Any = opened  # its stubs take every item for a group too
                    hdf["time"][...] = time.middle_day
                    hdf["time_delta"][...] = time.days
                    hdf["elapsed_time"][...] = elapsed
                    for field in fields:
                        target = hdf[field.name]
                        target.id.write_direct_chunk((0,) * target.ndim, field.stream)
                        file.raise_fault()
                    for name, variable in monthly_fields(history).items():
                        if not is_packed(variable):
                            # As bytes: a conversion would end text of one character with a 0.
                            kept = np.ascontiguousarray(history.values(name))
                            identifier = hdf[name].id
                            identifier.write(h5s.ALL, h5s.ALL, kept, identifier.get_type())
            finally:
                file.raise_fault()
            os.fsync(file.fileno())
        part.replace(path)
        sync_folder(path.parent)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
