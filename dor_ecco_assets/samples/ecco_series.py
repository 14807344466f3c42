"""Sample time series with known answers: ready-made ones, and records with a planted sea level."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from dor_ecco_assets.ecco.model_output import record_key
from dor_ecco_assets.ecco.times import FREQUENCIES, V4R4_CLOCK, Frequency
from dor_ecco_assets.grids.llc_geometry import canonical_fields
from dor_ecco_assets.grids.mds import write_mds
from dor_ecco_assets.samples.ecco_output import model_interval_s

__all__ = [
    "PLANTED",
    "planted_mean",
    "planted_record",
    "series_values",
    "write_planted_records",
    "write_sample_series",
]

#: Model field -> its mean at the model's start, and what that gains per hour, in the field's unit.
PLANTED = {"SSH": (0.02, 4e-7), "OBP": (0.01, 2.5e-7), "EXFpress": (101_000.0, 1e-3)}

HOURS_PER_YEAR = 8766.0


def planted_mean(field: str, step: int) -> float:
    """Area-weighted mean over wet cells of the record that ends at a step: linear in time."""
    first, rate = PLANTED[field]
    return first + rate * step


def planted_record(
    field: str, grid_fields: Mapping[str, NDArray[Any]], step: int
) -> NDArray[np.float64]:
    """A field whose mean over wet cells is `planted_mean`.

    Parameters
    ----------
    field : str
        A key of `PLANTED`.
    grid_fields : mapping of str to ndarray
        As `sample_grid_fields` gives.
    step : int

    Returns
    -------
    ndarray of float64, shape (13, L, L)
        That mean and a pattern ``cos φ sin(2λ + year)`` with its own mean taken off; 0 on land.
    """
    raw = canonical_fields(grid_fields)
    wet, area = raw["Depth"] > 0, raw["RAC"]
    phase = 2 * np.pi * step / HOURS_PER_YEAR
    pattern = np.cos(np.radians(raw["YC"])) * np.sin(2 * np.radians(raw["XC"]) + phase)
    pattern -= np.sum(area[wet] * pattern[wet]) / np.sum(area[wet])
    return np.where(wet, planted_mean(field, step) + 0.5 * pattern, 0.0)


def write_planted_records(
    folder: Path,
    grid_fields: Mapping[str, NDArray[Any]],
    *,
    partitions: Iterable[str],
    frequency: Frequency = "AVG_MON",
    fields: Iterable[str] = ("SSH", "OBP"),
) -> list[Path]:
    """Write `planted_record` of months or days as float64 model output; returns the data files."""
    period = FREQUENCIES[frequency].periods[0]
    written: list[Path] = []
    for step in (V4R4_CLOCK.step_of(partition, frequency) for partition in partitions):
        for field in fields:
            place = (folder / record_key(field, period, step)).parent
            tiles = planted_record(field, grid_fields, step)
            interval_s = model_interval_s(step, frequency)
            written.append(
                write_mds(
                    place, field, period, step, tiles, dtype=">f8", time_interval_s=interval_s
                )
            )
    return written


def series_values(place: int, hours: ArrayLike) -> NDArray[np.float64]:
    """Values of one ready-made sample series.

    Parameters
    ----------
    place : int
        Of the variable in its file, from 0.
    hours : array_like
        Since the model's start.

    Returns
    -------
    ndarray of float64
        ``(100 000 + n) (1 + 0.01 sin(2π year + n))``: unlike from variable to variable, and a
        surface pressure in N m⁻² too.
    """
    years = np.asarray(hours, np.float64) / HOURS_PER_YEAR
    return (100_000.0 + place) * (1.0 + 0.01 * np.sin(2 * np.pi * years + place))


def write_sample_series(path: Path, variables: Sequence[str], hours: Sequence[int]) -> Path:
    """Write ready-made series as the ending of `path` says: ``.csv`` or ``.nc``.

    Parameters
    ----------
    path : Path
        Its folder is made if it is not there.
    variables : sequence of str
        Columns beside ``time``; each holds `series_values` of its place.
    hours : sequence of int
        Since the model's start.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {name: series_values(place, hours) for place, name in enumerate(variables)}
    if path.suffix == ".csv":
        times = V4R4_CLOCK.start + np.array(hours).astype("timedelta64[h]")
        lines = [",".join(["time", *columns])]
        lines += [
            ",".join([str(time), *(repr(float(value)) for value in values)])
            for time, *values in zip(times, *columns.values(), strict=True)
        ]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path
    table = xr.Dataset(
        {name: ("time", values) for name, values in columns.items()},
        coords={"time": ("time", np.array(hours), {"units": V4R4_CLOCK.time_units})},
    )
    table.to_netcdf(path, engine="h5netcdf")
    return path
