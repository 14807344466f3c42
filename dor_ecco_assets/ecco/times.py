"""When a record of model output begins, ends and is centred, and which partition holds it.

One formula gives the bounds of every averaging period, the partial first and last included; its
inverse gives the step that a partition's files carry in their names. Times are UTC, to the second.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dor_ecco_assets.errors import ConfigurationError, InputUnusable
from dor_ecco_assets.grids.mds_meta import PeriodToken

__all__ = [
    "FREQUENCIES",
    "V4R4_CLOCK",
    "V4R4_END",
    "V4R4_START",
    "Frequency",
    "FrequencySpec",
    "ModelClock",
    "PeriodBounds",
    "PeriodToken",
    "frequency_named",
    "frequency_of_period",
    "hours_since",
]

Frequency = Literal["AVG_DAY", "AVG_MON", "SNAP", "TI"]


@dataclass(frozen=True)
class FrequencySpec:
    """How one frequency is spelt in model output, in granule names and in attributes.

    Parameters
    ----------
    code : str
        The name used in groupings.
    periods : tuple of str
        Period tokens of model output files that hold it; empty for time-invariant fields.
    token : str or None
        The same in a granule's file name.
    iso_duration : str or None
        ``time_coverage_duration`` and ``time_coverage_resolution``.
    folder : str
        Folder of the model's output below the version, ``""`` for the static ones.
    aliases : tuple of str
        Other spellings of `code` in released groupings.
    """

    code: Frequency
    periods: tuple[PeriodToken, ...]
    token: Literal["day_mean", "mon_mean", "snap"] | None
    iso_duration: str | None
    folder: str
    aliases: tuple[str, ...] = ()


#: ECCO-Dataset-Production writes P0S for snapshots, which ISO 8601 does not know; PT0S is valid.
FREQUENCIES: dict[Frequency, FrequencySpec] = {
    "AVG_DAY": FrequencySpec("AVG_DAY", ("day_mean",), "day_mean", "P1D", "diags_daily"),
    "AVG_MON": FrequencySpec("AVG_MON", ("mon_mean",), "mon_mean", "P1M", "diags_monthly"),
    "SNAP": FrequencySpec(
        "SNAP",
        ("day_inst", "day_snap", "mon_snap", "snap"),
        "snap",
        "PT0S",
        "diags_inst",
        aliases=("SNAPSHOT",),
    ),
    "TI": FrequencySpec("TI", (), None, None, "", aliases=("TIME-INVARIANT", "TIME_INVARIANT")),
}

#: Time of step 0 and of the last step of the ECCO V4r4 run, UTC.
V4R4_START = np.datetime64("1992-01-01T12:00:00", "s")
V4R4_END = np.datetime64("2017-12-31T12:00:00", "s")

#: Calendar unit that an average covers, as NumPy names it.
_UNIT: dict[Frequency, Literal["D", "M"]] = {"AVG_DAY": "D", "AVG_MON": "M"}
_KEY_FORM: dict[Frequency, tuple[str, str]] = {
    "AVG_DAY": (r"\d{4}-\d{2}-\d{2}", "YYYY-MM-DD"),
    "AVG_MON": (r"\d{4}-\d{2}", "YYYY-MM"),
    "SNAP": (r"\d{4}-\d{2}-\d{2}", "YYYY-MM-DD"),
}


def frequency_named(text: str) -> Frequency:
    """Frequency that a grouping or a job names, aliases included, whatever the case.

    Raises
    ------
    ConfigurationError
        Code ``UnknownFrequency``; lists the names that are known.
    """
    wanted = text.strip().upper()
    for spec in FREQUENCIES.values():
        if wanted == spec.code or wanted in spec.aliases:
            return spec.code
    known = ", ".join(n for spec in FREQUENCIES.values() for n in (spec.code, *spec.aliases))
    raise ConfigurationError(
        f"frequency {text!r} is not known; use one of {known}", code="UnknownFrequency"
    )


def frequency_of_period(period: str) -> Frequency:
    """Frequency of a model output file whose name carries the token `period`.

    Raises
    ------
    ConfigurationError
        Code ``UnknownFrequency``; lists the tokens that are known.
    """
    for spec in FREQUENCIES.values():
        if period in spec.periods:
            return spec.code
    known = ", ".join(token for spec in FREQUENCIES.values() for token in spec.periods)
    raise ConfigurationError(
        f"period token {period!r} is not known; use one of {known}", code="UnknownFrequency"
    )


def _seconds(span: np.timedelta64) -> int:
    return int(span.astype("timedelta64[s]").astype(np.int64))


class PeriodBounds(NamedTuple):
    """Start, end and centre of what one record describes; all three are the instant for snapshots.

    The centre is cut to the whole second below where the period is an odd number of seconds.
    """

    start: np.datetime64
    end: np.datetime64
    centre: np.datetime64


@dataclass(frozen=True)
class ModelClock:
    """Start, time step and end of a model run; the defaults are those of ECCO V4r4.

    Parameters
    ----------
    start : datetime64[s]
        Time of step 0.
    step_s : int
        Length of a time step, s.
    end : datetime64[s]
        Time of the last step. Its record may end in the middle of a day or month.

    Raises
    ------
    ConfigurationError
        If the step is not a positive whole number of seconds that divides the run.
    """

    start: np.datetime64 = V4R4_START
    step_s: int = 3600
    end: np.datetime64 = V4R4_END

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", self.start.astype("datetime64[s]"))
        object.__setattr__(self, "end", self.end.astype("datetime64[s]"))
        length_s = _seconds(self.end - self.start)
        if self.step_s <= 0 or length_s <= 0 or length_s % self.step_s:
            raise ConfigurationError(
                f"a run from {self.start} to {self.end} is {length_s} s long, which steps of "
                f"{self.step_s} s do not divide; correct start, step_s or end",
                code="ModelClock",
            )

    @cached_property
    def last_step(self) -> int:
        """Step number of the model's end."""
        return _seconds(self.end - self.start) // self.step_s

    @property
    def time_units(self) -> str:
        """CF units of times since the model's start, in hours."""
        return f"hours since {str(self.start).replace('T', ' ')}"

    def time_of(self, step: int) -> np.datetime64:
        """Model time at a step: the end of an average, the instant of a snapshot."""
        return self.start + np.timedelta64(step * self.step_s, "s")

    def period_bounds(self, step: int, frequency: Frequency, *, name: str = "") -> PeriodBounds:
        """Bounds and centre of the record written at a step.

        Parameters
        ----------
        step : int
            Number in the file's name.
        frequency : str
            ``AVG_DAY``, ``AVG_MON`` or ``SNAP``.
        name : str, optional
            File or URI to name in an error.

        Returns
        -------
        PeriodBounds
            Of datetime64[s].

        Raises
        ------
        InputUnusable
            Code ``TimeAlignment``, if an average does not end with a day or a month (the model's
            last record may) or a step lies outside the run.
        ConfigurationError
            For time-invariant fields, which have no time.

        Notes
        -----
        ``end = time_of(step)``, ``start = max(model start, end - 1 s floored to the period)`` and
        the centre halves the two. Subtracting a calendar month from the end instead would go
        wrong wherever the end is not the first of a month.
        """
        end = self.time_of(step)
        if frequency == "SNAP":
            self._check_in_run(step, end, name, first=0)
            return PeriodBounds(end, end, end)
        unit = _unit(frequency)
        self._check_in_run(step, end, name, first=1)
        if _floor(end, unit) != end and end != self.end:
            what, at = ("month", "first of a month") if unit == "M" else ("day", "next day")
            raise InputUnusable(
                f"{_named(name)}step {step} is {end}, where no {what} ends; {frequency} records "
                f"end at 00:00 of the {at} or at the model's end, {self.end}; is it a file of "
                f"another frequency, or is the model's start or time step another?",
                code="TimeAlignment",
                uri=name,
            )
        start = max(self.start, _floor(end - np.timedelta64(1, "s"), unit))
        return PeriodBounds(start, end, start + (end - start) // 2)

    def partition_key(self, step: int, frequency: Frequency, *, name: str = "") -> str:
        """Partition of the record written at a step: ``YYYY-MM`` or ``YYYY-MM-DD``.

        Raises
        ------
        InputUnusable
            As `period_bounds`; code ``TimeAlignment`` also for a snapshot of another hour than
            00:00, the one that a day's partition stands for.
        """
        centre = self.period_bounds(step, frequency, name=name).centre
        if frequency == "SNAP":
            if _floor(centre, "D") != centre:
                raise InputUnusable(
                    f"{_named(name)}step {step} is {centre}, expected 00:00 of a day, the snapshot "
                    "that a partition YYYY-MM-DD stands for; leave the file out",
                    code="TimeAlignment",
                    uri=name,
                )
            return str(centre.astype("datetime64[D]"))
        return str(centre.astype(f"datetime64[{_unit(frequency)}]"))

    def step_of(self, key: str, frequency: Frequency) -> int:
        """Step whose record holds a partition; the inverse of `partition_key`.

        Parameters
        ----------
        key : str
            ``YYYY-MM`` for ``AVG_MON``, ``YYYY-MM-DD`` for ``AVG_DAY`` and for ``SNAP``, where it
            means the instant 00:00.
        frequency : str

        Returns
        -------
        int

        Raises
        ------
        ConfigurationError
            Code ``UnknownPartition``, if the key is not of that form, is no date, or lies outside
            the run; code ``TimeAlignment``, if its end falls between two time steps.
        """
        period = _period_of_key(key, frequency)
        if frequency == "SNAP":
            end = period.astype("datetime64[s]")
            inside = self.start <= end <= self.end
        else:
            after = period + np.timedelta64(1, _unit(frequency))
            end = min(after.astype("datetime64[s]"), self.end)
            inside = self.start < end and period.astype("datetime64[s]") < self.end
        if not inside:
            raise ConfigurationError(
                f"partition {key} lies outside the model run, {self.start} to {self.end}",
                code="UnknownPartition",
            )
        elapsed_s = _seconds(end - self.start)
        if elapsed_s % self.step_s:
            raise ConfigurationError(
                f"partition {key} ends at {end}, {elapsed_s} s after the model's start, which is "
                f"not a whole number of {self.step_s} s steps",
                code="TimeAlignment",
            )
        return elapsed_s // self.step_s

    def partition_keys(self, frequency: Frequency) -> list[str]:
        """Every day or month of the run, in order, the partial first and last included.

        Of snapshots every day whose 00:00 the run comes through.

        Raises
        ------
        ConfigurationError
            For time-invariant fields.
        """
        if frequency == "SNAP":
            before = (self.start - np.timedelta64(1, "s")).astype("datetime64[D]")
            one = np.timedelta64(1, "D")
            days = np.arange(before + one, self.end.astype("datetime64[D]") + one, one)
            return [str(day) for day in days]
        unit = _unit(frequency)
        first = self.start.astype(f"datetime64[{unit}]")
        last = (self.end - np.timedelta64(1, "s")).astype(f"datetime64[{unit}]")
        one = np.timedelta64(1, unit)
        return [str(key) for key in np.arange(first, last + one, one)]

    def check_interval(
        self, interval_s: Sequence[float], step: int, frequency: Frequency, *, name: str
    ) -> None:
        """Compare the interval that a file states with the one its step and frequency imply.

        Parameters
        ----------
        interval_s : sequence of float
            ``timeInterval`` of the ``.meta`` file, s of model time: two values for an average,
            one for a snapshot.
        step : int
        frequency : str
        name : str
            File or URI, for the error.

        Raises
        ------
        InputUnusable
            Code ``TimeIntervalMismatch``.

        Notes
        -----
        The end must agree exactly, the start within one time step: the first record of a run
        states one step where the period begins at 0, because the run begins at iteration 1.
        """
        bounds = self.period_bounds(step, frequency, name=name)
        end_s = step * self.step_s
        if frequency == "SNAP":
            agrees = tuple(interval_s) == (end_s,)
            expected = f"[{end_s}]"
        else:
            start_s = _seconds(bounds.start - self.start)
            agrees = (
                len(interval_s) == 2
                and interval_s[1] == end_s
                and abs(interval_s[0] - start_s) <= self.step_s
            )
            expected = f"[{start_s}, {end_s}]"
        if not agrees:
            found = ", ".join(f"{value:g}" if value % 1 else f"{value:.0f}" for value in interval_s)
            raise InputUnusable(
                f"{name}: timeInterval is [{found}] s, expected {expected} for the {frequency} "
                f"record of step {step} ({bounds.start} to {bounds.end}); "
                f"{_interval_hint(interval_s, frequency)}",
                code="TimeIntervalMismatch",
                uri=name,
            )

    def _check_in_run(self, step: int, time: np.datetime64, name: str, *, first: int) -> None:
        if not first <= step <= self.last_step:
            raise InputUnusable(
                f"{_named(name)}step {step} is {time}, outside the run from {self.start} to "
                f"{self.end} (steps {first} to {self.last_step}); correct the model's clock or "
                f"leave the file out",
                code="TimeAlignment",
                uri=name,
            )


#: Hourly steps from 1992-01-01T12 to 2017-12-31T12: 312 months, 9,497 days.
V4R4_CLOCK = ModelClock()


def hours_since(times: NDArray[np.datetime64], start: np.datetime64) -> NDArray[np.generic]:
    """Hours since the model's start, the way granules store their times.

    Parameters
    ----------
    times : ndarray of datetime64
    start : datetime64

    Returns
    -------
    ndarray of int32, shape of `times`
        Of float64 if any of them is not a whole hour.
    """
    seconds = (np.asarray(times) - start).astype("timedelta64[s]").astype(np.int64)
    hours, rest = np.divmod(seconds, 3600)
    return (seconds / 3600).astype(np.float64) if np.any(rest) else hours.astype(np.int32)


def _unit(frequency: Frequency) -> Literal["D", "M"]:
    if frequency not in _UNIT:
        raise ConfigurationError(
            f"{frequency} is not an average over time; only {', '.join(_UNIT)} have periods",
            code="UnknownFrequency",
        )
    return _UNIT[frequency]


def _floor(time: np.datetime64, unit: Literal["D", "M"]) -> np.datetime64:
    return time.astype(f"datetime64[{unit}]").astype("datetime64[s]")


def _period_of_key(key: str, frequency: Frequency) -> np.datetime64:
    """Day or month that a key names."""
    if frequency not in _KEY_FORM:
        _unit(frequency)
    pattern, form = _KEY_FORM[frequency]
    try:
        if not re.fullmatch(pattern, key):
            raise ValueError(key)
        return np.datetime64(key, "M" if frequency == "AVG_MON" else "D")
    except ValueError:
        raise ConfigurationError(
            f"partition {key!r} is not a date of the form {form}, which {frequency} needs",
            code="UnknownPartition",
        ) from None


def _named(name: str) -> str:
    return f"{name}: " if name else ""


def _interval_hint(interval_s: Sequence[float], frequency: Frequency) -> str:
    """Likely cause, in the words of someone who sorts files into folders."""
    if not interval_s:
        return "the file states none, so it cannot be placed in time"
    if len(interval_s) == 1:
        return "it holds a snapshot" if frequency != "SNAP" else "is the time step another?"
    if frequency == "SNAP":
        return "it holds an average, not a snapshot"
    days = (interval_s[-1] - interval_s[0]) / 86400
    for looks_like, low, high in (("AVG_DAY", 0.45, 1.0), ("AVG_MON", 27.0, 31.0)):
        if low <= days <= high and looks_like != frequency:
            return f"it spans {days:g} days, as {looks_like} files do: is it in the wrong folder?"
    return "are the model's start and time step right?"
