"""The content of a case's products: one pass over its history files, published as it goes.

Research files appear one by one where they belong; the stores are finished in the workshop and
moved from there. The workshop keeps months between runs, so a rerun makes what is lacking.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dor_ecco_assets.atlas.cases import Case
from dor_ecco_assets.dor.case import CaseFolders, CaseMade, process_case
from dor_ecco_assets.dor.case_grid import CaseGrid, case_grid
from dor_ecco_assets.dor.configuration import Line
from dor_ecco_assets.dor.history_source import HistorySource, LocalHistory, RemoteHistory
from dor_ecco_assets.dor.month import MonthSetup
from dor_ecco_assets.dor.research import research_name
from dor_ecco_assets.dor.sea_level import open_sea_level
from dor_ecco_assets.lineage.product import Content, Task
from dor_ecco_assets.storage import Directory, Storage
from dor_ecco_assets.storage.base import Files, Readable, sha256_of_file

__all__ = ["make_case"]

#: Fields of a month that are deflated at a time; no byte depends on it.
THREADS = 2


def make_case(
    line: Line, case: Case, grid: str, polygons: str, task: Task
) -> Mapping[str, Content]:
    """The content of every product of a case, research files first.

    Parameters
    ----------
    line : Line
    case : Case
    grid, polygons : str
        Keys of the upstream products.
    task : Task
    """
    run = _Pass(line, case, _setup(line, case, grid, polygons, task), task)
    place = f"{case.injection_month:02d}/{case.polygon_master:03d}"
    stores = {
        "analysis_store": f"dor/analysis_store/{case.name}.analysis.zarr",
        "fg_co2_excess": f"dor/fg_co2_excess/{case.polygon_master:03d}-"
        f"{case.injection_month:02d}.zarr",
        "map_fields": f"dor/map_fields/{place}.zarr",
        "case_rows": f"dor/case_rows/{place}.zarr",
    }
    contents = {
        f"dor/{name}": Content(key, partial(run.move_store, name), run.details)
        for name, key in stores.items()
    }
    folder = f"dor/research_dataset/{case.polygon_master:03d}/{case.injection_month:02d}"
    research = Content(folder, None, run.research_details, put=partial(run.put_research, folder))
    return {"dor/research_dataset": research, **contents}


def _setup(line: Line, case: Case, grid: str, polygons: str, task: Task) -> MonthSetup:
    shape: CaseGrid = task.keep(
        f"case_grid {task.upstream_fingerprints[grid]}", lambda: case_grid(task.upstream(grid))
    )
    centres: Any = task.keep(
        f"polygon_centres {task.upstream_fingerprints[polygons]}",
        lambda: np.stack([task.upstream(polygons)[f"centre_{axis}"].values for axis in _AXES], -1),
    )
    return MonthSetup(
        case=case,
        grid=shape,
        centre=(float(centres[case.polygon_master][0]), float(centres[case.polygon_master][1])),
        variables=line.specification.variables,
        allow_gaps=task.settings.allow_gaps,
        compat=task.settings.compat,
    )


_AXES = ("lon", "lat")


class _Pass:
    """The pass over a case's history, made when its research files are asked for."""

    def __init__(self, line: Line, case: Case, setup: MonthSetup, task: Task) -> None:
        self._line, self._case, self._setup, self._task = line, case, setup, task
        self._made: CaseMade | None = None

    def put_research(
        self, folder: str, storage: Storage, still_held: Callable[[], None]
    ) -> tuple[int, str]:
        """Make the case, putting each research file where it belongs as soon as it is whole."""
        task, workshop = self._task, self._task.workshop
        in_place = isinstance(storage, Directory)
        research = storage.root / "dor/research_dataset" if in_place else workshop / "research"
        sent = _Sent(storage, workshop / "sent")

        def told(month: tuple[int, int], _kept: bool) -> None:
            still_held()
            if not in_place:
                name = research_name(self._case, month)
                sent.put(f"dor/research_dataset/{name}", research / name)

        history = _history(task.inputs, task.input_keys["history"], workshop / "history")
        folders = CaseFolders(history, research, workshop / "stores", workshop / "checkpoint")
        setup = self._with_sea_level(workshop)
        self._made = made = process_case(setup, folders, threads=THREADS, told=told)
        kept = {f"{folder}/{path.name}" for path in made.research}
        for key, _ in list(storage.list(folder)):
            if key not in kept:
                storage.delete(key)
        return storage.digest(folder)

    def _with_sea_level(self, workshop: Path) -> MonthSetup:
        from dataclasses import replace

        from dor_ecco_assets.atlas.calendar import model_months

        key = self._task.input_keys.get("sea_level")
        if key is None:
            return self._setup
        months = list(model_months(self._case.injection_month, self._case.months))
        if self._setup.compat == "reference":  # which takes the month before each
            year, month = months[0]
            months.insert(0, (year, month - 1) if month > 1 else (year - 1, 12))
        path = _local_file(self._task.inputs, key, workshop / "sea_level")
        return replace(self._setup, sea_level=open_sea_level(path, months))

    def move_store(self, name: str, path: Path) -> None:
        """Move a finished store to where it is published from."""
        made = self._done()
        shutil.move(made.stores[name], path)

    def _done(self) -> CaseMade:
        assert self._made is not None
        return self._made

    def details(self) -> dict[str, Any]:
        """What materialisations say of the case."""
        made, case = self._done(), self._case
        efficiency, percent = made.series.efficiency[-1], made.series.uptake_percent[-1, 0]
        return {
            "case": case.name,
            "months": len(made.months),
            "shape": list(self._setup.grid.shape),
            "uptake_mol": float(made.series.uptake_mol[-1]),
            "efficiency": None if np.isnan(efficiency) else float(efficiency),
            "uptake_percent_500_km": None if np.isnan(percent) else float(percent),
            "compat": self._setup.compat,
            "gap_cells": made.gaps,
            "masked_land_values": made.strays,
        }

    def research_details(self) -> dict[str, Any]:
        """The same with what the files hold."""
        made = self._done()
        absent = {name for month in made.months for name in month.absent_statics}
        return {
            **self.details(),
            "files": len(made.research),
            "months_kept": made.kept,
            "absent_statics": sorted(absent),
            "joined_along": "elapsed_time",
        }


