"""Run assets through Dagster in this process, so that the command line leaves the same lineage."""

import fcntl
import logging
import shutil
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dor_ecco_assets.errors import ConfigurationError
from dor_ecco_assets.lineage.workspace import Policy
from dor_ecco_assets.products import Production
from dor_ecco_assets.settings import Places, config_path

if TYPE_CHECKING:
    import dagster as dg


@dataclass
class Tally:
    """What became of the partitions that a command asked for.

    Parameters
    ----------
    made, skipped : list of (product, partition)
    failures : list of dict
        With `product`, `partition`, `code`, `message`, `quarantined`, `uri`.
    """

    made: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    skipped: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    failures: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def exit_code(self) -> int:
        """0 all done, 1 some failed, 3 all failures are inputs in quarantine."""
        if not self.failures:
            return 0
        return 3 if all(found["quarantined"] for found in self.failures) else 1


def ensure_instance(places: Places) -> None:
    """Make the Dagster instance, ``dagster.yaml`` and tables, where there is none.

    Dagster does not guard the making of its tables, so commands that start at once take turns.
    """
    home = places.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    tables = ("history/runs.db", "history/runs/index.db", "schedules/schedules.db")
    with (home / "instance.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "dagster.yaml").exists():
            shutil.copyfile(config_path("dagster.yaml", places.configs), home / "dagster.yaml")
        if not all((home / name).exists() for name in tables):
            with _quiet():
                import dagster as dg

                dg.DagsterInstance.from_config(str(home)).dispose()


#: The context in which runs share an instance, if there is one, and what was opened in it.
_sharing: list[ExitStack] = []
_shared: "dict[Path, dg.DagsterInstance]" = {}


@contextmanager
def one_instance() -> Generator[None]:
    """Let all runs inside share the instance that the first of them opens."""
    if _sharing:
        yield
        return
    with ExitStack() as stack:
        _sharing.append(stack)
        try:
            yield
        finally:
            _sharing.clear()
            _shared.clear()


@contextmanager
def _instance_of(places: Places) -> "Generator[dg.DagsterInstance]":
    import dagster as dg

    home = places.dagster_home
    if home in _shared:
        yield _shared[home]
        return
    ensure_instance(places)
    opened = dg.DagsterInstance.from_config(str(home))
    if _sharing:
        _shared[home] = _sharing[0].enter_context(opened)
        yield opened
    else:
        with opened:
            yield opened


@lru_cache(maxsize=2)
def definitions_of(
    profile: str | None, configs: str | None, workers: int | None
) -> "dg.Definitions":
    """The code location, made once for all runs of a command."""
    from dor_ecco_assets.definitions import build_definitions
    from dor_ecco_assets.settings import Compute

    compute = None if workers is None else Compute(mode="local", workers=workers)
    return build_definitions(profile, configs, compute=compute)


def run_products(
    places: Places,
    keys: Sequence[str],
    partitions: Sequence[str] = (),
    *,
    policy: Policy | None = None,
    workers: int | None = None,
    tally: Tally | None = None,
) -> Tally:
    """Materialise products as Dagster runs on the project's own instance.

    Parameters
    ----------
    places : Places
    keys : sequence of str
        Products that are split alike.
    partitions : sequence of str
        Consecutive ones go into one run; empty where the products are not split.
    policy : Policy, optional
    workers : int, optional
        Worker processes; those of the profile if not given.
    tally : Tally, optional
        Added to and returned.
    """
    tally = tally or Tally()
    policy = policy or Policy()
    if _nothing_to_do(places, keys, partitions, policy, tally):
        return tally
    with _quiet():
        import dagster as dg

        defs = definitions_of(places.profile, places.configs, workers)
        with (
            _instance_of(places) as instance,
            _progress(len(keys) * max(1, len(partitions)), tally),
        ):
            for tags in list(_runs_of(places, instance, keys, partitions)):
                _execute(dg, places, defs, instance, keys, tags, policy, tally)
    return tally


def run_all(
    places: Places,
    wanted: Mapping[str, Sequence[str]],
    *,
    policy: Policy | None = None,
    workers: int | None = None,
    tally: Tally | None = None,
) -> Tally:
    """Materialise partitions of many products; those of the same partitions share a run.

    Parameters
    ----------
    places : Places
    wanted : mapping of str to sequence of str
        Partitions by product; none where a product is not split.
    policy, workers, tally
        As for `run_products`.
    """
    tally = tally or Tally()
    alike: dict[tuple[str, ...], list[str]] = {}
    for key, partitions in wanted.items():
        alike.setdefault(tuple(partitions), []).append(key)
    if not alike:
        return tally
    from resources.compute import workers_kept

    with workers_kept(), one_instance():
        for partitions, keys in alike.items():
            run_products(places, keys, partitions, policy=policy, workers=workers, tally=tally)
    return tally


def _nothing_to_do(
    places: Places, keys: Sequence[str], partitions: Sequence[str], policy: Policy, tally: Tally
) -> bool:
    """Whether all is up to date; then a run, which would only say so, is not started."""
    if not (places.dagster_home / "history").exists():
        return False  # a new instance has yet to be told what there is
    workspace = Production.at(places).workspace()
    pairs = [(key, partition) for key in keys for partition in partitions or [""]]
    # Of products that are made together, the first answers for all.
    first = {workspace.product(key).owner: key for key in reversed(keys)}.values()
    for key, partition in ((key, partition) for key in first for partition in partitions or [""]):
        known = partition in workspace.product(key).partitioning.keys
        if not known or workspace.finished(key, partition, policy) is None:
            return False
    for key, partition in pairs:
        print(f"{key} {partition} up to date".replace("  ", " "), file=sys.stderr)
    tally.skipped += pairs
    return True


def _execute(
    dagster: Any,
    places: Places,
    defs: "dg.Definitions",
    instance: "dg.DagsterInstance",
    keys: Sequence[str],
    tags: dict[str, str],
    policy: Policy,
    tally: Tally,
) -> None:
    from dor_ecco_assets.products import all_products

    products = all_products(places.configs)
    steps = {products[key].owner.replace("/", "__"): products[key].owner for key in keys}
    config = {"config": policy.__dict__}
    assets = [dagster.AssetKey(key.split("/")) for key in keys]
    result = defs.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance,
        asset_selection=assets,
        run_config={
            "ops": dict.fromkeys(steps, config),
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        },
        partition_key=tags.get("dagster/partition"),
        tags={name: value for name, value in tags.items() if name != "dagster/partition"},
        raise_on_error=False,
    )
    for event in result.all_events:
        if event.is_step_failure:
            if "DagsterExecutionInterruptedError" in str(event.step_failure_data.error):
                raise KeyboardInterrupt
            tally.failures += _failures_of(event, steps.get(event.step_key or "", ""))


