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
from dor_ecco_assets.ecco.fields import Fields
from dor_ecco_assets.ecco.layout import (
    dimensions,
    granule_encoding,
    latlon_coordinates,
    native_coordinates,
)
from dor_ecco_assets.ecco.metadata import (
    check_complete,
    coordinate_attributes,
    global_attributes,
    in_order,
)
from dor_ecco_assets.ecco.names import GranuleName, granule_name, native_label, short_name
from dor_ecco_assets.ecco.times import ModelClock, PeriodBounds, hours_since
from dor_ecco_assets.lineage.product import Content, Task
from dor_ecco_assets.mapping.apply import RegridPlan, plan_regrid, regrid
from dor_ecco_assets.mapping.factors import check_grid, from_dataset
from dor_ecco_assets.stores.netcdf import value_range, verify_netcdf, write_netcdf
from dor_ecco_assets.stores.preview import field_preview, globe_of_tiles


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
    reader = Fields(task, grid, catalogue, dataset)
    present = [n for n in dataset.variables if dataset.has_sources(catalogue, n, task.input_keys)]
    if dataset.grid == "native":
        label, variables = native_label(grid.attrs["side"]), _native(reader, present)
        skeleton = native_coordinates(grid, dataset)
        resolution: Any = None
    else:
        target = task.upstream(catalogue.target_grid)
        plan = regrid_plan(task, grid, catalogue.factors)
        variables = _latlon(reader, present, plan)
        skeleton, label = latlon_coordinates(target, grid, dataset), target.attrs["label"]
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
    granule.attrs = global_attributes(
        granule, name, dataset, catalogue, task, bounds, grid.attrs["source"], resolution
    )
    missing = [n for n in dataset.variables if n not in present]
    if missing:
        granule.attrs = in_order({**granule.attrs, "missing_variables": ", ".join(missing)})
    components = {n: reader.is_precomputed(n) for n in present if catalogue.variables[n].components}
    if components:
        granule.attrs = in_order({**granule.attrs, "vector_source": _vector_source(components)})
    check_complete(granule)
    encoding = granule_encoding(granule, dataset.grid)
    return _content(granule, encoding, name, dataset, reader, grid, missing)


def _vector_source(precomputed: dict[str, bool]) -> str:
    """What the components of a granule are: all alike, or each said by name."""
    words = {name: "precomputed" if ready else "rotate" for name, ready in precomputed.items()}
    kinds = set(words.values())
    return (
        kinds.pop() if len(kinds) == 1 else ", ".join(f"{n}: {word}" for n, word in words.items())
    )


def _content(
    granule: xr.Dataset,
    encoding: dict[str, dict[str, Any]],
    name: GranuleName,
    dataset: Dataset,
    reader: Fields,
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
    details |= reader.remarks()
    preview = None
    if dataset.frequency not in (
        "AVG_DAY",
        "SNAP",
    ):  # 9,497 days of pictures would fill the event log
        preview = lambda: _picture(granule[first], dataset.grid)  # noqa: E731
    return Content(f"ecco/{dataset_name}/{name}", write, details, preview)


def _native(reader: Fields, names: list[str]) -> dict[str, NDArray[Any]]:
    variables: dict[str, NDArray[Any]] = {}
    for name in names:
        field = reader.field(name)
        np.copyto(field, np.float32(np.nan), where=~reader.wet(name))
        variables[name] = field[np.newaxis]
    return variables


def _latlon(reader: Fields, names: list[str], plan: RegridPlan) -> dict[str, NDArray[Any]]:
    return {name: regrid(reader.field(name), plan)[np.newaxis] for name in names}


def regrid_plan(task: Task, grid: xr.Dataset, key: str) -> RegridPlan:
    """The regridding plan of the factors `key`, prepared once per process for one set of them."""

    def prepare() -> RegridPlan:
        factors = from_dataset(task.upstream(key))
        check_grid(factors, grid["XC"].values, grid["YC"].values, grid["maskC"].values)
        return plan_regrid(factors)

    plan: RegridPlan = task.keep(f"plan {task.upstream_fingerprints[key]}", prepare)
    return plan


def _assemble(
    skeleton: xr.Dataset,
    variables: dict[str, NDArray[Any]],
    bounds: PeriodBounds,
    clock: ModelClock,
    catalogue: Catalogue,
    dataset: Dataset,
) -> xr.Dataset:
    attributes = coordinate_attributes(catalogue, dataset.grid, dataset.frequency)
    units = {"units": clock.time_units, "calendar": "proleptic_gregorian"}
    hours = hours_since(np.array([bounds.start, bounds.end, bounds.centre]), clock.start)
    times: dict[str, Any] = {"time": ("time", hours[2:], units)}
    if dataset.frequency != "SNAP":
        times["time_bnds"] = (("time", "nv"), hours[np.newaxis, :2], units)
    granule = skeleton.assign_coords(times)
    for name in granule.coords:
        granule[name].attrs = {**attributes.get(str(name), {}), **granule[name].attrs}
    precision = np.dtype(catalogue.release.precision)
    for name, values in variables.items():
        values = values.astype(precision, copy=False)
        granule[name] = (
            dimensions(catalogue.variables[name], dataset, values.ndim),
            values,
            variable_attributes(catalogue, name, values, dataset.grid),
        )
    return granule


def variable_attributes(
    catalogue: Catalogue, name: str, values: NDArray[Any], grid: Grid
) -> dict[str, Any]:
    """What a variable says of itself, with the range of its values."""
    attributes = catalogue.attributes(name)
    extremes = value_range(values)
    if extremes.n_valid:
        attributes |= {"valid_min": extremes.minimum, "valid_max": extremes.maximum}
    if grid == "latlon" and catalogue.variables[name].on_top_faces:
        attributes["vertical_location"] = "top face of the cell"
    if grid == "native":
        attributes["coordinates"] = _auxiliary(catalogue.variables[name], values.ndim)
    return attributes


def _auxiliary(variable: Variable, rank: int) -> str:
    """Auxiliary coordinates of a native variable, in fixed order."""
    horizontal = {"C": ["XC", "YC"], "W": ["XC", "YC"], "U": [], "V": []}[variable.location]
    vertical = [] if rank == 4 else ["Zl" if variable.on_top_faces else "Z"]
    return " ".join(["time", *horizontal, *vertical])


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
    return float(f"{np.sum(values[wet] * area[wet]) / np.sum(area[wet]):.7g}")


def _unit_name(units: str) -> str:
    return units.replace(" ", "_").replace("-", "")


def _picture(variable: xr.DataArray, grid: Grid) -> bytes:
    values = variable.values[0]
    surface = values[0] if values.ndim == (4 if grid == "native" else 3) else values
    return field_preview(globe_of_tiles(surface) if grid == "native" else surface)
