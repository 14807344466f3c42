"""A case against its control run: whether its unperturbed twin saw the same physics."""

import base64
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dor_ecco_assets.atlas.cases import Case
from dor_ecco_assets.dor.acceptance import month_of_bounds
from dor_ecco_assets.dor.case_grid import CaseGrid
from dor_ecco_assets.dor.history import History, month_label, open_history, select_months
from dor_ecco_assets.errors import InputMissing, InputUnusable

__all__ = ["TWINS", "PairResult", "control_months", "from_json", "plot", "to_json", "validate_case"]

type ModelMonth = tuple[int, int]

#: Fields of a case that must equal a field of the control, and fields that both may carry.
TWINS = {
    "DIC_ALT_CO2": "DIC",
    "ALK_ALT_CO2": "ALK",
    "FG_ALT_CO2": "FG_CO2",
    "ECOSYS_IFRAC": "ECOSYS_IFRAC",
}
_SHARED = (
    *("TEMP", "SALT", "UVEL", "VVEL", "WVEL", "PO4", "NO3", "SiO3", "NH4", "Fe", "Lig", "O2"),
    *("DOC", "DON", "DOP", "DOPr", "DONr", "DOCr"),
    *("spC", "diatC", "diazC", "zooC", "spChl", "diatChl", "diazChl"),
)


@dataclass(frozen=True)
class PairResult:
    """How one field of a case differs from the control's.

    Parameters
    ----------
    variable, control : str
    rmse : tuple of float
        Root of the mean squared difference over wet cells, by month.
    mean_difference : tuple of float
        Weighted by cell area, by month.
    differing_cells : int
        Wet cells and months that are not equal.
    threshold : float
        Largest RMSE that is no fault.
    surface : str
        Picture of the last month's difference at the surface, where there is one: a PNG in
        base64, from dark where the two agree to bright where they differ most.
    """

    variable: str
    control: str
    rmse: tuple[float, ...]
    mean_difference: tuple[float, ...]
    differing_cells: int
    threshold: float
    surface: str = ""

    @property
    def passed(self) -> bool:
        """Whether no month exceeds the threshold."""
        return not any(value > self.threshold or np.isnan(value) for value in self.rmse)


def control_months(files: Iterable[Path]) -> dict[ModelMonth, Path]:
    """Files of the control run by the month that holds the mean of their time bounds.

    Raises
    ------
    InputUnusable
        ``TimeBoundsNotOneMonth``, naming the file.
    """
    found: dict[ModelMonth, Path] = {}
    for path in sorted(files):
        if not re.search(r"\.pop\.h\.\d{4}-\d{2}\.nc\Z", path.name):
            continue  # daily and once-only streams
        with open_history(path) as history:
            bounds = history.values("time_bound").astype(np.float64).reshape(-1)
        month = month_of_bounds(*bounds) if bounds.size == 2 else None
        if month is None:
            raise InputUnusable(
                f"{path}: time_bound is {bounds.tolist()}, expected those of one month",
                code="TimeBoundsNotOneMonth",
                uri=str(path),
            )
        found[month.model_year, month.month] = path
    return found


def validate_case(
    case: Case,
    history: Path,
    control: Mapping[ModelMonth, Path],
    grid: CaseGrid,
    thresholds: Mapping[str, float],
) -> list[PairResult]:
    """Compare every month of a case with the same month of the control run.

    Parameters
    ----------
    case : Case
    history : Path
        Folder of its history files.
    control : mapping of (model year, month) to Path
        As `control_months` gives it.
    grid : CaseGrid
    thresholds : mapping of str to float
        Largest RMSE by variable of the case, its own unit; 0 where none is named.

    Raises
    ------
    InputMissing
        ``MonthsMissing`` or ``ControlMonthsMissing``, naming all that are.
    """
    selected = select_months(history, case)
    if selected.missing:
        raise selected.missing_error(case.name, history)
    lacking = [month_label(month) for month in selected.present if month not in control]
    if lacking:
        raise InputMissing(
            f"{case.name}: the control run lacks {len(lacking)} months: {', '.join(lacking)}; "
            "bring their history files",
            code="ControlMonthsMissing",
        )
    months: dict[tuple[str, str], list[tuple[float, float, int]]] = {}
    surfaces: dict[tuple[str, str], str] = {}
    for month, name in selected.present.items():
        with open_history(history / name) as ours, open_history(control[month]) as theirs:
            for pair in _pairs(ours, theirs):
                months.setdefault(pair, []).append(_compared(ours, theirs, pair, grid))
                if month == max(selected.present):
                    surfaces[pair] = _surface_difference(ours, theirs, pair, grid)
    return [
        PairResult(
            variable,
            other,
            tuple(rmse for rmse, _, _ in found),
            tuple(mean for _, mean, _ in found),
            sum(count for _, _, count in found),
            thresholds.get(variable, 0.0),
            surfaces.get((variable, other), ""),
        )
        for (variable, other), found in months.items()
    ]


