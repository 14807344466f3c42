"""All products of one month from one read of its history file."""

import json
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dor_ecco_assets.atlas.calendar import elapsed_days
from dor_ecco_assets.atlas.cases import Case
from dor_ecco_assets.atlas.specification import MapVariable
from dor_ecco_assets.dor.acceptance import PLANE_FIELDS, VOLUME_FIELDS, MonthTime, accept
from dor_ecco_assets.dor.case_grid import CaseGrid
from dor_ecco_assets.dor.history import (
    UNDECLARED_FILL,
    History,
    month_label,
    monthly_fields,
    open_history,
)
from dor_ecco_assets.dor.research import (
    STATIC_COORDINATES,
    PackedField,
    PlaneBuffers,
    Templates,
    is_packed,
    pack_field,
    research_name,
    write_research_file,
)
from dor_ecco_assets.dor.rings import N_RINGS, great_circle_m, ring_index
from dor_ecco_assets.dor.sea_level import SeaLevelSeries
from dor_ecco_assets.errors import GridMismatch, InputUnusable

__all__ = [
    "Compat",
    "MonthDone",
    "MonthSetup",
    "make_month",
    "month_before",
    "month_maps",
    "plane_names",
]

type Doubles = NDArray[np.float64]
type ModelMonth = tuple[int, int]

Compat = Literal["none", "reference"]

#: C of the analysis store: nmol/cm²/s to mol/m²/yr, years of 365 days.
MOL_PER_M2_YEAR = 1e-9 * 1e4 * 86_400.0 * 365.0

#: Fields and their twins; DIC_SURF and ALK_SURF are top levels, DIC and ALK column integrals.
_PAIRS: dict[str, tuple[str, str]] = {
    "FG": ("FG_CO2", "FG_ALT_CO2"),
    "PH": ("PH", "PH_ALT_CO2"),
    "pCO2SURF": ("pCO2SURF", "pCO2SURF_ALT_CO2"),
    "DIC_SURF": ("DIC", "DIC_ALT_CO2"),
    "ALK_SURF": ("ALK", "ALK_ALT_CO2"),
}
_COLUMNS: dict[str, tuple[str, str]] = {
    "DIC": ("DIC", "DIC_ALT_CO2"),
    "ALK": ("ALK", "ALK_ALT_CO2"),
}
_FLUXES = ("DIC_FLUX", "ALK_FLUX")


def plane_names(variables: tuple[MapVariable, ...]) -> tuple[str, ...]:
    """What is kept of every month as a map, in the order of its planes file.

    Parameters
    ----------
    variables : tuple
        Map variables of the atlas; its column integrals are made only if asked for.
    """
    columns = [name for name in _COLUMNS if name in variables]
    both = [f"{name}.{band}" for name in (*_PAIRS, *columns) for band in ("delta", "experimental")]
    return (*both, "FG_CO2_ADD", *_FLUXES)


@dataclass(frozen=True, eq=False)
class MonthSetup:
    """What every month of a case is made with.

    Parameters
    ----------
    case : Case
    grid : CaseGrid
    centre : (float, float)
        Longitude and latitude of the polygon's centre, degrees.
    variables : tuple of MapVariable
    sea_level : SeaLevelSeries, optional
        For files without SSH; ``compat`` takes it in any case.
    allow_gaps : bool
        Write missing results for wet cells without a number instead of refusing the month.
    compat : {"none", "reference"}
        ``reference`` repeats the numerical defects of Ocean-CDR-Atlas v0.
    """

    case: Case
    grid: CaseGrid
    centre: tuple[float, float]
    variables: tuple[MapVariable, ...]
    sea_level: SeaLevelSeries | None = None
    allow_gaps: bool = False
    compat: Compat = "none"

    @cached_property
    def ring(self) -> NDArray[np.int32]:
        """Ring of each cell, -1 for land."""
        distance = great_circle_m(self.centre, self.grid.directions)
        ring = ring_index(distance, published=self.compat == "reference")
        return np.where(self.grid.wet, ring, -1).astype(np.int32)

    @cached_property
    def ring_cells(self) -> NDArray[np.int64]:
        """Wet cells of each ring, shape (82,)."""
        return np.bincount(self.ring[self.ring >= 0], minlength=N_RINGS)

    @cached_property
    def planes(self) -> tuple[str, ...]:
        """See `plane_names`."""
        return plane_names(self.variables)


