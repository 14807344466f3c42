"""Where the partitions of a batch are made: in this process, or spread by Dask over workers."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Literal

import dagster as dg

from dor_ecco_assets.lineage.publication import Outcome
from dor_ecco_assets.lineage.workspace import Failure, Policy, Workspace, make_all
from dor_ecco_assets.products import Production


class ComputeResource(dg.ConfigurableResource[Any]):
    """Dask client by mode: ``none`` in this process, ``local`` in worker processes."""

    mode: Literal["none", "local"] = "none"
    workers: int = 2

    def make_all(
        self, production: Production, key: str, partitions: Sequence[str], policy: Policy
    ) -> Iterator[Outcome | Failure]:
        """Make partitions of one product; outcomes come as they are done, failures among them."""
        if self.mode == "none" or len(partitions) < 2:
            yield from make_all(production.workspace(), key, partitions, policy)
            return
        from distributed import Client, LocalCluster, as_completed

        production.workspace().sweep(key)
        # Dask starts worker processes by spawning them: a fork after HDF5 or OpenMP work dies.
        with (
            LocalCluster(
                n_workers=min(self.workers, len(partitions)),
                threads_per_worker=1,
                processes=True,
                dashboard_address="127.0.0.1:0",
                host="127.0.0.1",
            ) as cluster,
            Client(cluster) as client,
        ):
            futures = client.map(
                make_in_worker,
                partitions,
                production=production,
                product=key,
                policy=policy,
                pure=False,
            )
            for _, result in as_completed(futures, with_results=True):
                yield result


@lru_cache(maxsize=1)
def _workspace_of(production: Production) -> Workspace:
    """One workspace per worker process, so that grid and factors are loaded once."""
    return production.workspace()


def make_in_worker(
    partition: str, *, production: Production, product: str, policy: Policy
) -> Outcome | Failure:
    """Make one partition in a worker process."""
    from dor_ecco_assets.errors import DorEccoError

    try:
        return _workspace_of(production).make(product, partition, policy)
    except DorEccoError as error:
        return Failure(partition, error)
