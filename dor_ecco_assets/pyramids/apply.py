"""Weights applied to many fields of one grid at once, straight into the tiles of a store.

Layout is what costs: fields are turned round to one row per source cell, a block at a time, and
each level is one pass that sums 32 pixels in cache and leaves them where a chunk begins. Importing
this module imports numba, so it is imported where it is used.
"""

from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from dor_ecco_assets.errors import GridMismatch
from dor_ecco_assets.mapping.webmercator import LevelWeights, WebMercatorWeights

__all__ = ["FILL", "Regridder", "Survey", "month_major"]

type Floats = NDArray[np.float32]
type Steps = NDArray[np.int64]

#: Value of pixels without data in every store that browsers read; exact in float32.
FILL = np.float32(9.969209968386869e36)

#: Cells whose rows are gathered together, and fields that are read side by side meanwhile.
_CELLS, _FIELDS = 512, 16
#: Pixels that are summed in cache: 32 x 180 fields are 23 KB.
_PIXELS = 32

_MAGNITUDE, _INFINITY = np.int32(0x7FFFFFFF), np.int32(0x7F800000)


class Survey(NamedTuple):
    """What is in some fields.

    Parameters
    ----------
    smallest, largest : float
        Of the numbers; NaN where there is none.
    nans : int
    unlike : ndarray of int64, shape (fields,)
        Per field, cells that are NaN and wet, or neither.
    """

    smallest: float
    largest: float
    nans: int
    unlike: NDArray[np.int64]


