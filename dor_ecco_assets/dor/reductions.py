"""Compiled passes over the fields of a history file: byte planes, column integrals, area sums.

Importing this module imports numba, so it is imported where it is used. Fields come as the bit
patterns that lie in the file: big-endian float32 seen as native uint32, so that mapped bytes are
never copied. Every sum runs over cells in the order of the file and is compensated; no result
depends on threads or chunks.
"""

import math
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["area_sum", "column_delta", "column_delta_float32", "file_bits", "planes_of_bits"]

type Bits = NDArray[np.uint32]
type Planes = NDArray[np.uint8]
type Doubles = NDArray[np.float64]
type Counts = NDArray[np.int32]

#: Bits of 1e30 in float32: from here on a magnitude is a fill, infinity or NaN.
_NO_NUMBER = np.uint32(0x7149F2CA)
_MAGNITUDE = np.uint32(0x7FFFFFFF)


def file_bits(values: NDArray[Any], cells: int) -> Bits:
    """Big-endian float32 values as the native integers that `planes_of_bits` takes.

    Parameters
    ----------
    values : ndarray of big-endian float32, C-contiguous
        Of one month, with horizontal axes last.
    cells : int
        Of the horizontal grid.

    Returns
    -------
    ndarray of uint32, shape (levels, cells)
        A view.
    """
    return values.reshape(-1).view(np.uint32).reshape(-1, cells)


@numba.njit(cache=True, nogil=True, inline="always")
def _swapped(bits: Any) -> Any:
    # Narrowed at the end: shifts of uint32 come out as uint64.
    return np.uint32(
        (bits >> np.uint32(24))
        | ((bits >> np.uint32(8)) & np.uint32(0xFF00))
        | ((bits << np.uint32(8)) & np.uint32(0xFF0000))
        | ((bits & np.uint32(0xFF)) << np.uint32(24))
    )


@numba.njit(cache=True, nogil=True)
def planes_of_bits(bits: Bits, kmt: Counts, fill: np.uint32, planes: Planes) -> tuple[Any, Any]:
    """Split a field into byte planes of its little-endian values and count odd cells on the way.

    Parameters
    ----------
    bits : ndarray of uint32, shape (levels, cells)
        As `file_bits` gives them.
    kmt : ndarray of int32, shape (cells,)
        Number of wet levels.
    fill : uint32
        Bit pattern of the declared fill value.
    planes : ndarray of uint8, shape (4, levels x cells)
        Written: least significant bytes first, as the shuffle filter has them.

    Returns
    -------
    gaps, strays : int
        Wet cells without a number (NaN, infinity, fill or beyond 1e30), and dry cells with one.
    """
    gaps, strays = 0, 0
    n = bits.shape[1]
    for level in range(bits.shape[0]):
        row, start, depth = bits[level], level * n, np.int32(level)
        low, second = planes[0, start : start + n], planes[1, start : start + n]
        third, high = planes[2, start : start + n], planes[3, start : start + n]
        for cell in range(n):
            value = row[cell]
            low[cell] = np.uint8(value >> np.uint32(24))
            second[cell] = np.uint8(value >> np.uint32(16))
            third[cell] = np.uint8(value >> np.uint32(8))
            high[cell] = np.uint8(value)
        # A second loop over what is in the cache, in 32-bit terms: both become vectors.
        row_gaps, row_strays = np.int32(0), np.int32(0)
        for cell in range(n):
            value = _swapped(row[cell])
            number = np.int32(np.uint32(value & _MAGNITUDE) < _NO_NUMBER) & np.int32(value != fill)
            wet = np.int32(kmt[cell] > depth)
            row_gaps += np.int32(wet & ~number)
            row_strays += np.int32(number & ~wet)
        gaps += row_gaps
        strays += row_strays
    return gaps, strays


@numba.njit(cache=True, nogil=True, inline="always")
def _number(bits: Any, fill: Any) -> Any:
    """The value of a bit pattern, NaN for what is no number."""
    value = _swapped(bits)
    known = np.int32(np.uint32(value & _MAGNITUDE) < _NO_NUMBER) & np.int32(value != fill)
    return np.float64(value.view(np.float32)) if known else np.nan