def _failures_of(event: Any, key: str) -> list[dict[str, Any]]:
    failure = event.step_failure_data.user_failure_data
    if failure is not None and "failures" in failure.metadata:
        return [{"product": key, **found} for found in failure.metadata["failures"].value]
    error = event.step_failure_data.error
    message = (error.cause or error).message.strip() if error else "failed"
    return [
        {
            "product": key,
            "partition": "",
            "code": "Failed",
            "message": message,
            "quarantined": False,
            "uri": "",
        }
    ]


def _runs_of(
    places: Places, instance: "dg.DagsterInstance", keys: Sequence[str], partitions: Sequence[str]
) -> Iterator[dict[str, str]]:
    """Tags of each run that together cover `partitions`: consecutive keys share one."""
    if not partitions:
        yield {}
        return
    from resources.product_assets import MOST_PARTITIONS_PER_RUN

    split = Production.at(places).workspace().product(keys[0]).partitioning
    unknown = [name for name in partitions if name not in split.keys]
    if unknown:
        raise ConfigurationError(
            f"{keys[0]} has no partition {', '.join(unknown)}; it has {split.keys[0]} to "
            f"{split.keys[-1]}",
            code="UnknownPartition",
        )
    if split.kind == "listed":  # ranges go by the order in which the instance was told
        known = instance.get_dynamic_partitions(split.name)
        new = [name for name in partitions if name not in known]
        instance.add_dynamic_partitions(split.name, new)
        split = replace(split, keys=(*known, *new))
    for first, last in split.ranges(partitions, max(1, MOST_PARTITIONS_PER_RUN // len(keys))):
        yield _tags(first, last)


def _tags(first: str, last: str) -> dict[str, str]:
    if first == last:
        return {"dagster/partition": first}
    return {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}


class _TallyHandler(logging.Handler):
    """Counts partitions as the IO manager reports them, and moves the progress bar."""

    def __init__(self, tally: Tally, advance: Any) -> None:
        super().__init__(logging.DEBUG)
        self._tally = tally
        self._advance = advance

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() != "progress":
            return
        became, pair = getattr(record, "became", ""), (record.product, record.partition)  # type: ignore[attr-defined]
        if became == "made":
            self._tally.made.append(pair)
        elif became == "up to date":
            self._tally.skipped.append(pair)
        self._advance(pair, became)


@contextmanager
def _progress(total: int, tally: Tally) -> Generator[None]:
    """A progress bar on a terminal, one line per partition elsewhere; both on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    task = progress.add_task("", total=total)

    def advance(pair: tuple[str, str], became: str) -> None:
        progress.update(task, advance=1, description=pair[0].split("/")[1])
        if not console.is_terminal:
            print(f"{pair[0]} {pair[1]} {became}".replace("  ", " "), file=sys.stderr)

    logger = logging.getLogger("dor_ecco_assets.progress")
    handler, level, propagate = _TallyHandler(tally, advance), logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        with progress:
            yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


@contextmanager
def _quiet() -> Generator[None]:
    """Keep Dagster's beta and supersession notices off the screen."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def report_failures(tally: Tally) -> None:
    """List what was not made, then end the command with the right exit code.

    Raises
    ------
    typer.Exit
        With code 1 or 3 where something was not made.
    """
    import typer

    if not tally.failures:
        return
    for found in tally.failures:
        state = "quarantined" if found["quarantined"] else "failed"
        name = f"{found['product']} {found['partition']}".strip()
        print(f"{state}: {name}: {found['message']} [{found['code']}]", file=sys.stderr)
    raise typer.Exit(tally.exit_code())
