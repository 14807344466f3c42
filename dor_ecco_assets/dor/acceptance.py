"""What a history file must say before a value of its fields is used."""

from dataclasses import dataclass

import numpy as np

from dor_ecco_assets.atlas.calendar import (
    CALENDAR,
    DAYS_PER_YEAR,
    MODEL_TIME_UNITS,
    days_since_epoch,
    month_length_days,
)
from dor_ecco_assets.dor.case_grid import CaseGrid, grid_digest
from dor_ecco_assets.dor.history import History, month_label
from dor_ecco_assets.errors import GridMismatch, InputUnusable

__all__ = ["PLANE_FIELDS", "VOLUME_FIELDS", "MonthTime", "accept", "month_of_bounds"]

VOLUME_FIELDS = ("DIC", "DIC_ALT_CO2", "ALK", "ALK_ALT_CO2")
PLANE_FIELDS = (
    *("FG_CO2", "FG_ALT_CO2", "DIC_FLUX", "ALK_FLUX"),
    *("PH", "PH_ALT_CO2", "pCO2SURF", "pCO2SURF_ALT_CO2", "ECOSYS_IFRAC"),
)


@dataclass(frozen=True)
class MonthTime:
    """The averaging interval of a history file.

    Parameters
    ----------
    model_year, month : int
    start_day : int
        First day, days since 0000-01-01.
    days : int
        Length.
    """

    model_year: int
    month: int
    start_day: int
    days: int

    @property
    def middle_day(self) -> float:
        """Mean of the bounds, days since 0000-01-01."""
        return self.start_day + self.days / 2


def accept(history: History, case: str, month: tuple[int, int], grid: CaseGrid) -> MonthTime:
    """Check the header of a history file, its time and its grid.

    Parameters
    ----------
    history : History
    case : str
        The case's name.
    month : (int, int)
        Model year and month that the file's name says.
    grid : CaseGrid

    Returns
    -------
    MonthTime
        Derived from the mean of the time bounds: the stored time is the end of the interval.

    Raises
    ------
    InputUnusable
        ``TitleMismatch``, ``CalendarMismatch``, ``TimeUnitsMismatch``, ``TimeBoundsMissing``,
        ``TimeBoundsNotOneMonth``, ``MonthMismatch``, ``FieldMissing`` or ``FieldShape``.
    GridMismatch
        ``GridSizes`` or ``GridDigest``.
    """
    _check_title(history, case)
    time = _time(history, month)
    _check_grid(history, grid)
    _check_fields(history)
    return time


def _refused(history: History, code: str, what: str) -> InputUnusable:
    return InputUnusable(f"{history.path}: {what}", code=code, uri=str(history.path))


def _check_title(history: History, case: str) -> None:
    title = history.attributes.get("title", case)
    if title != case:
        raise _refused(
            history,
            "TitleMismatch",
            f"its title is {title!r}, expected {case!r}; it belongs to another run, bring the "
            "right file",
        )


def _time(history: History, month: tuple[int, int]) -> MonthTime:
    time = history.variables.get("time")
    about = {} if time is None else time.attributes
    if about.get("calendar") != CALENDAR:
        raise _refused(
            history,
            "CalendarMismatch",
            f"its calendar is {about.get('calendar')!r}, expected {CALENDAR!r}; months of another "
            "calendar are never guessed",
        )
    if about.get("units") != MODEL_TIME_UNITS:
        raise _refused(
            history,
            "TimeUnitsMismatch",
            f"time is in {about.get('units')!r}, expected {MODEL_TIME_UNITS!r}",
        )
    bounds = about.get("bounds")
    if bounds != "time_bound" or "time_bound" not in history.variables:
        raise _refused(
            history,
            "TimeBoundsMissing",
            f"time:bounds is {bounds!r} and time_bound is "
            f"{'there' if 'time_bound' in history.variables else 'absent'}; the interval cannot "
            "be told from the time stamp, which is its end",
        )
    units = history.variables["time_bound"].attributes.get("units", MODEL_TIME_UNITS)
    if units != MODEL_TIME_UNITS:
        raise _refused(
            history,
            "TimeUnitsMismatch",
            f"time_bound is in {units!r}, expected {MODEL_TIME_UNITS!r}",
        )
    values = history.values("time_bound").astype(np.float64)
    found = month_of_bounds(*values[0]) if values.shape == (1, 2) else None
    if found is None:
        raise _refused(
            history,
            "TimeBoundsNotOneMonth",
            f"time_bound is {values.tolist()}, expected the first days of one month and of the "
            "next",
        )
    if (found.model_year, found.month) != month:
        raise _refused(
            history,
            "MonthMismatch",
            f"its name says {month_label(month)}, its time_bound "
            f"{month_label((found.model_year, found.month))}; give the file the name of its month",
        )
    return found


