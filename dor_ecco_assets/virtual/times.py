"""Times of granules: as milliseconds for comparing, and in the store's units for keeping."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

import cftime
import numpy as np
import numpy.typing as npt

from dor_ecco_assets.errors import InputUnusable

__all__ = ["UNITS", "converted", "is_time", "milliseconds", "stamp_ms", "stamp_of"]

#: Units of times that the store itself adds.
UNITS = "milliseconds since 1970-01-01"

_MICROSECOND = timedelta(microseconds=1)

type Values = npt.NDArray[Any]


def is_time(attributes: Mapping[str, Any]) -> bool:
    """Whether an array's numbers are times."""
    return " since " in str(attributes.get("units", ""))


def stamp_ms(stamp: str) -> int | None:
    """Milliseconds since 1970 of an ISO 8601 time in UTC; None of an empty one."""
    if not stamp:
        return None
    return int(np.datetime64(stamp.removesuffix("Z"), "ms").astype(np.int64))


def stamp_of(milliseconds_since_1970: int) -> str:
    """A time in UTC as ISO 8601, to the second or, where it has them, the millisecond."""
    when = datetime.fromtimestamp(milliseconds_since_1970 / 1000, UTC)
    text = f"{when:%Y-%m-%dT%H:%M:%S}"
    rest = milliseconds_since_1970 % 1000
    return f"{text}.{rest:03d}Z" if rest else f"{text}Z"


class _Line(NamedTuple):
    """How numbers of one unit become another's, in whole microseconds so that nothing is lost."""

    given_us: int
    shift_us: int
    wanted_us: int

    def of(self, values: Values) -> npt.NDArray[np.float64]:
        return (values.astype(np.float64) * self.given_us + self.shift_us) / self.wanted_us


@lru_cache(maxsize=4096)
def _line(units: str, target: str, calendar: str) -> _Line:
    (zero, one), (start, next_one) = (
        cftime.num2date([0, 1], each, calendar, only_use_cftime_datetimes=True)
        for each in (units, target)
    )
    return _Line(
        *((a - b) // _MICROSECOND for a, b in ((one, zero), (zero, start), (next_one, start)))
    )


def _calendar(attributes: Mapping[str, Any]) -> str:
    found = str(attributes.get("calendar", "standard")).lower()
    return "standard" if found == "gregorian" else found


def milliseconds(values: Values, attributes: Mapping[str, Any]) -> npt.NDArray[np.float64]:
    """Times in milliseconds since 1970, as far as their calendar has the day.

    Raises
    ------
    InputUnusable
        Code ``TimeInvalid``, if units or calendar cannot be read or a value is missing.
    """
    if _missing(values, attributes).any():
        raise InputUnusable("a time is missing", code="TimeInvalid")
    calendar = _calendar(attributes)
    return _line_or_reason(attributes, UNITS, calendar).of(values)


def converted(values: Values, given: Mapping[str, Any], wanted: Mapping[str, Any]) -> Values:
    """Times in other units; missing ones stay as they are.

    Parameters
    ----------
    values : ndarray
    given, wanted : mapping
        Attributes with ``units`` and ``calendar``.

    Raises
    ------
    InputUnusable
        Code ``TimeInvalid``, if the calendars differ, or whole numbers cannot hold the result.
    """
    units = (given.get("units"), _calendar(given)), (wanted.get("units"), _calendar(wanted))
    if units[0] == units[1]:
        return values
    if units[0][1] != units[1][1]:
        raise InputUnusable(
            f"times are in the calendar {units[0][1]}, expected {units[1][1]}", code="TimeInvalid"
        )
    moved = _line_or_reason(given, str(units[1][0]), units[1][1]).of(values)
    if values.dtype.kind in "iu":
        whole = np.rint(moved)
        if not np.allclose(whole, moved, rtol=0, atol=1e-6):
            raise InputUnusable(
                f"times in {units[0][0]!r} are no whole numbers in {units[1][0]!r}, the store's",
                code="TimeInvalid",
            )
        moved = whole
    return np.where(_missing(values, given), values, moved.astype(values.dtype))


def _line_or_reason(attributes: Mapping[str, Any], target: str, calendar: str) -> _Line:
    try:
        return _line(str(attributes["units"]), target, calendar)
    except (ValueError, KeyError, OverflowError) as error:
        raise InputUnusable(
            f"times in {attributes.get('units')!r} cannot be read ({error})", code="TimeInvalid"
        ) from error


def _missing(values: Values, attributes: Mapping[str, Any]) -> npt.NDArray[np.bool_]:
    found = np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)
    for name in ("_FillValue", "missing_value"):
        if isinstance(attributes.get(name), int | float):
            found |= values == attributes[name]
    return found
