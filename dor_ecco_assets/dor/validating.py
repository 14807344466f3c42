"""Which published cases agree with the control run; each is compared once per its bytes."""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from dor_ecco_assets.atlas.cases import Case
from dor_ecco_assets.dor.configuration import Line, case_partitions
from dor_ecco_assets.dor.products import CASE_ROWS
from dor_ecco_assets.errors import DorEccoError
from dor_ecco_assets.lineage.record import recorded_partitions
from dor_ecco_assets.lineage.workspace import Workspace
from dor_ecco_assets.storage import Directory, Stat
from dor_ecco_assets.storage.base import Files

if TYPE_CHECKING:
    from dor_ecco_assets.dor.validation import PairResult

__all__ = ["Validated", "validated_cases"]


@dataclass(frozen=True)
class Validated:
    """One case against the control.

    Parameters
    ----------
    partition : str
    results : tuple of PairResult
    problem : str
        Why there are none, if so.
    """

    partition: str
    results: "tuple[PairResult, ...]"
    problem: str = ""


def validated_cases(workspace: Workspace, line: Line, seconds: float) -> Iterator[Validated | None]:
    """Every published case against the control; None for those that time does not allow.

    Parameters
    ----------
    workspace : Workspace
        With inputs on a disk.
    line : Line
    seconds : float
        After which only what is remembered is given.
    """
    from dor_ecco_assets.dor import validation
    from dor_ecco_assets.dor.case_grid import case_grid

    atlas, inputs = line.specification, workspace.inputs
    partitions = list(recorded_partitions(workspace.storage, CASE_ROWS))
    folder = line.history_folder(atlas.control_case)
    control = dict(inputs.list(folder))
    if not partitions or not control or not isinstance(inputs, Directory):
        return
    stamp = hashlib.sha256(repr(sorted(control.items())).encode()).hexdigest()
    # Opened when a case is compared: what is remembered needs none of them.
    files = cache(lambda: validation.control_months(Path(inputs.locate(key)) for key in control))
    grid = case_grid(workspace.open_upstream(f"grids/{atlas.grid}"))
    end = time.monotonic() + seconds
    for partition in partitions:
        case = case_partitions(atlas)[partition]
        history = workspace.input_keys(CASE_ROWS, partition)["history"]
        if not isinstance(history, Files):
            yield Validated(partition, (), "its history files are gone")
            continue
        said = f"{stamp} {history.stat.stamp} {sorted(atlas.validation_rmse.items())} {grid.digest}"
        stat = Stat(history.stat.size, hashlib.sha256(said.encode()).hexdigest())

        def work_out(case: Case = case, history: Files = history) -> str:
            if time.monotonic() > end:
                raise _OutOfTimeError
            path = Path(inputs.locate(history))
            found = validation.validate_case(case, path, files(), grid, atlas.validation_rmse)
            return validation.to_json(found)

        try:
            text = workspace.remembered.recall("validation", inputs.locate(history), stat, work_out)
            yield Validated(partition, tuple(validation.from_json(text)))
        except _OutOfTimeError:
            yield None
        except DorEccoError as error:
            yield Validated(partition, (), error.message)


class _OutOfTimeError(Exception):
    """No time is left for a comparison."""
