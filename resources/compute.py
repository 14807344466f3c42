"""Where the partitions of a batch are made: in this process, or spread by Dask over workers."""

import logging
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple, override

import dagster as dg
from pydantic import PrivateAttr

from dor_ecco_assets.lineage.product import Product
from dor_ecco_assets.lineage.publication import Outcome
from dor_ecco_assets.lineage.workspace import Failure, Policy, Workspace, make_all
from dor_ecco_assets.products import Production


class Job(NamedTuple):
    """One partition to be made."""

    key: str
    partition: str
    policy: Policy


class ComputeResource(dg.ConfigurableResource[Any]):
    """Dask client by mode: ``none`` in this process, ``local`` in worker processes.

    Worker processes live as long as the run that needs them. A run of several assets hands all its
    partitions to them at once, so that those of one asset do not wait for the last of another.
    """

    mode: Literal["none", "local"] = "none"
    workers: int = 2

    _run: dg.DagsterRun | None = PrivateAttr(None)

    @override
    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Remember the run, whose other assets are made along."""
        self._run = context.run

    @override
    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """End the worker processes, unless they are kept for the next run."""
        crew = None if context.run is None else _CREWS.pop(context.run.run_id, None)
        if crew is not None and crew is _KEEPER.crew:
            crew.forget()
        elif crew is not None:
            crew.close()

    def has_taken(self, job: Job) -> bool:
        """Whether the workers were handed a job whose outcome nobody asked for yet."""
        crew = None if self._run is None else _CREWS.get(self._run.run_id)
        return crew is not None and crew.has(job)

    def make_all(
        self, production: Production, key: str, partitions: Sequence[str], policy: Policy
    ) -> Iterator[Outcome | Failure]:
        """Make partitions of one product; outcomes come as they are done, failures among them."""
        jobs = [Job(key, partition, policy) for partition in partitions]
        if self.mode == "none":
            yield from make_all(production.workspace(), key, partitions, policy)
        elif self._run is None:  # outside of a run nobody would end the workers
            yield from self._made_together(production, jobs)
        else:
            crew = _CREWS.get(self._run.run_id)
            if crew is None:
                workspace = production.workspace()
                others = [job for job in jobs_of(self._run, workspace.products) if job.key != key]
                if len(jobs) + len(others) < 2:
                    yield from make_all(workspace, key, partitions, policy)
                    return
                crew = _CREWS[self._run.run_id] = _KEEPER.crew_for(production, self.workers)
                crew.take([*jobs, *others])
            yield from crew.made(jobs)

    def _made_together(
        self, production: Production, jobs: list[Job]
    ) -> Iterator[Outcome | Failure]:
        crew = Crew(production, min(self.workers, len(jobs)))
        try:
            yield from crew.made(jobs)
        finally:
            crew.close()


def jobs_of(run: dg.DagsterRun, products: Mapping[str, Product]) -> list[Job]:
    """Partitions of split products that a run is to make, as its selection and tags say.

    Parameters
    ----------
    run : DagsterRun
    products : mapping of str to Product

    Returns
    -------
    list of Job
        Empty where the run names no assets.
    """
    jobs: list[Job] = []
    first = run.tags.get("dagster/asset_partition_range_start", run.tags.get("dagster/partition"))
    last = run.tags.get("dagster/asset_partition_range_end", first)
    ops: Any = run.run_config.get("ops", {})
    for asset in sorted(run.asset_selection or ()):
        product = products.get("/".join(asset.path))
        # A product that gathers others' partitions is made when those are there.
        if product is None or product.gathers or first is None or last is None:
            continue
        config = ops.get(product.owner.replace("/", "__"), {}).get("config", {})
        lead = next(p.key for p in products.values() if p.owner == product.owner)
        found = product.partitioning.between(first, last)
        jobs += [Job(lead, partition, Policy(**config)) for partition in found]
    return list(dict.fromkeys(jobs))


@dataclass
class _Keeper:
    """The workers that runs of this process share while they are kept."""

    keeps: bool = False
    crew: "Crew | None" = None

    def crew_for(self, production: Production, workers: int) -> "Crew":
        if self.crew is not None and (self.crew.production, self.crew.workers) == (
            production,
            workers,
        ):
            return self.crew
        self.close()
        crew = Crew(production, workers)
        if self.keeps:
            self.crew = crew
        return crew

    def close(self) -> None:
        if self.crew is not None:
            self.crew.close()
        self.crew = None


_KEEPER = _Keeper()
#: Workers of the runs of this process: Dagster gives assets and IO managers resources of their own.
_CREWS: "dict[str, Crew]" = {}


@contextmanager
def workers_kept() -> Generator[None]:
    """Let the runs that are executed in this block share their workers, which end with it."""
    _KEEPER.keeps = True
    try:
        yield
    finally:
        _KEEPER.keeps = False
        _KEEPER.close()


class Crew:
    """Worker processes on this machine with the jobs they were given.

    Parameters
    ----------
    production : Production
    workers : int
    """

    def __init__(self, production: Production, workers: int) -> None:
        from distributed import Client, LocalCluster

        self.production = production
        self.workers = workers
        self._open = ExitStack()
        # Dask starts worker processes by spawning them: a fork after HDF5 or OpenMP work dies.
        cluster = self._open.enter_context(
            LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                dashboard_address="127.0.0.1:0",
                host="127.0.0.1",
                silence_logs=logging.ERROR,
            )
        )
        self._client = self._open.enter_context(Client(cluster))
        self._taken: dict[Job, Any] = {}

    def has(self, job: Job) -> bool:
        """Whether a job was taken and its outcome not yet handed out."""
        return job in self._taken

    def take(self, jobs: Sequence[Job]) -> None:
        """Begin with jobs whose outcomes are asked for later, the largest input first."""
        workspace = self.production.workspace()
        for key in dict.fromkeys(job.key for job in jobs):
            workspace.sweep(key)
        waiting = [job for job in jobs if job not in self._taken]
        # Outcomes of one size keep their order, so that a range is made from its first month on.
        waiting.sort(key=lambda job: -workspace.input_bytes(job.key, job.partition))
        found = self._client.map(
            make_in_worker, waiting, production=self.production, pure=False, batch_size=100
        )
        self._taken |= dict(zip(waiting, found, strict=True))

    def made(self, jobs: Sequence[Job]) -> Iterator[Outcome | Failure]:
        """Outcomes of jobs as they are done; each is handed out once."""
        from distributed import as_completed

        self.take(jobs)
        futures = [self._taken.pop(job) for job in jobs]
        for _, result in as_completed(futures, with_results=True):
            yield result

    def forget(self) -> None:
        """Drop the jobs that nobody asked for, whose outcomes another run must not be given."""
        self._client.cancel(list(self._taken.values()))
        self._taken.clear()

    def close(self) -> None:
        """End the worker processes, and with them what nobody waits for."""
        self._open.close()


@lru_cache(maxsize=1)
def _workspace_of(production: Production) -> Workspace:
    """One workspace per worker process, so that grid and factors are loaded once."""
    return production.workspace()


def make_in_worker(job: Job, *, production: Production) -> Outcome | Failure:
    """Make one partition in a worker process."""
    from dor_ecco_assets.errors import DorEccoError

    try:
        return _workspace_of(production).make(*job)
    except DorEccoError as error:
        return Failure(job.partition, error)
