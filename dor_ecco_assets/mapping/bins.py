"""Bins: the source cells of a target whose value is not simply that of its nearest source."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bins", "crowded_of_pairs", "wet_bins"]


@dataclass(frozen=True, eq=False)
class Bins:
    """Source cells by target: row r holds ``source[start[r]:start[r + 1]]`` of ``target[r]``.

    Parameters
    ----------
    target : ndarray of int32, shape (n_row,)
        Ascending, each target once.
    start : ndarray of int64, shape (n_row + 1,)
        No row is empty.
    source : ndarray of int32, shape (n_pair,)
    """

    target: NDArray[np.int32]
    start: NDArray[np.int64]
    source: NDArray[np.int32]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of sources of each row."""
        return np.diff(self.start)


def crowded_of_pairs(
    bin_target: NDArray[np.int32], bin_source: NDArray[np.int32], nearest: NDArray[np.int32]
) -> Bins:
    """Bins that can make a target differ from its nearest source: all but those of it alone.

    Parameters
    ----------
    bin_target, bin_source : ndarray of int32, shape (n_pair,)
        In ascending order of target.
    nearest : ndarray of int32, shape (n_target,)
    """
    first = np.flatnonzero(np.diff(bin_target, prepend=-1))
    sizes = np.diff(first, append=bin_target.size)
    target = bin_target[first]
    crowded = (sizes > 1) | (bin_source[first] != nearest[target])
    return Bins(
        target=target[crowded],
        start=_starts(sizes[crowded]),
        source=bin_source[np.repeat(crowded, sizes)],
    )


def wet_bins(
    crowded: Bins,
    wet: NDArray[np.bool_],
    mask: NDArray[np.bool_],
    nearest: NDArray[np.int32],
) -> tuple[Bins, NDArray[np.int64]]:
    """Bins of one level that give another value than the nearest source.

    Parameters
    ----------
    crowded : Bins
        From `crowded_of_pairs`.
    wet : ndarray of bool, shape (n_source,)
    mask : ndarray of bool, shape (n_target,)
    nearest : ndarray of int32, shape (n_target,)

    Returns
    -------
    bins : Bins
        Wet sources of wet targets only.
    n_wet : ndarray of int64, shape (number of rows of `crowded`,)
        Wet sources of every crowded bin, 0 where the target is dry.
    """
    if not crowded.target.size:
        return crowded, np.empty(0, np.int64)
    sizes, first = crowded.sizes, crowded.start[:-1]
    keep = wet[crowded.source] & np.repeat(mask[crowded.target], sizes)
    other = keep & (crowded.source != np.repeat(nearest[crowded.target], sizes))
    n_wet = np.add.reduceat(keep, first, dtype=np.int64)
    differs = np.logical_or.reduceat(other, first)
    bins = Bins(
        target=crowded.target[differs],
        start=_starts(n_wet[differs]),
        source=crowded.source[keep & np.repeat(differs, sizes)],
    )
    return bins, n_wet


def _starts(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])
