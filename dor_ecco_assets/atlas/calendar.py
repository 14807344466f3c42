"""The calendar of atlas cases: noleap months counted from the injection."""

from collections.abc import Iterator

from dor_ecco_assets.errors import ConfigurationError

__all__ = [
    "CALENDAR",
    "DAYS_PER_MONTH",
    "DAYS_PER_YEAR",
    "INJECTION_YEAR",
    "MODEL_INJECTION_YEAR",
    "MODEL_TIME_UNITS",
    "calendar_year",
    "days_since_epoch",
    "elapsed_days",
    "elapsed_month",
    "model_months",
    "month_length_days",
]

CALENDAR = "noleap"
MODEL_TIME_UNITS = "days since 0000-01-01 00:00:00"

#: Days of January to December; every year of the model has 365.
DAYS_PER_MONTH = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
DAYS_PER_YEAR = 365

#: The year of every injection, as published and as the model counts it.
INJECTION_YEAR, MODEL_INJECTION_YEAR = 1999, 347


def calendar_year(model_year: int) -> int:
    """The published year of a model year: 1999 for 347."""
    return model_year - MODEL_INJECTION_YEAR + INJECTION_YEAR


def month_length_days(month: int) -> int:
    """Days of one calendar month, 1 to 12."""
    if not 1 <= month <= 12:
        raise ConfigurationError(f"month {month}; expected 1 to 12", code="BadMonth")
    return DAYS_PER_MONTH[month - 1]


def days_since_epoch(model_year: int, month: int) -> int:
    """Days from 0000-01-01 to the first of a model month, noleap."""
    month_length_days(month)
    return model_year * DAYS_PER_YEAR + sum(DAYS_PER_MONTH[: month - 1])


def model_months(injection_month: int, months: int) -> Iterator[tuple[int, int]]:
    """Model year and calendar month of every month of a case, the injection's first.

    Parameters
    ----------
    injection_month : int
        1 to 12.
    months : int
        Length of the case.
    """
    month_length_days(injection_month)
    for elapsed in range(months):
        years, month = divmod(injection_month - 1 + elapsed, 12)
        yield MODEL_INJECTION_YEAR + years, month + 1


def elapsed_month(injection_month: int, model_year: int, month: int) -> int:
    """Whole months from the injection month to a model month; negative before it."""
    return 12 * (model_year - MODEL_INJECTION_YEAR) + month - injection_month


def elapsed_days(injection_month: int, model_year: int, month: int) -> int:
    """Days from the first of the injection month to the first of a model month."""
    start = days_since_epoch(MODEL_INJECTION_YEAR, injection_month)
    return days_since_epoch(model_year, month) - start