def _pairs(ours: History, theirs: History) -> list[tuple[str, str]]:
    wanted = [*TWINS.items(), *((name, name) for name in _SHARED)]
    return [
        (name, other)
        for name, other in wanted
        if name in ours.variables and other in theirs.variables
    ]


def _compared(
    ours: History, theirs: History, pair: tuple[str, str], grid: CaseGrid
) -> tuple[float, float, int]:
    """RMSE and weighted mean difference of one month, and the number of unlike cells."""
    run, control = ours.numbers(pair[0])[0], theirs.numbers(pair[1])[0]
    levels = np.arange(run.shape[0])[:, None, None] if run.ndim == 3 else 0
    wet: NDArray[np.bool_] = levels < grid.kmt
    difference = (run - control)[wet]
    area = np.broadcast_to(grid.area_cm2, run.shape)[wet]
    # A cell without a number on either side is unlike, and must not pass for equal.
    return (
        float(np.sqrt(np.mean(difference**2))),
        float((difference * area).sum() / area.sum()),
        int((difference != 0).sum()),
    )


def _surface_difference(
    ours: History, theirs: History, pair: tuple[str, str], grid: CaseGrid
) -> str:
    """The size of the difference of the top level as a picture; empty where there is none."""
    from dor_ecco_assets.stores.preview import field_preview

    run, control = (
        side.numbers(name)[0].reshape(-1, *grid.kmt.shape)[0]
        for side, name in zip((ours, theirs), pair, strict=True)
    )
    # A number on one side only is as unlike as can be.
    unlike = np.where(np.isnan(run - control), np.inf, np.abs(run - control))
    known = unlike[grid.wet & np.isfinite(unlike)]
    most = float(known.max(initial=0.0)) or 1.0
    unlike = np.where(grid.wet, np.minimum(unlike, most) / most, np.nan)
    if not np.nanmax(unlike, initial=0.0):
        return ""
    return base64.b64encode(field_preview(unlike)).decode()


def to_json(results: Iterable[PairResult]) -> str:
    """Results as text."""
    return json.dumps([asdict(result) for result in results])


def from_json(text: str) -> list[PairResult]:
    """Read what `to_json` wrote."""
    series = ("rmse", "mean_difference")
    return [
        PairResult(**(each | {name: tuple(each[name]) for name in series}))
        for each in json.loads(text)
    ]


_COLOURS = ("#1565a9", "#b3261e", "#2e7d32", "#8e5a00", "#6a1b9a", "#00838f")


def plot(results: Iterable[PairResult]) -> str:
    """RMSE of each pair by month, over its largest, as a data URI that a page can show."""
    width, height, lines = 420, 160, list[str]()
    for number, result in enumerate(results):
        values = np.nan_to_num(np.array(result.rmse), nan=np.inf)
        highest = max(float(values[np.isfinite(values)].max(initial=0.0)), result.threshold)
        scaled = np.minimum(values / highest if highest else values * 0, 1.0)
        x = np.linspace(10, width - 120, max(2, scaled.size))[: scaled.size]
        points = " ".join(
            f"{a:.0f},{height - 12 - b * (height - 24):.1f}" for a, b in zip(x, scaled, strict=True)
        )
        colour = _COLOURS[number % len(_COLOURS)]
        lines.append(
            f"<polyline points='{points}' fill='none' stroke='{colour}' stroke-width='1.5'/>"
            f"<text x='{width - 112}' y='{16 + 13 * number}' font-size='10' fill='{colour}'>"
            f"{result.variable} {highest:.2g}</text>"
        )
    picture = (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' "
        f"font-family='sans-serif'><rect width='100%' height='100%' fill='#fff'/>{''.join(lines)}"
        "</svg>"
    )
    return f"data:image/svg+xml;base64,{base64.b64encode(picture.encode()).decode()}"