@numba.njit(cache=True, nogil=True)
def column_delta(
    bits: Bits,
    twin: Bits,
    dz_cm: Doubles,
    ssh_cm: Doubles,
    kmt: Counts,
    fills: NDArray[np.uint32],
    column: Doubles,
    delta: Doubles,
) -> None:
    """Column integrals of a tracer and of its difference from the twin.

    Parameters
    ----------
    bits, twin : ndarray of uint32, shape (nz, cells)
        Fields as `file_bits` gives them, in units per m³.
    dz_cm : ndarray of float64, shape (nz,), cm
    ssh_cm : ndarray of float64, shape (cells,), cm
        Thickness of the free-surface layer, which holds what the top level holds.
    kmt : ndarray of int32, shape (cells,)
    fills : ndarray of uint32, shape (2,)
        Bit patterns of the two fill values.
    column, delta : ndarray of float64, shape (cells,)
        Written, in units per m²; NaN on land and in columns that hold no number in a wet cell.

    Notes
    -----
    The difference is taken first and both are integrated in float64, in cm until the end: two
    float32 integrals near 1e7 would leave noise of 1 and more in their difference.
    """
    n = kmt.size
    for cell in range(n):
        wet = kmt[cell] > 0
        column[cell] = 0.0 if wet else np.nan
        delta[cell] = 0.0 if wet else np.nan
    for level in range(dz_cm.size):
        depth, row, other = np.int32(level), bits[level], twin[level]
        for cell in range(n):
            # Choices, not branches, so that the loop becomes vectors.
            wet = kmt[cell] > depth
            value = _number(row[cell], fills[0])
            change = value - _number(other[cell], fills[1])
            thickness = dz_cm[level] + (ssh_cm[cell] if level == 0 else 0.0)
            column[cell] += value * thickness if wet else 0.0
            delta[cell] += change * thickness if wet else 0.0
    for cell in range(n):
        column[cell] /= 100.0
        delta[cell] /= 100.0


@numba.njit(cache=True, nogil=True)
def column_delta_float32(
    bits: Bits,
    twin: Bits,
    dz_cm: Doubles,
    ssh_cm: Doubles,
    kmt: Counts,
    fills: NDArray[np.uint32],
    column: Doubles,
    delta: Doubles,
) -> None:
    """As `column_delta`, but the difference of two float32 integrals, as Ocean-CDR-Atlas v0."""
    nothing = np.float32(0.0)
    for cell in range(kmt.size):
        one = other = nothing
        for level in range(kmt[cell]):
            thickness = np.float32(dz_cm[level] / 100.0)
            one += np.float32(_number(bits[level, cell], fills[0])) * thickness
            other += np.float32(_number(twin[level, cell], fills[1])) * thickness
        if kmt[cell] > 0:
            surface = np.float32(ssh_cm[cell] / 100.0)
            one += np.float32(_number(bits[0, cell], fills[0])) * surface
            other += np.float32(_number(twin[0, cell], fills[1])) * surface
        column[cell] = one if kmt[cell] > 0 else np.nan
        delta[cell] = one - other if kmt[cell] > 0 else np.nan


@numba.njit(cache=True, nogil=True)
def area_sum(
    values: Doubles, area: Doubles, group: Counts, sums: Doubles, counts: NDArray[np.int64]
) -> None:
    """Sum of value times area in each group of cells.

    Parameters
    ----------
    values : ndarray of float64, shape (cells,)
        NaN where there is no number; such cells are passed over.
    area : ndarray of float64, shape (cells,)
    group : ndarray of int32, shape (cells,)
        Group of each cell; -1 for none.
    sums : ndarray of float64, shape (groups,)
        Written; 0 for a group without a number.
    counts : ndarray of int64, shape (groups,)
        Written: cells with a number.

    Notes
    -----
    Compensated after Neumaier (1974), one cell after another.
    """
    rest = np.zeros(sums.size)
    sums[:] = 0.0
    counts[:] = 0
    for cell in range(values.size):
        place = group[cell]
        if place < 0 or math.isnan(values[cell]):
            continue
        term = values[cell] * area[cell]
        total = sums[place] + term
        if abs(sums[place]) >= abs(term):
            rest[place] += (sums[place] - total) + term
        else:
            rest[place] += (term - total) + sums[place]
        sums[place] = total
        counts[place] += 1
    for place in range(sums.size):
        sums[place] += rest[place]
