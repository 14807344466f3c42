"""All 2,760 cases of a tiny atlas through the daemon: time, and the memory of each process."""

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.measure import Row, limit_row
from benchmarks.processes import Children
from dor_ecco_assets.dor.configuration import case_partitions, load_line
from dor_ecco_assets.dor.products import CASE_ROWS
from dor_ecco_assets.lineage.record import read_record
from dor_ecco_assets.samples.dor_inputs import SampleAtlas, sample_atlas
from dor_ecco_assets.storage import Directory

TIME = "all 2,760 cases of a tiny atlas through the daemon"
MEMORY = "the same, most memory of a process"
NAMES = (TIME, MEMORY)

#: Most time, s, most memory of any process, MB, and how far that may grow after a fifth of its
#: life.
MOST_S, MOST_MB, FLAT = 3600.0, 600.0, 1.15
#: Cases of an injection month whose inputs are there before they are made.
AHEAD = 60
#: Polygons of the atlas, and of `--quick`.
POLYGONS, QUICK_POLYGONS = 690, 5
LONGEST_S = 4 * 3600
LOOK_S = 1.0

_CLI = "from dor_ecco_assets.cli import main; main()"
#: What is kept of a case that is done: what the stores are made of.
_BULKY = ("research_dataset", "analysis_store", "map_fields", "fg_co2_excess")


def rows(scratch: Path, *, quick: bool) -> list[Row]:
    """Both rows of one backfill; `scratch` is a folder for 1 GB."""
    atlas = _Atlas(scratch, QUICK_POLYGONS if quick else POLYGONS)
    found = atlas.run()
    n, peaks, growth = len(atlas.partitions), found.peaks(), max(found.growth())
    scaled = f"; {QUICK_POLYGONS} of {POLYGONS} polygons" if quick else ""
    time_row = limit_row(
        line="dor",
        name=TIME,
        unit="s",
        ours=found.seconds,
        baseline=sum(found.case_cpu_s) / 2,
        limit=MOST_S,
        peak_mb=max(peaks.values()),
        note=(
            f"{n} cases of 6 months on 36 x 30 cells in {found.n_runs} runs, two at a time, "
            f"{1e3 * found.cpu_s / n:.0f} CPU ms per case with the daemon's; baseline, a floor: the"
            f" CPU seconds in which cases are made, {1e3 * sum(found.case_cpu_s) / n:.0f} ms each, "
            f"by two cores; {1e3 * found.log_mb / n:.0f} kB of event log per case{scaled}"
        ),
    )
    memory_row = limit_row(
        line="dor",
        name=MEMORY,
        unit="MB",
        ours=max(peaks.values()),
        baseline=min(peaks.values()),
        limit=MOST_MB,
        peak_mb=max(peaks.values()),
        note=(
            "; ".join(f"{role} {peak:.0f} MB" for role, peak in sorted(peaks.items()))
            + f"; growth after the first fifth of a life {growth:.2f} times (at most {FLAT}); "
            f"baseline: the least of them{scaled}"
        ),
    )
    flat = quick or growth <= FLAT  # a short life is all beginning
    return [time_row, memory_row | {"met": memory_row["met"] and flat}]


@dataclass
class _Process:
    """Resident memory of one process, as it was looked at."""

    role: str
    mb: list[float] = field(default_factory=list[float])
    cpu_s: float = 0.0


