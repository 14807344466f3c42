"""How every case of an atlas stands, from one walk of records and inputs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from dor_ecco_assets.atlas.cases import Case, case_named
from dor_ecco_assets.dor.configuration import Line, case_partitions
from dor_ecco_assets.dor.products import CASE, RESEARCH
from dor_ecco_assets.errors import ConfigurationError
from dor_ecco_assets.lineage.record import partition_path
from dor_ecco_assets.lineage.workspace import State, Workspace

__all__ = ["CaseStanding", "CaseStatus", "case_standings", "chosen_cases"]

CaseStatus = Literal["done", "partial", "failed", "stale", "absent"]


@dataclass(frozen=True)
class CaseStanding:
    """How one case stands.

    Parameters
    ----------
    case : Case
    status : {"done", "partial", "failed", "stale", "absent"}
        "partial" has some products or months, left by a run that was ended.
    reasons : tuple of str
    waits : bool
        No history file has arrived.
    """

    case: Case
    status: CaseStatus
    reasons: tuple[str, ...] = ()
    waits: bool = False


def chosen_cases(
    line: Line,
    names: Iterable[str] = (),
    polygons: Sequence[int] = (),
    months: Sequence[int] = (),
) -> dict[str, Case]:
    """Cases by partition: those named, else those of some polygons and injection months.

    Parameters
    ----------
    line : Line
    names : iterable of str
        Case names, or partitions such as ``07|123``.
    polygons, months : sequence of int
        All where empty; `polygons` are polygon_master.

    Raises
    ------
    ConfigurationError
        ``UnknownCase``, with the nearest names, or ``UnknownMonth``.
    """
    atlas = line.specification
    every = case_partitions(atlas)
    wrong = [month for month in months if month not in atlas.injection_months]
    if wrong:
        raise ConfigurationError(
            f"atlas {atlas.name} has no injection month {wrong[0]}; it has "
            f"{', '.join(map(str, atlas.injection_months))}",
            code="UnknownMonth",
        )
    named = {(name if name in every else case_named(atlas, name).partition): None for name in names}
    return {
        partition: case
        for partition, case in every.items()
        if (not named or partition in named)
        and (not polygons or case.polygon_master in polygons)
        and (not months or case.injection_month in months)
    }


def case_standings(workspace: Workspace, line: Line) -> list[CaseStanding]:
    """How every case stands, in the order of their running numbers."""
    products = workspace.made_together(RESEARCH)
    walks = zip(*(workspace.states(product.key) for product in products), strict=True)
    cases = case_partitions(line.specification)
    found = [_standing(workspace, cases[states[0].partition], states) for states in walks]
    return sorted(found, key=lambda standing: standing.case.index)


def _standing(workspace: Workspace, case: Case, states: tuple[State, ...]) -> CaseStanding:
    standings = [state.standing for state in states]
    reasons = dict.fromkeys(reason for state in states for reason in state.reasons)
    status: CaseStatus = "absent"
    if set(standings) == {"up to date"}:
        status = "done"
    elif "failed" in standings:
        status = "failed"
    elif "up to date" in standings or _begun(workspace, case):
        status = "partial"
    elif "stale" in standings:
        status = "stale"
    return CaseStanding(case, status, tuple(reasons), set(standings) == {"waiting"})


def _begun(workspace: Workspace, case: Case) -> bool:
    """Whether a run that was ended left months in the workshop."""
    place = f"{CASE}/{partition_path(case.partition)}"
    return workspace.storage.workshop(place).exists()
