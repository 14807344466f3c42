"""Many small cases: what Dagster adds to each, two workers against one, listing all of them."""

import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.command_rows import HELP_CODE, WALK_CODE
from benchmarks.measure import Row, interleaved_costs, limit_row, row
from benchmarks.processes import Children
from dor_ecco_assets.cli.running import run_products
from dor_ecco_assets.dor.configuration import case_partitions, load_line
from dor_ecco_assets.dor.products import CASE_ROWS
from dor_ecco_assets.lineage.record import partition_path, read_record, record_key
from dor_ecco_assets.lineage.workspace import Failure, Policy
from dor_ecco_assets.products import Production
from dor_ecco_assets.samples.dor_inputs import sample_atlas
from dor_ecco_assets.settings import Place, Places, config_path
from resources.compute import Crew, Job

OVERHEAD = "Dagster's overhead in a range of 690 cases, per case"
LIST = "dor-ecco cases list, 2,760 recorded cases"
STALE = "dor-ecco stale dor, 2,760 recorded cases"
WORKERS = "16 small cases, 2 workers against 1"
NAMES = (OVERHEAD, LIST, STALE)

#: Limits: CPU s per case, CPU s per command.
OVERHEAD_S, COMMAND_S = 0.05, 2.0


def rows(scratch: Path, *, quick: bool) -> list[Row]:
    """The rows of one process; `scratch` is a folder for 1 GB."""
    return [
        overhead_row(scratch / "overhead", quick=quick),
        *command_rows(scratch / "listed", scratch / "bytecode", quick=quick),
    ]


def _production(folder: Path, months: int) -> tuple[Production, list[str]]:
    """The tiny atlas with cases of so many months, and its partitions; no history yet."""
    configs = folder / "my-configs"
    (configs / "atlases").mkdir(parents=True)
    (configs / "dor.yaml").write_text("atlas: tiny_full\nhistory: pop/cases\n")
    described = config_path("atlases/tiny_full.yaml").read_text()
    changed = [
        f"months: {months}" if line.startswith("months:") else line
        for line in described.splitlines()
    ]
    (configs / "atlases/tiny_full.yaml").write_text("\n".join(changed) + "\n")
    line = load_line(str(configs))
    root, inputs = folder / "data", folder / "data/inputs"
    sample_atlas(inputs, line, str(configs))
    made = Production(Place(root=str(root)), Place(root=str(inputs)), str(configs))
    return made, list(case_partitions(line.specification))


def _write(made: Production, partitions: Sequence[str]) -> None:
    line = load_line(made.configs)
    sample_atlas(Path(str(made.inputs.root)), line, made.configs).write(partitions)


# Dagster's overhead


def overhead_row(folder: Path, *, quick: bool) -> Row:
    """Cases that are there are told to a new instance: all events of a run, nothing else."""
    n = 40 if quick else 690
    made, partitions = _production(folder, months=1)
    chosen = partitions[:n]
    _write(made, chosen)
    workspace = made.workspace()
    for partition in chosen:
        workspace.make(CASE_ROWS, partition)
    members = [product.key for product in workspace.made_together(CASE_ROWS)]
    looked = made.workspace()
    start = time.process_time()
    for partition in chosen:
        if looked.finished(CASE_ROWS, partition, Policy()) is None:
            raise RuntimeError(f"{partition} is not up to date")
    own_s = (time.process_time() - start) / n
    # A run looks its places up; this process measures nothing else.
    os.environ |= {
        "DOR_ECCO_ROOT": str(made.root.root),
        "DOR_ECCO_INPUTS": str(made.inputs.root),
        "DOR_ECCO_CONFIGS": str(made.configs),
    }

    def cost(keys: Sequence[str]) -> float:
        places = Places(
            root=made.root,
            inputs=made.inputs,
            dagster_home=folder / "dagster",
            configs=made.configs,
            profile="laptop",
        )
        shutil.rmtree(places.dagster_home, ignore_errors=True)
        spent: list[float] = []
        for some in (chosen[:2], chosen):  # the first run pays for what every run has once
            shutil.rmtree(places.dagster_home, ignore_errors=True)
            start = time.process_time()
            tally = run_products(places, keys, some)
            spent.append(time.process_time() - start)
            if tally.failures or len(tally.skipped) != len(some) * len(keys):
                raise RuntimeError(f"the run gave {tally}")
        return (spent[1] - spent[0]) / (n - 2) - own_s

    ours, baseline = cost([CASE_ROWS]), cost(members)
    log = sum(file.stat().st_size for file in (folder / "dagster").rglob("*.db*"))
    return limit_row(
        line="dor",
        name=OVERHEAD,
        ours=ours,
        baseline=baseline,
        limit=OVERHEAD_S,
        peak_mb=0.0,
        note=(
            f"{n} cases on a new instance in SQLite, as `dor-ecco cases process-all` asks for them:"
            " one planned event and five materialisations each, less our own look at the case "
            f"({1e3 * own_s:.0f} ms); baseline: a run that asks for all five products, which "
            f"doubles the planned events, {log / n / 1e3:.0f} kB of log per case"
            + (f"; {n} of 690 cases" if quick else "")
        ),
    )


# Listing


