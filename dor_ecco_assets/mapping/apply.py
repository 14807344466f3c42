"""Apply mapping factors: native fields to a latitude-longitude grid, one depth level at a time.

A level is one gather through the nearest indices, which all levels share, plus a short list of
means. Dry source cells become NaN before the gather; since a target is wet exactly where its
nearest source is, that alone gives the target's mask, and no dry value can leak.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dor_ecco_assets.errors import ConfigurationError, GridMismatch
from dor_ecco_assets.mapping.bins import Bins
from dor_ecco_assets.mapping.factors import (
    Level,
    MappingFactors,
    crowded_bins,
    level_bins,
    level_mask,
    level_wet,
)

__all__ = ["RegridPlan", "plan_regrid", "regrid"]

#: Targets that are gathered or filled together: dry ones need no gather, which saves 15 % of the
#: time on LLC90 at half a degree; shorter blocks cost more in loops than they save.
BLOCK = 48


@dataclass(frozen=True, eq=False)
class RegridPlan:
    """What `regrid` needs of the factors, laid out for speed; made once per process.

    About 7 MB for LLC90 at half a degree; bins of 100 km radius add 10 MB. Threads may share it.

    Parameters
    ----------
    source_shape : tuple of int
    target_shape : tuple of int
        (n_latitude, n_longitude)
    nearest : ndarray of uint32, shape (n_target,)
        The number of source cells, one past the last, where there is none near enough.
    wet : ndarray of bool, shape (nk + 1, n_source)
        The last row is wet where any level is.
    wet_block : ndarray of bool, shape (nk + 1, ceil(n_target / BLOCK))
        Whether any target of a block is wet.
    bins : Bins
        Targets that may differ from their nearest source, with all sources that are wet anywhere
        in their column; the kernel drops those that are dry at its level.
    """

    source_shape: tuple[int, ...]
    target_shape: tuple[int, int]
    nearest: NDArray[np.uint32]
    wet: NDArray[np.bool_]
    wet_block: NDArray[np.bool_]
    bins: Bins

    @property
    def n_levels(self) -> int:
        """Number of depth levels."""
        return len(self.wet) - 1

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        bins = (self.bins.target, self.bins.start, self.bins.source)
        return sum(a.nbytes for a in (self.nearest, self.wet, self.wet_block, *bins))


def plan_regrid(factors: MappingFactors) -> RegridPlan:
    """Prepare factors for `regrid`.

    Parameters
    ----------
    factors : MappingFactors

    Returns
    -------
    RegridPlan
    """
    levels: list[Level] = [*range(factors.n_levels), "any_wet"]
    first_of_block = np.arange(0, factors.n_target, BLOCK)
    return RegridPlan(
        source_shape=factors.source_shape,
        target_shape=factors.target_shape,
        nearest=np.where(factors.nearest < 0, factors.n_source, factors.nearest).astype(np.uint32),
        wet=np.concatenate([factors.wet, level_wet(factors, "any_wet")[None]]),
        wet_block=np.stack(
            [np.logical_or.reduceat(level_mask(factors, k), first_of_block) for k in levels]
        ),
        bins=level_bins(factors, crowded_bins(factors), "any_wet"),
    )


def regrid(
    field: NDArray[Any],
    plan: RegridPlan,
    *,
    level: Level | None = None,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Map a native field to the latitude-longitude grid.

    Parameters
    ----------
    field : ndarray, shape (..., nk, tile, j, i) or (..., tile, j, i) with a `level`
        Any quantity on T-points, float32 or float64 in any byte order; a memory map is read one
        depth level at a time. Dry cells may hold anything, NaN and Inf included.
    plan : RegridPlan
    level : int or "any_wet", optional
        The depth level of a field without depth axis, whose mask and weights are used: 0 for
        surface fields, ``"any_wet"`` for those defined wherever the column holds water. A field
        of shape (tile, j, i) is at level 0 if none is given.
    out : ndarray of float32, optional
        Where to write, any memory layout; a new array if not given.

    Returns
    -------
    ndarray of float32, shape (..., nk, n_latitude, n_longitude), or without nk given a `level`
        `out`, in the unit of `field`; NaN where the target is dry.

    Raises
    ------
    GridMismatch
        Code ``ShapeMismatch``: `field` or `out` do not have these shapes, or `out` is not float32.
    ConfigurationError
        Code ``LevelUnknown``: `level` is not one of the plan's.

    Notes
    -----
    A mean sums in float64 in ascending order of the flat source index and is cast once.
    """
    if level is None and field.shape == plan.source_shape:
        level = 0
    rows = _rows(plan, level)
    lead = field.shape[: field.ndim - len(plan.source_shape)]
    if lead + plan.source_shape != field.shape or (level is None and lead[-1:] != (plan.n_levels,)):
        depth = f"{plan.n_levels}, " if level is None else ""
        raise GridMismatch(
            f"a field to regrid has shape {field.shape}, expected"
            f" (..., {depth}{', '.join(map(str, plan.source_shape))}); give `level` for a field"
            " without depth axis, or rebuild the mapping factors for this grid",
            code="ShapeMismatch",
        )
    shape = lead + plan.target_shape
    if out is None:
        out = np.empty(shape, np.float32)
    elif out.shape != shape or out.dtype != np.float32:
        raise GridMismatch(
            f"out is {out.dtype} {out.shape}, expected float32 {shape}", code="ShapeMismatch"
        )
    kernel, bins = _compiled_kernel(), plan.bins
    dtype = np.dtype(np.float32 if field.dtype.itemsize <= 4 else np.float64)
    # Scratch of its own per call, so that threads can share the plan.
    buffer = np.empty(plan.wet.shape[1] + 1, np.float32)
    for where in np.ndindex(lead):
        row = where[-1] if level is None else rows
        flat = np.ascontiguousarray(field[where], dtype).reshape(-1)
        target = out[where]
        mapped = target if target.flags.c_contiguous else np.empty(plan.target_shape, np.float32)
        kernel(
            flat,
            plan.wet[row],
            plan.nearest,
            plan.wet_block[row],
            bins.target,
            bins.start,
            bins.source,
            buffer,
            mapped.reshape(-1),
        )
        if mapped is not target:
            target[...] = mapped
    return out


