"""Sea surface height from a monthly series of the shared physical run."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dor_ecco_assets.atlas.calendar import CALENDAR, MODEL_TIME_UNITS
from dor_ecco_assets.dor.acceptance import month_of_bounds
from dor_ecco_assets.dor.history import month_label, open_history
from dor_ecco_assets.errors import InputMissing, InputUnusable

__all__ = ["SeaLevelSeries", "open_sea_level"]

type ModelMonth = tuple[int, int]


class SeaLevelSeries:
    """Monthly SSH, aligned by the mean of its time bounds; see `open_sea_level`."""

    def __init__(self, path: Path, records: dict[ModelMonth, int]) -> None:
        self.path, self._records = path, records

    def height_cm(self, month: ModelMonth) -> NDArray[np.float64]:
        """SSH of one month, NaN on land."""
        with open_history(self.path) as series:
            values = series.values("SSH")[self._records[month]].astype(np.float64)
            fill = series.variables["SSH"].fill
        return np.where((np.abs(values) >= 1e30) | (values == fill), np.nan, values)


def open_sea_level(path: Path, months: Iterable[ModelMonth]) -> SeaLevelSeries:
    """Read the time axis of a series.

    Parameters
    ----------
    path : Path
        NetCDF with ``SSH`` (time, nlat, nlon) in cm and ``time_bound`` (time, d2).
    months : iterable of (model year, month)
        All that will be asked for.

    Raises
    ------
    InputMissing
        ``SeaLevelMissing``, naming the file or the months it lacks.
    InputUnusable
        ``SeaLevelUnusable``.
    """
    if not path.exists():
        raise InputMissing(
            f"{path} is not there; bring the SSH series, or history files that hold SSH",
            code="SeaLevelMissing",
        )
    with open_history(path) as series:
        about = series.variables["time"].attributes if "time" in series.variables else {}
        held = {"SSH", "time_bound"} <= series.variables.keys()
        if not held or (about.get("units"), about.get("calendar")) != (MODEL_TIME_UNITS, CALENDAR):
            raise InputUnusable(
                f"{path}: expected SSH, time_bound and a time in {MODEL_TIME_UNITS!r}, {CALENDAR}; "
                f"found {sorted(series.variables)}, {about.get('units')!r}, "
                f"{about.get('calendar')!r}",
                code="SeaLevelUnusable",
                uri=str(path),
            )
        bounds = series.values("time_bound").astype(np.float64)
    records: dict[ModelMonth, int] = {}
    for record, (start, end) in enumerate(bounds):
        found = month_of_bounds(start, end)
        if found is not None:
            records[found.model_year, found.month] = record
    lacking = [month_label(month) for month in months if month not in records]
    if lacking:
        raise InputMissing(
            f"{path}: {len(lacking)} months are not in it, aligned by the mean of its time bounds: "
            f"{', '.join(lacking)}; bring a series that covers the case",
            code="SeaLevelMissing",
        )
    return SeaLevelSeries(path, records)
