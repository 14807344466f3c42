"""How the code's injection month and elapsed time are called in what readers open."""

from typing import Literal

__all__ = ["InjectionDimension", "OnDisk", "efficiency_name", "injection_dimension"]

OnDisk = Literal["research", "efficiency", "uptake", "pyramid"]
InjectionDimension = Literal["intervention_date", "injection_date"]

_PUBLISHED: dict[OnDisk, str] = {
    "research": "intervention_date",
    "efficiency": "intervention_month",
    "uptake": "intervention_month",
}

POLYGON_DIMENSION = "polygon_id"
ELAPSED_DIMENSION = "elapsed_time"
DISTANCE_DIMENSION = "dist2center"


def injection_dimension(where: OnDisk, pyramid: InjectionDimension = "intervention_date") -> str:
    """Name of the injection month's dimension in one kind of output.

    Parameters
    ----------
    where : {"research", "efficiency", "uptake", "pyramid"}
    pyramid : {"intervention_date", "injection_date"}
        What the atlas calls it in its pyramid: the published page asks for ``injection_date``.
    """
    return pyramid if where == "pyramid" else _PUBLISHED[where]


def efficiency_name(forcing: str) -> str:
    """Name of the efficiency in its store, such as ``DOR_efficiency``."""
    return f"{forcing}_efficiency"
