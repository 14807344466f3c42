"""Which granule stands where along the axis: a function of those that are there, not of history."""

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["slots_of", "time_conflict"]

type Integers = npt.NDArray[np.int64]

#: Parts of a step in which begins are counted.
_PARTS = 24
#: How much of a step a granule may begin early.
_EARLY = 0.25


def slots_of(orders: Integers, ties: Integers, step: int | None) -> Integers:
    """Slots of granules.

    Parameters
    ----------
    orders : ndarray of int64
        Begin in milliseconds, or another number that rises along the axis.
    ties : ndarray of int64
        Decides between granules of the same order.
    step : int, optional
        Of a regular axis, whose missing granules leave holes; without it granules close up.

    Returns
    -------
    ndarray of int64
        Of a regular axis two may be the same.
    """
    if not len(orders):
        return np.empty(0, np.int64)
    if step is not None:
        slots = np.floor((orders - _usual_begin(orders, step)) / step + _EARLY).astype(np.int64)
        return slots - slots.min()
    if (orders[1:] > orders[:-1]).all():
        return np.arange(len(orders))
    ranks = np.empty(len(orders), np.int64)
    ranks[np.lexsort((ties, orders))] = np.arange(len(orders))
    return ranks


def _usual_begin(orders: Integers, step: int) -> int:
    """Where in a step most granules begin: one that begins elsewhere moves no other."""
    begins = orders % step
    parts = begins * _PARTS // step
    return int(begins[parts == np.bincount(parts, minlength=_PARTS).argmax()].min())


def time_conflict(slots: Integers, firsts: Any, lasts: Any, outside: Any) -> int | None:
    """One granule that must go so that slots are unique and times rise; None if none must.

    Parameters
    ----------
    slots : ndarray of int64
        Some granules in the order of the axis.
    firsts, lasts : ndarray of float64
        Their first and last time; NaN where there is none.
    outside : ndarray of float64
        How far their times are from what the archive lists.

    Returns
    -------
    int or None
        Its position. Of all that contradict another, the one nearest to its listing stays, of
        several the first; so it does not matter which was there before.
    """
    clash = slots[1:] == slots[:-1]
    with np.errstate(invalid="ignore"):
        clash |= firsts[1:] <= lasts[:-1]
    found = np.flatnonzero(clash)
    if not len(found):
        return None
    involved = np.union1d(found, found + 1)
    stays = int(involved[np.lexsort((involved, outside[involved]))[0]])
    return stays + 1 if stays in found else stays - 1
