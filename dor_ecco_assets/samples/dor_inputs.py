"""Inputs of a whole sample atlas: grid, polygons, and history files of cases with known answers."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from dor_ecco_assets.atlas.polygons import load_polygons
from dor_ecco_assets.dor.configuration import Line, case_partitions
from dor_ecco_assets.grids.pop import read_pop_grid
from dor_ecco_assets.grids.products import PopGrid
from dor_ecco_assets.samples.pop_grid import sample_pop_grid, write_pop_grid, write_sample_polygons
from dor_ecco_assets.samples.pop_history import SampleCase, SampleOcean, write_control_months
from dor_ecco_assets.settings import load_config
from dor_ecco_assets.storage import Directory

__all__ = ["SampleAtlas", "sample_atlas"]


@dataclass(frozen=True)
class SampleAtlas:
    """Sample inputs of one atlas; see `sample_atlas`.

    Parameters
    ----------
    line : Line
    inputs : Path
    ocean : SampleOcean
    polygons : Dataset
    """

    line: Line
    inputs: Path
    ocean: SampleOcean
    polygons: xr.Dataset

    def case(self, partition: str) -> SampleCase:
        """One case, its forcing in its polygon."""
        case = case_partitions(self.line.specification)[partition]
        number = case.polygon_master
        centre = (
            float(self.polygons["centre_lon"].values[number]),
            float(self.polygons["centre_lat"].values[number]),
        )
        cells = self.polygons["polygon"].values == number
        return SampleCase(self.ocean, case, centre, cells=cells, amount_mol=2e11, statics="few")

    def write(self, partitions: Iterable[str]) -> None:
        """Write the history files of some cases."""
        for partition in partitions:
            self.case(partition).write(self.inputs / self.line.history)

    def write_control(self) -> None:
        """Write the control run's files of all months that any case covers."""
        atlas = self.line.specification
        covered = {month for key in case_partitions(atlas) for month in self.case(key).months}
        root = self.inputs / self.line.history
        write_control_months(self.ocean, root, atlas.control_case, sorted(covered), "few")


def sample_atlas(inputs: Path, line: Line, configs: str | None = None) -> SampleAtlas:
    """Write the analytic grid and polygons of an atlas below `inputs`, where they are not yet.

    Parameters
    ----------
    inputs : Path
    line : Line
        Its grid and polygon set name files that may be made.
    configs : str, optional
        The user's overlay of ``configs/``.
    """
    atlas = line.specification
    described = load_config(PopGrid, f"grids/{atlas.grid}.yaml", configs)
    shape = (described.nlat, described.nlon, described.nz)
    path = inputs / described.horizontal[0]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_pop_grid(path, sample_pop_grid(*shape))
    grid = read_pop_grid(path.read_bytes(), name=atlas.grid, shape=shape, uri=str(path))
    polygon_set = atlas.polygon_set
    if polygon_set.mask is not None and not (inputs / polygon_set.mask).exists():
        folder = (inputs / polygon_set.mask).parent
        write_sample_polygons(folder, grid, polygon_set.n_polygons)
    polygons = load_polygons(Directory(inputs), polygon_set, grid)
    return SampleAtlas(line, inputs, SampleOcean(grid), polygons)
