"""Inputs of the demo: the analytic sample, or MDS files made from real fields."""

import shutil
from pathlib import Path

import numpy as np

from dor_ecco_assets.errors import InputMissing
from dor_ecco_assets.grids.llc import tiles_from_compact
from dor_ecco_assets.grids.llc_geometry import REQUIRED_FIELDS
from dor_ecco_assets.grids.products import LLC_FOLDER, ORIGIN_FILE

#: What sample granules say of their origin.
ORIGIN = "analytic sample"

SIDE = 30
MONTHS = ("1992-01", "1992-02", "1992-03")
DAYS = ("1992-01-01", "1992-01-02", "1992-01-03")

#: Real time-mean fields in ``llc90/`` and the diagnostic each stands for. TauX and TauY lie on the
#: west and south edges: they vanish where the cell or its neighbour across that edge is dry.
REAL_FIELDS = {"SSH.bin": "SSH", "TauX.bin": "oceTAUX", "TauY.bin": "oceTAUY"}

#: A time mean is no month; it is labelled as the first one.
REAL_STEP, REAL_MONTH = 732, "1992-01"


def prepare(inputs: Path, data: Path | None) -> tuple[bool, dict[str, tuple[str, ...]]]:
    """Put the demo's inputs into a folder, where they are not there yet.

    Parameters
    ----------
    inputs : Path
        Where they go.
    data : Path or None
        Folder that holds ``llc90/``; the analytic sample is made without it.

    Returns
    -------
    allow_partial : bool
        Whether some variables of a grouping will be absent.
    partitions : dict
        Partitions that have inputs, by kind.

    Raises
    ------
    InputMissing
        If `data` holds no grid.
    """
    if data is None:
        _prepare_sample(inputs)
        return False, {"month": MONTHS, "day": DAYS}
    _prepare_real(inputs, data)
    return True, {"month": (REAL_MONTH,)}


def _prepare_real(inputs: Path, data: Path) -> None:
    """Copy the grid's binaries and write the real fields as MDS output."""
    from dor_ecco_assets.grids.mds import write_mds

    source = data / LLC_FOLDER
    if not (source / "XC.data").is_file():
        raise InputMissing(
            f"--data {data}: there is no {LLC_FOLDER}/XC.data in it; name a folder that holds "
            f"{LLC_FOLDER}/, or bring the grid by `dor-ecco inputs fetch`",
            code="MissingGridField",
        )
    for name in REQUIRED_FIELDS:
        for ending in ("data", "meta"):
            _place(
                inputs / LLC_FOLDER / f"{name}.{ending}", (source / f"{name}.{ending}").read_bytes()
            )
    with_origin = inputs / LLC_FOLDER / ORIGIN_FILE
    with_origin.unlink(missing_ok=True)
    for file, field in REAL_FIELDS.items():
        if not (source / file).is_file():
            continue
        values = np.fromfile(source / file, ">f4")
        side = int(np.sqrt(values.size / 13))
        tiles = tiles_from_compact(values.reshape(13 * side, side))
        scratch = inputs / ".made"
        write_mds(scratch, field, "mon_mean", REAL_STEP, tiles, time_interval_s=(3600.0, 2635200.0))
        _adopt(scratch, inputs / "V4r4" / "diags_monthly" / f"{field}_mon_mean")


def _prepare_sample(inputs: Path) -> None:
    from dor_ecco_assets.ecco.times import V4R4_CLOCK
    from dor_ecco_assets.samples.ecco_output import write_sample_output
    from dor_ecco_assets.samples.llc_grid import sample_grid_fields

    scratch = inputs / ".made"
    write_sample_output(
        scratch,
        sample_grid_fields(SIDE),
        months=[V4R4_CLOCK.step_of(month, "AVG_MON") for month in MONTHS],
        days=[V4R4_CLOCK.step_of(day, "AVG_DAY") for day in DAYS],
    )
    (scratch / LLC_FOLDER / ORIGIN_FILE).write_text(f"{ORIGIN}\n")
    _adopt(scratch, inputs)


def _adopt(made: Path, folder: Path) -> None:
    """Move files to where they belong; those that hold the same bytes stay untouched."""
    for path in sorted(made.rglob("*")):
        if path.is_file():
            _place(folder / path.relative_to(made), path.read_bytes())
    shutil.rmtree(made)


def _place(path: Path, data: bytes) -> None:
    if not path.is_file() or path.read_bytes() != data:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
