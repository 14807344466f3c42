"""Which granule stands where along the axis: a function of those that are there, not of history."""

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["slots_of", "time_conflict"]

type Integers = npt.NDArray[np.int64]


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
        return np.rint((orders - orders.min()) / step).astype(np.int64)
    if (orders[1:] > orders[:-1]).all():
        return np.arange(len(orders))
    ranks = np.empty(len(orders), np.int64)
    ranks[np.lexsort((ties, orders))] = np.arange(len(orders))
    return ranks


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
        Its position: of two that contradict each other the one further from its listing, else the
        later one.
    """
    clash = slots[1:] == slots[:-1]
    with np.errstate(invalid="ignore"):
        clash |= firsts[1:] <= lasts[:-1]
    found = np.flatnonzero(clash)
    if not len(found):
        return None
    first = int(found[0])
    return first if outside[first] > outside[first + 1] else first + 1
