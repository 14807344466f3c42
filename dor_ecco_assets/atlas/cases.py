"""The cases of an atlas, computed from its specification: names, numbers, partitions."""

import difflib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from dor_ecco_assets.atlas.calendar import INJECTION_YEAR, MODEL_INJECTION_YEAR
from dor_ecco_assets.atlas.specification import Atlas, Basin
from dor_ecco_assets.errors import ConfigurationError

__all__ = [
    "CASE_COLUMNS",
    "Case",
    "case_at",
    "case_named",
    "case_of_partition",
    "case_table",
    "cases_of",
    "partition_path",
]

#: Columns of `case_table`, in order.
CASE_COLUMNS = (
    "case",
    "index",
    "polygon",
    "polygon_master",
    "basin",
    "start_date",
    "refdate",
    "injection_month",
    "cdr_forcing",
    "simulation_key",
    "stop_n",
)
_WHOLE = frozenset({"index", "polygon", "polygon_master", "injection_month", "stop_n"})


@dataclass(frozen=True)
class Case:
    """One model run: a polygon, an injection month, a forcing.

    Parameters
    ----------
    name : str
        As the model's files are called.
    index : int
        Running number of the case in its atlas.
    polygon, polygon_master : int
        Number in its basin and in the atlas.
    basin : str
    injection_month : int
        1 to 12.
    forcing : str
    months : int
        Length.
    """

    name: str
    index: int
    polygon: int
    polygon_master: int
    basin: str
    injection_month: int
    forcing: str
    months: int

    @property
    def start_date(self) -> str:
        """First month as published, ``YYYY-MM``."""
        return f"{INJECTION_YEAR}-{self.injection_month:02d}"

    @property
    def refdate(self) -> str:
        """Model date the run branches at."""
        return f"{MODEL_INJECTION_YEAR:04d}-{self.injection_month:02d}-01"

    @property
    def simulation_key(self) -> str:
        """What tells the simulation apart from all others, without running number and vintage."""
        return f"glb-{self.forcing.lower()}_{self.basin}_{self.polygon:03d}_{self.start_date}-01"

    @property
    def partition(self) -> str:
        """Partition key, ``injection_month|polygon``."""
        return f"{self.injection_month:02d}|{self.polygon_master:03d}"


@lru_cache(maxsize=8)
def cases_of(atlas: Atlas) -> tuple[Case, ...]:
    """Every case of an atlas, by basin, polygon and injection month; the control run is none.

    In an ERW atlas only coastal polygons have cases; polygons keep their numbers, and the index
    counts the cases there are.
    """
    made: list[Case] = []
    for basin in atlas.polygon_set.basins:
        offset = atlas.polygon_set.offset(basin.name)
        for polygon in range(basin.coastal if atlas.forcing == "ERW" else basin.polygons):
            for month in atlas.injection_months:
                name = _case_name(atlas, basin, polygon, month, len(made))
                made.append(
                    Case(
                        name,
                        len(made),
                        polygon,
                        offset + polygon,
                        basin.name,
                        month,
                        atlas.forcing,
                        atlas.months,
                    )
                )
    return tuple(made)


def _case_name(atlas: Atlas, basin: Basin, polygon: int, month: int, index: int) -> str:
    return (
        f"{atlas.experiment}.glb-{atlas.forcing.lower()}_{basin.name}_{polygon:03d}_"
        f"{INJECTION_YEAR}-{month:02d}-01_{index:05d}.{atlas.vintage}"
    )


def case_table(atlas: Atlas) -> dict[str, Any]:
    """The case table as columns, ready for ``pandas.DataFrame`` or an Arrow table.

    Returns
    -------
    dict of str to ndarray, shape (cases,)
        `CASE_COLUMNS`; numbers are int64, the rest fixed-width text.
    """
    import numpy as np

    cases = cases_of(atlas)
    plain: dict[str, list[Any]] = {
        "case": [case.name for case in cases],
        "cdr_forcing": [case.forcing for case in cases],
        "stop_n": [atlas.years for _ in cases],
    }
    for column in CASE_COLUMNS:
        if column not in plain:
            plain[column] = [getattr(case, column) for case in cases]
    return {
        column: np.array(plain[column], dtype=np.int64 if column in _WHOLE else np.str_)
        for column in CASE_COLUMNS
    }


