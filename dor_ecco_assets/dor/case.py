"""One case: its months, each made once and remembered, then its stores.

The checkpoint of a month is its research file, its planes file and a record with the sizes and
checksums of both, written last. Stores follow from those alone, so a run that was interrupted
leaves the same bytes as one that was not.
"""

import errno
import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib

from dor_ecco_assets.atlas.calendar import days_since_epoch, elapsed_days, model_months
from dor_ecco_assets.dor.case_stores import STORES, MonthPlanes, StoreContent
from dor_ecco_assets.dor.configuration import CASE_CODE_VERSION
from dor_ecco_assets.dor.history import SelectedMonths, month_label, select_months
from dor_ecco_assets.dor.history_source import HistorySource, history_source
from dor_ecco_assets.dor.month import MonthDone, MonthSetup, make_month
from dor_ecco_assets.dor.research import PlaneBuffers, Templates, research_name
from dor_ecco_assets.dor.series import CaseSeries, case_series
from dor_ecco_assets.errors import (
    DorEccoError,
    GridMismatch,
    InputMissing,
    InputUnusable,
    PartitionBusy,
    StorageRefused,
)

__all__ = ["CASE_CODE_VERSION", "CaseFolders", "CaseMade", "process_case"]

log = logging.getLogger(__name__)

type ModelMonth = tuple[int, int]

#: Causes that waiting does not mend: the disk is full, read-only, or not ours.
_REFUSALS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM})


@dataclass(frozen=True)
class CaseFolders:
    """Where a case is read from and written to.

    Parameters
    ----------
    history : Path or HistorySource
        Its history files, ``ROOT/{case}/ocn/hist``.
    research : Path
        Gets research files at `research_name`.
    stores : Path
        Gets one folder per store: ``analysis_store``, ``fg_co2_excess``, ``map_fields``,
        ``case_rows``.
    checkpoint : Path
        Scratch that outlives a run; may be removed when the case is done.
    """

    history: Path | HistorySource
    research: Path
    stores: Path
    checkpoint: Path


@dataclass(frozen=True)
class CaseMade:
    """What became of a case.

    Parameters
    ----------
    months : tuple of MonthDone
    series : CaseSeries
    research : tuple of Path
    stores : dict of str to Path
    kept : int
        Months that were there already, verified and not made again.
    gaps, strays : int
        Wet cells without a number and dry cells with one, over all fields and months.
    """

    months: tuple[MonthDone, ...]
    series: CaseSeries
    research: tuple[Path, ...]
    stores: dict[str, Path]
    kept: int
    gaps: int
    strays: int


@dataclass
class _Failures:
    """Months that could not be made, with their causes."""

    errors: dict[ModelMonth, DorEccoError] = field(default_factory=dict[ModelMonth, DorEccoError])

    def raise_any(self, case: str, selected: SelectedMonths, folder: object) -> None:
        """Raise one error for all missing and refused months; none where all is well."""
        missing = selected.missing_error(case, folder) if selected.missing else None
        if not self.errors:
            if missing is not None:
                raise missing
            return
        causes = [f"{month_label(month)}: {error}" for month, error in self.errors.items()]
        if missing is not None:
            causes.append(str(missing))
        first = next(iter(self.errors.values()))
        codes = {error.code for error in self.errors.values()}
        message = (
            f"{case}: {len(causes)} {'cause' if len(causes) == 1 else 'causes'}, no store was "
            f"touched and the other months are kept: {'; '.join(causes)}"
        )
        code = first.code if len(codes) == 1 else "MonthsUnusable"
        if isinstance(first, GridMismatch) and len(codes) == 1:
            raise GridMismatch(message, code=code) from first
        if isinstance(first, InputMissing) and len(codes) == 1:
            raise InputMissing(message, code=code) from first
        raise InputUnusable(message, code=code, uri=str(folder)) from first


