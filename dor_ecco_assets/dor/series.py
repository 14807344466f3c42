"""Series of a case from what its months give: uptake, forcing, efficiency, rings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dor_ecco_assets.dor.month import Compat, MonthDone
from dor_ecco_assets.dor.rings import inside
from dor_ecco_assets.errors import InputUnusable

__all__ = ["CaseSeries", "case_series"]

type Doubles = NDArray[np.float64]

SECONDS_PER_DAY = 86_400.0
_NMOL_PER_MMOL, _NMOL_PER_MOL = 1e6, 1e9


@dataclass(frozen=True, eq=False)
class CaseSeries:
    """Series of one case, all since the injection.

    Parameters
    ----------
    days : ndarray of float64, shape (months,)
        Length of every month.
    uptake_mol, dic_flux_mol, alk_flux_mol : ndarray of float64, shape (months,)
        Running sums.
    efficiency : ndarray of float64, shape (months,)
        NaN while the forcing is 0.
    ring_uptake_mmol : ndarray of float64, shape (months, 82)
        Running sums.
    uptake_percent : ndarray of float64, shape (months, 3)
        Inside each radius, of the last total; NaN if that is 0 or missing.
    """

    days: Doubles
    uptake_mol: Doubles
    dic_flux_mol: Doubles
    alk_flux_mol: Doubles
    efficiency: Doubles
    ring_uptake_mmol: Doubles
    uptake_percent: Doubles


def case_series(
    case: str, forcing: str, months: Sequence[MonthDone], compat: Compat = "none"
) -> CaseSeries:
    """Add up the months of a case.

    Parameters
    ----------
    case : str
        For messages.
    forcing : {"DOR", "OAE", "ERW"}
    months : sequence of MonthDone
        All of them, in order.
    compat : {"none", "reference"}
        ``reference`` weights the months of the uptake by distance with the length of the first,
        and sums one ring too many.

    Raises
    ------
    InputUnusable
        ``ForcingSign``, if a removal adds or an addition removes.
    """
    days = np.array([each.days for each in months], np.float64)
    seconds = days * SECONDS_PER_DAY

    def running(name: str) -> Doubles:
        return np.cumsum([getattr(each, name) for each in months] * seconds) / _NMOL_PER_MOL

    uptake, dic, alk = map(running, ("excess_nmol_s", "dic_flux_nmol_s", "alk_flux_nmol_s"))
    driver, sign = (dic, -1.0) if forcing == "DOR" else (alk, 1.0)
    if driver[-1] * sign < 0:
        name = "DIC_FLUX" if forcing == "DOR" else "ALK_FLUX"
        raise InputUnusable(
            f"{case}: the total of {name} is {driver[-1]:.3g} mol, expected "
            f"{'a removal (below 0)' if forcing == 'DOR' else 'an addition (above 0)'} for "
            f"{forcing}; the history files are those of another forcing or sign",
            code="ForcingSign",
        )
    weights = np.full_like(seconds, seconds[0]) if compat == "reference" else seconds
    by_month = np.array([each.rings_nmol_s for each in months]) * weights[:, None]
    rings = np.cumsum(by_month, axis=0) / _NMOL_PER_MMOL
    return CaseSeries(
        days=days,
        uptake_mol=uptake,
        dic_flux_mol=dic,
        alk_flux_mol=alk,
        efficiency=sign * uptake / _or_nan(driver),
        ring_uptake_mmol=rings,
        uptake_percent=100
        * inside(rings, published=compat == "reference")
        / _or_nan(rings[-1].sum()),
    )


def _or_nan(divisor: Any) -> Doubles:
    """Divisor with NaN where nothing can be divided by it."""
    divisor = np.asarray(divisor)
    return np.where((divisor == 0) | ~np.isfinite(divisor), np.nan, divisor)
