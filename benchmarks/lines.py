"""The benchmarks of every product line; a new line registers its groups in `LINES`, at the end."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import (
    atlas_rows,
    cases_rows,
    command_rows,
    dor_rows,
    granule_rows,
    mapping_rows,
    netcdf_rows,
    page_rows,
    production_rows,
    pyramids_rows,
    virtual_rows,
)
from benchmarks.measure import Row
from dor_ecco_assets.grids.llc_binaries import read_grid_fields
from dor_ecco_assets.grids.llc_geometry import grid_dataset
from dor_ecco_assets.grids.products import LLC_FOLDER
from dor_ecco_assets.samples.llc_grid import sample_grid_fields
from dor_ecco_assets.settings import Place
from dor_ecco_assets.storage import open_storage


@dataclass(frozen=True)
class Setting:
    """How benchmarks are run.

    Parameters
    ----------
    quick : bool
        Within a minute per line, scaled where it must be.
    data : Path or None
        Folder that holds ``llc90/``; the analytic sample of the same size stands in without it.
    """

    quick: bool
    data: Path | None


@dataclass(frozen=True)
class Group:
    """Rows that are measured together, in a process of their own.

    Parameters
    ----------
    names : tuple of str
        Every row that it must give; one that does not come counts as missed.
    rows : callable
        Measures them; takes the setting and an empty scratch folder.
    urgency : int
        Groups with more of it start first.
    alone : bool
        Run before all others, with nothing beside it: its ratio is that of two memory speeds.
    """

    names: tuple[str, ...]
    rows: Callable[[Setting, Path], Iterable[Row]]
    urgency: int = 0
    alone: bool = False


def _commands(setting: Setting, scratch: Path) -> Iterator[Row]:
    return command_rows.rows(scratch, quick=setting.quick)


def _mapping(setting: Setting, _scratch: Path) -> list[Row]:
    if setting.data is None:
        fields = sample_grid_fields(granule_rows.SIDE)
    else:
        fields = read_grid_fields(open_storage(Place(root=str(setting.data))), LLC_FOLDER)
    grid = grid_dataset(fields)
    edges_m = np.stack([grid["dxG"].values, grid["dyG"].values])
    found = mapping_rows.rows(
        grid["XC"].values,
        grid["YC"].values,
        grid["maskC"].values,
        float(edges_m.min()),
        float(edges_m.max()),
        setting.quick,
    )
    which = "analytic sample grid" if setting.data is None else "real LLC90 grid"
    return [row | {"note": f"{which}; {row['note']}"} for row in found]


def _netcdf(setting: Setting, scratch: Path) -> list[Row]:
    return netcdf_rows.rows(scratch, quick=setting.quick)


def _granules(setting: Setting, scratch: Path) -> list[Row]:
    return granule_rows.rows(scratch, quick=setting.quick)


def _whole_granules(setting: Setting, scratch: Path) -> list[Row]:
    return production_rows.granule_rows(scratch, quick=setting.quick)


def _workers(setting: Setting, scratch: Path) -> list[Row]:
    return production_rows.worker_rows(scratch, quick=setting.quick)


def _virtual(setting: Setting, scratch: Path) -> Iterator[Row]:
    return virtual_rows.rows(scratch, quick=setting.quick)


def _dor(setting: Setting, scratch: Path) -> list[Row]:
    return dor_rows.rows(scratch, quick=setting.quick)


def _dor_memory(setting: Setting, scratch: Path) -> list[Row]:
    return [dor_rows.memory_row(scratch, quick=setting.quick)]


def _atlas(setting: Setting, scratch: Path) -> list[Row]:
    return atlas_rows.rows(scratch, quick=setting.quick)


def _cases(setting: Setting, scratch: Path) -> list[Row]:
    return cases_rows.rows(scratch, quick=setting.quick)


def _case_workers(setting: Setting, scratch: Path) -> list[Row]:
    return cases_rows.worker_rows(scratch, quick=setting.quick)


def _pyramids(setting: Setting, scratch: Path) -> Iterator[Row]:
    return pyramids_rows.rows(scratch, quick=setting.quick)


def _page(setting: Setting, scratch: Path) -> list[Row]:
    return page_rows.rows(scratch, quick=setting.quick)


def _pyramids_memory(setting: Setting, scratch: Path) -> list[Row]:
    return [pyramids_rows.memory_row(scratch, quick=setting.quick)]


_MAPPING = Group(
    ("mapping factors, 50 depth levels", "apply to one 3-D field"), _mapping, alone=True
)
_NETCDF = Group(
    (
        "write a two-variable 3-D lat-lon granule",
        "the same, native 13 tiles, values to published file",
    ),
    _netcdf,
)
_WHOLE_GRANULES = Group(production_rows.GRANULES, _whole_granules)
# Alone: it needs both cores to itself.
_WORKERS = Group((production_rows.WORKERS,), _workers, alone=True)
_GRANULES = Group((granule_rows.NAME,), _granules)
# First: it takes longest, and compiles the bytecode that the children of `_GRANULES` find.
_COMMANDS = Group(command_rows.NAMES, _commands, urgency=1)

_VIRTUAL = Group(virtual_rows.NAMES, _virtual)

_DOR = Group(dor_rows.NAMES[:-1], _dor, urgency=1)
_DOR_MEMORY = Group(dor_rows.NAMES[-1:], _dor_memory)
_CASES = Group(cases_rows.NAMES, _cases)
_CASE_WORKERS = Group((cases_rows.WORKERS,), _case_workers, alone=True)
_ATLAS = Group(atlas_rows.NAMES, _atlas, urgency=1)

_PYRAMIDS = Group(pyramids_rows.NAMES[:-1], _pyramids)
_PYRAMIDS_MEMORY = Group(pyramids_rows.NAMES[-1:], _pyramids_memory)
# Alone: the browser and the server share the cores.
_PAGE = Group(page_rows.NAMES, _page, alone=True)

#: Groups of each line, in the order of the table.
LINES: dict[str, tuple[Group, ...]] = {
    "ecco": (_MAPPING, _NETCDF, _WHOLE_GRANULES, _GRANULES, _WORKERS, _COMMANDS),
    "virtual": (_VIRTUAL,),
    "dor": (_DOR, _DOR_MEMORY, _CASE_WORKERS, _CASES, _ATLAS),
    "pyramids": (_PAGE, _PYRAMIDS, _PYRAMIDS_MEMORY),
}


def names_of(line: str) -> list[str]:
    """Every row that a line must have, in the order of the table."""
    return [name for group in LINES[line] for name in group.names]
