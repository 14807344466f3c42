"""One granule: read the model's fields, turn, map, mask, describe; ready to be written.

The order for every variable is: read and check its fields, turn vectors to the east and north, map
to the target grid or mask on the native one, cast, describe. Fields are held one variable at a time
beyond the granule itself.
"""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dor_ecco_assets.ecco.catalogue import Catalogue, Dataset, Grid, Variable
from dor_ecco_assets.ecco.metadata import coordinate_attributes, global_attributes
from dor_ecco_assets.ecco.model_output import read_record
from dor_ecco_assets.ecco.names import GranuleName, granule_name, native_label, short_name
from dor_ecco_assets.ecco.quality import (
    is_constant,
    non_finite_in_wet,
    non_zero_on_land,
    outside_range,
)
from dor_ecco_assets.ecco.times import (
    FREQUENCIES,
    ModelClock,
    PeriodBounds,
    hours_since,
)
from dor_ecco_assets.ecco.vectors import to_east_north
from dor_ecco_assets.errors import InputUnusable
from dor_ecco_assets.lineage.product import Content, Task
from dor_ecco_assets.mapping.apply import RegridPlan, plan_regrid, regrid
from dor_ecco_assets.mapping.factors import check_grid, from_dataset
from dor_ecco_assets.stores.netcdf import value_range, verify_netcdf, write_netcdf
from dor_ecco_assets.stores.preview import field_preview, globe_of_tiles

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
_MASKS = {"C": "maskC", "W": "maskC", "U": "maskW", "V": "maskS"}


def make_granule(dataset: Dataset, catalogue: Catalogue, task: Task) -> Content:
    """The granule of one partition.

    Parameters
    ----------
    dataset : Dataset
    catalogue : Catalogue
    task : Task

    Returns
    -------
    Content

    Raises
    ------
    InputMissing, InputUnusable
        If a field cannot be read, is not what its name says, or holds values that no field of
        its kind can.
    GridMismatch
        If the mapping factors belong to another grid.
    """
    clock = catalogue.clock
    step = clock.step_of(task.partition, dataset.frequency)
    bounds = clock.period_bounds(step, dataset.frequency)
    grid = task.upstream(f"grids/{catalogue.release.grid_folder}")
    reader = _Fields(task, grid, catalogue, dataset)
    present = [n for n in dataset.variables if dataset.has_sources(catalogue, n, task.input_keys)]
    if dataset.grid == "native":
        label, variables = native_label(grid.attrs["side"]), _native(reader, present)
        skeleton = _native_coordinates(grid, dataset)
        resolution: Any = None
    else:
        target = task.upstream("grids/latlon_0p50deg")
        plan = _plan(task, grid)
        variables = _latlon(reader, present, plan)
        skeleton, label = _latlon_coordinates(target, grid, dataset), target.attrs["label"]
        resolution = float(target.attrs["resolution_degrees"])
    name = granule_name(
        dataset.grouping.stem,
        grid=dataset.grid,
        frequency=dataset.frequency,
        centre=bounds.centre,
        label=label,
        version=catalogue.release.version,
    )
    granule = _assemble(skeleton, variables, bounds, clock, catalogue, dataset)
    missing = [n for n in dataset.variables if n not in present]
    granule.attrs = global_attributes(
        granule, name, dataset, catalogue, task, bounds, grid.attrs["source"], resolution
    )
    encoding = granule_encoding(granule, dataset.grid)
    return _content(granule, encoding, name, dataset, reader, grid, missing)


def _content(
    granule: xr.Dataset,
    encoding: dict[str, dict[str, Any]],
    name: GranuleName,
    dataset: Dataset,
    reader: "_Fields",
    grid: xr.Dataset,
    missing: list[str],
) -> Content:
    def write(path: Path) -> None:
        write_netcdf(granule, path, encoding=encoding)
        verify_netcdf(path, granule, encoding=encoding)

    dataset_name = short_name(
        name.stem, grid=name.grid, frequency=name.frequency, version=name.version
    )
    first = next(iter(granule.data_vars))
    details: dict[str, Any] = {
        "granule": str(name),
        "variables": list(granule.data_vars),
        "shape": dict(granule[first].sizes),
        f"mean_{first}_{_unit_name(granule[first].attrs['units'])}": _mean(granule[first], grid),
        "wet_cells": int(np.count_nonzero(~np.isnan(granule[first].values))),
    }
    if missing:
        details["missing_variables"] = missing
    if reader.on_land:
        details["values_on_land"] = reader.on_land
    if reader.constant:
        details["constant_fields"] = reader.constant
    preview = None
    if dataset.frequency != "AVG_DAY":  # 9,497 days of pictures would fill the event log
        preview = lambda: _picture(granule[first], dataset.grid)  # noqa: E731
    return Content(f"ecco/{dataset_name}/{name}", write, details, preview)


