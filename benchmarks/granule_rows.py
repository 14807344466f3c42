"""Peak memory of a run that makes months of 3-D granules, against one month made plainly."""

import json
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import Row, limit_row
from benchmarks.processes import Children
from dor_ecco_assets.ecco.catalogue import load_catalogue
from dor_ecco_assets.ecco.model_output import record_key
from dor_ecco_assets.ecco.products import dataset_key
from dor_ecco_assets.ecco.times import V4R4_CLOCK
from dor_ecco_assets.grids.llc_geometry import grid_dataset
from dor_ecco_assets.grids.mds import write_grid_file, write_mds
from dor_ecco_assets.products import Production
from dor_ecco_assets.samples.ecco_output import model_interval_s
from dor_ecco_assets.samples.fields import Tracer, ocean_field
from dor_ecco_assets.samples.llc_grid import sample_grid_fields
from dor_ecco_assets.settings import Place

NAME = "peak memory of 3-D granules, 12 months in one run"

#: Cells along a tile's side: the size of LLC90.
SIDE = 90
LIMIT_MB = 700.0
#: The peak after the last month may be this much above that after the first.
MOST_GROWTH = 1.10
QUICK_MONTHS = 2

MONTH = "1992-01"
STEM = "OCEAN_TEMPERATURE_SALINITY"
TRACERS: tuple[Tracer, ...] = ("THETA", "SALT")


def rows(scratch: Path, *, quick: bool = False) -> list[Row]:
    """The row; `scratch` is a folder for up to 1.5 GB of inputs and granules."""
    months = [f"1992-{month:02d}" for month in range(1, 1 + (QUICK_MONTHS if quick else 12))]
    made = three_d_production(scratch, months)
    # Made here, so that what the factors take does not hide what the granules take.
    made.workspace().make(load_catalogue().factors, "")
    children = Children(scratch / "children", scratch.parent / "bytecode")
    words = {
        "root": made.root.root,
        "inputs": made.inputs.root,
        "configs": made.configs,
        "keys": three_d_keys(),
        "months": months,
    }
    run = children.run(["-m", "benchmarks.granule_runs", "ours", json.dumps(words)])
    said = [json.loads(line) for line in run.output.splitlines()]
    first, last = said[0], said[-1]
    plain_mb = _plain_peak_mb(scratch, made, children)
    growth = last["peak_mb"] / first["peak_mb"]
    note = (
        f"{f'{len(months)} of 12 months; ' if quick else ''}THETA and SALT, 50 levels, lat-lon and"
        f" native, {SIDE} cells a side, one child process; peak after month 1"
        f" {first['peak_mb']:.0f} MB, after month {len(months)} {last['peak_mb']:.0f} MB (at most"
        f" {MOST_GROWTH - 1:.0%} more), resident then {last['rss_mb']:.0f} MB; {run.cpu_s:.1f} CPU"
        " s in all; baseline: peak of one month by fromfile, a scipy.sparse product per level and"
        " to_netcdf, in its own process"
    )
    found = limit_row(
        line="ecco",
        name=NAME,
        unit="MB",
        ours=last["peak_mb"],
        baseline=plain_mb,
        limit=LIMIT_MB,
        peak_mb=last["peak_mb"],
        note=note,
    )
    return [found | {"met": found["met"] and growth <= MOST_GROWTH}]


def three_d_production(scratch: Path, months: list[str]) -> Production:
    """A production with THETA and SALT of some months on the sample grid, nothing made."""
    wet = _write_grid(scratch / "inputs")
    _write_months(scratch / "inputs", wet, months)
    return Production(Place(root=str(scratch / "root")), Place(root=str(scratch / "inputs")))


def three_d_keys() -> list[str]:
    """The native and the lat-lon dataset of temperature and salinity."""
    catalogue = load_catalogue()
    grouping = next(found for found in catalogue.groupings if found.stem == STEM)
    version = catalogue.release.version
    return [dataset_key(grouping, grid, "AVG_MON", version) for grid in ("native", "latlon")]


def _write_grid(inputs: Path) -> NDArray[np.bool_]:
    """The sample grid's binaries; returns its wet mask, shape (50, 13, L, L)."""
    fields = sample_grid_fields(SIDE)
    for name, values in fields.items():
        write_grid_file(inputs / "llc90", name, values)
    return grid_dataset(fields)["maskC"].values


def _write_months(inputs: Path, wet: NDArray[np.bool_], months: list[str]) -> None:
    for tracer in TRACERS:
        field = np.nan_to_num(ocean_field(tracer, wet))
        for number, month in enumerate(months):
            step = V4R4_CLOCK.step_of(month, "AVG_MON")
            folder = (inputs / record_key(tracer, "mon_mean", step)).parent
            values = np.where(wet, field + np.float32(0.01 * number), np.float32(0))
            interval = model_interval_s(step, "AVG_MON")
            write_mds(folder, tracer, "mon_mean", step, values, time_interval_s=interval)


def _plain_peak_mb(scratch: Path, made: Production, children: Children) -> float:
    """Peak of the plain way; it is given finished weights, one file per depth level."""
    from scipy import sparse

    from dor_ecco_assets.mapping.factors import from_dataset, level_weights

    out = scratch / "plain"
    out.mkdir()
    workspace, catalogue = made.workspace(), load_catalogue()
    np.save(out / "wet.npy", workspace.open_upstream(catalogue.source_grid)["maskC"].values)
    factors = from_dataset(workspace.open_upstream(catalogue.factors))
    for k in range(factors.n_levels):
        sparse.save_npz(out / f"{k}.npz", level_weights(factors, k), compressed=False)
    step = V4R4_CLOCK.step_of(MONTH, "AVG_MON")
    inputs = Path(str(made.inputs.root))
    words = {
        "records": {
            name: f"{inputs / record_key(name, 'mon_mean', step)}.data" for name in TRACERS
        },
        "weights": str(out),
        "wet": str(out / "wet.npy"),
        "out": str(out),
    }
    run = children.run(["-m", "benchmarks.granule_runs", "plain", json.dumps(words)])
    shutil.rmtree(out)
    return float(json.loads(run.output)["peak_mb"])
