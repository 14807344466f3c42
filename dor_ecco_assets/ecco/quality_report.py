"""The quality report of a month: what its granules hold, level by level, against the month before.

Several granules of a dataset (days, snapshots) are taken together: extremes over all of them, the
mean of their mean field. One block of depth levels of one variable of one granule is held at once.
"""

import calendar
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dor_ecco_assets.ecco.gathered import QUALITY_REPORT
from dor_ecco_assets.ecco.report_page import page
from dor_ecco_assets.lineage.product import Content, Member, Task
from dor_ecco_assets.stores.preview import colours, drawn_range, field_preview, globe_of_tiles

__all__ = ["DatasetReport", "LevelStatistics", "VariableReport", "make_report", "statistics"]

_VERTICAL = ("Z", "k", "k_l", "k_u", "k_p1")
#: Depth coordinate of each vertical dimension.
_DEPTHS = {"Z": "Z", "k": "Z", "k_l": "Zl", "k_u": "Zu", "k_p1": "Zp1"}


@dataclass(frozen=True)
class LevelStatistics:
    """One depth level of one variable over a month; numbers are NaN where there is no wet cell.

    Parameters
    ----------
    depth_m : float or None
        Negative downwards; None for 2-D variables.
    wet_cells : int
        Cells that hold a value in any granule.
    minimum, maximum, mean : float
        The mean is weighted by cell area.
    mean_change, rms_change : float or None
        Difference of the mean, and root mean square of the difference of the mean fields, from
        the month before; None where that has no granule.
    """

    depth_m: float | None
    wet_cells: int
    minimum: float
    maximum: float
    mean: float
    mean_change: float | None = None
    rms_change: float | None = None


@dataclass(frozen=True)
class Map:
    """A picture of the mean field at the first level, with what its colours stand for."""

    png: bytes
    low: float
    high: float
    colours: Sequence[str]
    tiled: bool


@dataclass(frozen=True)
class VariableReport:
    """One variable of a dataset over a month."""

    name: str
    long_name: str
    units: str
    levels: Sequence[LevelStatistics]
    map: Map


@dataclass(frozen=True)
class DatasetReport:
    """One dataset over a month: its granules, those of the month before, what is in it."""

    name: str
    title: str
    granules: int
    granules_before: int
    variables: Sequence[VariableReport]


def make_report(titles: Mapping[str, str], grid: str, task: Task) -> Content:
    """The report of one month as one page that needs nothing else.

    Parameters
    ----------
    titles : mapping of str to str
        Of the datasets, by product key.
    grid : str
        Key of the model's grid.
    task : Task
    """
    area = task.upstream(grid)["rA"].values
    found: dict[str, tuple[list[Member], list[Member]]] = {}
    left_out: list[str] = []
    for member in task.members():
        with member.open() as granule:
            on_another_grid = "tile" in granule.dims and granule.sizes["i"] != area.shape[-1]
        if on_another_grid:
            left_out.append(f"{member.key} {member.partition}")
            continue
        earlier = member.partition[:7] != task.partition
        found.setdefault(member.key, ([], []))[earlier].append(member)
    reports = [
        DatasetReport(
            key.split("/")[1],
            titles[key],
            len(now),
            len(before),
            list(_variables(now, before, area)),
        )
        for key, (now, before) in sorted(found.items())
        if now
    ]
    year, month = map(int, task.partition.split("-"))
    heading = f"{calendar.month_name[month]} {year}"
    return Content(
        key=f"{QUALITY_REPORT}/{task.partition}.html",
        write=partial(_write, page(heading, reports)),
        details={
            "datasets": len(reports),
            "granules": sum(report.granules for report in reports),
            "variables": sum(len(report.variables) for report in reports),
            "left_out_as_on_another_grid": left_out,
        },
    )


