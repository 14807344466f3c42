"""Small closed-form cases for the tests of this folder."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from dor_ecco_assets.atlas.cases import Case, case_at
from dor_ecco_assets.atlas.specification import load_atlas
from dor_ecco_assets.dor.case import CaseFolders, process_case
from dor_ecco_assets.dor.case_grid import case_grid
from dor_ecco_assets.dor.month import MonthSetup
from dor_ecco_assets.samples.pop_grid import sample_pop_grid
from dor_ecco_assets.samples.pop_history import SampleCase, SampleOcean, history_folder

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

    from dor_ecco_assets.dor.case import CaseMade

CENTRE = (200.0, 10.0)


@lru_cache
def grid(nlat: int = 48, nlon: int = 40, nz: int = 5) -> xr.Dataset:
    return sample_pop_grid(nlat, nlon, nz, undefined_land=True)


@lru_cache
def ocean() -> SampleOcean:
    return SampleOcean(grid())


def case(injection_month: int = 7, months: int = 3, atlas: str = "tiny") -> Case:
    return dataclasses.replace(case_at(load_atlas(atlas), 1, injection_month), months=months)


@dataclass
class Sample:
    """One sample case on disk and how it is made."""

    root: Path
    sample: SampleCase
    setup: MonthSetup

    @property
    def folders(self) -> CaseFolders:
        return self.folders_at(self.root / "out")

    def folders_at(self, out: Path) -> CaseFolders:
        history = history_folder(self.root / "inputs", self.sample.case.name)
        return CaseFolders(history, out / "research", out / "stores", out / "checkpoint")

    def history(self, k: int) -> Path:
        return self.folders.history / self.sample.file_name(k)

    def run(self, out: Path | None = None, **options: Any) -> CaseMade:
        threads = options.pop("threads", 2)
        setup = dataclasses.replace(self.setup, **options)
        folders = self.folders if out is None else self.folders_at(out)
        return process_case(setup, folders, threads=threads)


def write_sample(
    root: Path, injection_month: int = 7, months: int = 3, forcing: str = "DOR", **options: Any
) -> Sample:
    made = case(injection_month, months)
    if forcing != "DOR":
        name = made.name.replace("glb-dor", f"glb-{forcing.lower()}")
        made = dataclasses.replace(made, forcing=forcing, name=name)
    sample = SampleCase(ocean(), made, CENTRE, **options)
    sample.write(root / "inputs")
    variables = load_atlas("tiny" if forcing == "DOR" else "oae").variables
    return Sample(root, sample, MonthSetup(made, case_grid(grid()), CENTRE, variables))