def month_major(months: int) -> Steps:
    """Step of each column where months come before years, as stores of cases have them.

    Parameters
    ----------
    months : int
        Length of a case.

    Returns
    -------
    ndarray of int64, shape (12 years,)
        Column ``years * month + year`` holds step ``12 * year + month``; -1 where the case is over.
    """
    years = -(-months // 12)
    steps = (12 * np.arange(years) + np.arange(12)[:, None]).reshape(-1)
    return np.where(steps < months, steps, -1)


class Regridder:
    """Weights of every level with the buffers that fields pass through; for one thread.

    Parameters
    ----------
    weights : WebMercatorWeights
    steps : ndarray of int64, shape (columns,)
        Which field each column of the tiles holds; -1 for none.
    levels : int, optional
        How many zoom levels, from the coarsest; all that have weights if not given.
    """

    def __init__(
        self, weights: WebMercatorWeights, steps: Steps, levels: int | None = None
    ) -> None:
        self._levels = (
            weights.levels if levels is None else tuple(map(weights.level, range(levels)))
        )
        self._weights, self._steps = weights, np.ascontiguousarray(steps, np.int64)
        self._cells = np.ascontiguousarray(weights.cells, np.int64)
        self._rows = np.empty((self._cells.size, steps.size), np.float32)
        side = weights.pixels_per_tile
        self._tiles = [
            np.empty(((level.n // side) ** 2, steps.size, side * side), np.float32)
            for level in self._levels
        ]

    def regrid(self, fields: Floats) -> list[Floats]:
        """Regrid fields at every level.

        Parameters
        ----------
        fields : ndarray of float32, shape (n, cells of the source)
            NaN counts as 0: weights leave out dry cells.

        Returns
        -------
        list of ndarray of float32, shape (tiles, columns, pixels of a tile)
            Tiles by row from the north-west, pixels likewise; `FILL` where no cell is wet or the
            column has no field. The next call writes over them.

        Raises
        ------
        GridMismatch
            ``WeightsOfOtherGrid``, if fields have another number of cells.
        """
        expected = int(np.prod(self._weights.source_shape))
        if fields.ndim != 2 or fields.shape[1] != expected:
            raise GridMismatch(
                f"fields of {fields.shape[1:]} cells, the weights are for {expected} "
                f"{tuple(self._weights.source_shape)}; make the weights of this grid anew",
                code="WeightsOfOtherGrid",
            )
        gather(fields, self._cells, self._steps, self._rows)
        absent = np.flatnonzero(self._steps < 0)
        for level, tiles in zip(self._levels, self._tiles, strict=True):
            self._apply(level, tiles)
            tiles[:, absent] = FILL
        return self._tiles

    def _apply(self, level: LevelWeights, tiles: Floats) -> None:
        side = self._weights.pixels_per_tile
        apply_tiled(level.indptr, level.indices, level.data, self._rows, side, tiles, FILL)


def survey(fields: Floats, wet: NDArray[np.bool_]) -> Survey:
    """Range of some fields, and whether each has numbers on wet cells alone.

    Parameters
    ----------
    fields : ndarray of float32, shape (n, cells)
    wet : ndarray of bool, shape (cells,)
    """
    bits = np.ascontiguousarray(fields).view(np.int32)
    found = _survey(bits, wet, _MAGNITUDE, _INFINITY)
    smallest, largest, nans, unlike = found
    if nans == fields.size:
        return Survey(np.nan, np.nan, int(nans), unlike)
    values = np.array([smallest, largest], np.int32)
    values = np.where(values < 0, values ^ _MAGNITUDE, values).astype(np.int32).view(np.float32)
    return Survey(float(values[0]), float(values[1]), int(nans), unlike)


@numba.njit(cache=True, nogil=True)
def _survey(
    bits: NDArray[np.int32], wet: NDArray[np.bool_], magnitude: np.int32, infinity: np.int32
) -> tuple[Any, Any, Any, Any]:
    """Order keys of the extremes (see `stores.planes.ordered_range`), NaNs, unlike per field."""
    unlike = np.zeros(bits.shape[0], np.int64)
    smallest, largest = magnitude, ~magnitude
    nans = 0
    for field in range(bits.shape[0]):
        low, high = magnitude, ~magnitude
        missing, other = np.int32(0), np.int32(0)
        for cell in range(bits.shape[1]):
            value = bits[field, cell]
            valid = (value & magnitude) <= infinity
            key = value if value >= 0 else value ^ magnitude
            low = min(low, key if valid else magnitude)
            high = max(high, key if valid else ~magnitude)
            missing += np.int32(not valid)
            other += np.int32(valid != wet[cell])
        smallest, largest = min(smallest, low), max(largest, high)
        nans += missing
        unlike[field] = other
    return smallest, largest, nans, unlike


@numba.njit(cache=True, nogil=True)
def gather(fields: Floats, cells: NDArray[np.int64], steps: Steps, rows: Floats) -> None:
    """Turn fields round to one row per wet cell, NaN becoming 0.

    Parameters
    ----------
    fields : ndarray of float32, shape (n, cells of the source)
    cells : ndarray of int64, shape (used cells,)
    steps : ndarray of int64, shape (columns,)
        Field of each column; -1 gives 0.
    rows : ndarray of float32, shape (used cells, columns)
        Written.
    """
    for first in range(0, cells.size, _CELLS):
        last = min(first + _CELLS, cells.size)
        for begin in range(0, steps.size, _FIELDS):
            end = min(begin + _FIELDS, steps.size)
            for place in range(first, last):
                cell = cells[place]
                for column in range(begin, end):
                    step = steps[column]
                    value = fields[step, cell] if step >= 0 else np.float32(0)
                    rows[place, column] = value if value == value else np.float32(0)


@numba.njit(cache=True, nogil=True)
def apply_tiled(
    indptr: NDArray[np.int32],
    indices: NDArray[np.int32],
    data: Floats,
    rows: Floats,
    side: int,
    tiles: Floats,
    fill: np.float32,
) -> None:
    """Sum the rows of every pixel of one level and leave them in the order of tiles.

    Parameters
    ----------
    indptr, indices, data
        CSR weights, one row per pixel.
    rows : ndarray of float32, shape (used cells, columns)
    side : int
        Pixels along a tile.
    tiles : ndarray of float32, shape (tiles, columns, side * side)
        Written.
    fill : float32
        For pixels without weights.
    """
    n_columns = rows.shape[1]
    n = int(np.sqrt(indptr.size - 1) + 0.5)
    width = min(_PIXELS, side)
    sums = np.empty((width, n_columns), np.float32)
    for j in range(n):
        for west in range(0, n, width):
            for pixel in range(width):
                row = j * n + west + pixel
                first, last = indptr[row], indptr[row + 1]
                if first == last:
                    for column in range(n_columns):
                        sums[pixel, column] = fill
                    continue
                # Two cells at a time: half as many passes over the sums.
                total = sums[pixel]
                if (last - first) % 2:
                    weight, one = data[first], rows[np.uint32(indices[first])]
                    for column in range(n_columns):
                        total[column] = weight * one[column]
                    first += 1
                else:
                    for column in range(n_columns):
                        total[column] = np.float32(0)
                for place in range(first, last, 2):
                    weight, one = data[place], rows[np.uint32(indices[place])]
                    weight_2, two = data[place + 1], rows[np.uint32(indices[place + 1])]
                    for column in range(n_columns):
                        total[column] += weight * one[column] + weight_2 * two[column]
            tile = (j // side) * (n // side) + west // side
            at = (j % side) * side + west % side
            for column in range(n_columns):
                for pixel in range(width):
                    tiles[tile, column, at + pixel] = sums[pixel, column]
