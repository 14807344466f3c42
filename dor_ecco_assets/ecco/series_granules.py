"""One-dimensional granules: means of the model's records, one at a time, or a ready-made series."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dor_ecco_assets.ecco.catalogue import Catalogue
from dor_ecco_assets.ecco.fields import Fields
from dor_ecco_assets.ecco.layout import FILL
from dor_ecco_assets.ecco.metadata import (
    check_complete,
    common_attributes,
    coordinate_attributes,
    in_order,
)
from dor_ecco_assets.ecco.model_output import read_record
from dor_ecco_assets.ecco.names import GranuleName, granule_name, short_name
from dor_ecco_assets.ecco.products import GRANULE_CODE_VERSION
from dor_ecco_assets.ecco.series import Delivered, SeriesDataset, series_config, spans
from dor_ecco_assets.ecco.series_files import read_series
from dor_ecco_assets.ecco.times import FREQUENCIES, hours_since
from dor_ecco_assets.errors import InputMissing, InputUnusable
from dor_ecco_assets.grids.mds import match_mds_name
from dor_ecco_assets.lineage.product import Content, Task
from dor_ecco_assets.stores.netcdf import value_range, verify_netcdf, write_netcdf

__all__ = ["make_series", "wet_area_mean"]


@dataclass(frozen=True)
class _Table:
    """Values with their times; `bounds` (time, 2) of averages."""

    times: NDArray[np.datetime64]
    bounds: NDArray[np.datetime64] | None
    values: Mapping[str, NDArray[np.float64]]
    source_files: str
    details: Mapping[str, Any]


def make_series(dataset: SeriesDataset, catalogue: Catalogue, task: Task) -> Content:
    """The file of one series dataset, all times in it.

    Parameters
    ----------
    dataset : SeriesDataset
    catalogue : Catalogue
        Of the gridded datasets.
    task : Task

    Returns
    -------
    Content

    Raises
    ------
    InputMissing, InputUnusable
        If a record or the delivered file cannot be read, is not what its name says, or holds
        values that cannot be true.

    Notes
    -----
    Records are read one at a time, so that memory does not grow with them.
    """
    series = dataset.series
    if series.delivered is None:
        table = _computed(dataset, catalogue, task)
    else:
        table = _delivered(dataset, series.delivered, catalogue, task)
    _check_ranges(dataset, table, task)
    name = granule_name(
        series.stem, grid="1D", frequency=dataset.frequency, version=catalogue.release.version
    )
    described = replace(catalogue, variables=dataset.variables, groupings=())
    if not series.archived:
        release = described.release.model_copy(update={"identifier": "short_name"})
        described = replace(described, release=release)
    granule = _assembled(table, dataset, described)
    granule.attrs = _attributes(granule, name, table, dataset, described, catalogue, task)
    check_complete(granule)
    return _content(granule, name, table)


def wet_area_mean(field: NDArray[Any], area: NDArray[np.float64], wet: NDArray[np.bool_]) -> float:
    """Mean of a field over wet cells, weighted by area.

    Parameters
    ----------
    field : ndarray, shape (tile, j, i)
        At T-points; dry cells may hold anything.
    area : ndarray of float64, shape (tile, j, i), m²
    wet : ndarray of bool, shape (tile, j, i)

    Returns
    -------
    float
        In the unit of `field`; NaN where no cell is wet.

    Notes
    -----
    ``sum(area field) / sum(area)`` in float64; both sums are exact and rounded once (Shewchuk's
    algorithm, `math.fsum`), so that the order of the cells does not matter.
    """
    weights = area[wet]
    if not weights.size:
        return math.nan
    # Lists: `fsum` takes Python numbers three times as fast as it takes NumPy's.
    weighted = (weights * field[wet].astype(np.float64)).tolist()
    return math.fsum(weighted) / math.fsum(weights.tolist())


def _computed(dataset: SeriesDataset, catalogue: Catalogue, task: Task) -> _Table:
    clock, series = catalogue.clock, dataset.series
    grid = task.upstream(f"grids/{catalogue.release.grid_folder}")
    area, wet = grid["rA"].values, grid["maskC"].values[0]
    keys: dict[int, dict[str, str]] = {}
    for file, key in task.input_keys.items():
        found = match_mds_name(file)
        if found is not None and key is not None and found.ext == "data":
            keys.setdefault(found.step, {})[found.field] = key.removesuffix(".data")
    steps = sorted(keys)
    records = dataset.records(catalogue)
    reader = Fields(replace(task, input_keys={}), grid, catalogue, records.dataset)
    means = {name: np.empty(len(steps)) for name in series.means}
    for place, step in enumerate(steps):
        for name, field in series.means.items():
            key = keys[step][catalogue.sources(field)[0]]
            values, _ = read_record(
                task.inputs, key, side=grid.attrs["side"], clock=clock, dtype=np.float64
            )
            uri = task.inputs.locate(f"{key}.data")
            reader.check(field, catalogue.variables[field], values, uri)
            means[name][place] = wet_area_mean(values, area, wet)
    for name, (minuend, subtrahend) in series.differences.items():
        means[name] = means[minuend] - means[subtrahend]
    bounds = [clock.period_bounds(step, dataset.frequency) for step in steps]
    every = clock.partition_keys(dataset.frequency)
    there = {clock.partition_key(step, dataset.frequency) for step in steps}
    absent = spans([partition not in there for partition in every], every)
    word = {"AVG_MON": "months", "AVG_DAY": "days"}[dataset.frequency]
    details: dict[str, Any] = {f"missing_{word}": absent} if absent else {}
    details |= reader.remarks()
    spoken = (
        f"{field}_{records.dataset.periods[0]} ({len(steps)} records, steps {steps[0]} to "
        f"{steps[-1]})"
        for field in dataset.fields
    )
    return _Table(
        np.array([found.centre for found in bounds]),
        np.array([[found.start, found.end] for found in bounds]),
        {name: means[name] for name in series.variables},
        ", ".join(spoken),
        details,
    )


def _delivered(
    dataset: SeriesDataset, delivered: Delivered, catalogue: Catalogue, task: Task
) -> _Table:
    clock = catalogue.clock
    file, key = next((file, key) for file, key in task.input_keys.items() if key is not None)
    uri, data = task.inputs.locate(key), task.inputs.read(key)
    if data is None:
        raise InputMissing(f"{uri} is gone; bring it and run again", code="MissingInput")
    columns = {name: delivered.columns.get(name, name) for name in dataset.series.variables}
    times, values = read_series(data, uri=uri, time=delivered.time, columns=columns)
    if times[0] < clock.start or times[-1] > clock.end:
        raise InputUnusable(
            f"{uri}: holds {times[0]} to {times[-1]}, expected times of the model run, "
            f"{clock.start} to {clock.end}; correct the clock in ecco/release.yaml or the file",
            code="TimeAlignment",
            uri=uri,
        )
    lengths_s = np.diff(times).astype(np.int64)
    usual_s = int(np.median(lengths_s)) if lengths_s.size else 0
    irregular = int(np.count_nonzero(lengths_s != usual_s))
    details = {"irregular_steps": irregular} if irregular else {}
    return _Table(times, None, values, f"{file} ({len(data)} bytes)", details)


def _check_ranges(dataset: SeriesDataset, table: _Table, task: Task) -> None:
    for name, values in table.values.items():
        possible = dataset.variables[name].valid_range
        if possible is None:
            continue
        low, high = possible
        bad = np.flatnonzero((values < low) | (values > high))
        if bad.size:
            units = dataset.variables[name].units
            uri = next((task.inputs.locate(key) for key in task.input_keys.values() if key), "")
            raise InputUnusable(
                f"{uri}: {name} is {values[bad[0]]:g} {units} at {table.times[bad[0]]}, expected "
                f"{low:g} to {high:g}; {bad.size} values are outside: look at the run, or widen "
                "valid_range in ecco/series.yaml",
                code="OutOfRange",
                uri=uri,
            )


def _assembled(table: _Table, dataset: SeriesDataset, catalogue: Catalogue) -> xr.Dataset:
    clock = catalogue.clock
    attributes = coordinate_attributes(catalogue, "native", dataset.frequency)
    units = {"units": clock.time_units, "calendar": "proleptic_gregorian"}
    times: dict[str, Any] = {
        "time": ("time", hours_since(table.times, clock.start), {**attributes["time"], **units})
    }
    if table.bounds is not None:
        bounds = hours_since(table.bounds, clock.start)
        times["time_bnds"] = (("time", "nv"), bounds, {**attributes["time_bnds"], **units})
    granule = xr.Dataset(coords=times)
    for name, values in table.values.items():
        extremes = value_range(values)
        valid = {"valid_min": extremes.minimum, "valid_max": extremes.maximum}
        granule[name] = "time", values, catalogue.attributes(name) | valid
    return granule


def _attributes(
    granule: xr.Dataset,
    name: GranuleName,
    table: _Table,
    dataset: SeriesDataset,
    described: Catalogue,
    catalogue: Catalogue,
    task: Task,
) -> dict[str, Any]:
    config = series_config(catalogue, dataset, task.settings)
    words, series = dataset.words, dataset.series
    head = described.release.frequencies[dataset.frequency].head.replace("fields", "values")
    found = common_attributes(
        granule,
        name,
        described,
        {**config, "code_version": GRANULE_CODE_VERSION},
        comment=" ".join(filter(None, [words.comment, series.comment])),
        summary=f"Time series of {head} of {series.name}, {words.summary_tail}.",
        source_files=table.source_files,
    )
    # A series has neither place nor auxiliary coordinates.
    attributes = {
        key: value
        for key, value in found.items()
        if not key.startswith("geospatial_") and key != "coordinates_comment"
    }
    if not series.archived:  # there is no collection whose record could be linked
        attributes["metadata_link"] = described.release.global_attributes["references"]
    first, last = (
        (table.times[0], table.times[-1])
        if table.bounds is None
        else (table.bounds[0, 0], table.bounds[-1, 1])
    )
    resolution = FREQUENCIES[dataset.frequency].iso_duration
    if table.bounds is None and table.times.size > 1:
        resolution = _iso_duration(int(np.median(np.diff(table.times).astype(np.int64))))
    return in_order(
        attributes
        | {
            "time_coverage_duration": _iso_duration(int((last - first).astype(np.int64))),
            "time_coverage_end": str(last),
            "time_coverage_resolution": resolution,
            "time_coverage_start": str(first),
        }
    )


def _iso_duration(seconds: int) -> str:
    """Seconds as ISO 8601 days, hours, minutes and seconds; ``PT0S`` for none."""
    days, rest = divmod(seconds, 86400)
    parts = zip((rest // 3600, rest % 3600 // 60, rest % 60), "HMS", strict=True)
    clock = "".join(f"{number}{letter}" for number, letter in parts if number)
    date = f"{days}D" if days else ""
    return f"P{date}{'T' + clock if clock else ''}" if date or clock else "PT0S"


def _content(granule: xr.Dataset, name: GranuleName, table: _Table) -> Content:
    encoding: dict[str, dict[str, Any]] = {str(n): {"_FillValue": None} for n in granule.coords}
    for variable in granule.data_vars:
        encoding[str(variable)] = {
            "zlib": True,
            "complevel": 5,
            "shuffle": True,
            "chunksizes": (granule.sizes["time"],),
            "_FillValue": FILL,
        }

    def write(path: Path) -> None:
        write_netcdf(granule, path, encoding=encoding)
        verify_netcdf(path, granule, encoding=encoding)

    first = granule[next(iter(granule.data_vars))]
    units = str(first.attrs["units"]).replace(" ", "_").replace("-", "")
    details = {
        "granule": str(name),
        "variables": list(granule.data_vars),
        "shape": dict(granule.sizes),
        "first": str(table.times[0]),
        "last": str(table.times[-1]),
        f"last_{first.name}_{units}": float(f"{first.values[-1]:.9g}"),
        **table.details,
    }
    collection = short_name(
        name.stem, grid=name.grid, frequency=name.frequency, version=name.version
    )
    return Content(f"ecco/{collection}/{name}", write, details)