def case_named(atlas: Atlas, name: str) -> Case:
    """The case of this name.

    Raises
    ------
    ConfigurationError
        ``ControlRun`` for the control, ``BadCaseIndex`` where the running number is not that of
        the polygon and date, else ``UnknownCase`` with the nearest names.
    """
    cases, by_name = cases_of(atlas), _by_name(atlas)
    if name in by_name:
        return by_name[name]
    if name == atlas.control_case:
        raise ConfigurationError(
            f"{name} is the control run of atlas {atlas.name}, which is never a case; it is read "
            "where cases are validated",
            code="ControlRun",
        )
    parts = _pattern(atlas).match(name)
    if parts is not None:
        stem = name[: parts.start("index")]
        meant = next((case for case in cases if case.name.startswith(stem)), None)
        if meant is not None and parts["vintage"] == atlas.vintage:
            raise ConfigurationError(
                f"{name}: its running number is {int(parts['index'])}, but this polygon and date "
                f"are case {meant.index}; did you mean {meant.name}?",
                code="BadCaseIndex",
            )
    near = difflib.get_close_matches(name, by_name, n=3, cutoff=0.6)
    hint = f"nearest: {', '.join(near)}" if near else f"they read like {cases[0].name}"
    raise ConfigurationError(
        f"there is no case {name!r} in atlas {atlas.name}; {hint}", code="UnknownCase"
    )


def case_at(atlas: Atlas, polygon_master: int, injection_month: int) -> Case:
    """The case of one polygon and injection month.

    Raises
    ------
    ConfigurationError
        ``UnknownCase``, saying what there is.
    """
    try:
        return _by_place(atlas)[polygon_master, injection_month]
    except KeyError:
        months = ", ".join(f"{month:02d}" for month in atlas.injection_months)
        coastal = " with a coast" if atlas.forcing == "ERW" else ""
        raise ConfigurationError(
            f"atlas {atlas.name} has no case of polygon {polygon_master} in injection month "
            f"{injection_month:02d}; it has polygons{coastal} of 0 to "
            f"{atlas.polygon_set.n_polygons - 1} and months {months}",
            code="UnknownCase",
        ) from None


def case_of_partition(atlas: Atlas, partition: str) -> Case:
    """The case of a partition key ``injection_month|polygon``, such as ``07|123``."""
    parts = re.fullmatch(r"(\d{2})\|(\d{3})", partition)
    if parts is None:
        raise ConfigurationError(
            f"partition {partition!r}; expected injection_month|polygon, such as 07|123",
            code="BadPartition",
        )
    return case_at(atlas, int(parts[2]), int(parts[1]))


def partition_path(partition: str) -> str:
    """A partition key as folders of a path: ``07|123`` lies at ``07/123``."""
    return partition.replace("|", "/")


@lru_cache(maxsize=8)
def _by_name(atlas: Atlas) -> dict[str, Case]:
    return {case.name: case for case in cases_of(atlas)}


@lru_cache(maxsize=8)
def _by_place(atlas: Atlas) -> dict[tuple[int, int], Case]:
    return {(case.polygon_master, case.injection_month): case for case in cases_of(atlas)}


@lru_cache(maxsize=8)
def _pattern(atlas: Atlas) -> re.Pattern[str]:
    """The whole name, anchored: basin names hold underscores, so nothing may be split."""
    basins = "|".join(re.escape(basin.name) for basin in atlas.polygon_set.basins)
    months = "|".join(f"{month:02d}" for month in atlas.injection_months)
    return re.compile(
        rf"\A{re.escape(atlas.experiment)}\.glb-{atlas.forcing.lower()}_(?P<basin>{basins})_"
        rf"(?P<polygon>\d{{3}})_{INJECTION_YEAR}-(?P<month>{months})-01_(?P<index>\d{{5}})\."
        r"(?P<vintage>\d{3})\Z"
    )