def month_of_bounds(start: float, end: float) -> MonthTime | None:
    """The month that holds the mean of an interval, if the interval is just that month.

    Parameters
    ----------
    start, end : float
        Days since 0000-01-01, noleap.
    """
    if not (np.isfinite(start) and np.isfinite(end)):
        return None
    year, day = divmod((start + end) / 2, DAYS_PER_YEAR)
    month = 1
    while month < 12 and day >= month_length_days(month):
        day -= month_length_days(month)
        month += 1
    first, days = days_since_epoch(int(year), month), month_length_days(month)
    if (start, end) != (first, first + days):
        return None
    return MonthTime(int(year), month, first, days)


def _check_grid(history: History, grid: CaseGrid) -> None:
    names = ("z_t", "nlat", "nlon")
    sizes = tuple(history.dims.get(name) for name in names)
    if sizes != grid.shape:
        raise GridMismatch(
            f"{history.path}: {names} are {sizes}, grids/{grid.name} has {grid.shape}; name the "
            "atlas of this run's grid",
            code="GridSizes",
        )
    for name, shape in (("TAREA", grid.shape[1:]), ("KMT", grid.shape[1:]), ("dz", grid.shape[:1])):
        if name not in history.variables:
            raise _missing(history, name)
        if history.variables[name].shape != shape:
            raise _shape(history, name, str(shape))
    kmt = np.nan_to_num(history.numbers("KMT")).astype(np.int32)
    found = grid_digest(kmt, history.numbers("TAREA"))
    if found != grid.digest:
        raise GridMismatch(
            f"{history.path}: KMT and TAREA have digest {found[:12]}, grids/{grid.name} "
            f"{grid.digest[:12]}: {int((kmt != grid.kmt).sum())} columns differ in depth; make the "
            "grid from a file of this run, or bring the right run",
            code="GridDigest",
        )
    if not np.allclose(history.numbers("dz"), grid.dz_cm, rtol=1e-6):
        raise GridMismatch(
            f"{history.path}: dz differs from that of grids/{grid.name}; make the grid from a "
            "file of this run, or bring the right run",
            code="GridDigest",
        )


def _check_fields(history: History) -> None:
    expected = dict.fromkeys(VOLUME_FIELDS, ("time", "z_t", "nlat", "nlon"))
    expected |= dict.fromkeys(PLANE_FIELDS, ("time", "nlat", "nlon"))
    if "SSH" in history.variables:
        expected["SSH"] = ("time", "nlat", "nlon")
    for name, dims in expected.items():
        if name not in history.variables:
            raise _missing(history, name)
        variable = history.variables[name]
        if variable.dims != dims or variable.dtype != np.dtype(">f4"):
            raise _shape(history, name, f"float32 {dims}")


def _missing(history: History, name: str) -> InputUnusable:
    return _refused(
        history,
        "FieldMissing",
        f"there is no {name} in it; the run must write it",
    )


def _shape(history: History, name: str, expected: str) -> InputUnusable:
    variable = history.variables[name]
    return _refused(
        history,
        "FieldShape",
        f"{name} is {variable.dtype.name} {variable.dims} {variable.shape}, expected {expected}",
    )
