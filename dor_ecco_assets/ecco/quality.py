"""What may be wrong with the numbers of a field: counted here, judged elsewhere.

All functions take a field on one kind of point and the wet mask of the same points, whose shape
may lack the field's leading axes. They count; whether a count is a warning or a failure is policy.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dor_ecco_assets.errors import GridMismatch

__all__ = [
    "LandValues",
    "RangeReport",
    "is_constant",
    "non_finite_in_wet",
    "non_zero_on_land",
    "outside_range",
]


class LandValues(NamedTuple):
    """Dry cells that do not hold 0: how many, and the largest magnitude among the finite ones."""

    cells: int
    largest: float


class RangeReport(NamedTuple):
    """Wet cells outside a range, and the extremes of all finite wet ones (NaN if there is none)."""

    cells: int
    minimum: float
    maximum: float


def non_finite_in_wet(field: NDArray[Any], wet: NDArray[np.bool_]) -> int:
    """Count wet cells that hold NaN or an infinity.

    Parameters
    ----------
    field : ndarray, shape (..., tile, j, i)
    wet : ndarray of bool, shape of the last axes of `field`

    Returns
    -------
    int
    """
    return int(np.count_nonzero(~np.isfinite(field) & _fitting(wet, field)))


def non_zero_on_land(field: NDArray[Any], wet: NDArray[np.bool_]) -> LandValues:
    """Count dry cells that hold something, NaN included.

    Parameters
    ----------
    field : ndarray, shape (..., tile, j, i)
    wet : ndarray of bool, shape of the last axes of `field`

    Returns
    -------
    LandValues
        ``largest`` is 0 where no finite value stands out.
    """
    found = field[(field != 0) & ~_fitting(wet, field)]
    finite = np.abs(found[np.isfinite(found)])
    return LandValues(int(found.size), float(finite.max()) if finite.size else 0.0)


def outside_range(
    field: NDArray[Any], wet: NDArray[np.bool_], *, low: float, high: float
) -> RangeReport:
    """Count wet cells whose finite value lies below `low` or above `high`.

    Parameters
    ----------
    field : ndarray, shape (..., tile, j, i)
    wet : ndarray of bool, shape of the last axes of `field`
    low, high : float
        Both inclusive, in the unit of `field`.

    Returns
    -------
    RangeReport
    """
    values = field[_fitting(wet, field) & np.isfinite(field)]
    if values.size == 0:
        return RangeReport(0, np.nan, np.nan)
    outside = np.count_nonzero((values < low) | (values > high))
    return RangeReport(int(outside), float(values.min()), float(values.max()))


def is_constant(field: NDArray[Any], wet: NDArray[np.bool_]) -> bool:
    """Whether all finite wet values are the same one; False where there are fewer than two."""
    values = field[_fitting(wet, field) & np.isfinite(field)]
    return bool(values.size > 1 and values.min() == values.max())


def _fitting(wet: NDArray[np.bool_], field: NDArray[Any]) -> NDArray[np.bool_]:
    if wet.shape != field.shape[field.ndim - wet.ndim :]:
        raise GridMismatch(
            f"the wet mask has shape {wet.shape}, expected the last axes of the field's "
            f"{field.shape}",
            code="ShapeMismatch",
        )
    return np.broadcast_to(wet, field.shape)