def command_rows(folder: Path, bytecode: Path, *, quick: bool) -> list[Row]:
    """`cases list` and `stale` on as many cases as the published atlas has, all up to date."""
    made, partitions = _production(folder, months=6)
    _write(made, partitions[:1])
    _stand_in(made, partitions)
    children = Children(
        folder / "children",
        bytecode,
        DOR_ECCO_ROOT=str(made.root.root),
        DOR_ECCO_INPUTS=str(made.inputs.root),
        DOR_ECCO_CONFIGS=str(made.configs),
    )
    walk = ["-c", WALK_CODE, str(made.root.root), str(made.inputs.root)]
    found: list[Row] = []
    for name, words in (
        (LIST, ["cases", "list", "--limit", "0", "--json"]),
        (STALE, ["stale", "dor", "--json"]),
    ):
        peaks: list[float] = []

        def ours(words: list[str] = words, peaks: list[float] = peaks) -> float:
            ended = children.run(["-c", HELP_CODE, *words])
            peaks.append(ended.peak_mb)
            listed = json.loads(ended.output)
            bad = [each for each in listed if each.get("status", "done") != "done"]
            bad += [each for each in listed if each.get("product") in _MEMBERS]
            if bad or ("list" in words and len(listed) != len(partitions)):
                raise RuntimeError(f"{len(listed)} rows, out of date: {bad[:1]}")
            return ended.cpu_s

        runs = 2 if quick else 5
        ours_s, floor_s = interleaved_costs(ours, lambda: children.run(walk).cpu_s, runs)
        made_row = limit_row(
            line="dor",
            name=name,
            ours=ours_s,
            baseline=floor_s,
            limit=COMMAND_S,
            peak_mb=max(peaks),
            note=(
                f"{len(partitions)} cases, five records each, stand-ins for their inputs and "
                "stores; baseline, a floor: os.walk, stat of every file, records read"
                + ("; 2 measured of 5 runs" if quick else "")
            ),
        )
        found.append(made_row)
    return found


_MEMBERS = (
    *("dor/research_dataset", "dor/analysis_store", "dor/fg_co2_excess"),
    *("dor/map_fields", CASE_ROWS),
)


def _stand_in(made: Production, partitions: Sequence[str]) -> None:
    """Make the first case; give all others six files of history, a file per store, and records."""
    root, inputs = Path(str(made.root.root)), Path(str(made.inputs.root))
    line = load_line(made.configs)
    cases = case_partitions(line.specification)
    sample = sample_atlas(inputs, line, made.configs)
    workspace = made.workspace()
    workspace.make(CASE_ROWS, partitions[0])
    # Which disk the memory of checksums lies on is no part of the command that is measured.
    workspace.remembered._open().execute("PRAGMA synchronous = OFF")
    known = {key: read_record(workspace.storage, key, partitions[0]) for key in _MEMBERS}
    for partition in partitions[1:]:
        case = sample.case(partition)
        history = inputs / line.history_folder(cases[partition].name)
        history.mkdir(parents=True)
        for k in range(cases[partition].months):
            (history / case.file_name(k)).write_text(case.file_name(k))
        wanted = workspace.ingredients(CASE_ROWS, partition)
        for key, record in known.items():
            assert record is not None
            folder = root / key / "stand_ins" / partition_path(partition)
            folder.mkdir(parents=True)
            (folder / "zarr.json").write_text("{}")
            stamp = str(folder.stat().st_mtime_ns)
            details = {
                **record.details,
                "ingredients": wanted.for_record(),
                "run": {**record.details["run"], "stamp": stamp},
            }
            told = replace(
                record,
                fingerprint=wanted.fingerprint(),
                uri=folder.relative_to(root).as_posix(),
                bytes=2,
                details=details,
            )
            path = root / record_key(key, partition)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(asdict(told), indent=1, sort_keys=True) + "\n")


# Workers


def worker_rows(scratch: Path, *, quick: bool) -> list[Row]:
    """Wall seconds of two running workers and of one for 16 cases."""
    made, partitions = _production(scratch, months=6)
    _write(made, partitions[:17])
    force = Policy(force=True)
    warm = [Job(CASE_ROWS, partitions[16], force)]
    jobs = [Job(CASE_ROWS, partition, force) for partition in partitions[:16]]

    def seconds(workers: int) -> float:
        crew = Crew(made, workers)
        try:
            for _ in range(workers):  # libraries and compiled kernels are loaded
                list(crew.made(warm))
            list(crew.made(jobs))
            started = time.monotonic()
            outcomes = list(crew.made(jobs))
            took = time.monotonic() - started
        finally:
            crew.close()
        failed = [str(found.error) for found in outcomes if isinstance(found, Failure)]
        if failed:
            raise RuntimeError("; ".join(failed))
        return took

    pairs = [(seconds(2), seconds(1)) for _ in range(1 if quick else 3)]
    two, one = (sorted(times)[len(pairs) // 2] for times in zip(*pairs, strict=True))
    return [
        row(
            line="dor",
            name=WORKERS,
            unit="s",
            ours=two,
            baseline=one,
            target=1.7,
            note=(
                "16 cases of 6 months on 36 x 30 cells, wall seconds of running workers; baseline: "
                "one worker" + ("; 1 of 3 runs" if quick else "")
            ),
        )
    ]