def _write(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8")


def _variables(
    now: Sequence[Member], before: Sequence[Member], area: NDArray[Any]
) -> Iterator[VariableReport]:
    with now[0].open() as granule:
        described = {
            str(name): (dict(variable.attrs), variable.dtype.kind)
            for name, variable in granule.data_vars.items()
        }
    for name, (attributes, kind) in described.items():
        if kind != "f":
            continue
        levels, surface = statistics(now, before, name, area)
        drawn = globe_of_tiles(surface) if surface.ndim == 3 else surface
        low, high = drawn_range(drawn)
        yield VariableReport(
            name,
            str(attributes.get("long_name", name)),
            str(attributes.get("units", "")),
            levels,
            Map(field_preview(drawn), low, high, colours(low, high), surface.ndim == 3),
        )


def statistics(
    now: Sequence[Member], before: Sequence[Member], name: str, area: NDArray[Any]
) -> tuple[list[LevelStatistics], NDArray[np.float64]]:
    """Statistics of every depth level of one variable.

    Parameters
    ----------
    now, before : sequence of Member
        Granules of the month, at least one, and of the month before.
    name : str
    area : ndarray, shape (13, L, L), m2
        Of the model's cells. Variables on cell edges are weighted by that of the cell of the same
        index, those on latitude and longitude by the cosine of latitude.

    Returns
    -------
    levels : list of LevelStatistics
    surface : ndarray of float64
        Mean field of the first level, NaN on land.
    """
    with now[0].open() as granule:
        variable = granule[name]
        vertical = next((dim for dim in _VERTICAL if dim in variable.dims), None)
        weights = area
        if "latitude" in variable.dims:
            latitude = granule["latitude"].values.astype(np.float64)
            weights = np.cos(np.radians(latitude))[:, np.newaxis]
        n_levels = variable.sizes[vertical] if vertical else 1
        depths: list[float | None] = [None]
        if vertical:
            depths = granule[_DEPTHS[vertical]].values.astype(float).tolist()
        step = _levels_per_chunk(variable, vertical)
    levels: list[LevelStatistics] = []
    surface: NDArray[np.float64] | None = None
    for start in range(0, n_levels, step):
        block = slice(start, start + step)
        mean, low, high = _pooled(now, name, vertical, block)
        earlier = _pooled(before, name, vertical, block)[0] if before else None
        if surface is None:
            surface = mean[0].copy()
        for n in range(len(mean)):
            level = _level(mean[n], weights, None if earlier is None else earlier[n])
            levels.append(
                LevelStatistics(depths[start + n], *level[:1], low[n], high[n], *level[1:])
            )
    assert surface is not None
    return levels, surface


def _levels_per_chunk(variable: xr.DataArray, vertical: str | None) -> int:
    chunks = variable.encoding.get("chunksizes")
    if vertical is None or not chunks:
        return 1
    return int(chunks[variable.dims.index(vertical)])


def _pooled(
    members: Sequence[Member], name: str, vertical: str | None, block: slice
) -> tuple[NDArray[np.float64], list[float], list[float]]:
    """Mean field of some levels over all granules and times, and the extremes of each level."""
    total: NDArray[np.float64] | None = None
    count: NDArray[np.int32] | None = None
    low: NDArray[np.float64] | None = None
    high: NDArray[np.float64] | None = None
    for member in members:
        with ExitStack() as stack:
            variable = stack.enter_context(member.open())[name]
            if vertical:
                variable = variable.isel({vertical: block}).transpose("time", vertical, ...)
            times = range(variable.sizes["time"])
            for values in (variable[time].values for time in times):
                values = (values if vertical else values[np.newaxis]).astype(np.float64)
                wet = np.isfinite(values)
                axes = tuple(range(1, values.ndim))
                smallest = np.where(wet, values, np.inf).min(axis=axes)
                largest = np.where(wet, values, -np.inf).max(axis=axes)
                if total is None or count is None or low is None or high is None:
                    total, count = np.zeros(values.shape), np.zeros(values.shape, np.int32)
                    low, high = smallest, largest
                total += np.where(wet, values, 0.0)
                count += wet
                low, high = np.minimum(low, smallest), np.maximum(high, largest)
    assert total is not None
    assert count is not None
    assert low is not None
    assert high is not None
    with np.errstate(invalid="ignore"):
        mean = total / count
    return (
        mean,
        [float(v) if math.isfinite(v) else math.nan for v in low],
        [float(v) if math.isfinite(v) else math.nan for v in high],
    )


def _level(
    mean: NDArray[np.float64], weights: NDArray[Any], before: NDArray[np.float64] | None
) -> tuple[int, float, float | None, float | None]:
    """Wet cells, mean, and change of both kinds of one level."""
    average = _weighted(mean, weights)
    wet_cells = int(np.count_nonzero(np.isfinite(mean)))
    if before is None:
        return wet_cells, average, None, None
    squared = _weighted((mean - before) ** 2, weights)
    return wet_cells, average, average - _weighted(before, weights), math.sqrt(squared)


def _weighted(values: NDArray[np.float64], weights: NDArray[Any]) -> float:
    wet = np.isfinite(values)
    if not wet.any():
        return math.nan
    used = np.broadcast_to(weights, values.shape)[wet]
    return float(np.sum(values[wet] * used) / np.sum(used))