def process_case(
    setup: MonthSetup,
    folders: CaseFolders,
    *,
    threads: int = 2,
    told: Callable[[ModelMonth, bool], None] | None = None,
) -> CaseMade:
    """Make all products of a case from one read of each history file.

    Parameters
    ----------
    setup : MonthSetup
    folders : CaseFolders
    threads : int, default 2
        Fields deflated at a time, beside the reductions; no byte depends on it.
    told : callable, optional
        Told each month when it is there, and whether it was kept from a run before.

    Returns
    -------
    CaseMade

    Raises
    ------
    InputMissing, InputUnusable, GridMismatch
        For what `select_months` finds at once; else, after all other months are made and kept,
        naming every month that could not be made with its cause. No store is touched then, and a
        rerun makes just those months.
    PartitionBusy
        ``CaseBusy``, if another process works on this case in the same checkpoint.
    StorageRefused
        ``DiskRefused``, if a disk is full or refuses a write.
    """
    case = setup.case
    with _alone(folders.checkpoint, case.name), _disk():
        history = history_source(folders.history)
        selected = select_months(history, case)
        if setup.sea_level is not None and setup.compat == "reference":
            log.info("%s: SSH of the series is taken one month early, as asked for", case.name)
        run = _Run(setup, folders)
        run.sweep()
        failures = _Failures()
        with ThreadPoolExecutor(threads, "deflate") as pool:
            for month, name in selected.present.items():
                identity = history.identity(name)
                kept = run.is_kept(month, identity)
                if not kept:
                    try:
                        with history.opened(name) as source:
                            run.make(month, source, identity, pool, threads)
                    except (InputUnusable, GridMismatch, InputMissing) as error:
                        failures.errors[month] = error
                        continue
                if told is not None:
                    told(month, kept)
        failures.raise_any(case.name, selected, history)
        return run.finish()


