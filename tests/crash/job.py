"""What the victims of the kill tests do: publish a small production of real granules.

Three variants of one production, so that going from one to another replaces what is there:
`EARLY` to `LATER` gives granules other bytes under the same names, `OTHER` has another model grid
and another target grid, so that everything is replaced and granules change their names too.
"""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from dor_ecco_assets.lineage.workspace import Failure, Policy, Workspace, make_all
from tests.exactness.small import MONTHS, make_inputs, overlay, production

#: Products in the order of making, with their partitions.
WORK = {
    "grids/llc90": ("",),
    "grids/latlon_0p50deg": ("",),
    "mapping/llc90_to_latlon_0p50deg": ("",),
    "ecco/ECCO_L4_SSH_LLC0090GRID_MONTHLY_V4R4": MONTHS,
    "ecco/ECCO_L4_SSH_05DEG_MONTHLY_V4R4": MONTHS,
}
FIELDS = ("SSH", "SSHIBC", "SSHNOIBC", "ETAN")


@dataclass(frozen=True)
class Variant:
    """One configuration of the production, as its victims are told it."""

    name: str
    inputs: str
    configs: str
    source_date: str
    #: The same as seconds since 1970, for the command line.
    source_date_epoch: str


def prepare(folder: Path) -> dict[str, Variant]:
    """Write the inputs and configurations of every variant; variants by name."""
    target = "resolution_degrees: {}\n"
    grids = {"fine": "2.0", "coarse": "3.0"}
    configs = {
        name: overlay(folder / name, {"grids/latlon_0p50deg.yaml": target.format(degrees)})
        for name, degrees in grids.items()
    }
    inputs = {
        side: str(make_inputs(folder / f"inputs-{side}", side=side, days=(), fields=FIELDS))
        for side in (10, 8)
    }
    early = ("2021-02-26T00:00:00", "1614297600")
    later = ("2022-02-26T00:00:00", "1645833600")
    variants = (
        Variant("early", inputs[10], configs["fine"], *early),
        Variant("later", inputs[10], configs["fine"], *later),
        Variant("other", inputs[8], configs["coarse"], *early),
    )
    return {variant.name: variant for variant in variants}


def workspace_of(root: str, variant: Variant) -> Workspace:
    return production(root, variant.inputs, variant.configs, variant.source_date).workspace()


def publish(root: str, variant: Variant) -> None:
    """Make what is not up to date, as a run does; the first failure ends it."""
    workspace = workspace_of(root, variant)
    for key, partitions in WORK.items():
        for result in make_all(workspace, key, partitions, Policy()):
            if isinstance(result, Failure):
                raise result.error


def warm() -> None:
    """The whole job once in a folder of its own, so that nothing is imported or compiled later."""
    durably, os.fsync = os.fsync, lambda _descriptor: None
    try:
        with tempfile.TemporaryDirectory() as folder:
            publish(f"{folder}/root", prepare(Path(folder))["early"])
    finally:
        os.fsync = durably