class _Fields:
    """Reads the model fields of one granule, each once, and refuses what cannot be true."""

    def __init__(
        self, task: Task, grid: xr.Dataset, catalogue: Catalogue, dataset: Dataset
    ) -> None:
        self._task, self._grid, self._catalogue, self._dataset = task, grid, catalogue, dataset
        self._turned: dict[tuple[str, str], tuple[NDArray[Any], NDArray[Any]]] = {}
        self.on_land: dict[str, int] = {}
        self.constant: list[str] = []

    def read(self, name: str) -> NDArray[Any]:
        """One model field as tiles, checked against the wet mask of its points."""
        variable = self._catalogue.variables[name]
        key = self._key(name)
        levels = self._grid.sizes["k"] if self._dataset.grouping.dimension == "3D" else None
        field, _ = read_record(
            self._task.inputs,
            key,
            side=self._grid.attrs["side"],
            levels=levels,
            clock=self._catalogue.clock,
        )
        self._check(name, variable, field, self._task.inputs.locate(f"{key}.data"))
        return field

    def component(self, name: str) -> NDArray[Any]:
        """A published component to the east or north; its pair is turned once for both."""
        components = self._catalogue.variables[name].components
        assert components is not None
        pair = (components.x, components.y)
        if pair not in self._turned:
            x, y = self.read(pair[0]), self.read(pair[1])
            self._turned = {
                pair: to_east_north(
                    x,
                    y,
                    self._grid["CS"].values,
                    self._grid["SN"].values,
                    location=components.points,
                )
            }
        return self._turned[pair][components.orientation == "meridional"]

    def field(self, name: str) -> NDArray[Any]:
        """A published variable at its points on the native grid."""
        turned = self._catalogue.variables[name].components is not None
        return self.component(name) if turned else self.read(name)

    def wet(self, name: str) -> NDArray[np.bool_]:
        """Wet mask of one variable's points; that of the surface for a 2-D one."""
        mask = self._grid[_MASKS[self._catalogue.variables[name].location]].values
        return mask if self._dataset.grouping.dimension == "3D" else mask[0]

    def _key(self, name: str) -> str:
        prefix = f"{name}_{FREQUENCIES[self._dataset.frequency].periods[0]}."
        for file, key in self._task.input_keys.items():
            if file.startswith(prefix) and key is not None:
                return key.rpartition(".")[0]
        raise AssertionError(f"{name} was asked for without being present")

    def _check(self, name: str, variable: Variable, field: NDArray[Any], uri: str) -> None:
        wet = self.wet(name)
        bad = non_finite_in_wet(field, wet)
        if bad:
            raise InputUnusable(
                f"{uri}: {name} holds NaN or infinity in {bad} wet cells, expected none; the model "
                "run or the copy of the file is broken: look at the run, fetch the file again",
                code="NonFinite",
                uri=uri,
            )
        land = non_zero_on_land(field, wet)
        if land.cells and variable.on_land == "refuse":
            raise InputUnusable(
                f"{uri}: {name} is not 0 in {land.cells} land cells (largest {land.largest:g} "
                f"{variable.units}), expected 0; the file belongs to another grid or wet mask, or "
                f"the variable needs on_land: mask in ecco/variables.yaml",
                code="ValuesOnLand",
                uri=uri,
            )
        if land.cells:
            self.on_land[name] = land.cells
        if is_constant(field, wet):
            self.constant.append(name)
        if variable.valid_range is not None:
            low, high = variable.valid_range
            found = outside_range(field, wet, low=low, high=high)
            if found.cells:
                raise InputUnusable(
                    f"{uri}: {name} lies between {found.minimum:g} and {found.maximum:g} "
                    f"{variable.units}, expected {low:g} to {high:g}; {found.cells} wet cells are "
                    "outside: look at the run, or widen valid_range in ecco/variables.yaml",
                    code="OutOfRange",
                    uri=uri,
                )


def _native(reader: _Fields, names: list[str]) -> dict[str, NDArray[Any]]:
    return {
        name: np.where(reader.wet(name), reader.field(name), np.float32(np.nan))[np.newaxis]
        for name in names
    }


def _latlon(reader: _Fields, names: list[str], plan: RegridPlan) -> dict[str, NDArray[Any]]:
    return {name: regrid(reader.field(name), plan)[np.newaxis] for name in names}


def _plan(task: Task, grid: xr.Dataset) -> RegridPlan:
    """The regridding plan, prepared once per process for one set of factors."""
    key = "mapping/llc90_to_latlon_0p50deg"

    def prepare() -> RegridPlan:
        factors = from_dataset(task.upstream(key))
        check_grid(factors, grid["XC"].values, grid["YC"].values, grid["maskC"].values)
        return plan_regrid(factors)

    plan: RegridPlan = task.keep(f"plan {task.upstream_fingerprints[key]}", prepare)
    return plan