@dataclass(frozen=True)
class MonthDone:
    """What one month gives to the series of its case, and what it left on disk.

    Parameters
    ----------
    month : str
    days : int
    excess_nmol_s, dic_flux_nmol_s, alk_flux_nmol_s : float
        Area sums over wet cells; NaN for a sum over nothing.
    rings_nmol_s : list of float
        The excess by ring, 82 of them.
    gaps, strays : dict of str to int
        Wet cells without a number and dry cells with one, by field that has any.
    research : str
        Path of the research file below its product.
    absent_statics : list of str
        Optional static fields that the history file does not hold.
    """

    month: str
    days: int
    excess_nmol_s: float
    dic_flux_nmol_s: float
    alk_flux_nmol_s: float
    rings_nmol_s: list[float]
    research: str
    gaps: dict[str, int] = field(default_factory=dict[str, int])
    strays: dict[str, int] = field(default_factory=dict[str, int])
    absent_statics: list[str] = field(default_factory=list[str])

    def to_json(self) -> str:
        """As text that gives every number back bit for bit."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "MonthDone":
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))


def make_month(
    source: Path,
    month: ModelMonth,
    setup: MonthSetup,
    templates: Templates,
    *,
    research: Path,
    planes: Path,
    pool: ThreadPoolExecutor,
    buffers: PlaneBuffers,
    ahead: int,
) -> MonthDone:
    """Read one history file once and write all that comes of it.

    Parameters
    ----------
    source : Path
        The history file.
    month : (int, int)
    setup : MonthSetup
    templates : Templates
    research : Path
        Folder of research files.
    planes : Path
        Gets the month's maps: float32, `plane_names` one after another.
    pool : ThreadPoolExecutor
        Deflates fields while the caller's thread reduces.
    buffers : PlaneBuffers
    ahead : int
        Fields in work at a time.

    Raises
    ------
    InputUnusable, GridMismatch
        As `open_history` and `accept`; ``WetCellGaps`` for wet cells without a number, unless
        they are allowed. No file of the month is left then.
    OSError
        If a disk refuses the write.
    """
    with open_history(source) as history:
        time = accept(history, setup.case.name, month, setup.grid)
        sea_level = _sea_level(history, month, setup)
        packed = _packed(history, setup.grid, pool, buffers, ahead)
        # The first fields are in work by now; maps and sums are made meanwhile.
        maps = month_maps(history, setup, sea_level)
        sums = _sums(maps, setup)
        name = research_name(setup.case, month)
        written: list[PackedField] = []
        template = templates.path_for(history)
        elapsed = elapsed_days(setup.case.injection_month, *month)
        watched = _watched(packed, history, setup, written)
        absent = sorted(STATIC_COORDINATES - history.variables.keys())
        try:
            write_research_file(research / name, template, history, time, elapsed, watched)
        finally:
            packed.close()
    with planes.open("wb") as out:
        for plane in setup.planes:
            out.write(np.ascontiguousarray(maps[plane], np.float32).data)
    return replace(_done(time, sums, written, name), absent_statics=absent)


def _packed(
    history: History,
    grid: CaseGrid,
    pool: ThreadPoolExecutor,
    buffers: PlaneBuffers,
    ahead: int,
) -> "_Packing":
    fields = [each for each in monthly_fields(history).values() if is_packed(each)]
    return _Packing(history, [each.name for each in fields], grid, pool, buffers, ahead)


class _Packing(Iterator[PackedField]):
    """Fields packed by a pool, given in the order of the file, few in work at a time."""

    def __init__(
        self,
        history: History,
        names: list[str],
        grid: CaseGrid,
        pool: ThreadPoolExecutor,
        buffers: PlaneBuffers,
        ahead: int,
    ) -> None:
        self._history, self._grid, self._pool, self._buffers = history, grid, pool, buffers
        self._waiting = deque(names)
        self._running: deque[Future[PackedField]] = deque()
        for _ in range(ahead):
            self._start()

    def _start(self) -> None:
        if self._waiting:
            name = self._waiting.popleft()
            self._running.append(self._pool.submit(self._pack, name))

    def _pack(self, name: str) -> PackedField:
        values = np.ascontiguousarray(self._history.values(name))
        return pack_field(self._history.variables[name], values, self._grid, self._buffers)

    def __next__(self) -> PackedField:
        if not self._running:
            raise StopIteration
        done = self._running.popleft().result()
        self._start()
        return done

    def close(self) -> None:
        """Let what is still in work end, so that nothing reads the file after it is closed."""
        self._waiting.clear()
        while self._running:
            future = self._running.popleft()
            if not future.cancel():
                future.exception()


def _watched(
    packed: Iterator[PackedField],
    history: History,
    setup: MonthSetup,
    written: list[PackedField],
) -> Iterator[PackedField]:
    """Pass fields on, noting their odd cells; refuse the month for gaps before it is whole."""
    science = {*VOLUME_FIELDS, *PLANE_FIELDS, "SSH"}
    bad: list[str] = []
    for each in packed:
        if each.name in science:
            written.append(PackedField(each.name, b"", each.gaps, each.strays))
            if each.gaps:
                bad.append(f"{each.name} in {each.gaps}")
        yield each
    if bad and not setup.allow_gaps:
        raise InputUnusable(
            f"{history.path}: wet cells hold NaN, infinity or fill: {', '.join(bad)}; mend the "
            "file, or allow gaps so that results there are missing",
            code="WetCellGaps",
            uri=str(history.path),
        )


def _sea_level(history: History, month: ModelMonth, setup: MonthSetup) -> Doubles:
    """Sea surface height in cm, NaN on land."""
    series = setup.sea_level
    if "SSH" in history.variables and not (series and setup.compat == "reference"):
        return _surface(history, "SSH", setup.grid)
    if series is None:
        raise InputUnusable(
            f"{history.path}: there is no SSH in it; name the SSH series of the shared physical "
            "run",
            code="FieldMissing",
            uri=str(history.path),
        )
    # Ocean-CDR-Atlas v0 selects by the end of the interval, which takes the month before.
    height = series.height_cm(month_before(month) if setup.compat == "reference" else month)
    if height.shape != setup.grid.kmt.shape:
        raise GridMismatch(
            f"{series.path}: SSH is {height.shape}, grids/{setup.grid.name} has "
            f"{setup.grid.kmt.shape}; name the series of this run's grid",
            code="GridSizes",
        )
    gaps = int(np.isnan(height[setup.grid.wet]).sum())
    if gaps and not setup.allow_gaps:
        raise InputUnusable(
            f"{series.path}: SSH of {month_label(month)} has no number in {gaps} wet cells; mend "
            "the series, or allow gaps so that results there are missing",
            code="WetCellGaps",
            uri=str(series.path),
        )
    return height


def month_before(month: ModelMonth) -> ModelMonth:
    """The model month before another."""
    year, number = month
    return (year - 1, 12) if number == 1 else (year, number - 1)


def _surface(history: History, name: str, grid: CaseGrid) -> Doubles:
    """Top level of a field, NaN on land and where there is no number."""
    values = history.values(name).reshape(-1, *grid.kmt.shape)[0].astype(np.float64)
    fill = history.variables[name].fill
    with np.errstate(invalid="ignore"):
        known = grid.wet & (np.abs(values) < UNDECLARED_FILL) & (values != fill)
    return np.where(known, values, np.nan)


def month_maps(history: History, setup: MonthSetup, sea_level: Doubles) -> dict[str, Doubles]:
    """Every map of a month, and what its sums need.

    Parameters
    ----------
    history : History
    setup : MonthSetup
    sea_level : ndarray of float64, shape (nlat, nlon), cm

    Returns
    -------
    dict of str to ndarray of float64, shape (nlat, nlon)
        By the names of `plane_names`; NaN on land and where there is no number.
    """
    maps: dict[str, Doubles] = {}
    for name, (run, twin) in _PAIRS.items():
        maps[f"{name}.experimental"] = _surface(history, run, setup.grid)
        maps[f"{name}.delta"] = maps[f"{name}.experimental"] - _surface(history, twin, setup.grid)
    for name, (run, twin) in _COLUMNS.items():
        if name in setup.variables:
            column, delta = _columns(history, (run, twin), setup, sea_level)
            maps[f"{name}.experimental"], maps[f"{name}.delta"] = column, delta
    maps["FG_CO2_ADD"] = -maps["FG.delta"] * MOL_PER_M2_YEAR
    for name in _FLUXES:
        maps[name] = _surface(history, name, setup.grid)
    return maps


def _columns(
    history: History, names: tuple[str, str], setup: MonthSetup, sea_level: Doubles
) -> tuple[Doubles, Doubles]:
    from dor_ecco_assets.dor.reductions import column_delta, column_delta_float32, file_bits

    grid = setup.grid
    bits = [file_bits(np.ascontiguousarray(history.values(n)), grid.kmt.size) for n in names]
    fills = [history.variables[name].fill for name in names]
    patterns = np.array([np.nan if f is None else f for f in fills], np.float32).view(np.uint32)
    column, delta = np.empty(grid.kmt.shape), np.empty(grid.kmt.shape)
    kernel = column_delta_float32 if setup.compat == "reference" else column_delta
    kernel(
        bits[0],
        bits[1],
        history.values("dz").astype(np.float64),
        np.ascontiguousarray(sea_level).reshape(-1),
        grid.kmt.reshape(-1),
        patterns,
        column.reshape(-1),
        delta.reshape(-1),
    )
    return column, delta


@dataclass(frozen=True)
class _Sums:
    excess: float
    fluxes: dict[str, float]
    rings: list[float]


def _sums(maps: Mapping[str, Doubles], setup: MonthSetup) -> _Sums:
    """Area sums of the excess and the forcing, nmol/s."""
    ring, counts = setup.ring.reshape(-1), np.empty(N_RINGS, np.int64)
    rings = np.empty(N_RINGS)
    _area_sum(maps["FG.delta"], setup.grid, ring, rings, counts)
    # No wet cell at all is a sum of nothing to sum; wet cells without a number are missing.
    rings[(counts == 0) & (setup.ring_cells > 0)] = np.nan
    everywhere = np.zeros(ring.size, np.int32)
    totals = {name: _total(maps[name], setup.grid, everywhere) for name in ("FG.delta", *_FLUXES)}
    return _Sums(totals.pop("FG.delta"), totals, rings.tolist())


def _total(values: Doubles, grid: CaseGrid, group: NDArray[np.int32]) -> float:
    total, count = np.empty(1), np.empty(1, np.int64)
    _area_sum(values, grid, group, total, count)
    return float(total[0]) if count[0] else float("nan")


def _area_sum(
    values: Doubles,
    grid: CaseGrid,
    group: NDArray[np.int32],
    sums: Doubles,
    counts: NDArray[np.int64],
) -> None:
    from dor_ecco_assets.dor.reductions import area_sum

    area_sum(values.reshape(-1), grid.area_cm2.reshape(-1), group, sums, counts)


def _done(time: MonthTime, sums: _Sums, written: list[PackedField], name: str) -> MonthDone:
    return MonthDone(
        month=month_label((time.model_year, time.month)),
        days=time.days,
        excess_nmol_s=sums.excess,
        dic_flux_nmol_s=sums.fluxes["DIC_FLUX"],
        alk_flux_nmol_s=sums.fluxes["ALK_FLUX"],
        rings_nmol_s=sums.rings,
        research=name,
        gaps={each.name: each.gaps for each in written if each.gaps},
        strays={each.name: each.strays for each in written if each.strays},
    )
