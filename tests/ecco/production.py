"""A small production of sample granules: its inputs and results are made once per session.

Tests that only read share `made_sample`; those that spoil something take an `own_sample`.
"""

import os
import shutil
from functools import cache
from pathlib import Path

import pytest

from dor_ecco_assets.ecco.times import V4R4_CLOCK, Frequency
from dor_ecco_assets.lineage.product import RunSettings
from dor_ecco_assets.lineage.record import Record, read_record
from dor_ecco_assets.products import Production
from dor_ecco_assets.samples.ecco_output import EVERY_FIELD, write_sample_output
from dor_ecco_assets.samples.llc_grid import sample_grid_fields
from dor_ecco_assets.settings import Place

SIDE = 10
#: The partial first month, a leap February and the partial last month; the first two days.
MONTHS = ("1992-01", "1992-02", "2017-12")
DAYS = ("1992-01-01", "1992-01-02")

#: What `made_of_every_field` makes.
EVERY_PARTITION: dict[Frequency, str] = {
    "AVG_MON": "1992-02",
    "AVG_DAY": "1992-01-02",
    "SNAP": "1992-01-03",
}
_FREQUENCIES: dict[str, Frequency] = {"MONTHLY": "AVG_MON", "DAILY": "AVG_DAY", "SNAPSHOT": "SNAP"}

GRID, TARGET, FACTORS = "grids/llc90", "grids/latlon_0p50deg", "mapping/llc90_to_latlon_0p50deg"
SSH_NATIVE = "ecco/ECCO_L4_SSH_LLC0090GRID_MONTHLY_V4R4"
SSH_LATLON = "ecco/ECCO_L4_SSH_05DEG_MONTHLY_V4R4"
SSH_NATIVE_DAILY = "ecco/ECCO_L4_SSH_LLC0090GRID_DAILY_V4R4"
SSH_LATLON_DAILY = "ecco/ECCO_L4_SSH_05DEG_DAILY_V4R4"
STRESS_NATIVE = "ecco/ECCO_L4_STRESS_LLC0090GRID_MONTHLY_V4R4"
STRESS_LATLON = "ecco/ECCO_L4_STRESS_05DEG_MONTHLY_V4R4"
MONTHLY = (SSH_NATIVE, SSH_LATLON, STRESS_NATIVE, STRESS_LATLON)
DAILY = (SSH_NATIVE_DAILY, SSH_LATLON_DAILY)


def write_inputs(folder: Path, *, side: int = SIDE, months=MONTHS, days=DAYS) -> Path:
    """Sample model output and grid binaries, as the demo lays them out."""
    write_sample_output(
        folder,
        sample_grid_fields(side),
        months=[V4R4_CLOCK.step_of(month, "AVG_MON") for month in months],
        days=[V4R4_CLOCK.step_of(day, "AVG_DAY") for day in days],
    )
    (folder / "llc90" / "source.txt").write_text("analytic sample\n")
    return folder


def production(
    root: Path | str, inputs: Path, *, configs: Path | None = None, source_date: str | None = None
) -> Production:
    """A production at these places, nothing made."""
    return Production(
        Place(root=str(root)),
        Place(root=str(inputs)),
        None if configs is None else str(configs),
        RunSettings(source_date),
    )


def made_sample(factory: pytest.TempPathFactory) -> Production:
    """Every month and day of the sample; only to be read."""
    return _made_sample(factory.getbasetemp() / "sample-production")


@cache
def _made_sample(folder: Path) -> Production:
    made = production(folder / "root", write_inputs(folder / "inputs"))
    space = made.workspace()
    for keys, partitions in ((MONTHLY, MONTHS), (DAILY, DAYS)):
        for key in keys:
            for partition in partitions:
                space.make(key, partition)
    return made


def made_of_every_field(factory: pytest.TempPathFactory) -> Production:
    """Every dataset but most native daily ones, of all fields; only to be read."""
    return _made_of_every_field(factory.getbasetemp() / "every-field")


@cache
def _made_of_every_field(folder: Path) -> Production:
    made = production(folder / "root", write_every_field(folder / "inputs"))
    space = made.workspace()
    for key, product in space.products.items():
        often = key.split("_")[-2] if product.arrived else ""
        if often in _FREQUENCIES and (often != "DAILY" or "_VEL" in key or "05DEG" in key):
            space.make(key, EVERY_PARTITION[_FREQUENCIES[often]])
    return made


def write_every_field(folder: Path, *, side: int = SIDE) -> Path:
    """All sample fields of one month, one day and one snapshot."""
    steps = {
        often: [V4R4_CLOCK.step_of(EVERY_PARTITION[often], often)] for often in EVERY_PARTITION
    }
    write_sample_output(
        folder,
        sample_grid_fields(side),
        months=steps["AVG_MON"],
        days=steps["AVG_DAY"],
        snapshots=steps["SNAP"],
        fields=EVERY_FIELD,
    )
    (folder / "llc90" / "source.txt").write_text("analytic sample\n")
    return folder


def own_sample(
    factory: pytest.TempPathFactory, folder: Path, *, configs: Path | None = None
) -> Production:
    """A copy of the sample's inputs and of its grids and factors, no granule made.

    What was made is linked, as nothing that is published is ever changed in place.
    """
    made = made_sample(factory)
    shutil.copytree(inputs_of(made), folder / "inputs")
    for name in ("grids", "mapping", ".records/grids", ".records/mapping"):
        shutil.copytree(root_of(made) / name, folder / "root" / name, copy_function=os.link)
    return production(folder / "root", folder / "inputs", configs=configs)


def root_of(made: Production) -> Path:
    """Folder of the results."""
    return Path(str(made.root.root))


def inputs_of(made: Production) -> Path:
    """Folder of the inputs."""
    return Path(str(made.inputs.root))


def record_of(made: Production, key: str, partition: str) -> Record:
    """Record of one partition, which must be there."""
    record = read_record(made.workspace().storage, key, partition)
    assert record is not None, f"{key} {partition} has no record"
    return record


def granule_of(made: Production, key: str, partition: str) -> Path:
    """File of one partition, through its record."""
    return root_of(made) / record_of(made, key, partition).uri


def model_file(inputs: Path, field: str, partition: str = "1992-01", ending: str = "data") -> Path:
    """A file of monthly model output below the inputs."""
    step = V4R4_CLOCK.step_of(partition, "AVG_MON")
    folder = inputs / "V4r4" / "diags_monthly" / f"{field}_mon_mean"
    return folder / f"{field}_mon_mean.{step:010d}.{ending}"


def left_behind(root: Path, key: str, partition: str) -> list[str]:
    """What a partition that was not made shows all the same: record, granule, scratch or lock."""
    found = [root / ".records" / key / f"{partition}.json"]
    found += (root / key).glob(f"*_{partition}_*")
    found += [path for path in root.rglob("*") if path.name.endswith((".part", ".lock"))]
    return [str(path) for path in found if path.exists()]