def _native_coordinates(grid: xr.Dataset, dataset: Dataset) -> xr.Dataset:
    names = ["i", "j", "i_g", "j_g", "tile", "XC", "YC", "XG", "YG", "XC_bnds", "YC_bnds"]
    if dataset.grouping.dimension == "3D":
        names += ["k", "k_u", "k_l", "k_p1", "Z", "Zu", "Zl", "Zp1", "Z_bnds"]
    return xr.Dataset(coords={name: _single(grid[name].variable) for name in names})


def _latlon_coordinates(target: xr.Dataset, grid: xr.Dataset, dataset: Dataset) -> xr.Dataset:
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


def _assemble(
    skeleton: xr.Dataset,
    variables: dict[str, NDArray[Any]],
    bounds: PeriodBounds,
    clock: ModelClock,
    catalogue: Catalogue,
    dataset: Dataset,
) -> xr.Dataset:
    attributes = coordinate_attributes(catalogue, dataset.grid)
    units = {"units": clock.time_units, "calendar": "proleptic_gregorian"}
    hours = hours_since(np.array([bounds.start, bounds.end, bounds.centre]), clock.start)
    granule = skeleton.assign_coords(
        time=("time", hours[2:], units),
        time_bnds=(("time", "nv"), hours[np.newaxis, :2], units),
    )
    for name in granule.coords:
        granule[name].attrs = {**attributes.get(str(name), {}), **granule[name].attrs}
    precision = np.dtype(catalogue.release.precision)
    for name, values in variables.items():
        values = values.astype(precision, copy=False)
        granule[name] = (
            _dimensions(catalogue.variables[name], dataset, values.ndim),
            values,
            _variable_attributes(catalogue, name, values, dataset.grid),
        )
    return granule


def _dimensions(variable: Variable, dataset: Dataset, rank: int) -> tuple[str, ...]:
    if dataset.grid == "latlon":
        return (
            ("time", "latitude", "longitude")
            if rank == 3
            else ("time", "Z", "latitude", "longitude")
        )
    horizontal = _HORIZONTAL[variable.location]
    if rank == 4:
        return ("time", *horizontal)
    return ("time", "k_l" if variable.location == "W" else "k", *horizontal)


def _variable_attributes(
    catalogue: Catalogue, name: str, values: NDArray[Any], grid: Grid
) -> dict[str, Any]:
    attributes = catalogue.attributes(name)
    extremes = value_range(values)
    if extremes.n_valid:
        attributes |= {"valid_min": extremes.minimum, "valid_max": extremes.maximum}
    if grid == "latlon" and catalogue.variables[name].location == "W":
        attributes["vertical_location"] = "top face of the cell"
    if grid == "native":
        attributes["coordinates"] = _auxiliary(catalogue.variables[name], values.ndim)
    return attributes


def _auxiliary(variable: Variable, rank: int) -> str:
    """Auxiliary coordinates of a native variable, in fixed order."""
    horizontal = {"C": ["XC", "YC"], "W": ["XC", "YC"], "U": [], "V": []}[variable.location]
    vertical = [] if rank == 4 else ["Zl" if variable.location == "W" else "Z"]
    return " ".join(["time", *horizontal, *vertical])


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
        if "Z" in variable.dims or any(str(dim).startswith("k") for dim in variable.dims):
            chunks[1] = min(chunks[1], LEVELS_PER_CHUNK[grid])
        encoding[str(name)] = {
            "zlib": True,
            "complevel": 5,
            "shuffle": True,
            "chunksizes": tuple(chunks),
            "_FillValue": variable.dtype.type(FILL),
        }
    return encoding


def _mean(variable: xr.DataArray, grid: xr.Dataset) -> float:
    """Mean over wet cells weighted by area: a number a reader recognises."""
    values = variable.values[0]
    if (values.ndim > 2 and "tile" not in variable.dims) or values.ndim > 3:
        values = values[0]
    values = values.astype(np.float64)  # of one level: all of them would be the granule again
    if "tile" in variable.dims:
        area = grid["rA"].values
    else:
        area = np.broadcast_to(
            np.cos(np.radians(variable["latitude"].values))[:, np.newaxis], values.shape
        )
    wet = ~np.isnan(values)
    return round(float(np.sum(values[wet] * area[wet]) / np.sum(area[wet])), 6)


def _unit_name(units: str) -> str:
    return units.replace(" ", "_").replace("-", "")


def _picture(variable: xr.DataArray, grid: Grid) -> bytes:
    values = variable.values[0]
    surface = values[0] if values.ndim == (4 if grid == "native" else 3) else values
    return field_preview(globe_of_tiles(surface) if grid == "native" else surface)