def _rows(plan: RegridPlan, level: Level | None) -> int:
    """Row of the plan that serves a level; the last serves "any_wet"."""
    if level is None or level == "any_wet":
        return plan.n_levels
    if isinstance(level, str) or not 0 <= level < plan.n_levels:
        raise ConfigurationError(
            f"level {level!r} is not in the mapping factors; expected 0 to {plan.n_levels - 1} or"
            " 'any_wet'",
            code="LevelUnknown",
        )
    return level


def map_level(
    field: NDArray[np.floating[Any]],
    wet: NDArray[np.bool_],
    nearest: NDArray[np.uint32],
    wet_block: NDArray[np.bool_],
    bin_target: NDArray[np.int32],
    bin_start: NDArray[np.int64],
    bin_source: NDArray[np.int32],
    buffer: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Map one flat level into `out`; the kernel that `regrid` compiles.

    Parameters
    ----------
    field : ndarray of float32 or float64, shape (n_source,)
    wet : ndarray of bool, shape (n_source,)
    nearest : ndarray of uint32, shape (n_target,)
    wet_block : ndarray of bool, shape (ceil(n_target / BLOCK),)
    bin_target, bin_start, bin_source : ndarray
        The arrays of `Bins`; every target in them has a nearest source.
    buffer : ndarray of float32, shape (n_source + 1,)
        Scratch: the field with NaN in dry cells, and NaN past its end.
    out : ndarray of float32, shape (n_target,)
    """
    dry = np.float32(np.nan)
    for s in range(wet.size):
        buffer[s] = np.float32(field[s]) if wet[s] else dry
    buffer[wet.size] = dry
    block = 0
    while block < wet_block.size:
        end = block
        while end < wet_block.size and wet_block[end] == wet_block[block]:
            end += 1
        some_out = out[block * BLOCK : end * BLOCK]
        some_nearest = nearest[block * BLOCK : end * BLOCK]
        if wet_block[block]:
            for t in range(some_out.size):
                some_out[t] = buffer[some_nearest[t]]
        else:
            some_out[:] = dry
        block = end
    for r in range(bin_target.size):
        if wet[nearest[bin_target[r]]]:
            total, n_wet = 0.0, 0
            for p in range(bin_start[r], bin_start[r + 1]):
                if wet[bin_source[p]]:
                    total += np.float64(field[bin_source[p]])
                    n_wet += 1
            if n_wet > 0:
                out[bin_target[r]] = np.float32(total / n_wet)


@cache
def _compiled_kernel() -> Callable[..., None]:
    """Compile `map_level`, or load it from numba's cache on disk; once per process, about 1.5 s."""
    import numba

    def array(dtype: Any, *, readonly: bool = True) -> Any:
        return numba.types.Array(dtype, 1, "C", readonly=readonly)

    f4, f8, i4, i8 = numba.float32, numba.float64, numba.int32, numba.int64
    rest = (
        *(array(numba.boolean), array(numba.uint32), array(numba.boolean)),
        *(array(i4), array(i8), array(i4)),
        *(array(f4, readonly=False), array(f4, readonly=False)),
    )
    # Read-only signatures take writable arrays too, so that memory maps need no third kernel.
    signatures = [numba.void(array(dtype), *rest) for dtype in (f4, f8)]
    return numba.njit(signatures, cache=True, nogil=True)(map_level)