@contextmanager
def _alone(checkpoint: Path, case: str) -> Generator[None]:
    checkpoint.mkdir(parents=True, exist_ok=True)
    with (checkpoint / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PartitionBusy(
                f"{case}: another process works on it in {checkpoint}; wait for it or end it",
                code="CaseBusy",
            ) from None
        yield


@contextmanager
def _disk() -> Generator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        raise StorageRefused(
            f"{error.filename or 'the disk'}: {error.strerror}; what is done is kept, mend it and "
            "run again",
            code="DiskRefused",
        ) from error


class _Run:
    """Months of one case: which are there, and how one is made."""

    def __init__(self, setup: MonthSetup, folders: CaseFolders) -> None:
        self._setup, self._folders = setup, folders
        self._months = folders.checkpoint / "months"
        self._months.mkdir(parents=True, exist_ok=True)
        self._templates = Templates(folders.checkpoint, setup.case, setup.grid)
        self._buffers: PlaneBuffers | None = None
        self._made_with = self._digest()
        self._done: dict[ModelMonth, MonthDone] = {}
        self._kept = 0

    def _digest(self) -> str:
        """Digest of all that a month's bytes depend on beside its history file."""
        setup = self._setup
        sea_level = None if setup.sea_level is None else _checksum(setup.sea_level.path)
        points = hashlib.sha256()
        for values in setup.grid.points.values():
            points.update(values.tobytes())
        said = [
            CASE_CODE_VERSION,
            setup.case.name,
            setup.grid.digest,
            points.hexdigest(),
            setup.grid.dz_cm.tolist(),
            setup.centre,
            setup.variables,
            setup.allow_gaps,
            setup.compat,
            sea_level,
        ]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()

    def sweep(self) -> None:
        """Remove what a run that was ended left half-written."""
        research = self._research((0, 0)).parent
        for folder in (self._months, research, self._folders.stores):
            for part in folder.glob("*.part"):
                shutil.rmtree(part) if part.is_dir() else part.unlink()

    def _research(self, month: ModelMonth) -> Path:
        return self._folders.research / research_name(self._setup.case, month)

    def _planes(self, month: ModelMonth) -> Path:
        return self._months / f"{month_label(month)}.planes"

    def _record(self, month: ModelMonth) -> Path:
        return self._months / f"{month_label(month)}.json"

    def is_kept(self, month: ModelMonth, identity: list[int | str]) -> bool:
        """Whether a month is there, whole, and made from this very file in this way."""
        record = self._record(month)
        try:
            found = json.loads(record.read_text())
        except (OSError, ValueError):
            return False
        expected = {"made_with": self._made_with, "source": identity}
        if {key: found.get(key) for key in expected} != expected:
            return False
        for key, file in (("research", self._research(month)), ("planes", self._planes(month))):
            if not file.exists() or _checksum(file) != found[key]:
                return False
        self._done[month] = MonthDone.from_json(found["done"])
        self._kept += 1
        return True

    def make(
        self,
        month: ModelMonth,
        source: Path,
        identity: list[int | str],
        pool: ThreadPoolExecutor,
        threads: int,
    ) -> None:
        """Make one month; its record goes first and comes last."""
        self._record(month).unlink(missing_ok=True)
        if self._buffers is None:
            self._buffers = PlaneBuffers(threads)
        try:
            done = make_month(
                source,
                month,
                self._setup,
                self._templates,
                research=self._folders.research,
                planes=self._planes(month),
                pool=pool,
                buffers=self._buffers,
                ahead=threads + 1,
            )
        except BaseException:
            # A research file of an older run no longer belongs to what is there.
            self._research(month).unlink(missing_ok=True)
            self._planes(month).unlink(missing_ok=True)
            raise
        record = {
            "made_with": self._made_with,
            "source": identity,
            "research": _checksum(self._research(month)),
            "planes": _checksum(self._planes(month)),
            "done": done.to_json(),
        }
        part = self._record(month).with_suffix(".json.part")
        part.write_text(json.dumps(record))
        part.replace(self._record(month))
        self._done[month] = done

    def finish(self) -> CaseMade:
        """Write the stores; every month is there."""
        setup, case = self._setup, self._setup.case
        order = list(model_months(case.injection_month, case.months))
        done = [self._done[month] for month in order]
        strays = sum(sum(each.strays.values()) for each in done)
        gaps = sum(sum(each.gaps.values()) for each in done)
        if strays:
            fields = sorted({name for each in done for name in each.strays})
            log.warning(
                "%s: %d dry cells hold numbers in %s; they are masked by KMT",
                case.name,
                strays,
                ", ".join(fields),
            )
        series = case_series(case.name, case.forcing, done, setup.compat)
        content = StoreContent(
            setup,
            MonthPlanes(
                tuple(self._planes(month) for month in order), setup.planes, setup.grid.shape[1:]
            ),
            series,
            np.array([elapsed_days(case.injection_month, *month) for month in order], np.int64),
            np.array([days_since_epoch(*month) for month in order]) + series.days / 2,
            self._attributes(gaps),
        )
        stores: dict[str, Path] = {}
        for name, write in STORES.items():
            path = self._folders.stores / name
            part = path.with_name(f"{name}.part")
            part.parent.mkdir(parents=True, exist_ok=True)
            write(part, content)
            _replace_folder(part, path)
            stores[name] = path
        research = tuple(self._research(month) for month in order)
        return CaseMade(tuple(done), series, research, stores, self._kept, gaps, strays)

    def _attributes(self, gaps: int) -> dict[str, Any]:
        setup = self._setup
        return {
            "case": setup.case.name,
            "polygon_id": setup.case.polygon_master,
            "injection_month": setup.case.injection_month,
            "forcing": setup.case.forcing,
            "grid": setup.grid.name,
            "grid_digest": setup.grid.digest,
            "centre_lon_lat": [float(value) for value in setup.centre],
            "compat": setup.compat,
            "gaps": gaps,
        }


def _replace_folder(part: Path, path: Path) -> None:
    """Put a finished folder where another may be; nothing half-written is visible."""
    old = path.with_name(f"{path.name}.old.part")
    if path.exists():
        path.replace(old)
    part.replace(path)
    if old.exists():
        shutil.rmtree(old)


def _checksum(file: Path) -> list[int]:
    """Size and CRC-32 of a file: what tells a torn file from a whole one, at 10 GB/s."""
    crc, size = 0, 0
    with file.open("rb") as opened:
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while block := opened.read(1 << 20):
            crc, size = isal_zlib.crc32(block, crc), size + len(block)
    return [size, crc]