class _Sent:
    """Which files are in a remote store already, so that a rerun sends only the others."""

    def __init__(self, storage: Storage, notes: Path) -> None:
        self._storage, self._notes = storage, notes

    def put(self, key: str, path: Path) -> None:
        """Send one file, unless the store holds these bytes since an earlier run."""
        sha256 = sha256_of_file(path)
        note = self._notes / path.name
        stat = self._storage.stat(key)
        known = note.read_text() if note.exists() else ""
        if stat is not None and known == f"{sha256} {stat.stamp}":
            return
        copy = path.with_name(f".{path.name}.sending")
        copy.unlink(missing_ok=True)
        os.link(path, copy)  # publishing takes its file away
        self._storage.publish(key, copy, sha256)
        stat = self._storage.stat(key)
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(f"{sha256} {'' if stat is None else stat.stamp}")


def _history(inputs: Readable, files: str | None, workshop: Path) -> HistorySource:
    assert isinstance(files, Files)
    if isinstance(inputs, Directory):
        return LocalHistory(Path(inputs.locate(files)))
    return RemoteHistory(inputs, str(files), workshop)


def _local_file(inputs: Readable, key: str, workshop: Path) -> Path:
    if isinstance(inputs, Directory):
        return Path(inputs.locate(key))
    workshop.mkdir(parents=True, exist_ok=True)
    path = workshop / key.rpartition("/")[2]
    inputs.fetch(key, path)
    return path
