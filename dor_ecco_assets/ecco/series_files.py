"""Ready-made time series: a table with a time column from a NetCDF or a CSV file."""

import csv
import io
import re
from array import array
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dor_ecco_assets.errors import InputUnusable

__all__ = ["read_series"]

#: How HDF5 and classic NetCDF files begin.
_HDF5, _CLASSIC = b"\x89HDF", b"CDF"
_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2})?Z?", re.ASCII)


def read_series(
    data: bytes, *, uri: str, time: str, columns: Mapping[str, str]
) -> tuple[NDArray[np.datetime64], dict[str, NDArray[np.float64]]]:
    """Read and check a table of series.

    Parameters
    ----------
    data : bytes
        The whole file: NetCDF of any kind, else CSV in UTF-8 with one line of names; lines that
        begin with # are left out.
    uri : str
        For errors.
    time : str
        Column of times: CF times in NetCDF, ``YYYY-MM-DDThh:mm:ss`` (UTC) in CSV.
    columns : mapping of str to str
        Variable -> column; other columns are ignored.

    Returns
    -------
    times : ndarray of datetime64[s], shape (time,)
        Strictly increasing.
    values : dict of str to ndarray of float64, shape (time,)
        By variable; all finite.

    Raises
    ------
    InputUnusable
        Codes ``NotASeries`` (not to be read, or not one value per time), ``MissingColumn``,
        ``BadTime``, ``BadNumber``, ``EmptySeries``, ``TimesRepeat``, ``TimesUnsorted``,
        ``NonFinite``; names the file and, where there is one, line and column.
    """
    wanted = {name: columns[name] for name in columns}
    if data[:4] == _HDF5 or data[:3] == _CLASSIC:
        times, values = _from_netcdf(data, uri, time, wanted)
    else:
        times, values = _from_csv(data, uri, time, wanted)
    if times.size == 0:
        raise _unusable(uri, "EmptySeries", "holds no time; fetch it again")
    _check_order(times, uri)
    for name, column in values.items():
        bad = np.flatnonzero(~np.isfinite(column))
        if bad.size:
            raise _unusable(
                uri,
                "NonFinite",
                f"{wanted[name]} is NaN, infinite or filled at {bad.size} of {times.size} times, "
                f"first at {times[bad[0]]}; expected a number at every time",
            )
    return times, values


def _check_order(times: NDArray[np.datetime64], uri: str) -> None:
    steps = np.diff(times).astype(np.int64)
    bad = np.flatnonzero(steps <= 0)
    if bad.size:
        at = int(bad[0])
        repeated = steps[at] == 0
        raise _unusable(
            uri,
            "TimesRepeat" if repeated else "TimesUnsorted",
            f"{times[at + 1]} comes {'twice' if repeated else f'after {times[at]}'}, as value "
            f"{at + 2} of {times.size}; expected times that increase: sort and mend the file",
        )


def _from_csv(
    data: bytes, uri: str, time: str, wanted: Mapping[str, str]
) -> tuple[NDArray[np.datetime64], dict[str, NDArray[np.float64]]]:
    rows = _rows(data, uri)
    _, names = next(rows, (1, []))
    names = [name.strip() for name in names]
    _require_columns(uri, [time, *wanted.values()], names)
    instants: list[str] = []
    numbers = {name: array("d") for name in wanted}
    places = [(numbers[name], names.index(column), column) for name, column in wanted.items()]
    place_of_time = names.index(time)
    for line, cells in rows:
        if len(cells) != len(names):
            raise _unusable(
                uri,
                "NotASeries",
                f"line {line} has {len(cells)} cells, expected {len(names)}; fetch the file again",
            )
        instant = cells[place_of_time].strip()
        if _INSTANT.fullmatch(instant) is None:
            raise _bad_time(uri, line, instant)
        instants.append(instant.removesuffix("Z"))
        for column, place, name in places:
            try:
                column.append(float(cells[place]))
            except ValueError:
                raise _unusable(
                    uri,
                    "BadNumber",
                    f"line {line}, column {name}: {cells[place]!r} is not a number; mend the line",
                ) from None
    try:
        times = np.array(instants, "datetime64[s]")
    except ValueError:
        times = np.array([_instant(uri, n, text) for n, text in enumerate(instants, 1)])
    return times, {name: np.array(column) for name, column in numbers.items()}


def _rows(data: bytes, uri: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every line that is not empty and no comment."""
    reader = csv.reader(io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", newline=""))
    try:
        for cells in reader:
            if cells and not cells[0].startswith("#"):
                yield reader.line_num, cells
    except (csv.Error, UnicodeDecodeError) as error:
        raise _unusable(
            uri, "NotASeries", f"is neither NetCDF nor CSV in UTF-8 ({error}); fetch it again"
        ) from error


def _instant(uri: str, row: int, text: str) -> np.datetime64:
    """One time; names the row, counted without comments and names, where it is no date."""
    try:
        return np.datetime64(text, "s")
    except ValueError:
        raise _bad_time(uri, row, text, "row") from None


def _bad_time(uri: str, at: int, text: str, what: str = "line") -> InputUnusable:
    return _unusable(
        uri,
        "BadTime",
        f"{what} {at}: {text!r} is not a time of the form YYYY-MM-DDThh:mm:ss; mend the line",
    )


def _from_netcdf(
    data: bytes, uri: str, time: str, wanted: Mapping[str, str]
) -> tuple[NDArray[np.datetime64], dict[str, NDArray[np.float64]]]:
    engine: Any = "h5netcdf" if data[:4] == _HDF5 else "scipy"
    try:
        with xr.open_dataset(io.BytesIO(data), engine=engine) as table:
            _require_columns(uri, [time, *wanted.values()], list(map(str, table.variables)))
            times = table[time].values
            values = {name: table[column].values for name, column in wanted.items()}
    except InputUnusable:
        raise
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, IndexError) as error:
        raise _unusable(
            uri, "NotASeries", f"cannot be read as NetCDF ({error}); fetch it again"
        ) from error
    if times.ndim != 1 or not np.issubdtype(times.dtype, np.datetime64) or np.isnat(times).any():
        raise _unusable(
            uri,
            "BadTime",
            f"{time} has shape {times.shape} and type {times.dtype}, expected one axis of CF times "
            "with units such as hours since 1992-01-01 12:00:00, none of them missing",
        )
    for name, column in values.items():
        if column.shape != times.shape or column.dtype.kind not in "iuf":
            raise _unusable(
                uri,
                "NotASeries",
                f"{wanted[name]} has shape {column.shape} and type {column.dtype}, expected "
                f"numbers of shape {times.shape} as {time} has",
            )
    # Hours as floating-point numbers come out some nanoseconds off.
    rounded = (times + np.timedelta64(500, "ms")).astype("datetime64[s]")
    return rounded, {name: column.astype(np.float64) for name, column in values.items()}


def _require_columns(uri: str, wanted: list[str], found: list[str]) -> None:
    absent = [name for name in wanted if name not in found]
    if absent:
        raise _unusable(
            uri,
            "MissingColumn",
            f"has no {', '.join(absent)}; found {', '.join(found) or 'no column'}: bring a "
            "complete file, or map variables to its columns in ecco/series.yaml",
        )


def _unusable(uri: str, code: str, what: str) -> InputUnusable:
    return InputUnusable(f"{uri}: {what}", code=code, uri=uri)
