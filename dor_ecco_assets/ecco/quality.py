"""What may be wrong with the numbers of a field: counted here in one pass, judged elsewhere."""

from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from dor_ecco_assets.errors import GridMismatch

__all__ = ["FieldSurvey", "survey_field"]


class FieldSurvey(NamedTuple):
    """What the cells of one field hold.

    Parameters
    ----------
    non_finite : int
        Wet cells with NaN or an infinity.
    outside : int
        Wet cells with a finite value outside the range asked for.
    minimum, maximum : float
        Of the finite values in wet cells, in the field's unit; NaN where there is none.
    finite : int
        Wet cells with a finite value.
    on_land : int
        Dry cells that do not hold 0, NaN included.
    largest_on_land : float
        Largest magnitude among their finite values, 0 where there is none.
    """

    non_finite: int
    outside: int
    minimum: float
    maximum: float
    finite: int
    on_land: int
    largest_on_land: float

    @property
    def constant(self) -> bool:
        """Whether all finite wet values are the same one; False where there are fewer than two."""
        return self.finite > 1 and self.minimum == self.maximum


def survey_field(
    field: NDArray[Any], wet: NDArray[np.bool_], *, low: float = -np.inf, high: float = np.inf
) -> FieldSurvey:
    """Count what may be wrong with a field, in one pass.

    Parameters
    ----------
    field : ndarray of float32 or float64, shape (..., tile, j, i)
    wet : ndarray of bool, shape of the last axes of `field`
    low, high : float, optional
        Both inclusive, in the unit of `field`.

    Returns
    -------
    FieldSurvey

    Raises
    ------
    GridMismatch
        Code ``ShapeMismatch``, if the mask does not fit the field.
    """
    if wet.shape != field.shape[field.ndim - wet.ndim :]:
        raise GridMismatch(
            f"the wet mask has shape {wet.shape}, expected the last axes of the field's "
            f"{field.shape}",
            code="ShapeMismatch",
        )
    rows = np.ascontiguousarray(field).reshape(-1, wet.size)
    return FieldSurvey(*_survey(rows, np.ascontiguousarray(wet).reshape(-1), low, high))


@numba.njit(cache=True, nogil=True)
def _survey(
    rows: NDArray[Any], wet: NDArray[np.bool_], low: float, high: float
) -> tuple[int, int, float, float, int, int, float]:
    non_finite, outside, finite, on_land = 0, 0, 0, 0
    minimum, maximum, largest = np.inf, -np.inf, 0.0
    for row in rows:
        for cell in range(row.size):
            value = row[cell]
            if not wet[cell]:
                if value != 0:
                    on_land += 1
                    if np.isfinite(value):
                        largest = max(largest, abs(value))
            elif np.isfinite(value):
                finite += 1
                minimum, maximum = min(minimum, value), max(maximum, value)
                outside += value < low or value > high
            else:
                non_finite += 1
    if finite == 0:
        minimum, maximum = np.nan, np.nan
    return non_finite, outside, minimum, maximum, finite, on_land, largest