@dataclass
class _Found:
    """What a backfill took."""

    seconds: float
    n_runs: int
    log_mb: float
    case_cpu_s: list[float]
    processes: list[_Process]

    @property
    def cpu_s(self) -> float:
        return sum(process.cpu_s for process in self.processes)

    def peaks(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for process in self.processes:
            found[process.role] = max([found.get(process.role, 0.0), *process.mb])
        return found

    def growth(self) -> list[float]:
        """Most memory over the most of the first fifth of its life, for every long process."""
        long = [each for each in self.processes if len(each.mb) >= 60]
        return [max(each.mb) / max(each.mb[: len(each.mb) // 5]) for each in long] or [1.0]


class _Atlas:
    """One production of the tiny atlas, with inputs that come just before they are needed."""

    def __init__(self, folder: Path, polygons: int) -> None:
        self.folder, self.root = folder, folder / "data"
        configs = folder / "my-configs"
        configs.mkdir()
        (configs / "dor.yaml").write_text("atlas: tiny_full\nhistory: pop/cases\n")
        line = load_line(str(configs))
        self.partitions = [
            key
            for key, case in case_partitions(line.specification).items()
            if case.polygon_master < polygons
        ]
        self._end = str(polygons)
        self.sample: SampleAtlas = sample_atlas(self.root / "inputs", line, str(configs))
        self._children = Children(
            folder,
            folder / "bytecode",
            DOR_ECCO_CONFIGS=str(configs),
            DOR_ECCO_ROOT=str(self.root),
            DOR_ECCO_INPUTS=str(self.root / "inputs"),
            DAGSTER_HOME=str(folder / ".dagster"),
        )

    def run(self) -> _Found:
        """Submit the backfill, let a daemon run it, look at every process meanwhile."""
        feeder = _Feeder(self)
        feeder.feed()
        words = ["cases", "process-all", "--submit", "--start", "0", "--end", self._end, "--json"]
        asked = self._children.run(["-c", _CLI, *words, "--project", str(self.folder)])
        backfill = json.loads(asked.output)[0]["backfill"]
        log = (self.folder / "daemon.log").open("wb")
        daemon = subprocess.Popen(
            [sys.executable, "-m", "dagster._daemon", "run", "-m", "dor_ecco_assets.definitions"],
            cwd=self.folder,
            env=self._children.environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        feeder.start()
        watcher = _Watcher(daemon.pid)
        began = time.monotonic()
        try:
            status, n_runs = self._wait(backfill, watcher, began)
        finally:
            _end(daemon)
            feeder.stop()
            log.close()
        if status != "COMPLETED_SUCCESS":
            told = (self.folder / "daemon.log").read_text(errors="replace")[-3000:]
            raise RuntimeError(f"backfill {backfill} ended with {status}\n{told}")
        storage = Directory(self.root)
        records = [read_record(storage, CASE_ROWS, key) for key in self.partitions]
        cpu = [record.details["run"]["cpu_seconds"] for record in records if record is not None]
        if len(cpu) != len(self.partitions):
            raise RuntimeError(f"{len(cpu)} of {len(self.partitions)} cases have a record")
        size = sum(f.stat().st_size for f in (self.folder / ".dagster").rglob("*.db*"))
        return _Found(watcher.seconds, n_runs, size / 1e6, cpu, watcher.processes)

    def _wait(self, backfill: str, watcher: "_Watcher", began: float) -> tuple[str, int]:
        import dagster as dg

        with dg.DagsterInstance.from_config(str(self.folder / ".dagster")) as instance:
            while time.monotonic() - began < LONGEST_S:
                watcher.look()
                time.sleep(LOOK_S)
                found = instance.get_backfill(backfill)
                if found is not None and found.status.value in (
                    *("COMPLETED_SUCCESS", "COMPLETED_FAILED", "COMPLETED", "FAILED", "CANCELED"),
                ):
                    runs = instance.get_runs_count(
                        dg.RunsFilter(tags={"dagster/backfill": backfill})
                    )
                    watcher.ended()
                    return found.status.value, runs
        return f"no end in {LONGEST_S} s", 0


class _Feeder(threading.Thread):
    """Writes the inputs of the next cases of every month, removes what cases that are done left."""

    def __init__(self, atlas: _Atlas) -> None:
        super().__init__(daemon=True)
        self._atlas, self._stopped = atlas, threading.Event()
        self._waiting: dict[str, list[str]] = {}
        for partition in atlas.partitions:
            self._waiting.setdefault(partition.split("|")[0], []).append(partition)
        self._there: dict[str, list[str]] = {month: [] for month in self._waiting}

    def feed(self) -> None:
        """Write what is due and remove what is done."""
        for month, there in self._there.items():
            folder = self._atlas.root / ".records" / CASE_ROWS / month
            names = {f"{month}|{path.stem}" for path in folder.glob("[0-9]*.json")}
            for partition in [each for each in there if each in names]:
                self._remove(partition)
                there.remove(partition)
            due, rest = self._waiting[month], AHEAD - len(there)
            self._atlas.sample.write(due[:rest])
            there += due[:rest]
            del due[:rest]

    def _remove(self, partition: str) -> None:
        atlas = self._atlas
        shutil.rmtree(atlas.root / "inputs/pop/cases" / atlas.sample.case(partition).case.name)
        storage = Directory(atlas.root)
        for name in _BULKY:
            record = read_record(storage, f"dor/{name}", partition)
            assert record is not None
            storage.delete(record.uri)

    def run(self) -> None:
        while not self._stopped.wait(LOOK_S):
            self.feed()

    def stop(self) -> None:
        self._stopped.set()
        self.join()


class _Watcher:
    """Looks at the memory of every process below one, by what it does."""

    def __init__(self, pid: int) -> None:
        self._top = psutil.Process(pid)
        self._found: dict[int, _Process] = {}
        self._began = time.monotonic()
        self.seconds = 0.0

    @property
    def processes(self) -> list[_Process]:
        return list(self._found.values())

    def look(self) -> None:
        with contextlib.suppress(psutil.Error):
            for process in [self._top, *self._top.children(recursive=True)]:
                with contextlib.suppress(psutil.Error):
                    role = _role(process.cmdline(), process.pid == self._top.pid)
                    if role is None:
                        continue
                    seen = self._found.setdefault(process.pid, _Process(role))
                    used, rss = process.cpu_times(), process.memory_info().rss
                    if rss:  # none is left of one that has ended
                        seen.cpu_s = used.user + used.system
                        seen.mb.append(rss / 1e6)

    def ended(self) -> None:
        self.seconds = time.monotonic() - self._began


def _role(words: Sequence[str], is_top: bool) -> str | None:
    """What a process below the daemon does; None for helpers of a few MB."""
    said = " ".join(words)
    if is_top:
        return "daemon"
    if "spawn_main" in said:
        return "run worker"
    return "code server" if "api grpc" in said else None


def _end(daemon: subprocess.Popen[bytes]) -> None:
    """End the daemon and what it started; Dagster can outlive its parent."""
    members = [psutil.Process(daemon.pid), *psutil.Process(daemon.pid).children(recursive=True)]
    daemon.send_signal(signal.SIGTERM)
    _, left = psutil.wait_procs(members, timeout=20)
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    daemon.wait()
